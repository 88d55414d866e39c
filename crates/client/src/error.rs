//! Why an operation did not happen, and whether that is a failure or a refusal.
//!
//! One enum, because every operation walks through the same rooms; each room's own error stays inside
//! as the source. Owns the exit class; must not print.

use crate::listing::ListingError;
use crate::pool::WorkerPanicked;
use crate::session::{DropReason, SessionError};
use crate::transport::{TlsError, TransportError};
use penstock_core::id::{ComponentName, Platform, ProductId, Version};
use penstock_core::manifest::ManifestError;
use penstock_core::trust::TrustError;
use penstock_frames::part::PartError;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// Whether to try again (or look for a fault), or to accept that the answer is no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Something broke: exit code 1.
    Failed,
    /// Refused by policy: exit code 2.
    Refused,
}

impl ErrorClass {
    /// The process's exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Refused => 2,
        }
    }
}

/// What a disk refused to do; names the path inside the install.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Any other error of the system.
    #[error("cannot {what} {path:?}")]
    Io {
        /// A verb.
        what: &'static str,
        /// Path inside the install.
        path: String,
        /// The system's word.
        source: io::Error,
    },
    /// The volume is full.
    #[error("no space left on the volume while writing {path:?}")]
    Full {
        /// Path inside the install.
        path: String,
        /// The system's word.
        source: io::Error,
    },
    /// The user may not write there.
    #[error("no permission to {what} {path:?}")]
    Permission {
        /// A verb.
        what: &'static str,
        /// Path inside the install.
        path: String,
        /// The system's word.
        source: io::Error,
    },
    /// A symbolic link where a directory or file of the install belongs.
    #[error(
        "{path:?} leads through a symbolic link, which is never followed: remove the link or choose another directory"
    )]
    Symlink {
        /// Path inside the install.
        path: String,
    },
    /// A directory of the install lies on another volume, so that files cannot be put there at once.
    #[error("{path:?} lies on another volume than the install: an update cannot be put in place there")]
    OtherVolume {
        /// Path inside the install.
        path: String,
    },
    /// Something stands where a directory or file of the install belongs, and is not ours to remove.
    #[error("{path:?} is in the way: move it away and try again")]
    InTheWay {
        /// Path inside the install.
        path: String,
    },
    /// Another program has it open.
    #[error("{path:?} is in use by another program: close it and try again")]
    InUse {
        /// Path inside the install.
        path: String,
        /// The system's word.
        source: io::Error,
    },
}

