//! Bounds on what strangers' tokens may cost: verifications at once, and failures of one address.
//!
//! Verifications run where they are asked for, since one takes some 50 µs; the bounds are checked before any
//! cryptography. [`Table`] decides, purely, with time as an argument; [`Failures`] shares it among workers. It must not
//! know tokens or HTTP.

use crate::config::{Network, peer_prefix};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures of one address in a window before it is refused unheard. A household behind one address with a broken
/// client or two stays below.
pub const FAILURES_MAX_DEFAULT: u32 = 30;
/// Length of the window in seconds. It starts with the first failure.
pub const FAILURES_WINDOW_SECONDS: u64 = 60;
/// Most addresses with failures that are remembered; the oldest makes room. One takes about 100 bytes.
pub const PEERS_MAX: usize = 65_536;

const WINDOW: Duration = Duration::from_secs(FAILURES_WINDOW_SECONDS);
/// Shards of the table: enough that workers seldom meet.
const SHARDS: usize = 64;

/// Why a token is not even looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Held {
    /// As many verifications as may be run already: a 503.
    #[error("too many tokens are being verified at once")]
    Busy,
    /// Too many tokens from this address were no good: a 429.
    #[error("too many tokens from this address were no good; retry after {retry_after_seconds} s")]
    Failures {
        /// Until its window passes; at least 1.
        retry_after_seconds: u64,
    },
}

impl Held {
    /// The stable code, for answers, metrics and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Busy => "token_verifications_busy",
            Self::Failures { .. } => "token_failures",
        }
    }
}

/// At most so many verifications at once.
#[derive(Debug)]
pub struct VerifyLimit {
    running: AtomicUsize,
    max: usize,
}

/// One verification; dropping it gives the place back.
#[derive(Debug)]
pub struct VerifyPermit<'a>(&'a AtomicUsize);

impl VerifyLimit {
    /// Allows `max` at once.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self { running: AtomicUsize::new(0), max }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// [`Held::Busy`] when there is none.
    pub fn begin(&self) -> Result<VerifyPermit<'_>, Held> {
        let count = self.running.fetch_add(1, Ordering::Relaxed);
        let permit = VerifyPermit(&self.running);
        if count < self.max { Ok(permit) } else { Err(Held::Busy) }
    }
}

impl Drop for VerifyPermit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Failed verifications by address: all of an IPv4 address, the /64 of an IPv6 address. Shared by all workers.
#[derive(Debug)]
pub struct Failures {
    max: u32,
    shards: [Mutex<Table>; SHARDS],
}

impl Failures {
    /// Refuses an address after `max` failures in a window.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self { max, shards: std::array::from_fn(|_| Mutex::new(Table::new(PEERS_MAX / SHARDS))) }
    }

    /// Whether a token from this address is looked at. Called before any cryptography.
    ///
    /// # Errors
    /// [`Held::Failures`].
    pub fn check(&self, address: IpAddr, exempt: &[Network], now: Instant) -> Result<(), Held> {
        if is_exempt(address, exempt) {
            return Ok(());
        }
        let peer = peer_prefix(address);
        match self.shard(peer).held_for(peer, self.max, now) {
            None => Ok(()),
            Some(wait) => Err(Held::Failures { retry_after_seconds: wait.as_secs() + 1 }),
        }
    }

    /// Counts a failure: see [`TokenRefusal::is_failure`](super::TokenRefusal::is_failure).
    pub fn note(&self, address: IpAddr, exempt: &[Network], now: Instant) {
        if !is_exempt(address, exempt) {
            let peer = peer_prefix(address);
            self.shard(peer).note(peer, now);
        }
    }

    /// Addresses remembered.
    #[cfg(test)]
    pub(super) fn peers(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).counts.len()).sum()
    }

    fn shard(&self, peer: IpAddr) -> MutexGuard<'_, Table> {
        let mixed = match peer {
            IpAddr::V4(v4) => v4.octets().into_iter().fold(0u8, |mixed, octet| mixed.rotate_left(3) ^ octet),
            IpAddr::V6(v6) => v6.octets()[..8].iter().fold(0u8, |mixed, octet| mixed.rotate_left(3) ^ octet),
        };
        lock(&self.shards[usize::from(mixed) % SHARDS])
    }
}

fn is_exempt(address: IpAddr, exempt: &[Network]) -> bool {
    exempt.iter().any(|network| network.contains(address))
}

fn lock(shard: &Mutex<Table>) -> MutexGuard<'_, Table> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Windows of addresses. Each starts at an address's first failure, so that they end in the order of their beginning.
#[derive(Debug)]
struct Table {
    counts: HashMap<IpAddr, Count>,
    /// One entry for each of `counts`, the oldest window first.
    order: VecDeque<IpAddr>,
    max: usize,
}

#[derive(Debug)]
struct Count {
    began: Instant,
    failures: u32,
}

impl Table {
    fn new(max: usize) -> Self {
        Self { counts: HashMap::new(), order: VecDeque::new(), max }
    }

