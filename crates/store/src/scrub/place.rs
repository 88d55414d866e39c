//! How far the last scrub came, kept in a file: a node that is restarted every day must get to its last blob all the
//! same.
//!
//! The file holds a blob's name and the number of its bytes that were compared. It is not synced; one that is missing,
//! torn or foreign costs a scrub that begins at the first blob.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use penstock_core::blob::{BlobId, BlobSize};
use penstock_core::limits::GROUP_BYTES;

use crate::disk::Disk;
use crate::error::DiskError;
use crate::store::Shared;

/// Bytes compared between two writes of the place: what a killed process compares again. Two minutes at 8 MiB/s.
const KEEP_EVERY_BYTES: u64 = 1 << 30;
/// More than the file ever has.
const FILE_BYTES_MAX: u64 = 256;

/// Where a scrub is: everything of this blob up to here was compared, and nothing of the blobs behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) blob: BlobId,
    /// A whole number of groups, or at least the blob's size: then the blob is finished.
    pub(super) bytes_done: u64,
}

impl Place {
    /// The place that the last scrub left, if it left any.
    pub(super) fn read(disk: &dyn Disk, path: &Path) -> Option<Self> {
        let mut text = String::new();
        match disk.open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the scrub begins at the first blob");
                return None;
            }
        }
        let (blob, bytes_done) = text.strip_suffix('\n')?.split_once(' ')?;
        Some(Self { blob: blob.parse().ok()?, bytes_done: bytes_done.parse().ok()? })
    }

    /// Turns `list`, which is sorted, so that it begins where the scrub goes on. Answers with the number of bytes of the
    /// first blob that need not be compared again.
    pub(super) fn turn(self, list: &mut [(BlobId, BlobSize)]) -> u64 {
        let at = list.partition_point(|(blob, _)| *blob < self.blob);
        let goes_on = list.get(at).is_some_and(|(blob, size)| *blob == self.blob && self.bytes_done < size.0);
        let is_done = list.get(at).is_some_and(|(blob, _)| *blob == self.blob) && !goes_on;
        list.rotate_left(at + usize::from(is_done));
        if goes_on && self.bytes_done.is_multiple_of(GROUP_BYTES) { self.bytes_done } else { 0 }
    }
}

/// Writes the place now and then.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    store: &'a Arc<Shared>,
    place: Option<Place>,
    fresh_bytes: u64,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(store: &'a Arc<Shared>) -> Self {
        Self { store, place: None, fresh_bytes: 0 }
    }

    /// The scrub came here, `more` bytes further than before.
    pub(super) fn came_to(&mut self, place: Place, more: u64) {
        self.place = Some(place);
        self.fresh_bytes += more;
        if self.fresh_bytes >= KEEP_EVERY_BYTES {
            self.keep();
        }
    }

    fn keep(&mut self) {
        let Some(place) = self.place.take() else { return };
        self.fresh_bytes = 0;
        if let Err(error) = write(self.store, place) {
            tracing::warn!(%error, "a scrub after the next start will begin too early");
        }
    }
}

/// Also when the scrub ends in a panic of its caller.
impl Drop for Keeper<'_> {
    fn drop(&mut self) {
        self.keep();
    }
}

fn write(store: &Shared, place: Place) -> Result<(), DiskError> {
    let (temp, path) = (store.temp_path(), store.layout.scrub_place());
    let text = format!("{} {}\n", place.blob, place.bytes_done);
    let written = store.disk.create(&temp).and_then(|mut file| {
        file.append(text.as_bytes())?;
        store.disk.rename(&temp, &path)
    });
    written.map_err(|error| {
        // The temporary file may not exist; what is left is found at the next start.
        drop(store.disk.remove(&temp));
        DiskError::new("write", &path, error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, StoreOptions};

    #[test]
    fn the_list_begins_where_the_scrub_goes_on() {
        let blob = |first: u8| BlobId::from_bytes([first; 32]);
        let size = BlobSize(3 * GROUP_BYTES + 5);
        let turned = |blob, bytes_done| {
            let mut list = [2, 4, 6].map(|first| (BlobId::from_bytes([first; 32]), size));
            let skipped = Place { blob, bytes_done }.turn(&mut list);
            (list.map(|(blob, _)| blob.as_bytes()[0]), skipped)
        };
        assert_eq!(turned(blob(4), size.0), ([6, 2, 4], 0), "finished: behind it");
        assert_eq!(turned(blob(4), u64::MAX), ([6, 2, 4], 0), "it was longer once");
        assert_eq!(turned(blob(4), 2 * GROUP_BYTES), ([4, 6, 2], 2 * GROUP_BYTES), "in the middle");
        assert_eq!(turned(blob(4), 0), ([4, 6, 2], 0), "begun");
        assert_eq!(turned(blob(4), 7), ([4, 6, 2], 0), "no place that a scrub stops at");
        assert_eq!(turned(blob(6), size.0), ([2, 4, 6], 0), "behind the last is the first");
        assert_eq!(turned(blob(5), 2 * GROUP_BYTES), ([6, 2, 4], 0), "removed meanwhile");
        assert_eq!(turned(blob(9), 0), ([2, 4, 6], 0), "removed, and it was the last");
        assert_eq!(Place { blob: blob(1), bytes_done: 0 }.turn(&mut []), 0);
    }

    #[test]
    fn a_killed_scrub_repeats_little_and_what_is_written_reads_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), StoreOptions::default()).expect("opens");
        let kept = || Place::read(store.shared().disk.as_ref(), &store.shared().layout.scrub_place());
        assert_eq!(kept(), None);
        let at = |bytes_done| Place { blob: BlobId::of(b"x"), bytes_done };
        let mut keeper = Keeper::new(store.shared());
        keeper.came_to(at(1), KEEP_EVERY_BYTES - 1);
        assert_eq!(kept(), None, "not for every portion");
        keeper.came_to(at(2), 1);
        assert_eq!(kept(), Some(at(2)), "not only at the end");
        keeper.came_to(at(3), 1);
        assert_eq!(kept(), Some(at(2)));
        drop(keeper);
        assert_eq!(kept(), Some(at(3)));
        for torn in ["", "nonsense\n", "12 12\n", &format!("{} 12", BlobId::of(b"x"))] {
            std::fs::write(store.shared().layout.scrub_place(), torn).expect("writes");
            assert_eq!(kept(), None, "{torn:?}");
        }
    }
}
