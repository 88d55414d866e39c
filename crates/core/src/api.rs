//! The JSON documents that travel between client, edge, control and publisher.
//!
//! Field names are a contract. Signed envelopes travel as standard base64 inside them; nothing
//! outside an envelope is believed by a client.

use crate::blob::BlobId;
use crate::catalog::{AccessClass, BlobMember, Offer, Product, Release};
use crate::id::{ChannelName, Platform, ProductId, Version};
use crate::keys::PublicKey;
use crate::rollout::Minimum;
use crate::time::UnixSeconds;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// `GET /v1/products/{p}/channels/{c}`: the offer, flattened.
pub type ChannelAnswer = Offer;

/// What `GET /v1/products/{p}/channels/{c}` says beside the offer, whose fields stand next to these. An edge writes it;
/// whoever needs only the offer reads [`ChannelAnswer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ChannelDocument {
    /// The offer. Its version and manifest are those of the release that this caller should install.
    #[serde(flatten)]
    pub offer: Offer,
    /// The oldest version that the channel supports, and a word for players who have an older one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Minimum>,
    /// Whether the version that the caller named with `have=` is not supported any more: it must not go on as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

/// `GET /v1/products/{p}/releases/{version}`: the release, its fields beside `rotations`.
///
/// A client follows the rotations from the keys it was given, as it does with a channel's offer, and
/// checks the manifest with the keys that result. A document without them reads as having none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReleaseAnswer {
    /// The release.
    #[serde(flatten)]
    pub release: Release,
    /// Signed key rotations of the product, oldest first (encoded envelopes).
    #[serde(default, with = "base64_list", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub rotations: Vec<Vec<u8>>,
}

/// The fields of the release, as they read in the document.
impl std::ops::Deref for ReleaseAnswer {
    type Target = Release;
    fn deref(&self) -> &Release {
        &self.release
    }
}

/// `GET /v1/catalog`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CatalogAnswer {
    /// Open products, by name.
    pub products: Vec<Product>,
}

/// An RFC 9457 problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProblemDocument {
    /// Always `about:blank`: the code says which problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it means in general.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What was wrong in this request; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Names the request in the access log.
    #[serde(default)]
    pub request_id: String,
}

/// `POST /admin/v1/blobs/missing`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MissingQuestion {
    /// At most [`crate::limits::MISSING_BLOBS_MAX`] names.
    pub blobs: Vec<BlobId>,
}

/// The answer: those of the named blobs that the node lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MissingAnswer {
    /// In the order asked.
    pub missing: Vec<BlobId>,
}

/// `POST /admin/v1/products/{p}/reuse`: may a new release use parts of these blobs of earlier ones?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReuseQuestion {
    /// What the release runs on.
    pub platform: Platform,
    /// Channels that are to offer it; none is any that terms name.
    #[serde(default)]
    pub channels: BTreeSet<ChannelName>,
    /// At most [`crate::limits::MISSING_BLOBS_MAX`] names.
    pub blobs: Vec<BlobId>,
}

/// The answer: those of the named blobs that some who are owed the release would not be given, because their terms leave
/// out the releases that the rest of the blob is content of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReuseAnswer {
    /// Whether any terms of the product leave out channels or platforms. If none do, no blob is unfit.
    pub limited: bool,
    /// In the order asked.
    pub unfit: Vec<BlobId>,
}

/// Answer to `PUT /admin/v1/blobs/{blob}`, and `penstock blob add --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BlobAnswer {
    /// The blob.
    pub blob: BlobId,
    /// Its length.
    pub bytes: u64,
}

/// `POST /admin/v1/products`: creates a product or changes its title, access or export class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutProduct {
    /// The product.
    pub id: ProductId,
    /// For people; the id when empty.
    #[serde(default)]
    pub title: String,
    /// Who may read it.
    pub access: AccessClass,
    /// Export class.
    #[serde(default)]
    pub export_class: String,
}

/// `POST /admin/v1/products/{p}/releases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRelease {
    /// Must equal the manifest's.
    pub version: Version,
    /// Must equal the manifest's.
    pub platform: Platform,
    /// The manifest blob, uploaded before.
    pub manifest: BlobId,
    /// Manifest, parts and packs, all uploaded before.
    pub members: Vec<BlobMember>,
    /// The publisher's public keys with threshold, as `TrustSet` text: pinned by the first release.
    pub publisher: String,
    /// The publisher's delegation to this node's channel key (an encoded envelope); empty leaves the
    /// one in force, which must then let this node sign.
    #[serde(default, with = "base64_bytes", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "String")]
    pub delegation: Vec<u8>,
}

