//! Running a node until it is told to stop: signals, changed files, and the conversation with systemd.
//!
//! SIGTERM and SIGINT drain (a second one cuts), SIGHUP and changed files reload, `READY`, `RELOADING`, `STOPPING` and
//! `WATCHDOG` are said when they are true. It must not know sockets or requests.

use crate::node::{Drained, Node};
use crate::reload::{Contents, watch_files};
use sd_notify::NotifyState;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// What a node is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Drain and end; the second time, end at once.
    Stop,
    /// Take the configuration again.
    Reload,
    /// Files may have changed.
    Files,
}

/// Orders that may wait. More than these say nothing new.
const ORDERS_MAX: usize = 16;
/// How long files must be quiet before they are read: certificate and key are replaced one after the other.
const FILES_SETTLE: Duration = Duration::from_millis(300);
/// How long to wait for that quiet.
const FILES_SETTLE_MAX: Duration = Duration::from_secs(5);
/// How long to wait for orders when there is no watchdog to feed.
const NO_WATCHDOG: Duration = Duration::from_secs(3600);

/// Why a node cannot be supervised.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// Signal handlers cannot be installed.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
}

/// The sending end of a supervisor's orders; clones share it.
#[derive(Debug, Clone)]
pub struct Orders(SyncSender<Order>);

impl Orders {
    /// Gives an order. When too many wait already, this one says nothing new and is dropped.
    pub fn give(&self, order: Order) {
        _ = self.0.try_send(order);
    }
}

/// Runs one node.
#[derive(Debug)]
pub struct Supervisor {
    node: Node,
    orders: Orders,
    inbox: Receiver<Order>,
}

impl Supervisor {
    /// Takes a started node.
    #[must_use]
    pub fn new(node: Node) -> Self {
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        Self { node, orders: Orders(orders), inbox }
    }

    /// For giving orders from within the process.
    #[must_use]
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Runs until the node has drained. Blocks the calling thread.
    ///
    /// # Errors
    /// Signal handlers cannot be installed; the node is then cut.
    pub fn run(self) -> Result<Drained, SuperviseError> {
        self.listen_for_signals().map_err(SuperviseError::Signals)?;
        let mut files = self.node.reloader().files();
        let mut seen = Contents::of(&files);
        let mut watching = self.watch(&files);
        say(&[NotifyState::Ready]);
        let mut watchdog = Watchdog::new(&self.node);
        loop {
            match self.inbox.recv_timeout(watchdog.until_due()) {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Order::Reload) => {
                    seen = Contents::of(&files);
                    self.reload();
                }
                Ok(Order::Files) => {
                    if self.settle() {
                        break;
                    }
                    let now = Contents::of(&files);
                    if now != seen {
                        seen = now;
                        self.reload();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let named = self.node.reloader().files();
            if named != files {
                // The configuration names other files now, and those are the ones that will be renewed. They may have
                // changed between the reload and the watch, so they are taken once more.
                watching = self.watch(&named);
                (seen, files) = (Contents::default(), named);
                self.orders.give(Order::Files);
            }
            watchdog.feed(&self.node);
        }
        drop(watching);
        say(&[NotifyState::Stopping]);
        let within = self.node.drain_time();
        info!(seconds = within.as_secs(), "stopping: finishing what is under way");
        let Self { node, inbox, .. } = self;
        Ok(node.drain(within, || {
            watchdog.keep_alive();
            inbox.try_iter().any(|order| order == Order::Stop)
        }))
    }

    fn reload(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => say(&[NotifyState::Reloading, now]),
            Err(_) => say(&[NotifyState::Reloading]),
        }
        // The node has said in the log what happened; a refused reload leaves it as ready as it was.
        _ = self.node.reload();
        say(&[NotifyState::Ready]);
    }

    /// Waits until no file changes for a moment. True if the node was told to stop meanwhile.
    fn settle(&self) -> bool {
        let until = Instant::now() + FILES_SETTLE_MAX;
        while Instant::now() < until {
            match self.inbox.recv_timeout(FILES_SETTLE) {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
                Ok(Order::Files | Order::Reload) => {}
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
        false
    }

    fn watch(&self, files: &[PathBuf]) -> Option<impl Sized + use<>> {
        if files.is_empty() {
            return None;
        }
        let orders = self.orders();
        match watch_files(files, move || orders.give(Order::Files)) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                warn!(%error, "cannot watch the configuration's files: send SIGHUP after changing them");
                None
            }
        }
    }

    fn listen_for_signals(&self) -> io::Result<()> {
        let _runtime = self.node.admin_runtime().enter();
        for (kind, order) in [
            (SignalKind::terminate(), Order::Stop),
            (SignalKind::interrupt(), Order::Stop),
            (SignalKind::hangup(), Order::Reload),
        ] {
            let signals = signal(kind)?;
            self.node.admin_runtime().spawn(relay(signals, self.orders(), order));
        }
        Ok(())
    }
}

async fn relay(mut signals: Signal, orders: Orders, order: Order) {
    while signals.recv().await.is_some() {
        orders.give(order);
    }
}

/// Tells systemd, where there is one to be told.
fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "cannot notify the service manager");
    }
}

/// Feeds systemd's watchdog while every worker's runtime turns: a node whose worker hangs is restarted.
struct Watchdog {
    every: Option<Duration>,
    next: Instant,
    beats: Vec<u64>,
}

impl Watchdog {
    fn new(node: &Node) -> Self {
        // Twice per period, as sd_watchdog_enabled(3) asks; workers beat once a second.
        let every = sd_notify::watchdog_enabled().map(|period| period / 2);
        let next = Instant::now() + every.unwrap_or(NO_WATCHDOG);
        Self { every, next, beats: vec![u64::MAX; node.beats().len()] }
    }

    fn until_due(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    fn feed(&mut self, node: &Node) {
        if !self.until_due().is_zero() {
            return;
        }
        self.next = Instant::now() + self.every.unwrap_or(NO_WATCHDOG);
        if self.every.is_none() {
            return;
        }
        let beats = node.beats();
        let stuck = beats.iter().zip(&self.beats).filter(|(now, before)| now == before).count();
        self.beats = beats;
        if stuck == 0 {
            say(&[NotifyState::Watchdog]);
        } else {
            warn!(workers = stuck, "workers do not turn, the watchdog is not fed");
        }
    }

    /// While draining, workers end one by one: being asked is proof enough.
    fn keep_alive(&mut self) {
        if self.every.is_some() && self.until_due().is_zero() {
            self.next = Instant::now() + self.every.unwrap_or(NO_WATCHDOG);
            say(&[NotifyState::Watchdog]);
        }
    }
}
