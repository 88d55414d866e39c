//! Terms that choose among a product's releases by channel or platform, and packs that releases share.
//!
//! Whoever reads a pack reads all of it. So an edge gives one to somebody with such terms only if they reach a release that
//! all of it is content of (`core::entitle`), whatever other releases use a part of it. That alone keeps the walls. This
//! module sees to it that nobody is shut out by them: a publisher asks which packs it may use a part of, and a channel does
//! not offer what those who are limited to it could not install. It must not decide who may read.

use crate::control::Node;
use crate::error::CallError;
use crate::record::channels::ever_offered;
use crate::record::entitlements::limiting;
use crate::record::releases::{self, Filled, ReleaseRow};
use crate::sql::Connection;
use penstock_core::account::Terms;
use penstock_core::api::{ReuseAnswer, ReuseQuestion};
use penstock_core::blob::BlobId;
use penstock_core::catalog::BlobMember;
use penstock_core::id::{ChannelName, ProductId, Version};
use penstock_core::limits::MISSING_BLOBS_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Channels by the number of a release that they ever offered.
type Offered = BTreeMap<i64, BTreeSet<ChannelName>>;

/// Why a release would be of no use to some who are owed it.
#[derive(Debug, thiserror::Error)]
#[error(
    "release {version} has content in blob {blob}, which also holds content of {others}: holders of {limit} are not owed all of it, and could not install {version} from channel {channel}; publish the build under another version with --channel {channel}, or let {channel} offer one of those releases first"
)]
pub struct Stranded {
    /// The release.
    pub version: Version,
    /// The channel that was to offer it.
    pub channel: ChannelName,
    /// A blob that it shares.
    pub blob: BlobId,
    /// The releases that all of the blob is content of.
    pub others: String,
    /// What the terms name.
    pub limit: String,
}

/// Which of the named blobs a new release had better not use a part of.
pub(crate) fn unfit(node: &Node, product: &ProductId, question: &ReuseQuestion) -> Result<ReuseAnswer, CallError> {
    if question.blobs.len() > MISSING_BLOBS_MAX {
        return Err(CallError::TooLarge { what: "blobs", max: MISSING_BLOBS_MAX as u64 });
    }
    node.record.read(|connection| {
        crate::products::find(connection, product)?;
        let goes_to = |terms: &Terms| {
            let may_be_offered = question.channels.is_empty() || terms.fit_channels(&question.channels);
            terms.fit_platform(&question.platform) && may_be_offered
        };
        let terms: Vec<Terms> = limiting(connection, product)?.into_iter().filter(goes_to).collect();
        if terms.is_empty() {
            return Ok(ReuseAnswer { limited: false, unfit: Vec::new() });
        }
        let filled = releases::filled(connection, product, &question.blobs)?;
        let offered = ever_offered(connection, product)?;
        let is_unfit = |blob: &&BlobId| left_out(&terms, wholes(&filled, blob), &offered).is_some();
        Ok(ReuseAnswer { limited: true, unfit: question.blobs.iter().filter(is_unfit).copied().collect() })
    })
}

/// Refuses to let a channel offer, for the first time, what some who are limited to it could not install.
pub(crate) fn check_offer(
    connection: &Connection,
    product: &ProductId,
    channel: &ChannelName,
    row: &ReleaseRow,
    members: &[BlobMember],
) -> Result<(), CallError> {
    let here = BTreeSet::from([channel.clone()]);
    let reached = |terms: &Terms| terms.fit_platform(&row.release.platform) && terms.fit_channels(&here);
    let terms: Vec<Terms> = limiting(connection, product)?.into_iter().filter(reached).collect();
    let shared: Vec<BlobId> = members.iter().filter(|member| !member.whole).map(|member| member.blob).collect();
    if terms.is_empty() || shared.is_empty() {
        return Ok(());
    }
    let offered = ever_offered(connection, product)?;
    // Back to what was there before, or the very same again: nobody has less than they had.
    if offered.get(&row.id).is_some_and(|channels| channels.contains(channel)) {
        return Ok(());
    }
    let filled = releases::filled(connection, product, &shared)?;
    for blob in shared {
        let others = wholes(&filled, &blob);
        if let Some(terms) = left_out(&terms, others, &offered) {
            let others: Vec<&str> = others.iter().map(|one| one.version.as_str()).take(NAMED_MAX).collect();
            return Err(CallError::Stranded(Box::new(Stranded {
                version: row.release.version.clone(),
                channel: channel.clone(),
                blob,
                others: others.join(", "),
                limit: limit(terms),
            })));
        }
    }
    Ok(())
}

