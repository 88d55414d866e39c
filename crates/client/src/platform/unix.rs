//! Unix: everything through directory descriptors, `O_NOFOLLOW` at every step.

use super::{Deed, Found, Links, Volume, split};
use crate::error::DiskError;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// An opened install directory.
#[derive(Debug)]
pub(crate) struct Root {
    root: Arc<OwnedFd>,
    /// Directories used last, the latest first: neighbours follow each other, staging and target take turns.
    recent: Mutex<Vec<(String, Arc<OwnedFd>)>>,
}

/// Held while a client works on an install; the system lets go of it when the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Closing would do, if no process were being forked just now with a copy of the descriptor.
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::flock(&self.file, FlockOperation::Unlock) {
            tracing::debug!(%error, "the lock ends with the process");
        }
    }
}

/// Directories kept open.
const RECENT_MAX: usize = 8;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Root {
    /// Opens a directory.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(dir, flags, Mode::empty())?;
        Ok(Self { root: Arc::new(root), recent: Mutex::default() })
    }
    /// Takes the lock; `None` when another process has it.
    pub(crate) fn lock(&self, path: &str) -> Result<Option<Lock>, DiskError> {
        let file = self.create(path, false)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(DiskError::new("lock", path, error.into())),
        }
    }
    /// The volume that the install lies on.
    pub(crate) fn volume(&self) -> Result<Volume, DiskError> {
        let found =
            rustix::fs::fstatvfs(&*self.root).map_err(|e| DiskError::new("measure the volume of", ".", e.into()))?;
        let block_bytes = found.f_frsize.max(1);
        Ok(Volume {
            free_bytes: found.f_bavail.saturating_mul(block_bytes),
            block_bytes,
            // File systems that make inodes as they need them, such as btrfs, say that there are none at all.
            free_files: (found.f_files > 0).then_some(found.f_favail),
            links: self.links(),
        })
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn links(&self) -> Links {
        // MSDOS_SUPER_MAGIC and EXFAT_SUPER_MAGIC of linux/magic.h.
        let is_fat = rustix::fs::fstatfs(&*self.root).is_ok_and(|found| matches!(found.f_type, 0x4d44 | 0x2011_bab0));
        if is_fat { Links::None } else { Links::Expected }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn links(&self) -> Links {
        Links::Expected
    }
    /// Whether a deed at a path will be allowed, found out without doing anything: the directory (or the
    /// nearest one above it that is there) must be writable and on the volume of the install.
    pub(crate) fn check(&self, path: &str, deed: Deed) -> Result<(), DiskError> {
        let mut dir = split(path).0;
        let fd = loop {
            match self.directory(dir)? {
                Some(fd) => break fd,
                None => dir = split(dir).0,
            }
        };
        let failed = |e: rustix::io::Errno| DiskError::new("look at", dir, e.into());
        let device = rustix::fs::fstat(&*self.root).map_err(failed)?.st_dev;
        if rustix::fs::fstat(&*fd).map_err(failed)?.st_dev != device {
            return Err(DiskError::OtherVolume { path: dir.to_owned() });
        }
        if deed == Deed::Mode {
            let stat = rustix::fs::statat(&*fd, split(path).1, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            let user = rustix::process::geteuid().as_raw();
            let refused = user != 0 && stat.st_uid != user;
            let error = || DiskError::new("change the mode of", path, io::ErrorKind::PermissionDenied.into());
            return if refused { Err(error()) } else { Ok(()) };
        }
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        let shown = if dir.is_empty() { "." } else { dir };
        rustix::fs::accessat(&*fd, ".", access, AtFlags::EACCESS)
            .map_err(|e| DiskError::new("change files in", shown, e.into()))
    }
    /// Whether two paths are two spellings of one name, as on a case-insensitive disk. Two names of one
    /// file (hard links) are not.
    pub(crate) fn is_same(&self, a: &str, b: &str) -> Result<bool, DiskError> {
        let stat = |path: &str| {
            let Some(parent) = self.parent_if_there(path)? else { return Ok(None) };
            match rustix::fs::statat(&*parent, split(path).1, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Ok(Some(stat)),
                Err(rustix::io::Errno::NOENT) => Ok(None),
                Err(error) => Err(DiskError::new("look at", path, error.into())),
            }
        };
        let (Some(a), Some(b)) = (stat(a)?, stat(b)?) else { return Ok(false) };
        Ok(a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_nlink == 1)
    }
    /// Copies a file by sharing its blocks; `false` when the disk cannot.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn reflink(&self, from: &str, to: &str, executable: bool) -> Result<bool, DiskError> {
        let (source, copy) = (self.open_read(from)?, self.create(to, executable)?);
        if rustix::fs::ioctl_ficlone(&copy, &source).is_ok() {
            return Ok(true);
        }
        drop(copy);
        self.remove_file(to)?;
        Ok(false)
    }
    /// Copies a file by sharing its blocks: not known how on this system.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn reflink(&self, _from: &str, _to: &str, _executable: bool) -> Result<bool, DiskError> {
        Ok(false)
    }
    /// Brings one staged file to the platter where [`Root::sync_all`] does not: nothing to do here.
    pub(crate) fn flush(&self, _path: &str) -> Result<(), DiskError> {
        Ok(())
    }
    /// What stands at a path; `None` when nothing does.
    pub(crate) fn stat(&self, path: &str) -> Result<Option<Found>, DiskError> {
        let failed = |e: rustix::io::Errno| DiskError::new("look at", path, e.into());
        let Some(parent) = self.parent_if_there(path)? else { return Ok(None) };
        let name = split(path).1;
        let stat = match rustix::fs::statat(&*parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        Ok(Some(match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::RegularFile => Found::File {
                bytes: u64::try_from(stat.st_size).unwrap_or(0),
                allocated_bytes: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
                #[expect(clippy::useless_conversion, reason = "the type differs between systems")]
                names: u64::from(stat.st_nlink),
                executable: Some(stat.st_mode & 0o100 != 0),
            },
            rustix::fs::FileType::Directory => Found::Directory,
            rustix::fs::FileType::Symlink => {
                let target = rustix::fs::readlinkat(&*parent, name, Vec::new()).map_err(failed)?;
                Found::Link(String::from_utf8_lossy(target.as_bytes()).into_owned())
            }
            _ => Found::Other,
        }))
    }
    /// Opens a regular file to read.
    pub(crate) fn open_read(&self, path: &str) -> Result<File, DiskError> {
        // Without O_NONBLOCK, opening a FIFO that somebody put there would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        self.open_at(path, flags, Mode::empty(), "read")
    }
    /// Opens or creates a regular file to read and write; existing bytes stay.
    pub(crate) fn create(&self, path: &str, executable: bool) -> Result<File, DiskError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = if executable { Mode::from_raw_mode(0o777) } else { Mode::from_raw_mode(0o666) };
        self.open_at(path, flags, mode, "create")
    }
    /// Makes a directory; one that is there already is fine.
    pub(crate) fn make_dir(&self, path: &str) -> Result<(), DiskError> {
        let parent = self.parent(path, "create")?;
        match rustix::fs::mkdirat(&*parent, split(path).1, Mode::from_raw_mode(0o777)) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::EXIST) if self.stat(path)? == Some(Found::Directory) => Ok(()),
            Err(rustix::io::Errno::EXIST) if matches!(self.stat(path)?, Some(Found::Link(_))) => {
                Err(DiskError::Symlink { path: path.to_owned() })
            }
            Err(error) => Err(DiskError::new("create directory", path, error.into())),
        }
    }
    /// Renames a file or link, replacing what is at `to`.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let (old, new) = (self.parent(from, "rename")?, self.parent(to, "rename")?);
        rustix::fs::renameat(&*old, split(from).1, &*new, split(to).1)
            .map_err(|e| DiskError::new("put in place", to, e.into()))
    }
    /// Gives a file a second name; `false` when `to` is taken or the disk cannot.
    pub(crate) fn hard_link(&self, from: &str, to: &str) -> Result<bool, DiskError> {
        let (old, new) = (self.parent(from, "link")?, self.parent(to, "link")?);
        Ok(rustix::fs::linkat(&*old, split(from).1, &*new, split(to).1, AtFlags::empty()).is_ok())
    }
    /// Makes a symbolic link.
    pub(crate) fn symlink(&self, target: &str, path: &str) -> Result<(), DiskError> {
        let parent = self.parent(path, "link")?;
        rustix::fs::symlinkat(target, &*parent, split(path).1).map_err(|e| DiskError::new("link", path, e.into()))
    }
    /// Removes a file or link, never a directory; one that is gone is fine.
    pub(crate) fn remove_file(&self, path: &str) -> Result<(), DiskError> {
        let Some(parent) = self.parent_if_there(path)? else { return Ok(()) };
        match rustix::fs::unlinkat(&*parent, split(path).1, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::ISDIR) => Ok(()),
            Err(error) => Err(DiskError::new("remove", path, error.into())),
        }
    }
    /// Removes a directory if it is empty; `false` when it is not.
    pub(crate) fn remove_dir(&self, path: &str) -> Result<bool, DiskError> {
        self.recent().clear();
        let Some(parent) = self.parent_if_there(path)? else { return Ok(true) };
        match rustix::fs::unlinkat(&*parent, split(path).1, AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(true),
            Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST | rustix::io::Errno::NOTDIR) => Ok(false),
            Err(error) => Err(DiskError::new("remove directory", path, error.into())),
        }
    }
    /// Sets or clears the right to run a file, for those who may read it.
    pub(crate) fn set_executable(&self, path: &str, executable: bool) -> Result<(), DiskError> {
        let failed = |e: rustix::io::Errno| DiskError::new("change the mode of", path, e.into());
        let file = self.open_read(path)?;
        let mode = rustix::fs::fstat(&file).map_err(failed)?.st_mode & 0o7777;
        let mode = if executable { mode | (mode & 0o444) >> 2 } else { mode & !0o111 };
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(failed)
    }
    /// Names in a directory.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        let failed = |e: rustix::io::Errno| DiskError::new("list", path, e.into());
        let Some(dir) = self.directory(path)? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&*dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }
    /// Brings everything written so far on the install's volume to the platter: one wait, not one a file.
    pub(crate) fn sync_all(&self) -> Result<(), DiskError> {
        let failed = |e: rustix::io::Errno| DiskError::new("sync", ".", e.into());
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return rustix::fs::syncfs(&*self.root).map_err(failed);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            // sync(2) waits for completion on the BSDs and macOS's APFS.
            rustix::fs::sync();
            rustix::fs::fsync(&*self.root).map_err(failed)
        }
    }
    /// Brings a directory's entries to the platter.
    pub(crate) fn sync_dir(&self, path: &str) -> Result<(), DiskError> {
        let Some(dir) = self.directory(path)? else { return Ok(()) };
        rustix::fs::fsync(&*dir).map_err(|e| DiskError::new("sync directory", path, e.into()))
    }

    fn open_at(&self, path: &str, flags: OFlags, mode: Mode, what: &'static str) -> Result<File, DiskError> {
        let parent = self.parent(path, what)?;
        match rustix::fs::openat(&*parent, split(path).1, flags, mode) {
            Ok(fd) => Ok(File::from(fd)),
            Err(rustix::io::Errno::LOOP) => Err(DiskError::Symlink { path: path.to_owned() }),
            Err(error) => Err(DiskError::new(what, path, error.into())),
        }
    }
    fn parent(&self, path: &str, what: &'static str) -> Result<Arc<OwnedFd>, DiskError> {
        self.parent_if_there(path)?.ok_or_else(|| DiskError::new(what, path, io::Error::from(io::ErrorKind::NotFound)))
    }
    fn parent_if_there(&self, path: &str) -> Result<Option<Arc<OwnedFd>>, DiskError> {
        self.directory(split(path).0)
    }
    /// Walks to a directory; `None` when a part of the way is missing or is a file.
    fn directory(&self, path: &str) -> Result<Option<Arc<OwnedFd>>, DiskError> {
        if path.is_empty() || path == "." {
            return Ok(Some(Arc::clone(&self.root)));
        }
        {
            let mut recent = self.recent();
            if let Some(at) = recent.iter().position(|(name, _)| name == path) {
                recent[..=at].rotate_right(1);
                return Ok(Some(Arc::clone(&recent[0].1)));
            }
        }
        let mut fd = Arc::clone(&self.root);
        for part in path.split('/') {
            fd = match rustix::fs::openat(fd.as_fd(), part, DIRECTORY, Mode::empty()) {
                Ok(next) => Arc::new(next),
                Err(rustix::io::Errno::NOENT) => return Ok(None),
                // A link answers ENOTDIR or ELOOP, depending on the system; a file ENOTDIR.
                Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                    let is_link = rustix::fs::statat(fd.as_fd(), part, AtFlags::SYMLINK_NOFOLLOW)
                        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink());
                    return if is_link { Err(DiskError::Symlink { path: path.to_owned() }) } else { Ok(None) };
                }
                Err(error) => return Err(DiskError::new("open directory", path, error.into())),
            };
        }
        let mut recent = self.recent();
        recent.truncate(RECENT_MAX - 1);
        recent.insert(0, (path.to_owned(), Arc::clone(&fd)));
        Ok(Some(fd))
    }
    fn recent(&self) -> std::sync::MutexGuard<'_, Vec<(String, Arc<OwnedFd>)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Fills `bytes` from `offset`.
