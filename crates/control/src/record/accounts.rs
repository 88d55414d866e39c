//! Rows of `accounts`, `terms` and `entitlements`.

use super::{RecordError, from_sql, name, next_number, to_sql};
use crate::sql::{Connection, Row, values};
use penstock_core::account::{AccountFacts, AccountId, AccountKey, Extras, Holding, PseudonymKey, Standing, Terms};
use penstock_core::desk::{Account, AccountKind, Entitlement};
use penstock_core::segment::Attributes;
use penstock_core::time::UnixSeconds;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

const ACCOUNT: &str = "id, kind, standing, tokens_from, extras, created";
const ENTITLEMENT: &str = "e.id, e.account, t.body, e.starts, e.ends, e.granted, e.revoked";

/// The JSON of column `extras`.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct ExtrasText {
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    agreements: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    devices: BTreeSet<String>,
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

/// Accounts by name, from the one after `after` on.
pub(crate) fn page(connection: &Connection, after: &str, limit: u64) -> Result<Vec<Account>, RecordError> {
    let sql = format!("SELECT {ACCOUNT} FROM accounts WHERE id > $1 ORDER BY id LIMIT $2");
    connection.query(&sql, values![after, to_sql(limit)?], read_account)
}

/// Writes an account, new or changed.
pub(crate) fn put(connection: &Connection, account: &Account, pseudonyms: &PseudonymKey) -> Result<(), RecordError> {
    let extras = ExtrasText {
        agreements: account.agreements.clone(),
        devices: account.devices.clone(),
        attributes: account.attributes.clone(),
    };
    let is_plain = extras.agreements.is_empty() && extras.devices.is_empty() && extras.attributes.is_empty();
    let extras = if is_plain { String::new() } else { json(&extras, "extras")? };
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

/// How many there are.
pub(crate) fn count(connection: &Connection) -> Result<u64, RecordError> {
    from_sql(connection.query_value("SELECT COUNT(*) FROM accounts", &[])?)
}

/// Gives terms to an account and returns the entitlement's number.
pub(crate) fn grant(
    connection: &Connection,
    account: &AccountId,
    terms: &Terms,
    starts: UnixSeconds,
    ends: Option<UnixSeconds>,
    now: UnixSeconds,
) -> Result<u64, RecordError> {
    let terms = terms_number(connection, terms)?;
    let id = next_number(connection, "entitlements")?;
    connection.execute(
        "INSERT INTO entitlements (id, account, terms, starts, ends, granted) VALUES ($1, $2, $3, $4, $5, $6)",
        values![
            id,
            account.as_str(),
            terms,
            to_sql(starts.0)?,
            ends.map(|ends| to_sql(ends.0)).transpose()?,
            to_sql(now.0)?
        ],
    )?;
    from_sql(id)
}

/// One entitlement.
pub(crate) fn entitlement(connection: &Connection, id: u64) -> Result<Option<Entitlement>, RecordError> {
    let sql = format!("SELECT {ENTITLEMENT} FROM entitlements e JOIN terms t ON t.id = e.terms WHERE e.id = $1");
    connection.query_optional(&sql, values![to_sql(id)?], read_entitlement)
}

/// Everything that an account was given, oldest first.
pub(crate) fn entitlements(connection: &Connection, account: &AccountId) -> Result<Vec<Entitlement>, RecordError> {
    let sql = format!(
        "SELECT {ENTITLEMENT} FROM entitlements e JOIN terms t ON t.id = e.terms WHERE e.account = $1 ORDER BY e.id"
    );
    connection.query(&sql, values![account.as_str()], read_entitlement)
}

/// Takes an entitlement back. One that was taken back before stays as it was.
pub(crate) fn revoke(connection: &Connection, id: u64, now: UnixSeconds) -> Result<(), RecordError> {
    let sql = "UPDATE entitlements SET revoked = $1 WHERE id = $2 AND revoked IS NULL";
    connection.execute(sql, values![to_sql(now.0)?, to_sql(id)?])?;
    Ok(())
}

/// What edges are told of an account.
pub(crate) fn facts(
    account: &Account,
    entitlements: &[Entitlement],
    pseudonyms: &PseudonymKey,
) -> (AccountKey, AccountFacts) {
    let live = entitlements.iter().filter(|one| one.revoked.is_none());
    let holding = |one: &Entitlement| Holding { terms: Arc::clone(&one.terms), starts: one.starts, ends: one.ends };
    let extras = Extras {
        agreements: account.agreements.clone(),
        devices: account.devices.iter().map(|device| pseudonyms.device(device)).collect(),
        attributes: account.attributes.clone(),
    };
    let facts = AccountFacts {
        standing: account.standing,
        tokens_from: account.tokens_from,
        holdings: live.map(holding).collect(),
        extras: (extras != Extras::default()).then(|| Box::new(extras)),
    };
    (pseudonyms.account(account.id.as_str()), facts)
}

fn terms_number(connection: &Connection, terms: &Terms) -> Result<i64, RecordError> {
    let body = json(terms, "terms")?;
    let find = "SELECT id FROM terms WHERE body = $1";
    if let Some(known) = connection.query_optional(find, values![body.as_str()], |row| row.get::<i64>(0))? {
        return Ok(known);
    }
    let number = next_number(connection, "terms")?;
    connection.execute(
        "INSERT INTO terms (id, product, body) VALUES ($1, $2, $3)",
        values![number, terms.product.as_str(), body.as_str()],
    )?;
    Ok(number)
}

fn read_account(row: &Row<'_>) -> Result<Account, RecordError> {
    let extras: String = row.get(4)?;
    let extras: ExtrasText = if extras.is_empty() { ExtrasText::default() } else { parse(&extras, "extras")? };
    Ok(Account {
        id: name(&row.get::<String>(0)?, "account")?,
        kind: kind(&row.get::<String>(1)?)?,
        standing: standing(&row.get::<String>(2)?)?,
        tokens_from: moment(row.get(3)?)?,
        agreements: extras.agreements,
        devices: extras.devices,
        attributes: extras.attributes,
        created: UnixSeconds(from_sql(row.get(5)?)?),
    })
}

fn read_entitlement(row: &Row<'_>) -> Result<Entitlement, RecordError> {
    Ok(Entitlement {
        id: from_sql(row.get(0)?)?,
        account: name(&row.get::<String>(1)?, "account")?,
        terms: Arc::new(parse(&row.get::<String>(2)?, "terms")?),
        starts: UnixSeconds(from_sql(row.get(3)?)?),
        ends: moment(row.get(4)?)?,
        granted: UnixSeconds(from_sql(row.get(5)?)?),
        revoked: moment(row.get(6)?)?,
    })
}

fn moment(seconds: Option<i64>) -> Result<Option<UnixSeconds>, RecordError> {
    seconds.map(|seconds| from_sql(seconds).map(UnixSeconds)).transpose()
}

fn json<T: Serialize>(value: &T, what: &'static str) -> Result<String, RecordError> {
    serde_json::to_string(value).map_err(|_| RecordError::Damaged { what })
}

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
