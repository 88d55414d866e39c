//! Rows of `channels` and `heads`.

use super::{RecordError, blob_id, from_sql, name, to_sql};
use crate::sql::{Connection, Row, values};
use penstock_core::catalog::Release;
use penstock_core::id::{ChannelName, Platform, ProductId, Version};
use penstock_core::statement::{Head, Pointer};
use penstock_core::time::UnixSeconds;
use std::collections::{BTreeMap, BTreeSet};

/// A channel's head in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChannelState {
    pub(crate) product: ProductId,
    pub(crate) platform: Platform,
    pub(crate) channel: ChannelName,
    pub(crate) sequence: u64,
    pub(crate) target: Pointer,
    /// What those get whose turn it is not, while a rollout goes on.
    pub(crate) fallback: Option<Pointer>,
    /// The version offered before this one, if any.
    pub(crate) previous: Option<Version>,
    pub(crate) issued: UnixSeconds,
    pub(crate) expires: UnixSeconds,
    /// The signed head (an encoded envelope).
    pub(crate) envelope: Vec<u8>,
}

const SELECT: &str = "SELECT c.product, c.platform, c.channel, c.sequence, h.version, r.manifest, r.manifest_bytes,
        c.previous, h.issued, h.expires, h.envelope, f.version, f.manifest, f.manifest_bytes
     FROM channels c
     JOIN heads h ON h.product = c.product AND h.platform = c.platform AND h.channel = c.channel
         AND h.sequence = c.sequence
     JOIN releases r ON r.product = h.product AND r.platform = h.platform AND r.version = h.version
     LEFT JOIN releases f ON f.product = h.product AND f.platform = h.platform AND f.version = h.fallback";

/// One channel's head in force.
pub(crate) fn get(
    connection: &Connection,
    product: &ProductId,
    platform: &Platform,
    channel: &ChannelName,
) -> Result<Option<ChannelState>, RecordError> {
    let sql = format!("{SELECT} WHERE c.product = $1 AND c.platform = $2 AND c.channel = $3");
    connection.query_optional(&sql, values![product.as_str(), platform.as_str(), channel.as_str()], read_row)
}

/// A product's heads in force, by channel and platform.
pub(crate) fn list(connection: &Connection, product: &ProductId) -> Result<Vec<ChannelState>, RecordError> {
    let sql = format!("{SELECT} WHERE c.product = $1 ORDER BY c.channel, c.platform");
    connection.query(&sql, values![product.as_str()], read_row)
}

/// Writes a head into the history and puts it in force.
pub(crate) fn put(
    connection: &Connection,
    head: &Head,
    previous: Option<&Version>,
    envelope: &[u8],
) -> Result<(), RecordError> {
    let sequence = to_sql(head.sequence)?;
    let (product, platform, channel) = (head.product.as_str(), head.platform.as_str(), head.channel.as_str());
    connection.execute(
        "INSERT INTO heads (product, platform, channel, sequence, version, fallback, issued, expires, envelope)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        values![
            product,
            platform,
            channel,
            sequence,
            head.target.version.as_str(),
            head.fallback.as_ref().map(|pointer| pointer.version.as_str()),
            to_sql(head.issued.0)?,
            to_sql(head.expires.0)?,
            envelope,
        ],
    )?;
    connection.execute(
        "INSERT INTO channels (product, platform, channel, sequence, previous) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (product, platform, channel)
         DO UPDATE SET sequence = excluded.sequence, previous = excluded.previous",
        values![product, platform, channel, sequence, previous.map(Version::as_str)],
    )?;
    Ok(())
}

/// Channels that ever offered a release, to everybody or to some.
pub(crate) fn ever_offering(connection: &Connection, release: &Release) -> Result<BTreeSet<ChannelName>, RecordError> {
    let sql = "SELECT DISTINCT channel FROM heads
         WHERE product = $1 AND platform = $2 AND (version = $3 OR fallback = $3)";
    let names = values![release.product.as_str(), release.platform.as_str(), release.version.as_str()];
    let channels = connection.query(sql, names, |row| name(&row.get::<String>(0)?, "channel"))?;
    Ok(channels.into_iter().collect())
}

/// The channels that ever offered each of a product's releases, by the release's number.
pub(crate) fn ever_offered(
    connection: &Connection,
    product: &ProductId,
) -> Result<BTreeMap<i64, BTreeSet<ChannelName>>, RecordError> {
    let sql = "SELECT DISTINCT r.id, h.channel FROM heads h
         JOIN releases r ON r.product = h.product AND r.platform = h.platform
             AND (r.version = h.version OR r.version = h.fallback)
         WHERE h.product = $1";
    let mut found: BTreeMap<i64, BTreeSet<ChannelName>> = BTreeMap::new();
    connection.for_each(sql, values![product.as_str()], |row| {
        found.entry(row.get(0)?).or_default().insert(name(&row.get::<String>(1)?, "channel")?);
        Ok::<_, RecordError>(())
    })?;
    Ok(found)
}

/// How many heads are in force.
pub(crate) fn count(connection: &Connection) -> Result<u64, RecordError> {
    from_sql(connection.query_value("SELECT COUNT(*) FROM channels", &[])?)
}

fn read_row(row: &Row<'_>) -> Result<ChannelState, RecordError> {
    let (product, platform, channel): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (version, manifest): (String, Vec<u8>) = (row.get(4)?, row.get(5)?);
    let previous: Option<String> = row.get(7)?;
    let fallback: Option<String> = row.get(11)?;
    let fallback = fallback.map(|version| {
        Ok::<_, RecordError>(Pointer {
            version: name(&version, "version")?,
            manifest: blob_id(&row.get::<Vec<u8>>(12)?)?,
            manifest_bytes: from_sql(row.get(13)?)?,
        })
    });
    Ok(ChannelState {
        product: name(&product, "product")?,
        platform: name(&platform, "platform")?,
        channel: name(&channel, "channel")?,
        sequence: from_sql(row.get(3)?)?,
        target: Pointer {
            version: name(&version, "version")?,
            manifest: blob_id(&manifest)?,
            manifest_bytes: from_sql(row.get(6)?)?,
        },
        fallback: fallback.transpose()?,
        previous: previous.map(|text| name(&text, "version")).transpose()?,
        issued: UnixSeconds(from_sql(row.get(8)?)?),
        expires: UnixSeconds(from_sql(row.get(9)?)?),
        envelope: row.get(10)?,
    })
}
