//! What companies and resellers may do in their own name, and how far the tokens reach that they mint.
//!
//! Owns the rule that nobody hands on more than it has: a company acts for its own users, a reseller for its own
//! customers, and a token that one of them mints names only products that its bearer holds by way of it. It must not know
//! how accounts are stored or tokens are signed.

use crate::account::{AccountId, Standing};
use crate::api::MintToken;
use crate::id::ProductId;
use crate::limits::{DELEGATED_LIFE_SECONDS_MAX, TOKEN_PRODUCTS_MAX};
use std::collections::BTreeSet;

/// What stands between a company's or reseller's name and the rest of the names that it gives to new accounts.
pub const NAME_SEPARATOR: char = '/';

/// In whose name a call is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// The studio's.
    Studio,
    /// A company's, by its account.
    Company(AccountId),
    /// A reseller's, likewise.
    Reseller(AccountId),
}

/// Why a party may not do something to somebody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotYours {
    /// It concerns another account.
    #[error("this is not done in the name of {0}")]
    Account(AccountId),
    /// A new account's name must begin with the party's own.
    #[error("accounts that {party} makes are named {party}{NAME_SEPARATOR}…, and {name} is not")]
    Name {
        /// Who makes it.
        party: AccountId,
        /// The name.
        name: AccountId,
    },
    /// Whoever holds something else could lose it to the party.
    #[error("account {0} holds something of somebody else: only the studio takes it in")]
    HoldsMore(AccountId),
    /// Resellers give what was allocated to them.
    #[error("a reseller gives out of an allocation: name it")]
    NoAllocation,
}

impl Party {
    /// The account that it acts for; the studio acts for all.
    #[must_use]
    pub const fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Studio => None,
            Self::Company(account) | Self::Reseller(account) => Some(account),
        }
    }

    /// Whether it runs a company's users and seats.
    ///
    /// # Errors
    /// [`NotYours::Account`].
    pub fn runs(&self, company: &AccountId) -> Result<(), NotYours> {
        match self {
            Self::Studio => Ok(()),
            Self::Company(own) if own == company => Ok(()),
            Self::Company(_) | Self::Reseller(_) => Err(NotYours::Account(company.clone())),
        }
    }

    /// Whether it has a reseller's customers and allocations in hand.
    ///
    /// # Errors
    /// [`NotYours::Account`].
    pub fn sells(&self, reseller: &AccountId) -> Result<(), NotYours> {
        match self {
            Self::Studio => Ok(()),
            Self::Reseller(own) if own == reseller => Ok(()),
            Self::Company(_) | Self::Reseller(_) => Err(NotYours::Account(reseller.clone())),
        }
    }

    /// Whether it may make an account its user or customer. `holds_more`: it is there, and holds something that the party
    /// did not give. The name decides first, so that a party learns nothing about other names.
    ///
    /// # Errors
    /// [`NotYours::Name`], [`NotYours::HoldsMore`].
    pub fn takes_in(&self, name: &AccountId, holds_more: bool) -> Result<(), NotYours> {
        let Some(own) = self.account() else { return Ok(()) };
        let rest = name.as_str().strip_prefix(own.as_str()).and_then(|rest| rest.strip_prefix(NAME_SEPARATOR));
        if rest.is_none_or(str::is_empty) {
            return Err(NotYours::Name { party: own.clone(), name: name.clone() });
        }
        if holds_more { Err(NotYours::HoldsMore(name.clone())) } else { Ok(()) }
    }
}

/// What is known of those whom a token concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whether the party's own account is served.
    pub party: Standing,
    /// The bearer, if there is such an account.
    pub bearer: Option<Bearer>,
}

/// The account that a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Whether it is served.
    pub standing: Standing,
    /// The company whose user it is.
    pub company: Option<AccountId>,
    /// The reseller whose customer it is.
    pub seller: Option<AccountId>,
    /// Products that it holds by way of the party: by seats of the company, or given out of the reseller's allocations.
    pub products: BTreeSet<ProductId>,
}

