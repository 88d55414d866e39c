//! From what the player asked for to a verified manifest with all its parts on the shelf.
//!
//! Owns who is believed: nothing that an edge says counts before a signature says so too, and nothing
//! is written for a release that is refused.

use crate::ask::{Query, ask};
use crate::drive::{Checker, Network, Sink};
use crate::error::PullError;
use crate::progress::{Phase, Progress};
use crate::request::{Check, Target};
use crate::session::{Item, ItemId, Verdict};
use crate::shelf::Shelf;
use crate::state::State;
use penstock_core::api::{ChannelAnswer, ReleaseAnswer};
use penstock_core::blob::{BlobId, BlobSize, ByteRange};
use penstock_core::id::{ChannelName, Platform, ProductId, Version};
use penstock_core::keys::TrustSet;
use penstock_core::limits::{ANSWER_JSON_BYTES_MAX, ENVELOPE_BYTES_MAX, MINIMUM_MESSAGE_BYTES_MAX};
use penstock_core::manifest::{self, Expected, PartRef, Root as ManifestRoot, VerifiedManifest};
use penstock_core::request::InstallId;
use penstock_core::rollout::Minimum;
use penstock_core::statement::Pointer;
use penstock_core::time::UnixSeconds;
use penstock_core::trust::{self, Memory, Wanted};

/// What is to be installed, and what to remember of how we learned it.
pub(crate) struct Found {
    /// The verified root.
    pub(crate) manifest: VerifiedManifest,
    /// Its bytes, to be kept.
    pub(crate) manifest_bytes: Vec<u8>,
    /// How many of them were downloaded: none, when the install keeps this root already.
    pub(crate) fetched_bytes: u64,
    /// Publisher keys in force.
    pub(crate) trust: TrustSet,
    /// The channel and what was seen of it, if it came from a channel.
    pub(crate) seen: Option<(ChannelName, Memory)>,
    /// What the edge says of old versions.
    pub(crate) support: Support,
}

/// What an edge says of the versions that a channel supports. Nobody signed it, so nothing is decided by it: it is a word
/// for the player.
#[derive(Default)]
pub(crate) struct Support {
    pub(crate) minimum: Option<Minimum>,
    /// The installed version is older.
    pub(crate) required: bool,
}

/// What the player asked for.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) product: &'a ProductId,
    pub(crate) platform: &'a Platform,
    pub(crate) target: &'a Target,
    /// Publisher keys as given now.
    pub(crate) given: &'a TrustSet,
    pub(crate) state: Option<&'a State>,
    /// What the install calls itself.
    pub(crate) install: Option<&'a InstallId>,
    pub(crate) check: Check,
    pub(crate) now: UnixSeconds,
}

impl Question<'_> {
    /// In words, for a player who mistyped one of them.
    fn words(&self) -> String {
        let target = match self.target {
            Target::Channel(channel) => format!("channel {channel}"),
            Target::Version(version) => format!("version {version}"),
        };
        format!("product {}, {target}, platform {}", self.product, self.platform)
    }
}

/// What an answer points at.
struct Pointed {
    version: Version,
    manifest: BlobId,
    manifest_bytes: u64,
    trust: TrustSet,
    seen: Option<(ChannelName, Memory)>,
    support: Support,
}

