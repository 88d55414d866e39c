//! A sealed blob, open for reading: size, name and bytes come from one open file.
//!
//! Small blobs (one group) are held in memory and were hashed when they were opened. Larger ones are mapped, or read
//! with `pread`. Nothing here decides who may read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use penstock_core::blob::{BlobId, BlobSize, ByteRange};
use penstock_core::limits::GROUP_BYTES;

use crate::error::{Damage, DiskError, ViewError};
use crate::file::{FileId, Probe, is_cached, read_cached, read_exact};
use crate::map::GuardedMap;
use crate::options::Reading;
use crate::outboard::{self, OpenOutboard};
use crate::store::Shared;

/// Blobs up to this length are read into memory when they are opened: a map and a descriptor would cost more.
pub(crate) const IN_MEMORY_BYTES: u64 = GROUP_BYTES;

/// A blob that is open for reading. Cheap to clone; keeps its bytes readable as long as it lives, whatever is removed.
#[derive(Debug, Clone)]
pub struct BlobView(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: BlobId,
    size: BlobSize,
    content: Content,
    /// Which file is open; `None` for a blob held in memory.
    file_id: Option<FileId>,
    /// Set when damage was noticed by other means than the SIGBUS guard.
    condemned: AtomicBool,
    outboard: OnceLock<OpenOutboard>,
    sha256: OnceLock<[u8; 32]>,
    store: Weak<Shared>,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    Mapped { map: Arc<GuardedMap>, bytes: Bytes, file: Arc<File>, probe: Probe },
    Read(Arc<File>),
}

