//! What the last request of a connection showed: many ranges asked for on one connection look nothing up.
//!
//! It keeps the hash of the value and not the value: 700 bytes for each of 200,000 connections would be 140 MB, and a
//! comparison would tell those who share a connection through a proxy how far they guessed.

use super::Held;
use super::hash::ProofHash;
use penstock_core::time::UnixSeconds;
use std::sync::{Mutex, PoisonError};

/// So long the cache is not asked, in seconds: it must hear now and then that the entry is used.
const QUIET_SECONDS: u64 = 60;

/// The memory of one connection. A clone remembers nothing, and any two are equal: it is no part of what a connection is.
#[derive(Default)]
pub struct Memo(Mutex<Option<(ProofHash, UnixSeconds, Held)>>);

impl Memo {
    /// What the same value showed a moment ago.
    pub(super) fn get(&self, hash: &ProofHash, now: UnixSeconds) -> Option<Held> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, until, rest) = last.as_ref()?;
        (known == hash && now < *until).then(|| rest.clone())
    }

    pub(super) fn set(&self, hash: ProofHash, rest: Held, now: UnixSeconds) {
        let last = (hash, now.plus(QUIET_SECONDS), rest);
        // What was there is dropped without the lock.
        let _before = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(last);
    }
}

impl Clone for Memo {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memo {}

impl std::fmt::Debug for Memo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memo")
    }
}
