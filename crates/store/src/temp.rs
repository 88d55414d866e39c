//! Files in `tmp/` on their way to a name, and the outboard that grows there while a blob is hashed.
//!
//! Owns their removal: a temporary file that is dropped before it was renamed is unlinked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use penstock_core::blob::BlobSize;
use penstock_core::tree::{OutboardBuilder, write_pre_order};

use crate::disk::NewFile;
use crate::error::DiskError;
use crate::store::Shared;

/// Pairs kept in memory, in bytes, before they are spilled to a file: enough for a blob of 256 MiB.
const PAIRS_IN_MEMORY_BYTES: usize = 1 << 20;

/// A file in `tmp/`, removed when dropped unless it was renamed.
#[derive(Debug)]
pub(crate) struct Temp {
    store: Arc<Shared>,
    path: Option<PathBuf>,
    file: Box<dyn NewFile>,
}

impl Temp {
    pub(crate) fn create(store: &Arc<Shared>) -> Result<Self, DiskError> {
        let path = store.temp_path();
        let file = store.disk.create(&path).map_err(|error| DiskError::new("create", &path, error))?;
        Ok(Self { store: Arc::clone(store), path: Some(path), file })
    }

    fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.append(bytes).map_err(|error| DiskError::new("write", self.path(), error))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        self.file.read_at(offset, into).map_err(|error| DiskError::new("read", self.path(), error))
    }

    /// Mode, bytes and length survive a crash afterwards.
    pub(crate) fn seal(&mut self) -> Result<(), DiskError> {
        self.make_read_only()?;
        self.file.sync().map_err(|error| DiskError::new("sync", self.path(), error))
    }

    fn make_read_only(&mut self) -> Result<(), DiskError> {
        self.file.make_read_only().map_err(|error| DiskError::new("change the mode of", self.path(), error))
    }

    pub(crate) fn rename(&mut self, to: &Path) -> Result<(), DiskError> {
        let Some(from) = self.path.take() else { return Ok(()) };
        self.store.disk.rename(&from, to).map_err(|error| {
            self.path = Some(from);
            DiskError::new("rename a draft to", to, error)
        })
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = self.store.disk.remove(&path)
        {
            tracing::warn!(path = %path.display(), %error, "a draft could not be removed; the next start will");
        }
    }
}

/// The pairs of a blob that is being hashed: in memory, then spilled, at the end laid out as an outboard file.
#[derive(Debug)]
pub(crate) struct TempOutboard {
    store: Arc<Shared>,
    spill: Option<Temp>,
    spilled_bytes: u64,
}

/// A complete outboard in `tmp/`.
pub(crate) struct Written(Temp);

impl TempOutboard {
    pub(crate) fn new(store: &Arc<Shared>) -> Self {
        Self { store: Arc::clone(store), spill: None, spilled_bytes: 0 }
    }

    /// Spills the builder's pairs once there are many of them.
    pub(crate) fn take_pairs(&mut self, builder: &mut OutboardBuilder) -> Result<(), DiskError> {
        if builder.pairs().len() < PAIRS_IN_MEMORY_BYTES {
            return Ok(());
        }
        self.spill(builder.pairs())?;
        builder.clear_pairs();
        Ok(())
    }

    fn spill(&mut self, pairs: &[u8]) -> Result<(), DiskError> {
        let file = match &mut self.spill {
            Some(file) => file,
            none => none.insert(Temp::create(&self.store)?),
        };
        file.append(pairs)?;
        self.spilled_bytes += pairs.len() as u64;
        Ok(())
    }

    /// Lays all pairs out, `rest` being those not yet taken. `None` for a blob of one group, which needs no file.
    pub(crate) fn write(mut self, size: BlobSize, rest: &[u8]) -> Result<Option<Written>, DiskError> {
        if self.spill.is_none() && rest.is_empty() {
            return Ok(None);
        }
        if self.spill.is_some() {
            self.spill(rest)?;
        }
        let mut written = Temp::create(&self.store)?;
        let read = |offset: u64, into: &mut [u8]| match &self.spill {
            Some(spill) => spill.read_at(offset, into),
            None => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                into.copy_from_slice(&rest[start..start + into.len()]);
                Ok(())
            }
        };
        write_pre_order(size, read, |bytes| written.append(bytes))?;
        written.make_read_only()?;
        Ok(Some(Written(written)))
    }
}

impl Written {
    /// Gives the outboard its name. It is not synced: it is checked at its first use after a start.
    pub(crate) fn publish(mut self, to: &Path) -> Result<(), DiskError> {
        self.0.rename(to)
    }
}
