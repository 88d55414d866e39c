//! The store: one directory, opened by one process, used from any thread.
//!
//! Ties the other modules together; decides nothing itself.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};

use penstock_core::blob::{BlobId, BlobSize};
use rustix::fs::FlockOperation;
use rustix::process::Resource;

use crate::cache::OpenViews;
use crate::catalog::{Catalog, Totals};
use crate::claims::Claims;
use crate::disk::{Disk, RealDisk};
use crate::error::{DiskError, ImportError, OpenError, ViewError};
use crate::flights::Flights;
use crate::import::{self, Draft, Sealed};
use crate::layout::Layout;
use crate::options::{Reading, StoreOptions};
use crate::outboard::OpenOutboard;
use crate::scrub::{self, ScrubControl, ScrubOptions, ScrubProgress, ScrubReport};
use crate::sigbus;
use crate::view::BlobView;

/// The blobs of one directory. Cheap to clone. Every method blocks unless it says otherwise.
#[derive(Debug, Clone)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) layout: Layout,
    pub(crate) options: StoreOptions,
    pub(crate) catalog: Catalog,
    pub(crate) claims: Claims,
    pub(crate) views: OpenViews,
    pub(crate) openings: Flights<BlobView>,
    pub(crate) outboards: Flights<OpenOutboard>,
    pub(crate) rebuilds: Flights<()>,
    pub(crate) digests: Flights<[u8; 32]>,
    /// Counts blobs that were taken out of service for damage, so that a view that was opened meanwhile is not kept.
    pub(crate) withdrawals: AtomicU64,
    /// The log says once that blobs belong to another user.
    pub(crate) foreign_owner: Once,
    /// For names that were never used in this directory, not even before a crash.
    numbers: AtomicU64,
    /// Held as long as the store is open.
    _lock: File,
}

