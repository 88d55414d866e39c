//! Running a node until it is told to stop: signals, changed files, and the conversation with systemd.
//!
//! SIGTERM and SIGINT drain (a second one cuts), SIGHUP and changed files reload, `READY`, `RELOADING`, `STOPPING` and
//! `WATCHDOG` are said when they are true. Signals may come before there is a node: [`Orders::listen`] keeps them for it.
//! It must not know sockets or requests.

use crate::node::{Drained, Node};
use crate::reload::{Contents, watch_files};
use sd_notify::NotifyState;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, mem, thread};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
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

/// The orders for one node; clones share them. None is ever lost: a stop stays, and what was given again before it was
/// taken is taken once.
#[derive(Debug, Clone, Default)]
pub struct Orders(Arc<Desk>);

#[derive(Debug, Default)]
struct Desk {
    waiting: Mutex<Waiting>,
    given: Condvar,
    hears_signals: AtomicBool,
}

/// What was ordered and not taken yet.
#[derive(Debug, Default)]
struct Waiting {
    /// How often a stop was ordered; it is never taken.
    stops: usize,
    is_reload: bool,
    is_files: bool,
}

impl Waiting {
    /// A stop comes before everything else.
    fn take(&mut self) -> Option<Order> {
        if self.stops > 0 {
            Some(Order::Stop)
        } else if mem::take(&mut self.is_reload) {
            Some(Order::Reload)
        } else {
            mem::take(&mut self.is_files).then_some(Order::Files)
        }
    }
}

impl Orders {
    /// Orders by SIGTERM, SIGINT and SIGHUP. From here on none of them ends the process; whoever makes a node later hands
    /// it these orders with [`Supervisor::with`], and may ask [`Orders::is_stopping`] between its steps.
    ///
    /// # Errors
    /// Signal handlers, or the thread that waits for signals, cannot be had.
    pub fn listen() -> io::Result<Self> {
        let orders = Self::default();
        orders.hear_signals()?;
        Ok(orders)
    }

    /// Gives an order.
    pub fn give(&self, order: Order) {
        let mut waiting = self.waiting();
        match order {
            Order::Stop => waiting.stops += 1,
            Order::Reload => waiting.is_reload = true,
            Order::Files => waiting.is_files = true,
        }
        drop(waiting);
        self.0.given.notify_all();
    }

