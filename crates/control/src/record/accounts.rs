//! Rows of `accounts`, `terms` and `entitlements`.

use super::filter::{Select, after_prefix};
use super::{RecordError, from_sql, name, next_number, to_sql};
use crate::sql::{Connection, Row, Value, placeholders, values};
use penstock_core::account::{AccountFacts, AccountId, AccountKey, Extras, Holding, PseudonymKey, Standing, Terms};
use penstock_core::desk::{Account, AccountKind, AccountsQuery, Entitlement, EntitlementState, EntitlementsQuery};
use penstock_core::id::ProductId;
use penstock_core::segment::Attributes;
use penstock_core::time::UnixSeconds;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
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

/// Entitlements by number, from the one after `wanted.after` on.
pub(crate) fn entitlements_page(
    connection: &Connection,
    wanted: &EntitlementsQuery,
    limit: u64,
    now: UnixSeconds,
) -> Result<Vec<Entitlement>, RecordError> {
    let start = format!("SELECT {ENTITLEMENT} FROM entitlements e JOIN terms t ON t.id = e.terms WHERE e.id >");
    let now = to_sql(now.0)?;
    let mut select = Select::new(start, to_sql(wanted.after.unwrap_or(0))?);
    select.and("e.account =", wanted.account.as_ref().map(AccountId::as_str));
    select.and("t.product =", wanted.product.as_ref().map(ProductId::as_str));
    match wanted.state {
        None => {}
        Some(EntitlementState::Revoked) => select.push(" AND e.revoked IS NOT NULL"),
        Some(EntitlementState::Scheduled) => select.and("e.revoked IS NULL AND e.starts >", Some(now)),
        Some(EntitlementState::Ended) => select.and("e.revoked IS NULL AND e.ends <=", Some(now)),
        Some(EntitlementState::Live) => {
            select.and("e.revoked IS NULL AND e.starts <=", Some(now));
            select.and("(e.ends IS NULL OR e.ends >", Some(now));
            select.push(")");
        }
    }
    select.rows(connection, "e.id", to_sql(limit)?, read_entitlement)
}

/// Writes an account, new or changed.
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

/// Rows of one statement that names many.
const ROWS_MAX: usize = 500;

/// What an import gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewEntitlement {
    pub(crate) account: AccountId,
    /// Number of its terms.
    pub(crate) terms: i64,
    pub(crate) starts: UnixSeconds,
    pub(crate) ends: Option<UnixSeconds>,
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

/// Shows what the named accounts hold: terms, start, end.
pub(crate) fn each_held(
    connection: &Connection,
    names: &[&AccountId],
    mut show: impl FnMut(AccountId, i64, u64, Option<u64>),
) -> Result<(), RecordError> {
    for names in names.chunks(ROWS_MAX) {
        let list = placeholders(1, names.len());
        let sql = format!(
            "SELECT account, terms, starts, ends FROM entitlements WHERE revoked IS NULL AND account IN {list}"
        );
        let names: Vec<Value<'_>> = names.iter().map(|name| name.as_str().into()).collect();
        connection.for_each(&sql, &names, |row| {
            let ends: Option<i64> = row.get(3)?;
            show(
                name(&row.get::<String>(0)?, "account")?,
                row.get(1)?,
                from_sql(row.get(2)?)?,
                ends.map(from_sql).transpose()?,
            );
            Ok::<_, RecordError>(())
        })?;
    }
    Ok(())
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

/// Gives many entitlements.
pub(crate) fn grant_all(
    connection: &Connection,
    given: &[NewEntitlement],
    now: UnixSeconds,
) -> Result<(), RecordError> {
    for given in given.chunks(ROWS_MAX) {
        let count = to_sql(given.len() as u64)?;
        let sql = "UPDATE counters SET last = last + $1 WHERE name = $2 RETURNING last";
        let last: i64 = connection.query_value(sql, values![count, "entitlements"])?;
        let mut all: Vec<Value<'_>> = Vec::with_capacity(given.len() * 6);
        for (id, one) in (last - count + 1..).zip(given) {
            let ends = one.ends.map(|ends| to_sql(ends.0)).transpose()?;
            all.extend::<[Value<'_>; 6]>([
                id.into(),
                one.account.as_str().into(),
                one.terms.into(),
                to_sql(one.starts.0)?.into(),
                ends.into(),
                to_sql(now.0)?.into(),
            ]);
        }
        let list = placeholders(given.len(), 6);
        let sql = format!("INSERT INTO entitlements (id, account, terms, starts, ends, granted) VALUES {list}");
        connection.execute(&sql, &all)?;
    }
    Ok(())
}

/// The number of terms, asked for once for each that differs.
pub(crate) fn terms_number_cached(
    connection: &Connection,
    terms: &Terms,
    known: &mut HashMap<String, i64>,
) -> Result<i64, RecordError> {
    let body = json(terms, "terms")?;
    if let Some(number) = known.get(&body) {
        return Ok(*number);
    }
    let number = terms_number(connection, terms)?;
    known.insert(body, number);
    Ok(number)
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

fn extras_text(account: &Account) -> Result<String, RecordError> {
    let extras = ExtrasText {
        agreements: account.agreements.clone(),
        devices: account.devices.clone(),
        attributes: account.attributes.clone(),
    };
    let is_plain = extras.agreements.is_empty() && extras.devices.is_empty() && extras.attributes.is_empty();
    if is_plain { Ok(String::new()) } else { json(&extras, "extras") }
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
