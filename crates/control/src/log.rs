//! The change log: every change that edges are told, numbered without gaps.
//!
//! A number is taken inside the transaction that writes its entry, from a row that the transaction
//! keeps locked since its first statement. So a number that was seen has all smaller ones before
//! it, whatever was rolled back and however many processes write:
//!
//! * whoever rolls back gives the number back with the row, so none is skipped;
//! * the next one gets the lock when the transaction before is over, and PostgreSQL makes a commit
//!   visible to others before it lets go of the locks. READ COMMITTED then reads the row as it was
//!   committed, where stricter levels would give up and begin again. So numbers become visible in
//!   their order, and whoever sees one sees all before it: a reader may ask "after N" and miss
//!   nothing. A sequence or a serial column promises neither;
//! * the lock is taken by name and not with the first number, because changes rely on more than
//!   their number: see `record`.

use crate::error::CallError;
use crate::record::{RecordError, from_sql, next_number, to_sql};
use crate::sql::{Connection, values};
use crate::state::Teller;
use penstock_core::catalog::CatalogChange;
use penstock_core::feed::change_line;
use penstock_core::time::UnixSeconds;

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

/// Keeps all other writers waiting until the transaction ends, and returns the newest number.
pub(crate) fn lock(connection: &Connection) -> Result<u64, RecordError> {
    let sql = format!("SELECT last FROM counters WHERE name = $1{}", connection.for_update());
    from_sql(connection.query_value(&sql, values!["change_log"])?)
}

/// Appends an entry and returns its number.
pub(crate) fn append(connection: &Connection, entry: &Entry, now: UnixSeconds) -> Result<u64, RecordError> {
    let sequence = next_number(connection, "change_log")?;
    connection.execute(
        "INSERT INTO change_log (sequence, at, kind, body) VALUES ($1, $2, $3, $4)",
        values![sequence, to_sql(now.0)?, kind(&entry.change), entry.body.as_str()],
    )?;
    from_sql(sequence)
}

/// The newest number; 0 when nothing ever changed.
pub(crate) fn newest(connection: &Connection) -> Result<u64, RecordError> {
    from_sql(connection.query_value("SELECT last FROM counters WHERE name = $1", values!["change_log"])?)
}

/// One change, if the log has it.
pub(crate) fn change(connection: &Connection, sequence: u64) -> Result<Option<CatalogChange>, RecordError> {
    let sql = "SELECT body FROM change_log WHERE sequence = $1";
    let body: Option<String> =
        connection.query_optional(sql, values![to_sql(sequence)?], |row| Ok::<_, RecordError>(row.get(0)?))?;
    body.map(|body| serde_json::from_str(&body).map_err(|_| RecordError::Damaged { what: "change" })).transpose()
}

/// The number of the oldest change that the log still has; one more than the newest when it has none.
pub(crate) fn oldest(connection: &Connection) -> Result<u64, RecordError> {
    let oldest: Option<i64> = connection.query_value("SELECT MIN(sequence) FROM change_log", &[])?;
    oldest.map_or_else(|| Ok(newest(connection)? + 1), from_sql)
}

/// The line that a feed tells one change in, if the log has it.
pub(crate) fn line(connection: &Connection, sequence: u64) -> Result<Option<Vec<u8>>, RecordError> {
    let sql = "SELECT body FROM change_log WHERE sequence = $1";
    connection.query_optional(sql, values![to_sql(sequence)?], |row| {
        Ok::<_, RecordError>(change_line(sequence, &row.get::<String>(0)?))
    })
}

/// Lines of a feed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// One after the other.
    pub(crate) text: Vec<u8>,
    /// The number of the last change in them.
    pub(crate) last: u64,
}

