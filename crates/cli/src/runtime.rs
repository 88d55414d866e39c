//! The tokio runtime of client-side commands: small, because they do one thing.

/// A runtime with a worker per core, at most four.
///
/// # Errors
/// When the system gives no threads.
pub(crate) fn start() -> std::io::Result<tokio::runtime::Runtime> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()
}