/// Asks what to install and verifies the manifest root, which is fetched unless the shelf has it.
pub(crate) fn discover(
    network: &Network,
    question: &Question<'_>,
    shelf: Option<&Shelf<'_>>,
    progress: &dyn Progress,
) -> Result<Found, PullError> {
    let base = starting_trust(question);
    let pointed = match question.target {
        Target::Channel(channel) => ask_channel(network, question, channel, &base, progress)?,
        Target::Version(version) => ask_version(network, question, version, &base, progress)?,
    };
    if let Some(words) = support_words(question, &pointed) {
        progress.note(&words);
    }
    let max = usize::try_from(pointed.manifest_bytes).unwrap_or(usize::MAX);
    if max > ENVELOPE_BYTES_MAX {
        return Err(PullError::ManifestTooLarge(pointed.manifest_bytes));
    }
    let expected = Expected {
        id: pointed.manifest,
        product: question.product,
        platform: question.platform,
        version: &pointed.version,
    };
    if let Some(bytes) = shelf.map(|shelf| shelf.read(&pointed.manifest)).transpose()?.flatten()
        && let Ok(manifest) = manifest::verify(&bytes, &pointed.trust, &expected)
    {
        let Pointed { trust, seen, support, .. } = pointed;
        return Ok(Found { manifest, manifest_bytes: bytes, fetched_bytes: 0, trust, seen, support });
    }
    let target = format!("/v1/blobs/{}", pointed.manifest);
    let asked = format!("the manifest of {} {}", question.product, pointed.version);
    let query = Query { target: &target, max, asked: &asked, answers: &[] };
    let believe = |bytes: &[u8]| Ok((manifest::verify(bytes, &pointed.trust, &expected)?, bytes.to_vec()));
    let (manifest, manifest_bytes) = ask(network, &query, progress, believe)?;
    let fetched_bytes = manifest_bytes.len() as u64;
    let Pointed { trust, seen, support, .. } = pointed;
    Ok(Found { manifest, manifest_bytes, fetched_bytes, trust, seen, support })
}

/// What is said at once to a player who must not go on with what is installed: the update may yet fail.
fn support_words(question: &Question<'_>, pointed: &Pointed) -> Option<String> {
    let (Support { minimum, required: true }, Some(state)) = (&pointed.support, question.state) else { return None };
    let mut words = format!(
        "{} {} is not supported any more, {} is what to install",
        question.product, state.installed.version, pointed.version
    );
    if let Some(Minimum { message, .. }) = minimum.as_ref().filter(|minimum| !minimum.message.is_empty()) {
        words.push_str(": ");
        words.push_str(message);
    }
    Some(words)
}

/// [`penstock_core::api::ChannelDocument`], of which a word for the player that is not understood must not keep anybody
/// from the offer beside it.
#[derive(serde::Deserialize)]
struct Answered {
    #[serde(flatten)]
    offer: ChannelAnswer,
    #[serde(default)]
    minimum: serde_json::Value,
    #[serde(default)]
    required: bool,
}

/// Takes what a terminal or a dialog can show: a longer message, or one that would steer the terminal, is left out.
fn heard(minimum: serde_json::Value, required: bool) -> Support {
    let minimum = serde_json::from_value::<Minimum>(minimum).ok().map(|mut minimum| {
        if minimum.message.len() > MINIMUM_MESSAGE_BYTES_MAX || minimum.message.chars().any(char::is_control) {
            minimum.message.clear();
        }
        minimum
    });
    Support { minimum, required }
}

/// Keys to start from: an install that has already followed rotations from the keys given now must
/// not be led back to older ones.
fn starting_trust(question: &Question<'_>) -> TrustSet {
    let remembered = question
        .state
        .filter(|state| state.given_trust == question.given.to_string())
        .and_then(|state| state.trust.parse().ok());
    remembered.unwrap_or_else(|| question.given.clone())
}

fn ask_channel(
    network: &Network,
    question: &Question<'_>,
    channel: &ChannelName,
    base: &TrustSet,
    progress: &dyn Progress,
) -> Result<Pointed, PullError> {
    let Question { product, platform, .. } = question;
    let wanted = Wanted { product: (*product).clone(), platform: (*platform).clone(), channel: channel.clone() };
    let memory = question.state.map(|state| state.memory_for(channel)).unwrap_or_default();
    let mut target = format!("/v1/products/{product}/channels/{channel}?platform={platform}");
    if let Some(install) = question.install {
        target.push_str("&install=");
        target.push_str(install.expose());
    }
    if let Some(state) = question.state {
        target.push_str("&have=");
        target.push_str(&escape(state.installed.version.as_str()));
    }
    if question.check == Check::ByHand {
        target.push_str("&check=manual");
    }
    let query = Query { target: &target, max: ANSWER_JSON_BYTES_MAX, asked: &question.words(), answers: &[] };
    ask(network, &query, progress, |bytes| {
        let Answered { offer, minimum, required } = parse(network, bytes)?;
        let trust = trust::follow_rotations(base, &offer.rotations)?;
        let head = trust::verify_offer(&trust, &offer.delegation, &offer.head, &wanted, &memory, question.now)?;
        // The edge says whose turn it is, and it may say another thing tomorrow: an install that has the target goes back
        // when its edge answers the fallback, because that is what pulling the brake means.
        let (manifest, manifest_bytes) = (offer.manifest, offer.manifest_bytes);
        let pointer = head.chosen(&Pointer { version: offer.version, manifest, manifest_bytes })?;
        Ok(Pointed {
            version: pointer.version.clone(),
            manifest: pointer.manifest,
            manifest_bytes: pointer.manifest_bytes,
            trust,
            seen: Some((channel.clone(), head.memory().clone())),
            support: heard(minimum, required),
        })
    })
}