impl Store {
    /// Opens the store in `dir`, making what is missing: rebuilds the catalogue, removes leftovers of a crash.
    ///
    /// # Errors
    /// [`OpenError::InUse`] when another store has the directory; what the disk says.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(RealDisk), dir, options)
    }

    /// As [`Self::open`], on a disk of the caller's choice.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(disk: Arc<dyn Disk>, dir: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        std::fs::create_dir_all(dir).map_err(|error| DiskError::new("create", dir, error))?;
        let layout = Layout::new(dir);
        let lock = lock(&layout)?;
        if options.reading == Reading::Map {
            sigbus::install().map_err(OpenError::Guard)?;
        }
        let catalog = Catalog::rebuild(disk.as_ref(), &layout)?;
        let numbers = AtomicU64::new(first_number(disk.as_ref(), &layout)?);
        let views = OpenViews::new(options.open_views(rustix::process::getrlimit(Resource::Nofile).current));
        if views.max() < options.open_views_max {
            let (asked, effective) = (options.open_views_max, views.max());
            tracing::warn!(asked, effective, "fewer blobs are kept open than asked for, see the descriptor limit");
        }
        Ok(Self(Arc::new(Shared {
            disk,
            layout,
            options,
            catalog,
            claims: Claims::default(),
            views,
            openings: Flights::default(),
            outboards: Flights::default(),
            rebuilds: Flights::default(),
            digests: Flights::default(),
            withdrawals: AtomicU64::new(0),
            foreign_owner: Once::new(),
            numbers,
            _lock: lock,
        })))
    }

    /// The size of a blob, if it is here. Never blocks on the disk.
    #[must_use]
    pub fn size_of(&self, blob: &BlobId) -> Option<BlobSize> {
        self.0.catalog.get(blob)
    }

    /// All blobs, in the order of their names. Never blocks on the disk.
    #[must_use]
    pub fn list(&self) -> Vec<(BlobId, BlobSize)> {
        self.0.catalog.list()
    }

    /// How many blobs there are, and their bytes. Costs the same whatever the store holds; never blocks on the disk.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.0.catalog.totals()
    }

    /// Bytes that may still be written to the store's volume.
    ///
    /// # Errors
    /// What the disk says.
    pub fn free_bytes(&self) -> Result<u64, DiskError> {
        let root = self.0.layout.root();
        self.0.disk.free_bytes(root).map_err(|error| DiskError::new("look at", root, error))
    }

    /// Begins an import. `expected` is the name that the content must turn out to have, `size_hint` its length in bytes
    /// where it is known: an import that cannot fit is refused at once.
    ///
    /// # Errors
    /// [`ImportError::TooLarge`], or what the disk says.
    pub fn draft(&self, expected: Option<BlobId>, size_hint: Option<u64>) -> Result<Draft, ImportError> {
        Draft::new(&self.0, expected, size_hint)
    }

    /// Seals many drafts of this store at once, sharing the syncs: one answer for each, in order. A failed one does not
    /// keep the others from being sealed.
    pub fn seal_all(&self, drafts: Vec<Draft>) -> Vec<Result<Sealed, ImportError>> {
        import::seal_all(&self.0, drafts)
    }

    /// Imports a copy of a file.
    ///
    /// # Errors
    /// [`ImportError::Source`] when it cannot be read; what the disk says.
    pub fn import_file(&self, path: &Path) -> Result<Sealed, ImportError> {
        let mut file = File::open(path).map_err(ImportError::Source)?;
        let size = file.metadata().map_err(ImportError::Source)?.len();
        let mut draft = Draft::new(&self.0, None, Some(size))?;
        import::copy_into(&mut draft, &mut file)?;
        draft.seal()
    }

    /// Imports everything that `source` yields.
    ///
    /// # Errors
    /// [`ImportError::Source`] when it cannot be read; what the disk says.
    pub fn import_reader(&self, source: &mut dyn Read) -> Result<Sealed, ImportError> {
        import::import_reader(&self.0, source)
    }

    /// Most blobs that are kept open between requests: what [`StoreOptions::open_views_max`] came to under the process's
    /// limits when the store was opened. Each costs a descriptor; mapped ones a map, and two once their outboard is read.
    #[must_use]
    pub fn open_views_max(&self) -> usize {
        self.0.views.max()
    }

    /// Opens a blob, or finds it open. A first use opens, checks the length against the outboard, and maps. When the
    /// outboard is missing the whole blob is hashed; whoever asks meanwhile waits and gets the same answer.
    ///
    /// # Errors
    /// [`ViewError::Unknown`]; [`ViewError::Deleted`] and [`ViewError::Damaged`] once to each who asked by then, after
    /// which the blob is unknown; what the disk says.
    pub fn view(&self, blob: &BlobId) -> Result<BlobView, ViewError> {
        match self.0.kept_view(blob)? {
            Some(view) => Ok(view),
            None => self.0.openings.join(blob, || self.0.open_view(blob)),
        }
    }

    /// The blob's view if it is open and sound. Never blocks; `None` means: ask [`Self::view`] on a pool.
    #[must_use]
    pub fn cached_view(&self, blob: &BlobId) -> Option<BlobView> {
        self.0.views.get(blob).filter(|view| !view.is_poisoned())
    }

    /// The blob's SHA-256, computed once. See [`BlobView::sha256`].
    ///
    /// # Errors
    /// As [`Self::view`].
    pub fn sha256(&self, blob: &BlobId) -> Result<[u8; 32], ViewError> {
        self.view(blob)?.sha256()
    }

    /// Removes a blob; views that are open keep reading it. `false` when it was not here.
    ///
    /// # Errors
    /// What the disk says; the blob is then still here.
    pub fn remove(&self, blob: &BlobId) -> Result<bool, DiskError> {
        let shared = &self.0;
        let _claim = shared.claims.take([*blob]);
        if shared.catalog.get(blob).is_none() {
            return Ok(false);
        }
        let path = shared.layout.blob(blob);
        match shared.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DiskError::new("remove", &path, error));
            }
            _ => {}
        }
        shared.catalog.remove(blob);
        shared.views.remove(blob);
        shared.remove_beside(blob)?;
        let shard = shared.layout.shard_of(blob);
        shared.disk.sync_dir(&shard).map_err(|error| DiskError::new("sync", &shard, error))?;
        Ok(true)
    }

    /// Takes a blob out of service and moves its file to `quarantine/`, with `reason` beside it. `false` when it was
    /// not here.
    ///
    /// # Errors
    /// What the disk says; the blob is out of service all the same.
    pub fn quarantine(&self, blob: &BlobId, reason: &str) -> Result<bool, DiskError> {
        self.0.quarantine(blob, reason)
    }

    /// Reads every blob and outboard and compares them with their names; moves what is damaged to quarantine.
    ///
    /// It goes on where the last one stopped, in this process or an earlier one, and ends there after one round.
    ///
    /// `step` is called after every portion with what was done and how long to rest to keep the rate; it does the
    /// resting, and says whether to go on.
    pub fn scrub(&self, options: &ScrubOptions, step: &mut dyn FnMut(&ScrubProgress) -> ScrubControl) -> ScrubReport {
        scrub::run(&self.0, options, step)
    }
}