/// A token's content that is within what its maker may give. Only [`delegated`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrowed(MintToken);

impl Narrowed {
    /// What to sign.
    #[must_use]
    pub const fn content(&self) -> &MintToken {
        &self.0
    }
}

/// Why a token is not minted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintRefusal {
    /// The party is not served itself.
    #[error("{0} is not active, so it mints no tokens")]
    PartyNotActive(AccountId),
    /// The account is nobody's that it may mint for, or there is none.
    #[error("{party} has no user or customer {bearer}")]
    NotYours {
        /// Who asks.
        party: AccountId,
        /// For whom.
        bearer: String,
    },
    /// The bearer is not served.
    #[error("account {0} is not active, so a token would be worth nothing")]
    BearerNotActive(String),
    /// The bearer holds nothing that the party gave.
    #[error("account {0} holds nothing by way of you: give it something first")]
    HoldsNothing(String),
    /// The bearer does not hold this by way of the party.
    #[error("account {bearer} does not hold {product} by way of you")]
    Product {
        /// For whom.
        bearer: String,
        /// What was asked for.
        product: ProductId,
    },
    /// Too many to fit.
    #[error("name at most {max} products: the account holds {0} by way of you, and all of them do not fit a token",
        max = TOKEN_PRODUCTS_MAX)]
    TooMany(usize),
    /// Zero, or longer than allowed.
    #[error("ttl_seconds must be 1 to {max}, not {0}", max = DELEGATED_LIFE_SECONDS_MAX)]
    Life(u64),
}

/// The token that a party may mint for what it wants: never for anybody else, never wider, never longer.
///
/// The studio's wish passes as it is. Others get the products that they named, or, when they named none, all that the bearer
/// holds by way of them: a token that names none would reach everything that its bearer holds.
///
/// # Errors
/// [`MintRefusal`].
pub fn delegated(party: &Party, wanted: &MintToken, facts: &Facts) -> Result<Narrowed, MintRefusal> {
    let Some(own) = party.account() else { return Ok(Narrowed(wanted.clone())) };
    if facts.party != Standing::Active {
        return Err(MintRefusal::PartyNotActive(own.clone()));
    }
    let belongs = |bearer: &&Bearer| match party {
        Party::Company(_) => bearer.company.as_ref() == Some(own),
        Party::Reseller(_) => bearer.seller.as_ref() == Some(own),
        Party::Studio => false,
    };
    let not_yours = || MintRefusal::NotYours { party: own.clone(), bearer: wanted.sub.clone() };
    let bearer = facts.bearer.as_ref().filter(belongs).ok_or_else(not_yours)?;
    if bearer.standing != Standing::Active {
        return Err(MintRefusal::BearerNotActive(wanted.sub.clone()));
    }
    if wanted.ttl_seconds == 0 || wanted.ttl_seconds > DELEGATED_LIFE_SECONDS_MAX {
        return Err(MintRefusal::Life(wanted.ttl_seconds));
    }
    if bearer.products.is_empty() {
        return Err(MintRefusal::HoldsNothing(wanted.sub.clone()));
    }
    if let Some(product) = wanted.products.iter().find(|product| !bearer.products.contains(*product)) {
        return Err(MintRefusal::Product { bearer: wanted.sub.clone(), product: product.clone() });
    }
    let named: BTreeSet<ProductId> =
        if wanted.products.is_empty() { bearer.products.clone() } else { wanted.products.iter().cloned().collect() };
    if named.len() > TOKEN_PRODUCTS_MAX {
        return Err(MintRefusal::TooMany(named.len()));
    }
    let products = named.into_iter().collect();
    Ok(Narrowed(MintToken { sub: wanted.sub.clone(), products, ttl_seconds: wanted.ttl_seconds }))
}

#[cfg(test)]
mod tests;
