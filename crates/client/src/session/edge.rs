//! What the session knows of one edge: how fast it was, how often it failed, when to ask again, and
//! whether it was dropped. Pure.

use super::Millis;
use std::fmt;

/// An edge's place in the caller's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeIndex(pub usize);

/// Why an edge is not asked any more. Ordered: a later one says more to the player.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// Too many failures in a row.
    Unreachable,
    /// Its answers break HTTP or our bounds.
    Malformed,
    /// It sent us elsewhere; redirects are never followed, so that a token never leaves.
    Redirected,
    /// It answered with another range than asked for.
    WrongRange,
    /// It sent more bytes than announced.
    TooMuch,
    /// Its bytes do not have the hash they must have.
    WrongBytes,
    /// Its certificate is not one we accept.
    Untrusted,
    /// It refused: the HTTP status.
    Refused(u16),
}

impl DropReason {
    /// Whether bytes that it delivered before are suspect too.
    #[must_use]
    pub const fn is_lie(self) -> bool {
        matches!(self, Self::WrongBytes | Self::TooMuch | Self::WrongRange)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("it could not be reached or kept breaking off"),
            Self::Malformed => f.write_str("its answers are malformed or beyond all bounds"),
            Self::Redirected => f.write_str("it redirects, which is never followed"),
            Self::WrongRange => f.write_str("it answered with another range than asked for"),
            Self::TooMuch => f.write_str("it sent more bytes than asked for"),
            Self::WrongBytes => f.write_str("it sent bytes that do not match their hash"),
            Self::Untrusted => f.write_str("its certificate is not trusted"),
            Self::Refused(status) => write!(f, "it refused with status {status}"),
        }
    }
}

/// Failures in a row after which an edge that never delivered is dropped.
const STRANGER_FAILURES_MAX: u32 = 4;
/// Failures in a row after which any edge is dropped: about two minutes of backoff.
const FAILURES_MAX: u32 = 10;
/// First pause after a failure, doubled with each further one.
const BACKOFF_MS: u64 = 200;
/// Longest pause after a failure.
const BACKOFF_MS_MAX: u64 = 20_000;
/// Longest `Retry-After` that is obeyed; an edge that asks for more is as good as gone.
const RETRY_AFTER_SECONDS_MAX: u64 = 600;

#[derive(Debug)]
pub(super) struct Edge {
    dropped: Option<DropReason>,
    running: u32,
    failures: u32,
    retry_at: Millis,
    delivered_bytes: u64,
    /// Bytes per millisecond of one request, smoothed.
    rate: Option<f64>,
    jitter: u64,
}

impl Edge {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            dropped: None,
            running: 0,
            failures: 0,
            retry_at: Millis(0),
            delivered_bytes: 0,
            rate: None,
            jitter: seed | 1,
        }
    }
    pub(super) const fn dropped(&self) -> Option<DropReason> {
        self.dropped
    }
    pub(super) const fn rate(&self) -> Option<f64> {
        self.rate
    }
    pub(super) const fn retry_at(&self) -> Millis {
        self.retry_at
    }
    pub(super) fn is_ready(&self, now: Millis) -> bool {
        self.dropped.is_none() && self.retry_at <= now
    }
    /// Expected time of one more request, in arbitrary units. An edge not yet measured counts as
    /// good as the best, so that it is tried.
    pub(super) fn cost(&self, best_rate: f64) -> f64 {
        f64::from(self.running + 1) / self.rate.unwrap_or(best_rate).max(1e-6)
    }
    pub(super) const fn start(&mut self) {
        self.running += 1;
    }
    pub(super) const fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
    }
    pub(super) const fn delivered(&mut self, bytes: u64) {
        self.delivered_bytes += bytes;
        self.failures = 0;
    }
    /// A request was answered in full.
    pub(super) fn finish(&mut self, bytes: u64, took_ms: u64) {
        self.end();
        #[expect(clippy::cast_precision_loss, reason = "a score, not a count")]
        let rate = bytes as f64 / took_ms.max(1) as f64;
        self.rate = Some(self.rate.map_or(rate, |old| old * 0.7 + rate * 0.3));
    }
    /// A request failed for a reason that may pass.
    pub(super) fn fail(&mut self, now: Millis, retry_after_seconds: Option<u64>) {
        self.failures += 1;
        // An edge that fails before it was ever measured must not look as good as the best.
        self.rate = Some(self.rate.map_or(1.0, |rate| rate * 0.5));
        let max = if self.delivered_bytes == 0 { STRANGER_FAILURES_MAX } else { FAILURES_MAX };
        let asked = retry_after_seconds.unwrap_or(0);
        if self.failures >= max || asked > RETRY_AFTER_SECONDS_MAX {
            self.drop_for(DropReason::Unreachable);
            return;
        }
        let pause = (BACKOFF_MS << (self.failures - 1).min(16)).min(BACKOFF_MS_MAX);
        // xorshift64: spread, not secrecy.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        let pause = pause / 2 + self.jitter % pause;
        self.retry_at = self.retry_at.max(now.plus(pause.max(asked * 1000)));
    }
    pub(super) fn drop_for(&mut self, reason: DropReason) {
        self.dropped = Some(self.dropped.map_or(reason, |old| old.max(reason)));
    }
}
