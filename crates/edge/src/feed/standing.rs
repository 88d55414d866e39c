//! How much an edge knows and how old that is: for `/readyz`, and for whoever asks before the first state came.

use penstock_core::time::UnixSeconds;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What an edge knows of control's log. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Standing(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_whole: AtomicBool,
    is_following: AtomicBool,
    sequence: AtomicU64,
    heard: AtomicU64,
}

/// [`Standing`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Knowledge {
    /// Whether a whole state is known: without one there is nothing to serve.
    pub whole: bool,
    /// Whether control's feed is being heard.
    pub following: bool,
    /// The last change that is known.
    pub sequence: u64,
    /// Seconds since this was the newest there was, as far as this edge's clock can tell.
    pub age_seconds: u64,
}

impl Standing {
    /// This moment.
    #[must_use]
    pub fn at(&self, now: UnixSeconds) -> Knowledge {
        Knowledge {
            whole: self.is_whole(),
            following: self.0.is_following.load(Ordering::Relaxed),
            sequence: self.0.sequence.load(Ordering::Relaxed),
            age_seconds: now.0.saturating_sub(self.0.heard.load(Ordering::Relaxed)),
        }
    }

    /// Whether a whole state is known.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.is_whole.load(Ordering::Acquire)
    }

    /// A whole state of this change is known, and was the newest at that moment.
    pub fn whole(&self, sequence: u64, heard: UnixSeconds) {
        self.known(sequence);
        self.current(heard);
        self.0.is_whole.store(true, Ordering::Release);
    }

    pub(super) fn known(&self, sequence: u64) {
        self.0.sequence.store(sequence, Ordering::Relaxed);
    }

    /// Nothing newer was there at that moment.
    pub fn current(&self, heard: UnixSeconds) {
        // Not the latest ever: a clock that was ahead once must not make this young for as long as it was.
        self.0.heard.store(heard.0, Ordering::Relaxed);
    }

    pub(super) fn following(&self, is_following: bool) {
        self.0.is_following.store(is_following, Ordering::Relaxed);
    }
}
