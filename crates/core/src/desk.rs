//! The JSON documents of the admin API that only the desk uses: lists, status, rotations, keys.
//!
//! Field names are a contract, as in [`crate::api`], which holds those that publishers and clients
//! exchange with a node.

mod people;
pub mod policy;

pub use people::{
    Acceptance, Allocation, AllocationsAnswer, Given, Membership, Package, PackagesAnswer, PostAllocation,
    PutAcceptance, PutCustomer, PutPackage, PutUser, Seat, SeatsAnswer, User, UserRole, UsersAnswer,
};

use crate::account::{AccountId, Standing, Terms};
use crate::blob::BlobId;
use crate::catalog::{BlobMember, Release, ReleaseState};
use crate::id::{ChannelName, PackageId, Platform, ProductId, Version};
use crate::keys::PublicKey;
use crate::place::Region;
use crate::segment::Attributes;
use crate::time::UnixSeconds;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// `GET /admin/v1/products/{p}/releases/{v}?platform=&members=`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReleaseDetail {
    /// The release, its fields beside `members`.
    #[serde(flatten)]
    pub release: Release,
    /// Manifest, parts and packs; empty unless the query says `members=true`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<BlobMember>,
}

/// `POST /admin/v1/products/{p}/rotations`: the publisher's keys are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostRotation {
    /// A rotation signed by the keys in force and by their successors (an encoded envelope).
    #[serde(with = "crate::api::base64_bytes")]
    #[schemars(with = "String")]
    pub envelope: Vec<u8>,
    /// A delegation signed by the successors (an encoded envelope); empty keeps the one in force,
    /// which the successors must then have signed too.
    #[serde(default, with = "crate::api::base64_bytes")]
    #[schemars(with = "String")]
    pub delegation: Vec<u8>,
}

/// Answer to [`PostRotation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RotationAnswer {
    /// The publisher now in force, as `TrustSet` text.
    pub publisher: String,
    /// Channels that offer a release which the new keys did not sign: clients refuse it until the
    /// channel moves to one that they did.
    pub unverifiable: Vec<ChannelRef>,
}

/// A channel's head, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ChannelRef {
    /// Channel.
    pub channel: ChannelName,
    /// Platform.
    pub platform: Platform,
    /// Version offered.
    pub version: Version,
}

/// One row of `GET /admin/v1/blobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BlobsAnswer {
    /// At most [`crate::limits::PAGE_ROWS_MAX`].
    pub blobs: Vec<BlobRow>,
    /// `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<BlobId>,
}

/// A release some of whose blobs this node lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// Accounts.
    pub accounts: u64,
    /// Blobs recorded.
    pub blobs: u64,
    /// Their lengths together.
    pub blob_bytes: u64,
    /// Releases that cannot be served whole; at most [`crate::limits::PAGE_ROWS_MAX`].
    pub incomplete: Vec<IncompleteRelease>,
}

/// Who is behind an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountKind {
    /// One person.
    #[default]
    Individual,
    /// A company that buys for its people.
    Business,
    /// Somebody who sells on.
    Reseller,
}

/// `PUT /admin/v1/accounts/{id}`: makes an account or changes it; what is left out of a change stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutAccount {
    /// Who is behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<AccountKind>,
    /// Whether it is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// Agreements that it accepted, such as `eula@3`; these replace those before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreements: Option<BTreeSet<String>>,
    /// Its registered devices, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<BTreeSet<String>>,
    /// What segments are made from, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    /// Whether every token that was issued before now is worth nothing from now on.
    #[serde(default)]
    pub end_tokens: bool,
}

/// An account as control knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Account {
    /// Its name.
    pub id: AccountId,
    /// Who is behind it.
    pub kind: AccountKind,
    /// Whether it is served.
    pub standing: Standing,
    /// Tokens issued before this moment are worth nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_from: Option<UnixSeconds>,
    /// The reseller whose customer it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seller: Option<AccountId>,
    /// Agreements that it accepted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub agreements: BTreeSet<String>,
    /// When it accepted them and which text, as far as that is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accepted: BTreeMap<String, Acceptance>,
    /// Its registered devices.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub devices: BTreeSet<String>,
    /// Since when they are, as far as that is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub registered: BTreeMap<String, UnixSeconds>,
    /// What segments are made from.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// When it was made.
    pub created: UnixSeconds,
}

