//! Who hears of changes when: the sink of this process, every change of all processes, in order.
//!
//! The change log is the order. A [`Teller`] knows the last number that its sink heard, and lets
//! pass only the one after it, so it does not matter who brings a change first:
//!
//! * the writer of this process tells its own change right after the commit, without reading it
//!   back. It can: no other process commits between the lock of its transaction and its commit, and
//!   it read and told what others had committed before;
//! * the [`Follower`], a thread with a connection of its own where the database is shared, reads
//!   what others wrote. A notification wakes it; it looks by itself too, because notifications are
//!   lost with a connection and PostgreSQL promises no more. Every change is notified inside its
//!   transaction: that takes a lock that all notifying transactions of the server share, which costs
//!   nothing where they come one after the other anyway. A process that was kept from looking for so long that the log
//!   was shortened meanwhile is told the state by it, and what is gone since.

use crate::error::{CallError, chain};
use crate::log;
use crate::record::RecordError;
use crate::sql::{Access, Connection, Source};
use crate::state;
use penstock_core::catalog::{CatalogChange, CatalogSink};
use penstock_core::feed::{Key, gone, key};
use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;
use tokio::sync::watch;

/// The notification that wakes followers.
pub(crate) const CHANNEL: &str = "penstock_change_log";
/// How often a follower looks though nobody woke it: the bound on how late a change can be heard.
/// Smaller costs queries on an idle server.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a follower waits after a failure before it connects anew.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Tells one sink what happens, each change once and in the order of the log.
pub(crate) struct Teller {
    sink: Arc<dyn CatalogSink>,
    told: Mutex<Told>,
    /// The number of the last change that the sink heard, for those who wait for it.
    news: watch::Sender<u64>,
}

/// What the sink heard.
struct Told {
    /// The number of the last change.
    last: u64,
    /// What there is that can go away again, so that a state told later can take its place.
    removable: BTreeSet<Key>,
}

impl Told {
    fn take(&mut self, number: u64, change: &CatalogChange) {
        let key = key(number, change);
        if matches!(change, CatalogChange::LooseBlobGone { .. } | CatalogChange::SegmentGone { .. }) {
            self.removable.remove(&key);
        } else if gone(&key).is_some() {
            self.removable.insert(key);
        }
    }
}

