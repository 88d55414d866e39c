//! Rows of `rollouts` and `minimums`.

use super::{RecordError, from_sql, name, next_number, to_sql};
use crate::sql::{Connection, Row, Value, values};
use penstock_core::id::{ChannelName, Platform, ProductId, SegmentName, Version};
use penstock_core::rollout::{Minimum, Rollout};
use penstock_core::time::UnixSeconds;
use std::collections::BTreeSet;

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Halted,
    Finished,
}

/// A rollout that runs, or ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RolloutState {
    pub(crate) id: u64,
    pub(crate) product: ProductId,
    pub(crate) platform: Platform,
    pub(crate) channel: ChannelName,
    pub(crate) rollout: Rollout,
    pub(crate) started: UnixSeconds,
    /// When and how it ended, if it did.
    pub(crate) ended: Option<(UnixSeconds, Outcome)>,
}

/// A channel, by all its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place<'a> {
    pub(crate) product: &'a ProductId,
    pub(crate) platform: &'a Platform,
    pub(crate) channel: &'a ChannelName,
}

impl<'a> Place<'a> {
    fn values(self) -> [Value<'a>; 3] {
        [self.product.as_str().into(), self.platform.as_str().into(), self.channel.as_str().into()]
    }
}

const SELECT: &str = "SELECT id, product, platform, channel, body, started, ended, outcome FROM rollouts";

/// The rollout of a channel that did not end.
pub(crate) fn open(connection: &Connection, place: Place<'_>) -> Result<Option<RolloutState>, RecordError> {
    let sql = format!("{SELECT} WHERE product = $1 AND platform = $2 AND channel = $3 AND ended IS NULL");
    connection.query_optional(&sql, &place.values(), read_row)
}

/// The newest rollout of a channel, whether it ended or not.
pub(crate) fn newest(connection: &Connection, place: Place<'_>) -> Result<Option<RolloutState>, RecordError> {
    let sql = format!("{SELECT} WHERE product = $1 AND platform = $2 AND channel = $3 ORDER BY id DESC LIMIT 1");
    connection.query_optional(&sql, &place.values(), read_row)
}

/// All that did not end.
pub(crate) fn all_open(connection: &Connection) -> Result<Vec<RolloutState>, RecordError> {
    connection.query(&format!("{SELECT} WHERE ended IS NULL ORDER BY id"), &[], read_row)
}

/// Those of a product, newest first.
pub(crate) fn list(connection: &Connection, product: &ProductId, limit: u64) -> Result<Vec<RolloutState>, RecordError> {
    let sql = format!("{SELECT} WHERE product = $1 ORDER BY id DESC LIMIT $2");
    connection.query(&sql, values![product.as_str(), to_sql(limit)?], read_row)
}

/// Writes one that begins.
pub(crate) fn insert(
    connection: &Connection,
    place: Place<'_>,
    rollout: &Rollout,
    now: UnixSeconds,
) -> Result<u64, RecordError> {
    let id = next_number(connection, "rollouts")?;
    connection.execute(
        "INSERT INTO rollouts (id, product, platform, channel, target, fallback, body, started)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        values![
            id,
            place.product.as_str(),
            place.platform.as_str(),
            place.channel.as_str(),
            rollout.target.as_str(),
            rollout.fallback.as_str(),
            text(rollout)?.as_str(),
            to_sql(now.0)?,
        ],
    )?;
    from_sql(id)
}

/// Writes how one goes on.
pub(crate) fn steer(connection: &Connection, id: u64, rollout: &Rollout) -> Result<(), RecordError> {
    let body = text(rollout)?;
    connection.execute("UPDATE rollouts SET body = $1 WHERE id = $2", values![body.as_str(), to_sql(id)?])?;
    Ok(())
}

/// Writes that one ended.
pub(crate) fn end(connection: &Connection, id: u64, outcome: Outcome, now: UnixSeconds) -> Result<(), RecordError> {
    let outcome = match outcome {
        Outcome::Halted => "halted",
        Outcome::Finished => "finished",
    };
    connection.execute(
        "UPDATE rollouts SET ended = $1, outcome = $2 WHERE id = $3",
        values![to_sql(now.0)?, outcome, to_sql(id)?],
    )?;
    Ok(())
}

