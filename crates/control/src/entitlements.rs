//! Entitlements: give, show, take back. What is given is terms, a package, or what an allocation is of.

use crate::accounts::{check_terms, find};
use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::Node;
use crate::error::CallError;
use crate::page::{cut_page, page_rows};
use crate::people::check_weight;
use crate::people_error::PeopleError;
use crate::record::audit::Deed;
use crate::record::entitlements::{self, NewEntitlement, What};
use crate::record::holdings::Whose;
use crate::record::{Batch, allocations};
use crate::sql::Connection;
use crate::{accounts, packages, products, resellers, told};
use penstock_core::account::{HOLDINGS_MAX, Terms};
use penstock_core::delegate::{NotYours, Party};
use penstock_core::desk::{
    Account, AccountKind, Entitlement, EntitlementsAnswer, EntitlementsQuery, Given, PostEntitlement,
};
use penstock_core::id::PackageId;
use penstock_core::limits::{REVOKED_KEPT_MAX, SEATS_MAX};
use penstock_core::time::UnixSeconds;
use std::sync::Arc;

/// Gives something to an account.
pub(crate) fn grant(node: &Node, actor: &Actor, wanted: &PostEntitlement) -> Result<Entitlement, CallError> {
    let (party, subject) = (actor.party(), Subject::of(wanted)?);
    if *party != Party::Studio && !matches!(subject, Subject::Allocation(_)) {
        return Err(PeopleError::from(NotYours::NoAllocation).into());
    }
    if wanted.seats.is_some_and(|seats| seats == 0 || seats > SEATS_MAX) {
        return Err(CallError::TooLarge { what: "an entitlement has at least one seat, and", max: SEATS_MAX });
    }
    node.record.write(actor, node.now(), |batch| {
        let now = batch.now();
        let mut starts = wanted.starts.unwrap_or(now);
        let mut ends = wanted.ends;
        let account = find(batch, &wanted.account)?;
        let (what, of, allocation) = match &subject {
            Subject::Terms(terms) => {
                let (what, of) = of_terms(batch, terms)?;
                (what, of, None)
            }
            Subject::Package(package) => {
                let (what, of) = of_package(batch, package)?;
                (what, of, None)
            }
            Subject::Allocation(id) => {
                let allocation = resellers::check_gift(batch, party, *id, &account)?;
                starts = wanted.starts.unwrap_or(now.max(allocation.starts));
                ends = wanted.ends.or(allocation.ends);
                resellers::take(batch, &allocation, starts, ends, wanted.seats.unwrap_or(1))?;
                let (what, of) = match allocation.what {
                    Given::Terms(terms) => of_terms(batch, &terms)?,
                    Given::Package(package) => of_package(batch, &package)?,
                };
                (what, of, Some(*id))
            }
        };
        check_times(starts, ends)?;
        check_account(batch, &account, wanted.seats, &of)?;
        let given =
            NewEntitlement { account: wanted.account.clone(), what, seats: wanted.seats, allocation, starts, ends };
        let id = entitlements::grant(batch.connection(), &given, now)?;
        if wanted.seats.is_none() {
            told::account(node, batch, &account)?;
        }
        let given = entitlements::get(batch.connection(), id)?.ok_or(CallError::NoEntitlement(id))?;
        batch.audit(&Deed::new("entitlement.grant", audited(&given)).after(&given)?)?;
        Ok(given)
    })
}

/// Under which the audit keeps what happens to an entitlement, among what happens to its account.
fn audited(one: &Entitlement) -> String {
    format!("{}/entitlement/{}", accounts::subject(&one.account), one.id)
}

/// One entitlement.
pub(crate) fn get(node: &Node, id: u64) -> Result<Entitlement, CallError> {
    node.record.read(|connection| entitlements::get(connection, id)?.ok_or(CallError::NoEntitlement(id)))
}

/// A page of entitlements, by number.
pub(crate) fn page(node: &Node, wanted: &EntitlementsQuery) -> Result<EntitlementsAnswer, CallError> {
    let limit = page_rows(wanted.limit);
    node.record.read(|connection| {
        let mut rows = entitlements::page(connection, wanted, limit as u64 + 1, node.now())?;
        let next = cut_page(&mut rows, limit, |one| one.id);
        Ok(EntitlementsAnswer { entitlements: rows, next })
    })
}

