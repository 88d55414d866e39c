//! The outboard file beside a blob: found, checked at its first use, rebuilt when it is missing or spoiled.
//!
//! Blobs of one group have no file: their outboard is the size alone. An outboard is never trusted because it lies
//! there; rebuilding one hashes the whole blob, and so finds out whether the blob or the outboard is wrong.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use penstock_core::blob::{BlobId, BlobSize, ByteRange};
use penstock_core::tree::{Outboard, OutboardBuilder, Shape};

use crate::error::{Damage, DiskError, ViewError};
use crate::map::GuardedMap;
use crate::options::Reading;
use crate::store::Shared;
use crate::temp::TempOutboard;
use crate::view::{BlobView, IN_MEMORY_BYTES, read_exact};

/// Bytes read from a blob at once while it is hashed.
pub(crate) const HASH_WINDOW_BYTES: usize = 1 << 20;

/// A checked outboard.
#[derive(Debug)]
pub(crate) enum OpenOutboard {
    /// The size field alone.
    Memory(Bytes),
    Mapped {
        map: Arc<GuardedMap>,
        bytes: Bytes,
    },
    Read(File),
}

impl OpenOutboard {
    pub(crate) fn is_poisoned(&self) -> bool {
        matches!(self, Self::Mapped { map, .. } if map.is_poisoned())
    }

    /// All of it, for a caller that has no view. `None` when it cannot be read.
    pub(crate) fn checked_bytes(&self, size: BlobSize) -> Option<Bytes> {
        match self {
            Self::Memory(bytes) | Self::Mapped { bytes, .. } => Some(bytes.clone()),
            Self::Read(file) => {
                let mut bytes = vec![0; usize::try_from(Shape::new(size).outboard_bytes()).ok()?];
                file.read_exact_at(&mut bytes, 0).ok()?;
                Some(bytes.into())
            }
        }
    }

    pub(crate) fn bytes(&self, view: &BlobView) -> Result<Bytes, ViewError> {
        let whole = ByteRange::new(0, Shape::new(view.size()).outboard_bytes()).expect("an outboard is never empty");
        self.window(view, whole)
    }

    pub(crate) fn window(&self, view: &BlobView, range: ByteRange) -> Result<Bytes, ViewError> {
        let total = Shape::new(view.size()).outboard_bytes();
        if range.end() > total {
            return Err(ViewError::OutOfRange { end: range.end(), size: BlobSize(total) });
        }
        let start = usize::try_from(range.start()).unwrap_or(usize::MAX);
        let end = usize::try_from(range.end()).unwrap_or(usize::MAX);
        match self {
            Self::Memory(bytes) => Ok(bytes.slice(start..end)),
            Self::Mapped { map, bytes } => {
                if map.populate(start, end - start).is_err() {
                    map.poison();
                }
                view.check()?;
                Ok(bytes.slice(start..end))
            }
            Self::Read(file) => {
                let mut bytes = vec![0; end - start];
                file.read_exact_at(&mut bytes, range.start()).map_err(|_| view.damaged(Damage::Vanished))?;
                Ok(bytes.into())
            }
        }
    }
}

/// Makes sure that an outboard of the right length, which names the right size, lies beside a blob that is being
/// opened. Cheap when it does; it is what notices a blob that was cut while no store was running.
pub(crate) fn ensure(store: &Arc<Shared>, id: BlobId, size: BlobSize, file: &File) -> Result<(), ViewError> {
    let path = store.layout.outboard(&id);
    let fits = match store.disk.open(&path) {
        Ok(outboard) => {
            let mut field = [0; 8];
            outboard.metadata().is_ok_and(|metadata| metadata.len() == Shape::new(size).outboard_bytes())
                && outboard.read_exact_at(&mut field, 0).is_ok()
                && u64::from_le_bytes(field) == size.0
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(DiskError::new("open", &path, error).into()),
    };
    if fits { Ok(()) } else { rebuild(store, id, size, file) }
}

/// Opens and checks the outboard of an open blob; rebuilds it once if the check fails.
pub(crate) fn open(view: &BlobView) -> Result<OpenOutboard, ViewError> {
    let size = view.size();
    let (Some(store), Some(file)) = (view.store(), view.file()) else {
        return Ok(OpenOutboard::Memory(Bytes::copy_from_slice(&size.0.to_le_bytes())));
    };
    if size.0 <= IN_MEMORY_BYTES {
        return Ok(OpenOutboard::Memory(Bytes::copy_from_slice(&size.0.to_le_bytes())));
    }
    if let Some(outboard) = open_checked(&store, *view.id(), size)? {
        return Ok(outboard);
    }
    tracing::warn!(blob = %view.id(), "the outboard is spoiled and is rebuilt");
    if let Err(error) = rebuild(&store, *view.id(), size, file) {
        if matches!(error, ViewError::Damaged { .. }) {
            view.poison();
        }
        return Err(error);
    }
    open_checked(&store, *view.id(), size)?.ok_or_else(|| view.damaged(Damage::Vanished))
}

/// `None` when the file is missing or not an outboard of this blob.
pub(crate) fn open_checked(store: &Arc<Shared>, id: BlobId, size: BlobSize) -> Result<Option<OpenOutboard>, ViewError> {
    let path = store.layout.outboard(&id);
    let failed = |action, error| ViewError::from(DiskError::new(action, &path, error));
    let file = match store.disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", error)),
    };
    let len = Shape::new(size).outboard_bytes();
    if file.metadata().map_err(|error| failed("look at", error))?.len() != len {
        return Ok(None);
    }
    let map = match store.options.reading {
        Reading::Map => GuardedMap::new(&file, len).map_err(|error| failed("map", error))?,
        Reading::Pread => None,
    };
    let Some(map) = map else {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, 0).map_err(|error| failed("read", error))?;
        let sound = Outboard::check(id, &bytes).is_ok_and(|outboard| outboard.shape().size() == size);
        return Ok(sound.then_some(OpenOutboard::Read(file)));
    };
    let bytes = map.bytes();
    let readable = map.populate(0, bytes.len()).is_ok();
    let sound = readable && Outboard::check(id, &bytes).is_ok_and(|outboard| outboard.shape().size() == size);
    Ok((sound && !map.is_poisoned()).then_some(OpenOutboard::Mapped { map, bytes }))
}

/// Hashes the blob and writes its outboard anew. A blob that is not what its name says is condemned instead.
pub(crate) fn rebuild(store: &Arc<Shared>, id: BlobId, size: BlobSize, file: &File) -> Result<(), ViewError> {
    let mut outboard = TempOutboard::new(store);
    let mut builder = OutboardBuilder::new();
    let mut window = vec![0; HASH_WINDOW_BYTES];
    let mut at = 0;
    while at < size.0 {
        let part = usize::try_from(size.0 - at).unwrap_or(usize::MAX).min(window.len());
        read_exact(store, id, size, file, at, &mut window[..part])?;
        builder.update(&window[..part]);
        outboard.take_pairs(&mut builder)?;
        at += part as u64;
    }
    let built = builder.finish();
    if built.blob != id {
        return Err(store.condemn(&id, Damage::Altered { first_bad_group: None }));
    }
    if let Some(written) = outboard.write(built.size, &built.pairs)? {
        let claim = store.claims.take([id]);
        // The blob may have been removed while it was hashed: then its outboard must not appear.
        if store.catalog.get(&id).is_some() {
            written.publish(&store.layout.outboard(&id))?;
        }
        drop(claim);
    }
    Ok(())
}