    /// How long an address is still refused.
    fn held_for(&self, peer: IpAddr, failures_max: u32, now: Instant) -> Option<Duration> {
        let count = self.counts.get(&peer).filter(|count| count.failures >= failures_max)?;
        WINDOW.checked_sub(now.saturating_duration_since(count.began)).filter(|left| !left.is_zero())
    }

    fn note(&mut self, peer: IpAddr, now: Instant) {
        while let Some(oldest) = self.order.front() {
            let is_over =
                self.counts.get(oldest).is_none_or(|count| now.saturating_duration_since(count.began) >= WINDOW);
            let must_go = self.order.len() >= self.max && !self.counts.contains_key(&peer);
            if !is_over && !must_go {
                break;
            }
            self.counts.remove(oldest);
            self.order.pop_front();
        }
        let count = self.counts.entry(peer).or_insert_with(|| {
            self.order.push_back(peer);
            Count { began: now, failures: 0 }
        });
        count.failures = count.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn places_come_back() {
        let limit = VerifyLimit::new(2);
        let first = limit.begin().expect("room");
        let _second = limit.begin().expect("room");
        assert_eq!(limit.begin().map(drop), Err(Held::Busy));
        assert_eq!(limit.begin().map(drop), Err(Held::Busy), "a refusal keeps no place");
        drop(first);
        assert!(limit.begin().is_ok());
    }

    #[test]
    fn an_address_is_refused_until_its_window_passes() {
        let failures = Failures::new(3);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let check = |text: &str, seconds| failures.check(address(text), &[], at(seconds));
        for seconds in 0..3 {
            assert_eq!(check("192.0.2.1", seconds), Ok(()));
            failures.note(address("192.0.2.1"), &[], at(seconds));
        }
        assert_eq!(check("192.0.2.1", 3), Err(Held::Failures { retry_after_seconds: 58 }));
        assert_eq!(check("::ffff:192.0.2.1", 59), Err(Held::Failures { retry_after_seconds: 2 }));
        assert_eq!(check("192.0.2.2", 3), Ok(()), "another address is not disturbed");
        assert_eq!(check("192.0.2.1", 60), Ok(()));
        failures.note(address("192.0.2.1"), &[], at(60));
        assert_eq!(check("192.0.2.1", 60), Ok(()), "a new window starts at one");
        // A /64 is one household.
        for host in 1..=3 {
            failures.note(address(&format!("2001:db8:0:1::{host}")), &[], at(0));
        }
        assert!(check("2001:db8:0:1:ffff::", 1).is_err());
        assert_eq!(check("2001:db8:0:2::1", 1), Ok(()));
    }

    #[test]
    fn exempt_addresses_are_neither_counted_nor_refused() {
        let failures = Failures::new(1);
        let exempt = ["127.0.0.0/8".parse().expect("network")];
        let now = Instant::now();
        for _ in 0..50 {
            failures.note(address("127.0.0.1"), &exempt, now);
            assert_eq!(failures.check(address("::ffff:127.0.0.1"), &exempt, now), Ok(()));
        }
        assert_eq!(failures.peers(), 0);
    }

    /// A flood from everywhere keeps the table at its bound, forgets what is over, and does not forget a recent offender.
    #[test]
    fn a_flood_of_addresses_is_bounded() {
        let failures = Failures::new(1);
        let start = Instant::now();
        for number in 0..300_000u32 {
            failures.note(IpAddr::from((0x0a00_0000 + number).to_be_bytes()), &[], start);
        }
        assert!(failures.peers() <= PEERS_MAX && failures.peers() > PEERS_MAX / 2, "{}", failures.peers());
        assert!(failures.check(IpAddr::from((0x0a00_0000 + 299_999u32).to_be_bytes()), &[], start).is_err());
        for shard in &failures.shards {
            let table = lock(shard);
            assert_eq!(table.counts.len(), table.order.len());
        }
        let later = start + WINDOW;
        for number in 0..1000u32 {
            failures.note(IpAddr::from((0xc000_0000 + number).to_be_bytes()), &[], later);
        }
        assert_eq!(failures.peers(), 1000);
    }

    proptest! {
        /// Against the slow obvious version, which keeps every failure.
        #[test]
        fn windows_are_kept_as_told(steps in proptest::collection::vec((0u8..3, 0u64..20), 0..120)) {
            let mut table = Table::new(1000);
            let start = Instant::now();
            let (mut seconds, mut told) = (0, Vec::<(u8, Vec<u64>)>::new());
            for (host, step) in steps {
                seconds += step;
                let (peer, now) = (IpAddr::from([192, 0, 2, host]), start + Duration::from_secs(seconds));
                let index = told.iter().position(|(other, _)| *other == host).unwrap_or_else(|| {
                    told.push((host, Vec::new()));
                    told.len() - 1
                });
                let times = &mut told[index].1;
                if times.first().is_some_and(|first| seconds - first >= FAILURES_WINDOW_SECONDS) {
                    times.clear();
                }
                let expected = (times.len() >= 5).then(|| Duration::from_secs(times[0] + FAILURES_WINDOW_SECONDS - seconds));
                prop_assert_eq!(table.held_for(peer, 5, now), expected);
                times.push(seconds);
                table.note(peer, now);
            }
        }
    }
}
