//! One blob under the scrub: its file against its outboard, group by group, or against its name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use penstock_core::blob::{BlobId, BlobSize};
use penstock_core::limits::GROUP_BYTES;

use super::{Found, ScrubControl};
use crate::error::{Damage, DiskError, ViewError};
use crate::file::{FileId, read_exact};
use crate::outboard;
use crate::outboard::leaves::{Leaves, LeavesError};
use crate::store::Shared;
use crate::view::IN_MEMORY_BYTES;

/// Bytes read between two calls of the caller: 64 groups.
const PORTION_BYTES: u64 = 64 * GROUP_BYTES;

pub(super) enum Examined {
    Sound,
    Found(Found),
    /// The caller has enough.
    Stopped,
}

/// What was compared of a blob when a portion of it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// All bytes in front of this one: another scrub may go on here.
    UpTo(u64),
    /// Nothing: only the hash of all of it will tell.
    Nothing,
}

/// Told how many bytes were read; says whether to go on.
type Portion<'a> = &'a mut dyn FnMut(u64, Compared) -> ScrubControl;

/// A blob on which the scrub is.
pub(super) struct Subject<'a> {
    pub(super) store: &'a Arc<Shared>,
    pub(super) blob: BlobId,
    pub(super) size: BlobSize,
    /// Bytes, a whole number of groups, that an earlier scrub compared.
    pub(super) bytes_done: u64,
}

/// What came of comparing with the outboard.
enum Groups {
    Same,
    /// It changed since it was checked.
    OutboardSpoiled,
    Stopped,
}

impl Subject<'_> {
    /// Looks for damage.
    pub(super) fn examine(&self, portion: Portion<'_>) -> Examined {
        let path = self.store.layout.blob(&self.blob);
        let file = match self.store.disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Removed by its owner while the scrub was on its way here, or deleted behind our back.
                if self.store.catalog.get(&self.blob).is_none() {
                    return Examined::Sound;
                }
                self.store.forget_deleted(&self.blob);
                return Examined::Found(Found::Deleted);
            }
            Err(error) => return Examined::Found(Found::Unreadable(DiskError::new("open", &path, error))),
        };
        // Pages read for the scrub alone should not push out pages that are being served.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::NoReuse);
        self.compare(&file, portion).unwrap_or_else(found)
    }

    fn compare(&self, file: &File, portion: Portion<'_>) -> Result<Examined, ViewError> {
        let path = self.store.layout.blob(&self.blob);
        let metadata = file.metadata().map_err(|error| DiskError::new("look at", &path, error))?;
        let seen = FileId::of(&metadata);
        if metadata.len() != self.size.0 {
            let damage = Damage::Length { expected: self.size.0, actual: metadata.len() };
            return Err(self.store.condemn(&self.blob, seen, damage));
        }
        if self.size.0 <= IN_MEMORY_BYTES {
            return self.compare_small(file, seen, portion);
        }
        if let Some(outboard) = outboard::find_checked(self.store, self.blob, self.size)? {
            match self.compare_groups(file, seen, &outboard, portion)? {
                Groups::Same => return Ok(Examined::Sound),
                Groups::Stopped => return Ok(Examined::Stopped),
                Groups::OutboardSpoiled => {}
            }
        }
        // Hashing all of it compares it with its name. A view that is open checked another outboard file, and keeps it.
        let mut step = |bytes| portion(bytes, Compared::Nothing);
        Ok(match outboard::rebuild_in_steps(self.store, self.blob, self.size, file, &mut step)? {
            ScrubControl::Continue => Examined::Found(Found::OutboardRebuilt),
            ScrubControl::Stop => Examined::Stopped,
        })
    }

    fn compare_small(&self, file: &File, seen: FileId, portion: Portion<'_>) -> Result<Examined, ViewError> {
        let mut content = vec![0; usize::try_from(self.size.0).unwrap_or(usize::MAX)];
        read_exact(self.store, self.blob, self.size, file, 0, &mut content)?;
        if BlobId::of(&content) != self.blob {
            return Err(self.store.condemn(&self.blob, seen, Damage::Altered { first_bad_group: Some(0) }));
        }
        if !content.is_empty() && portion(self.size.0, Compared::UpTo(self.size.0)) == ScrubControl::Stop {
            return Ok(Examined::Stopped);
        }
        Ok(Examined::Sound)
    }

    fn compare_groups(
        &self,
        file: &File,
        seen: FileId,
        outboard: &File,
        portion: Portion<'_>,
    ) -> Result<Groups, ViewError> {
        let unreadable =
            |error| ViewError::from(DiskError::new("read", &self.store.layout.outboard(&self.blob), error));
        let read = |offset: u64, into: &mut [u8]| outboard.read_exact_at(into, offset);
        let mut leaves = match Leaves::new(self.blob, self.size, read) {
            Ok(leaves) => leaves,
            Err(LeavesError::Spoiled) => return Ok(Groups::OutboardSpoiled),
            Err(LeavesError::Io(error)) => return Err(unreadable(error)),
        };
        let mut window = vec![0; usize::try_from(PORTION_BYTES.min(self.size.0)).unwrap_or(usize::MAX)];
        let group_len = usize::try_from(GROUP_BYTES).unwrap_or(usize::MAX);
        let mut at = self.bytes_done;
        while at < self.size.0 {
            let part = usize::try_from(self.size.0 - at).unwrap_or(usize::MAX).min(window.len());
            read_exact(self.store, self.blob, self.size, file, at, &mut window[..part])?;
            for (group, content) in (at / GROUP_BYTES..).zip(window[..part].chunks(group_len)) {
                let leaf = loop {
                    match leaves.next() {
                        // Those in front were compared by an earlier scrub.
                        Ok(Some(leaf)) if leaf.group < group => {}
                        Ok(Some(leaf)) => break leaf,
                        Ok(None) | Err(LeavesError::Spoiled) => return Ok(Groups::OutboardSpoiled),
                        Err(LeavesError::Io(error)) => return Err(unreadable(error)),
                    }
                };
                if !leaf.holds(content) {
                    let damage = Damage::Altered { first_bad_group: Some(group) };
                    return Err(self.store.condemn(&self.blob, seen, damage));
                }
            }
            at += part as u64;
            if portion(part as u64, Compared::UpTo(at)) == ScrubControl::Stop {
                return Ok(Groups::Stopped);
            }
        }
        Ok(Groups::Same)
    }
}

fn found(error: ViewError) -> Examined {
    match error {
        ViewError::Damaged { damage, .. } => Examined::Found(Found::Damaged(damage)),
        ViewError::Deleted(_) => Examined::Found(Found::Deleted),
        ViewError::Disk(error) => Examined::Found(Found::Unreadable(error)),
        // Removed meanwhile; a range inside the blob is never out of range.
        ViewError::Unknown(_) | ViewError::OutOfRange { .. } => Examined::Sound,
    }
}
