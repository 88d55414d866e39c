//! What a node does beside serving: signing heads anew before they expire, keeping the change log short and its snapshots
//! fresh, and re-reading its blobs.
//!
//! One thread each, asleep most of the time; dropping [`Chores`] wakes and ends them.

use penstock_control::{Control, LogTail};
use penstock_store::{ScrubControl, ScrubOptions, Store};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often heads are looked at, which are signed anew when a day old, and the change log is shortened.
const RENEW_EVERY: Duration = Duration::from_secs(3600);
/// Rest between two steps of shortening the log. Smaller lets other changes wait more, larger makes a great import's end later.
const SHORTEN_REST: Duration = Duration::from_millis(100);
/// How often it is looked at whether so many accounts changed that another snapshot pays.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(60);
/// Rest between two scrubs of the whole store.
const SCRUB_EVERY: Duration = Duration::from_secs(24 * 3600);
/// The first scrub waits until a start's rush is over.
const SCRUB_FIRST: Duration = Duration::from_secs(600);

/// The running threads.
pub(crate) struct Chores {
    // Dropped first: a closed channel is the word to end.
    words: Vec<Arc<SyncSender<()>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Chores {
    /// Starts the threads, without control those of an edge; `scrub` is a rate in bytes a second, `None` means never.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub(crate) fn start(control: Option<&Control>, store: &Store, scrub: Option<u64>) -> std::io::Result<Self> {
        let mut chores = Self { words: Vec::new(), threads: Vec::new() };
        if let Some(control) = control {
            chores.keep_record(control)?;
        }
        if let Some(bytes_per_second) = scrub {
            let store = store.clone();
            chores.spawn("penstock-scrub", move |word| {
                let mut pause = SCRUB_FIRST;
                while rest(word, pause) {
                    scrub_once(&store, bytes_per_second, word);
                    pause = SCRUB_EVERY;
                }
            })?;
        }
        Ok(chores)
    }

    fn keep_record(&mut self, control: &Control) -> std::io::Result<()> {
        let heads = control.clone();
        self.spawn("penstock-heads", move |word| {
            while shorten(&heads, word) && rest(word, RENEW_EVERY) {
                renew(&heads);
                forget(&heads);
            }
        })?;
        let accounts = control.clone();
        self.spawn("penstock-accounts", move |word| {
            // What was imported before a crash is told now.
            snapshot(&accounts);
            while rest(word, SNAPSHOT_EVERY) {
                snapshot(&accounts);
            }
        })?;
        // Weak: the last strong one gone is the word to end.
        if let Some(word) = self.words.last().map(Arc::downgrade) {
            control.wake_for_snapshots(Box::new(move || {
                // One that waits already is enough.
                let _ = word.upgrade().map(|word| word.try_send(()));
            }));
        }
        Ok(())
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce(&Receiver<()>) + Send + 'static) -> std::io::Result<()> {
        let (word, ear) = sync_channel(1);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&ear))?;
        self.words.push(Arc::new(word));
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Chores {
    fn drop(&mut self) {
        self.words.clear();
        for thread in self.threads.drain(..) {
            // A chore that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}

/// Signs what is due, and says in the log what could not be.
pub(super) fn renew(control: &Control) {
    match control.renew_heads(crate::commands::now()) {
        Ok(report) if report.renewed > 0 => tracing::info!(heads = report.renewed, "channel heads signed anew"),
        Ok(_) => {}
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "channel heads were not signed anew");
        }
    }
}

/// Forgets revoked tokens that ended by themselves.
fn forget(control: &Control) {
    match control.forget_revocations(crate::commands::now()) {
        Ok(0) => {}
        Ok(tokens) => tracing::info!(tokens, "forgot revoked tokens that ended by themselves"),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "revoked tokens that ended were not forgotten: the next hour tries again");
        }
    }
}

/// Keeps the change log short, step by step with a rest between for other changes. Whether to go on.
fn shorten(control: &Control, word: &Receiver<()>) -> bool {
    loop {
        match control.compact_log(LogTail::default(), crate::commands::now()) {
            Ok(0) => return true,
            Ok(_) if rest(word, SHORTEN_REST) => {}
            Ok(_) => return false,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the change log was not shortened: the next hour tries again");
                return true;
            }
        }
    }
}

/// Waits for so long, or until it is woken. Whether to go on: false when the node ends.
fn rest(word: &Receiver<()>, time: Duration) -> bool {
    !matches!(word.recv_timeout(time), Err(RecvTimeoutError::Disconnected))
}

/// Makes another snapshot of all accounts where that pays.
fn snapshot(control: &Control) {
    if let Err(error) = control.renew_snapshot(crate::commands::now()) {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "no snapshot of accounts was made: edges go on with the one before");
    }
}

fn scrub_once(store: &Store, bytes_per_second: u64, word: &Receiver<()>) {
    let options = ScrubOptions { bytes_per_second };
    let report = store.scrub(&options, &mut |progress| {
        if rest(word, progress.rest) { ScrubControl::Continue } else { ScrubControl::Stop }
    });
    if !report.stopped {
        let (blobs, bytes) = (report.progress.blobs_done, report.progress.bytes_done);
        tracing::info!(blobs, bytes, findings = report.findings.len(), "scrub done");
    }
}
