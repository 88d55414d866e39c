//! Files being assembled, `.penstock/staging/N` for entry N of the target. Owns opening and writing
//! them, and finding out what an interrupted run left there: every chunk is hashed again, because
//! after a power cut the disk may hold anything.

use crate::bits::Bits;
use crate::error::{DiskError, PullError};
use crate::layout;
use crate::listing::Listing;
use crate::plan::RowAction;
use crate::platform::{Found, Root, let_go_of_cache, write_at};
use crate::pool;
use crate::scan::chunk_is_good;
use crate::shelf::Shelf;
use crate::state::{read_if_there, write_synced};
use penstock_core::path::CLIENT_DIR;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Staged files kept open at once.
const OPEN_MAX: usize = 32;

/// What staging already holds of the target.
#[derive(Debug, Default)]
pub(crate) struct Resumed {
    /// Chunks that are there and right.
    pub(crate) done: Bits,
    /// Room that staged files occupy already, by row.
    pub(crate) allocated_bytes: HashMap<usize, u64>,
}

impl Resumed {
    /// Nothing.
    pub(crate) fn nothing(target: &Listing) -> Self {
        Self { done: Bits::new(target.chunk_count()), allocated_bytes: HashMap::new() }
    }
    /// Hashes what is staged. Changes nothing: a dry run looks, too, while another client may be at work.
    pub(crate) fn find(root: &Root, target: &Listing, shelf: &Shelf<'_>, workers: usize) -> Result<Self, PullError> {
        let mut resumed = Self::nothing(target);
        if !belongs_to(root, target)? {
            return Ok(resumed);
        }
        for row in staged_rows(root)?.into_iter().filter(|row| *row < target.len() && target.row(*row).is_file()) {
            if let Some(Found::File { allocated_bytes, names: 1, .. }) = root.stat(&layout::staged(row))? {
                resumed.allocated_bytes.insert(row, allocated_bytes);
            }
        }
        let done = Mutex::new(std::mem::take(&mut resumed.done));
        let check = || {
            let done = &done;
            let mut buffer = Vec::new();
            let mut open: Option<(usize, Option<File>)> = None;
            move |(row, offset, ordinal, id, bytes)| {
                if open.as_ref().is_none_or(|(current, _)| *current != row) {
                    open = Some((row, still_there(root.open_read(&layout::staged(row)))?));
                }
                let file = open.as_ref().and_then(|(_, file)| file.as_ref());
                if file.is_some_and(|file| chunk_is_good(file, offset, &id, bytes, &mut buffer)) {
                    done.lock().unwrap_or_else(PoisonError::into_inner).set(ordinal);
                }
                Ok::<(), PullError>(())
            }
        };
        pool::run(workers, check, |feed| {
            for part in 0..target.part_count() {
                if !target.rows_of_part(part).any(|row| resumed.allocated_bytes.contains_key(&row)) {
                    continue;
                }
                let chunks = target.load(part, shelf)?;
                for visit in target.visit(part, &chunks) {
                    let job = (visit.row, visit.offset, visit.ordinal, visit.chunk.id, visit.chunk.bytes);
                    if resumed.allocated_bytes.contains_key(&visit.row) && feed.push(job).is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })?;
        resumed.done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(resumed)
    }
}

/// A staged file may be put in place between two looks, where no lock is held.
fn still_there(opened: Result<File, DiskError>) -> Result<Option<File>, DiskError> {
    match opened {
        Err(DiskError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Bytes written between two rounds of early writeback.
const WRITEBACK_BYTES: u64 = 64 << 20;

/// Staged files and the rows they are for, the oldest first.
type OpenFiles = Arc<Mutex<VecDeque<(usize, Arc<File>)>>>;

/// The staging area of one target.
pub(crate) struct Staging<'a> {
    root: &'a Root,
    target: &'a Listing,
    open: OpenFiles,
    written_bytes: AtomicU64,
    /// Who is told when it is time for the disk to begin writing.
    writeback: Option<SyncSender<()>>,
}

impl<'a> Staging<'a> {
    /// Opens staging for a target; what belongs to another one, or to another plan, is removed.
    pub(crate) fn begin(root: &'a Root, target: &'a Listing, actions: &[RowAction]) -> Result<Self, PullError> {
        drop_foreign(root, target)?;
        root.make_dir(CLIENT_DIR)?;
        root.make_dir(layout::STAGING)?;
        for row in staged_rows(root)? {
            let path = layout::staged(row);
            let alone = matches!(root.stat(&path)?, Some(Found::File { names: 1, .. }));
            if !(alone && actions.get(row) == Some(&RowAction::Assemble)) {
                root.remove_file(&path)?;
            }
        }
        if !belongs_to(root, target)? {
            write_synced(root, layout::STAGING_TARGET, target.manifest().to_string().as_bytes())?;
        }
        Ok(Self { root, target, open: Arc::default(), written_bytes: AtomicU64::new(0), writeback: None })
    }
    /// Runs `work` while a thread lets the disk write what is staged, every now and then, so that the sync before the
    /// commit finds little left to wait for. What the disk has then leaves the system's cache: a large install would push
    /// everything else that the player runs out of it, and go through fresh memory at half the speed.
    pub(crate) fn with_writeback<T>(mut self, work: impl FnOnce(&Self) -> T) -> T {
        let (sender, receiver) = sync_channel(1);
        self.writeback = Some(sender);
        let (root, open) = (self.root, Arc::clone(&self.open));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while receiver.recv().is_ok() {
                    // What fails here fails again in the sync that counts, and is told there.
                    if let Err(error) = root.sync_all() {
                        tracing::debug!(%error, "early writeback failed");
                        continue;
                    }
                    let files: Vec<Arc<File>> = lock(&open).iter().map(|(_, file)| Arc::clone(file)).collect();
                    files.iter().for_each(|file| let_go_of_cache(file));
                }
            });
            let result = work(&self);
            drop(self);
            result
        })
    }
    /// Writes content whose hash was checked.
    pub(crate) fn write(&self, row: usize, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let file = self.file(row)?;
        write_at(&file, bytes, offset).map_err(|source| DiskError::new("write", self.target.path(row), source))?;
        let before = self.written_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let round = |at: u64| at / WRITEBACK_BYTES;
        if round(before) != round(before + bytes.len() as u64)
            && let Some(writeback) = &self.writeback
        {
            // A full queue means that the disk is busy with an earlier round, which is just as well.
            writeback.try_send(()).ok();
        }
        Ok(())
    }
    /// Makes sure that a file without content is there too.
    pub(crate) fn touch(&self, row: usize) -> Result<(), DiskError> {
        self.file(row).map(|_| ())
    }
    /// Opens a staged file to read.
    pub(crate) fn open_read(&self, row: usize) -> Result<File, DiskError> {
        self.root.open_read(&layout::staged(row))
    }

