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
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The kept blobs of an install, and a place for new ones.
pub(crate) struct Shelf<'a> {
    root: Option<&'a Root>,
    /// Where new blobs go instead in a dry run.
    aside: Option<TemporaryDir>,
    added: Mutex<Vec<BlobId>>,
}

/// A directory of our own outside the install, made when it is needed and removed when dropped.
struct TemporaryDir {
    path: PathBuf,
    is_made: Mutex<bool>,
}

impl TemporaryDir {
    fn write(&self, id: &BlobId, bytes: &[u8]) -> Result<(), PullError> {
        let failed = |source| PullError::Open { dir: self.path.clone(), source };
        let mut is_made = self.is_made.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_made {
            std::fs::create_dir(&self.path).map_err(failed)?;
            *is_made = true;
        }
        drop(is_made);
        std::fs::write(self.blob(id), bytes).map_err(failed)
    }
    fn blob(&self, id: &BlobId) -> PathBuf {
        self.path.join(id.to_string())
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        if *self.is_made.get_mut().unwrap_or_else(PoisonError::into_inner)
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a temporary directory stays behind");
        }
    }
}

impl<'a> Shelf<'a> {
    /// The shelf of an install.
    pub(crate) fn of(root: &'a Root) -> Self {
        Self { root: Some(root), aside: None, added: Mutex::default() }
    }
    /// A shelf that reads the install's blobs, if there is one, and keeps new ones elsewhere.
    pub(crate) fn aside(root: Option<&'a Root>) -> Self {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_nanos());
        let path = std::env::temp_dir().join(format!("penstock-{}-{nanos}", std::process::id()));
        let aside = TemporaryDir { path, is_made: Mutex::new(false) };
        Self { root, aside: Some(aside), added: Mutex::default() }
    }
    /// Whether a blob of this length is here and has its hash. A power cut or a player may have spoiled it.
    pub(crate) fn has(&self, id: &BlobId, bytes: u64) -> Result<bool, PullError> {
        let found = self.read(id)?;
        Ok(found.is_some_and(|found| found.len() as u64 == bytes && BlobId::of(&found) == *id))
    }
    /// Reads a blob of at most an envelope's size; `None` when it is not here.
    pub(crate) fn read(&self, id: &BlobId) -> Result<Option<Vec<u8>>, PullError> {
        if let Some(aside) = &self.aside
            && let Ok(bytes) = std::fs::read(aside.blob(id))
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
        if let Some(aside) = &self.aside {
            return aside.write(id, bytes);
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
}
