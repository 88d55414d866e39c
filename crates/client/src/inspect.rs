//! What is in an install, for `penstock inspect DIR`. Reads only.

use crate::error::PullError;
use crate::install::{OnDamage, Opened, kept_manifest};
use crate::shelf::Shelf;
use penstock_core::blob::BlobId;
use penstock_core::id::{ChannelName, ComponentName, Platform, ProductId, Version};
use penstock_core::time::UnixSeconds;
use serde::Serialize;
use std::collections::BTreeSet;
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
    /// Installed version; that of a first install, too, which was interrupted while its files were put in place. Then it
    /// is the `unfinished` one as well.
    pub version: Version,
    /// Its manifest.
    pub manifest: BlobId,
    /// Components of it that are not here.
    pub left_out: BTreeSet<ComponentName>,
    /// When the publisher made it, if the kept manifest is readable.
    pub created: Option<UnixSeconds>,
    /// Bytes of its files.
    pub content_bytes: Option<u64>,
    /// Files, directories and links.
    pub entries: Option<u64>,
    /// Version on its way, if an update was interrupted while it was being put in place. Either a commit is pending (see
    /// there), and this is the version that it ends in; or the update goes file by file and was interrupted between two
    /// of its commits, and `pull` or `repair` goes on with it. An update that was interrupted before, while it was being
    /// fetched, is no matter of the install's: it holds `version` and nothing else.
    pub unfinished: Option<Version>,
    /// Version that `rollback` goes back to.
    pub previous: Option<Version>,
    /// Whether a commit was decided and interrupted: files of two versions may stand beside each other until the next
    /// command that may write finishes it, offline. `unfinished` says in which version it ends, unless the commit's
    /// journal is damaged.
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
    look(dir).map_err(|error| error.within(dir))
}

fn look(dir: &Path) -> Result<InstallSummary, PullError> {
    let missing = || PullError::NotAnInstall(dir.to_owned());
    let opened = Opened::unlocked(dir, OnDamage::Refuse)?.ok_or_else(missing)?;
    let commit_pending = opened.has_journal()?;
    let decided = opened.decided_state().unwrap_or_else(|error| {
        tracing::warn!(%error, "the journal of an interrupted commit cannot be read");
        None
    });
    let state = opened.state.as_ref().or(decided.as_ref()).ok_or_else(|| opened.without_state(dir))?;
    let ends_in = decided.as_ref().map(|state| state.unfinished.as_ref().unwrap_or(&state.installed));
    let unfinished = ends_in.or(state.unfinished.as_ref());
    let shelf = Shelf::of(&opened.root);
    let manifest = kept_manifest(&shelf, &state.installed).ok().flatten();
    let root = manifest.as_ref().map(|manifest| &manifest.root);
    Ok(InstallSummary {
        product: state.product.clone(),
        platform: state.platform.clone(),
        channel: state.channel.clone(),
        version: state.installed.version.clone(),
        manifest: state.installed.manifest,
        left_out: state.installed.left_out.clone(),
        created: root.map(|root| root.created),
        content_bytes: root.map(penstock_core::manifest::Root::content_bytes),
        entries: root.map(penstock_core::manifest::Root::entry_count),
        unfinished: unfinished.map(|release| release.version.clone()),
        previous: state.previous.as_ref().map(|release| release.version.clone()),
        commit_pending,
        trust: state.trust.clone(),
        edges: state.edges.iter().map(ToString::to_string).collect(),
    })
}