/// Why `pull`, `verify`, `repair` or `rollback` did not end well.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// No edge was named.
    #[error("no edge to fetch from: name one with --from")]
    NoEdges,
    /// The token would travel in the clear.
    #[error("a token is never sent over plain http, and {0} is: use https, or no token")]
    TokenOverPlainHttp(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The transport cannot be set up.
    #[error("the network cannot be set up")]
    Transport(#[from] TransportError),
    /// The runtime cannot start.
    #[error("the network runtime cannot start")]
    Runtime(#[source] io::Error),
    /// No edge answered the question what to install.
    #[error("{edge} did not answer: {reason}")]
    NoAnswer {
        /// The last edge asked.
        edge: String,
        /// What went wrong.
        reason: String,
    },
    /// An edge has nothing of that name.
    #[error("{edge} has nothing under this name: {asked} (status 404, {code})")]
    Unknown {
        /// Which edge.
        edge: String,
        /// What it was asked for.
        asked: String,
        /// Stable code of the problem document.
        code: String,
    },
    /// An edge refused, with its documented code.
    #[error("{edge} refused with status {status} ({code}): {detail}")]
    EdgeRefused {
        /// Which edge.
        edge: String,
        /// HTTP status.
        status: u16,
        /// Stable code of the problem document.
        code: String,
        /// Its words.
        detail: String,
    },
    /// A component that was asked for is not for this caller.
    #[error(
        "component {component} is not included in what you have: leave it out, or take what you may have with --all-components"
    )]
    Component {
        /// The component.
        component: ComponentName,
        /// What the edge said.
        source: Box<Self>,
    },
    /// A component that was asked for is none of the release.
    #[error("the release has no component {component}; those that can be chosen: {there}")]
    NoComponent {
        /// As it was named.
        component: ComponentName,
        /// The optional ones, separated by commas.
        there: String,
    },
    /// The offer is not believed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The manifest is not believed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The answer names a manifest larger than any may be.
    #[error("the offer's manifest has {0} bytes, more than allowed")]
    ManifestTooLarge(u64),
    /// A part of the manifest is not what the root says.
    #[error("a part of the manifest is not acceptable")]
    Part(#[from] PartError),
    /// The manifest's entries contradict each other or the disk's rules.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// The network session gave up.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Not enough room; nothing was downloaded.
    #[error(
        "not enough space on the volume of {dir:?}: {needed_bytes} bytes needed at the peak, {free_bytes} free; \
         free {missing_bytes} bytes and try again", missing_bytes = needed_bytes.saturating_sub(*free_bytes)
    )]
    NoSpace {
        /// The install.
        dir: PathBuf,
        /// Peak of extra bytes that the leanest plan needs.
        needed_bytes: u64,
        /// Free bytes for this user.
        free_bytes: u64,
    },
    /// Not enough room for more files; no content was downloaded.
    #[error(
        "the volume of {dir:?} has no room for so many files: {needed_files} more are needed at the peak, \
         {free_files} are free (inodes)"
    )]
    NoFiles {
        /// The install.
        dir: PathBuf,
        /// Most new files, directories and links that the leanest plan needs.
        needed_files: u64,
        /// Free for this user.
        free_files: u64,
    },
    /// The volume became full in the middle of the download.
    #[error(
        "no space left on the volume of {dir:?}: what was fetched is kept; {make_room} and run the same command again \
         to continue", make_room = make_room(*missing_bytes)
    )]
    Full {
        /// The install.
        dir: PathBuf,
        /// How much is missing, as far as is known; 0 where it is not.
        missing_bytes: u64,
        /// What could not be written.
        source: DiskError,
    },
    /// The files are as they should be, but a full volume keeps the state from being renewed.
    #[error(
        "the files in {dir:?} are up to date, but what was learnt of the newest offer cannot be noted: {source}; free a \
         few KiB and run the same command again"
    )]
    NotNoted {
        /// The install.
        dir: PathBuf,
        /// What could not be written.
        source: DiskError,
    },
    /// The disk refused, in this install.
    #[error("in {dir:?}: {source}")]
    DiskIn {
        /// The install.
        dir: PathBuf,
        /// What it refused.
        source: DiskError,
    },
    /// The disk refused, where it is not known yet in which install. Callers get [`PullError::DiskIn`].
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The directory cannot be opened or created.
    #[error("cannot open the install directory {dir:?}")]
    Open {
        /// The directory.
        dir: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Another client works on this install.
    #[error("another penstock client is working on {0:?}")]
    Busy(PathBuf),
    /// No state: nothing was ever installed here.
    #[error("{0:?} is not a Penstock install (it has no .penstock/state.json)")]
    NotAnInstall(PathBuf),
    /// No state yet: a first install was interrupted.
    #[error("an install was begun in {0:?} and not finished: run pull again")]
    Begun(PathBuf),
    /// The state cannot be read. A pull renews it; other operations need it.
    #[error("{file:?} is damaged: pull again to renew it")]
    State {
        /// Which file.
        file: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The state was written by a later version.
    #[error("the install's state has format {0}, which is not known here: update the launcher")]
    StateFormat(u32),
    /// The install belongs to another product or platform.
    #[error(
        "{dir:?} holds {found_product} for {found_platform}, not {product} for {platform}: choose another directory"
    )]
    OtherProduct {
        /// The install.
        dir: PathBuf,
        /// What is there.
        found_product: ProductId,
        /// What is there.
        found_platform: Platform,
        /// What was asked for.
        product: ProductId,
        /// What was asked for.
        platform: Platform,
    },
    /// The journal of an interrupted commit cannot be read.
    #[error("the journal of an interrupted update is damaged at line {0}: run repair")]
    Journal(usize),
    /// The kept manifest is damaged or gone, and this operation works offline.
    #[error("the manifest kept in the install is damaged or missing: pull version {0} again")]
    KeptManifest(Version),
    /// A directory with the player's own files stands where a file belongs.
    #[error("{0:?} is a directory with files of your own, and the release has a file of that name: move it away")]
    DirectoryInTheWay(String),
    /// No previous version was kept.
    #[error("no previous version is kept here: pull with --keep-previous, or pull --version to fetch it")]
    NoPrevious,
    /// The files are a mix of the installed version and another one, and not all of what a rollback needs was kept.
    #[error("an update to version {0} is only half in place here: run pull or repair first, then roll back")]
    Unfinished(Version),
    /// A kept file of the previous version is damaged.
    #[error("the kept file of the previous version for {0:?} is damaged: pull that version instead")]
    PreviousDamaged(String),
    /// A bug: a thread broke down.
    #[error(transparent)]
    Worker(#[from] WorkerPanicked),
    /// Chunks of a file do not fit its size.
    #[error("the manifest's chunks do not add up to the size of {0:?}")]
    FileSums(String),
}

