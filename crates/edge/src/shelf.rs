//! The one door to the store: a blob is opened for a `&Grant` and for nothing else, and no more of them at once than the
//! process has descriptors for. Also the bounded pool on which everything that may wait for a disk runs.
//!
//! It must not decide who may read.

mod live;

pub(crate) use live::{Live, LiveBlobs};

use crate::metrics::IO_JOBS;
use bytes::Bytes;
use metrics::{Gauge, gauge};
use penstock_core::blob::{BlobId, BlobSize};
use penstock_core::entitle::Grant;
use penstock_core::limits::GROUP_BYTES;
use penstock_store::{BlobView, Store, ViewError};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

/// Digests computed at once: each reads a whole blob and keeps a core busy meanwhile.
const DIGESTS_AT_ONCE: usize = 1;

/// Why a job on the pool has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShelfError {
    /// The store cannot give the bytes.
    #[error(transparent)]
    View(#[from] ViewError),
    /// As many blobs are being sent as the process has descriptors for.
    #[error("as many blobs are under way as may be open")]
    Full,
    /// The node is stopping, or the job panicked.
    #[error("the io pool did not finish the job")]
    Pool,
}

/// Opens blobs. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    store: Store,
    pool: IoPool,
    digests: Turns,
    live: LiveBlobs,
}

impl Shelf {
    /// `io_threads` is how many jobs may wait for the disk at once, at least 1.
    pub(crate) fn new(store: Store, io_threads: usize) -> Self {
        Self { store, pool: IoPool::new(io_threads), digests: Turns::new(DIGESTS_AT_ONCE), live: LiveBlobs::new() }
    }

    /// Sets how many blobs may be under way at once.
    pub(crate) fn set_live_max(&self, max: usize) {
        self.live.set_max(max);
    }

    pub(crate) const fn pool(&self) -> &IoPool {
        &self.pool
    }

    /// The granted blob's size; `None` if it is not here.
    pub(crate) fn size_of(&self, grant: &Grant) -> Option<BlobSize> {
        self.store.size_of(&grant.blob())
    }

    /// Opens the granted blob: at once if it is open already, else on the pool.
    pub(crate) async fn open(&self, grant: &Grant) -> Result<Arc<Live>, ShelfError> {
        let blob: BlobId = grant.blob();
        if let Some(live) = self.live.get(&blob) {
            return Ok(live);
        }
        // A blob of one group is held in memory: it needs no file once it is open.
        let needs_file = self.store.size_of(&blob).is_none_or(|size| size.0 > GROUP_BYTES);
        let ticket = if needs_file { Some(self.live.ticket().ok_or(ShelfError::Full)?) } else { None };
        if let Some(view) = self.store.cached_view(&blob) {
            return Ok(self.live.share(view, ticket));
        }
        let store = self.store.clone();
        // Boxed: most requests find the blob open, and all pay for the size of this future.
        let view = Box::pin(self.pool.run(move || store.view(&blob))).await?;
        Ok(self.live.share(view, ticket))
    }

    /// The SHA-256 of an open blob, computed at its first use.
    pub(crate) async fn sha256(&self, view: &BlobView) -> Result<[u8; 32], ShelfError> {
        if let Some(digest) = view.cached_sha256() {
            return Ok(digest);
        }
        let turn = self.digests.take().await?;
        // Whoever had the turn before may have asked for the same one.
        if let Some(digest) = view.cached_sha256() {
            return Ok(digest);
        }
        let view = view.clone();
        self.pool.run(turn.until_done(move || view.sha256())).await
    }
}

/// A bound on jobs of one kind, within the pool's own.
#[derive(Debug, Clone)]
struct Turns(Arc<Semaphore>);

/// One of them.
struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    async fn take(&self) -> Result<Turn, ShelfError> {
        Arc::clone(&self.0).acquire_owned().await.map(|permit| Turn { _permit: permit }).map_err(|_| ShelfError::Pool)
    }
}

impl Turn {
    /// The job, which ends the turn. Not the request that asked for it: that one may go away while the job runs on, and
    /// a peer who asks and leaves again and again would have a job on every thread.
    fn until_done<T>(self, job: impl FnOnce() -> T) -> impl FnOnce() -> T {
        move || {
            let result = job();
            drop(self);
            result
        }
    }
}

/// A bounded number of blocking jobs. Cheap to clone; clones share the bound.
#[derive(Clone)]
pub(crate) struct IoPool {
    permits: Arc<Semaphore>,
    jobs: Gauge,
}

impl std::fmt::Debug for IoPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IoPool").field("free", &self.permits.available_permits()).finish_non_exhaustive()
    }
}

/// A job under way; dropping it before it has begun takes it off the queue.
pub(crate) type Job<T> = AbortOnDropHandle<Result<T, ShelfError>>;

impl IoPool {
    fn new(threads: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(threads.max(1))), jobs: gauge!(IO_JOBS) }
    }

    /// Runs a blocking job once there is room, and waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ShelfError> {
        let _counted = Counted::new(&self.jobs);
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| ShelfError::Pool)?;
        let task = tokio::task::spawn_blocking(move || {
            let result = job();
            drop(permit);
            result
        });
        Ok(task.await.map_err(|_| ShelfError::Pool)??)
    }

    /// As [`Self::run`], but it proceeds whether or not anybody polls. Needs a runtime around it.
    pub(crate) fn start(&self, job: impl FnOnce() -> Result<Bytes, ViewError> + Send + 'static) -> Job<Bytes> {
        let pool = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move { pool.run(job).await }))
    }

    /// Runs a job whose result nobody needs. Does nothing when the runtime is gone: then the process is ending.
    pub(crate) fn detach(&self, job: impl FnOnce() -> Result<(), ViewError> + Send + 'static) {
        let pool = self.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { drop(pool.run(job).await) });
        }
    }
}

/// One job in the gauge.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A peer that asks for a digest and leaves must not free the turn while its job still reads the blob.
    #[tokio::test]
    async fn a_turn_ends_with_the_job_and_not_with_the_request() {
        let (pool, turns) = (IoPool::new(4), Turns::new(1));
        let (began_in, began) = mpsc::sync_channel(1);
        let (finish, finishing) = mpsc::sync_channel::<()>(1);
        let turn = turns.take().await.expect("free");
        let job = turn.until_done(move || {
            began_in.send(()).expect("the test waits");
            _ = finishing.recv();
            Ok(())
        });
        let request = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(job).await }
        });
        tokio::task::spawn_blocking(move || began.recv().expect("it begins")).await.expect("no panic");
        request.abort();
        assert!(request.await.is_err_and(|ended| ended.is_cancelled()));
        assert_eq!(turns.0.available_permits(), 0, "the job still runs");
        finish.send(()).expect("it waits");
        turns.take().await.expect("free once it is done");
    }
}
