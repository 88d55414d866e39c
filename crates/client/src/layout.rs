//! Names inside `.penstock`, the client's own directory in an install. Pure.
//!
//! | name | what |
//! |---|---|
//! | `lock` | taken while a client works |
//! | `install` | what the install calls itself |
//! | `state.json` | what is installed, whom to trust, what was seen |
//! | `blobs/HEX` | manifest roots and parts, of the installed and the kept version |
//! | `blobs/HEX.new` | one of them, on its way |
//! | `staging/target` | manifest that the staged files belong to |
//! | `staging/N` | entry N of that manifest, being assembled |
//! | `journal` | the commit that is under way |
//! | `previous-HEX/N` | entry N of the manifest HEX, replaced and kept |

use penstock_core::blob::BlobId;
use penstock_core::path::CLIENT_DIR;

/// The lock.
pub(crate) const LOCK: &str = ".penstock/lock";
/// The state.
pub(crate) const STATE: &str = ".penstock/state.json";
/// The install's id.
pub(crate) const INSTALL: &str = ".penstock/install";
/// The state on its way.
pub(crate) const STATE_NEW: &str = ".penstock/state.json.new";
/// Kept manifest blobs.
pub(crate) const BLOBS: &str = ".penstock/blobs";
/// Files being assembled.
pub(crate) const STAGING: &str = ".penstock/staging";
/// Which manifest they belong to.
pub(crate) const STAGING_TARGET: &str = ".penstock/staging/target";
/// The commit under way.
pub(crate) const JOURNAL: &str = ".penstock/journal";
/// The journal on its way.
pub(crate) const JOURNAL_NEW: &str = ".penstock/journal.new";

/// A kept manifest blob.
pub(crate) fn blob(id: &BlobId) -> String {
    format!("{BLOBS}/{id}")
}

/// A manifest blob on its way. [`crate::shelf::Shelf::retain`] removes it, because it is no blob's name.
pub(crate) fn blob_draft(id: &BlobId) -> String {
    format!("{BLOBS}/{id}.new")
}

/// Entry `row` of the target, being assembled.
pub(crate) fn staged(row: usize) -> String {
    format!("{STAGING}/{row}")
}

/// Where replaced files of a manifest are kept, without `.penstock/`.
pub(crate) fn previous_name(manifest: &BlobId) -> String {
    format!("previous-{}", &manifest.to_string()[..32])
}

/// Entry `row` of a kept manifest.
pub(crate) fn previous(manifest: &BlobId, row: usize) -> String {
    format!("{CLIENT_DIR}/{}/{row}", previous_name(manifest))
}
