//! Import: from bytes to a sealed blob, in one pass, synced, all or nothing.
//!
//! The order of the steps and what each buys is in the crate's docs. A draft that is dropped, or that fails, removes
//! its temporary files; one that is killed leaves them to the next start.

use std::collections::{BTreeSet, HashSet};
use std::io::Read;
use std::sync::Arc;

use penstock_core::blob::{BlobId, BlobSize};
use penstock_core::limits::BLOB_BYTES_MAX;
use penstock_core::tree::OutboardBuilder;

use crate::error::{Damage, DiskError, ImportError, copy_io};
use crate::quarantine::Whose;
use crate::store::Shared;
use crate::temp::{Temp, TempOutboard, Written};

/// Bytes gathered before they are hashed and written: large enough to make both cheap, small enough for the L2 cache.
const BUFFER_BYTES: usize = 256 * 1024;
/// Bytes read from a source at once.
const READ_BYTES: usize = 1 << 20;
/// Files synced at the same time in a batch: the file system joins them into few commits.
const SYNCS_AT_ONCE: usize = 16;

/// A blob that was imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Its name.
    pub blob: BlobId,
    /// Its size.
    pub size: BlobSize,
    /// The store had it before; nothing was written.
    pub already_there: bool,
}

/// A blob that is being written. Memory: about 1.5 MiB, whatever its size.
#[derive(Debug)]
pub struct Draft {
    store: Arc<Shared>,
    expected: Option<BlobId>,
    buffer: Vec<u8>,
    builder: OutboardBuilder,
    data: Temp,
    outboard: TempOutboard,
    broken: bool,
}

impl Draft {
    pub(crate) fn new(
        store: &Arc<Shared>,
        expected: Option<BlobId>,
        size_hint: Option<u64>,
    ) -> Result<Self, ImportError> {
        if let Some(bytes) = size_hint {
            if bytes > BLOB_BYTES_MAX {
                return Err(ImportError::TooLarge { max: BLOB_BYTES_MAX });
            }
            let root = store.layout.root();
            // Refuses early what cannot fit. A volume that cannot say how much is free is asked by writing.
            if store.disk.free_bytes(root).is_ok_and(|free| free < bytes) {
                let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
                return Err(DiskError::new("write", root, source).into());
            }
        }
        Ok(Self {
            store: Arc::clone(store),
            expected,
            buffer: Vec::new(),
            builder: OutboardBuilder::new(),
            data: Temp::create(store)?,
            outboard: TempOutboard::new(store),
            broken: false,
        })
    }