/// The oldest supported version of a channel.
pub(crate) fn minimum(connection: &Connection, place: Place<'_>) -> Result<Option<Minimum>, RecordError> {
    let sql = "SELECT version, message FROM minimums WHERE product = $1 AND platform = $2 AND channel = $3";
    connection.query_optional(sql, &place.values(), |row| {
        Ok(Minimum { version: name(&row.get::<String>(0)?, "version")?, message: row.get(1)? })
    })
}

/// Writes it, or that every version is supported.
pub(crate) fn put_minimum(
    connection: &Connection,
    place: Place<'_>,
    minimum: Option<&Minimum>,
) -> Result<(), RecordError> {
    let [product, platform, channel] = place.values();
    match minimum {
        Some(Minimum { version, message }) => connection.execute(
            "INSERT INTO minimums (product, platform, channel, version, message) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (product, platform, channel)
             DO UPDATE SET version = excluded.version, message = excluded.message",
            &[product, platform, channel, version.as_str().into(), message.as_str().into()],
        )?,
        None => connection.execute(
            "DELETE FROM minimums WHERE product = $1 AND platform = $2 AND channel = $3",
            &[product, platform, channel],
        )?,
    };
    Ok(())
}

/// All channels that edges have to know more of than their offer.
pub(crate) fn steered(connection: &Connection) -> Result<BTreeSet<(ProductId, Platform, ChannelName)>, RecordError> {
    let sql = "SELECT product, platform, channel FROM rollouts WHERE ended IS NULL
         UNION SELECT product, platform, channel FROM minimums";
    let places = connection.query(sql, &[], |row| {
        let (product, platform, channel): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok::<_, RecordError>((name(&product, "product")?, name(&platform, "platform")?, name(&channel, "channel")?))
    })?;
    Ok(places.into_iter().collect())
}

/// A rollout that goes on and names a segment.
pub(crate) fn naming(connection: &Connection, segment: &SegmentName) -> Result<Option<RolloutState>, RecordError> {
    let is_named = |row: &RolloutState| row.rollout.steps.iter().any(|step| step.segments.contains(segment));
    Ok(all_open(connection)?.into_iter().find(is_named))
}

/// Rollouts that go on and bring a version.
pub(crate) fn bringing(
    connection: &Connection,
    product: &ProductId,
    platform: &Platform,
    version: &Version,
) -> Result<Vec<RolloutState>, RecordError> {
    let sql = format!("{SELECT} WHERE product = $1 AND platform = $2 AND target = $3 AND ended IS NULL ORDER BY id");
    connection.query(&sql, values![product.as_str(), platform.as_str(), version.as_str()], read_row)
}

fn text(rollout: &Rollout) -> Result<String, RecordError> {
    serde_json::to_string(rollout).map_err(|_| RecordError::Damaged { what: "rollout" })
}

fn read_row(row: &Row<'_>) -> Result<RolloutState, RecordError> {
    let (product, platform, channel): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let rollout = serde_json::from_str(&row.get::<String>(4)?);
    let ended: Option<i64> = row.get(6)?;
    let outcome: Option<String> = row.get(7)?;
    let ended = match (ended, outcome.as_deref()) {
        (None, None) => None,
        (Some(ended), Some("halted")) => Some((UnixSeconds(from_sql(ended)?), Outcome::Halted)),
        (Some(ended), Some("finished")) => Some((UnixSeconds(from_sql(ended)?), Outcome::Finished)),
        _ => return Err(RecordError::Damaged { what: "rollout's end" }),
    };
    Ok(RolloutState {
        id: from_sql(row.get(0)?)?,
        product: name(&product, "product")?,
        platform: name(&platform, "platform")?,
        channel: name(&channel, "channel")?,
        rollout: rollout.map_err(|_| RecordError::Damaged { what: "rollout" })?,
        started: UnixSeconds(from_sql(row.get(5)?)?),
        ended,
    })
}