/// Releases that a refusal names at most.
const NAMED_MAX: usize = 4;

/// Notes which blobs of a new release hold nothing but its own content: those of which the publisher says so wherever it
/// lists them, and those that no release had before, because new content lies in packs of its own.
pub(crate) fn mark_whole(
    connection: &Connection,
    claimed: &[BlobMember],
    members: &mut [BlobMember],
) -> Result<(), CallError> {
    let doubtful: BTreeSet<BlobId> = claimed.iter().filter(|member| !member.whole).map(|member| member.blob).collect();
    let listed = releases::listed(connection, &doubtful.iter().copied().collect::<Vec<_>>())?;
    for member in members {
        member.whole = !(doubtful.contains(&member.blob) && listed.contains(&member.blob));
    }
    Ok(())
}

fn wholes<'f>(filled: &'f BTreeMap<BlobId, Vec<Filled>>, blob: &BlobId) -> &'f [Filled] {
    filled.get(blob).map_or(&[], Vec::as_slice)
}

/// The first terms that reach none of the releases that all of a blob is content of.
fn left_out<'t>(terms: &'t [Terms], wholes: &[Filled], offered: &Offered) -> Option<&'t Terms> {
    let none = BTreeSet::new();
    let reaches = |terms: &Terms, one: &Filled| {
        terms.fit_platform(&one.platform) && terms.fit_channels(offered.get(&one.release).unwrap_or(&none))
    };
    terms.iter().find(|terms| !wholes.iter().any(|one| reaches(terms, one)))
}

fn limit(terms: &Terms) -> String {
    fn list<T: fmt::Display>(what: &str, names: &BTreeSet<T>) -> Option<String> {
        let names: Vec<String> = names.iter().map(T::to_string).collect();
        (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
    }
    let parts = [list("channels", &terms.channels), list("platforms", &terms.platforms)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::id::Platform;

    fn terms(channels: &[&str], platforms: &[&str]) -> Terms {
        let mut terms = Terms::of(ProductId::new("game").expect("name"));
        terms.channels = channels.iter().map(|name| ChannelName::new(name).expect("name")).collect();
        terms.platforms = platforms.iter().map(|name| Platform::new(name).expect("name")).collect();
        terms
    }

    fn filled(release: i64, platform: &str) -> Filled {
        let (platform, version) = (Platform::new(platform).expect("name"), Version::new("1").expect("name"));
        Filled { release, platform, version }
    }

    #[test]
    fn terms_are_left_out_unless_they_reach_one_release_that_fills_the_blob() {
        let channel = |name| ChannelName::new(name).expect("name");
        let offered = Offered::from([(1, [channel("beta")].into()), (2, [channel("stable"), channel("beta")].into())]);
        let (beta, both, nowhere) = (filled(1, "linux"), filled(2, "windows"), filled(3, "any"));
        let cases: [(&str, Terms, &[Filled], bool); 9] = [
            ("of the channel", terms(&["beta"], &[]), std::slice::from_ref(&beta), false),
            ("of another channel", terms(&["stable"], &[]), std::slice::from_ref(&beta), true),
            ("one of two", terms(&["stable"], &[]), &[beta.clone(), both.clone()], false),
            ("of the platform", terms(&[], &["linux"]), std::slice::from_ref(&beta), false),
            ("of another platform", terms(&[], &["linux"]), std::slice::from_ref(&both), true),
            (
                "channel of one, platform of the other",
                terms(&["stable"], &["linux"]),
                &[beta.clone(), both.clone()],
                true,
            ),
            ("never offered", terms(&["beta"], &[]), std::slice::from_ref(&nowhere), true),
            ("for any platform", terms(&[], &["linux"]), std::slice::from_ref(&nowhere), false),
            ("of nothing", terms(&["beta"], &[]), &[], true),
        ];
        for (name, terms, wholes, is_left_out) in cases {
            assert_eq!(left_out(std::slice::from_ref(&terms), wholes, &offered).is_some(), is_left_out, "{name}");
        }
        assert_eq!(limit(&terms(&["a", "b"], &["linux"])), "channels a, b and platforms linux");
    }
}
