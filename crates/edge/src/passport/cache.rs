//! The cache itself: a dashmap with a byte budget and second-chance eviction.
//!
//! Every entry stands in the map and, by its hash, in one of many queues. Whatever goes over the budget takes from
//! the front of its queue: what was used since it last came by goes to the back, what was not goes. No guard of the map
//! is held over another call of it, or leaves this file.

use super::hash::{Already, ProofHash};
use dashmap::DashMap;
use penstock_core::entitle::{Passport, TokenFault};
use penstock_core::time::UnixSeconds;
use std::collections::VecDeque;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Queues. A power of two; an insert waits for others of its queue only.
const QUEUES: usize = 64;
/// Entries that one insert looks at before it takes the next, used or not: bounds its time.
const CHANCES_MAX: usize = 16;
/// What an entry costs beside its passport: the map's slot with its share of free ones, the queue's, the entry itself and
/// its counters. Held against the allocator in `benches/`.
const ENTRY_BYTES: usize = 136;

/// What can be kept.
pub(super) trait Kept: Clone {
    /// Bytes of memory beside the entry.
    fn weight(&self) -> usize;
}

impl Kept for Arc<Passport> {
    fn weight(&self) -> usize {
        weight(self)
    }
}

impl Kept for TokenFault {
    fn weight(&self) -> usize {
        0
    }
}

struct Entry<T> {
    value: T,
    stand: Stand,
    keys: u64,
    until: UnixSeconds,
    /// Whether it was used since it last came by for eviction.
    used: AtomicBool,
    bytes: u32,
}

// A lookup waits for memory more than for anything else. With its hash a passport's entry is one line of the processor's
// cache, and the passport with its counts begins on another.
const _: () = assert!(size_of::<(ProofHash, Entry<Arc<Passport>>)>() == 64);

/// A passport or a refusal, and what must not have moved for it to be believed.
#[derive(Clone)]
pub(super) struct Rest<T> {
    pub(super) value: T,
    pub(super) stand: Stand,
    /// The generation of the keys that it was verified with.
    pub(super) keys: u64,
    /// From when on it is not believed.
    pub(super) until: UnixSeconds,
}

/// Of what a passport was made, by slot and number: it is read again when one of the numbers moved. Beside the passport, so
/// that a look at it touches nothing else of the entry's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stand {
    /// The account's slot.
    pub(super) account_slot: u16,
    /// The token's slot among the revoked; `None` for what cannot be revoked.
    pub(super) token_slot: Option<u16>,
    /// The account's generation when its facts were read.
    pub(super) account: u32,
    /// The token's, likewise.
    pub(super) token: u32,
}

impl Stand {
    /// Of what has no account: a refusal.
    pub(super) const NOWHERE: Self = Self { account_slot: 0, token_slot: None, account: 0, token: 0 };
}

pub(super) struct Cache<T> {
    map: DashMap<ProofHash, Entry<T>, BuildHasherDefault<Already>>,
    queues: [Mutex<VecDeque<ProofHash>>; QUEUES],
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl<T: Kept> Cache<T> {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            map: DashMap::default(),
            queues: std::array::from_fn(|_| Mutex::default()),
            bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// An entry that is still believed, as far as this can tell: whether its stand moved is for others to say.
    pub(super) fn get(&self, hash: &ProofHash, keys: u64, now: UnixSeconds) -> Option<Rest<T>> {
        let entry = self.map.get(hash)?;
        if now >= entry.until || entry.keys != keys {
            return None;
        }
        // Written only when it changes something: many read the same entry at once.
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(Rest { value: entry.value.clone(), stand: entry.stand, keys, until: entry.until })
    }

    /// Puts something in, in place of what had the same hash.
    pub(super) fn insert(&self, hash: ProofHash, rest: Rest<T>) {
        let Rest { value, stand, keys, until } = rest;
        let bytes = counted(&value);
        self.put(hash, Entry { value, stand, keys, until, used: AtomicBool::new(false), bytes });
    }

    fn put(&self, hash: ProofHash, entry: Entry<T>) {
        self.bytes.fetch_add(entry.bytes as usize, Ordering::Relaxed);
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

    /// Replaces what an entry that is there has.
    pub(super) fn renew(&self, hash: &ProofHash, value: T, stand: Stand) {
        let bytes = counted(&value);
        if let Some(mut entry) = self.map.get_mut(hash) {
            self.bytes.fetch_add(bytes as usize, Ordering::Relaxed);
            self.bytes.fetch_sub(entry.bytes as usize, Ordering::Relaxed);
            (entry.value, entry.stand, entry.bytes) = (value, stand, bytes);
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

    fn queue(&self, at: usize) -> std::sync::MutexGuard<'_, VecDeque<ProofHash>> {
        self.queues[at % QUEUES].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an entry is counted as. The largest account is far below what a `u32` holds.
fn counted(value: &impl Kept) -> u32 {
    u32::try_from(ENTRY_BYTES + value.weight()).unwrap_or(u32::MAX)
}

/// Bytes of memory of a passport. Facts may be shared with others of the same account and are counted all the same; terms
/// are shared by very many and are not.
fn weight(passport: &Passport) -> usize {
    const ARC_BYTES: usize = 16;
    let narrowing = passport.narrowing().map_or(0, |narrowing| {
        size_of_val(narrowing)
            + narrowing.products.as_ref().map_or(0, |names| names.len() * 40)
            + narrowing.components.as_ref().map_or(0, |names| names.len() * 40)
            + narrowing.path.as_ref().map_or(0, |path| path.as_str().len())
    });
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
    ARC_BYTES + size_of::<Passport>() + narrowing + facts
}
