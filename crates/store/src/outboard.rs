//! The outboard file beside a blob: found, checked at its first use, rebuilt when it is missing or spoiled.
//!
//! Blobs of one group have no file: their outboard is the size alone. An outboard is never trusted because it lies
//! there; rebuilding one hashes the whole blob, and so finds out whether the blob or the outboard is wrong.

pub(crate) mod leaves;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use penstock_core::blob::{BlobId, BlobSize, ByteRange};
use penstock_core::tree::{OutboardBuilder, Shape};

use crate::error::{Damage, DiskError, ViewError};
use crate::file::{FileId, read_exact};
use crate::map::GuardedMap;
use crate::options::Reading;
use crate::scrub::ScrubControl;
use crate::store::Shared;
use crate::temp::TempOutboard;
use crate::view::{BlobView, IN_MEMORY_BYTES};

/// Bytes read from a blob at once while it is hashed.
pub(crate) const HASH_WINDOW_BYTES: usize = 1 << 20;

/// A checked outboard. Clones share it.
#[derive(Debug, Clone)]
pub(crate) enum OpenOutboard {
    /// The size field alone.
    Memory(Bytes),
    Mapped {
        map: Arc<GuardedMap>,
        bytes: Bytes,
    },
    Read(Arc<ReadOutboard>),
}

/// An outboard that is read piece by piece.
#[derive(Debug)]
pub(crate) struct ReadOutboard {
    file: File,
    /// It ended early: the view is to be opened anew.
    is_cut: AtomicBool,
}

impl OpenOutboard {
    pub(crate) fn is_poisoned(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Mapped { map, .. } => map.is_poisoned(),
            Self::Read(outboard) => outboard.is_cut.load(Ordering::Acquire),
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
            Self::Read(outboard) => {
                let mut bytes = vec![0; end - start];
                match outboard.file.read_exact_at(&mut bytes, range.start()) {
                    Ok(()) => Ok(bytes.into()),
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        outboard.is_cut.store(true, Ordering::Release);
                        view.check()?;
                        Err(unusable(view))
                    }
                    Err(error) => Err(view.disk_error("read the outboard of", error)),
                }
            }
        }
    }
}

fn unusable(view: &BlobView) -> ViewError {
    ViewError::Damaged { blob: *view.id(), damage: Damage::Outboard }
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

/// Opens and checks the outboard of an open blob; rebuilds it once if the check fails. The caller sees to it that one
/// thread at a time does this for a blob.
pub(crate) fn open(view: &BlobView) -> Result<OpenOutboard, ViewError> {
    let size = view.size();
    if size.0 <= IN_MEMORY_BYTES {
        return Ok(OpenOutboard::Memory(Bytes::copy_from_slice(&size.0.to_le_bytes())));
    }
    // A view that outlived its store has no directory to look in.
    let (Some(store), Some(file)) = (view.store(), view.file()) else { return Err(unusable(view)) };
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
    // Not there again: the blob was removed meanwhile, or somebody is playing tricks. The blob itself is sound.
    open_checked(&store, *view.id(), size)?.ok_or_else(|| unusable(view))
}

fn open_checked(store: &Arc<Shared>, id: BlobId, size: BlobSize) -> Result<Option<OpenOutboard>, ViewError> {
    let Some(file) = find_checked(store, id, size)? else { return Ok(None) };
    let map = match store.options.reading {
        Reading::Map => GuardedMap::new(&file, Shape::new(size).outboard_bytes())
            .map_err(|error| DiskError::new("map", &store.layout.outboard(&id), error))?,
        Reading::Pread => None,
    };
    Ok(Some(match map {
        Some(map) => OpenOutboard::Mapped { bytes: map.bytes(), map },
        None => OpenOutboard::Read(Arc::new(ReadOutboard { file, is_cut: AtomicBool::new(false) })),
    }))
}

/// The open outboard file of a blob of more than one group, every byte of it checked. `None` when it is missing or not
/// an outboard of this blob.
pub(crate) fn find_checked(store: &Arc<Shared>, id: BlobId, size: BlobSize) -> Result<Option<File>, ViewError> {
    let path = store.layout.outboard(&id);
    let failed = |action, error| ViewError::from(DiskError::new(action, &path, error));
    let file = match store.disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", error)),
    };
    if file.metadata().map_err(|error| failed("look at", error))?.len() != Shape::new(size).outboard_bytes() {
        return Ok(None);
    }
    let sound = leaves::is_sound(id, size, |offset, into| file.read_exact_at(into, offset));
    Ok(sound.map_err(|error| failed("read", error))?.then_some(file))
}

/// Hashes the blob and writes its outboard anew. A blob that is not what its name says is condemned instead. Who comes
/// while another one does it waits for that.
fn rebuild(store: &Arc<Shared>, id: BlobId, size: BlobSize, file: &File) -> Result<(), ViewError> {
    let hash = || rebuild_in_steps(store, id, size, file, &mut |_| ScrubControl::Continue).map(drop);
    store.rebuilds.join(&id, hash)
}

/// As [`rebuild`], at the caller's pace and without making others wait for it: `step` is told how many bytes were read.
pub(crate) fn rebuild_in_steps(
    store: &Arc<Shared>,
    id: BlobId,
    size: BlobSize,
    file: &File,
    step: &mut dyn FnMut(u64) -> ScrubControl,
) -> Result<ScrubControl, ViewError> {
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
        if step(part as u64) == ScrubControl::Stop {
            return Ok(ScrubControl::Stop);
        }
    }
    let built = builder.finish();
    if built.blob != id {
        let path = store.layout.blob(&id);
        let seen = file.metadata().map_err(|error| DiskError::new("look at", &path, error))?;
        return Err(store.condemn(&id, FileId::of(&seen), Damage::Altered { first_bad_group: None }));
    }
    if let Some(written) = outboard.write(built.size, &built.pairs)? {
        let claim = store.claims.take([id]);
        // The blob may have been removed while it was hashed: then its outboard must not appear.
        if store.catalog.get(&id).is_some() {
            written.publish(&store.layout.outboard(&id))?;
        }
        drop(claim);
    }
    Ok(ScrubControl::Continue)
}
