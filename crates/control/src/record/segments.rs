//! Rows of `segments`.

use super::{RecordError, from_sql, name, next_number, to_sql};
use crate::sql::{Connection, Row, values};
use penstock_core::desk::policy::{RuleKind, SegmentDetail, SegmentRow};
use penstock_core::id::SegmentName;
use penstock_core::segment::Rule;
use penstock_core::time::UnixSeconds;

/// What all segments are together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) segments: u64,
    pub(crate) listed: u64,
}

/// One segment.
pub(crate) fn get(connection: &Connection, segment: &SegmentName) -> Result<Option<SegmentDetail>, RecordError> {
    let sql = "SELECT name, version, body, listed, changed FROM segments WHERE name = $1";
    connection.query_optional(sql, values![segment.as_str()], read_row)
}

/// Shows every segment, by name.
pub(crate) fn each<E: From<RecordError> + From<crate::sql::SqlError>>(
    connection: &Connection,
    mut show: impl FnMut(SegmentDetail) -> Result<(), E>,
) -> Result<(), E> {
    let sql = "SELECT name, version, body, listed, changed FROM segments ORDER BY name";
    connection.for_each(sql, &[], |row| show(read_row(row)?))
}

/// All of them together, but one.
pub(crate) fn totals_without(connection: &Connection, segment: &SegmentName) -> Result<Totals, RecordError> {
    let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(listed), 0) AS BIGINT) FROM segments WHERE name <> $1";
    let totals = connection.query_optional(sql, values![segment.as_str()], |row| {
        Ok::<_, RecordError>(Totals { segments: from_sql(row.get(0)?)?, listed: from_sql(row.get(1)?)? })
    })?;
    totals.ok_or(RecordError::Damaged { what: "count" })
}

/// The next version: one row of numbers for all segments, so that one that is made again does not begin anew.
pub(crate) fn next_version(connection: &Connection) -> Result<u64, RecordError> {
    from_sql(next_number(connection, "segments")?)
}

/// Writes a segment, new or changed.
pub(crate) fn put(connection: &Connection, segment: &SegmentDetail) -> Result<(), RecordError> {
    let body = serde_json::to_string(&segment.rule).map_err(|_| RecordError::Damaged { what: "segment" })?;
    let SegmentRow { name, version, listed, changed, .. } = &segment.row;
    connection.execute(
        "INSERT INTO segments (name, version, body, listed, changed) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (name) DO UPDATE SET version = excluded.version, body = excluded.body,
             listed = excluded.listed, changed = excluded.changed",
        values![name.as_str(), to_sql(*version)?, body.as_str(), to_sql(*listed)?, to_sql(changed.0)?],
    )?;
    Ok(())
}

/// Removes a segment; whether there was one.
pub(crate) fn remove(connection: &Connection, segment: &SegmentName) -> Result<bool, RecordError> {
    Ok(connection.execute("DELETE FROM segments WHERE name = $1", values![segment.as_str()])? > 0)
}

fn read_row(row: &Row<'_>) -> Result<SegmentDetail, RecordError> {
    let rule: Rule =
        serde_json::from_str(&row.get::<String>(2)?).map_err(|_| RecordError::Damaged { what: "segment" })?;
    let row = SegmentRow {
        name: name(&row.get::<String>(0)?, "segment")?,
        version: from_sql(row.get(1)?)?,
        kind: RuleKind::of(&rule),
        listed: from_sql(row.get(3)?)?,
        changed: UnixSeconds(from_sql(row.get(4)?)?),
    };
    Ok(SegmentDetail { row, rule })
}
