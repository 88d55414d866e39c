//! Manifest roots and parts kept in the install, so that an update fetches only changed parts and
//! `verify` works offline. Owns `.penstock/blobs`; everything read from it is hashed by its reader.

use crate::error::{DiskError, PullError};
use crate::layout;
use crate::platform::Root;
use crate::state::read_if_there;
use penstock_core::blob::BlobId;
use penstock_core::limits::ENVELOPE_BYTES_MAX;
use penstock_core::manifest::PartRef;
use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The kept blobs of an install, and a place for new ones.
pub(crate) struct Shelf<'a> {
    root: Option<&'a Root>,
    /// Where new blobs go instead in a dry run.
    aside: Option<TemporaryDir>,
    added: Mutex<Vec<BlobId>>,
}

/// A directory of our own outside the install, removed when dropped.
struct TemporaryDir(PathBuf);

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a temporary directory stays behind");
        }
    }
}

impl<'a> Shelf<'a> {
    /// The shelf of an install.
    pub(crate) fn of(root: &'a Root) -> Self {
        Self { root: Some(root), aside: None, added: Mutex::default() }
    }
    /// A shelf that reads the install's blobs, if there is one, and keeps new ones elsewhere.
    pub(crate) fn aside(root: Option<&'a Root>) -> Result<Self, PullError> {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_nanos());
        let path = std::env::temp_dir().join(format!("penstock-{}-{nanos}", std::process::id()));
        std::fs::create_dir(&path).map_err(|source| PullError::Open { dir: path.clone(), source })?;
        Ok(Self { root, aside: Some(TemporaryDir(path)), added: Mutex::default() })
    }
    /// Whether a blob of this length is here and has its hash. A power cut or a player may have spoiled it.
    pub(crate) fn has(&self, id: &BlobId, bytes: u64) -> Result<bool, PullError> {
        let found = self.read(id)?;
        Ok(found.is_some_and(|found| found.len() as u64 == bytes && BlobId::of(&found) == *id))
    }
    /// Reads a blob of at most an envelope's size; `None` when it is not here.
    pub(crate) fn read(&self, id: &BlobId) -> Result<Option<Vec<u8>>, PullError> {
        if let Some(path) = self.aside_path(id)
            && let Ok(bytes) = std::fs::read(&path)
        {
            return Ok(Some(bytes));
        }
        let Some(root) = self.root else { return Ok(None) };
        Ok(read_if_there(root, &layout::blob(id), (ENVELOPE_BYTES_MAX + 64 * 1024 + 1) as u64)?)
    }
    /// Reads a part that was made sure of before.
    pub(crate) fn part(&self, part: &PartRef) -> Result<Vec<u8>, PullError> {
        let missing = || {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            DiskError::new("read", &layout::blob(&part.blob), source)
        };
        Ok(self.read(&part.blob)?.ok_or_else(missing)?)
    }
    /// Keeps a blob whose hash the caller has checked. Synced with everything else at commit.
    ///
    /// One that is here and good is not touched: it may be the installed version's, which neither a refusal
    /// nor a crash may cost. A new one is written under another name first, so that it is never half there.
    pub(crate) fn keep(&self, id: &BlobId, bytes: &[u8]) -> Result<(), PullError> {
        if self.has(id, bytes.len() as u64)? {
            return Ok(());
        }
        if let Some(path) = self.aside_path(id) {
            return std::fs::write(&path, bytes).map_err(|source| PullError::Open { dir: path, source });
        }
        let Some(root) = self.root else { return Ok(()) };
        let path = layout::blob(id);
        let was_there = root.stat(&path)?.is_some();
        let draft = layout::blob_draft(id);
        let mut file = root.create(&draft, false)?;
        let written = file.set_len(0).and_then(|()| file.write_all(bytes));
        written.map_err(|source| DiskError::new("write", &path, source))?;
        drop(file);
        root.rename(&draft, &path)?;
        if !was_there {
            self.added.lock().unwrap_or_else(PoisonError::into_inner).push(*id);
        }
        Ok(())
    }
    /// Removes what this run added: the release was refused.
    pub(crate) fn undo(&self) {
        let Some(root) = self.root else { return };
        for id in self.added.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if let Err(error) = root.remove_file(&layout::blob(&id)) {
                tracing::warn!(%error, "a manifest part stays behind");
            }
        }
    }
    /// Removes every blob but these.
    pub(crate) fn retain(root: &Root, wanted: &HashSet<BlobId>) -> Result<(), PullError> {
        for name in root.list(layout::BLOBS)? {
            if name.parse::<BlobId>().map_or(true, |id| !wanted.contains(&id)) {
                root.remove_file(&format!("{}/{name}", layout::BLOBS))?;
            }
        }
        Ok(())
    }

    fn aside_path(&self, id: &BlobId) -> Option<PathBuf> {
        self.aside.as_ref().map(|dir| Path::new(&dir.0).join(id.to_string()))
    }
}