fn ask_version(
    network: &Network,
    question: &Question<'_>,
    version: &Version,
    base: &TrustSet,
    progress: &dyn Progress,
) -> Result<Pointed, PullError> {
    let Question { product, platform, .. } = question;
    let target = format!("/v1/products/{product}/releases/{}?platform={platform}", escape(version.as_str()));
    let query = Query { target: &target, max: ANSWER_JSON_BYTES_MAX, asked: &question.words(), answers: &[] };
    ask(network, &query, progress, |bytes| {
        let answer: ReleaseAnswer = parse(network, bytes)?;
        let trust = trust::follow_rotations(base, &answer.rotations)?;
        Ok(Pointed {
            version: version.clone(),
            manifest: answer.manifest,
            manifest_bytes: answer.manifest_bytes,
            trust,
            seen: None,
            support: Support::default(),
        })
    })
}

fn parse<T: serde::de::DeserializeOwned>(network: &Network, bytes: &[u8]) -> Result<T, PullError> {
    serde_json::from_slice(bytes).map_err(|error| PullError::NoAnswer {
        edge: network.edges().first().map(ToString::to_string).unwrap_or_default(),
        reason: format!("its answer is not the document it should be: {error}"),
    })
}

/// Versions may hold `+`, which some servers read as a space in a query.
fn escape(text: &str) -> String {
    text.replace('+', "%2B")
}

/// Fetches the parts that the shelf lacks; gives the bytes downloaded.
pub(crate) fn fetch_parts(
    network: &mut Network,
    manifest: &ManifestRoot,
    shelf: &Shelf<'_>,
    progress: &dyn Progress,
) -> Result<u64, PullError> {
    let mut missing: Vec<&PartRef> = Vec::new();
    for part in manifest.parts() {
        if !shelf.has(&part.blob, u64::from(part.stored_bytes))? {
            missing.push(part);
        }
    }
    missing.sort_unstable_by_key(|part| part.blob);
    missing.dedup_by_key(|part| part.blob);
    let bytes: u64 = missing.iter().map(|part| u64::from(part.stored_bytes)).sum();
    progress.begin(Phase::Plan, bytes);
    if missing.is_empty() {
        return Ok(0);
    }
    let item = |(index, part): (usize, &&PartRef)| {
        let id = ItemId(u32::try_from(index).unwrap_or(u32::MAX));
        let range =
            ByteRange::whole(BlobSize(u64::from(part.stored_bytes))).expect("a verified root has no empty part");
        Item { id, blob: part.blob, range }
    };
    let items = missing.iter().enumerate().map(item).collect();
    network.fetch(items, &PartSink { parts: &missing, shelf, progress }, progress)?;
    Ok(bytes)
}

struct PartSink<'a> {
    parts: &'a [&'a PartRef],
    shelf: &'a Shelf<'a>,
    progress: &'a dyn Progress,
}

impl Sink for PartSink<'_> {
    fn checker(&self) -> Checker<'_> {
        Box::new(|item, bytes| {
            let part = self.parts[item.0 as usize];
            if BlobId::of(bytes) != part.blob {
                return Ok(Verdict::Bad);
            }
            self.shelf.keep(&part.blob, bytes)?;
            self.progress.advance(bytes.len() as u64);
            Ok(Verdict::Good)
        })
    }
}