/// Tells the whole state on a connection that reads one moment, and returns the number of the last change in it.
pub(crate) type Retell = Box<dyn Fn(&Connection, &mut state::Teller<'_>) -> Result<u64, CallError> + Send>;

impl Teller {
    /// A teller whose sink knows all up to `told`.
    pub(crate) fn new(sink: Arc<dyn CatalogSink>, told: u64) -> Self {
        let removable = BTreeSet::new();
        Self { sink, told: Mutex::new(Told { last: told, removable }), news: watch::Sender::new(told) }
    }

    /// Changes whenever the sink heard something, which others than the sink may want to hear too.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Tells a part of the state after the change of this number.
    pub(crate) fn replay(&self, sequence: u64, change: CatalogChange) {
        self.lock().take(sequence, &change);
        self.sink.apply(sequence, change);
    }

    /// The sink was told the state after this change, by a replay.
    pub(crate) fn start_after(&self, replayed: u64) {
        self.lock().last = replayed;
        self.news.send_replace(replayed);
    }

    /// Tells what the log holds after what was told, up to `newest`. One entry at a time is in
    /// memory, because a release's is large.
    pub(crate) fn catch_up(&self, connection: &Connection, newest: u64) -> Result<(), RecordError> {
        loop {
            let told = self.lock().last;
            if told == newest {
                return Ok(());
            }
            if told > newest {
                // The connection may just have read an older state than another one told. A log that
                // really went back was restored from a backup, under a running process.
                return if log::newest(connection)? < told {
                    Err(RecordError::Damaged { what: "change log that only grows" })
                } else {
                    Ok(())
                };
            }
            let Some(change) = log::change(connection, told + 1)? else {
                return Err(if log::oldest(connection)? > told + 1 {
                    RecordError::Behind
                } else {
                    RecordError::Damaged { what: "change log without gaps" }
                });
            };
            self.tell(told + 1, change);
        }
    }

    /// Tells changes of this process that were just committed, the first with the number after `before`.
    pub(crate) fn tell_own(&self, before: u64, changes: Vec<CatalogChange>) {
        for (number, change) in (before + 1..).zip(changes) {
            self.tell(number, change);
        }
    }

    fn tell(&self, number: u64, change: CatalogChange) {
        let mut told = self.lock();
        // Whoever brings a change that was told meanwhile is late, and nothing is lost.
        if told.last + 1 == number {
            told.take(number, &change);
            self.sink.apply(number, change);
            told.last = number;
            self.news.send_replace(number);
        }
    }

    /// Tells the whole state in place of what was told before.
    fn tell_state(&self, connection: &Connection, retell: &Retell) -> Result<(), CallError> {
        // Held all the while, and taken before the state is read: no change is told between two parts of it, and what
        // it holds is not older than what was told.
        let mut told = self.lock();
        let view = connection.transaction(Access::Read).map_err(RecordError::from)?;
        let mut state = Told { last: 0, removable: BTreeSet::new() };
        let retold = retell(&view, &mut |sequence, change| {
            state.take(sequence, &change);
            self.sink.apply(sequence, change);
            Ok(())
        });
        state.last = match retold {
            Ok(last) => last,
            Err(error) => {
                // The sink has these now: a later state that lacks them must take them back.
                told.removable.append(&mut state.removable);
                return Err(error);
            }
        };
        for change in told.removable.difference(&state.removable).filter_map(gone) {
            self.sink.apply(state.last, change);
        }
        self.news.send_replace(state.last);
        *told = state;
        Ok(())
    }

    /// Everything that there was just now was told.
    fn confirm(&self) {
        self.sink.confirm();
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that reads what other processes write. It ends soon after this is dropped, not at
/// once: it may be waiting for the server.
pub(crate) struct Follower {
    is_over: Arc<AtomicBool>,
    thread: Thread,
}

impl Follower {
    pub(crate) fn start(source: Arc<Source>, teller: Arc<Teller>, retell: Retell) -> io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let started = thread::Builder::new().name("record-follower".to_owned());
        let thread = started.spawn(move || follow(&source, &teller, &retell, &over))?.thread().clone();
        Ok(Self { is_over, thread })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

fn follow(source: &Source, teller: &Teller, retell: &Retell, is_over: &AtomicBool) {
    let mut connection = None;
    let mut is_failing = false;
    while !is_over.load(Ordering::Acquire) {
        match look(source, teller, retell, &mut connection) {
            Ok(()) if is_failing => {
                is_failing = false;
                tracing::info!("the changes of other nodes are heard again");
            }
            Ok(()) => {}
            Err(error) => {
                connection = None;
                // Once, and not four times a second while the server is away.
                if !is_failing {
                    tracing::error!(error = chain(&error), "the changes of other nodes are not heard");
                }
                is_failing = true;
                thread::park_timeout(RETRY_AFTER);
            }
        }
    }
}

/// Tells what is new, then waits for the next wake-up.
fn look(source: &Source, teller: &Teller, retell: &Retell, slot: &mut Option<Connection>) -> Result<(), CallError> {
    if slot.is_none() {
        let connection = source.connect(Access::Read).map_err(RecordError::from)?;
        // Before the first look, so that nothing comes between.
        connection.listen(CHANNEL).map_err(RecordError::from)?;
        *slot = Some(connection);
    }
    let connection = slot.as_ref().expect("it was just made");
    match teller.catch_up(connection, log::newest(connection)?) {
        Err(RecordError::Behind) => {
            tracing::warn!("other nodes changed more than the log still holds: this node is told the state");
            teller.tell_state(connection, retell)?;
        }
        told => told?,
    }
    teller.confirm();
    Ok(connection.wait(LOOK_EVERY).map_err(RecordError::from)?)
}
