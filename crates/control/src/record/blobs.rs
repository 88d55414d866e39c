//! Rows of `blobs`.

use super::{RecordError, blob_id, from_sql, to_sql};
use crate::audience::LooseState;
use crate::sql::{Connection, Row, Value, values};
use penstock_core::blob::{BlobId, BlobSize};
use penstock_core::desk::BlobRow;
use penstock_core::time::UnixSeconds;
use std::collections::BTreeSet;

const COLUMNS: &str = "b.blob, b.bytes, b.added, b.is_open,
     (SELECT COUNT(DISTINCT u.release_id) FROM release_blobs u WHERE u.blob = b.blob)";

/// Blobs asked about in one statement: few enough for any engine's bound on parameters.
pub(super) const ASKED_AT_ONCE: usize = 500;

/// One blob.
pub(crate) fn get(connection: &Connection, blob: BlobId) -> Result<Option<BlobRow>, RecordError> {
    let sql = format!("SELECT {COLUMNS} FROM blobs b WHERE b.blob = $1");
    connection.query_optional(&sql, values![blob.as_bytes()], read_row)
}

/// At most `limit` blobs whose names come after `after`, by name.
pub(crate) fn page(connection: &Connection, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobRow>, RecordError> {
    let sql = format!("SELECT {COLUMNS} FROM blobs b WHERE b.blob > $1 ORDER BY b.blob LIMIT $2");
    let after: &[u8] = after.as_ref().map_or(&[], |blob| blob.as_bytes());
    connection.query(&sql, values![after, to_sql(limit as u64)?], read_row)
}

/// Those of the blobs that the record does not know, in the order given.
pub(crate) fn unknown(
    connection: &Connection,
    blobs: impl IntoIterator<Item = BlobId>,
) -> Result<Vec<BlobId>, RecordError> {
    let blobs: Vec<BlobId> = blobs.into_iter().collect();
    let mut unknown = Vec::new();
    for some in blobs.chunks(ASKED_AT_ONCE) {
        let sql = format!("SELECT blob FROM blobs WHERE blob IN ({})", numbered(some.len()));
        let known: BTreeSet<BlobId> = connection.query(&sql, &bound(some), read_name)?.into_iter().collect();
        unknown.extend(some.iter().filter(|blob| !known.contains(blob)));
    }
    Ok(unknown)
}

/// Remembers a blob that is in the store; changes nothing when it is known.
pub(crate) fn add(connection: &Connection, blob: BlobId, size: BlobSize, now: UnixSeconds) -> Result<(), RecordError> {
    connection.execute(
        "INSERT INTO blobs (blob, bytes, added) VALUES ($1, $2, $3) ON CONFLICT (blob) DO NOTHING",
        values![blob.as_bytes(), to_sql(size.0)?, to_sql(now.0)?],
    )?;
    Ok(())
}

/// Lets anyone read a blob that is known.
pub(crate) fn open(connection: &Connection, blob: BlobId) -> Result<(), RecordError> {
    connection.execute("UPDATE blobs SET is_open = 1 WHERE blob = $1", values![blob.as_bytes()])?;
    Ok(())
}

/// Forgets a blob that no release refers to.
pub(crate) fn remove(connection: &Connection, blob: BlobId) -> Result<(), RecordError> {
    connection.execute("DELETE FROM blobs WHERE blob = $1", values![blob.as_bytes()])?;
    Ok(())
}

/// Whether anyone may read the blob, releases aside.
pub(crate) fn loose_state(connection: &Connection, blob: BlobId) -> Result<LooseState, RecordError> {
    let sql = "SELECT is_open FROM blobs WHERE blob = $1";
    let open: Option<bool> =
        connection.query_optional(sql, values![blob.as_bytes()], |row| Ok::<_, RecordError>(row.get(0)?))?;
    Ok(if open == Some(true) { LooseState::Open } else { LooseState::Private })
}

/// Every blob that anyone may read: the replay.
pub(crate) fn all_open(connection: &Connection) -> Result<Vec<BlobId>, RecordError> {
    connection.query("SELECT blob FROM blobs WHERE is_open = 1 ORDER BY blob", &[], read_name)
}

/// How many blobs there are, and their bytes together.
pub(crate) fn totals(connection: &Connection) -> Result<(u64, u64), RecordError> {
    let count = connection.query_value("SELECT COUNT(*) FROM blobs", &[])?;
    // Cast, because PostgreSQL sums into a type without bounds.
    let bytes = connection.query_value("SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM blobs", &[])?;
    Ok((from_sql(count)?, from_sql(bytes)?))
}

/// `$1, $2, …`, as many as asked.
pub(super) fn numbered(count: usize) -> String {
    (1..=count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

/// Names of blobs as parameters.
pub(super) fn bound(blobs: &[BlobId]) -> Vec<Value<'_>> {
    blobs.iter().map(|blob| Value::from(blob.as_bytes())).collect()
}

/// A row that is a blob's name.
pub(super) fn read_name(row: &Row<'_>) -> Result<BlobId, RecordError> {
    blob_id(&row.get::<Vec<u8>>(0)?)
}

fn read_row(row: &Row<'_>) -> Result<BlobRow, RecordError> {
    let blob: Vec<u8> = row.get(0)?;
    Ok(BlobRow {
        blob: blob_id(&blob)?,
        bytes: from_sql(row.get(1)?)?,
        added: UnixSeconds(from_sql(row.get(2)?)?),
        open: row.get(3)?,
        releases: from_sql(row.get(4)?)?,
    })
}