impl PullError {
    /// Whether this is a refusal by policy or a failure.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::TokenOverPlainHttp(_)
            | Self::EdgeRefused { .. }
            | Self::Component { .. }
            | Self::NoComponent { .. }
            | Self::Trust(_)
            | Self::Manifest(_)
            | Self::ManifestTooLarge(_)
            | Self::Part(_)
            | Self::Listing(_)
            | Self::NoSpace { .. }
            | Self::NoFiles { .. }
            | Self::Full { .. }
            | Self::NotNoted { .. }
            | Self::OtherProduct { .. }
            | Self::FileSums(_)
            | Self::DirectoryInTheWay(_) => ErrorClass::Refused,
            Self::Disk(error) | Self::DiskIn { source: error, .. } => match error {
                DiskError::Full { .. } | DiskError::Symlink { .. } => ErrorClass::Refused,
                _ => ErrorClass::Failed,
            },
            Self::Session(error) => match error {
                // A blob that no edge has is missing, not forbidden.
                SessionError::NoEdgeLeft(DropReason::Refused(404)) => ErrorClass::Failed,
                SessionError::NoEdgeLeft(DropReason::Refused(_)) => ErrorClass::Refused,
                _ => ErrorClass::Failed,
            },
            Self::NoEdges
            | Self::Tls(_)
            | Self::Transport(_)
            | Self::Runtime(_)
            | Self::NoAnswer { .. }
            | Self::Unknown { .. }
            | Self::Open { .. }
            | Self::Busy(_)
            | Self::NotAnInstall(_)
            | Self::Begun(_)
            | Self::State { .. }
            | Self::StateFormat(_)
            | Self::Journal(_)
            | Self::KeptManifest(_)
            | Self::Worker(_)
            | Self::NoPrevious
            | Self::Unfinished(_)
            | Self::PreviousDamaged(_) => ErrorClass::Failed,
        }
    }
    /// What the disk refused, if it did.
    #[must_use]
    pub const fn disk(&self) -> Option<&DiskError> {
        match self {
            Self::Disk(error)
            | Self::DiskIn { source: error, .. }
            | Self::Full { source: error, .. }
            | Self::NotNoted { source: error, .. } => Some(error),
            _ => None,
        }
    }
    /// Names the install, where the error names only a path inside it.
    pub(crate) fn within(self, dir: &Path) -> Self {
        match self {
            Self::Disk(source) => Self::DiskIn { dir: dir.to_owned(), source },
            other => other,
        }
    }
}

fn make_room(missing_bytes: u64) -> String {
    if missing_bytes == 0 { "make room".to_owned() } else { format!("free {missing_bytes} bytes") }
}

/// An error with its causes, for a message that has no other place for them.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

impl DiskError {
    /// Sorts the system's word.
    pub(crate) fn new(what: &'static str, path: &str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, source },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Permission { what, path, source }
            }
            io::ErrorKind::ExecutableFileBusy | io::ErrorKind::ResourceBusy => Self::InUse { path, source },
            _ if crate::platform::is_sharing_violation(&source) => Self::InUse { path, source },
            _ => Self::Io { what, path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_no_refusal_by_policy() {
        let left = |status| PullError::Session(SessionError::NoEdgeLeft(DropReason::Refused(status))).class();
        assert_eq!(left(404), ErrorClass::Failed);
        for status in [401, 403, 410, 451] {
            assert_eq!(left(status), ErrorClass::Refused, "{status}");
        }
    }
}
