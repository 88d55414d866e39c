//! Rows of `accounts`.

use super::filter::{Select, after_prefix};
use super::{ROWS_MAX, RecordError, from_sql, name, to_sql};
use crate::sql::{Connection, Row, Value, placeholders, values};
use penstock_core::account::{AccountFacts, AccountId, AccountKey, Extras, Holding, PseudonymKey, Standing};
use penstock_core::desk::{Acceptance, Account, AccountKind, AccountsQuery};
use penstock_core::segment::Attributes;
use penstock_core::time::UnixSeconds;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const ACCOUNT: &str = "id, kind, standing, tokens_from, extras, created, seller";

/// The JSON of column `extras`. When something was accepted or registered stands beside the sets: they were there first, and
/// of what is older nobody knows.
#[derive(Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ExtrasText {
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    agreements: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    accepted: BTreeMap<String, Acceptance>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    devices: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    registered: BTreeMap<String, UnixSeconds>,
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes,
}

impl ExtrasText {
    /// As edges see it.
    pub(super) fn seen(self, pseudonyms: &PseudonymKey) -> Extras {
        let devices = self.devices.iter().map(|device| pseudonyms.device(device)).collect();
        Extras { agreements: self.agreements, devices, attributes: self.attributes }
    }
}

/// One account.
pub(crate) fn get(connection: &Connection, id: &AccountId) -> Result<Option<Account>, RecordError> {
    let sql = format!("SELECT {ACCOUNT} FROM accounts WHERE id = $1");
    connection.query_optional(&sql, values![id.as_str()], read_account)
}

/// One account, which nobody else may change until the transaction ends.
pub(crate) fn lock(connection: &Connection, id: &AccountId) -> Result<Option<Account>, RecordError> {
    let sql = format!("SELECT {ACCOUNT} FROM accounts WHERE id = $1{}", connection.for_update());
    connection.query_optional(&sql, values![id.as_str()], read_account)
}

/// Accounts by name, from the one after `wanted.after` on.
pub(crate) fn page(connection: &Connection, wanted: &AccountsQuery, limit: u64) -> Result<Vec<Account>, RecordError> {
    let prefix = wanted.prefix.as_ref().map(AccountId::as_str);
    let end = prefix.and_then(after_prefix);
    let after = wanted.after.as_ref().map_or("", AccountId::as_str);
    let mut select = Select::new(format!("SELECT {ACCOUNT} FROM accounts WHERE id >"), after);
    select.and("id >=", prefix);
    select.and("id <", end.as_deref());
    select.and("kind =", wanted.kind.map(kind_text));
    select.and("standing =", wanted.standing.map(standing_text));
    select.rows(connection, "id", to_sql(limit)?, read_account)
}

/// How many accounts have a name that begins so; nobody counts beyond `limit`.
pub(crate) fn count_below(connection: &Connection, prefix: &str, limit: usize) -> Result<u64, RecordError> {
    let sql = "SELECT COUNT(*) FROM (SELECT 1 AS one FROM accounts WHERE id >= $1 AND id < $2 LIMIT $3) below";
    let end = after_prefix(prefix).unwrap_or_default();
    from_sql(connection.query_value(sql, values![prefix, end.as_str(), to_sql(limit as u64)?])?)
}

/// Customers of a reseller by name, likewise.
pub(crate) fn customers(
    connection: &Connection,
    seller: &AccountId,
    after: &str,
    limit: u64,
) -> Result<Vec<Account>, RecordError> {
    let sql = format!("SELECT {ACCOUNT} FROM accounts WHERE seller = $1 AND id > $2 ORDER BY id LIMIT $3");
    connection.query(&sql, values![seller.as_str(), after, to_sql(limit)?], read_account)
}

/// Writes an account, new or changed; whose customer it is, [`super::people::set_seller`] says.
pub(crate) fn put(connection: &Connection, account: &Account, pseudonyms: &PseudonymKey) -> Result<(), RecordError> {
    let extras = extras_text(account)?;
    let tokens_from = account.tokens_from.map(|moment| to_sql(moment.0)).transpose()?;
    connection.execute(
        "INSERT INTO accounts (id, pseudonym, kind, standing, tokens_from, extras, created)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, standing = excluded.standing,
             tokens_from = excluded.tokens_from, extras = excluded.extras",
        values![
            account.id.as_str(),
            &pseudonyms.account(account.id.as_str()).0[..],
            kind_text(account.kind),
            standing_text(account.standing),
            tokens_from,
            extras.as_str(),
            to_sql(account.created.0)?,
        ],
    )?;
    Ok(())
}

/// Those of the named accounts that are there, which nobody else may change until the transaction ends.
pub(crate) fn lock_all(connection: &Connection, names: &[&AccountId]) -> Result<Vec<Account>, RecordError> {
    let mut found = Vec::new();
    for names in names.chunks(ROWS_MAX) {
        let list = placeholders(1, names.len());
        let sql = format!("SELECT {ACCOUNT} FROM accounts WHERE id IN {list} ORDER BY id{}", connection.for_update());
        let names: Vec<Value<'_>> = names.iter().map(|name| name.as_str().into()).collect();
        found.extend(connection.query(&sql, &names, read_account)?);
    }
    Ok(found)
}

