//! What control decided for all products at once: the embargo, kept for lookups without a lock.
//!
//! It must not decide: `core::place` does.

use arc_swap::{ArcSwap, Guard};
use penstock_core::place::Embargo;
use std::sync::Arc;

/// The policy of a node. One for all workers.
#[derive(Debug, Default)]
pub struct Policies {
    embargo: ArcSwap<Embargo>,
}

impl Policies {
    /// The embargo policy in force.
    #[must_use]
    pub fn embargo(&self) -> Guard<Arc<Embargo>> {
        self.embargo.load()
    }

    /// Takes an embargo policy in place of the one before: every later request is decided with it.
    pub fn set_embargo(&self, embargo: Embargo) {
        tracing::info!(version = embargo.version, classes = embargo.classes.len(), "the embargo policy is new");
        self.embargo.store(Arc::new(embargo));
    }
}
