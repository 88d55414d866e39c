//! Accounts and entitlements: make, change, list, give, take back. Each change is told to edges before the call returns.

use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::Node;
use crate::error::CallError;
use crate::page::{cut_page, page_rows};
use crate::permit::Permission;
use crate::products::{self, Made};
use crate::record::audit::Deed;
use crate::record::{Batch, accounts};
use crate::sql::Connection;
use penstock_core::account::{AccountId, DEVICES_MAX, HOLDINGS_MAX, Standing, Terms};
use penstock_core::catalog::CatalogChange;
use penstock_core::desk::{
    Account, AccountDetail, AccountKind, AccountsAnswer, AccountsQuery, Entitlement, EntitlementsAnswer,
    EntitlementsQuery, PostEntitlement, PutAccount,
};
use penstock_core::limits::{NAME_BYTES_MAX, PAGE_ROWS_MAX, SUBJECT_BYTES_MAX};

use penstock_core::segment::{Attributes, Value};
use penstock_core::time::UnixSeconds;
use std::collections::BTreeSet;

/// Attributes of one account: every edge keeps them.
const ATTRIBUTES_MAX: usize = 64;
/// Agreements that one account accepted.
const AGREEMENTS_MAX: usize = 256;

/// Makes an account or changes it.
pub(crate) fn put(
    node: &Node,
    actor: &Actor,
    condition: &Condition,
    id: AccountId,
    wanted: &PutAccount,
) -> Result<(AccountDetail, Made), CallError> {
    check(wanted)?;
    check_parts(actor, wanted)?;
    node.record.write(actor, node.now(), |batch| {
        let known = accounts::lock(batch.connection(), &id)?;
        let made = if known.is_some() { Made::Before } else { Made::New };
        if made == Made::New {
            actor.require(Permission::AccountsWrite)?;
        }
        condition.check(known.as_ref().map(|account| detail(batch.connection(), account)).transpose()?.as_ref())?;
        let before = known.unwrap_or_else(|| new(id, batch.now()));
        let account = changed(before.clone(), wanted, batch.now());
        check_standing(actor, before.standing, account.standing)?;
        if made == Made::New || account != before {
            accounts::put(batch.connection(), &account, &node.keys.pseudonyms)?;
            let before = if made == Made::New { None } else { Some(&before) };
            batch.audit(&Deed::new("account.put", subject(&account.id)).change(before, &account)?)?;
            tell(node, batch, &account)?;
        }
        Ok((detail(batch.connection(), &account)?, made))
    })
}

/// One account with its entitlements.
pub(crate) fn get(node: &Node, id: &AccountId) -> Result<AccountDetail, CallError> {
    node.record.read(|connection| {
        let account = accounts::get(connection, id)?.ok_or_else(|| CallError::NoAccount(id.clone()))?;
        detail(connection, &account)
    })
}

fn detail(connection: &Connection, account: &Account) -> Result<AccountDetail, CallError> {
    let entitlements = accounts::entitlements(connection, &account.id)?;
    Ok(AccountDetail { account: account.clone(), entitlements })
}

/// A page of accounts, by name.
pub(crate) fn page(node: &Node, wanted: &AccountsQuery) -> Result<AccountsAnswer, CallError> {
    let limit = page_rows(wanted.limit);
    node.record.read(|connection| {
        let mut rows = accounts::page(connection, wanted, limit as u64 + 1)?;
        let next = cut_page(&mut rows, limit, |account| account.id.clone());
        Ok(AccountsAnswer { accounts: rows, next })
    })
}

/// A page of entitlements, by number.
pub(crate) fn entitlements_page(node: &Node, wanted: &EntitlementsQuery) -> Result<EntitlementsAnswer, CallError> {
    let limit = page_rows(wanted.limit);
    node.record.read(|connection| {
        let mut rows = accounts::entitlements_page(connection, wanted, limit as u64 + 1, node.now())?;
        let next = cut_page(&mut rows, limit, |one| one.id);
        Ok(EntitlementsAnswer { entitlements: rows, next })
    })
}

