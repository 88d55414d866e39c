//! Accounts: make, change, list. Each change is told to edges before the call returns.

use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::Node;
use crate::error::CallError;
use crate::page::{cut_page, page_rows};
use crate::people_error::PeopleError;
use crate::permit::Permission;
use crate::products::Made;
use crate::record::audit::Deed;
use crate::record::holdings::Whose;
use crate::record::{Batch, accounts, entitlements, people};
use crate::sql::Connection;
use crate::told;
use penstock_core::account::{AccountId, DEVICES_MAX, Standing, Terms};
use penstock_core::delegate::{NAME_SEPARATOR, Party};
use penstock_core::desk::{
    Acceptance, Account, AccountDetail, AccountKind, AccountsAnswer, AccountsQuery, Membership, PutAcceptance,
    PutAccount,
};
use penstock_core::limits::{DELEGATED_ACCOUNTS_MAX, NAME_BYTES_MAX, PAGE_ROWS_MAX, SUBJECT_BYTES_MAX};
use penstock_core::segment::{Attributes, Value};
use penstock_core::time::UnixSeconds;
use std::collections::{BTreeMap, BTreeSet};

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
        condition.check(known.clone().map(|account| detail(batch.connection(), account)).transpose()?.as_ref())?;
        let before = known.unwrap_or_else(|| new(id, batch.now()));
        let account = changed(before.clone(), wanted, batch.now());
        check_standing(actor, before.standing, account.standing)?;
        if made == Made::New || account != before {
            check_kind(batch.connection(), &before, &account)?;
            accounts::put(batch.connection(), &account, &node.keys.pseudonyms)?;
            let known = if made == Made::New { None } else { Some(&before) };
            batch.audit(&Deed::new("account.put", subject(&account.id)).change(known, &account)?)?;
            told::account(node, batch, &account)?;
            if is_standing_shared(&before, &account) {
                told::people(node, batch, Whose::Company(&account.id))?;
            }
        }
        Ok((detail(batch.connection(), account)?, made))
    })
}

