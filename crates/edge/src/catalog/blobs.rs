//! Which parts of which releases a blob belongs to: a sharded table that stays small for millions of blobs.

use super::Loose;
use penstock_core::blob::BlobId;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

/// Shards: a change of a large release never keeps a lookup waiting for more than one entry.
const SHARDS: usize = 64;

#[derive(Debug)]
pub(super) struct Blobs {
    shards: [RwLock<HashMap<BlobId, Entry>>; SHARDS],
}

/// What is known of one blob. 32 bytes beside its name; nearly all blobs belong to one release or a few.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Numbers of the parts that it belongs to, rising.
    pub(super) uses: Few,
    /// How it was added outside of any release.
    pub(super) loose: Option<Loose>,
}

/// A set of numbers in rising order, without an allocation while there are two at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Few {
    Inline {
        count: u8,
        numbers: [u32; 2],
    },
    /// Shared, because every request takes a copy.
    Many(Arc<[u32]>),
}

impl Default for Few {
    fn default() -> Self {
        Self::Inline { count: 0, numbers: [0; 2] }
    }
}

impl Few {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::Inline { count, numbers } => &numbers[..usize::from(*count)],
            Self::Many(numbers) => numbers,
        }
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, u32> {
        self.as_slice().iter()
    }

    fn insert(&mut self, number: u32) {
        let Err(at) = self.as_slice().binary_search(&number) else { return };
        let mut all = self.as_slice().to_vec();
        all.insert(at, number);
        *self = Self::from_sorted(all);
    }

    fn remove(&mut self, numbers: &[u32]) {
        if self.iter().any(|one| numbers.contains(one)) {
            *self = Self::from_sorted(self.iter().copied().filter(|one| !numbers.contains(one)).collect());
        }
    }

    fn from_sorted(all: Vec<u32>) -> Self {
        match all[..] {
            [] => Self::default(),
            [one] => Self::Inline { count: 1, numbers: [one, 0] },
            [one, two] => Self::Inline { count: 2, numbers: [one, two] },
            _ => Self::Many(all.into()),
        }
    }
}

impl Default for Blobs {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()) }
    }
}

impl Blobs {
    pub(super) fn get(&self, blob: &BlobId) -> Option<Entry> {
        self.shard(blob).read().unwrap_or_else(PoisonError::into_inner).get(blob).cloned()
    }

    pub(super) fn add_use(&self, blob: BlobId, part: u32) {
        self.shard_mut(&blob).entry(blob).or_default().uses.insert(part);
    }

    pub(super) fn set_loose(&self, blob: BlobId, loose: Option<Loose>) {
        let mut shard = self.shard_mut(&blob);
        let entry = shard.entry(blob).or_default();
        entry.loose = loose;
        if *entry == Entry::default() {
            shard.remove(&blob);
        }
    }

    /// Drops a release's parts from all blobs. Walks the whole table: it happens when a release was registered anew.
    pub(super) fn forget(&self, parts: &[u32]) {
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).retain(|_, entry| {
                entry.uses.remove(parts);
                *entry != Entry::default()
            });
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn shard(&self, blob: &BlobId) -> &RwLock<HashMap<BlobId, Entry>> {
        &self.shards[usize::from(blob.as_bytes()[0]) % SHARDS]
    }

    fn shard_mut(&self, blob: &BlobId) -> RwLockWriteGuard<'_, HashMap<BlobId, Entry>> {
        self.shard(blob).write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 32, "{} bytes", size_of::<Entry>());
    }

    proptest! {
        #[test]
        fn few_is_a_set(steps in proptest::collection::vec((any::<bool>(), 0u32..6), 0..40)) {
            let (mut few, mut set) = (Few::default(), BTreeSet::new());
            for (add, number) in steps {
                if add {
                    few.insert(number);
                    set.insert(number);
                } else {
                    few.remove(&[number]);
                    set.remove(&number);
                }
                prop_assert!(few.iter().eq(set.iter()));
            }
        }
    }
}
