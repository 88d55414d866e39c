//! Tokens that were revoked by their ids: sorted keys behind a filter, and beside them what came lately.
//!
//! Told by control, in batches. Most tokens were never revoked, and the filter says so of all but one in 65,000 of them at
//! the cost of three reads; what it lets through is looked up exactly, so that a filter never refuses anybody. What came
//! lately is merged into a new set on a thread of its own, and what no token can outlive is left out then. Each change
//! moves the generation of the token's slot, which is how cached passports notice. It must not know an issuer or an id,
//! and no lock is held longer than one lookup or [`ADDED_UNDER_LOCK`] insertions.

use super::hash::Already;
use crate::token::LEEWAY_SECONDS_MAX;
use arc_swap::ArcSwap;
use penstock_core::account::TokenKey;
use penstock_core::catalog::RevokedToken;
use penstock_core::time::UnixSeconds;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use xorf::{BinaryFuse16, Filter as _};

/// Generation numbers. A revocation makes this part of the cached passports ask again.
const GENERATIONS: u16 = 4096;
/// Revocations that came lately and are not merged yet: each costs about 40 bytes. A burst of more is merged by whoever
/// tells of it.
const LATE_MAX: usize = 131_072;
/// So few are not worth a merge.
const LATE_MIN: usize = 8192;
/// The part of the base that what came lately must reach to be merged: a load of many costs a few times its own size.
const LATE_PART: usize = 4;
/// Insertions under one lock: requests wait for so many at most.
const ADDED_UNDER_LOCK: usize = 256;

/// All tokens that were revoked and did not end by themselves. Shared by all workers.
pub struct Revoked {
    base: ArcSwap<Base>,
    late: RwLock<Late>,
    generations: Box<[AtomicU32; GENERATIONS as usize]>,
    /// One merge at a time.
    merging: Mutex<()>,
    /// Whether a thread was started for the next one.
    is_awaited: AtomicBool,
}

type Keys = HashMap<TokenKey, Minutes, BuildHasherDefault<Already>>;

/// What came lately.
#[derive(Default)]
struct Late {
    /// Since the last merge began.
    young: Keys,
    /// Before that, while it is under way.
    moving: Arc<Keys>,
}

/// When nobody needs to remember a revocation any more, in minutes since 1970, rounded up: 4,000 years and more fit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Minutes(u32);

impl Minutes {
    /// An issuer's tokens are taken for its leeway after their end.
    fn after(until: UnixSeconds) -> Self {
        Self(u32::try_from(until.plus(LEEWAY_SECONDS_MAX).0.div_ceil(60)).unwrap_or(u32::MAX))
    }

    fn is_over(self, now: UnixSeconds) -> bool {
        now.0 >= u64::from(self.0) * 60
    }
}

/// A set that never changes: another one takes its place.
#[derive(Default)]
struct Base {
    /// `None` for so few that it would not pay.
    filter: Option<BinaryFuse16>,
    /// Sorted.
    keys: Box<[TokenKey]>,
    /// Of each.
    ends: Box<[Minutes]>,
}

impl Default for Revoked {
    fn default() -> Self {
        Self {
            base: ArcSwap::default(),
            late: RwLock::default(),
            generations: Box::new(std::array::from_fn(|_| AtomicU32::new(0))),
            merging: Mutex::default(),
            is_awaited: AtomicBool::new(false),
        }
    }
}

impl Revoked {
    /// Whether a token was revoked.
    #[must_use]
    pub fn contains(&self, token: &TokenKey) -> bool {
        // In this order: what a merge moves is in the base before it is gone from here.
        let is_late = {
            let late = self.late();
            late.young.contains_key(token) || late.moving.contains_key(token)
        };
        is_late || self.base.load().contains(token)
    }

    /// A number that changes whenever the token is revoked, and now and then when another one is.
    #[must_use]
    pub fn generation(&self, token: &TokenKey) -> u32 {
        self.generation_of(slot(token))
    }

    /// The same, by slot.
    pub(super) fn generation_of(&self, slot: u16) -> u32 {
        self.generations[usize::from(slot % GENERATIONS)].load(Ordering::Acquire)
    }

