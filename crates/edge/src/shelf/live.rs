//! Blobs that answers are being made from: one open view each, shared by all its readers, and never too many.
//!
//! The store's cache forgets views while responses still read them, and then their files stay open. So they are counted
//! here: a blob that is under way already costs nothing more, another one needs a place.

use penstock_core::blob::BlobId;
use penstock_core::limits::LIVE_BLOBS_MAX;
use penstock_store::BlobView;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shards of the table: enough that workers seldom meet.
const SHARDS: usize = 64;

/// A view under way. Its file is open as long as somebody holds one.
#[derive(Debug)]
pub(crate) struct Live {
    view: BlobView,
    /// `None` for a blob in memory, which has no file.
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    table: Arc<Table>,
    _permit: OwnedSemaphorePermit,
}

impl Deref for Live {
    type Target = BlobView;

    fn deref(&self) -> &BlobView {
        &self.view
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            place.table.forget(self.view.id());
        }
    }
}

type Shard = HashMap<BlobId, Weak<Live>>;

#[derive(Debug)]
struct Table([Mutex<Shard>; SHARDS]);

impl Table {
    fn shard(&self, blob: &BlobId) -> MutexGuard<'_, Shard> {
        self.0[usize::from(blob.as_bytes()[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes an entry whose last holder has gone, unless the blob was opened again meanwhile.
    fn forget(&self, blob: &BlobId) {
        let mut shard = self.shard(blob);
        if shard.get(blob).is_some_and(|entry| entry.strong_count() == 0) {
            shard.remove(blob);
        }
    }
}

/// Everything under way. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LiveBlobs {
    table: Arc<Table>,
    places: Arc<Semaphore>,
    /// How many places there are, taken ones included.
    size: Arc<Mutex<usize>>,
}

/// A right to open one more blob.
#[derive(Debug)]
pub(crate) struct Ticket(OwnedSemaphorePermit);

impl LiveBlobs {
    pub(crate) fn new() -> Self {
        Self {
            table: Arc::new(Table(std::array::from_fn(|_| Mutex::default()))),
            places: Arc::new(Semaphore::new(LIVE_BLOBS_MAX)),
            size: Arc::new(Mutex::new(LIVE_BLOBS_MAX)),
        }
    }

    /// Sets the bound. Meant for before the first request: a lower bound takes away free places only.
    pub(crate) fn set_max(&self, max: usize) {
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        if max > *size {
            self.places.add_permits(max - *size);
            *size = max;
        } else {
            *size -= self.places.forget_permits(*size - max);
        }
    }

    /// A sound view that is under way already.
    pub(crate) fn get(&self, blob: &BlobId) -> Option<Arc<Live>> {
        let live = self.table.shard(blob).get(blob).and_then(Weak::upgrade)?;
        // Outside the lock: dropping the last holder locks again.
        (!live.view.is_poisoned()).then_some(live)
    }

    /// The right to open one more; `None` when as many as may be are under way.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(Ticket)
    }

    /// Shares an opened view, unless somebody else was faster: then theirs. A blob in memory needs no ticket and is as
    /// cheap to have twice.
    pub(crate) fn share(&self, view: BlobView, ticket: Option<Ticket>) -> Arc<Live> {
        let Some(Ticket(permit)) = ticket else { return Arc::new(Live { view, place: None }) };
        let blob = *view.id();
        let place = Some(Place { table: Arc::clone(&self.table), _permit: permit });
        let mine = Arc::new(Live { view, place });
        let mut shard = self.table.shard(&blob);
        let theirs = shard.get(&blob).and_then(Weak::upgrade);
        let is_sound = theirs.as_ref().is_some_and(|live| !live.view.is_poisoned());
        if !is_sound {
            shard.insert(blob, Arc::downgrade(&mine));
        }
        // Before either is dropped: the last holder locks again.
        drop(shard);
        theirs.filter(|_| is_sound).unwrap_or(mine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_store::{Store, StoreOptions};

    #[test]
    fn places_are_taken_by_blobs_and_come_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), StoreOptions::default()).expect("a store");
        let put = |byte| store.import_reader(&mut [byte; 50_000].as_slice()).expect("sealed").blob;
        let (one, two) = (put(1), put(2));
        let live = LiveBlobs::new();
        live.set_max(1);
        let share = |blob| live.share(store.view(blob).expect("open"), Some(live.ticket().expect("room")));
        let first = share(&one);
        assert!(live.ticket().is_none() && live.get(&two).is_none());
        let again = live.get(&one).expect("under way");
        assert!(Arc::ptr_eq(&first, &again), "one open file for all readers");
        drop(first);
        assert!(live.ticket().is_none(), "somebody still reads it");
        drop(again);
        assert!(live.get(&one).is_none());
        assert!(live.table.0.iter().all(|shard| shard.lock().expect("unpoisoned").is_empty()));
        drop(share(&two));
        live.set_max(2);
        let held = [live.ticket(), live.ticket(), live.ticket()];
        assert!(held[1].is_some() && held[2].is_none());
    }
}