    /// Appends content. Blocks while the disk writes.
    ///
    /// # Errors
    /// [`ImportError::TooLarge`], or what the disk says. Nothing can be written to the draft afterwards.
    pub fn write(&mut self, mut content: &[u8]) -> Result<(), ImportError> {
        if self.broken {
            return Err(ImportError::Broken);
        }
        let so_far = self.builder.size().0 + self.buffer.len() as u64;
        if so_far.saturating_add(content.len() as u64) > BLOB_BYTES_MAX {
            self.broken = true;
            return Err(ImportError::TooLarge { max: BLOB_BYTES_MAX });
        }
        while !content.is_empty() {
            if self.buffer.is_empty() && content.len() >= BUFFER_BYTES {
                let (direct, rest) = content.split_at(BUFFER_BYTES);
                self.append(direct)?;
                content = rest;
                continue;
            }
            let (more, rest) = content.split_at(content.len().min(BUFFER_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(more);
            content = rest;
            if self.buffer.len() == BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Bytes that were written so far.
    #[must_use]
    pub fn size(&self) -> BlobSize {
        BlobSize(self.builder.size().0 + self.buffer.len() as u64)
    }

    /// Ends the content: syncs and seals it. When this returns the blob survives a crash. Blocks.
    ///
    /// # Errors
    /// [`ImportError::Mismatch`] when it is not what was expected, or what the disk says. Nothing is left behind.
    pub fn seal(self) -> Result<Sealed, ImportError> {
        let store = Arc::clone(&self.store);
        let mut sealed = seal_all(&store, vec![self]);
        sealed.pop().unwrap_or(Err(ImportError::Broken))
    }

    fn flush(&mut self) -> Result<(), ImportError> {
        let buffer = std::mem::take(&mut self.buffer);
        let appended = self.append(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        appended
    }

    fn append(&mut self, content: &[u8]) -> Result<(), ImportError> {
        // Hashing costs about as much as writing to the page cache: side by side they take half the time.
        let Self { builder, data, .. } = self;
        let ((), appended) = rayon::join(|| builder.update(content), || data.append(content));
        let written = appended.and_then(|()| self.outboard.take_pairs(&mut self.builder));
        self.broken = written.is_err();
        Ok(written?)
    }

    /// Everything up to the sync: the last bytes, the name, the outboard.
    fn finish(mut self) -> Result<Finished, ImportError> {
        if self.broken {
            return Err(ImportError::Broken);
        }
        self.flush()?;
        let built = std::mem::take(&mut self.builder).finish();
        if let Some(expected) = self.expected
            && expected != built.blob
        {
            return Err(ImportError::Mismatch { expected, actual: built.blob });
        }
        let outboard = self.outboard.write(built.size, &built.pairs)?;
        Ok(Finished { blob: built.blob, size: built.size, data: self.data, outboard })
    }
}

/// A draft whose name is known and whose files are complete but not synced.
struct Finished {
    blob: BlobId,
    size: BlobSize,
    data: Temp,
    outboard: Option<Written>,
}

/// Seals many drafts with shared syncs; one answer for each, in order.
pub(crate) fn seal_all(store: &Arc<Shared>, drafts: Vec<Draft>) -> Vec<Result<Sealed, ImportError>> {
    let mut finished: Vec<Result<Finished, ImportError>> = drafts.into_iter().map(Draft::finish).collect();
    let _claim = store.claims.take(finished.iter().flatten().map(|draft| draft.blob));

    let mut seen = HashSet::new();
    let mut new: Vec<&mut Finished> = Vec::new();
    let mut is_new = Vec::with_capacity(finished.len());
    for draft in &mut finished {
        let fresh = draft.as_ref().is_ok_and(|d| seen.insert(d.blob) && !is_there_or_makes_way(store, d.blob, d.size));
        is_new.push(fresh);
        if let (true, Ok(draft)) = (fresh, draft) {
            new.push(draft);
        }
    }
    let placed = sync_and_place(store, new);
    let mut placed = placed.into_iter();
    let mut failed: HashSet<BlobId> = HashSet::new();
    let answers = finished.into_iter().zip(is_new).map(|(draft, fresh)| {
        let draft = draft?;
        if fresh && let Some(Err(error)) = placed.next() {
            failed.insert(draft.blob);
            return Err(error.into());
        }
        // A second draft of a blob whose first one failed in this very batch.
        if failed.contains(&draft.blob) {
            return Err(ImportError::Broken);
        }
        Ok(Sealed { blob: draft.blob, size: draft.size, already_there: !fresh })
    });
    answers.collect()
}

/// Whether the store has the blob, whole. An import is what heals a blob that was cut or deleted behind our back, so the
/// catalogue is not believed without a look, and what is wrong makes way. The caller holds the claim.
fn is_there_or_makes_way(store: &Shared, blob: BlobId, size: BlobSize) -> bool {
    let Some(listed) = store.catalog.get(&blob) else { return false };
    let reason = match store.disk.look(&store.layout.blob(&blob)) {
        Ok(metadata) if metadata.len() == size.0 && listed == size => return true,
        Ok(metadata) => Damage::Length { expected: size.0, actual: metadata.len() }.to_string(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            store.forget_claimed(&blob);
            return false;
        }
        // Whatever it is, a new file in its place is better.
        Err(error) => error.to_string(),
    };
    match store.withdraw_claimed(&blob, Whose::Anybodys, &reason) {
        Ok(_) => tracing::error!(%blob, reason, "a damaged blob was moved to quarantine and is imported again"),
        // The import replaces it.
        Err(error) => tracing::error!(%blob, reason, %error, "a damaged blob could not be moved to quarantine"),
    }
    false
}

/// Syncs the data of all, renames all, syncs each shard once, and lists in the catalogue what then survives a crash.
fn sync_and_place(store: &Arc<Shared>, mut new: Vec<&mut Finished>) -> Vec<Result<(), DiskError>> {
    let mut results = sync_data(&mut new);
    let mut shards: BTreeSet<u8> = BTreeSet::new();
    for (draft, result) in new.iter_mut().zip(&mut results) {
        if result.is_ok() {
            shards.insert(draft.blob.as_bytes()[0]);
            *result = place(store, draft);
        }
    }
    let mut unsynced: HashSet<u8> = HashSet::new();
    for byte in shards {
        let shard = store.layout.shard(byte);
        if let Err(error) = store.disk.sync_dir(&shard) {
            unsynced.insert(byte);
            tracing::error!(path = %shard.display(), %error, "a shard could not be synced; its new blobs are withdrawn");
            for (draft, result) in new.iter().zip(&mut results) {
                if draft.blob.as_bytes()[0] == byte && result.is_ok() {
                    *result = Err(DiskError::new("sync", &shard, copy_io(&error)));
                    withdraw(store, &draft.blob);
                }
            }
        }
    }
    for (draft, result) in new.iter().zip(&results) {
        if result.is_ok() {
            store.catalog.insert(draft.blob, draft.size);
        }
    }
    results
}

fn sync_data(new: &mut [&mut Finished]) -> Vec<Result<(), DiskError>> {
    let sync = |draft: &mut &mut Finished| draft.data.seal();
    if new.len() < 2 {
        return new.iter_mut().map(sync).collect();
    }
    let share = new.len().div_ceil(SYNCS_AT_ONCE);
    std::thread::scope(|scope| {
        let workers: Vec<_> = new
            .chunks_mut(share)
            .map(|part| {
                let count = part.len();
                (count, scope.spawn(move || part.iter_mut().map(sync).collect::<Vec<_>>()))
            })
            .collect();
        let answer = |(_, worker): (usize, std::thread::ScopedJoinHandle<'_, Vec<_>>)| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(answer).collect()
    })
}

/// Gives a draft's files their names: the data last, because a data file in a shard is a sealed blob.
fn place(store: &Arc<Shared>, draft: &mut Finished) -> Result<(), DiskError> {
    if let Some(outboard) = draft.outboard.take() {
        outboard.publish(&store.layout.outboard(&draft.blob))?;
    }
    let placed = draft.data.rename(&store.layout.blob(&draft.blob));
    if placed.is_err() {
        withdraw(store, &draft.blob);
    }
    placed
}

/// Removes what a failed import may have left in a shard. What cannot be removed is found at the next start.
fn withdraw(store: &Arc<Shared>, blob: &BlobId) {
    for path in [store.layout.blob(blob), store.layout.outboard(blob)] {
        if let Err(error) = store.disk.remove(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(path = %path.display(), %error, "a half-imported file could not be removed");
        }
    }
}

/// Imports everything that `source` yields.
pub(crate) fn import_reader(store: &Arc<Shared>, source: &mut dyn Read) -> Result<Sealed, ImportError> {
    let mut draft = Draft::new(store, None, None)?;
    copy_into(&mut draft, source)?;
    draft.seal()
}

/// Writes everything that `source` yields into a draft.
pub(crate) fn copy_into(draft: &mut Draft, source: &mut dyn Read) -> Result<(), ImportError> {
    let mut window = vec![0; READ_BYTES];
    loop {
        match source.read(&mut window) {
            Ok(0) => return Ok(()),
            Ok(read) => draft.write(&window[..read])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ImportError::Source(error)),
        }
    }
}
