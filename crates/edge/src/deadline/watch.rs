//! The decision: given what moved and when, does a connection go on, close or get cut?
//!
//! Pure, with time as an argument. It must not touch a socket or read a clock.

use super::{Pace, Sample};
use std::time::Duration;
use tokio::time::Instant;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expiry {
    /// A request's head did not come in time.
    SlowHead,
    /// No byte moved while a request was under way.
    Stalled,
    /// Bytes moved, too slowly.
    TooSlow,
}

impl Expiry {
    /// The name used in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlowHead => "slow_head",
            Self::Stalled => "stalled",
            Self::TooSlow => "too_slow",
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Look again at this moment, or when [`Watch::is_stale`].
    At(Instant),
    /// Close politely.
    Close,
    /// It was told to close and does not: end it in order, so that what is on its way arrives.
    Leave,
    /// Cut.
    Cut(Expiry),
}

/// Whether bytes between requests mean that a head has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// HTTP/1: they do.
    Single,
    /// HTTP/2: they may be pings and window updates.
    Multiplexed,
}

/// How long a resting connection that was told to close, because it rested, may take over it.
const CLOSING: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A head is awaited: the first one, or one whose first bytes have come.
    Head { since: Instant },
    /// Between requests.
    Resting { since: Instant, bytes_in: u64 },
    /// A request is under way.
    Working { stall_since: Instant, stall_bytes: u64, window_since: Instant, window_bytes: u64 },
}

/// The deadlines of one connection.
#[derive(Debug)]
pub struct Watch {
    pace: Pace,
    framing: Framing,
    phase: Phase,
    /// [`Sample::rests`] when the phase began: requests that came and went between two looks are a new phase too.
    rests: u64,
    closing: Option<Closing>,
}

/// Why a connection was told to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// It rested too long, so there is nothing of it on its way.
    Rested,
    /// The node stops. The kernel may hold the end of a body for a slow reader, and we cannot see it; so the drain's own
    /// end is the bound, and within it the kernel's for a peer that answers nothing (`TCP_USER_TIMEOUT`).
    Draining,
}

impl Watch {
    /// A connection that was opened at `now` and has yet to ask.
    #[must_use]
    pub const fn new(pace: Pace, framing: Framing, now: Instant) -> Self {
        Self { pace, framing, phase: Phase::Head { since: now }, rests: 0, closing: None }
    }

    /// The node stops and the connection was told to close: it has until the end of the drain.
    pub const fn draining(&mut self) {
        self.closing = Some(Closing::Draining);
    }

    /// The connection was told to close at `now` because it rests: rest is over soon.
    pub const fn closing(&mut self, now: Instant) {
        self.closing = Some(Closing::Rested);
        if let Phase::Resting { since, .. } = &mut self.phase {
            *since = now;
        }
    }

    /// Whether `sample` puts the connection into another phase, so that [`Watch::look`] is due.
    #[must_use]
    pub const fn is_stale(&self, sample: Sample) -> bool {
        if sample.rests != self.rests {
            return true;
        }
        match self.phase {
            Phase::Head { .. } => sample.working,
            Phase::Resting { bytes_in, .. } => {
                sample.working || (matches!(self.framing, Framing::Single) && sample.bytes_in > bytes_in)
            }
            Phase::Working { .. } => !sample.working,
        }
    }

    /// Judges the connection at `now`.
    #[must_use]
    pub fn look(&mut self, now: Instant, sample: Sample) -> Next {
        self.turn(now, sample);
        let bytes = self.moved(sample);
        match &mut self.phase {
            Phase::Head { since } => {
                let until = *since + self.pace.header;
                if now >= until { Next::Cut(Expiry::SlowHead) } else { Next::At(until) }
            }
            Phase::Resting { since, .. } => {
                let (rest, end) = match self.closing {
                    None => (self.pace.keep_alive, Next::Close),
                    Some(Closing::Rested) => (CLOSING, Next::Leave),
                    Some(Closing::Draining) => return Next::At(now + self.pace.keep_alive),
                };
                if now >= *since + rest { end } else { Next::At(*since + rest) }
            }
            Phase::Working { stall_since, stall_bytes, window_since, window_bytes, .. } => {
                if sample.busy || *stall_bytes != bytes {
                    (*stall_since, *stall_bytes) = (now, bytes);
                } else if now >= *stall_since + self.pace.stall {
                    return Next::Cut(Expiry::Stalled);
                }
                if sample.busy {
                    (*window_since, *window_bytes) = (now, bytes);
                } else if now >= *window_since + self.pace.rate_window {
                    let least = self.pace.rate_bytes_per_second_min.unwrap_or(0);
                    let elapsed_ms = u64::try_from((now - *window_since).as_millis()).unwrap_or(u64::MAX);
                    if bytes - *window_bytes < least.saturating_mul(elapsed_ms) / 1000 {
                        return Next::Cut(Expiry::TooSlow);
                    }
                    (*window_since, *window_bytes) = (now, bytes);
                }
                Next::At((now + self.pace.stall / 4).min(*window_since + self.pace.rate_window))
            }
        }
    }