    /// Whether a stop was ordered.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.waiting().stops > 0
    }

    /// Whether a stop was ordered again: what is under way need not be finished.
    #[must_use]
    pub fn is_hurried(&self) -> bool {
        self.waiting().stops > 1
    }

    /// Waits for the next order, at most for `within`. A stop is the next for ever.
    fn next(&self, within: Duration) -> Option<Order> {
        self.wait(within, Waiting::take)
    }

    /// Waits until no file changes for a moment; a stop ends the waiting, and a reload waits as long.
    fn settle(&self) {
        let until = Instant::now() + FILES_SETTLE_MAX;
        let changed = |waiting: &mut Waiting| match waiting.stops {
            0 => mem::take(&mut waiting.is_files).then_some(true),
            _ => Some(false),
        };
        while Instant::now() < until && self.wait(FILES_SETTLE, changed) == Some(true) {}
    }

    fn wait<T>(&self, within: Duration, mut take: impl FnMut(&mut Waiting) -> Option<T>) -> Option<T> {
        let until = Instant::now() + within;
        let mut waiting = self.waiting();
        loop {
            let taken = take(&mut waiting);
            let left = until.saturating_duration_since(Instant::now());
            if taken.is_some() || left.is_zero() {
                return taken;
            }
            waiting = self.0.given.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Installs the handlers, once. A thread of their own, because they must work before there is a node and a runtime.
    fn hear_signals(&self) -> io::Result<()> {
        if self.0.hears_signals.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hangup = signal(SignalKind::hangup())?;
        drop(entered);
        // Whoever holds orders waits for them; the thread itself only gives.
        let desk = Arc::downgrade(&self.0);
        let relay = async move {
            loop {
                let order = tokio::select! {
                    Some(()) = terminate.recv() => Order::Stop,
                    Some(()) = interrupt.recv() => Order::Stop,
                    Some(()) = hangup.recv() => Order::Reload,
                    else => break,
                };
                let Some(desk) = desk.upgrade() else { break };
                Self(desk).give(order);
            }
        };
        thread::Builder::new().name("penstock-signals".to_owned()).spawn(move || runtime.block_on(relay))?;
        Ok(())
    }
}

/// Runs one node.
#[derive(Debug)]
pub struct Supervisor {
    node: Node,
    orders: Orders,
}

impl Supervisor {
    /// Takes a started node.
    #[must_use]
    pub fn new(node: Node) -> Self {
        Self { node, orders: Orders::default() }
    }

    /// Obeys `orders`, which may have been given before there was a node, in place of its own.
    #[must_use]
    pub fn with(self, orders: Orders) -> Self {
        Self { orders, ..self }
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
        self.orders.hear_signals().map_err(SuperviseError::Signals)?;
        let mut files = self.node.reloader().files();
        let mut seen = Contents::of(&files);
        let mut watching = self.watch(&files);
        say(&[NotifyState::Ready]);
        let mut watchdog = Watchdog::new(&self.node);
        loop {
            match self.orders.next(watchdog.until_due()) {
                Some(Order::Stop) => break,
                Some(Order::Reload) => {
                    seen = Contents::of(&files);
                    self.reload();
                }
                Some(Order::Files) => {
                    self.orders.settle();
                    if self.orders.is_stopping() {
                        break;
                    }
                    let now = Contents::of(&files);
                    if now != seen {
                        seen = now;
                        self.reload();
                    }
                }
                None => {}
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
        let Self { node, orders } = self;
        Ok(node.drain(within, || {
            watchdog.keep_alive();
            orders.is_hurried()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_orders_hides_a_stop() {
        let orders = Orders::default();
        for order in [Order::Files, Order::Reload] {
            (0..1000).for_each(|_| orders.give(order));
        }
        assert!(!orders.is_stopping());
        orders.give(Order::Stop);
        orders.give(Order::Files);
        assert!(orders.is_stopping() && !orders.is_hurried());
        for _ in 0..2 {
            assert_eq!(orders.next(Duration::ZERO), Some(Order::Stop), "and it stays");
        }
        orders.give(Order::Stop);
        assert!(orders.is_hurried());
    }

    #[test]
    fn what_is_given_again_is_taken_once() {
        let orders = Orders::default();
        for order in [Order::Files, Order::Reload, Order::Files, Order::Reload] {
            orders.give(order);
        }
        let taken: Vec<_> = std::iter::from_fn(|| orders.next(Duration::ZERO)).collect();
        assert_eq!(taken, [Order::Reload, Order::Files]);
    }

    /// A reload that comes while files settle waits for them and is not forgotten, though no file may have changed.
    #[test]
    fn files_that_settle_swallow_no_reload() {
        let orders = Orders::default();
        orders.give(Order::Files);
        orders.give(Order::Reload);
        orders.settle();
        assert_eq!(orders.next(Duration::ZERO), Some(Order::Reload));
        assert_eq!(orders.next(Duration::ZERO), None);
    }

    #[test]
    fn a_stop_is_heard_while_files_never_settle() {
        let orders = Orders::default();
        let stopper = orders.clone();
        let (started, begun) = (Instant::now(), std::sync::Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                begun.wait();
                while !stopper.is_stopping() {
                    stopper.give(Order::Files);
                    if started.elapsed() > FILES_SETTLE {
                        stopper.give(Order::Stop);
                    }
                }
            });
            begun.wait();
            orders.settle();
        });
        assert!(orders.is_stopping() && started.elapsed() < FILES_SETTLE_MAX);
    }
}
