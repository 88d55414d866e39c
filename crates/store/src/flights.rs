//! Work on a blob that is done once for all who ask for it at the same time: the others wait and share what came out,
//! a failure included.
//!
//! Hashing a large blob takes minutes. Without this, each of the requests that come meanwhile would hash it too.
//! The work takes claims, so nobody who holds a claim may come here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use penstock_core::blob::BlobId;

use crate::error::ViewError;

/// What came out, once it is known. `None`: the one who worked panicked.
type Flight<T> = OnceLock<Option<Result<T, ViewError>>>;

/// One kind of work, by blob.
#[derive(Debug)]
pub(crate) struct Flights<T> {
    under_way: Mutex<HashMap<BlobId, Arc<Flight<T>>>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { under_way: Mutex::default() }
    }
}

impl<T: Clone> Flights<T> {
    /// Does the work, or waits for whoever does it for this blob right now. One who comes just after the end works
    /// again, so the work begins by looking whether it is done.
    pub(crate) fn join(&self, blob: &BlobId, work: impl FnOnce() -> Result<T, ViewError>) -> Result<T, ViewError> {
        loop {
            let mut under_way = self.lock();
            let Some(flight) = under_way.get(blob).cloned() else {
                let flight = Arc::default();
                under_way.insert(*blob, Arc::clone(&flight));
                drop(under_way);
                return Landing { flights: self, blob: *blob, flight }.after(work);
            };
            drop(under_way);
            // After a panic the next one tries.
            if let Some(outcome) = flight.wait() {
                return copy(outcome);
            }
        }
    }
}

impl<T> Flights<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<BlobId, Arc<Flight<T>>>> {
        // The map is changed by single calls only, so a panic elsewhere cannot have left it half-changed.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes those who wait, also when the work panics.
struct Landing<'a, T> {
    flights: &'a Flights<T>,
    blob: BlobId,
    flight: Arc<Flight<T>>,
}

impl<T: Clone> Landing<'_, T> {
    fn after(self, work: impl FnOnce() -> Result<T, ViewError>) -> Result<T, ViewError> {
        let outcome = work();
        self.flight.get_or_init(|| Some(copy(&outcome)));
        outcome
    }
}

impl<T> Drop for Landing<'_, T> {
    fn drop(&mut self) {
        self.flight.get_or_init(|| None);
        self.flights.lock().remove(&self.blob);
    }
}

fn copy<T: Clone>(outcome: &Result<T, ViewError>) -> Result<T, ViewError> {
    match outcome {
        Ok(value) => Ok(value.clone()),
        Err(error) => Err(error.copy()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::error::DiskError;

    /// Runs `work` in one thread and joins it from seven others while it lasts; the last answer is the worker's.
    fn joined(work: impl Fn() -> Result<u64, ViewError> + Sync) -> Vec<std::thread::Result<Result<u64, ViewError>>> {
        let (flights, blob) = (Flights::default(), BlobId::of(b"wanted"));
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                flights.join(&blob, || {
                    // The worker, seven who wait, and the map.
                    while flights.lock().get(&blob).map_or(0, Arc::strong_count) < 9 {
                        std::thread::yield_now();
                    }
                    work()
                })
            });
            while !flights.lock().contains_key(&blob) {
                std::thread::yield_now();
            }
            let others: Vec<_> = (0..7).map(|_| scope.spawn(|| flights.join(&blob, &work))).collect();
            let joined = others.into_iter().chain([worker]).map(std::thread::ScopedJoinHandle::join).collect();
            assert!(flights.lock().is_empty(), "nothing stays behind");
            joined
        })
    }

    #[test]
    fn one_works_and_all_have_the_answer() {
        let worked = AtomicU64::new(0);
        let answers = joined(|| Ok(worked.fetch_add(1, Ordering::Relaxed)));
        assert!(answers.iter().all(|answer| matches!(answer, Ok(Ok(0)))), "{answers:?}");
    }

    #[test]
    fn a_failure_is_shared_with_its_cause() {
        let worked = AtomicU64::new(0);
        let answers = joined(|| {
            worked.fetch_add(1, Ordering::Relaxed);
            let source = std::io::Error::from_raw_os_error(libc::EIO);
            Err(DiskError::new("read", std::path::Path::new("/blob"), source).into())
        });
        assert_eq!(worked.into_inner(), 1);
        for answer in answers {
            match answer {
                Ok(Err(ViewError::Disk(DiskError::Io { action: "read", source, .. }))) => {
                    assert_eq!(source.raw_os_error(), Some(libc::EIO));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_panic_is_not_shared() {
        let worked = AtomicU64::new(0);
        let answers = joined(|| {
            assert!(worked.fetch_add(1, Ordering::Relaxed) > 0, "the first one panics");
            Ok(7)
        });
        let (worker, others) = answers.split_last().expect("eight answers");
        assert!(worker.is_err());
        assert!(others.iter().all(|answer| matches!(answer, Ok(Ok(7)))), "{others:?}");
    }
}