/// The lines of the changes after a number, as many as the bounds allow and one in any case. `None` when the log does not
/// reach so far back.
pub(crate) fn lines_after(
    connection: &Connection,
    sequence: u64,
    changes_max: u64,
    bytes_max: u64,
) -> Result<Option<Lines>, RecordError> {
    // First their lengths: a release's body is large, and the server would send all of them.
    let sql = "SELECT sequence, OCTET_LENGTH(body) FROM change_log WHERE sequence > $1 ORDER BY sequence LIMIT $2";
    let (mut last, mut bytes, mut is_whole) = (sequence, 0u64, true);
    connection.for_each(sql, values![to_sql(sequence)?, to_sql(changes_max)?], |row| {
        let (number, length) = (from_sql(row.get(0)?)?, from_sql(row.get(1)?)?);
        is_whole &= last > sequence || number == sequence + 1;
        if last == sequence || (bytes + length <= bytes_max && number == last + 1) {
            bytes += length;
            last = number;
        } else {
            bytes = bytes_max;
        }
        Ok::<_, RecordError>(())
    })?;
    if !is_whole {
        return Ok(None);
    }
    let mut lines = Lines { text: Vec::new(), last };
    let sql = "SELECT sequence, body FROM change_log WHERE sequence > $1 AND sequence <= $2 ORDER BY sequence";
    connection.for_each(sql, values![to_sql(sequence)?, to_sql(last)?], |row| {
        lines.text.extend_from_slice(&change_line(from_sql(row.get(0)?)?, &row.get::<String>(1)?));
        Ok::<_, RecordError>(())
    })?;
    Ok(Some(lines))
}

/// Whether anything changed after a number that decides whom blobs are published for: products,
/// releases and loose blobs. Where the log does not reach so far, something may have.
pub(crate) fn changed_since(connection: &Connection, sequence: u64) -> Result<bool, RecordError> {
    if oldest(connection)? > sequence + 1 {
        return Ok(true);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM change_log WHERE sequence > $1 \
         AND kind IN ('product', 'release', 'loose_blob', 'loose_blob_gone'))";
    Ok(connection.query_value(sql, values![to_sql(sequence)?])?)
}

/// Whether any entry up to a number is not older than a moment.
pub(crate) fn has_younger(connection: &Connection, to: u64, since: UnixSeconds) -> Result<bool, RecordError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM change_log WHERE sequence <= $1 AND at >= $2)";
    Ok(connection.query_value(sql, values![to_sql(to)?, to_sql(since.0)?])?)
}

/// Whether there are changes of accounts after one number and up to another.
pub(crate) fn has_accounts(connection: &Connection, after: u64, to: u64) -> Result<bool, RecordError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM change_log WHERE sequence > $1 AND sequence <= $2 AND kind = 'account')";
    Ok(connection.query_value(sql, values![to_sql(after)?, to_sql(to)?])?)
}

/// Removes the entries up to a number; says how many.
pub(crate) fn remove_up_to(connection: &Connection, sequence: u64) -> Result<u64, RecordError> {
    Ok(connection.execute("DELETE FROM change_log WHERE sequence <= $1", values![to_sql(sequence)?])?)
}

/// How many changes of accounts came after a number.
pub(crate) fn account_changes_since(connection: &Connection, sequence: u64) -> Result<u64, RecordError> {
    let sql = "SELECT COUNT(*) FROM change_log WHERE sequence > $1 AND kind = 'account'";
    from_sql(connection.query_value(sql, values![to_sql(sequence)?])?)
}

/// Shows the changes of accounts after a number, in order.
pub(crate) fn accounts_since(connection: &Connection, sequence: u64, show: &mut Teller<'_>) -> Result<(), CallError> {
    let sql = "SELECT sequence, body FROM change_log WHERE sequence > $1 AND kind = 'account' ORDER BY sequence";
    connection.for_each(sql, values![to_sql(sequence)?], |row| {
        let change =
            serde_json::from_str(&row.get::<String>(1)?).map_err(|_| RecordError::Damaged { what: "change" })?;
        show(from_sql(row.get(0)?)?, change)
    })
}

const fn kind(change: &CatalogChange) -> &'static str {
    match change {
        CatalogChange::Product(_) => "product",
        CatalogChange::Release { .. } => "release",
        CatalogChange::Offer(_) => "offer",
        CatalogChange::LooseBlob { .. } => "loose_blob",
        CatalogChange::LooseBlobGone { .. } => "loose_blob_gone",
        CatalogChange::Account { .. } => "account",
        CatalogChange::AccountsSnapshot { .. } => "accounts",
        CatalogChange::Embargo(_) => "embargo",
        CatalogChange::Segment(_) => "segment",
        CatalogChange::SegmentGone { .. } => "segment_gone",
        CatalogChange::ChannelPolicy { .. } => "channel_policy",
        CatalogChange::TokensRevoked { .. } => "tokens_revoked",
    }
}