/// Gives a product to an account.
pub(crate) fn grant(node: &Node, actor: &Actor, wanted: &PostEntitlement) -> Result<Entitlement, CallError> {
    check_terms(&wanted.terms)?;
    node.record.write(actor, node.now(), |batch| {
        let now = batch.now();
        let starts = wanted.starts.unwrap_or(now);
        if wanted.ends.is_some_and(|ends| ends <= starts) {
            return Err(CallError::Malformed("ends: an entitlement must end after it starts".to_owned()));
        }
        products::find(batch.connection(), &wanted.terms.product)?;
        let account = find(batch, &wanted.account)?;
        let held = accounts::entitlements(batch.connection(), &account.id)?;
        if held.iter().filter(|one| one.revoked.is_none()).count() >= HOLDINGS_MAX {
            return Err(CallError::TooLarge { what: "the entitlements of one account", max: HOLDINGS_MAX as u64 });
        }
        let id = accounts::grant(batch.connection(), &account.id, &wanted.terms, starts, wanted.ends, now)?;
        tell(node, batch, &account)?;
        let given = accounts::entitlement(batch.connection(), id)?.ok_or(CallError::NoEntitlement(id))?;
        batch.audit(&Deed::new("entitlement.grant", entitlement_subject(&given)).after(&given)?)?;
        Ok(given)
    })
}

/// One entitlement.
pub(crate) fn entitlement(node: &Node, id: u64) -> Result<Entitlement, CallError> {
    node.record.read(|connection| accounts::entitlement(connection, id)?.ok_or(CallError::NoEntitlement(id)))
}

/// Takes an entitlement back; doing it twice is well.
pub(crate) fn revoke(node: &Node, actor: &Actor, condition: &Condition, id: u64) -> Result<Entitlement, CallError> {
    node.record.write(actor, node.now(), |batch| {
        let known = accounts::entitlement(batch.connection(), id)?.ok_or(CallError::NoEntitlement(id))?;
        condition.check(Some(&known))?;
        if known.revoked.is_some() {
            return Ok(known);
        }
        let account = find(batch, &known.account)?;
        accounts::revoke(batch.connection(), id, batch.now())?;
        tell(node, batch, &account)?;
        let after = accounts::entitlement(batch.connection(), id)?.ok_or(CallError::NoEntitlement(id))?;
        batch.audit(&Deed::new("entitlement.revoke", entitlement_subject(&known)).before(&known)?.after(&after)?)?;
        Ok(after)
    })
}

/// Under which the audit keeps what happens to an account.
pub(crate) fn subject(account: &AccountId) -> String {
    format!("account/{account}")
}

fn entitlement_subject(one: &Entitlement) -> String {
    format!("{}/entitlement/{}", subject(&one.account), one.id)
}

/// Which parts of an account somebody changes, each with a permission of its own.
fn check_parts(actor: &Actor, wanted: &PutAccount) -> Result<(), CallError> {
    let PutAccount { kind, standing: _, agreements, devices, attributes, end_tokens } = wanted;
    if kind.is_some() || agreements.is_some() || attributes.is_some() {
        actor.require(Permission::AccountsWrite)?;
    }
    if devices.is_some() {
        actor.require(Permission::DevicesWrite)?;
    }
    if *end_tokens {
        actor.require(Permission::TokensEnd)?;
    }
    Ok(())
}

/// Only compliance puts an account on hold, denies it, or takes that back; the desk may suspend it and end that.
pub(crate) fn check_standing(actor: &Actor, before: Standing, after: Standing) -> Result<(), CallError> {
    let is_screened = |standing| matches!(standing, Standing::OnHold | Standing::Denied);
    if before == after || (actor.may(Permission::StandingWrite)) {
        Ok(())
    } else if is_screened(before) || is_screened(after) {
        actor.require(Permission::StandingWrite)
    } else {
        actor.require(Permission::AccountsWrite)
    }
}

/// The account, which nobody else changes until the transaction ends.
fn find(batch: &Batch<'_>, id: &AccountId) -> Result<Account, CallError> {
    accounts::lock(batch.connection(), id)?.ok_or_else(|| CallError::NoAccount(id.clone()))
}