/// `PUT /admin/v1/products/{p}/channels/{c}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveChannel {
    /// Platform whose head moves.
    pub platform: Platform,
    /// A registered release.
    pub version: Version,
}

/// `GET /admin/v1/products/{p}/signing`: what a publisher needs before it signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SigningAnswer {
    /// The key that signs this node's channel heads.
    pub channel_key: PublicKey,
    /// Sequence of the delegation in force, 0 when none.
    pub delegation_sequence: u64,
    /// Keys in that delegation, as `TrustSet` text; empty when none.
    pub delegated: String,
    /// When that delegation ends; absent when it does not, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation_expires: Option<UnixSeconds>,
    /// The publisher pinned by the first release, as `TrustSet` text; empty when none.
    pub publisher: String,
}

/// `GET /admin/v1/products/{p}/releases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReleasesAnswer {
    /// Newest first.
    pub releases: Vec<Release>,
}

/// `GET /admin/v1/products`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProductsAnswer {
    /// By name.
    pub products: Vec<Product>,
}

/// One row of `GET /admin/v1/products/{p}/channels`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ChannelRow {
    /// Channel.
    pub channel: ChannelName,
    /// Platform.
    pub platform: Platform,
    /// Version offered.
    pub version: Version,
    /// Version offered before, if any.
    pub previous: Option<Version>,
    /// The head's sequence.
    pub sequence: u64,
    /// When the head ends unless it is renewed.
    pub expires: UnixSeconds,
}

/// `GET /admin/v1/products/{p}/channels`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ChannelsAnswer {
    /// By channel and platform.
    pub channels: Vec<ChannelRow>,
}

/// `POST /admin/v1/tokens`: asks this node to sign a development token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MintToken {
    /// The account, claim `sub`.
    pub sub: String,
    /// Products it is limited to; empty means no limit.
    #[serde(default)]
    pub products: Vec<ProductId>,
    /// Life in seconds.
    pub ttl_seconds: u64,
}

/// Answer to [`MintToken`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TokenAnswer {
    /// A compact JWS.
    pub token: String,
    /// When it ends.
    pub expires: UnixSeconds,
}

impl std::fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenAnswer").field("token", &"****").field("expires", &self.expires).finish()
    }
}

/// Serde helper: bytes as standard base64 text.
pub mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Writes base64.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads base64.
    ///
    /// # Errors
    /// Those of the deserializer, and text that is not base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

/// Serde helper: a list of byte strings, each as standard base64 text.
pub mod base64_list {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Writes a list of base64 texts.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|bytes| STANDARD.encode(bytes)))
    }

    /// Reads a list of base64 texts.
    ///
    /// # Errors
    /// Those of the deserializer, and text that is not base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| STANDARD.decode(text).map_err(serde::de::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ReleaseState;

    fn release() -> Release {
        Release {
            product: ProductId::new("game").expect("name"),
            platform: Platform::any(),
            version: Version::new("1").expect("name"),
            manifest: BlobId::of(b"m"),
            manifest_bytes: 1,
            content_bytes: 2,
            entry_count: 3,
            registered: UnixSeconds(4),
            state: ReleaseState::Live,
        }
    }

    #[test]
    fn a_release_answer_reads_with_and_without_rotations() {
        let plain = serde_json::to_string(&release()).expect("json");
        let answer: ReleaseAnswer = serde_json::from_str(&plain).expect("a document of an earlier edge");
        assert_eq!((answer.manifest, answer.rotations.len()), (release().manifest, 0));
        assert_eq!(serde_json::to_string(&answer).expect("json"), plain);
        let rotated = ReleaseAnswer { release: release(), rotations: vec![b"abc".to_vec()] };
        let text = serde_json::to_string(&rotated).expect("json");
        assert!(text.contains(r#""rotations":["YWJj"]"#), "{text}");
        assert_eq!(serde_json::from_str::<ReleaseAnswer>(&text).expect("reads"), rotated);
        assert_eq!(serde_json::from_str::<Release>(&text).expect("reads for an earlier client"), release());
    }

    #[test]
    fn a_registration_may_leave_the_delegation_in_force() {
        let registration = RegisterRelease {
            version: release().version,
            platform: Platform::any(),
            manifest: release().manifest,
            members: Vec::new(),
            publisher: String::new(),
            delegation: Vec::new(),
        };
        let text = serde_json::to_string(&registration).expect("json");
        assert!(!text.contains("delegation"), "{text}");
        assert_eq!(serde_json::from_str::<RegisterRelease>(&text).expect("reads"), registration);
    }
}