#[cfg(test)]
impl Store {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Shared {
    /// The view that is open, if it is sound. What is wrong with one that is not is dealt with.
    fn kept_view(&self, blob: &BlobId) -> Result<Option<BlobView>, ViewError> {
        let Some(view) = self.views.get(blob) else { return Ok(None) };
        let Err(error) = view.check() else { return Ok(Some(view)) };
        self.views.remove_if(blob, |kept| kept.is_same(&view));
        // When the blob is still listed it was its outboard, or it has another file by now: it can be opened anew.
        if self.catalog.get(blob).is_some() { Ok(None) } else { Err(error) }
    }

    /// Opens a blob and keeps the view.
    fn open_view(self: &Arc<Self>, blob: &BlobId) -> Result<BlobView, ViewError> {
        loop {
            if let Some(view) = self.kept_view(blob)? {
                return Ok(view);
            }
            let withdrawals = self.withdrawals.load(Ordering::Acquire);
            let size = self.catalog.get(blob).ok_or(ViewError::Unknown(*blob))?;
            let view = self.views.insert(BlobView::open(self, *blob, size)?);
            // Removed while it was being opened: the cache must not keep it.
            if self.catalog.get(blob).is_none() {
                self.views.remove(blob);
                return Err(ViewError::Unknown(*blob));
            }
            // Perhaps it was this blob, and what was opened is the damaged file: then another one has the name.
            if self.withdrawals.load(Ordering::Acquire) == withdrawals {
                return Ok(view);
            }
            self.views.remove_if(blob, |kept| kept.is_same(&view));
        }
    }

    /// Says once what it costs that blobs were written by somebody else, `sudo penstock publish` for one.
    pub(crate) fn warn_of_foreign_owner(&self, path: &Path) {
        self.foreign_owner.call_once(|| {
            tracing::warn!(
                path = %path.display(),
                "blobs belong to another user, so the kernel does not say which pages are cached: serving them takes \
                 more system calls; give them to this process's user",
            );
        });
    }

    /// A new name in `tmp/`.
    pub(crate) fn temp_path(&self) -> PathBuf {
        self.layout.tmp().join(self.next_number().to_string())
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

fn lock(layout: &Layout) -> Result<File, OpenError> {
    let path = layout.lock();
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| DiskError::new("open", &path, error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse(layout.root().to_owned())),
        Err(error) => Err(DiskError::new("lock", &path, error.into()).into()),
    }
}

/// `tmp/` is empty after a start, so only the names in quarantine are taken.
fn first_number(disk: &dyn Disk, layout: &Layout) -> Result<u64, DiskError> {
    let dir = layout.quarantine();
    let listed = disk.list(&dir).map_err(|error| DiskError::new("list", &dir, error))?;
    let numbers = listed.iter().filter_map(|entry| {
        let name = entry.name.to_str()?;
        name.strip_suffix(".reason").unwrap_or(name).rsplit_once('.')?.1.parse::<u64>().ok()
    });
    Ok(numbers.max().map_or(0, |last| last + 1))
}
