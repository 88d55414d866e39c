//! Where damaged blobs go: out of the catalogue, out of the shard, kept for a human with the reason beside them.
//!
//! Bounded: the oldest of [`QUARANTINED_MAX`] makes room.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use penstock_core::blob::BlobId;

use crate::disk::Disk;
use crate::error::{Damage, DiskError, ViewError};
use crate::file::FileId;
use crate::options::QUARANTINED_MAX;
use crate::store::Shared;

/// Which file of a blob is to be withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The one that has the name now.
    Anybodys,
    /// This one, which somebody has open and found damaged. The name may belong to another one by now: a blob that was
    /// imported again is sound, and outlives what an old view finds out.
    Only(FileId),
}

impl Shared {
    /// Moves a damaged blob to quarantine, if its name still belongs to the file that was `seen` to be damaged, and
    /// answers with the error for whoever wanted to read it. That file is still open.
    pub(crate) fn condemn(&self, blob: &BlobId, seen: FileId, damage: Damage) -> ViewError {
        let claim = self.claims.take([*blob]);
        match self.withdraw_claimed(blob, Whose::Only(seen), &damage.to_string()) {
            Ok(true) => tracing::error!(%blob, %damage, "a damaged blob was moved to quarantine"),
            Ok(false) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%blob, %damage, %error, cause, "a damaged blob is withdrawn but could not be moved");
            }
        }
        drop(claim);
        ViewError::Damaged { blob: *blob, damage }
    }

    /// Forgets a blob at once and moves its file aside. `false` when the store does not have it.
    ///
    /// Also when the move fails the blob is not served again before the next start.
    pub(crate) fn quarantine(&self, blob: &BlobId, reason: &str) -> Result<bool, DiskError> {
        let _claim = self.claims.take([*blob]);
        self.withdraw_claimed(blob, Whose::Anybodys, reason)
    }

    /// As [`Self::quarantine`], for a caller who holds the claim.
    pub(crate) fn withdraw_claimed(&self, blob: &BlobId, whose: Whose, reason: &str) -> Result<bool, DiskError> {
        let from = self.layout.blob(blob);
        if let Whose::Only(seen) = whose
            // A name that cannot be looked up is no reason to go on serving.
            && self.disk.look(&from).is_ok_and(|metadata| FileId::of(&metadata) != seen)
        {
            if let Some(view) = self.views.remove_if(blob, |view| view.file_id() == Some(seen)) {
                view.poison();
            }
            tracing::debug!(%blob, "a damaged file had lost its name to another one already");
            return Ok(false);
        }
        // In this order a view that is being opened meanwhile is either found here, or finds out itself.
        let listed = self.catalog.remove(blob);
        self.withdrawals.fetch_add(1, Ordering::AcqRel);
        if let Some(view) = self.views.remove(blob) {
            view.poison();
        }
        if listed.is_none() {
            return Ok(false);
        }
        let dir = self.layout.quarantine();
        let place = dir.join(format!("{blob}.{}", self.next_number()));
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
        if self.disk.look(&self.layout.blob(blob)).is_ok() {
            return;
        }
        self.forget_claimed(blob);
    }

    /// As [`Self::forget_deleted`], for a caller who holds the claim and has looked.
    pub(crate) fn forget_claimed(&self, blob: &BlobId) {
        if self.catalog.remove(blob).is_some() {
            tracing::error!(%blob, "the file of a blob was deleted behind our back; the blob is forgotten");
        }
        self.withdrawals.fetch_add(1, Ordering::AcqRel);
        self.views.remove(blob);
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
