//! A snapshot of accounts comes over while the feed goes on.
//!
//! It may take minutes, or not be had at all for a while, and what is told after it may be a revocation. So it is waited for
//! beside the feed, again and again, and takes its place when it is there. Until then accounts rest on the one before, with
//! all that was told since. It must not decide what is known: the session and the journal do.

use super::connection;
use super::session::SessionError;
use super::{FollowerParts, pause};
use penstock_core::blob::BlobId;
use penstock_core::catalog::CatalogChange;
use penstock_core::statement::AccountsNotice;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How often a snapshot is fetched at once that turns out damaged.
const TRIES: u32 = 2;

/// A snapshot that was told and is not there yet.
pub(super) struct Pending {
    /// The change that told of it.
    pub(super) sequence: u64,
    /// The same.
    pub(super) change: CatalogChange,
    failures: u32,
    coming: Pin<Box<dyn Future<Output = Result<(), SessionError>> + Send>>,
}

impl Pending {
    /// Begins to fetch it.
    pub(super) fn begin(parts: &Arc<FollowerParts>, sequence: u64, change: CatalogChange) -> Self {
        let coming = coming(parts, &change, Duration::ZERO);
        Self { sequence, change, failures: 0, coming }
    }

    /// It did not come: it is tried again after a pause.
    pub(super) fn again(mut self, parts: &Arc<FollowerParts>, error: &SessionError) -> Self {
        self.failures += 1;
        let (sequence, error) = (self.sequence, error as &dyn std::error::Error);
        if self.failures == 1 {
            tracing::error!(
                sequence,
                error,
                "a snapshot of accounts cannot be had: it is tried again, and the feed goes on"
            );
        } else {
            tracing::debug!(sequence, error, failures = self.failures, "a snapshot of accounts still cannot be had");
        }
        self.coming = coming(parts, &self.change, pause(self.failures, RandomState::new().build_hasher().finish()));
        self
    }
}

/// Waits until what is pending came or failed; for ever where nothing is.
pub(super) async fn arrival(pending: &mut Option<Pending>) -> Result<(), SessionError> {
    match pending {
        Some(pending) => pending.coming.as_mut().await,
        None => std::future::pending().await,
    }
}

fn coming(
    parts: &Arc<FollowerParts>,
    change: &CatalogChange,
    after: Duration,
) -> Pin<Box<dyn Future<Output = Result<(), SessionError>> + Send>> {
    let (parts, change) = (Arc::clone(parts), change.clone());
    Box::pin(async move {
        tokio::time::sleep(after).await;
        acquire(&parts, &change).await
    })
}

/// Checks that the snapshot that a change brings is control's, and says whether it lies in the store already, sound.
pub(super) fn is_there(parts: &FollowerParts, change: &CatalogChange) -> Result<bool, SessionError> {
    let CatalogChange::AccountsSnapshot { blob, sequence, notice } = change else { return Ok(true) };
    let verified = AccountsNotice::verify(notice, parts.key, *blob, *sequence);
    verified.map_err(|error| SessionError::Notice(*blob, error))?;
    Ok(parts.copy.store.size_of(blob).is_some()
        && parts.copy.snapshot(*blob).is_ok_and(|snapshot| snapshot.sequence() == *sequence))
}

/// Sees to it that the snapshot that a change brings is control's and lies in the store, sound.
pub(super) async fn acquire(parts: &FollowerParts, change: &CatalogChange) -> Result<(), SessionError> {
    let CatalogChange::AccountsSnapshot { blob, sequence, notice } = change else { return Ok(()) };
    let blob = *blob;
    let verified = AccountsNotice::verify(notice, parts.key, blob, *sequence);
    verified.map_err(|error| SessionError::Notice(blob, error))?;
    for _ in 0..TRIES {
        if parts.copy.store.size_of(&blob).is_none() {
            not_there(blob, connection::fetch(parts, blob, &parts.copy.store).await)?;
        }
        match parts.copy.snapshot(blob) {
            Ok(snapshot) if snapshot.sequence() == *sequence => return Ok(()),
            Ok(_) => tracing::error!(%blob, "a snapshot of accounts is of another change than it should be"),
            Err(error) => {
                let error = &*error as &dyn std::error::Error;
                tracing::error!(%blob, error, "a snapshot of accounts is damaged: it is fetched again");
            }
        }
        parts.copy.quarantine(blob);
        not_there(blob, connection::report(parts, blob).await.map(drop))?;
    }
    Err(SessionError::Snapshot(blob))
}

/// A snapshot that control does not have any more was replaced: what is told next says by which.
fn not_there(blob: BlobId, done: Result<(), SessionError>) -> Result<(), SessionError> {
    done.map_err(|error| if let SessionError::Status(404) = error { SessionError::Snapshot(blob) } else { error })
}
