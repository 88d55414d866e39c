//! An open file of a blob: which one it is, reading it, and asking what of it is in the page cache.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use bytes::Bytes;
use penstock_core::blob::{BlobId, BlobSize};
use rustix::io::{Errno, ReadWriteFlags};

use crate::error::{Damage, DiskError, ViewError};
use crate::store::Shared;

/// Which file it is, whatever its name. Tells it from every other file as long as it is open: its inode number is given
/// to another one only after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// How to learn what of a mapped file is in the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// One call for the whole range.
    Mincore,
    /// One `preadv2` of a byte for each page: about 50 µs for each MiB.
    Nowait,
}

impl Probe {
    /// `mincore` tells the truth to a file's owner. To those who neither own nor may write the file (and a sealed file
    /// nobody may write) the kernel says that every page is there, so that they cannot spy on what others read.
    /// Capabilities would lift that; who has them loses little by the other way.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        if metadata.uid() == rustix::process::geteuid().as_raw() { Self::Mincore } else { Self::Nowait }
    }
}

/// Reads from a blob's file; a file that ends early condemns the blob.
pub(crate) fn read_exact(
    store: &Arc<Shared>,
    id: BlobId,
    size: BlobSize,
    file: &File,
    offset: u64,
    into: &mut [u8],
) -> Result<(), ViewError> {
    let failed = |error| ViewError::from(DiskError::new("read", &store.layout.blob(&id), error));
    match file.read_exact_at(into, offset) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let metadata = file.metadata().map_err(failed)?;
            let damage = Damage::Length { expected: size.0, actual: metadata.len() };
            Err(store.condemn(&id, FileId::of(&metadata), damage))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Reads from the page cache; `None` as soon as the disk would have to be asked.
pub(crate) fn read_cached(file: &File, offset: u64, len: usize) -> Option<Bytes> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        filled += read_nowait(file, offset + filled as u64, &mut bytes[filled..])?;
    }
    Some(bytes.into())
}

/// Whether every page of the range is in the page cache. A file system that cannot tell has none there.
pub(crate) fn is_cached(file: &File, offset: u64, len: u64) -> bool {
    let page = crate::sigbus::page_size() as u64;
    let mut at = offset - offset % page;
    while at < offset + len {
        if read_nowait(file, at, &mut [0]).is_none() {
            return false;
        }
        at += page;
    }
    true
}

/// Some bytes, at least one, if they can be had without waiting.
fn read_nowait(file: &File, offset: u64, into: &mut [u8]) -> Option<usize> {
    loop {
        let parts = &mut [io::IoSliceMut::new(into)];
        match rustix::io::preadv2(file, parts, offset, ReadWriteFlags::NOWAIT) {
            Ok(0) => return None,
            Ok(read) => return Some(read),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}
