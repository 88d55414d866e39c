//! When a key set is fetched again, and how long an old one may be used: pure, with time and randomness as arguments.
//!
//! Owns the schedule of one issuer: fresh for as long as the source says, within bounds; one fetch at a time; a fetch for
//! key ids that nobody knows at most every [`UNKNOWN_EVERY`], however many are asked for; growing pauses while the source
//! fails, with the old keys in use until they are too old. It must not fetch, parse or sleep.

use super::jwks::JwksKeys;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long fetched keys are fresh when the source does not say.
const FRESH: Duration = Duration::from_secs(600);
/// Bounds on what the source may say (`Cache-Control: max-age`): less would be a load on it, more would keep a revoked
/// key for too long.
const FRESH_MIN: Duration = Duration::from_secs(60);
const FRESH_MAX: Duration = Duration::from_secs(3600);
/// Between the beginnings of two fetches of an issuer's keys, whatever the reason, once it has keys.
const UNKNOWN_EVERY: Duration = Duration::from_secs(30);
/// How long a key id that a fetch did not find causes no other fetch.
const ABSENT_FOR: Duration = Duration::from_secs(120);
/// Most key ids remembered as not there, and as asked for since the last fetch: each may have 256 bytes.
const ABSENT_MAX: usize = 1024;
/// First pause after a failure while there are no keys at all: nobody with a token gets in until there are.
const RETRY_WITHOUT_KEYS: Duration = Duration::from_secs(5);
/// First and last pause after a failure otherwise; it doubles between.
const RETRY_MIN: Duration = UNKNOWN_EVERY;
const RETRY_MAX: Duration = Duration::from_secs(600);

/// How long keys stay in use after they should have been fetched again, in seconds, if nothing else is configured: a
/// day. Longer keeps a key that the issuer withdrew for longer while its source cannot be reached.
pub const STALE_SECONDS_DEFAULT: u64 = 24 * 3600;

const _: () = assert!(RETRY_MIN.as_secs() >= UNKNOWN_EVERY.as_secs());

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Fetch now: call [`Refresher::begin`], then [`Refresher::done`] or [`Refresher::failed`].
    Fetch,
    /// The keys are too old: call [`Refresher::drop_keys`].
    Drop,
    /// Nothing before this moment, unless an unknown key id is noted. `None` while a fetch is under way and no keys can
    /// become too old.
    Wait(Option<Instant>),
}

/// What becomes of an unknown key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// A fetch will come sooner because of it.
    Hastened,
    /// A fetch is under way, or will come as soon as may be, without it.
    Coming,
    /// A fetch did not find it a short while ago.
    Absent,
    /// It has come since.
    Known,
}

/// The state of one issuer's keys.
#[derive(Debug)]
pub struct Refresher {
    stale: Duration,
    /// When the next fetch is due.
    due: Instant,
    /// When the last fetch began.
    began: Option<Instant>,
    in_flight: bool,
    failures: u32,
    keys: Option<Dated>,
    /// Ids asked for since the last fetch ended, and when first.
    asked: HashMap<String, Instant>,
    /// Ids that a fetch did not find, and until when that is believed.
    absent: HashMap<String, Instant>,
}

#[derive(Debug)]
struct Dated {
    keys: JwksKeys,
    /// From here on they are too old.
    until: Instant,
}

impl Refresher {
    /// Without keys, due at once. Keys stay usable `stale` after they should have been fetched again.
    #[must_use]
    pub fn new(stale: Duration, now: Instant) -> Self {
        Self {
            stale,
            due: now,
            began: None,
            in_flight: false,
            failures: 0,
            keys: None,
            asked: HashMap::new(),
            absent: HashMap::new(),
        }
    }

    /// What is to be done now.
    #[must_use]
    pub fn next(&self, now: Instant) -> Next {
        let until = self.keys.as_ref().map(|dated| dated.until);
        if until.is_some_and(|until| until <= now) {
            return Next::Drop;
        }
        match (self.in_flight, until) {
            (true, until) => Next::Wait(until),
            (false, _) if self.due <= now => Next::Fetch,
            (false, until) => Next::Wait(Some(until.map_or(self.due, |until| until.min(self.due)))),
        }
    }

    /// A fetch begins.
    pub fn begin(&mut self, now: Instant) {
        self.in_flight = true;
        self.began = Some(now);
    }

    /// The fetch brought keys. `fresh` is what the source said of their life; `jitter` is random, and keeps edges that
    /// were started together from asking together.
    pub fn done(&mut self, keys: JwksKeys, fresh: Option<Duration>, jitter: u16, now: Instant) {
        let fresh = fresh.unwrap_or(FRESH).clamp(FRESH_MIN, FRESH_MAX);
        // Up to a tenth earlier.
        self.due = now + fresh - part(fresh / 10, jitter);
        let began = self.began.unwrap_or(now);
        self.absent.retain(|kid, until| *until > now && !keys.has(kid));
        for (kid, since) in self.asked.drain() {
            // Of those asked for during the fetch nobody knows which keys it was too early for.
            if since <= began && !keys.has(&kid) && self.absent.len() < ABSENT_MAX {
                self.absent.insert(kid, now + ABSENT_FOR);
            }
        }
        self.keys = Some(Dated { keys, until: now + fresh + self.stale });
        self.in_flight = false;
        self.failures = 0;
    }

    /// The fetch brought nothing of use; the keys stay. `jitter` is random.
    pub fn failed(&mut self, jitter: u16, now: Instant) {
        let first = if self.keys.is_some() { RETRY_MIN } else { RETRY_WITHOUT_KEYS };
        let pause = first.saturating_mul(1 << self.failures.min(16)).min(RETRY_MAX);
        // Up to half as long again.
        self.due = now + pause + part(pause / 2, jitter);
        self.asked.clear();
        self.in_flight = false;
        self.failures = self.failures.saturating_add(1);
    }

    /// Somebody asked for a key that is not there; `None` for a token that names none.
    pub fn note_unknown(&mut self, kid: Option<&str>, now: Instant) -> Unknown {
        let kid = kid.unwrap_or_default();
        if self.keys().is_some_and(|keys| keys.has(kid)) {
            return Unknown::Known;
        }
        if self.absent.get(kid).is_some_and(|until| *until > now) {
            return Unknown::Absent;
        }
        if self.asked.len() < ABSENT_MAX && !self.asked.contains_key(kid) {
            self.asked.insert(kid.to_owned(), now);
        }
        // While the source fails, its pause counts.
        if self.in_flight || self.failures > 0 {
            return Unknown::Coming;
        }
        let soonest = self.began.map_or(now, |began| now.max(began + UNKNOWN_EVERY));
        if self.due <= soonest {
            return Unknown::Coming;
        }
        self.due = soonest;
        Unknown::Hastened
    }

    /// Forgets keys that are too old.
    pub fn drop_keys(&mut self) {
        self.keys = None;
    }

    /// The keys in use.
    #[must_use]
    pub fn keys(&self) -> Option<&JwksKeys> {
        self.keys.as_ref().map(|dated| &dated.keys)
    }

    /// Fetches that failed since the last one that did not.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

/// A random part of a duration.
fn part(whole: Duration, jitter: u16) -> Duration {
    whole * u32::from(jitter) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests;
