//! The narrow seam between the store and the disk.
//!
//! Owns every call that changes the directory. Two implementations: [`RealDisk`], and [`image::ImageDisk`] which runs
//! on a real directory too, can fail or die at any step, and lays out what a crash would have left.

pub mod image;

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::panic::resume_unwind;
use std::path::Path;
use std::thread::JoinHandle;

/// What one entry of a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: OsString,
    /// Its length in bytes when it is a regular file, `None` when it is anything else.
    pub file_bytes: Option<u64>,
}

/// Every change the store makes to the disk, and how it finds files.
///
/// Callers may assume: an operation that returned an error may have happened or not; what `sync` of a file and
/// `sync_dir` of the directory that names it have confirmed survives a crash, and nothing else does. After a failed
/// `sync` the content of the file is unknown: the file is given up, never synced again.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Creates a file that must not exist yet, for appending.
    ///
    /// # Errors
    /// Also when the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;
    /// Opens a file for reading.
    ///
    /// # Errors
    /// Those of `open(2)`.
    fn open(&self, path: &Path) -> io::Result<File>;
    /// What the system says about the file that has a name now.
    ///
    /// # Errors
    /// Those of `stat(2)`.
    fn look(&self, path: &Path) -> io::Result<Metadata>;
    /// Renames a file within the volume, replacing what has the new name.
    ///
    /// # Errors
    /// Those of `rename(2)`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Unlinks a file.
    ///
    /// # Errors
    /// Those of `unlink(2)`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory unless it is there; says whether it was made.
    ///
    /// # Errors
    /// Those of `mkdir(2)`.
    fn create_dir(&self, path: &Path) -> io::Result<bool>;
    /// Makes the names in a directory survive a crash.
    ///
    /// # Errors
    /// Those of `fsync(2)`.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// All entries of a directory, in no order.
    ///
    /// # Errors
    /// Those of `readdir(3)` and `stat(2)`.
    fn list(&self, path: &Path) -> io::Result<Vec<Listed>>;
    /// Bytes that an ordinary process may still write to the volume.
    ///
    /// # Errors
    /// Those of `statvfs(3)`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// A file that is being written.
pub trait NewFile: Debug + Send {
    /// Writes all of `bytes` at the end.
    ///
    /// # Errors
    /// Those of `write(2)`; some of the bytes may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Fills `into` from what was written at `offset`.
    ///
    /// # Errors
    /// Those of `pread(2)`.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Takes away the permission to write (mode 0444).
    ///
    /// # Errors
    /// Those of `fchmod(2)`.
    fn make_read_only(&mut self) -> io::Result<()>;
    /// Makes the bytes and the mode survive a crash.
    ///
    /// # Errors
    /// Those of `fsync(2)`.
    fn sync(&mut self) -> io::Result<()>;
}

/// The machine's disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(path)?;
        Ok(Box::new(RealFile::new(file)))
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }
    fn look(&self, path: &Path) -> io::Result<Metadata> {
        std::fs::metadata(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        match std::fs::create_dir(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
            Err(error) => Err(error),
        }
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Unlinked between the two calls.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let file_bytes = metadata.is_file().then_some(metadata.len());
            listed.push(Listed { name: entry.file_name(), file_bytes });
        }
        Ok(listed)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let volume = rustix::fs::statvfs(path)?;
        Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
    }
}

/// A sync in the background begins whenever this much was written since the last one began: the disk writes while the
/// rest is still being hashed, and the sync at the end finds little left. Smaller files never see a thread.
const WRITE_BEHIND_BYTES: usize = 64 << 20;

#[derive(Debug)]
struct RealFile {
    file: File,
    /// Bytes written since the last background sync began.
    fresh_bytes: usize,
    /// At most one for each file. Its error must not be lost: the system reports it once for both descriptors.
    behind: Option<JoinHandle<io::Result<()>>>,
}

impl RealFile {
    const fn new(file: File) -> Self {
        Self { file, fresh_bytes: 0, behind: None }
    }

    fn write_behind(&mut self) -> io::Result<()> {
        if self.behind.as_ref().is_some_and(|behind| !behind.is_finished()) {
            return Ok(());
        }
        self.join()?;
        let file = self.file.try_clone()?;
        // Without a thread the sync at the end does it all.
        self.behind = std::thread::Builder::new().name("write-behind".into()).spawn(move || file.sync_data()).ok();
        self.fresh_bytes = 0;
        Ok(())
    }

    fn join(&mut self) -> io::Result<()> {
        self.behind.take().map_or(Ok(()), |behind| behind.join().unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

impl NewFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.fresh_bytes += bytes.len();
        if self.fresh_bytes < WRITE_BEHIND_BYTES { Ok(()) } else { self.write_behind() }
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
    fn make_read_only(&mut self) -> io::Result<()> {
        self.file.set_permissions(std::fs::Permissions::from_mode(0o444))
    }
    fn sync(&mut self) -> io::Result<()> {
        self.join()?;
        self.file.sync_all()
    }
}