/// `GET /admin/v1/accounts/{id}`: an account and all its entitlements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AccountDetail {
    /// The account, its fields beside `entitlements`.
    #[serde(flatten)]
    pub account: Account,
    /// The company whose user it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_of: Option<Membership>,
    /// Seats that it has, of entitlements of its company that are in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seats: Vec<Seat>,
    /// What it got: all that was not taken back, at most [`crate::account::HOLDINGS_MAX`], and of what was taken back the
    /// newest, at most [`crate::limits::REVOKED_KEPT_MAX`].
    pub entitlements: Vec<Entitlement>,
}

/// `GET /admin/v1/accounts?after=&limit=`: a page, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AccountsAnswer {
    /// At most [`crate::limits::PAGE_ROWS_MAX`].
    pub accounts: Vec<Account>,
    /// `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<AccountId>,
}

/// What `GET /admin/v1/accounts` may be asked; every filter that is named must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountsQuery {
    /// Accounts behind this name only.
    pub after: Option<AccountId>,
    /// Rows of a page, 1 to 1,000.
    pub limit: Option<u64>,
    /// Accounts of this kind.
    pub kind: Option<AccountKind>,
    /// Accounts of this standing.
    pub standing: Option<Standing>,
    /// Accounts whose names begin like this.
    pub prefix: Option<AccountId>,
}

/// How an entitlement stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntitlementState {
    /// It has begun and not ended. What its grace or expiry still allows after its end is the edge's to decide.
    Live,
    /// It begins later.
    Scheduled,
    /// Its end has passed.
    Ended,
    /// It was taken back.
    Revoked,
}

/// What `GET /admin/v1/entitlements` may be asked; every filter that is named must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntitlementsQuery {
    /// Entitlements behind this number only.
    pub after: Option<u64>,
    /// Rows of a page, 1 to 1,000.
    pub limit: Option<u64>,
    /// What this account was given.
    pub account: Option<AccountId>,
    /// What was given of this product.
    pub product: Option<ProductId>,
    /// Those in this state now.
    pub state: Option<EntitlementState>,
}

/// `GET /admin/v1/entitlements`: a page, by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EntitlementsAnswer {
    /// At most [`crate::limits::PAGE_ROWS_MAX`].
    pub entitlements: Vec<Entitlement>,
    /// `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What `GET /admin/v1/products/{p}/releases` may be asked; every filter that is named must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleasesQuery {
    /// Releases in this state.
    pub state: Option<ReleaseState>,
    /// Releases for this platform.
    pub platform: Option<Platform>,
}

/// One line of an import: an account, and where wanted something that it is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportLine {
    /// The account; made when it is not there.
    pub account: AccountId,
    /// Who is behind it; stays as it is when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<AccountKind>,
    /// Whether it is served, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// What segments are made from, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    /// The company that it becomes a user of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<AccountId>,
    /// What it may do for the company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<UserRole>,
    /// An entitlement of its company, by number: it gets a seat of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<u64>,
    /// What it is given, and on which terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// The package that it is given instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageId>,
    /// How many users may have a seat of what is given; without it, it is the account's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seats: Option<u64>,
    /// From when on; from 1970 on when left out, so that the same line means the same tomorrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<UnixSeconds>,
    /// Until when; for good when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<UnixSeconds>,
}

/// `POST /admin/v1/imports`: many accounts at once. Edges hear of them with the next snapshot, which is made within a
/// minute, or at once by `POST /admin/v1/snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostImport {
    /// At most [`crate::limits::IMPORT_LINES_MAX`]. Each is a line as it stands in its file, so that one that cannot be
    /// read does not spoil the others.
    pub lines: Vec<serde_json::Value>,
}

