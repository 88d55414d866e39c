//! What the operations hand back; `--json` prints these as they are. Owns field names (a contract).

use crate::preflight::Preflight;
use penstock_core::blob::BlobId;
use penstock_core::id::{ChannelName, ComponentName, Platform, ProductId, Version};
use penstock_core::rollout::Minimum;
use serde::Serialize;
use std::collections::BTreeSet;

/// What `pull` did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PullReport {
    /// Product.
    pub product: ProductId,
    /// Platform of the release.
    pub platform: Platform,
    /// Channel it came from, if by channel.
    pub channel: Option<ChannelName>,
    /// Version installed before.
    pub from: Option<Version>,
    /// Version installed now (or planned).
    pub to: Version,
    /// The manifest installed now (or planned).
    pub manifest: BlobId,
    /// Components of it that were left out, because they were not chosen or this caller may not have them.
    pub left_out: BTreeSet<ComponentName>,
    /// Whether this was `--dry-run`.
    pub dry_run: bool,
    /// Whether anything had to change.
    pub changed: bool,
    /// Whether the version that was installed before is not supported any more, so that the player must not go on with it.
    pub required: bool,
    /// The oldest version that the channel supports, with a word for the player; absent where all are. It is the edge's
    /// word, and nothing is decided by it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Minimum>,
    /// The plan's numbers.
    pub preflight: Preflight,
    /// Bytes received of content and manifest, retries included. When nothing went wrong, what the preflight says.
    pub downloaded_bytes: u64,
    /// Bytes of new files that were written, copies that share their blocks with another file included.
    pub written_bytes: u64,
    /// Bytes of new files taken from what was on disk, those of moved files included, which are not written.
    pub reused_bytes: u64,
    /// Bytes that should have been on disk but were damaged there, and were fetched instead.
    pub mended_bytes: u64,
    /// Files that were not part of any release and stood in the way: they were renamed to these.
    pub moved_aside: Vec<String>,
    /// Edges that were dropped, or that neither answered the questions at the beginning nor delivered anything, with the
    /// reason.
    pub dropped_edges: Vec<String>,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// What is wrong with one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DamageKind {
    /// Not there.
    Missing,
    /// There, but with other bytes or another length.
    Damaged,
    /// A file where a directory belongs, or the like.
    WrongKind,
    /// Right bytes, wrong executable bit.
    Mode,
    /// A link that points elsewhere.
    LinkTarget,
    /// Could not be read.
    Unreadable,
}

/// One damaged path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Path inside the install.
    pub path: String,
    /// What is wrong.
    pub kind: DamageKind,
}

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifyReport {
    /// Product.
    pub product: ProductId,
    /// Version that should be there; when a first install was interrupted while its files were put in place, that one.
    pub version: Version,
    /// Whether everything is as published. Extra files do not count.
    pub intact: bool,
    /// An update was interrupted while it was being put in place: the install is between two versions until `pull` or
    /// `repair` ends it. True when `inspect` says `commit_pending` or names a version as `unfinished`.
    pub unfinished: bool,
    /// Entries looked at.
    pub entries: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Damaged paths, at most [`crate::LISTED_MAX`] of them.
    pub damaged: Vec<Damage>,
    /// How many damaged paths there are.
    pub damaged_count: u64,
    /// Files that no release put there, at most as many as above.
    pub extra: Vec<String>,
    /// How many there are.
    pub extra_count: u64,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// What `repair` did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RepairReport {
    /// Product.
    pub product: ProductId,
    /// Version mended.
    pub version: Version,
    /// Whether this was `--dry-run`.
    pub dry_run: bool,
    /// What was wrong, at most [`crate::LISTED_MAX`] paths.
    pub repaired: Vec<Damage>,
    /// How many paths were wrong.
    pub repaired_count: u64,
    /// The plan's numbers.
    pub preflight: Preflight,
    /// Bytes received.
    pub downloaded_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Edges that were dropped, or that neither answered the questions at the beginning nor delivered anything, with the
    /// reason.
    pub dropped_edges: Vec<String>,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// What `rollback` did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RollbackReport {
    /// Product.
    pub product: ProductId,
    /// Version that was installed.
    pub from: Version,
    /// Version that is installed now.
    pub to: Version,
    /// Files brought back.
    pub restored_files: u64,
    /// Files that were not part of any release and stood in the way: they were renamed to these.
    pub moved_aside: Vec<String>,
    /// Wall-clock seconds.
    pub seconds: f64,
}
