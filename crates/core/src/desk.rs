//! The JSON documents of the admin API that only the desk uses: lists, status, rotations, keys.
//!
//! Field names are a contract, as in [`crate::api`], which holds those that publishers and clients
//! exchange with a node.

use crate::blob::BlobId;
use crate::catalog::{BlobMember, Release};
use crate::id::{ChannelName, Platform, ProductId, Version};
use crate::keys::PublicKey;
use crate::time::UnixSeconds;
use serde::{Deserialize, Serialize};

/// `GET /admin/v1/products/{p}/releases/{v}?platform=&members=`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseDetail {
    /// The release, its fields beside `members`.
    #[serde(flatten)]
    pub release: Release,
    /// Manifest, parts and packs; empty unless the query says `members=true`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<BlobMember>,
}

/// `POST /admin/v1/products/{p}/rotations`: the publisher's keys are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostRotation {
    /// A rotation signed by the keys in force and by their successors (an encoded envelope).
    #[serde(with = "crate::api::base64_bytes")]
    pub envelope: Vec<u8>,
    /// A delegation signed by the successors (an encoded envelope); empty keeps the one in force,
    /// which the successors must then have signed too.
    #[serde(default, with = "crate::api::base64_bytes")]
    pub delegation: Vec<u8>,
}

/// Answer to [`PostRotation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationAnswer {
    /// The publisher now in force, as `TrustSet` text.
    pub publisher: String,
    /// Channels that offer a release which the new keys did not sign: clients refuse it until the
    /// channel moves to one that they did.
    pub unverifiable: Vec<ChannelRef>,
}

/// A channel's head, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRef {
    /// Channel.
    pub channel: ChannelName,
    /// Platform.
    pub platform: Platform,
    /// Version offered.
    pub version: Version,
}

/// One row of `GET /admin/v1/blobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRow {
    /// The blob.
    pub blob: BlobId,
    /// Its length.
    pub bytes: u64,
    /// When it was first added.
    pub added: UnixSeconds,
    /// Whether anyone may read it, releases aside.
    pub open: bool,
    /// How many releases refer to it.
    pub releases: u64,
}

/// `GET /admin/v1/blobs?after=&limit=`: a page, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobsAnswer {
    /// At most [`crate::limits::PAGE_ROWS_MAX`].
    pub blobs: Vec<BlobRow>,
    /// `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<BlobId>,
}

/// A release some of whose blobs this node lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncompleteRelease {
    /// Product.
    pub product: ProductId,
    /// Platform.
    pub platform: Platform,
    /// Version.
    pub version: Version,
    /// How many of its blobs are missing.
    pub missing: u64,
    /// One of them.
    pub example: BlobId,
}

/// `GET /admin/v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// Version of the record's schema.
    pub schema: u32,
    /// Sequence of the newest entry of the change log.
    pub change_sequence: u64,
    /// The key that signs channel heads.
    pub channel_key: PublicKey,
    /// Products.
    pub products: u64,
    /// Releases, withdrawn ones included.
    pub releases: u64,
    /// Channel heads in force.
    pub channels: u64,
    /// Blobs recorded.
    pub blobs: u64,
    /// Their lengths together.
    pub blob_bytes: u64,
    /// Releases that cannot be served whole; at most [`crate::limits::PAGE_ROWS_MAX`].
    pub incomplete: Vec<IncompleteRelease>,
}

/// One public key of `GET /admin/v1/jwks` (RFC 7517, RFC 8037).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// Always `OKP`.
    pub kty: String,
    /// Always `Ed25519`.
    pub crv: String,
    /// The 32 bytes of the key as unpadded base64url.
    pub x: String,
    /// The key's short name, as in the tokens' head.
    pub kid: String,
    /// Always `EdDSA`.
    pub alg: String,
    /// Always `sig`.
    #[serde(rename = "use")]
    pub usage: String,
}

/// `GET /admin/v1/jwks`: the keys that verify this node's tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwksAnswer {
    /// The keys.
    pub keys: Vec<Jwk>,
}