/// Writes accounts that are not there.
pub(crate) fn insert_all(
    connection: &Connection,
    accounts: &[&Account],
    pseudonyms: &PseudonymKey,
) -> Result<(), RecordError> {
    for accounts in accounts.chunks(ROWS_MAX) {
        let rows: Vec<([u8; 16], String)> = accounts
            .iter()
            .map(|account| Ok((pseudonyms.account(account.id.as_str()).0, extras_text(account)?)))
            .collect::<Result<_, RecordError>>()?;
        let mut all: Vec<Value<'_>> = Vec::with_capacity(accounts.len() * 7);
        for (account, (pseudonym, extras)) in accounts.iter().zip(&rows) {
            let tokens_from = account.tokens_from.map(|moment| to_sql(moment.0)).transpose()?;
            all.extend::<[Value<'_>; 7]>([
                account.id.as_str().into(),
                (&pseudonym[..]).into(),
                kind_text(account.kind).into(),
                standing_text(account.standing).into(),
                tokens_from.into(),
                extras.as_str().into(),
                to_sql(account.created.0)?.into(),
            ]);
        }
        let list = placeholders(accounts.len(), 7);
        let sql =
            format!("INSERT INTO accounts (id, pseudonym, kind, standing, tokens_from, extras, created) VALUES {list}");
        connection.execute(&sql, &all)?;
    }
    Ok(())
}

/// How many there are.
pub(crate) fn count(connection: &Connection) -> Result<u64, RecordError> {
    from_sql(connection.query_value("SELECT COUNT(*) FROM accounts", &[])?)
}

/// What edges are told of an account.
pub(crate) fn facts(
    account: &Account,
    holdings: Vec<Holding>,
    pseudonyms: &PseudonymKey,
) -> (AccountKey, AccountFacts) {
    let extras = Extras {
        agreements: account.agreements.clone(),
        devices: account.devices.iter().map(|device| pseudonyms.device(device)).collect(),
        attributes: account.attributes.clone(),
    };
    let facts = AccountFacts {
        standing: account.standing,
        tokens_from: account.tokens_from,
        holdings: holdings.into(),
        extras: (extras != Extras::default()).then(|| Box::new(extras)),
    };
    (pseudonyms.account(account.id.as_str()), facts)
}

fn extras_text(account: &Account) -> Result<String, RecordError> {
    let extras = ExtrasText {
        agreements: account.agreements.clone(),
        accepted: account.accepted.clone(),
        devices: account.devices.clone(),
        registered: account.registered.clone(),
        attributes: account.attributes.clone(),
    };
    if extras == ExtrasText::default() { Ok(String::new()) } else { json(&extras, "extras") }
}

fn read_account(row: &Row<'_>) -> Result<Account, RecordError> {
    let extras: String = row.get(4)?;
    let extras: ExtrasText = if extras.is_empty() { ExtrasText::default() } else { parse(&extras, "extras")? };
    Ok(Account {
        id: name(&row.get::<String>(0)?, "account")?,
        kind: kind(&row.get::<String>(1)?)?,
        standing: standing(&row.get::<String>(2)?)?,
        tokens_from: moment(row.get(3)?)?,
        seller: row.get::<Option<String>>(6)?.map(|seller| name(&seller, "account")).transpose()?,
        agreements: extras.agreements,
        accepted: extras.accepted,
        devices: extras.devices,
        registered: extras.registered,
        attributes: extras.attributes,
        created: UnixSeconds(from_sql(row.get(5)?)?),
    })
}

/// A time that may be none.
pub(super) fn moment(seconds: Option<i64>) -> Result<Option<UnixSeconds>, RecordError> {
    seconds.map(|seconds| from_sql(seconds).map(UnixSeconds)).transpose()
}

/// A value as its column holds it.
pub(super) fn json<T: Serialize>(value: &T, what: &'static str) -> Result<String, RecordError> {
    serde_json::to_string(value).map_err(|_| RecordError::Damaged { what })
}

/// A value that a column holds.
pub(super) fn parse<T: for<'de> Deserialize<'de>>(text: &str, what: &'static str) -> Result<T, RecordError> {
    serde_json::from_str(text).map_err(|_| RecordError::Damaged { what })
}

const fn kind_text(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::Individual => "individual",
        AccountKind::Business => "business",
        AccountKind::Reseller => "reseller",
    }
}

fn kind(text: &str) -> Result<AccountKind, RecordError> {
    match text {
        "individual" => Ok(AccountKind::Individual),
        "business" => Ok(AccountKind::Business),
        "reseller" => Ok(AccountKind::Reseller),
        _ => Err(RecordError::Damaged { what: "kind of account" }),
    }
}

const fn standing_text(standing: Standing) -> &'static str {
    match standing {
        Standing::Active => "active",
        Standing::Suspended => "suspended",
        Standing::OnHold => "on_hold",
        Standing::Denied => "denied",
    }
}

pub(super) fn standing(text: &str) -> Result<Standing, RecordError> {
    match text {
        "active" => Ok(Standing::Active),
        "suspended" => Ok(Standing::Suspended),
        "on_hold" => Ok(Standing::OnHold),
        "denied" => Ok(Standing::Denied),
        _ => Err(RecordError::Damaged { what: "standing" }),
    }
}
