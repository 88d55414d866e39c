//! Rows of `snapshots`, and the walk over all accounts in the order of a snapshot.

use super::accounts::{parse, standing};
use super::{RecordError, blob_id, from_sql, to_sql};
use crate::sql::{Connection, Row, SqlError, values};
use penstock_core::account::{AccountFacts, AccountKey, Extras, Holding, PseudonymKey, Terms};
use penstock_core::blob::BlobId;
use penstock_core::time::UnixSeconds;
use std::collections::HashMap;
use std::sync::Arc;

/// A snapshot of all accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotRow {
    /// The last change that it holds.
    pub(crate) sequence: u64,
    /// Where it lies.
    pub(crate) blob: BlobId,
    /// How many imports it holds.
    pub(crate) imports: u64,
    /// How many accounts it holds.
    pub(crate) accounts: u64,
    /// When it was made.
    pub(crate) created: UnixSeconds,
}

/// The newest one.
pub(crate) fn newest(connection: &Connection) -> Result<Option<SnapshotRow>, RecordError> {
    let sql = "SELECT sequence, blob, imports, accounts, created FROM snapshots ORDER BY sequence DESC LIMIT 1";
    connection.query_optional(sql, &[], read_row)
}

/// All of them but the newest so many, oldest first.
pub(crate) fn older(connection: &Connection, keep: u64) -> Result<Vec<SnapshotRow>, RecordError> {
    let sql = "SELECT sequence, blob, imports, accounts, created FROM snapshots ORDER BY sequence";
    let rows = connection.query(sql, &[], read_row)?;
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    Ok(rows[..rows.len().saturating_sub(keep)].to_vec())
}

/// Notes a snapshot that is stored.
pub(crate) fn put(connection: &Connection, row: SnapshotRow) -> Result<(), RecordError> {
    connection.execute(
        "INSERT INTO snapshots (sequence, blob, accounts, imports, created) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (sequence) DO UPDATE SET blob = excluded.blob, accounts = excluded.accounts,
             imports = excluded.imports, created = excluded.created",
        values![
            to_sql(row.sequence)?,
            &row.blob.as_bytes()[..],
            to_sql(row.accounts)?,
            to_sql(row.imports)?,
            to_sql(row.created.0)?
        ],
    )?;
    Ok(())
}

/// Forgets one.
pub(crate) fn remove(connection: &Connection, sequence: u64) -> Result<(), RecordError> {
    connection.execute("DELETE FROM snapshots WHERE sequence = $1", values![to_sql(sequence)?])?;
    Ok(())
}

/// How many imports there were.
pub(crate) fn imports(connection: &Connection) -> Result<u64, RecordError> {
    from_sql(connection.query_value("SELECT last FROM counters WHERE name = $1", values!["imports"])?)
}

/// Whether a blob is one of them.
pub(crate) fn has(connection: &Connection, blob: BlobId) -> Result<bool, RecordError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM snapshots WHERE blob = $1)";
    Ok(connection.query_value(sql, values![&blob.as_bytes()[..]])?)
}

/// Shows every account as edges see it, by pseudonym. One statement, so that a million accounts are not a million.
pub(crate) fn each_account<E: From<RecordError> + From<SqlError>>(
    connection: &Connection,
    pseudonyms: &PseudonymKey,
    mut show: impl FnMut(AccountKey, AccountFacts) -> Result<(), E>,
) -> Result<(), E> {
    let mut terms: HashMap<i64, Arc<Terms>> = HashMap::new();
    connection.for_each("SELECT id, body FROM terms", &[], |row| {
        terms.insert(row.get(0)?, Arc::new(parse(&row.get::<String>(1)?, "terms")?));
        Ok::<_, RecordError>(())
    })?;
    let mut current: Option<(AccountKey, AccountFacts, Vec<Holding>)> = None;
    let mut done = |one: Option<(AccountKey, AccountFacts, Vec<Holding>)>| match one {
        None => Ok(()),
        Some((account, facts, holdings)) => show(account, AccountFacts { holdings: holdings.into(), ..facts }),
    };
    let sql = "SELECT a.pseudonym, a.standing, a.tokens_from, a.extras, e.terms, e.starts, e.ends
        FROM accounts a LEFT JOIN entitlements e ON e.account = a.id AND e.revoked IS NULL
        ORDER BY a.pseudonym, e.id";
    connection.for_each(sql, &[], |row| {
        let account = pseudonym(&row.get::<Vec<u8>>(0)?)?;
        if current.as_ref().is_none_or(|(known, ..)| *known != account) {
            done(current.take())?;
            current = Some((account, read_facts(row, pseudonyms)?, Vec::new()));
        }
        if let (Some(number), Some((_, _, holdings))) = (row.get::<Option<i64>>(4)?, &mut current) {
            let terms = terms.get(&number).ok_or(RecordError::Damaged { what: "entitlement's terms" })?;
            let starts: Option<i64> = row.get(5)?;
            let ends: Option<i64> = row.get(6)?;
            holdings.push(Holding {
                terms: Arc::clone(terms),
                starts: UnixSeconds(from_sql(starts.unwrap_or(0))?),
                ends: ends.map(|ends| from_sql(ends).map(UnixSeconds)).transpose()?,
            });
        }
        Ok::<_, E>(())
    })?;
    done(current.take())
}

fn read_facts(row: &Row<'_>, pseudonyms: &PseudonymKey) -> Result<AccountFacts, RecordError> {
    let tokens_from: Option<i64> = row.get(2)?;
    let extras: String = row.get(3)?;
    let extras = if extras.is_empty() { None } else { Some(Box::new(read_extras(&extras, pseudonyms)?)) };
    Ok(AccountFacts {
        standing: standing(&row.get::<String>(1)?)?,
        tokens_from: tokens_from.map(|moment| from_sql(moment).map(UnixSeconds)).transpose()?,
        holdings: Box::default(),
        extras,
    })
}

fn read_extras(text: &str, pseudonyms: &PseudonymKey) -> Result<Extras, RecordError> {
    let text: super::accounts::ExtrasText = parse(text, "extras")?;
    Ok(text.seen(pseudonyms))
}

fn pseudonym(bytes: &[u8]) -> Result<AccountKey, RecordError> {
    bytes.try_into().map(AccountKey).map_err(|_| RecordError::Damaged { what: "pseudonym" })
}

fn read_row(row: &Row<'_>) -> Result<SnapshotRow, RecordError> {
    Ok(SnapshotRow {
        sequence: from_sql(row.get(0)?)?,
        blob: blob_id(&row.get::<Vec<u8>>(1)?)?,
        imports: from_sql(row.get(2)?)?,
        accounts: from_sql(row.get(3)?)?,
        created: UnixSeconds(from_sql(row.get(4)?)?),
    })
}
