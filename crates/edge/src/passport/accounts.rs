//! The edge's copy of what accounts hold, under pseudonyms: a snapshot that lies in a mapped file, and what changed since.
//!
//! Told by control, one account at a time. Each change moves the generation of the account's slot, which is how cached
//! passports notice. It must not know a name, and no lock is held longer than one lookup.

use arc_swap::ArcSwap;
use bytes::Bytes;
use penstock_core::account::{AccountFacts, AccountKey, PseudonymKey, Terms};
use penstock_core::snapshot::Snapshot;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Shards of the table.
const SHARDS: usize = 64;
/// Generation numbers. A change of one account makes this part of the cached passports read their facts again.
const GENERATIONS: u16 = 4096;

/// What was told of an account since the snapshot.
struct Told {
    /// The change's number in control's log.
    sequence: u64,
    /// `None`: there is no such account any more.
    facts: Option<Arc<AccountFacts>>,
}

/// All accounts that were told of.
pub struct Accounts {
    pseudonyms: ArcSwap<PseudonymKey>,
    /// Rises whenever pseudonyms are made in another way.
    pseudonyms_generation: AtomicU64,
    base: RwLock<Option<Arc<Snapshot<Bytes>>>>,
    shards: [RwLock<HashMap<AccountKey, Told>>; SHARDS],
    generations: Box<[AtomicU32; GENERATIONS as usize]>,
    /// Terms are few and holdings many.
    terms: Mutex<BTreeSet<Arc<Terms>>>,
}

impl Accounts {
    /// No accounts yet.
    #[must_use]
    pub fn new(pseudonyms: PseudonymKey) -> Self {
        Self {
            pseudonyms: ArcSwap::from_pointee(pseudonyms),
            pseudonyms_generation: AtomicU64::new(0),
            base: RwLock::default(),
            shards: std::array::from_fn(|_| RwLock::default()),
            generations: Box::new(std::array::from_fn(|_| AtomicU32::new(0))),
            terms: Mutex::default(),
        }
    }

    /// What makes this fleet's pseudonyms.
    #[must_use]
    pub fn pseudonyms(&self) -> PseudonymKey {
        **self.pseudonyms.load()
    }

    /// Takes what makes the fleet's pseudonyms, once control told it.
    pub fn set_pseudonyms(&self, pseudonyms: PseudonymKey) {
        let before = self.pseudonyms.swap(Arc::new(pseudonyms));
        if *before.reveal() != *pseudonyms.reveal() {
            // Only now: whoever sees the new number makes the new pseudonyms.
            self.pseudonyms_generation.fetch_add(1, Ordering::Release);
        }
        self.all_changed();
    }

    /// Changes whenever pseudonyms are made in another way: what was named by the old ones names nobody then.
    pub(super) fn pseudonyms_generation(&self) -> u64 {
        self.pseudonyms_generation.load(Ordering::Acquire)
    }

    /// What is known of an account. May wait for the disk where the snapshot's page is not in memory.
    #[must_use]
    pub fn get(&self, account: &AccountKey) -> Option<Arc<AccountFacts>> {
        if let Some(told) = self.shards[shard(account)].read().unwrap_or_else(PoisonError::into_inner).get(account) {
            return told.facts.clone();
        }
        let base = self.base.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        match base.get(account) {
            Ok(facts) => facts.map(Arc::new),
            Err(error) => {
                // Nobody is served on the strength of a damaged file, and nobody's refusal tells why.
                tracing::error!(%error, "an account cannot be read from the snapshot");
                None
            }
        }
    }

    /// A number that changes whenever the account does, and now and then when another one does.
    #[must_use]
    pub fn generation(&self, account: &AccountKey) -> u32 {
        self.generation_of(slot(account))
    }

    /// The same, by slot.
    pub(super) fn generation_of(&self, slot: u16) -> u32 {
        self.generations[usize::from(slot % GENERATIONS)].load(Ordering::Acquire)
    }

    /// Takes what is true of an account from the change of number `sequence` on; `None` when there is none any more.
    pub fn set(&self, sequence: u64, account: AccountKey, facts: Option<AccountFacts>) {
        let facts = facts.map(|facts| Arc::new(self.interned(facts)));
        {
            let mut shard = self.shards[shard(&account)].write().unwrap_or_else(PoisonError::into_inner);
            shard.insert(account, Told { sequence, facts });
        }
        // Only now: whoever sees the new number finds the new facts.
        self.generations[usize::from(slot(&account))].fetch_add(1, Ordering::Release);
    }

