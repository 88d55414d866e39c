//! A bounded queue with worker threads, for work that hashes, decodes or touches the disk.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Jobs waiting per worker. Jobs are small descriptions, not contents.
const QUEUE_PER_WORKER: usize = 4;

/// Where the producer puts jobs.
pub(crate) struct Feed<J>(SyncSender<J>);

/// The workers have stopped, because one of them failed: the producer may return early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

impl<J> Feed<J> {
    /// Waits for room and hands over a job.
    pub(crate) fn push(&self, job: J) -> Result<(), Stopped> {
        self.0.send(job).map_err(|_| Stopped)
    }
}

/// A worker panicked. That is a bug of this program; the operation ends with an error instead of hanging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a worker of this program broke down: please report it, with the log")]
pub struct WorkerPanicked;

/// Runs one piece of a worker's work; a panic in it becomes an error.
pub(crate) fn guarded<T, E: From<WorkerPanicked>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    // What the work touches is dropped or thrown away after the error, never looked at again.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| Err(WorkerPanicked.into()))
}

/// How many threads `wanted` means: 0 is one per core, at most 8.
pub(crate) fn worker_count(wanted: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if wanted == 0 { cores.min(8) } else { wanted.min(64) }
}

/// Runs `produce` here and one `worker()` per thread until the jobs are done; the first error wins.
pub(crate) fn run<J, E, W>(
    workers: usize,
    worker: impl Fn() -> W + Sync,
    produce: impl FnOnce(&Feed<J>) -> Result<(), E>,
) -> Result<(), E>
where
    J: Send,
    E: Send + From<WorkerPanicked>,
    W: FnMut(J) -> Result<(), E>,
{
    let workers = workers.max(1);
    let (sender, receiver) = sync_channel(workers * QUEUE_PER_WORKER);
    let queue = Mutex::new(Some(receiver));
    let failure = Mutex::new(None);
    let produced = std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut work = worker();
                while let Some(job) = next(&queue) {
                    if let Err(error) = guarded(|| work(job)) {
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        // Without a receiver the producer notices, and the other workers end.
                        queue.lock().unwrap_or_else(PoisonError::into_inner).take();
                    }
                }
            });
        }
        let feed = Feed(sender);
        produce(&feed)
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => produced,
    }
}

fn next<J>(queue: &Mutex<Option<Receiver<J>>>) -> Option<J> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Debug, PartialEq, Eq)]
    enum Stop {
        Seven,
        Panicked,
    }

    impl From<WorkerPanicked> for Stop {
        fn from(_: WorkerPanicked) -> Self {
            Self::Panicked
        }
    }

    /// Feeds numbers until the workers stop.
    fn endless(work: impl Fn(u64) -> Result<(), Stop> + Sync) -> Result<(), Stop> {
        run(
            2,
            || &work,
            |feed| {
                (1..).find(|job| feed.push(*job).is_err());
                Ok(())
            },
        )
    }

    #[test]
    fn all_jobs_are_done_and_the_first_error_stops_the_rest() {
        let sum = AtomicU64::new(0);
        let add = |job: u64| {
            sum.fetch_add(job, Ordering::Relaxed);
            Ok::<(), Stop>(())
        };
        run(3, || add, |feed| (1..=100).try_for_each(|job| feed.push(job)).map_err(|_| Stop::Seven))
            .expect("no failure");
        assert_eq!(sum.into_inner(), 5050);
        assert_eq!(endless(|job| if job == 7 { Err(Stop::Seven) } else { Ok(()) }), Err(Stop::Seven));
    }

    /// Found in review: when every worker had panicked, the producer waited for room for ever.
    #[test]
    fn a_panic_ends_the_work_with_an_error() {
        assert_eq!(endless(|_| panic!("a bug")), Err(Stop::Panicked));
    }
}
