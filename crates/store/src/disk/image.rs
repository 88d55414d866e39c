//! A disk for tests: it works on a real directory, fails or dies at any chosen step, and lays out what a crash leaves.
//!
//! It keeps a second picture of the directory: which bytes were synced, and which names their directory has synced.
//! [`ImageDisk::leave`] writes that picture, or one of its kinder variants, into another directory, where a store can
//! be opened on it. Holds every synced byte in memory: for small test data only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, Listed, NewFile, RealDisk};

/// When an [`ImageDisk`] fails. Only operations that change something are counted, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plan {
    /// Never.
    #[default]
    Work,
    /// This one operation fails; a write that fails has written half of its bytes.
    FailAt(u64, io::ErrorKind),
    /// This operation and all later ones fail: the disk is full, or the machine is dead.
    FailFrom(u64, io::ErrorKind),
}

/// What a crash takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: the process was killed, the machine runs on.
    Nothing,
    /// Bytes that were not synced; files keep their names and become empty. File systems that order names before data.
    Bytes,
    /// The second half of the bytes that were not synced; names stay.
    HalfTheBytes,
    /// Names and bytes that were not synced.
    NamesAndBytes,
}

/// See the module's docs.
#[derive(Debug, Clone)]
pub struct ImageDisk {
    root: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    plan: Plan,
    operations: u64,
    free_bytes: Option<u64>,
    /// Bytes that survive a crash, by file number.
    synced: Vec<Vec<u8>>,
    /// File numbers by path: as the process sees them, and as a crash leaves them.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    dirs: BTreeSet<PathBuf>,
    durable_dirs: BTreeSet<PathBuf>,
}

impl ImageDisk {
    /// A disk over `root`, an existing and empty directory. Every path that is used must lie under it.
    #[must_use]
    pub fn new(root: &Path, plan: Plan) -> Self {
        let state = State { plan, ..State::default() };
        Self { root: root.to_owned(), state: Arc::new(Mutex::new(state)) }
    }

    /// Operations that were asked for so far, failed ones included.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Fails like this from now on; operations are still counted from the beginning.
    pub fn set_plan(&self, plan: Plan) {
        self.lock().plan = plan;
    }

    /// Says from now on that this much is free, whatever the real disk has. Writes do not count against it.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.lock().free_bytes = Some(bytes);
    }

    /// Writes what a crash at this moment leaves into `into`, an existing and empty directory.
    ///
    /// # Errors
    /// When the real disk refuses.
    pub fn leave(&self, loss: Loss, into: &Path) -> io::Result<()> {
        let state = self.lock();
        let (dirs, names) = match loss {
            Loss::NamesAndBytes => (&state.durable_dirs, &state.durable_names),
            Loss::Nothing | Loss::Bytes | Loss::HalfTheBytes => (&state.dirs, &state.names),
        };
        let moved = |path: &Path| path.strip_prefix(&self.root).map(|path| into.join(path)).map_err(io::Error::other);
        for dir in dirs {
            std::fs::create_dir(moved(dir)?)?;
        }
        for (path, number) in names {
            if !path.parent().is_some_and(|dir| dir == self.root || dirs.contains(dir)) {
                continue;
            }
            let synced = &state.synced[*number];
            let bytes = match loss {
                Loss::NamesAndBytes | Loss::Bytes => synced.clone(),
                Loss::Nothing => std::fs::read(path)?,
                Loss::HalfTheBytes => {
                    let mut bytes = std::fs::read(path)?;
                    bytes.truncate(synced.len() + bytes.len().saturating_sub(synced.len()) / 2);
                    bytes
                }
            };
            std::fs::write(moved(path)?, bytes)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an operation and says whether it may happen.
    fn allow(&mut self) -> io::Result<()> {
        let now = self.operations;
        self.operations += 1;
        match self.plan {
            Plan::FailAt(at, kind) if at == now => Err(kind.into()),
            Plan::FailFrom(from, kind) if from <= now => Err(kind.into()),
            Plan::Work | Plan::FailAt(..) | Plan::FailFrom(..) => Ok(()),
        }
    }
}

impl Disk for ImageDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let mut state = self.lock();
        state.allow()?;
        let real = RealDisk.create(path)?;
        let number = state.synced.len();
        state.synced.push(Vec::new());
        state.names.insert(path.to_owned(), number);
        Ok(Box::new(ImageFile { disk: self.clone(), number, real, written: 0 }))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        RealDisk.open(path)
    }

    fn look(&self, path: &Path) -> io::Result<Metadata> {
        RealDisk.look(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.allow()?;
        RealDisk.rename(from, to)?;
        if let Some(number) = state.names.remove(from) {
            state.names.insert(to.to_owned(), number);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.allow()?;
        RealDisk.remove(path)?;
        state.names.remove(path);
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.lock();
        state.allow()?;
        let made = RealDisk.create_dir(path)?;
        state.dirs.insert(path.to_owned());
        Ok(made)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.allow()?;
        let inside = |entry: &Path| entry.parent() == Some(path);
        let state = &mut *state;
        state.durable_names.retain(|name, _| !inside(name));
        let now = state.names.iter().filter(|(name, _)| inside(name));
        state.durable_names.extend(now.map(|(name, number)| (name.clone(), *number)));
        state.durable_dirs.extend(state.dirs.iter().filter(|dir| inside(dir)).cloned());
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        RealDisk.list(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let told = self.lock().free_bytes;
        told.map_or_else(|| RealDisk.free_bytes(path), Ok)
    }
}

#[derive(Debug)]
struct ImageFile {
    disk: ImageDisk,
    number: usize,
    real: Box<dyn NewFile>,
    written: usize,
}

impl NewFile for ImageFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let allowed = self.disk.lock().allow();
        let part = if allowed.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        self.real.append(part)?;
        self.written += part.len();
        allowed
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.real.read_at(offset, into)
    }

    fn make_read_only(&mut self) -> io::Result<()> {
        self.disk.lock().allow()?;
        self.real.make_read_only()
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.allow()?;
        let mut bytes = vec![0; self.written];
        self.real.read_at(0, &mut bytes)?;
        state.synced[self.number] = bytes;
        Ok(())
    }
}
