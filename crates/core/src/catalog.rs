//! What control knows and an edge needs: products, releases, heads, and who may read which blob.
//!
//! Control owns the truth and tells changes; an edge applies them to its own copy through
//! [`CatalogSink`]. Nothing here stores anything.

use crate::account::{AccountFacts, AccountKey, TokenKey};
use crate::blob::BlobId;
use crate::id::{AccessGroup, ChannelName, ComponentName, Platform, ProductId, SegmentName, Version};
use crate::place::Embargo;
use crate::rollout::{Minimum, Rollout};
use crate::segment::Segment;
use crate::time::UnixSeconds;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How a product's content is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccessClass {
    /// Anyone, without a token.
    Open,
    /// Any known account.
    Registered,
    /// Accounts with an entitlement.
    Licensed,
    /// Named accounts only; to everyone else it does not exist.
    Closed,
}

/// A product as edges see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Product {
    /// Its name.
    pub id: ProductId,
    /// For people.
    pub title: String,
    /// Who may read it.
    pub access: AccessClass,
    /// Export class that embargo policy refers to; empty means unclassified.
    pub export_class: String,
}

/// Whether a release may still be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseState {
    /// It may.
    Live,
    /// It was taken back: 410.
    Withdrawn,
}

/// One blob of a release and its audience.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BlobMember {
    /// The blob: manifest, part or pack.
    pub blob: BlobId,
    /// The component whose content it carries.
    pub component: ComponentName,
    /// Who may read it.
    pub group: AccessGroup,
    /// Whether everything in it is content of this release. A pack of an earlier release that this one uses a part of is
    /// not: whoever may read it must be owed the rest, too.
    #[serde(default)]
    pub whole: bool,
}

/// A release as edges see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Release {
    /// Product it belongs to.
    pub product: ProductId,
    /// Platform it runs on.
    pub platform: Platform,
    /// Its version.
    pub version: Version,
    /// The blob with the signed root.
    pub manifest: BlobId,
    /// That blob's length in bytes.
    pub manifest_bytes: u64,
    /// Bytes of all files.
    pub content_bytes: u64,
    /// Files, directories and links.
    pub entry_count: u64,
    /// When control registered it.
    pub registered: UnixSeconds,
    /// Whether it may be fetched.
    pub state: ReleaseState,
}

/// A release that a channel's head points at beside its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OfferedRelease {
    /// Its version.
    pub version: Version,
    /// The blob with its signed root.
    pub manifest: BlobId,
    /// That blob's length in bytes.
    pub manifest_bytes: u64,
}

/// A token that is worth nothing any more, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RevokedToken {
    /// The pseudonym of its issuer and id.
    pub token: TokenKey,
    /// When it ends by itself; nobody needs to remember it longer.
    pub until: UnixSeconds,
}

/// A channel's current offer as edges see it: the signed statements and what they say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Offer {
    /// Product.
    pub product: ProductId,
    /// Platform.
    pub platform: Platform,
    /// Channel.
    pub channel: ChannelName,
    /// The head's sequence.
    pub sequence: u64,
    /// Version the head points at.
    pub version: Version,
    /// Manifest blob the head points at.
    pub manifest: BlobId,
    /// That blob's length in bytes.
    pub manifest_bytes: u64,
    /// What those get whose turn it is not; the head points at it too. `None` while everybody gets the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<OfferedRelease>,
    /// The signed head (an encoded envelope).
    #[serde(with = "crate::api::base64_bytes")]
    #[schemars(with = "String")]
    pub head: Vec<u8>,
    /// The publisher's signed delegation (an encoded envelope).
    #[serde(with = "crate::api::base64_bytes")]
    #[schemars(with = "String")]
    pub delegation: Vec<u8>,
    /// Signed key rotations, oldest first (encoded envelopes).
    #[serde(with = "crate::api::base64_list")]
    #[schemars(with = "Vec<String>")]
    pub rotations: Vec<Vec<u8>>,
}

/// One change of what edges may serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatalogChange {
    /// A product is new or changed.
    Product(Product),
    /// A release is new or changed state; `members` lists all its blobs.
    Release {
        /// The release.
        release: Release,
        /// Its manifest, parts and packs.
        members: Vec<BlobMember>,
        /// Channels that it was ever offered on, as far as that is known already; offers tell of more.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        channels: BTreeSet<ChannelName>,
    },
    /// A channel offers something new.
    Offer(Offer),
    /// A blob outside any release; `open` lets anyone read it.
    LooseBlob {
        /// The blob.
        blob: BlobId,
        /// Whether anyone may read it.
        open: bool,
    },
    /// A loose blob is gone.
    LooseBlobGone {
        /// The blob.
        blob: BlobId,
    },
    /// An account is new or changed, or gone.
    Account {
        /// Its pseudonym.
        account: AccountKey,
        /// What is true of it from now on; `None` when there is none any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        facts: Option<AccountFacts>,
    },
    /// All accounts, up to a change, lie in a blob: see [`crate::snapshot`].
    AccountsSnapshot {
        /// The blob.
        blob: BlobId,
        /// Number of the last change that it holds.
        sequence: u64,
        /// Control's signed word for it (an encoded envelope, see [`crate::statement::AccountsNotice`]): whoever gets the
        /// blob from elsewhere knows that it is control's.
        #[serde(with = "crate::api::base64_bytes", default)]
        #[schemars(with = "String")]
        notice: Vec<u8>,
    },
    /// The embargo policy is new: it replaces the one before.
    Embargo(Embargo),
    /// A segment is new or changed. The ids of its list, if it is one, are pseudonyms in hexadecimal: of accounts and of
    /// installs, both by [`crate::account::PseudonymKey::account`].
    Segment(Segment),
    /// A segment is gone.
    SegmentGone {
        /// Its name.
        name: SegmentName,
    },
    /// How a channel moves to its target, and what it supports at all: this replaces what was so before.
    ChannelPolicy {
        /// Product.
        product: ProductId,
        /// Platform.
        platform: Platform,
        /// Channel.
        channel: ChannelName,
        /// Who gets the target; `None` is everybody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rollout: Option<Rollout>,
        /// The oldest version that is supported.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        minimum: Option<Minimum>,
    },
    /// These tokens are worth nothing from now on. At most [`REVOKED_AT_ONCE_MAX`] in one change.
    TokensRevoked {
        /// Which.
        tokens: Vec<RevokedToken>,
    },
}

/// Tokens that one change revokes. More come as more changes: each is one line of a feed.
pub const REVOKED_AT_ONCE_MAX: usize = 10_000;

/// Somebody who keeps a copy of the catalogue up to date: the edge, or a test.
///
/// `apply` returns once the change is visible to every later request; changes come in order and may
/// repeat.
pub trait CatalogSink: Send + Sync {
    /// Takes one change and its number in control's log; a part of a replayed state has the number that the state is of.
    fn apply(&self, sequence: u64, change: CatalogChange);
    /// At this moment nothing newer was there than what was told. Said now and then where changes come from elsewhere, and
    /// never where nothing can happen without being told.
    fn confirm(&self) {}
}
