//! The change log: every change that edges are told, numbered without gaps.
//!
//! A number is taken inside the transaction that writes its entry, from a row that the transaction
//! keeps locked. So a number that was seen has all smaller ones before it, whatever was rolled back.

use crate::record::{RecordError, from_sql, next_number, to_sql};
use penstock_core::catalog::CatalogChange;
use penstock_core::time::UnixSeconds;
use rusqlite::Connection;

/// A change with its body as the log keeps it. A large release's takes long to write, so it can be
/// made before the transaction begins.
pub(crate) struct Entry {
    change: CatalogChange,
    body: String,
}

impl Entry {
    pub(crate) fn new(change: CatalogChange) -> Result<Self, RecordError> {
        let body = serde_json::to_string(&change).map_err(|_| RecordError::Damaged { what: "change" })?;
        Ok(Self { change, body })
    }
    pub(crate) const fn change(&self) -> &CatalogChange {
        &self.change
    }
    pub(crate) fn into_change(self) -> CatalogChange {
        self.change
    }
}

/// Appends an entry and returns its number.
pub(crate) fn append(connection: &Connection, entry: &Entry, now: UnixSeconds) -> Result<u64, RecordError> {
    let sequence = next_number(connection, "change_log")?;
    let mut statement =
        connection.prepare_cached("INSERT INTO change_log (sequence, at, kind, body) VALUES ($1, $2, $3, $4)")?;
    statement.execute((sequence, to_sql(now.0)?, kind(&entry.change), &entry.body))?;
    from_sql(sequence)
}

/// The newest number; 0 when nothing ever changed.
pub(crate) fn newest(connection: &Connection) -> Result<u64, RecordError> {
    let last = connection.query_row("SELECT last FROM counters WHERE name = $1", ["change_log"], |row| row.get(0))?;
    from_sql(last)
}

/// Whether anything but offers changed after a number: who may read what may be different then.
pub(crate) fn changed_since(connection: &Connection, sequence: u64) -> Result<bool, RecordError> {
    let mut statement = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM change_log WHERE sequence > $1 AND kind <> 'offer')")?;
    Ok(statement.query_row([to_sql(sequence)?], |row| row.get(0))?)
}

const fn kind(change: &CatalogChange) -> &'static str {
    match change {
        CatalogChange::Product(_) => "product",
        CatalogChange::Release { .. } => "release",
        CatalogChange::Offer(_) => "offer",
        CatalogChange::LooseBlob { .. } => "loose_blob",
        CatalogChange::LooseBlobGone { .. } => "loose_blob_gone",
    }
}
