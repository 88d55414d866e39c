//! Rows of `kept_answers`: idempotency keys that were used, and how their calls were answered.

use super::{RecordError, to_sql};
use crate::actor::Once;
use crate::sql::{Connection, Row, SqlErrorKind, values};
use penstock_core::time::UnixSeconds;

/// How long a key is remembered, in seconds: a day, as clients that retry overnight need.
const KEPT_SECONDS: u64 = 24 * 3600;
/// The most keys that are remembered; the oldest go first. Each takes about a kilobyte, at most 64.
const KEPT_MAX: i64 = 10_000;

/// A key that was used.
pub(crate) struct KeptRow {
    pub(crate) body_hash: [u8; 32],
    /// 0 until the answer is known.
    pub(crate) status: u16,
    pub(crate) answer: Vec<u8>,
}

/// A key that was used within a day.
pub(crate) fn get(
    connection: &Connection,
    actor: &str,
    key: &str,
    now: UnixSeconds,
) -> Result<Option<KeptRow>, RecordError> {
    let sql = "SELECT body_hash, status, answer FROM kept_answers
         WHERE actor = $1 AND idempotency_key = $2 AND at > $3";
    connection.query_optional(sql, values![actor, key, to_sql(oldest(now))?], read_row)
}

/// Claims a key for the transaction around this, and drops those that are over.
pub(super) fn claim(connection: &Connection, actor: &str, once: &Once, now: UnixSeconds) -> Result<(), RecordError> {
    connection.execute("DELETE FROM kept_answers WHERE at <= $1", values![to_sql(oldest(now))?])?;
    connection.execute(
        "DELETE FROM kept_answers WHERE at <= (SELECT at FROM kept_answers ORDER BY at DESC LIMIT 1 OFFSET $1)",
        values![KEPT_MAX - 1],
    )?;
    let sql = "INSERT INTO kept_answers (actor, idempotency_key, body_hash, status, answer, at)
         VALUES ($1, $2, $3, 0, $4, $5)";
    let none: &[u8] = &[];
    let claimed = connection.execute(sql, values![actor, once.key(), once.body_hash(), none, to_sql(now.0)?]);
    match claimed {
        Err(error) if error.kind() == SqlErrorKind::Unique => Err(RecordError::Claimed),
        other => Ok(other.map(drop)?),
    }
}

/// Adds the answer to a key that was claimed.
pub(crate) fn fill(
    connection: &Connection,
    actor: &str,
    key: &str,
    status: u16,
    answer: &[u8],
) -> Result<(), RecordError> {
    let sql = "UPDATE kept_answers SET status = $1, answer = $2 WHERE actor = $3 AND idempotency_key = $4";
    connection.execute(sql, values![i64::from(status), answer, actor, key])?;
    Ok(())
}

const fn oldest(now: UnixSeconds) -> u64 {
    now.0.saturating_sub(KEPT_SECONDS)
}

fn read_row(row: &Row<'_>) -> Result<KeptRow, RecordError> {
    let hash: Vec<u8> = row.get(0)?;
    Ok(KeptRow {
        body_hash: hash.try_into().map_err(|_| RecordError::Damaged { what: "hash of a request" })?,
        status: u16::try_from(row.get::<i64>(1)?).map_err(|_| RecordError::Damaged { what: "status" })?,
        answer: row.get(2)?,
    })
}
