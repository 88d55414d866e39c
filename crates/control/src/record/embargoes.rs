//! Rows of `embargoes`: every version of the policy that was ever in force.

use super::{RecordError, from_sql, to_sql};
use crate::sql::{Connection, Row, values};
use penstock_core::desk::policy::EmbargoVersion;
use penstock_core::place::Embargo;
use penstock_core::time::UnixSeconds;

/// The policy in force; the empty one, of version 0, when there never was another.
pub(crate) fn newest(connection: &Connection) -> Result<Embargo, RecordError> {
    let sql = "SELECT version, body FROM embargoes ORDER BY version DESC LIMIT 1";
    Ok(connection.query_optional(sql, &[], read_row)?.unwrap_or_default())
}

/// One version.
pub(crate) fn get(connection: &Connection, version: u64) -> Result<Option<Embargo>, RecordError> {
    let sql = "SELECT version, body FROM embargoes WHERE version = $1";
    connection.query_optional(sql, values![to_sql(version)?], read_row)
}

/// Versions, newest first, from the one before `before` on.
pub(crate) fn versions(connection: &Connection, before: u64, limit: u64) -> Result<Vec<EmbargoVersion>, RecordError> {
    let sql = "SELECT version, changed FROM embargoes WHERE version < $1 ORDER BY version DESC LIMIT $2";
    connection.query(sql, values![to_sql(before)?, to_sql(limit)?], |row| {
        Ok(EmbargoVersion { version: from_sql(row.get(0)?)?, changed: UnixSeconds(from_sql(row.get(1)?)?) })
    })
}

/// Writes a new version.
pub(crate) fn insert(connection: &Connection, policy: &Embargo, now: UnixSeconds) -> Result<(), RecordError> {
    let body = serde_json::to_string(&policy.classes).map_err(|_| RecordError::Damaged { what: "embargo policy" })?;
    connection.execute(
        "INSERT INTO embargoes (version, body, changed) VALUES ($1, $2, $3)",
        values![to_sql(policy.version)?, body.as_str(), to_sql(now.0)?],
    )?;
    Ok(())
}

fn read_row(row: &Row<'_>) -> Result<Embargo, RecordError> {
    let classes = serde_json::from_str(&row.get::<String>(1)?);
    let classes = classes.map_err(|_| RecordError::Damaged { what: "embargo policy" })?;
    Ok(Embargo { version: from_sql(row.get(0)?)?, classes })
}
