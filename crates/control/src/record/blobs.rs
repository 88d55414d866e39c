//! Rows of `blobs`.

use super::{RecordError, blob_id, from_sql, to_sql};
use crate::audience::LooseState;
use penstock_core::blob::{BlobId, BlobSize};
use penstock_core::desk::BlobRow;
use penstock_core::time::UnixSeconds;
use rusqlite::{Connection, OptionalExtension as _, Row};

const COLUMNS: &str = "b.blob, b.bytes, b.added, b.is_open,
     (SELECT COUNT(DISTINCT u.release_id) FROM release_blobs u WHERE u.blob = b.blob)";

/// One blob.
pub(crate) fn get(connection: &Connection, blob: BlobId) -> Result<Option<BlobRow>, RecordError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM blobs b WHERE b.blob = $1"))?;
    statement.query_row([blob.as_bytes()], |row| Ok(read_row(row))).optional()?.transpose()
}

/// At most `limit` blobs whose names come after `after`, by name.
pub(crate) fn page(connection: &Connection, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobRow>, RecordError> {
    let sql = format!("SELECT {COLUMNS} FROM blobs b WHERE b.blob > $1 ORDER BY b.blob LIMIT $2");
    let mut statement = connection.prepare_cached(&sql)?;
    let after: &[u8] = after.as_ref().map_or(&[], |blob| blob.as_bytes());
    statement.query_map((after, to_sql(limit as u64)?), |row| Ok(read_row(row)))?.map(|row| row?).collect()
}

/// Those of the blobs that the record does not know.
pub(crate) fn unknown(
    connection: &Connection,
    blobs: impl IntoIterator<Item = BlobId>,
) -> Result<Vec<BlobId>, RecordError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM blobs WHERE blob = $1")?;
    let mut unknown = Vec::new();
    for blob in blobs {
        if !statement.exists([blob.as_bytes()])? {
            unknown.push(blob);
        }
    }
    Ok(unknown)
}

/// Remembers a blob that is in the store; changes nothing when it is known.
pub(crate) fn add(connection: &Connection, blob: BlobId, size: BlobSize, now: UnixSeconds) -> Result<(), RecordError> {
    let mut statement = connection
        .prepare_cached("INSERT INTO blobs (blob, bytes, added) VALUES ($1, $2, $3) ON CONFLICT (blob) DO NOTHING")?;
    statement.execute((blob.as_bytes(), to_sql(size.0)?, to_sql(now.0)?))?;
    Ok(())
}

/// Lets anyone read a blob that is known.
pub(crate) fn open(connection: &Connection, blob: BlobId) -> Result<(), RecordError> {
    connection.execute("UPDATE blobs SET is_open = 1 WHERE blob = $1", [blob.as_bytes()])?;
    Ok(())
}

/// Forgets a blob that no release refers to.
pub(crate) fn remove(connection: &Connection, blob: BlobId) -> Result<(), RecordError> {
    connection.execute("DELETE FROM blobs WHERE blob = $1", [blob.as_bytes()])?;
    Ok(())
}

/// Whether anyone may read the blob, releases aside.
pub(crate) fn loose_state(connection: &Connection, blob: BlobId) -> Result<LooseState, RecordError> {
    let mut statement = connection.prepare_cached("SELECT is_open FROM blobs WHERE blob = $1")?;
    let open: Option<bool> = statement.query_row([blob.as_bytes()], |row| row.get(0)).optional()?;
    Ok(if open == Some(true) { LooseState::Open } else { LooseState::Private })
}

/// Every blob that anyone may read: the replay.
pub(crate) fn all_open(connection: &Connection) -> Result<Vec<BlobId>, RecordError> {
    let mut statement = connection.prepare("SELECT blob FROM blobs WHERE is_open = 1 ORDER BY blob")?;
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    rows.map(|row| blob_id(&row?)).collect()
}

/// How many blobs there are, and their bytes together.
pub(crate) fn totals(connection: &Connection) -> Result<(u64, u64), RecordError> {
    let (count, bytes) = connection
        .query_row("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM blobs", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((from_sql(count)?, from_sql(bytes)?))
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
