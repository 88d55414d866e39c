//! The log of a node: events of `tracing` as lines on stderr or in a file.
//!
//! Lines go through a bounded queue to a thread of their own: a reader of the log that stalls must not
//! stall the data plane. When the queue is full, lines are dropped and counted, and the count is told.

use penstock_edge::config::{LogConfig, LogFormat};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Registry, fmt};

/// Lines that may wait for the writer: about 4 MB at 500 bytes each.
const LINES_MAX: usize = 8192;
/// The access log's events pass whatever the level is: `log.access` alone switches them, where they are written.
const ACCESS: &str = "penstock::access=info";

/// Where lines go.
#[derive(Debug)]
pub(crate) enum Destination<'a> {
    /// The process's stderr.
    Stderr,
    /// A file, appended to.
    File(&'a Path),
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The level is neither a level nor directives.
    #[error("log.level {level:?} is neither a level nor filter directives")]
    Level {
        /// What the config says.
        level: String,
        /// Why.
        #[source]
        source: ParseError,
    },
    /// The file cannot be opened.
    #[error("cannot open the log file")]
    File(#[source] io::Error),
    /// The writer's thread cannot be started.
    #[error("cannot start the log's thread")]
    Thread(#[source] io::Error),
    /// Something else in the process logs already.
    #[error("the log is set up already")]
    Twice(#[from] TryInitError),
}

/// The running log. Dropping it writes what waits.
pub(crate) struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    queue: Queue,
    writer: Option<JoinHandle<()>>,
}

impl Log {
    /// Installs the log for the whole process.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn install(config: &LogConfig, destination: &Destination<'_>) -> Result<Self, LogError> {
        let out: Box<dyn Write + Send> = match destination {
            Destination::Stderr => Box::new(io::stderr()),
            Destination::File(path) => Box::new(append(path).map_err(LogError::File)?),
        };
        let (sender, receiver) = sync_channel(LINES_MAX);
        let queue = Queue { sender, dropped: Arc::new(AtomicU64::new(0)) };
        let dropped = Arc::clone(&queue.dropped);
        let thread = std::thread::Builder::new().name("penstock-log".to_owned());
        let writer = thread.spawn(move || write_lines(out, &receiver, &dropped)).map_err(LogError::Thread)?;
        let (filter, handle) = reload::Layer::new(filter(config)?);
        let lines = fmt::layer().with_writer(queue.clone()).with_ansi(false);
        let registry = tracing_subscriber::registry().with(filter);
        match config.format {
            LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
            LogFormat::Text => registry.with(lines).try_init()?,
        }
        Ok(Self { filter: handle, queue, writer: Some(writer) })
    }

    /// What takes a changed level while the node runs.
    pub(crate) fn on_reload(&self) -> impl Fn(&LogConfig) + Send + Sync + use<> {
        let handle = self.filter.clone();
        move |config| match filter(config) {
            Ok(filter) => {
                // It fails only when the log is gone, and then there is nobody to tell.
                let _ = handle.reload(filter);
            }
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the log's level stays as it was"),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // An empty line is the end: clones of the queue live in the subscriber for ever.
        let _ = self.queue.sender.send(Vec::new());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn filter(config: &LogConfig) -> Result<EnvFilter, LogError> {
    let failed = |source| LogError::Level { level: config.level.clone(), source };
    let filter = EnvFilter::builder().parse(&config.level).map_err(failed)?;
    let directive = ACCESS.parse().map_err(failed)?;
    Ok(filter.add_directive(directive))
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write_lines(mut out: Box<dyn Write + Send>, lines: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    while let Ok(line) = lines.recv() {
        if line.is_empty() {
            break;
        }
        // A log that cannot be written (a full disk, a closed pipe) has nobody to tell.
        let _ = out.write_all(&line);
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "{{\"level\":\"WARN\",\"message\":\"log lines were dropped\",\"lines\":{lost}}}");
        }
    }
    let _ = out.flush();
}

#[derive(Clone)]
struct Queue {
    sender: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// One event's line: gathered, then sent as a whole.
struct Line<'a> {
    bytes: Vec<u8>,
    queue: &'a Queue,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.bytes);
        if !line.is_empty() && self.queue.sender.try_send(line).is_err() {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { bytes: Vec::with_capacity(512), queue: self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(level: &str, access: bool) -> LogConfig {
        LogConfig { level: level.to_owned(), format: LogFormat::Json, access }
    }

    #[test]
    fn levels_and_directives_are_judged() {
        assert!(filter(&config("info", true)).is_ok());
        assert!(filter(&config("warn,penstock_edge=debug", false)).is_ok());
        assert!(matches!(filter(&config("loud=very=", true)), Err(LogError::Level { .. })));
    }

    #[test]
    fn a_full_queue_drops_and_counts_instead_of_waiting() {
        let (sender, receiver) = sync_channel(1);
        let queue = Queue { sender, dropped: Arc::new(AtomicU64::new(0)) };
        for text in ["one\n", "two\n", "three\n"] {
            queue.make_writer().write_all(text.as_bytes()).expect("memory");
        }
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 2);
        drop(queue.sender);
        let path = tempfile::NamedTempFile::new().expect("a file");
        write_lines(Box::new(append(path.path()).expect("opens")), &receiver, &queue.dropped);
        let text = std::fs::read_to_string(path.path()).expect("readable");
        assert!(text.starts_with("one\n") && text.contains("\"lines\":2"), "{text}");
    }
}
