//! Users of companies and their seats.
//!
//! A user is an account of its own. What it holds by a seat comes and goes with the seat, the entitlement, the user and the
//! company's standing; whenever one of these changes, the user is told as if it had changed itself.

use crate::accounts::{find, make, subject};
use crate::actor::Actor;
use crate::control::Node;
use crate::error::CallError;
use crate::page::{cut_page, page_rows};
use crate::people_error::PeopleError;
use crate::products::Made;
use crate::record::audit::Deed;
use crate::record::holdings;
use crate::record::{Batch, accounts, entitlements, people};
use crate::sql::Connection;
use crate::told;
use penstock_core::account::{AccountId, HOLDINGS_MAX};
use penstock_core::delegate::Party;
use penstock_core::desk::{Account, AccountKind, Entitlement, Given, PutUser, Seat, SeatsAnswer, User, UsersAnswer};
use penstock_core::limits::{PACKAGE_ITEMS_MAX, USERS_MAX};
use penstock_core::time::UnixSeconds;
use serde::Serialize;
use std::collections::BTreeMap;

/// Makes an account a user of a company, or changes its role. An account that is not there is made.
pub(crate) fn put_user(
    node: &Node,
    actor: &Actor,
    company: &AccountId,
    user: &AccountId,
    wanted: &PutUser,
) -> Result<(User, Made), CallError> {
    let party = actor.party();
    party.runs(company).map_err(PeopleError::from)?;
    node.record.write(actor, node.now(), |batch| {
        let company = company_of(batch, company)?;
        let known = people::user(batch.connection(), user)?;
        if let Some(known) = known {
            if known.company != company.id {
                // A company learns nothing about names that are not below its own.
                party.takes_in(user, true).map_err(PeopleError::from)?;
                return Err(PeopleError::OtherCompany { user: user.clone(), company: known.company }.into());
            }
            let changed = User { role: wanted.role.unwrap_or(known.role), ..known.clone() };
            if changed != known {
                people::put_user(batch.connection(), &changed)?;
                batch.audit(&Deed::new("user.put", user_subject(&changed)).before(&known)?.after(&changed)?)?;
            }
            return Ok((changed, Made::Before));
        }
        check_room(batch, &company.id)?;
        let account = accounts::lock(batch.connection(), user)?;
        let holds_more = people::holds_more(batch.connection(), user, None)?;
        party.takes_in(user, holds_more).map_err(PeopleError::from)?;
        check_user(user, &company.id, account.as_ref())?;
        if account.is_none() {
            make(node, batch, party, user, AccountKind::Individual)?;
        }
        let role = wanted.role.unwrap_or_default();
        let made = User { account: user.clone(), company: company.id, role, added: batch.now() };
        people::put_user(batch.connection(), &made)?;
        batch.audit(&Deed::new("user.put", user_subject(&made)).after(&made)?)?;
        Ok((made, Made::New))
    })
}

/// A page of a company's users, by name.
pub(crate) fn users(
    node: &Node,
    actor: &Actor,
    company: &AccountId,
    after: Option<&AccountId>,
    limit: Option<u64>,
) -> Result<UsersAnswer, CallError> {
    actor.party().runs(company).map_err(PeopleError::from)?;
    let limit = page_rows(limit);
    node.record.read(|connection| {
        accounts::get(connection, company)?.ok_or_else(|| CallError::NoAccount(company.clone()))?;
        let mut users = people::users(connection, company, after.map_or("", AccountId::as_str), limit as u64 + 1)?;
        let next = cut_page(&mut users, limit, |user| user.account.clone());
        Ok(UsersAnswer { users, next })
    })
}

/// Ends a user's belonging to a company; all its seats go. The account stays.
pub(crate) fn remove_user(
    node: &Node,
    actor: &Actor,
    company: &AccountId,
    user: &AccountId,
) -> Result<User, CallError> {
    actor.party().runs(company).map_err(PeopleError::from)?;
    node.record.write(actor, node.now(), |batch| {
        let known = user_of(batch.connection(), company, user)?;
        let seats = people::remove_user(batch.connection(), user)?;
        batch.audit(&Deed::new("user.remove", user_subject(&known)).before(&Leaving { user: &known, seats })?)?;
        let account = find(batch, user)?;
        told::account(node, batch, &account)?;
        Ok(known)
    })
}

/// What the audit says of a user who leaves. Nothing else knows of the seats that it had.
#[derive(Serialize)]
struct Leaving<'a> {
    #[serde(flatten)]
    user: &'a User,
    /// Since when, by entitlement.
    seats: BTreeMap<u64, UnixSeconds>,
}

/// Gives a seat to a user of the company; one that has it already keeps it.
pub(crate) fn give_seat(
    node: &Node,
    actor: &Actor,
    entitlement: u64,
    user: &AccountId,
) -> Result<(Seat, Made), CallError> {
    node.record.write(actor, node.now(), |batch| {
        let given = with_seats(batch.connection(), actor.party(), entitlement)?;
        if let Some(seat) = people::seat(batch.connection(), entitlement, user)? {
            return Ok((seat, Made::Before));
        }
        user_of(batch.connection(), &given.account, user)?;
        let (seats, taken) = (given.seats.unwrap_or(0), given.seats_taken.unwrap_or(0));
        if taken >= seats {
            return Err(PeopleError::SeatsTaken { entitlement, seats }.into());
        }
        check_weight(batch.connection(), user, &given.what)?;
        let account = find(batch, user)?;
        let seat = Seat { entitlement, account: user.clone(), given: batch.now() };
        people::give_seat(batch.connection(), &seat)?;
        batch.audit(&Deed::new("seat.give", seat_subject(&given, user)).after(&seat)?)?;
        told::account(node, batch, &account)?;
        Ok((seat, Made::New))
    })
}