/// Takes an entitlement back, and all its seats with it; doing it twice is well, until [`REVOKED_KEPT_MAX`] others of the
/// account were taken back since.
pub(crate) fn revoke(node: &Node, actor: &Actor, condition: &Condition, id: u64) -> Result<Entitlement, CallError> {
    node.record.write(actor, node.now(), |batch| {
        let known = given_by(batch.connection(), actor.party(), id)?;
        condition.check(Some(&known))?;
        if known.revoked.is_some() {
            return Ok(known);
        }
        let account = find(batch, &known.account)?;
        entitlements::revoke(batch.connection(), id, batch.now())?;
        if let Some(allocation) = known.allocation {
            allocations::give_back(batch.connection(), allocation, known.seats.unwrap_or(1))?;
        }
        match known.seats {
            Some(_) => told::people(node, batch, Whose::Entitlement(id))?,
            None => told::account(node, batch, &account)?,
        }
        let after = entitlements::get(batch.connection(), id)?.ok_or(CallError::NoEntitlement(id))?;
        batch.audit(&Deed::new("entitlement.revoke", audited(&known)).before(&known)?.after(&after)?)?;
        entitlements::forget_revoked(batch.connection(), &account.id, REVOKED_KEPT_MAX)?;
        Ok(after)
    })
}

/// An entitlement that a party may take back: the studio any, a reseller what was given out of its allocations.
fn given_by(connection: &Connection, party: &Party, id: u64) -> Result<Entitlement, CallError> {
    let known = entitlements::get(connection, id)?.ok_or(CallError::NoEntitlement(id))?;
    if *party == Party::Studio {
        return Ok(known);
    }
    let allocation = known.allocation.map(|id| allocations::get(connection, id)).transpose()?.flatten();
    let is_theirs = allocation.is_some_and(|allocation| party.sells(&allocation.reseller).is_ok());
    if is_theirs { Ok(known) } else { Err(CallError::NoEntitlement(id)) }
}

/// What somebody wants to give.
enum Subject {
    Terms(Arc<Terms>),
    Package(PackageId),
    Allocation(u64),
}

impl Subject {
    fn of(wanted: &PostEntitlement) -> Result<Self, CallError> {
        match (&wanted.terms, &wanted.package, wanted.allocation) {
            (Some(terms), None, None) => {
                check_terms(terms)?;
                Ok(Self::Terms(Arc::new(terms.clone())))
            }
            (None, Some(package), None) => Ok(Self::Package(package.clone())),
            (None, None, Some(allocation)) => Ok(Self::Allocation(allocation)),
            _ => Err(CallError::Malformed("name one of terms, package and allocation".to_owned())),
        }
    }
}

/// Terms that were checked, as a row and as a document.
pub(crate) fn of_terms(batch: &Batch<'_>, terms: &Arc<Terms>) -> Result<(What, Given), CallError> {
    products::find(batch.connection(), &terms.product)?;
    let number = entitlements::terms_number(batch.connection(), terms)?;
    Ok((What::Terms(number), Given::Terms(Arc::clone(terms))))
}

/// A package that is there, likewise.
pub(crate) fn of_package(batch: &Batch<'_>, package: &PackageId) -> Result<(What, Given), CallError> {
    packages::find(batch.connection(), package)?;
    Ok((What::Package(package.clone()), Given::Package(package.clone())))
}

/// An end comes after its start, and both fit the record.
pub(crate) fn check_times(starts: UnixSeconds, ends: Option<UnixSeconds>) -> Result<(), CallError> {
    if i64::try_from(starts.0.max(ends.map_or(0, |ends| ends.0))).is_err() {
        return Err(CallError::Malformed("starts, ends: seconds since 1970, below 2^63".to_owned()));
    }
    if ends.is_some_and(|ends| ends <= starts) {
        return Err(CallError::Malformed("ends: it must end after it starts".to_owned()));
    }
    Ok(())
}

/// Whether an account may be given this.
fn check_account(batch: &Batch<'_>, account: &Account, seats: Option<u64>, what: &Given) -> Result<(), CallError> {
    if entitlements::count_live(batch.connection(), &account.id)? >= HOLDINGS_MAX as u64 {
        return Err(CallError::TooLarge { what: "the entitlements of one account", max: HOLDINGS_MAX as u64 });
    }
    match seats {
        None => check_weight(batch.connection(), &account.id, what),
        Some(_) if account.kind == AccountKind::Business => Ok(()),
        Some(_) => Err(PeopleError::NotBusiness(account.id.clone()).into()),
    }
}
