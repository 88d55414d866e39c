//! `DATA_DIR/lock`: one process at a time works on a data directory.
//!
//! An advisory lock of the kernel (flock): it ends with the process, however that ends, so there is
//! no stale lock to clean up.

use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Held while this value lives.
#[derive(Debug)]
pub(crate) struct DataDirLock {
    _file: File,
}

/// Why the directory is not ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another process has it.
    #[error("another penstock process works on {0:?}")]
    Held(PathBuf),
    /// It cannot be made or locked.
    #[error("cannot lock the data directory {path:?}")]
    File {
        /// Which directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl DataDirLock {
    /// Whether a node or a command ever worked on the directory. A directory that cannot be looked into may
    /// be one: taking its lock says what is wrong.
    pub(crate) fn exists(dir: &Path) -> bool {
        !matches!(dir.join("lock").try_exists(), Ok(false))
    }

    /// Makes the directory when it is missing (mode 0700) and takes its lock without waiting.
    ///
    /// # Errors
    /// [`LockError`].
    pub(crate) fn take(dir: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::File { path: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("lock"))
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Held(dir.to_owned())),
            Err(error) => Err(failed(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_it_and_it_comes_back() {
        let dir = tempfile::tempdir().expect("dir");
        let data = dir.path().join("deep/data");
        assert!(!DataDirLock::exists(&data));
        let lock = DataDirLock::take(&data).expect("free");
        assert!(matches!(DataDirLock::take(&data), Err(LockError::Held(_))));
        drop(lock);
        assert!(DataDirLock::exists(&data));
        DataDirLock::take(&data).expect("free again");
    }
}
