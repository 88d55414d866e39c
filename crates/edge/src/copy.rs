//! The edge's copy of what control knows: catalogue, accounts and policy, told of through one sink.
//!
//! It must not decide or keep anything itself: each change goes to whom it concerns.

use crate::catalog::EdgeCatalog;
use crate::feed::Standing;
use crate::passport::{Accounts, Revoked};
use crate::policy::Policies;
use bytes::Bytes;
use penstock_core::blob::{BlobId, ByteRange};
use penstock_core::catalog::{CatalogChange, CatalogSink};
use penstock_core::snapshot::Snapshot;
use penstock_core::time::UnixSeconds;
use penstock_store::Store;
use std::sync::Arc;
use std::time::Instant;

/// See the module.
#[derive(Clone)]
pub struct EdgeCopy {
    /// Products, releases, offers, blobs.
    pub catalog: Arc<EdgeCatalog>,
    /// Accounts.
    pub accounts: Arc<Accounts>,
    /// Tokens that were revoked.
    pub revoked: Arc<Revoked>,
    /// What may not be sent where, and who is in which segment.
    pub policies: Arc<Policies>,
    /// Where snapshots of accounts lie.
    pub store: Store,
    /// How old it is.
    pub standing: Standing,
    /// The clock.
    pub clock: fn() -> UnixSeconds,
}

impl EdgeCopy {
    /// Takes a snapshot of accounts. One that cannot be used leaves the accounts as they were, and is put aside: control
    /// makes another when it misses it.
    fn rest_on(&self, blob: BlobId) {
        let begun = Instant::now();
        match self.snapshot(blob) {
            Ok(snapshot) => {
                let (accounts, sequence) = (snapshot.len(), snapshot.sequence());
                self.accounts.rest_on(snapshot);
                let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(%blob, accounts, sequence, milliseconds, "accounts rest on a snapshot");
            }
            Err(error) => {
                let error = &*error as &dyn std::error::Error;
                tracing::error!(%blob, error, "a snapshot of accounts cannot be used: accounts stay as they were");
                self.quarantine(blob);
            }
        }
    }

    /// Puts a damaged snapshot aside, so that nobody takes it for one.
    pub(crate) fn quarantine(&self, blob: BlobId) {
        if let Err(error) = self.store.quarantine(&blob, "a snapshot of accounts that cannot be used") {
            tracing::error!(%blob, %error, "a damaged snapshot of accounts cannot be put aside");
        }
    }

    /// The whole blob as it lies in its map. It is hashed once more: what is in it decides who may read what.
    pub(crate) fn snapshot(&self, blob: BlobId) -> Result<Snapshot<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
        let view = self.store.view(&blob)?;
        let whole = ByteRange::whole(view.size()).ok_or("it is empty")?;
        let bytes = view.load_window(whole)?;
        if BlobId::of(&bytes) != blob {
            return Err("its bytes are not those of its name".into());
        }
        Ok(Snapshot::new(bytes)?)
    }
}

impl CatalogSink for EdgeCopy {
    fn apply(&self, sequence: u64, change: CatalogChange) {
        match change {
            CatalogChange::Account { account, facts } => self.accounts.set(sequence, account, facts),
            CatalogChange::AccountsSnapshot { blob, .. } => self.rest_on(blob),
            CatalogChange::TokensRevoked { tokens } => self.revoked.add(&tokens, (self.clock)()),
            CatalogChange::Embargo(embargo) => self.policies.set_embargo(embargo),
            CatalogChange::Segment(segment) => self.policies.set_segment(segment),
            CatalogChange::SegmentGone { name } => self.policies.remove_segment(&name),
            other => self.catalog.apply(other),
        }
    }

    fn confirm(&self) {
        self.standing.current((self.clock)());
    }
}