impl BlobView {
    /// Opens the file of a blob that the catalogue lists with `size`. Blocks.
    pub(crate) fn open(store: &Arc<Shared>, id: BlobId, size: BlobSize) -> Result<Self, ViewError> {
        let path = store.layout.blob(&id);
        let failed = |action, error| DiskError::new(action, &path, error);
        let file = match store.disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                store.forget_deleted(&id);
                return Err(ViewError::Deleted(id));
            }
            Err(error) => return Err(failed("open", error).into()),
        };
        let metadata = file.metadata().map_err(|error| failed("look at", error))?;
        let (file_id, actual) = (FileId::of(&metadata), metadata.len());
        if actual != size.0 {
            return Err(store.condemn(&id, file_id, Damage::Length { expected: size.0, actual }));
        }
        let content = if size.0 <= IN_MEMORY_BYTES {
            let mut bytes = vec![0; usize::try_from(size.0).unwrap_or(usize::MAX)];
            read_exact(store, id, size, &file, 0, &mut bytes)?;
            if BlobId::of(&bytes) != id {
                return Err(store.condemn(&id, file_id, Damage::Altered { first_bad_group: Some(0) }));
            }
            Content::Memory(bytes.into())
        } else {
            outboard::ensure(store, id, size, &file)?;
            let file = Arc::new(file);
            let map = match store.options.reading {
                Reading::Map => GuardedMap::new(&file, size.0).map_err(|error| failed("map", error))?,
                Reading::Pread => None,
            };
            match map {
                Some(map) => {
                    let probe = Probe::of(&metadata);
                    if probe == Probe::Nowait {
                        store.warn_of_foreign_owner(&path);
                    }
                    Content::Mapped { bytes: map.bytes(), map, file, probe }
                }
                None => Content::Read(file),
            }
        };
        // Once a file is closed its number may become that of another one.
        let file_id = (!matches!(content, Content::Memory(_))).then_some(file_id);
        Ok(Self::new(id, size, content, file_id, Arc::downgrade(store)))
    }

    fn new(id: BlobId, size: BlobSize, content: Content, file_id: Option<FileId>, store: Weak<Shared>) -> Self {
        Self(Arc::new(Inner {
            id,
            size,
            content,
            file_id,
            condemned: AtomicBool::new(false),
            outboard: OnceLock::new(),
            sha256: OnceLock::new(),
            store,
        }))
    }

    #[cfg(test)]
    pub(crate) fn in_memory(content: &[u8]) -> Self {
        let bytes = Bytes::copy_from_slice(content);
        Self::new(BlobId::of(content), BlobSize(content.len() as u64), Content::Memory(bytes), None, Weak::new())
    }

    /// The blob's name.
    #[must_use]
    pub fn id(&self) -> &BlobId {
        &self.0.id
    }

    /// The blob's size, as its open file had it.
    #[must_use]
    pub fn size(&self) -> BlobSize {
        self.0.size
    }

    /// Bytes of the map, without copying and without looking whether they are resident. Never blocks by itself, but
    /// touching a page that is not resident does. `None` when the blob is not mapped (pread mode) or the range is not
    /// inside it.
    #[must_use]
    pub fn slice(&self, range: ByteRange) -> Option<Bytes> {
        let (start, end) = self.place(range).ok()?;
        match &self.0.content {
            Content::Memory(bytes) | Content::Mapped { bytes, .. } => Some(bytes.slice(start..end)),
            Content::Read(_) => None,
        }
    }

    /// Whether [`Self::slice`] of the range can be touched without waiting for the disk. Never blocks.
    #[must_use]
    pub fn is_resident(&self, range: ByteRange) -> bool {
        let Ok((start, end)) = self.place(range) else { return false };
        match &self.0.content {
            Content::Memory(_) => true,
            Content::Mapped { map, file, probe, .. } => {
                // A file that was cut inside its last page would read as zeros there, without any signal.
                self.has_its_length(file)
                    && match probe {
                        Probe::Mincore => map.is_resident(start, end - start),
                        Probe::Nowait => is_cached(file, range.start(), range.end() - range.start()),
                    }
            }
            Content::Read(_) => false,
        }
    }

    /// The range, if it can be had at once: from the map when it is resident, in pread mode from the page cache.
    /// Never blocks. `None` means: ask [`Self::load_window`] on a pool.
    #[must_use]
    pub fn try_window(&self, range: ByteRange) -> Option<Bytes> {
        if self.is_poisoned() {
            return None;
        }
        match &self.0.content {
            Content::Memory(_) => self.slice(range),
            Content::Mapped { .. } => {
                if self.is_resident(range) {
                    self.slice(range)
                } else {
                    None
                }
            }
            Content::Read(file) => {
                let (start, end) = self.place(range).ok()?;
                if !self.has_its_length(file) {
                    return None;
                }
                read_cached(file, range.start(), end - start)
            }
        }
    }

    /// The range, resident. Blocks while the disk reads.
    ///
    /// # Errors
    /// Also when the file turns out damaged: then the blob is in quarantine when this returns.
    pub fn load_window(&self, range: ByteRange) -> Result<Bytes, ViewError> {
        let (start, end) = self.place(range)?;
        match &self.0.content {
            Content::Read(file) => {
                self.check()?;
                let mut bytes = vec![0; end - start];
                self.pread(file, range.start(), &mut bytes)?;
                Ok(bytes.into())
            }
            Content::Memory(bytes) | Content::Mapped { bytes, .. } => {
                self.populate(range)?;
                Ok(bytes.slice(start..end))
            }
        }
    }

    /// Brings the range into memory. Blocks while the disk reads. In pread mode it fills the page cache.
    ///
    /// # Errors
    /// As [`Self::load_window`].
    pub fn populate(&self, range: ByteRange) -> Result<(), ViewError> {
        let (start, end) = self.place(range)?;
        self.check()?;
        match &self.0.content {
            Content::Memory(_) => Ok(()),
            Content::Read(_) => self.load_window(range).map(drop),
            Content::Mapped { map, file, .. } => {
                if !self.has_its_length(file) {
                    return self.check();
                }
                if map.populate(start, end - start).is_err() {
                    // The reason is in the file: too short, unreadable, or a kernel that cannot populate.
                    let mut scratch = vec![0; (end - start).min(1 << 20)];
                    let mut at = range.start();
                    while at < range.end() {
                        let part = usize::try_from(range.end() - at).unwrap_or(usize::MAX).min(scratch.len());
                        self.pread(file, at, &mut scratch[..part])?;
                        at += part as u64;
                    }
                }
                Ok(())
            }
        }
    }

    /// The bytes of the range, by whatever way. Blocks.
    ///
    /// # Errors
    /// As [`Self::load_window`].
    pub fn read(&self, range: ByteRange) -> Result<Bytes, ViewError> {
        let bytes = self.load_window(range)?;
        self.check()?;
        Ok(bytes)
    }

    /// The whole outboard, as `core::tree` lays it out, checked against the blob's name at its first use; a missing or
    /// spoiled one is rebuilt. Blocks. 1/256 of the blob: mapped, or in pread mode read into memory at every call.
    ///
    /// # Errors
    /// As [`Self::load_window`].
    pub fn outboard(&self) -> Result<Bytes, ViewError> {
        self.check()?;
        let outboard = self.open_outboard()?;
        outboard.bytes(self)
    }

    /// Bytes of the outboard, resident. Blocks. What a verified stream needs, also in pread mode.
    ///
    /// # Errors
    /// As [`Self::load_window`].
    pub fn outboard_window(&self, range: ByteRange) -> Result<Bytes, ViewError> {
        self.check()?;
        let outboard = self.open_outboard()?;
        outboard.window(self, range)
    }

    /// The blob's SHA-256, computed at the first call and kept beside the blob. Blocks: about a second per GiB then;
    /// who asks meanwhile waits for the same answer.
    ///
    /// # Errors
    /// As [`Self::load_window`].
    pub fn sha256(&self) -> Result<[u8; 32], ViewError> {
        if let Some(digest) = self.0.sha256.get() {
            return Ok(*digest);
        }
        self.check()?;
        let once = || match self.0.sha256.get() {
            Some(digest) => Ok(*digest),
            None => {
                let digest = crate::digest::load_or_compute(self)?;
                Ok(*self.0.sha256.get_or_init(|| digest))
            }
        };
        let digest = match self.store() {
            Some(store) => store.digests.join(&self.0.id, once)?,
            None => once()?,
        };
        Ok(*self.0.sha256.get_or_init(|| digest))
    }

    /// The SHA-256 if an earlier call found it. Never blocks.
    #[must_use]
    pub fn cached_sha256(&self) -> Option<[u8; 32]> {
        self.0.sha256.get().copied()
    }

    /// Whether the file was damaged while it was open. Never blocks. Whatever was read from the map since it was last
    /// `false` must not be believed: cut the response off.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.0.condemned.load(Ordering::Acquire)
            || self.map().is_some_and(|map| map.is_poisoned())
            || self.0.outboard.get().is_some_and(OpenOutboard::is_poisoned)
    }

    /// Whether what was handed out may be sent: the view is not poisoned and its file still has the blob's length. Never
    /// blocks; one `fstat`, cheap enough to be asked before each write to a socket.
    ///
    /// [`Self::is_poisoned`] alone does not see a file that was cut inside a page of the map: the rest of that page reads
    /// as zeros, without any signal. Such a file poisons the view here.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.file().is_none_or(|file| self.has_its_length(file)) && !self.is_poisoned()
    }

    /// The open file under the view, for `sendfile`: byte offsets are the blob's. `None` for a blob held in memory.
    #[must_use]
    pub fn file(&self) -> Option<&Arc<File>> {
        match &self.0.content {
            Content::Memory(_) => None,
            Content::Mapped { file, .. } | Content::Read(file) => Some(file),
        }
    }

    /// Fails, with its file in quarantine, once the view is poisoned. Blocks only then. When the blob has another file by
    /// now, because it was imported again, that one is left alone.
    ///
    /// # Errors
    /// [`ViewError::Damaged`].
    pub fn check(&self) -> Result<(), ViewError> {
        if !self.is_poisoned() {
            return Ok(());
        }
        let content_is_poisoned =
            self.0.condemned.load(Ordering::Acquire) || self.map().is_some_and(|map| map.is_poisoned());
        if !content_is_poisoned {
            if let Some(store) = self.0.store.upgrade() {
                store.views.remove_if(&self.0.id, |kept| kept.is_same(self));
            }
            return Err(ViewError::Damaged { blob: self.0.id, damage: Damage::Outboard });
        }
        let actual = self.file().and_then(|file| file.metadata().ok()).map(|metadata| metadata.len());
        let damage = match actual {
            Some(actual) if actual != self.0.size.0 => Damage::Length { expected: self.0.size.0, actual },
            _ => Damage::Vanished,
        };
        Err(self.damaged(damage))
    }

    /// Poisons the view and, when a store still has this very file under the blob's name, moves it to quarantine.
    pub(crate) fn damaged(&self, damage: Damage) -> ViewError {
        self.poison();
        match (self.0.store.upgrade(), self.0.file_id) {
            (Some(store), Some(seen)) => store.condemn(&self.0.id, seen, damage),
            _ => ViewError::Damaged { blob: self.0.id, damage },
        }
    }

    pub(crate) fn poison(&self) {
        self.0.condemned.store(true, Ordering::Release);
        if let Some(map) = self.map() {
            map.poison();
        }
    }

    pub(crate) fn file_id(&self) -> Option<FileId> {
        self.0.file_id
    }

    /// Whether both are clones of one view.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The system's words about this blob.
    pub(crate) fn disk_error(&self, action: &'static str, error: io::Error) -> ViewError {
        let path = self.store().map(|store| store.layout.blob(&self.0.id)).unwrap_or_default();
        DiskError::new(action, &path, error).into()
    }

    pub(crate) fn store(&self) -> Option<Arc<Shared>> {
        self.0.store.upgrade()
    }

    /// Fills `into` from the open file or from memory. Blocks.
    pub(crate) fn read_into(&self, offset: u64, into: &mut [u8]) -> Result<(), ViewError> {
        match &self.0.content {
            Content::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                into.copy_from_slice(&bytes[start..start + into.len()]);
                Ok(())
            }
            Content::Mapped { file, .. } | Content::Read(file) => self.pread(file, offset, into),
        }
    }

    fn map(&self) -> Option<&Arc<GuardedMap>> {
        match &self.0.content {
            Content::Mapped { map, .. } => Some(map),
            Content::Memory(_) | Content::Read(_) => None,
        }
    }

    fn open_outboard(&self) -> Result<&OpenOutboard, ViewError> {
        if let Some(outboard) = self.0.outboard.get() {
            return Ok(outboard);
        }
        let once = || match self.0.outboard.get() {
            Some(outboard) => Ok(outboard.clone()),
            None => {
                let outboard = outboard::open(self)?;
                Ok(self.0.outboard.get_or_init(|| outboard).clone())
            }
        };
        let outboard = match self.store() {
            Some(store) => store.outboards.join(&self.0.id, once)?,
            None => once()?,
        };
        Ok(self.0.outboard.get_or_init(|| outboard))
    }

    /// Notices a file that was cut or grown while it is open.
    fn has_its_length(&self, file: &File) -> bool {
        let same = file.metadata().is_ok_and(|metadata| metadata.len() == self.0.size.0);
        if !same {
            self.poison();
        }
        same
    }

    fn pread(&self, file: &File, offset: u64, into: &mut [u8]) -> Result<(), ViewError> {
        match self.0.store.upgrade() {
            Some(store) => {
                let read = read_exact(&store, self.0.id, self.0.size, file, offset, into);
                if matches!(read, Err(ViewError::Damaged { .. })) {
                    self.poison();
                }
                read
            }
            // Only a view that outlived its store comes here; there is nothing left to quarantine.
            None => file.read_exact_at(into, offset).map_err(|_| self.damaged(Damage::Vanished)),
        }
    }

    fn place(&self, range: ByteRange) -> Result<(usize, usize), ViewError> {
        let out = || ViewError::OutOfRange { end: range.end(), size: self.0.size };
        if range.end() > self.0.size.0 {
            return Err(out());
        }
        let start = usize::try_from(range.start()).map_err(|_| out())?;
        Ok((start, usize::try_from(range.end()).map_err(|_| out())?))
    }
}
