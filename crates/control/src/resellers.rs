//! Resellers: their customers, and what they may give.
//!
//! How much of an allocation is used is kept in its row, and changed in the transaction that gives or takes back. All
//! transactions that write come one after the other, in all processes, so no two take the last one.

use crate::accounts::{check_terms, find, make, subject};
use crate::actor::Actor;
use crate::control::Node;
use crate::entitlements::{check_times, of_package, of_terms};
use crate::error::CallError;
use crate::page::{cut_page, page_rows};
use crate::people_error::PeopleError;
use crate::products::Made;
use crate::record::allocations::{self, NewAllocation};
use crate::record::audit::Deed;
use crate::record::{Batch, accounts, people};
use penstock_core::account::{AccountId, Standing};
use penstock_core::delegate::Party;
use penstock_core::desk::{
    Account, AccountKind, AccountsAnswer, Allocation, AllocationsAnswer, PostAllocation, PutCustomer,
};
use penstock_core::limits::{ALLOCATION_QUANTITY_MAX, ALLOCATIONS_MAX};
use penstock_core::time::UnixSeconds;
use std::sync::Arc;

/// Makes an account a reseller's customer. An account that is not there is made.
pub(crate) fn put_customer(
    node: &Node,
    actor: &Actor,
    reseller: &AccountId,
    customer: &AccountId,
    wanted: &PutCustomer,
) -> Result<(Account, Made), CallError> {
    let party = actor.party();
    party.sells(reseller).map_err(PeopleError::from)?;
    if wanted.kind == Some(AccountKind::Reseller) {
        return Err(CallError::Malformed("kind: a customer that is made is individual or business".to_owned()));
    }
    node.record.write(actor, node.now(), |batch| {
        reseller_of(batch, reseller)?;
        let known = accounts::lock(batch.connection(), customer)?;
        match known.as_ref().and_then(|known| known.seller.as_ref()) {
            Some(seller) if seller == reseller => return Ok((find(batch, customer)?, Made::Before)),
            Some(seller) if *party == Party::Studio => {
                let seller = seller.clone();
                return Err(PeopleError::OtherSeller { customer: customer.clone(), seller }.into());
            }
            // To a reseller this is an account like any other that is not its own.
            Some(_) | None => {}
        }
        let holds_more = people::holds_more(batch.connection(), customer, Some(reseller))?;
        let is_others = known.as_ref().is_some_and(|known| known.seller.is_some());
        party.takes_in(customer, holds_more || is_others).map_err(PeopleError::from)?;
        if customer == reseller {
            return Err(PeopleError::Itself(customer.clone()).into());
        }
        if known.is_none() {
            make(node, batch, party, customer, wanted.kind.unwrap_or_default())?;
        }
        people::set_seller(batch.connection(), customer, Some(reseller))?;
        let account = find(batch, customer)?;
        batch.audit(&Deed::new("customer.put", customer_subject(reseller, customer)).after(&account)?)?;
        Ok((account, Made::New))
    })
}

/// A page of a reseller's customers, by name.
pub(crate) fn customers(
    node: &Node,
    actor: &Actor,
    reseller: &AccountId,
    after: Option<&AccountId>,
    limit: Option<u64>,
) -> Result<AccountsAnswer, CallError> {
    actor.party().sells(reseller).map_err(PeopleError::from)?;
    let limit = page_rows(limit);
    node.record.read(|connection| {
        accounts::get(connection, reseller)?.ok_or_else(|| CallError::NoAccount(reseller.clone()))?;
        let after = after.map_or("", AccountId::as_str);
        let mut accounts = accounts::customers(connection, reseller, after, limit as u64 + 1)?;
        let next = cut_page(&mut accounts, limit, |account| account.id.clone());
        Ok(AccountsAnswer { accounts, next })
    })
}

/// Ends an account's being a reseller's customer. What it was given stays.
pub(crate) fn remove_customer(
    node: &Node,
    actor: &Actor,
    reseller: &AccountId,
    customer: &AccountId,
) -> Result<Account, CallError> {
    actor.party().sells(reseller).map_err(PeopleError::from)?;
    node.record.write(actor, node.now(), |batch| {
        let known = accounts::lock(batch.connection(), customer)?;
        let known = known.filter(|known| known.seller.as_ref() == Some(reseller));
        let known =
            known.ok_or_else(|| PeopleError::NoCustomer { seller: reseller.clone(), customer: customer.clone() })?;
        people::set_seller(batch.connection(), customer, None)?;
        batch.audit(&Deed::new("customer.remove", customer_subject(reseller, customer)).before(&known)?)?;
        find(batch, customer)
    })
}