    fn file(&self, row: usize) -> Result<Arc<File>, DiskError> {
        if let Some((_, file)) = lock(&self.open).iter().find(|(held, _)| *held == row) {
            return Ok(Arc::clone(file));
        }
        // Opened outside the lock, because other workers have files to find; two that open the same one do no harm.
        let entry = self.target.row(row);
        let file = self.root.create(&layout::staged(row), entry.is_executable())?;
        let failed = |source| DiskError::new("write", self.target.path(row), source);
        if file.metadata().map_err(failed)?.len() > entry.bytes {
            file.set_len(entry.bytes).map_err(failed)?;
        }
        let file = Arc::new(file);
        let mut open = lock(&self.open);
        if open.len() >= OPEN_MAX {
            open.pop_front();
        }
        open.push_back((row, Arc::clone(&file)));
        Ok(file)
    }
}

fn lock(open: &OpenFiles) -> std::sync::MutexGuard<'_, VecDeque<(usize, Arc<File>)>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what was staged for another target, before free space is measured: otherwise an update that
/// was given up would take the room that the next one needs, for ever.
pub(crate) fn drop_foreign(root: &Root, target: &Listing) -> Result<(), PullError> {
    if root.stat(layout::STAGING)?.is_some() && !belongs_to(root, target)? {
        clear(root)?;
    }
    Ok(())
}

/// Room that [`drop_foreign`] would make.
pub(crate) fn foreign_bytes(root: &Root, target: &Listing) -> Result<u64, PullError> {
    let mut bytes = 0u64;
    if !belongs_to(root, target)? {
        for row in staged_rows(root)? {
            if let Some(Found::File { allocated_bytes, names: 1, .. }) = root.stat(&layout::staged(row))? {
                bytes = bytes.saturating_add(allocated_bytes);
            }
        }
    }
    Ok(bytes)
}

/// Whether an install was begun here: content is staged, a commit was decided, or there is a state. When that cannot be
/// found out, it may be.
pub(crate) fn is_begun(root: &Root) -> bool {
    let is_there = |path: &str| !matches!(root.stat(path), Ok(None));
    staged_rows(root).map_or(true, |rows| !rows.is_empty()) || is_there(layout::JOURNAL) || is_there(layout::STATE)
}

/// Removes staging altogether.
pub(crate) fn clear(root: &Root) -> Result<(), PullError> {
    for name in root.list(layout::STAGING)? {
        root.remove_file(&format!("{}/{name}", layout::STAGING))?;
    }
    root.remove_dir(layout::STAGING)?;
    Ok(())
}

fn belongs_to(root: &Root, target: &Listing) -> Result<bool, PullError> {
    let found = read_if_there(root, layout::STAGING_TARGET, 65)?;
    Ok(found.as_deref() == Some(target.manifest().to_string().as_bytes()))
}

fn staged_rows(root: &Root) -> Result<Vec<usize>, PullError> {
    Ok(root.list(layout::STAGING)?.iter().filter_map(|name| name.parse().ok()).collect())
}