/// Answer to [`PostImport`]. Importing a line again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ImportAnswer {
    /// Accounts that were made.
    pub accounts: u64,
    /// Accounts that were changed.
    pub changed: u64,
    /// Entitlements that were given.
    pub entitlements: u64,
    /// Users that were added to companies, and changes of their roles.
    #[serde(default)]
    pub users: u64,
    /// Seats that were given.
    #[serde(default)]
    pub seats: u64,
    /// Lines that changed nothing.
    pub same: u64,
    /// Lines that were refused; the others were taken all the same.
    pub refused: Vec<ImportRefusal>,
}

/// A line that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ImportRefusal {
    /// Its place in the list, from 0.
    pub index: u64,
    /// What is wrong with it.
    pub detail: String,
}

/// Answer to `POST /admin/v1/snapshots`: all accounts were written down for edges to start from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SnapshotAnswer {
    /// The last change that it holds.
    pub sequence: u64,
    /// The blob that it lies in.
    pub blob: BlobId,
}

/// `POST /admin/v1/entitlements`: gives a product to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostEntitlement {
    /// To whom.
    pub account: AccountId,
    /// What, and on which terms. Exactly one of this, a package and an allocation is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// A package: all that is in it, as it is at any moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageId>,
    /// An allocation of the account's reseller, by number: what it is of, not longer than it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<u64>,
    /// How many users of the account, a company, may have a seat; without it, the entitlement is the account's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seats: Option<u64>,
    /// From when on; from now on when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<UnixSeconds>,
    /// Until when; for good when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<UnixSeconds>,
}

/// An entitlement as control knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Entitlement {
    /// Its number.
    pub id: u64,
    /// Whose it is.
    pub account: AccountId,
    /// What: `terms` or `package`.
    #[serde(flatten)]
    pub what: Given,
    /// The allocation that it was given out of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<u64>,
    /// How many users of the account may have a seat; without it, the entitlement is the account's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seats: Option<u64>,
    /// How many of them have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seats_taken: Option<u64>,
    /// From when on.
    pub starts: UnixSeconds,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<UnixSeconds>,
    /// When it was given.
    pub granted: UnixSeconds,
    /// When it was taken back, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<UnixSeconds>,
}

/// `POST /admin/v1/explain`: why somebody may or may not read something. Exactly one of `blob` and `product` is named.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuestion {
    /// A blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<BlobId>,
    /// A product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<ProductId>,
    /// The channel of the product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelName>,
    /// The platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The token that the caller sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The link that the caller uses: its value, or the path or URL that carries it. Not beside `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// An account, as if it had sent a token for all it holds. Not beside `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Where the caller is; without it and `address`, nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// The caller's address, to look up where it is. Not beside `region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// What the install calls itself, to say whose turn it is in the channel's rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<String>,
    /// The version that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<Version>,
    /// Whether a player asks by hand.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
}

impl std::fmt::Debug for ExplainQuestion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExplainQuestion")
            .field("blob", &self.blob)
            .field("product", &self.product)
            .finish_non_exhaustive()
    }
}

/// Answer to [`ExplainQuestion`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ExplainAnswer {
    /// What was asked.
    pub subject: String,
    /// Whether it may be read.
    pub allowed: bool,
    /// The refusal's stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The HTTP status that the caller gets.
    pub status: u16,
    /// The walk, in order.
    pub steps: Vec<ExplainStep>,
}

/// One step of the walk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ExplainStep {
    /// Its stable name.
    pub step: String,
    /// On what grounds.
    pub finding: String,
    /// What it refuses, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Somebody who can explain decisions: the edge of the same node.
pub trait Explainer: Send + Sync {
    /// Walks a decision.
    fn explain(&self, question: &ExplainQuestion) -> ExplainAnswer;
}

/// One public key of `GET /admin/v1/jwks` (RFC 7517, RFC 8037).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct JwksAnswer {
    /// The keys.
    pub keys: Vec<Jwk>,
}
