//! Which blobs are here and how large they are: in memory, rebuilt from the directory at every start.
//!
//! Reads directory entries and sizes, opens no blob: 100,000 blobs take well under a second.

use std::collections::HashMap;
use std::io;
use std::sync::{PoisonError, RwLock};

use penstock_core::blob::{BlobId, BlobSize};

use crate::disk::Disk;
use crate::error::DiskError;
use crate::layout::{Layout, Named, SHARDS};

/// The blobs that may be served.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    blobs: RwLock<Blobs>,
}

#[derive(Debug, Default)]
struct Blobs {
    sizes: HashMap<BlobId, BlobSize>,
    /// The sum of `sizes`, kept so that a probe costs the same whatever the store holds.
    bytes: u64,
}

impl Blobs {
    fn insert(&mut self, blob: BlobId, size: BlobSize) {
        self.bytes += size.0;
        if let Some(before) = self.sizes.insert(blob, size) {
            self.bytes -= before.0;
        }
    }

    fn remove(&mut self, blob: &BlobId) -> Option<BlobSize> {
        let size = self.sizes.remove(blob)?;
        self.bytes -= size.0;
        Some(size)
    }
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Blobs that may be served.
    pub blobs: usize,
    /// The sum of their sizes; outboards are not in it.
    pub bytes: u64,
}

impl Catalog {
    /// Lists the shards, makes those that are missing, and removes what a crash left over.
    pub(crate) fn rebuild(disk: &dyn Disk, layout: &Layout) -> Result<Self, DiskError> {
        let mut blobs = Blobs::default();
        let mut made = false;
        for dir in [layout.tmp(), layout.quarantine()].into_iter().chain((0..=u8::MAX).map(|byte| layout.shard(byte))) {
            made |= disk.create_dir(&dir).map_err(|error| DiskError::new("create", &dir, error))?;
        }
        if made {
            disk.sync_dir(layout.root()).map_err(|error| DiskError::new("sync", layout.root(), error))?;
        }
        remove_drafts(disk, layout)?;
        for byte in 0..=u8::MAX {
            read_shard(disk, layout, byte, &mut blobs)?;
        }
        tracing::debug!(blobs = blobs.sizes.len(), shards = SHARDS, "the blob catalogue is rebuilt");
        Ok(Self { blobs: RwLock::new(blobs) })
    }

    pub(crate) fn get(&self, blob: &BlobId) -> Option<BlobSize> {
        self.blobs.read().unwrap_or_else(PoisonError::into_inner).sizes.get(blob).copied()
    }

    pub(crate) fn insert(&self, blob: BlobId, size: BlobSize) {
        self.blobs.write().unwrap_or_else(PoisonError::into_inner).insert(blob, size);
    }

    pub(crate) fn remove(&self, blob: &BlobId) -> Option<BlobSize> {
        self.blobs.write().unwrap_or_else(PoisonError::into_inner).remove(blob)
    }

    /// All blobs, in the order of their names.
    pub(crate) fn list(&self) -> Vec<(BlobId, BlobSize)> {
        let blobs = self.blobs.read().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = blobs.sizes.iter().map(|(blob, size)| (*blob, *size)).collect();
        drop(blobs);
        list.sort_unstable();
        list
    }

    pub(crate) fn totals(&self) -> Totals {
        let blobs = self.blobs.read().unwrap_or_else(PoisonError::into_inner);
        Totals { blobs: blobs.sizes.len(), bytes: blobs.bytes }
    }
}

fn remove_drafts(disk: &dyn Disk, layout: &Layout) -> Result<(), DiskError> {
    let tmp = layout.tmp();
    let mut removed = 0_u64;
    for entry in disk.list(&tmp).map_err(|error| DiskError::new("list", &tmp, error))? {
        if entry.file_bytes.is_some() {
            let path = tmp.join(&entry.name);
            disk.remove(&path).map_err(|error| DiskError::new("remove", &path, error))?;
            removed += 1;
        }
    }
    if removed > 0 {
        tracing::info!(removed, "removed drafts that a crash left over");
    }
    Ok(())
}

fn read_shard(disk: &dyn Disk, layout: &Layout, byte: u8, blobs: &mut Blobs) -> Result<(), DiskError> {
    let shard = layout.shard(byte);
    let mut beside = Vec::new();
    for entry in disk.list(&shard).map_err(|error| DiskError::new("list", &shard, error))? {
        match (Layout::named(byte, &entry.name), entry.file_bytes) {
            (Named::Blob(blob), Some(bytes)) => {
                blobs.insert(blob, BlobSize(bytes));
            }
            (Named::Beside(blob), Some(_)) => beside.push((blob, entry.name)),
            _ => tracing::warn!(path = %shard.join(&entry.name).display(), "a foreign file in the store is ignored"),
        }
    }
    for (blob, name) in beside {
        if !blobs.sizes.contains_key(&blob) {
            let path = shard.join(name);
            match disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(DiskError::new("remove", &path, error));
                }
                _ => tracing::info!(path = %path.display(), "removed an outboard or digest without its blob"),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_follow_what_comes_goes_and_is_replaced() {
        let catalog = Catalog::default();
        let (one, other) = (BlobId::of(b"one"), BlobId::of(b"other"));
        catalog.insert(one, BlobSize(10));
        catalog.insert(other, BlobSize(5));
        catalog.insert(one, BlobSize(7));
        assert_eq!(catalog.totals(), Totals { blobs: 2, bytes: 12 });
        assert_eq!(catalog.remove(&one), Some(BlobSize(7)));
        assert_eq!(catalog.remove(&one), None);
        assert_eq!(catalog.totals(), Totals { blobs: 1, bytes: 5 });
    }
}
