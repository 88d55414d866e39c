//! The one door to the store: a blob is opened for a `&Grant` and for nothing else. Also the bounded pool on which
//! everything that may wait for a disk runs.
//!
//! It must not decide who may read.

use crate::metrics::IO_JOBS;
use bytes::Bytes;
use metrics::{Gauge, gauge};
use penstock_core::blob::{BlobId, BlobSize};
use penstock_core::entitle::Grant;
use penstock_store::{BlobView, Store, ViewError};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

/// Digests computed at once: each reads a whole blob and keeps a core busy meanwhile.
const DIGESTS_AT_ONCE: usize = 1;

/// Why a job on the pool has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShelfError {
    /// The store cannot give the bytes.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The node is stopping, or the job panicked.
    #[error("the io pool did not finish the job")]
    Pool,
}

/// Opens blobs. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    store: Store,
    pool: IoPool,
    digests: Arc<Semaphore>,
}

impl Shelf {
    /// `io_threads` is how many jobs may wait for the disk at once, at least 1.
    pub(crate) fn new(store: Store, io_threads: usize) -> Self {
        Self { store, pool: IoPool::new(io_threads), digests: Arc::new(Semaphore::new(DIGESTS_AT_ONCE)) }
    }

    pub(crate) const fn pool(&self) -> &IoPool {
        &self.pool
    }

    /// The granted blob's size; `None` if it is not here.
    pub(crate) fn size_of(&self, grant: &Grant) -> Option<BlobSize> {
        self.store.size_of(&grant.blob())
    }

    /// Opens the granted blob: at once if it is open already, else on the pool.
    pub(crate) async fn open(&self, grant: &Grant) -> Result<BlobView, ShelfError> {
        let blob: BlobId = grant.blob();
        if let Some(view) = self.store.cached_view(&blob) {
            return Ok(view);
        }
        let store = self.store.clone();
        // Boxed: most requests find the blob open, and all pay for the size of this future.
        Box::pin(self.pool.run(move || store.view(&blob))).await
    }

    /// The SHA-256 of an open blob, computed at its first use.
    pub(crate) async fn sha256(&self, view: &BlobView) -> Result<[u8; 32], ShelfError> {
        if let Some(digest) = view.cached_sha256() {
            return Ok(digest);
        }
        let _turn = self.digests.acquire().await.map_err(|_| ShelfError::Pool)?;
        let view = view.clone();
        self.pool.run(move || view.sha256()).await
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
