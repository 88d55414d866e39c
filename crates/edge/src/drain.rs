//! Stopping without cutting a body inside its time: the stages every connection listens to, and the count of those open.
//!
//! It decides nothing about time; `node` moves the stages.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Where a group of connections stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Connections are accepted.
    Serving,
    /// No more are; those open finish what they are at (GOAWAY, `connection: close`).
    Draining,
    /// Time is up: what is still open is cut.
    Cut,
}

/// Whether this node should get traffic: what `/readyz` says. Clones share it.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<bool>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Readiness {
    /// Whether the node accepts and is not draining.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the node was ready and is not any more: what never ends by itself ends then, so that a drain need not
    /// wait for it.
    pub async fn ended(&self) {
        let mut ready = self.0.subscribe();
        // The sender is ours, so it outlives the waiting.
        let _ = ready.wait_for(|ready| *ready).await;
        let _ = ready.wait_for(|ready| !*ready).await;
    }

    /// Set by the node alone: once all workers accept, and when a drain begins.
    pub fn set(&self, ready: bool) {
        self.0.send_replace(ready);
    }
}

/// The stage of a group of connections and how many are open. Clones share both.
#[derive(Debug, Clone)]
pub struct Drain {
    stage: watch::Sender<Stage>,
    open: Arc<Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Default for Drain {
    fn default() -> Self {
        Self { stage: watch::Sender::new(Stage::Serving), open: Arc::default() }
    }
}

impl Drain {
    /// What a connection or a listener watches.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Moves on to `stage`; never back.
    pub fn advance(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let moves = stage > *now;
            *now = (*now).max(stage);
            moves
        });
    }

    /// Counts something that must finish before the group has: a connection, or a listener that may still yield one.
    #[must_use]
    pub fn enter(&self) -> Inside {
        self.open.count.fetch_add(1, Ordering::AcqRel);
        Inside(Arc::clone(&self.open))
    }

    /// How many are inside.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.count.load(Ordering::Acquire)
    }

    /// Blocks until nobody is inside, at most for `within`. Returns how many still are.
    pub fn wait(&self, within: Duration) -> usize {
        let until = Instant::now() + within;
        let mut guard = self.open.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let open = self.open();
            let left = until.saturating_duration_since(Instant::now());
            if open == 0 || left.is_zero() {
                return open;
            }
            guard = self.open.changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Somebody inside; dropping it is leaving.
#[derive(Debug)]
pub struct Inside(Arc<Open>);

impl Drop for Inside {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The lock orders this with the waiter's check, so that the last to leave is never missed.
            let _guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_only_move_on() {
        let drain = Drain::default();
        drain.advance(Stage::Cut);
        drain.advance(Stage::Draining);
        assert_eq!(*drain.watch().borrow(), Stage::Cut);
    }

    #[test]
    fn waiting_ends_when_the_last_one_leaves() {
        let drain = Drain::default();
        let (first, second) = (drain.enter(), drain.enter());
        assert_eq!(drain.wait(Duration::ZERO), 2);
        drop(first);
        let waiter = std::thread::spawn({
            let drain = drain.clone();
            move || drain.wait(Duration::from_secs(60))
        });
        drop(second);
        assert_eq!(waiter.join().expect("no panic"), 0);
    }
}
