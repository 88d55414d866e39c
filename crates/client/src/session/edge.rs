//! What the session knows of one edge: how fast it was, how often it failed, when to ask again, and
//! whether it was dropped. Pure.
//!
//! Several requests run at once, so one outage is told several times. It counts once: failures that come
//! while the edge is being left alone change nothing, and after the pause a single request probes it.

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

/// Failures in a row after which an edge that never delivered is dropped, if there are others to ask.
const STRANGER_FAILURES_MAX: u32 = 4;
/// How long an edge may fail without a success in between before it is dropped, in milliseconds: two
/// minutes, which outlasts a daemon's restart and a router's. It is asked [`STRANGER_FAILURES_MAX`] times at least,
/// so that one that asks for longer pauses is waited for, too.
const AWAY_MS_MAX: u64 = 120_000;
/// First pause after a failure, doubled with each further one.
const BACKOFF_MS: u64 = 200;
/// Longest pause after a failure.
const BACKOFF_MS_MAX: u64 = 20_000;
/// Longest `Retry-After` that is obeyed; an edge that asks for more is as good as gone.
const RETRY_AFTER_SECONDS_MAX: u64 = 600;

/// How long an edge's failures are not told again once they were, in milliseconds: one that breaks off every answer
/// delivers between its failures, and each would be the first of its kind.
const TOLD_MS: u64 = 60_000;

/// Whether there is anybody else to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    /// Every other edge was dropped, or there is none.
    Alone,
    /// Other edges are left.
    Others,
}

#[derive(Debug)]
pub(super) struct Edge {
    dropped: Option<DropReason>,
    running: u32,
    /// Of these, requests that find out whether an edge that failed is back.
    probes: u32,
    /// Failures since the last success; those of one outage count once.
    failures: u32,
    failing_since: Millis,
    /// When somebody was last told that it fails.
    told_at: Option<Millis>,
    retry_at: Millis,
    delivered_bytes: u64,
    /// Bytes per millisecond of one request, smoothed.
    rate: Option<f64>,
    jitter: u64,
}

/// Whether a request finds out if an edge is back, or is one of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// One of many.
    Ordinary,
    /// The only one until it is answered.
    Probe,
}

impl Edge {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            dropped: None,
            running: 0,
            probes: 0,
            failures: 0,
            failing_since: Millis(0),
            told_at: None,
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
    pub(super) const fn has_delivered(&self) -> bool {
        self.delivered_bytes > 0
    }
    /// Whether it may be asked now. After a failure and its pause, by one request alone.
    pub(super) fn is_ready(&self, now: Millis) -> bool {
        self.dropped.is_none() && self.retry_at <= now && (self.failures == 0 || self.probes == 0)
    }
    /// Expected time of one more request, in arbitrary units. An edge not yet measured counts as
    /// good as the best, so that it is tried.
    pub(super) fn cost(&self, best_rate: f64) -> f64 {
        f64::from(self.running + 1) / self.rate.unwrap_or(best_rate).max(1e-6)
    }
    pub(super) const fn start(&mut self) -> Role {
        self.running += 1;
        if self.failures == 0 {
            return Role::Ordinary;
        }
        self.probes += 1;
        Role::Probe
    }
    pub(super) const fn end(&mut self, role: Role) {
        self.running = self.running.saturating_sub(1);
        if matches!(role, Role::Probe) {
            self.probes = self.probes.saturating_sub(1);
        }
    }
    /// Bytes came; `request_bytes` of this request so far. A trickle is no success: an edge that
    /// breaks off again and again after a few bytes must not be asked for ever.
    pub(super) const fn delivered(&mut self, bytes: u64, request_bytes: u64) {
        self.delivered_bytes += bytes;
        if request_bytes >= super::PROGRESS_BYTES {
            self.failures = 0;
        }
    }
    /// A request was answered in full.
    pub(super) fn finish(&mut self, bytes: u64, took_ms: u64, role: Role) {
        self.end(role);
        self.failures = 0;
        #[expect(clippy::cast_precision_loss, reason = "a score, not a count")]
        let rate = bytes as f64 / took_ms.max(1) as f64;
        self.rate = Some(self.rate.map_or(rate, |old| old * 0.7 + rate * 0.3));
    }
    /// A request failed for a reason that may pass. Gives whether that is news: the edge did well until now.
    pub(super) fn fail(&mut self, now: Millis, retry_after_seconds: Option<u64>, company: Company) -> bool {
        let asked = retry_after_seconds.unwrap_or(0);
        if asked > RETRY_AFTER_SECONDS_MAX {
            self.drop_for(DropReason::Unreachable);
            return false;
        }
        if now < self.retry_at {
            // One outage told by several requests at once: they were sent before the pause began.
            self.retry_at = self.retry_at.max(now.plus(asked * 1000));
            return false;
        }
        if self.failures == 0 {
            self.failing_since = now;
        }
        self.failures += 1;
        // An edge that fails before it was ever measured must not look as good as the best.
        self.rate = Some(self.rate.map_or(1.0, |rate| rate * 0.5));
        let is_stranger = self.delivered_bytes == 0 && company == Company::Others;
        let is_over = is_stranger || now.since(self.failing_since) >= AWAY_MS_MAX;
        if self.failures >= STRANGER_FAILURES_MAX && is_over {
            self.drop_for(DropReason::Unreachable);
            return false;
        }
        let pause = (BACKOFF_MS << (self.failures - 1).min(16)).min(BACKOFF_MS_MAX);
        // xorshift64: spread, not secrecy.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        let pause = pause / 2 + self.jitter % pause;
        self.retry_at = now.plus(pause.max(asked * 1000));
        let is_news = self.failures == 1 && self.told_at.is_none_or(|told| now.since(told) >= TOLD_MS);
        if is_news {
            self.told_at = Some(now);
        }
        is_news
    }
    pub(super) fn drop_for(&mut self, reason: DropReason) {
        self.dropped = Some(self.dropped.map_or(reason, |old| old.max(reason)));
    }
}