fn tell(node: &Node, batch: &mut Batch<'_>, account: &Account) -> Result<(), CallError> {
    let entitlements = accounts::entitlements(batch.connection(), &account.id)?;
    let (account, facts) = accounts::facts(account, &entitlements, &node.keys.pseudonyms);
    Ok(batch.tell(CatalogChange::Account { account, facts: Some(facts) })?)
}

pub(crate) fn new(id: AccountId, now: UnixSeconds) -> Account {
    Account {
        id,
        kind: AccountKind::default(),
        standing: Standing::default(),
        tokens_from: None,
        agreements: BTreeSet::new(),
        devices: BTreeSet::new(),
        attributes: Attributes::default(),
        created: now,
    }
}

pub(crate) fn changed(mut account: Account, wanted: &PutAccount, now: UnixSeconds) -> Account {
    account.kind = wanted.kind.unwrap_or(account.kind);
    account.standing = wanted.standing.unwrap_or(account.standing);
    if let Some(agreements) = &wanted.agreements {
        account.agreements.clone_from(agreements);
    }
    if let Some(devices) = &wanted.devices {
        account.devices.clone_from(devices);
    }
    if let Some(attributes) = &wanted.attributes {
        account.attributes.clone_from(attributes);
    }
    if wanted.end_tokens {
        // Tokens count in whole seconds: those of this one must not survive.
        account.tokens_from = Some(now.plus(1));
    }
    account
}

pub(crate) fn check(wanted: &PutAccount) -> Result<(), CallError> {
    let too_many = |what, max: usize| CallError::TooLarge { what, max: max as u64 };
    let is_text =
        |text: &String, max: usize| !text.is_empty() && text.len() <= max && !text.chars().any(char::is_control);
    if let Some(agreements) = &wanted.agreements {
        if agreements.len() > AGREEMENTS_MAX {
            return Err(too_many("the agreements of one account", AGREEMENTS_MAX));
        }
        agreements.iter().try_for_each(|agreement| check_agreement(agreement))?;
    }
    if let Some(devices) = &wanted.devices {
        if devices.len() > DEVICES_MAX {
            return Err(too_many("the devices of one account", DEVICES_MAX));
        }
        if !devices.iter().all(|device| is_text(device, SUBJECT_BYTES_MAX)) {
            return Err(CallError::Malformed("devices: each has 1 to 256 bytes and no control characters".to_owned()));
        }
    }
    if let Some(attributes) = &wanted.attributes {
        if attributes.len() > ATTRIBUTES_MAX {
            return Err(too_many("the attributes of one account", ATTRIBUTES_MAX));
        }
        let is_good = |(name, value): (&String, &Value)| {
            is_text(name, NAME_BYTES_MAX) && !matches!(value, Value::Text(text) if text.len() > SUBJECT_BYTES_MAX)
        };
        if !attributes.iter().all(is_good) {
            return Err(CallError::Malformed("attributes: names have 1 to 64 bytes, texts at most 256".to_owned()));
        }
    }
    Ok(())
}

pub(crate) fn check_terms(terms: &Terms) -> Result<(), CallError> {
    let counts = [terms.channels.len(), terms.platforms.len(), terms.components.len(), terms.groups.len()];
    if counts.into_iter().chain([terms.regions.len()]).any(|count| count > PAGE_ROWS_MAX) {
        return Err(CallError::TooLarge { what: "a set of the terms", max: PAGE_ROWS_MAX as u64 });
    }
    terms.agreement.iter().try_for_each(|agreement| check_agreement(agreement))
}

/// `name@version`.
fn check_agreement(text: &str) -> Result<(), CallError> {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let is_good = text.len() <= NAME_BYTES_MAX
        && text.split_once('@').is_some_and(|(name, version)| is_word(name) && is_word(version));
    if is_good {
        Ok(())
    } else {
        Err(CallError::Malformed("agreements are written name@version, such as eula@3".to_owned()))
    }
}
