//! The edge's copy of what control knows: catalogue and accounts, told of through one sink.
//!
//! It must not decide or keep anything itself: each change goes to whom it concerns.

use crate::catalog::EdgeCatalog;
use crate::passport::Accounts;
use penstock_core::catalog::{CatalogChange, CatalogSink};
use std::sync::Arc;

/// See the module.
#[derive(Debug, Clone)]
pub struct EdgeCopy {
    /// Products, releases, offers, blobs.
    pub catalog: Arc<EdgeCatalog>,
    /// Accounts.
    pub accounts: Arc<Accounts>,
}

impl CatalogSink for EdgeCopy {
    fn apply(&self, sequence: u64, change: CatalogChange) {
        match change {
            CatalogChange::Account { account, facts } => self.accounts.set(sequence, account, facts),
            other => self.catalog.apply(other),
        }
    }
}
