//! The cache itself: a dashmap with a byte budget and second-chance eviction.
//!
//! Every entry stands in the map and, by its hash, in one of many queues. Whatever goes over the budget takes from
//! the front of its queue: what was used since it last came by goes to the back, what was not goes. No guard of the map
//! is held over another call of it, or leaves this file.

use dashmap::DashMap;
use penstock_core::entitle::{Passport, TokenFault};
use penstock_core::time::UnixSeconds;
use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Queues. A power of two; an insert waits for others of its queue only.
const QUEUES: usize = 64;
/// Entries that one insert looks at before it takes the next, used or not: bounds its time.
const CHANCES_MAX: usize = 16;
/// What an entry costs beside its passport: the map's slot with its share of free ones, the queue's, the entry itself and
/// its counters. Held against the allocator in a test.
const ENTRY_BYTES: usize = 136;

/// The keyed hash of a token: 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenHash(pub(super) [u8; 16]);

/// The hash of a hash is the hash.
#[derive(Default)]
pub(super) struct Already(u64);

impl Hasher for Already {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
    fn write_usize(&mut self, _: usize) {}
    fn finish(&self) -> u64 {
        self.0
    }
}

struct Entry {
    passport: Result<Arc<Passport>, TokenFault>,
    /// The generations when the account's facts and the revocations were read.
    read_at: Generations,
    /// The generation of the keys that it was verified with.
    keys: u64,
    /// From when on it is not believed.
    until: UnixSeconds,
    /// Whether it was used since it last came by for eviction.
    used: AtomicBool,
    bytes: u32,
}

/// What was found.
pub(super) struct Found {
    pub(super) passport: Result<Arc<Passport>, TokenFault>,
    pub(super) read_at: Generations,
}

/// Of what a passport was made, by number: it is read again when one of them moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Generations {
    /// Of the account's slot.
    pub(super) account: u32,
    /// Of the token's slot among the revoked; 0 for a token that cannot be revoked.
    pub(super) token: u32,
}

pub(super) struct Cache {
    secret: [u8; 32],
    map: DashMap<TokenHash, Entry, BuildHasherDefault<Already>>,
    queues: [Mutex<VecDeque<TokenHash>>; QUEUES],
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Cache {
    pub(super) fn new(secret: [u8; 32], bytes_max: usize) -> Self {
        Self {
            secret,
            map: DashMap::default(),
            queues: std::array::from_fn(|_| Mutex::default()),
            bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    pub(super) fn hash(&self, token: &[u8]) -> TokenHash {
        let hash = blake3::keyed_hash(&self.secret, token);
        let mut first = [0; 16];
        first.copy_from_slice(&hash.as_bytes()[..16]);
        TokenHash(first)
    }

    /// An entry that is still believed.
    pub(super) fn get(&self, hash: &TokenHash, keys: u64, now: UnixSeconds) -> Option<Found> {
        let entry = self.map.get(hash)?;
        if now >= entry.until || entry.keys != keys {
            return None;
        }
        // Written only when it changes something: many read the same entry at once.
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(Found { passport: entry.passport.clone(), read_at: entry.read_at })
    }

    /// Puts an entry in, in place of one with the same hash.
    pub(super) fn insert(
        &self,
        hash: TokenHash,
        passport: Result<Arc<Passport>, TokenFault>,
        read_at: Generations,
        keys: u64,
        until: UnixSeconds,
    ) {
        let bytes = counted(passport.as_ref().map_or(0, |passport| weight(passport)));
        let entry = Entry { passport, read_at, keys, until, used: AtomicBool::new(false), bytes };
        self.bytes.fetch_add(bytes as usize, Ordering::Relaxed);
        if let Some(before) = self.map.insert(hash, entry) {
            // It stands in its queue already.
            self.bytes.fetch_sub(before.bytes as usize, Ordering::Relaxed);
        } else {
            self.queue(usize::from(hash.0[9])).push_back(hash);
        }
        self.keep_bound(usize::from(hash.0[9]));
    }

    /// Takes entries until the budget holds.
    fn keep_bound(&self, first: usize) {
        let mut at = first;
        while self.bytes.load(Ordering::Relaxed) > self.bytes_max {
            // The own queue first; a queue may be empty while others are not.
            if !self.evict_from(at) && self.map.is_empty() {
                return;
            }
            at = at.wrapping_add(1);
        }
    }

    /// Replaces the facts of an entry that is there.
    pub(super) fn renew(&self, hash: &TokenHash, passport: Arc<Passport>, read_at: Generations) {
        let bytes = counted(weight(&passport));
        if let Some(mut entry) = self.map.get_mut(hash) {
            self.bytes.fetch_add(bytes as usize, Ordering::Relaxed);
            self.bytes.fetch_sub(entry.bytes as usize, Ordering::Relaxed);
            (entry.passport, entry.read_at, entry.bytes) = (Ok(passport), read_at, bytes);
        }
        // An account may hold more than it did.
        self.keep_bound(usize::from(hash.0[9]));
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes one entry; `false` when the queue has none.
    fn evict_from(&self, queue: usize) -> bool {
        let mut queue = self.queue(queue);
        for chance in 0..=CHANCES_MAX {
            let Some(hash) = queue.pop_front() else { return false };
            let is_used = self.map.get(&hash).is_some_and(|entry| entry.used.swap(false, Ordering::Relaxed));
            if is_used && chance < CHANCES_MAX {
                queue.push_back(hash);
                continue;
            }
            if let Some((_, gone)) = self.map.remove(&hash) {
                self.bytes.fetch_sub(gone.bytes as usize, Ordering::Relaxed);
                return true;
            }
        }
        true
    }

    fn queue(&self, at: usize) -> std::sync::MutexGuard<'_, VecDeque<TokenHash>> {
        self.queues[at % QUEUES].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an entry is counted as. The largest account is far below what a `u32` holds.
fn counted(passport_bytes: usize) -> u32 {
    u32::try_from(ENTRY_BYTES + passport_bytes).unwrap_or(u32::MAX)
}

/// Bytes of memory of a passport. Facts may be shared with others of the same account and are counted all the same; terms
/// are shared by very many and are not.
fn weight(passport: &Passport) -> usize {
    const ARC_BYTES: usize = 16;
    let names = passport.products.as_ref().map_or(0, |names| names.len() * 40)
        + passport.components.as_ref().map_or(0, |names| names.len() * 40);
    let facts = passport.facts.as_ref().map_or(0, |facts| {
        ARC_BYTES
            + size_of_val(&**facts)
            + size_of_val(&*facts.holdings)
            + facts.extras.as_ref().map_or(0, |extras| {
                size_of_val(&**extras)
                    + extras.agreements.len() * 64
                    + extras.devices.len() * 16
                    + extras.attributes.len() * 96
            })
    });
    ARC_BYTES + size_of::<Passport>() + names + facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_hash_is_the_hash() {
        use std::hash::BuildHasher as _;
        let hash = TokenHash([1, 0, 0, 0, 0, 0, 0, 2, 9, 9, 9, 9, 9, 9, 9, 9]);
        assert_eq!(BuildHasherDefault::<Already>::default().hash_one(hash), 0x0200_0000_0000_0001);
    }
}
