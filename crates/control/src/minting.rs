//! Tokens for accounts: any that the studio wants, and those that companies and resellers may hand on.

use crate::actor::Actor;
use crate::control::Node;
use crate::error::CallError;
use crate::record::{accounts, acting, people};
use crate::sql::Connection;
use penstock_core::account::{AccountId, Standing};
use penstock_core::api::{MintToken, TokenAnswer};
use penstock_core::delegate::{Bearer, Facts, Party, delegated};

/// Signs a token in the name of whoever asks.
pub(crate) fn mint(node: &Node, actor: &Actor, wanted: &MintToken) -> Result<TokenAnswer, CallError> {
    let party = actor.party();
    let facts = match party.account() {
        Some(own) => node.record.read(|connection| {
            acting::check(connection, actor)?;
            facts(connection, party, own, &wanted.sub)
        })?,
        None => Facts { party: Standing::Active, bearer: None },
    };
    let narrowed = delegated(party, wanted, &facts)?;
    Ok(node.signer.mint(narrowed.content(), node.now())?)
}

fn facts(connection: &Connection, party: &Party, own: &AccountId, sub: &str) -> Result<Facts, CallError> {
    let account = accounts::get(connection, own)?.ok_or_else(|| CallError::NoAccount(own.clone()))?;
    let Ok(sub) = sub.parse::<AccountId>() else { return Ok(Facts { party: account.standing, bearer: None }) };
    let Some(bearer) = accounts::get(connection, &sub)? else {
        return Ok(Facts { party: account.standing, bearer: None });
    };
    let mut products = match party {
        Party::Studio => Default::default(),
        Party::Company(company) => people::products_by_seats(connection, &sub, company)?,
        Party::Reseller(reseller) => people::products_by_allocations(connection, &sub, reseller)?,
    };
    // What the bearer holds in another way too is not the party's to open.
    let otherwise = people::products_otherwise(connection, &sub, own)?;
    products.retain(|product| !otherwise.contains(product));
    let company = people::user(connection, &sub)?.map(|user| user.company);
    let bearer = Bearer { standing: bearer.standing, company, seller: bearer.seller, products };
    Ok(Facts { party: account.standing, bearer: Some(bearer) })
}
