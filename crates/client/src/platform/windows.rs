//! Windows: absolute paths in their long form, reparse points refused at every step.
//!
//! There are no directory descriptors in the standard library here, so each step of a path is looked
//! at before it is used; replacing is `MoveFileEx` with `REPLACE_EXISTING`, which `std::fs::rename` is.

use super::{Deed, Found, Links, Volume, is_windows_syntax, windows_long_path};
use crate::error::DiskError;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// An opened install directory.
#[derive(Debug)]
pub(crate) struct Root {
    root: PathBuf,
}

/// Held while a client works on an install: the file is open and shared with nobody.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Root {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let absolute = fs::canonicalize(dir)?;
        if !fs::metadata(&absolute)?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Self { root: PathBuf::from(windows_long_path(&absolute.to_string_lossy())) })
    }
    pub(crate) fn lock(&self, path: &str) -> Result<Option<Lock>, DiskError> {
        let full = self.walked(path)?;
        match OpenOptions::new().write(true).create(true).truncate(false).share_mode(0).open(full) {
            Ok(file) => Ok(Some(Lock { _file: file })),
            Err(error) if super::is_sharing_violation(&error) => Ok(None),
            Err(error) => Err(DiskError::new("lock", path, error)),
        }
    }
    /// The standard library cannot ask for free space on Windows (`GetDiskFreeSpaceExW` would need `unsafe` or
    /// another crate); `u64::MAX` leaves the refusal to the write that fails, which is clean because
    /// nothing is in place before everything is staged.
    pub(crate) fn volume(&self) -> Result<Volume, DiskError> {
        Ok(Volume { free_bytes: u64::MAX, block_bytes: 4096, free_files: None, links: Links::Expected })
    }
    /// Whether a deed at a path will be allowed: a file that another program has open, or that is read-only,
    /// can be neither replaced nor removed. Opening it for ourselves alone tells, and changes nothing.
    pub(crate) fn check(&self, path: &str, deed: Deed) -> Result<(), DiskError> {
        if deed == Deed::Mode || !matches!(self.stat(path)?, Some(Found::File { .. })) {
            return Ok(());
        }
        let full = self.walked_file(path)?;
        let alone = OpenOptions::new().read(true).write(true).share_mode(0).open(full);
        alone.map(drop).map_err(|e| DiskError::new("replace", path, e))
    }
    /// Whether two paths are two spellings of one name. Windows says how a name is spelt on disk.
    pub(crate) fn is_same(&self, a: &str, b: &str) -> Result<bool, DiskError> {
        let spelt = |path: &str| Ok::<_, DiskError>(fs::canonicalize(self.walked_file(path)?).ok());
        Ok(matches!((spelt(a)?, spelt(b)?), (Some(a), Some(b)) if a == b))
    }
    /// Copies a file by sharing its blocks: only ReFS could, and the standard library does not ask it.
    pub(crate) fn reflink(&self, _from: &str, _to: &str, _executable: bool) -> Result<bool, DiskError> {
        Ok(false)
    }
    /// Brings one staged file to the platter. A file that is not there (a link, a moved file) is fine.
    pub(crate) fn flush(&self, path: &str) -> Result<(), DiskError> {
        if !matches!(self.stat(path)?, Some(Found::File { .. })) {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).open(self.walked_file(path)?);
        file.and_then(|file| file.sync_all()).map_err(|e| DiskError::new("sync", path, e))
    }
    pub(crate) fn stat(&self, path: &str) -> Result<Option<Found>, DiskError> {
        let full = self.walked(path)?;
        let found = match fs::symlink_metadata(&full) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::new("look at", path, error)),
        };
        Ok(Some(if found.is_symlink() {
            let target = fs::read_link(&full).map_err(|e| DiskError::new("look at", path, e))?;
            Found::Link(target.to_string_lossy().replace('\\', "/"))
        } else if found.is_dir() {
            Found::Directory
        } else {
            Found::File { bytes: found.len(), allocated_bytes: found.len(), names: 1, executable: None }
        }))
    }
    pub(crate) fn open_read(&self, path: &str) -> Result<File, DiskError> {
        File::open(self.walked_file(path)?).map_err(|e| DiskError::new("read", path, e))
    }
    pub(crate) fn create(&self, path: &str, _executable: bool) -> Result<File, DiskError> {
        let full = self.walked_file(path)?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(full);
        options.map_err(|e| DiskError::new("create", path, e))
    }
    pub(crate) fn make_dir(&self, path: &str) -> Result<(), DiskError> {
        match fs::create_dir(self.walked_file(path)?) {
            Ok(()) => Ok(()),
            Err(_) if self.stat(path)? == Some(Found::Directory) => Ok(()),
            Err(error) => Err(DiskError::new("create directory", path, error)),
        }
    }
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        fs::rename(self.walked(from)?, self.walked(to)?).map_err(|e| DiskError::new("put in place", to, e))
    }
    pub(crate) fn hard_link(&self, from: &str, to: &str) -> Result<bool, DiskError> {
        Ok(fs::hard_link(self.walked(from)?, self.walked(to)?).is_ok())
    }
    pub(crate) fn symlink(&self, target: &str, path: &str) -> Result<(), DiskError> {
        let target = target.replace('/', "\\");
        std::os::windows::fs::symlink_file(target, self.walked(path)?).map_err(|e| DiskError::new("link", path, e))
    }
    pub(crate) fn remove_file(&self, path: &str) -> Result<(), DiskError> {
        match self.stat(path)? {
            None | Some(Found::Directory) => Ok(()),
            Some(_) => fs::remove_file(self.walked(path)?).map_err(|e| DiskError::new("remove", path, e)),
        }
    }
    pub(crate) fn remove_dir(&self, path: &str) -> Result<bool, DiskError> {
        match fs::remove_dir(self.walked(path)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory) => {
                Ok(false)
            }
            Err(error) => Err(DiskError::new("remove directory", path, error)),
        }
    }
    pub(crate) fn set_executable(&self, _path: &str, _executable: bool) -> Result<(), DiskError> {
        Ok(())
    }
    pub(crate) fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        let failed = |e| DiskError::new("list", path, e);
        let entries = match fs::read_dir(self.walked_file(path)?) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())).collect()
    }
    /// NTFS journals its metadata; content is brought to the platter file by file, see [`Root::flush`].
    pub(crate) fn sync_all(&self) -> Result<(), DiskError> {
        Ok(())
    }
    pub(crate) fn sync_dir(&self, _path: &str) -> Result<(), DiskError> {
        Ok(())
    }

    /// The full path, after a look at every directory on the way.
    fn walked(&self, path: &str) -> Result<PathBuf, DiskError> {
        let mut full = self.root.clone();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        for (index, part) in parts.iter().enumerate() {
            if is_windows_syntax(part) {
                return Err(DiskError::new("use", path, io::Error::from(io::ErrorKind::InvalidInput)));
            }
            full.push(part);
            let is_last = index + 1 == parts.len();
            if !is_last && fs::symlink_metadata(&full).is_ok_and(|found| found.is_symlink()) {
                return Err(DiskError::Symlink { path: path.to_owned() });
            }
        }
        Ok(full)
    }
    /// As [`Root::walked`], and the last part is not a link either.
    fn walked_file(&self, path: &str) -> Result<PathBuf, DiskError> {
        let full = self.walked(path)?;
        if fs::symlink_metadata(&full).is_ok_and(|found| found.is_symlink()) {
            return Err(DiskError::Symlink { path: path.to_owned() });
        }
        Ok(full)
    }
}

/// Windows has no such advice for a file that is open as any other.
pub(crate) const fn let_go_of_cache(_file: &File) {}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = file.seek_write(bytes, offset)?;
        if written == 0 {
            return Err(io::Error::from(io::ErrorKind::WriteZero));
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Fills `bytes` from `offset`.
pub(crate) fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = file.seek_read(bytes, offset)?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        bytes = &mut bytes[read..];
        offset += read as u64;
    }
    Ok(())
}