    /// Takes revocations; they count for every later request. One that no token can outlive is not kept.
    pub fn add(self: &Arc<Self>, tokens: &[RevokedToken], now: UnixSeconds) {
        for some in tokens.chunks(ADDED_UNDER_LOCK) {
            {
                let mut late = self.late_mut();
                for one in some {
                    let end = Minutes::after(one.until);
                    if !end.is_over(now) {
                        late.young.entry(one.token).and_modify(|known| *known = end.max(*known)).or_insert(end);
                    }
                }
            }
            // Only now: whoever sees the new number finds the revocation.
            for one in some {
                self.generations[usize::from(slot(&one.token))].fetch_add(1, Ordering::Release);
            }
            if self.late().young.len() >= LATE_MAX {
                self.merge(now);
            }
        }
        let enough = (self.base.load().keys.len() / LATE_PART).clamp(LATE_MIN, LATE_MAX);
        if self.late().young.len() >= enough && !self.is_awaited.swap(true, Ordering::AcqRel) {
            let myself = Arc::clone(self);
            let merge = move || {
                let merging = myself.merging();
                // Now, so that what comes while it runs gets a merge of its own, and one thread waits at most.
                myself.is_awaited.store(false, Ordering::Release);
                myself.merge_held(&merging, now);
            };
            let thread = thread::Builder::new().name("penstock-revoked".to_owned()).spawn(merge);
            if let Err(error) = thread {
                tracing::warn!(%error, "no thread to merge revoked tokens: done here");
                self.is_awaited.store(false, Ordering::Release);
                self.merge(now);
            }
        }
    }

    /// How many are remembered, in the base and beside it; some may be in both.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let late = self.late();
        (self.base.load().keys.len(), late.young.len() + late.moving.len())
    }

    /// Bytes of memory of the base.
    #[must_use]
    pub fn base_bytes(&self) -> usize {
        let base = self.base.load();
        let filter = base.filter.as_ref().map_or(0, |filter| filter.len() * size_of::<u16>());
        size_of_val(&*base.keys) + size_of_val(&*base.ends) + filter
    }

    /// Makes a new base of the old one and what came lately, without what is over.
    fn merge(&self, now: UnixSeconds) {
        self.merge_held(&self.merging(), now);
    }

    fn merge_held(&self, _: &MutexGuard<'_, ()>, now: UnixSeconds) {
        let moving = {
            let mut late = self.late_mut();
            let mut young = std::mem::take(&mut late.young);
            // None, unless a merge before this one broke down.
            for (token, end) in late.moving.iter() {
                young.entry(*token).and_modify(|known| *known = (*end).max(*known)).or_insert(*end);
            }
            late.moving = Arc::new(young);
            Arc::clone(&late.moving)
        };
        let next = Base::merged(&self.base.load(), &moving, now);
        self.base.store(Arc::new(next));
        let done = std::mem::take(&mut self.late_mut().moving);
        // Freed without the lock.
        drop((moving, done));
    }

    fn merging(&self) -> MutexGuard<'_, ()> {
        self.merging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self) -> RwLockReadGuard<'_, Late> {
        self.late.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn late_mut(&self) -> RwLockWriteGuard<'_, Late> {
        self.late.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Revoked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revoked").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Base {
    fn contains(&self, token: &TokenKey) -> bool {
        let may_be = self.filter.as_ref().is_none_or(|filter| filter.contains(&word(token)));
        may_be && self.keys.binary_search(token).is_ok()
    }

    fn merged(old: &Self, more: &Keys, now: UnixSeconds) -> Self {
        let mut all: Vec<(TokenKey, Minutes)> = Vec::with_capacity(old.keys.len() + more.len());
        all.extend(old.keys.iter().copied().zip(old.ends.iter().copied()));
        all.extend(more.iter().map(|(token, end)| (*token, *end)));
        // Two runs, one of them sorted: the stable sort merges. Of a key that is twice there the later end is last.
        all.sort();
        all.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                kept.1 = later.1;
            }
            is_same
        });
        all.retain(|(_, end)| !end.is_over(now));
        let (keys, ends): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        Self { filter: filter(&keys), keys: keys.into(), ends: ends.into() }
    }
}

/// A filter of sorted keys; none for few, or where none can be made: then all are looked up exactly.
fn filter(keys: &[TokenKey]) -> Option<BinaryFuse16> {
    if keys.len() < LATE_MIN {
        return None;
    }
    let mut words: Vec<u64> = keys.iter().map(word).collect();
    // It wants no key twice, and two tokens may begin alike.
    words.dedup();
    match BinaryFuse16::try_from(&words) {
        Ok(filter) => Some(filter),
        Err(error) => {
            tracing::warn!(error, "no filter for revoked tokens: each is looked up");
            None
        }
    }
}

/// The part of a token's pseudonym that the filter knows. In the order of the keys.
const fn word(token: &TokenKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = token.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Which generation number is the token's.
pub(super) const fn slot(token: &TokenKey) -> u16 {
    u16::from_le_bytes([token.0[8], token.0[9]]) % GENERATIONS
}

#[cfg(test)]
mod tests;
