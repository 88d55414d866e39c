//! Where damaged blobs go: out of the catalogue, out of the shard, kept for a human with the reason beside them.
//!
//! Bounded: the oldest of [`QUARANTINED_MAX`] makes room.

use std::io;
use std::path::PathBuf;

use penstock_core::blob::BlobId;

use crate::disk::Disk;
use crate::error::{Damage, DiskError, ViewError};
use crate::options::QUARANTINED_MAX;
use crate::store::Shared;

impl Shared {
    /// Moves a damaged blob to quarantine and answers with the error for whoever wanted to read it.
    pub(crate) fn condemn(&self, blob: &BlobId, damage: Damage) -> ViewError {
        match self.quarantine(blob, &damage.to_string()) {
            Ok(true) => tracing::error!(%blob, %damage, "a damaged blob was moved to quarantine"),
            Ok(false) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%blob, %damage, %error, cause, "a damaged blob is withdrawn but could not be moved");
            }
        }
        ViewError::Damaged { blob: *blob, damage }
    }

    /// Forgets a blob at once and moves its file aside. `false` when the store does not have it.
    ///
    /// Also when the move fails the blob is not served again before the next start.
    pub(crate) fn quarantine(&self, blob: &BlobId, reason: &str) -> Result<bool, DiskError> {
        let _claim = self.claims.take([*blob]);
        if let Some(view) = self.views.remove(blob) {
            view.poison();
        }
        if self.catalog.remove(blob).is_none() {
            return Ok(false);
        }
        let dir = self.layout.quarantine();
        let place = dir.join(format!("{blob}.{}", self.next_number()));
        let from = self.layout.blob(blob);
        match self.disk.rename(&from, &place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DiskError::new("move to quarantine", &from, error));
            }
            _ => {}
        }
        self.remove_beside(blob)?;
        let note = place.with_added_extension("reason");
        write_note(self.disk.as_ref(), &note, reason).map_err(|error| DiskError::new("write", &note, error))?;
        for synced in [&dir, &self.layout.shard_of(blob)] {
            self.disk.sync_dir(synced).map_err(|error| DiskError::new("sync", synced, error))?;
        }
        self.make_room(&dir)?;
        Ok(true)
    }

    /// A blob whose file is gone: nothing to keep, only to forget.
    pub(crate) fn forget_deleted(&self, blob: &BlobId) {
        let _claim = self.claims.take([*blob]);
        // Between the failed open and the claim the blob may have been imported again.
        if self.disk.open(&self.layout.blob(blob)).is_ok() {
            return;
        }
        self.views.remove(blob);
        if self.catalog.remove(blob).is_some() {
            tracing::error!(%blob, "the file of a blob was deleted behind our back; the blob is forgotten");
        }
        if let Err(error) = self.remove_beside(blob) {
            tracing::warn!(%blob, %error, "what lay beside a deleted blob could not be removed");
        }
    }

    /// Removes what can be rebuilt. The caller holds the claim.
    pub(crate) fn remove_beside(&self, blob: &BlobId) -> Result<(), DiskError> {
        for path in [self.layout.outboard(blob), self.layout.sha256(blob)] {
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(DiskError::new("remove", &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn make_room(&self, dir: &std::path::Path) -> Result<(), DiskError> {
        let listed = self.disk.list(dir).map_err(|error| DiskError::new("list", dir, error))?;
        let mut numbered: Vec<(u64, PathBuf)> = listed
            .iter()
            .filter_map(|entry| {
                let name = entry.name.to_str()?;
                let (_, number) = name.strip_suffix(".reason").unwrap_or(name).rsplit_once('.')?;
                Some((number.parse().ok()?, dir.join(name)))
            })
            .collect();
        numbered.sort_unstable();
        // Each quarantined blob is two files.
        let surplus = numbered.len().saturating_sub(2 * QUARANTINED_MAX);
        for (_, path) in numbered.into_iter().take(surplus) {
            self.disk.remove(&path).map_err(|error| DiskError::new("remove", &path, error))?;
        }
        Ok(())
    }
}

fn write_note(disk: &dyn Disk, path: &std::path::Path, reason: &str) -> io::Result<()> {
    let mut note = disk.create(path)?;
    note.append(reason.as_bytes())?;
    note.append(b"\n")?;
    note.sync()
}
