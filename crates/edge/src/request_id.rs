//! Request ids: UUIDs of version 7, made without a lock and without asking the kernel for random bytes.
//!
//! An id is the time, the low bits of a counter, and a keyed hash of that counter. The key is random per process, so an
//! id cannot be guessed from another; the counter keeps ids of one millisecond apart. They name requests for support
//! and open nothing: nobody may use one as a secret.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::{Builder, Uuid};

/// SipHash under keys that the operating system chose.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
static NEXT: AtomicU64 = AtomicU64::new(0);

/// An id that no other request has.
pub(crate) fn next() -> Uuid {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    id(u64::try_from(now).unwrap_or(u64::MAX), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn id(unix_milliseconds: u64, number: u64) -> Uuid {
    let mut bytes = [0; 10];
    // Version 7 keeps 12 bits of the first two bytes, and 62 of the other eight.
    bytes[..2].copy_from_slice(&number.to_be_bytes()[6..]);
    bytes[2..].copy_from_slice(&KEY.hash_one(number).to_be_bytes());
    Builder::from_unix_timestamp_millis(unix_milliseconds, &bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_of_all_workers_differ_even_within_a_millisecond() {
        let workers: Vec<_> = (0..4).map(|_| std::thread::spawn(|| (0..5_000).map(|_| next()).collect())).collect();
        let ids: Vec<Vec<Uuid>> = workers.into_iter().map(|worker| worker.join().expect("no panic")).collect();
        let distinct: HashSet<Uuid> = ids.iter().flatten().copied().collect();
        assert_eq!(distinct.len(), 20_000);
        assert!(distinct.iter().all(|id| id.get_version_num() == 7));
        let at_once: HashSet<Uuid> = (0..100_000).map(|number| id(1, number)).collect();
        assert_eq!(at_once.len(), 100_000);
    }

    #[test]
    fn ids_sort_by_time_and_tell_nothing_of_the_next() {
        assert!(id(1, u64::MAX) < id(2, 0));
        let (one, two) = (id(7, 1), id(7, 2));
        let differing = (one.as_u128() ^ two.as_u128()).count_ones();
        assert!(differing > 8, "neighbours share all but {differing} bits");
    }
}