/// Lets a reseller give something, so many times.
pub(crate) fn allocate(
    node: &Node,
    actor: &Actor,
    reseller: &AccountId,
    wanted: &PostAllocation,
) -> Result<Allocation, CallError> {
    if wanted.quantity == 0 || wanted.quantity > ALLOCATION_QUANTITY_MAX {
        let text = format!("quantity: 1 to {ALLOCATION_QUANTITY_MAX}, not {}", wanted.quantity);
        return Err(CallError::Malformed(text));
    }
    if wanted.terms.is_some() == wanted.package.is_some() {
        return Err(CallError::Malformed("name either terms or a package".to_owned()));
    }
    wanted.terms.iter().try_for_each(check_terms)?;
    node.record.write(actor, node.now(), |batch| {
        let reseller = reseller_of(batch, reseller)?.id;
        if allocations::of_reseller(batch.connection(), &reseller)?.len() >= ALLOCATIONS_MAX {
            return Err(CallError::TooLarge { what: "the allocations of one reseller", max: ALLOCATIONS_MAX as u64 });
        }
        let starts = wanted.starts.unwrap_or(batch.now());
        check_times(starts, wanted.ends)?;
        let (what, _) = match (&wanted.terms, &wanted.package) {
            (Some(terms), _) => of_terms(batch, &Arc::new(terms.clone()))?,
            (None, Some(package)) => of_package(batch, package)?,
            (None, None) => return Err(CallError::Malformed("name either terms or a package".to_owned())),
        };
        let new =
            NewAllocation { reseller: &reseller, what: &what, quantity: wanted.quantity, starts, ends: wanted.ends };
        let id = allocations::add(batch.connection(), &new, batch.now())?;
        let made = allocations::get(batch.connection(), id)?.ok_or(PeopleError::NoAllocation(id))?;
        batch.audit(&Deed::new("allocation.add", allocation_subject(&made)).after(&made)?)?;
        Ok(made)
    })
}

/// What a reseller may give, oldest first.
pub(crate) fn allocations(node: &Node, actor: &Actor, reseller: &AccountId) -> Result<AllocationsAnswer, CallError> {
    actor.party().sells(reseller).map_err(PeopleError::from)?;
    node.record.read(|connection| {
        accounts::get(connection, reseller)?.ok_or_else(|| CallError::NoAccount(reseller.clone()))?;
        Ok(AllocationsAnswer { allocations: allocations::of_reseller(connection, reseller)? })
    })
}

/// Nothing is given out of an allocation any more; what was given stays. Doing it twice is well.
pub(crate) fn close(node: &Node, actor: &Actor, id: u64) -> Result<Allocation, CallError> {
    node.record.write(actor, node.now(), |batch| {
        let known = allocations::get(batch.connection(), id)?.ok_or(PeopleError::NoAllocation(id))?;
        if known.closed.is_some() {
            return Ok(known);
        }
        allocations::close(batch.connection(), id, batch.now())?;
        let after = allocations::get(batch.connection(), id)?.ok_or(PeopleError::NoAllocation(id))?;
        batch.audit(&Deed::new("allocation.close", allocation_subject(&known)).before(&known)?.after(&after)?)?;
        Ok(after)
    })
}

/// The allocation, when the party may give out of it to this account.
pub(crate) fn check_gift(
    batch: &Batch<'_>,
    party: &Party,
    id: u64,
    customer: &Account,
) -> Result<Allocation, CallError> {
    let known = allocations::get(batch.connection(), id)?.filter(|known| party.sells(&known.reseller).is_ok());
    let known = known.ok_or(PeopleError::NoAllocation(id))?;
    if customer.seller.as_ref() != Some(&known.reseller) {
        let (seller, customer) = (known.reseller, customer.id.clone());
        return Err(PeopleError::NoCustomer { seller, customer }.into());
    }
    let reseller = find(batch, &known.reseller)?;
    if reseller.standing != Standing::Active {
        return Err(PeopleError::NotActive(reseller.id).into());
    }
    if known.closed.is_some() {
        return Err(PeopleError::Closed(id).into());
    }
    Ok(known)
}

/// Takes so many of an allocation, for what is given from `starts` to `ends`.
pub(crate) fn take(
    batch: &Batch<'_>,
    allocation: &Allocation,
    starts: UnixSeconds,
    ends: Option<UnixSeconds>,
    wanted: u64,
) -> Result<(), CallError> {
    let Allocation { id, quantity, used, .. } = *allocation;
    let is_too_late = match (ends, allocation.ends) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(ends), Some(last)) => ends > last,
    };
    if starts < allocation.starts || is_too_late || allocation.ends.is_some_and(|last| starts >= last) {
        return Err(PeopleError::OutsideTime { id, starts: allocation.starts, ends: allocation.ends }.into());
    }
    if !allocations::take(batch.connection(), id, wanted)? {
        return Err(PeopleError::Exhausted { id, left: quantity.saturating_sub(used), wanted }.into());
    }
    Ok(())
}

/// Under which the audit keeps what happens to a customer, among what happens to its reseller.
fn customer_subject(reseller: &AccountId, customer: &AccountId) -> String {
    format!("{}/customer/{customer}", subject(reseller))
}

fn allocation_subject(one: &Allocation) -> String {
    format!("{}/allocation/{}", subject(&one.reseller), one.id)
}

/// The reseller, who must be one.
fn reseller_of(batch: &Batch<'_>, id: &AccountId) -> Result<Account, CallError> {
    let account = find(batch, id)?;
    if account.kind == AccountKind::Reseller { Ok(account) } else { Err(PeopleError::NotReseller(account.id).into()) }
}