/// One account with its entitlements.
pub(crate) fn get(node: &Node, id: &AccountId) -> Result<AccountDetail, CallError> {
    node.record.read(|connection| {
        let account = accounts::get(connection, id)?.ok_or_else(|| CallError::NoAccount(id.clone()))?;
        detail(connection, account)
    })
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

/// Registers a device, or finds it registered.
pub(crate) fn put_device(
    node: &Node,
    actor: &Actor,
    id: &AccountId,
    device: &str,
) -> Result<(AccountDetail, Made), CallError> {
    check_device(device)?;
    change(node, actor, id, |account, now| {
        if account.devices.contains(device) {
            return Ok(Made::Before);
        }
        if account.devices.len() >= DEVICES_MAX {
            return Err(PeopleError::Full { account: id.clone(), what: "devices", max: DEVICES_MAX }.into());
        }
        account.devices.insert(device.to_owned());
        account.registered.insert(device.to_owned(), now);
        Ok(Made::New)
    })
}

/// Takes a device away; doing it twice is well.
pub(crate) fn remove_device(
    node: &Node,
    actor: &Actor,
    id: &AccountId,
    device: &str,
) -> Result<AccountDetail, CallError> {
    let (detail, _) = change(node, actor, id, |account, _| {
        account.devices.remove(device);
        account.registered.remove(device);
        Ok(Made::Before)
    })?;
    Ok(detail)
}

/// Notes that an agreement was accepted. The first time counts, unless another text was accepted since.
pub(crate) fn accept(
    node: &Node,
    actor: &Actor,
    id: &AccountId,
    agreement: &str,
    wanted: &PutAcceptance,
) -> Result<(AccountDetail, Made), CallError> {
    check_agreement(agreement)?;
    change(node, actor, id, |account, now| {
        let is_new = account.agreements.insert(agreement.to_owned());
        if account.agreements.len() > AGREEMENTS_MAX {
            return Err(CallError::TooLarge { what: "the agreements of one account", max: AGREEMENTS_MAX as u64 });
        }
        let known = account.accepted.get(agreement);
        let is_same = known.is_some_and(|known| wanted.text.is_none() || known.text == wanted.text);
        if !is_same {
            account.accepted.insert(agreement.to_owned(), Acceptance { at: now, text: wanted.text });
        }
        Ok(if is_new { Made::New } else { Made::Before })
    })
}

/// Changes an account that is there.
fn change(
    node: &Node,
    actor: &Actor,
    id: &AccountId,
    work: impl FnOnce(&mut Account, UnixSeconds) -> Result<Made, CallError>,
) -> Result<(AccountDetail, Made), CallError> {
    node.record.write(actor, node.now(), |batch| {
        let before = find(batch, id)?;
        let mut account = before.clone();
        let made = work(&mut account, batch.now())?;
        if account != before {
            accounts::put(batch.connection(), &account, &node.keys.pseudonyms)?;
            batch.audit(&Deed::new("account.put", subject(id)).before(&before)?.after(&account)?)?;
            told::account(node, batch, &account)?;
        }
        Ok((detail(batch.connection(), account)?, made))
    })
}

/// Makes an account that is not there, in the name of somebody, who may have so many below its own.
pub(crate) fn make(
    node: &Node,
    batch: &mut Batch<'_>,
    party: &Party,
    id: &AccountId,
    kind: AccountKind,
) -> Result<(), CallError> {
    if let Some(own) = party.account() {
        let below = format!("{own}{NAME_SEPARATOR}");
        if accounts::count_below(batch.connection(), &below, DELEGATED_ACCOUNTS_MAX)? >= DELEGATED_ACCOUNTS_MAX as u64 {
            return Err(PeopleError::MadeMany { party: own.clone(), max: DELEGATED_ACCOUNTS_MAX }.into());
        }
    }
    let account = Account { kind, ..new(id.clone(), batch.now()) };
    accounts::put(batch.connection(), &account, &node.keys.pseudonyms)?;
    batch.audit(&Deed::new("account.put", subject(id)).after(&account)?)?;
    told::account(node, batch, &account)
}

/// An account and all that belongs to it.
fn detail(connection: &Connection, account: Account) -> Result<AccountDetail, CallError> {
    let user = people::user(connection, &account.id)?;
    Ok(AccountDetail {
        user_of: user.map(|user| Membership { company: user.company, role: user.role }),
        seats: people::seats_of(connection, &account.id)?,
        entitlements: entitlements::of_account(connection, &account.id)?,
        account,
    })
}

/// Under which the audit keeps what happens to an account.
pub(crate) fn subject(account: &AccountId) -> String {
    format!("account/{account}")
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
pub(crate) fn find(batch: &Batch<'_>, id: &AccountId) -> Result<Account, CallError> {
    accounts::lock(batch.connection(), id)?.ok_or_else(|| CallError::NoAccount(id.clone()))
}

pub(crate) fn new(id: AccountId, now: UnixSeconds) -> Account {
    Account {
        id,
        kind: AccountKind::default(),
        standing: Standing::default(),
        tokens_from: None,
        seller: None,
        agreements: BTreeSet::new(),
        accepted: BTreeMap::new(),
        devices: BTreeSet::new(),
        registered: BTreeMap::new(),
        attributes: Attributes::default(),
        created: now,
    }
}

pub(crate) fn changed(mut account: Account, wanted: &PutAccount, now: UnixSeconds) -> Account {
    account.kind = wanted.kind.unwrap_or(account.kind);
    account.standing = wanted.standing.unwrap_or(account.standing);
    if let Some(agreements) = &wanted.agreements {
        account.accepted.retain(|agreement, _| agreements.contains(agreement));
        let new = agreements.difference(&account.agreements);
        account.accepted.extend(new.map(|agreement| (agreement.clone(), Acceptance { at: now, text: None })));
        account.agreements.clone_from(agreements);
    }
    if let Some(devices) = &wanted.devices {
        account.registered.retain(|device, _| devices.contains(device));
        account.registered.extend(devices.difference(&account.devices).map(|device| (device.clone(), now)));
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
        devices.iter().try_for_each(|device| check_device(device))?;
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

/// Whether an account may become one of another kind.
pub(crate) fn check_kind(connection: &Connection, before: &Account, after: &Account) -> Result<(), CallError> {
    if before.kind == after.kind {
        return Ok(());
    }
    match people::ties(connection, &after.id)? {
        Some(what) => Err(PeopleError::Tied { account: after.id.clone(), what }.into()),
        None => Ok(()),
    }
}

/// Whether the change of an account's standing concerns those who have seats of it.
pub(crate) fn is_standing_shared(before: &Account, after: &Account) -> bool {
    after.kind == AccountKind::Business && (before.standing == Standing::Active) != (after.standing == Standing::Active)
}

fn is_text(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && !text.chars().any(char::is_control)
}

fn check_device(device: &str) -> Result<(), CallError> {
    if is_text(device, SUBJECT_BYTES_MAX) {
        return Ok(());
    }
    Err(CallError::Malformed("devices: each has 1 to 256 bytes and no control characters".to_owned()))
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
