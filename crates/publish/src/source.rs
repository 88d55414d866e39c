//! Files of the build tree: opened without following links, and noticed when they change.
//!
//! Owns [`Stamp`]: what a file was when it was listed. A file whose stamp is another when it is
//! opened, or after it was read, changed under our hands, and its content would be a mix.

use penstock_core::path::InstallPath;
use rustix::fs::{Mode, OFlags};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Why a file of the build cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Opening or reading failed.
    #[error("cannot read {path:?} of the build")]
    Unreadable {
        /// Which file.
        path: InstallPath,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody wrote to it, or replaced it.
    #[error("{path:?} changed while it was being read: wait until the build is finished, then publish again")]
    Changed {
        /// Which file.
        path: InstallPath,
    },
    /// A temporary file of ours cannot be written.
    #[error("cannot use the temporary directory")]
    Spool(#[source] io::Error),
    /// More pieces than any release may have.
    #[error("the build has more chunks than a release may have")]
    TooManyChunks,
}

/// What a file was when it was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    pub(crate) bytes: u64,
    modified_seconds: i64,
    modified_nanoseconds: i64,
    mode: u32,
}

impl Stamp {
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.size(),
            modified_seconds: meta.mtime(),
            modified_nanoseconds: meta.mtime_nsec(),
            mode: meta.mode(),
        }
    }
}

/// Opens a file that was listed with `stamp`.
///
/// Does not follow a link and does not wait for the other end of a pipe that took the file's place.
pub(crate) fn open(dir: &Path, path: &InstallPath, stamp: &Stamp) -> Result<File, SourceError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(dir.join(path.as_str()), flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOENT) => {
            return Err(SourceError::Changed { path: path.clone() });
        }
        Err(error) => return Err(SourceError::Unreadable { path: path.clone(), source: error.into() }),
    };
    check(&file, path, stamp)?;
    Ok(file)
}

/// Compares an open file with what was listed.
pub(crate) fn check(file: &File, path: &InstallPath, stamp: &Stamp) -> Result<(), SourceError> {
    let meta = file.metadata().map_err(|source| SourceError::Unreadable { path: path.clone(), source })?;
    if Stamp::of(&meta) == *stamp { Ok(()) } else { Err(SourceError::Changed { path: path.clone() }) }
}