    /// Takes a snapshot in place of the one before. What was told of later than it stays.
    pub fn rest_on(&self, snapshot: Snapshot<Bytes>) {
        let sequence = snapshot.sequence();
        *self.base.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(snapshot));
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).retain(|_, told| told.sequence > sequence);
        }
        self.all_changed();
        self.terms.lock().unwrap_or_else(PoisonError::into_inner).retain(|terms| Arc::strong_count(terms) > 1);
    }

    /// Takes other accounts in place of all: a snapshot, and what was told of later than it.
    pub fn replace(&self, snapshot: Option<Snapshot<Bytes>>, told: Vec<(u64, AccountKey, Option<AccountFacts>)>) {
        let mut shards: [HashMap<AccountKey, Told>; SHARDS] = std::array::from_fn(|_| HashMap::new());
        for (sequence, account, facts) in told {
            let facts = facts.map(|facts| Arc::new(self.interned(facts)));
            shards[shard(&account)].insert(account, Told { sequence, facts });
        }
        // Whoever is looked up meanwhile is found as it was or as it is.
        *self.base.write().unwrap_or_else(PoisonError::into_inner) = snapshot.map(Arc::new);
        for (old, new) in self.shards.iter().zip(shards) {
            *old.write().unwrap_or_else(PoisonError::into_inner) = new;
        }
        self.all_changed();
        self.terms.lock().unwrap_or_else(PoisonError::into_inner).retain(|terms| Arc::strong_count(terms) > 1);
    }

    /// Every cached passport reads its facts again.
    fn all_changed(&self) {
        for generation in &*self.generations {
            generation.fetch_add(1, Ordering::Release);
        }
    }

    /// How many the snapshot has, and how many changed since.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let base = self.base.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |base| base.len());
        (base, self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum())
    }

    fn interned(&self, mut facts: AccountFacts) -> AccountFacts {
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        for holding in &mut facts.holdings {
            if let Some(known) = terms.get(&holding.terms) {
                holding.terms = Arc::clone(known);
            } else {
                terms.insert(Arc::clone(&holding.terms));
            }
        }
        facts
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

fn shard(account: &AccountKey) -> usize {
    usize::from(account.0[0]) % SHARDS
}

/// Which generation number is the account's.
pub(super) const fn slot(account: &AccountKey) -> u16 {
    u16::from_le_bytes([account.0[1], account.0[2]]) % GENERATIONS
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::account::{Holding, Standing};
    use penstock_core::snapshot::Builder;
    use penstock_core::time::UnixSeconds;

    fn facts(standing: Standing) -> AccountFacts {
        let terms = Arc::new(Terms::of("game".parse().expect("a name")));
        let holdings = [Holding { terms, starts: UnixSeconds(1), ends: None }].into();
        AccountFacts { standing, holdings, ..AccountFacts::default() }
    }

    fn snapshot(sequence: u64, accounts: &[(AccountKey, Standing)]) -> Snapshot<Bytes> {
        let mut builder = Builder::default();
        for (account, standing) in accounts {
            builder.add(*account, &facts(*standing)).expect("in order");
        }
        Snapshot::new(Bytes::from(builder.finish(sequence).expect("made").concat())).expect("a snapshot")
    }

    #[test]
    fn what_was_told_later_than_the_snapshot_stays() {
        let accounts = Accounts::new(PseudonymKey::from_bytes([1; 32]));
        let [a, b, c, d] = [1, 2, 3, 4].map(|number| AccountKey([number; 16]));
        let standing = |account| accounts.get(&account).map(|facts| facts.standing);
        accounts.set(4, a, Some(facts(Standing::Suspended)));
        accounts.set(6, b, Some(facts(Standing::Suspended)));
        accounts.set(7, c, None);
        let before = accounts.generation(&a);
        accounts.rest_on(snapshot(5, &[(a, Standing::Active), (b, Standing::Active), (c, Standing::Active)]));
        assert_eq!(standing(a), Some(Standing::Active), "the snapshot is newer");
        assert_eq!(standing(b), Some(Standing::Suspended), "the change is newer");
        assert_eq!(standing(c), None, "and so is this end");
        assert_eq!(standing(d), None);
        assert_ne!(accounts.generation(&a), before);
        assert_eq!(accounts.counts(), (3, 2));
        accounts.rest_on(snapshot(7, &[(a, Standing::Active)]));
        assert_eq!((standing(b), accounts.counts()), (None, (1, 0)));
    }

    #[test]
    fn other_accounts_take_the_place_of_all() {
        let accounts = Accounts::new(PseudonymKey::from_bytes([1; 32]));
        let [a, b, c] = [1, 2, 3].map(|number| AccountKey([number; 16]));
        accounts.rest_on(snapshot(5, &[(a, Standing::Active)]));
        accounts.set(9, b, Some(facts(Standing::Active)));
        let before = accounts.generation(&a);
        accounts.replace(None, vec![(3, c, Some(facts(Standing::OnHold)))]);
        assert_eq!(accounts.counts(), (0, 1));
        assert_eq!(accounts.get(&a), None);
        assert_eq!(accounts.get(&c).map(|facts| facts.standing), Some(Standing::OnHold));
        assert_ne!(accounts.generation(&a), before);
    }

    #[test]
    fn terms_are_shared() {
        let accounts = Accounts::new(PseudonymKey::from_bytes([1; 32]));
        let [a, b] = [1, 2].map(|number| AccountKey([number; 16]));
        accounts.set(1, a, Some(facts(Standing::Active)));
        accounts.set(2, b, Some(facts(Standing::Active)));
        let terms = |account| Arc::clone(&accounts.get(&account).expect("there").holdings[0].terms);
        assert!(Arc::ptr_eq(&terms(a), &terms(b)));
    }
}