/// Takes a seat back; doing it twice is well.
pub(crate) fn take_seat(
    node: &Node,
    actor: &Actor,
    entitlement: u64,
    user: &AccountId,
) -> Result<SeatsAnswer, CallError> {
    node.record.write(actor, node.now(), |batch| {
        let given = with_seats(batch.connection(), actor.party(), entitlement)?;
        if let Some(seat) = people::seat(batch.connection(), entitlement, user)? {
            people::take_seat(batch.connection(), entitlement, user)?;
            batch.audit(&Deed::new("seat.take", seat_subject(&given, user)).before(&seat)?)?;
            let account = find(batch, user)?;
            told::account(node, batch, &account)?;
        }
        seats_of(batch.connection(), actor.party(), entitlement, None, 0)
    })
}

/// A page of those who have a seat, by name.
pub(crate) fn seats(
    node: &Node,
    actor: &Actor,
    entitlement: u64,
    after: Option<&AccountId>,
    limit: Option<u64>,
) -> Result<SeatsAnswer, CallError> {
    let limit = page_rows(limit);
    node.record.read(|connection| seats_of(connection, actor.party(), entitlement, after, limit))
}

fn seats_of(
    connection: &Connection,
    party: &Party,
    entitlement: u64,
    after: Option<&AccountId>,
    limit: usize,
) -> Result<SeatsAnswer, CallError> {
    let given = theirs(connection, party, entitlement)?;
    let seats = given.seats.ok_or(PeopleError::NoSeats(entitlement))?;
    let after = after.map_or("", AccountId::as_str);
    let mut holders = people::seats(connection, entitlement, after, limit as u64 + 1)?;
    let next = cut_page(&mut holders, limit, |seat| seat.account.clone());
    Ok(SeatsAnswer { seats, taken: given.seats_taken.unwrap_or(0), holders, next })
}

/// An entitlement in force that has seats.
fn with_seats(connection: &Connection, party: &Party, id: u64) -> Result<Entitlement, CallError> {
    let given = theirs(connection, party, id)?;
    if given.seats.is_none() {
        return Err(PeopleError::NoSeats(id).into());
    }
    if given.revoked.is_some() {
        return Err(PeopleError::Revoked(id).into());
    }
    Ok(given)
}

/// An entitlement whose seats the caller may see.
fn theirs(connection: &Connection, party: &Party, id: u64) -> Result<Entitlement, CallError> {
    let given = entitlements::get(connection, id)?;
    let given = given.filter(|given| party.runs(&given.account).is_ok());
    // Numbers of others tell a company nothing, not even that they are taken.
    given.ok_or(CallError::NoEntitlement(id))
}

/// Under which the audit keeps what happens to a user, among what happens to its company.
fn user_subject(user: &User) -> String {
    format!("{}/user/{}", subject(&user.company), user.account)
}

fn seat_subject(given: &Entitlement, user: &AccountId) -> String {
    format!("{}/entitlement/{}/seat/{user}", subject(&given.account), given.id)
}

/// The company, which must be able to have users.
fn company_of(batch: &Batch<'_>, id: &AccountId) -> Result<Account, CallError> {
    let company = find(batch, id)?;
    if company.kind == AccountKind::Business { Ok(company) } else { Err(PeopleError::NotBusiness(company.id).into()) }
}

/// The user, who must be one of this company.
pub(crate) fn user_of(connection: &Connection, company: &AccountId, user: &AccountId) -> Result<User, CallError> {
    let known = people::user(connection, user)?.filter(|known| known.company == *company);
    known.ok_or_else(|| PeopleError::NoUser { company: company.clone(), user: user.clone() }.into())
}

fn check_room(batch: &Batch<'_>, company: &AccountId) -> Result<(), CallError> {
    if people::count_users(batch.connection(), company)? >= USERS_MAX as u64 {
        return Err(CallError::TooLarge { what: "the users of one company", max: USERS_MAX as u64 });
    }
    Ok(())
}

/// Whether an account, if there is one, may become a user.
pub(crate) fn check_user(user: &AccountId, company: &AccountId, account: Option<&Account>) -> Result<(), PeopleError> {
    if user == company {
        return Err(PeopleError::Itself(user.clone()));
    }
    match account {
        Some(account) if account.kind != AccountKind::Individual => Err(PeopleError::NotIndividual(user.clone())),
        _ => Ok(()),
    }
}

/// Whether an account may hold this too.
pub(crate) fn check_weight(connection: &Connection, account: &AccountId, what: &Given) -> Result<(), CallError> {
    let has = holdings::weights(connection, &[account])?.remove(account).unwrap_or(0);
    if has + weight(what) > HOLDINGS_MAX {
        let what = "holdings, a package counted as the most that it may have";
        return Err(PeopleError::Full { account: account.clone(), what, max: HOLDINGS_MAX }.into());
    }
    Ok(())
}

/// How many holdings something counts as.
pub(crate) const fn weight(what: &Given) -> usize {
    match what {
        Given::Terms(_) => 1,
        Given::Package(_) => PACKAGE_ITEMS_MAX,
    }
}