    /// What counts as moved. Pings and window updates do not: a peer can send them for ever.
    const fn moved(&self, sample: Sample) -> u64 {
        match self.framing {
            Framing::Single => sample.bytes_in + sample.bytes_out,
            Framing::Multiplexed => sample.bodies,
        }
    }

    /// Enters the phase that `sample` shows.
    fn turn(&mut self, now: Instant, sample: Sample) {
        if !self.is_stale(sample) {
            return;
        }
        let bytes = self.moved(sample);
        let between = matches!(self.phase, Phase::Resting { .. }) && sample.rests == self.rests;
        self.phase = if sample.working {
            Phase::Working { stall_since: now, stall_bytes: bytes, window_since: now, window_bytes: bytes }
        } else if between {
            Phase::Head { since: now }
        } else {
            Phase::Resting { since: now, bytes_in: sample.bytes_in }
        };
        self.rests = sample.rests;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACE: Pace = Pace {
        header: Duration::from_secs(10),
        keep_alive: Duration::from_secs(75),
        stall: Duration::from_secs(20),
        rate_bytes_per_second_min: Some(1000),
        rate_window: Duration::from_secs(30),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Looks at each moment that the watch asks for until it ends the connection; that moment and its verdict.
    fn follow(watch: &mut Watch, start: Instant, sample: impl Fn(Duration) -> Sample) -> (Duration, Next) {
        let mut now = start;
        loop {
            match watch.look(now, sample(now - start)) {
                Next::At(next) => {
                    assert!(next > now, "a watch must not spin");
                    now = next;
                }
                end => return (now - start, end),
            }
        }
    }

    fn working(bytes_out: u64) -> Sample {
        Sample { bytes_out, working: true, ..Sample::default() }
    }

    #[test]
    fn a_head_has_its_time_from_the_first_byte() {
        let start = Instant::now();
        let mut watch = Watch::new(PACE, Framing::Single, start);
        // Bytes that trickle in buy no time.
        let end = follow(&mut watch, start, |at| Sample { bytes_in: at.as_secs(), ..Sample::default() });
        assert_eq!(end, (seconds(10), Next::Cut(Expiry::SlowHead)));
    }

    #[test]
    fn rest_ends_in_order_and_a_first_byte_ends_it_too() {
        let start = Instant::now();
        let rested = Sample { bytes_in: 50, bytes_out: 500, rests: 1, ..Sample::default() };
        let mut watch = Watch::new(PACE, Framing::Single, start);
        assert!(watch.is_stale(rested), "a request may come and go between two looks");
        assert_eq!(follow(&mut watch, start, |_| rested), (seconds(75), Next::Close));
        watch.closing(start + seconds(75));
        assert_eq!(watch.look(start + seconds(80), rested), Next::Leave);

        let mut watch = Watch::new(PACE, Framing::Single, start);
        assert_eq!(watch.look(start, rested), Next::At(start + seconds(75)));
        let begun = Sample { bytes_in: 51, ..rested };
        assert!(watch.is_stale(begun));
        assert_eq!(watch.look(start + seconds(70), begun), Next::At(start + seconds(80)));
        assert_eq!(watch.look(start + seconds(80), begun), Next::Cut(Expiry::SlowHead));
    }

    #[test]
    fn pings_are_no_head() {
        let start = Instant::now();
        let mut watch = Watch::new(PACE, Framing::Multiplexed, start);
        let end = follow(&mut watch, start, |at| Sample { bytes_in: at.as_secs(), rests: 1, ..Sample::default() });
        assert_eq!(end, (seconds(75), Next::Close));
    }

    /// HTTP/2 takes an answer to its GOAWAY's ping before it closes, and a slow reader answers once it has read its body.
    #[test]
    fn a_drain_leaves_its_time_to_what_is_on_its_way() {
        let start = Instant::now();
        let rested = Sample { bytes_in: 50, bytes_out: 5_000_000, bodies: 4_999_000, rests: 1, ..Sample::default() };
        let mut watch = Watch::new(PACE, Framing::Multiplexed, start);
        assert!(matches!(watch.look(start, rested), Next::At(_)));
        watch.draining();
        for at in 0..3600 {
            assert!(matches!(watch.look(start + seconds(at), rested), Next::At(_)), "ended after {at} s");
        }
    }

    #[test]
    fn pings_do_not_move_a_body() {
        let start = Instant::now();
        let pinging = |at: Duration| {
            let pings = at.as_secs() * 1_000_000;
            Sample { bytes_in: pings, bytes_out: pings, bodies: 70_000, working: true, ..Sample::default() }
        };
        let mut watch = Watch::new(PACE, Framing::Multiplexed, start);
        assert_eq!(follow(&mut watch, start, pinging), (seconds(20), Next::Cut(Expiry::Stalled)));
    }

    #[test]
    fn a_peer_that_stops_is_cut_within_a_quarter_of_the_stall_time() {
        let start = Instant::now();
        let mut watch = Watch::new(PACE, Framing::Single, start);
        let (at, end) =
            follow(&mut watch, start, |at| working(if at < seconds(7) { at.as_secs() * 1_000_000 } else { 7_000_000 }));
        assert_eq!(end, Next::Cut(Expiry::Stalled));
        assert!((seconds(27)..=seconds(32)).contains(&at), "{at:?}");
    }

    #[test]
    fn a_trickle_is_cut_and_a_slow_peer_is_not() {
        let start = Instant::now();
        let trickle = follow(&mut Watch::new(PACE, Framing::Single, start), start, |at| working(at.as_secs() * 999));
        assert_eq!(trickle, (seconds(30), Next::Cut(Expiry::TooSlow)));
        let mut slow = Watch::new(PACE, Framing::Single, start);
        for at in (0..3600).step_by(5) {
            let next = slow.look(start + seconds(at), working(at * 1000));
            assert!(matches!(next, Next::At(_)), "cut after {at} s");
        }
    }

    #[test]
    fn waiting_for_our_own_disk_is_not_the_peers_fault() {
        let start = Instant::now();
        let mut watch = Watch::new(PACE, Framing::Single, start);
        for at in (0..3600).step_by(5) {
            assert!(matches!(watch.look(start + seconds(at), Sample { busy: true, ..working(0) }), Next::At(_)));
        }
        let (at, end) = follow(&mut watch, start + seconds(3600), |_| working(0));
        assert_eq!(end, Next::Cut(Expiry::Stalled));
        assert!(at <= seconds(25), "the peer's time counts from when it is its turn: {at:?}");
    }

    proptest! {
        #[test]
        fn no_history_makes_a_watch_spin_or_wait_for_ever(
            history in proptest::collection::vec((0u64..40, 0u64..100_000, any::<bool>(), any::<bool>(), 0u64..2), 1..60),
            multiplexed: bool,
        ) {
            let framing = if multiplexed { Framing::Multiplexed } else { Framing::Single };
            let mut now = Instant::now();
            let mut watch = Watch::new(PACE, framing, now);
            let mut sample = Sample::default();
            for (elapsed, bytes, is_working, busy, rests) in history {
                now += seconds(elapsed);
                sample = Sample {
                    bytes_in: sample.bytes_in + bytes / 2,
                    bytes_out: sample.bytes_out + bytes,
                    bodies: sample.bodies + bytes / 3,
                    working: is_working,
                    busy: is_working && busy,
                    rests: sample.rests + rests,
                };
                if let Next::At(next) = watch.look(now, sample) {
                    prop_assert!(next > now && next <= now + PACE.keep_alive);
                }
                prop_assert!(!watch.is_stale(sample), "one look is enough");
            }
        }
    }
}
