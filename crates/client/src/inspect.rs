//! What is in an install, for `penstock inspect DIR`. Reads only.

use crate::error::PullError;
use crate::install::{OnDamage, Opened, kept_manifest};
use crate::layout;
use crate::shelf::Shelf;
use penstock_core::blob::BlobId;
use penstock_core::id::{ChannelName, Platform, ProductId, Version};
use penstock_core::time::UnixSeconds;
use serde::Serialize;
use std::path::Path;

/// An install in a few lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstallSummary {
    /// Product.
    pub product: ProductId,
    /// Platform.
    pub platform: Platform,
    /// Channel of the last pull by channel.
    pub channel: Option<ChannelName>,
    /// Installed version.
    pub version: Version,
    /// Its manifest.
    pub manifest: BlobId,
    /// When the publisher made it, if the kept manifest is readable.
    pub created: Option<UnixSeconds>,
    /// Bytes of its files.
    pub content_bytes: Option<u64>,
    /// Files, directories and links.
    pub entries: Option<u64>,
    /// Version on its way, if an update was interrupted between two.
    pub unfinished: Option<Version>,
    /// Version that `rollback` goes back to.
    pub previous: Option<Version>,
    /// Whether a commit was interrupted; the next command finishes it.
    pub commit_pending: bool,
    /// Publisher keys in force, as text.
    pub trust: String,
    /// Edges of the last pull.
    pub edges: Vec<String>,
}

/// Looks at an install.
///
/// # Errors
/// [`PullError::NotAnInstall`] and errors of the disk.
pub fn inspect(dir: &Path) -> Result<InstallSummary, PullError> {
    let missing = || PullError::NotAnInstall(dir.to_owned());
    let opened = Opened::unlocked(dir, OnDamage::Refuse)?.ok_or_else(missing)?;
    let state = opened.state.as_ref().ok_or_else(missing)?;
    let shelf = Shelf::of(&opened.root);
    let manifest = kept_manifest(&shelf, &state.installed).ok().flatten();
    let root = manifest.as_ref().map(|manifest| &manifest.root);
    Ok(InstallSummary {
        product: state.product.clone(),
        platform: state.platform.clone(),
        channel: state.channel.clone(),
        version: state.installed.version.clone(),
        manifest: state.installed.manifest,
        created: root.map(|root| root.created),
        content_bytes: root.map(penstock_core::manifest::Root::content_bytes),
        entries: root.map(penstock_core::manifest::Root::entry_count),
        unfinished: state.unfinished.as_ref().map(|release| release.version.clone()),
        previous: state.previous.as_ref().map(|release| release.version.clone()),
        commit_pending: opened.root.stat(layout::JOURNAL)?.is_some(),
        trust: state.trust.clone(),
        edges: state.edges.iter().map(ToString::to_string).collect(),
    })
}
