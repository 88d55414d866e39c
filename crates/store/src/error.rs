//! What can go wrong with a store, sorted by what the reader of the message should do.
//!
//! Messages name the path and the remedy; sources are chained and never repeated in the text.

use std::io;
use std::path::{Path, PathBuf};

use penstock_core::blob::{BlobId, BlobSize};

/// The disk refused.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// No space, or no quota, is left.
    #[error("the file system that holds {} is full: free space and try again", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The process may not do this, or the file system is read-only.
    #[error("no permission to {action} {}: check owner, mode and mount options", path.display())]
    Denied {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Anything else: an IO error needs a look at the device.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl DiskError {
    pub(crate) fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, source },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Denied { action, path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }

    fn copy(&self) -> Self {
        match self {
            Self::Full { path, source } => Self::Full { path: path.clone(), source: copy_io(source) },
            Self::Denied { action, path, source } => {
                Self::Denied { action, path: path.clone(), source: copy_io(source) }
            }
            Self::Io { action, path, source } => Self::Io { action, path: path.clone(), source: copy_io(source) },
        }
    }
}

/// The same kind and words; the very same error where it is the system's.
pub(crate) fn copy_io(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another store, in this process or another, has the directory.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The guard under memory maps could not be installed.
    #[error("cannot install the SIGBUS guard; read blobs with pread instead")]
    Guard(#[source] io::Error),
}

/// Why a blob was not imported. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The content is not what its name says.
    #[error("the content's name is {actual}, not {expected}")]
    Mismatch {
        /// The promised name.
        expected: BlobId,
        /// The name of what came.
        actual: BlobId,
    },
    /// More bytes than a blob may have.
    #[error("a blob has at most {max} bytes")]
    TooLarge {
        /// The bound, in bytes.
        max: u64,
    },
    /// An earlier write of this draft failed.
    #[error("an earlier write of this draft failed")]
    Broken,
    /// The source could not be read.
    #[error("cannot read the source")]
    Source(#[source] io::Error),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What happened to a sealed file behind our back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file has another length than when it was sealed.
    #[error("the file has {actual} bytes instead of {expected}")]
    Length {
        /// Length when it was sealed, in bytes.
        expected: u64,
        /// Length now, in bytes.
        actual: u64,
    },
    /// The bytes have another hash; the first bad group, where the outboard could tell.
    #[error("the bytes changed{}", place(*.first_bad_group))]
    Altered {
        /// Number of the first 16 KiB group that is not as it was sealed.
        first_bad_group: Option<u64>,
    },
    /// Pages of the file vanished while they were being read.
    #[error("pages of the file vanished while they were read")]
    Vanished,
    /// The blob is sound, but its outboard was cut while it was read. It is rebuilt when the blob is opened again.
    #[error("its outboard was cut while it was read")]
    Outboard,
}

fn place(group: Option<u64>) -> String {
    group.map_or_else(String::new, |group| format!(", first in group {group}"))
}

/// Why a blob cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The store does not have it.
    #[error("blob {0} is not in this store")]
    Unknown(BlobId),
    /// The store had it, and its file is gone. It was forgotten.
    #[error("the file of blob {0} was deleted behind our back")]
    Deleted(BlobId),
    /// The file under the view was damaged. It was moved to quarantine, unless the blob has another file by now: one that
    /// was imported again is not touched.
    #[error("blob {blob} is damaged: {damage}")]
    Damaged {
        /// The blob.
        blob: BlobId,
        /// What happened to it.
        damage: Damage,
    },
    /// The range ends behind the blob.
    #[error("the range ends at byte {end} of a blob of {} bytes", size.0)]
    OutOfRange {
        /// End of the range.
        end: u64,
        /// The blob's size.
        size: BlobSize,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl ViewError {
    /// The same again, for another who waited for the same work.
    pub(crate) fn copy(&self) -> Self {
        match self {
            Self::Unknown(blob) => Self::Unknown(*blob),
            Self::Deleted(blob) => Self::Deleted(*blob),
            Self::Damaged { blob, damage } => Self::Damaged { blob: *blob, damage: *damage },
            Self::OutOfRange { end, size } => Self::OutOfRange { end: *end, size: *size },
            Self::Disk(error) => Self::Disk(error.copy()),
        }
    }
}