pub(crate) fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Tells the system that a file's pages need not stay in memory. Pages that the disk does not have yet stay.
pub(crate) fn let_go_of_cache(file: &File) {
    // Advice: nothing is lost where it is not taken.
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if let Err(error) = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed) {
        tracing::debug!(%error, "the cache keeps what it has");
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let _ = file;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_of_one_file_are_not_two_spellings_of_one_name() {
        let temp = tempfile::tempdir().expect("temp");
        let root = Root::open(temp.path()).expect("open");
        drop(root.create("a", false).expect("create"));
        assert!(root.is_same("a", "a").expect("stat"));
        assert!(!root.is_same("a", "A").expect("stat"), "this test needs a case-sensitive disk");
        assert!(root.hard_link("a", "b").expect("link"));
        assert!(!root.is_same("a", "b").expect("stat"));
    }

    #[test]
    fn directories_are_remembered_until_one_is_removed() {
        let temp = tempfile::tempdir().expect("temp");
        let root = Root::open(temp.path()).expect("open");
        for dir in 0..2 * RECENT_MAX {
            root.make_dir(&format!("{dir}")).expect("make");
            drop(root.create(&format!("{dir}/file"), false).expect("create"));
        }
        assert_eq!(root.recent().len(), RECENT_MAX);
        assert!(root.stat("0/file").expect("stat").is_some());
        root.remove_file("0/file").expect("remove");
        assert!(root.remove_dir("0").expect("remove"));
        assert_eq!(root.stat("0/file").expect("stat"), None);
    }
}
