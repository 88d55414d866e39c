//! One at a time per blob: whoever renames, unlinks or rebuilds a blob's files holds its claim.
//!
//! Claims make concurrent imports of one blob safe: the second waits, then finds the first's blob sealed and synced.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use penstock_core::blob::BlobId;

/// The blobs that are being changed right now.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    held: Mutex<HashSet<BlobId>>,
    released: Condvar,
}

/// Exclusive right to change the files of some blobs, until dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    claims: &'a Claims,
    blobs: Vec<BlobId>,
}

impl Claims {
    /// Waits until none of `blobs` is claimed, then claims them. Several claims are taken in the order of names, so
    /// that two takers cannot wait for each other; nobody who holds a claim may ask for another.
    pub(crate) fn take(&self, blobs: impl IntoIterator<Item = BlobId>) -> Claim<'_> {
        let mut blobs: Vec<BlobId> = blobs.into_iter().collect();
        blobs.sort_unstable();
        blobs.dedup();
        let mut held = self.lock();
        for blob in &blobs {
            while !held.insert(*blob) {
                held = self.released.wait(held).unwrap_or_else(PoisonError::into_inner);
            }
        }
        drop(held);
        Claim { claims: self, blobs }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<BlobId>> {
        // The set is changed by single calls only, so a panic elsewhere cannot have left it half-changed.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut held = self.claims.lock();
        for blob in &self.blobs {
            held.remove(blob);
        }
        drop(held);
        self.claims.released.notify_all();
    }
}
