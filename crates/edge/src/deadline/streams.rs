//! The decision for HTTP/2: does each stream of a connection move, or do some hide behind others?
//!
//! Pure, with time as an argument. A connection is one peer, so one stream that is held up on purpose ends all of it:
//! what that stream has queued is ours to keep until the connection goes.

use super::{Expiry, Pace, StreamSample};
use std::time::Duration;
use tokio::time::Instant;

/// What one stream may take at most before the next one has its turn: all that hyper queues for it, twice. Streams are
/// served in turn, so once the others took this much each, a stream that took nothing has refused its turn.
const TURN_BYTES: u64 = 512 * 1024;

/// The streams of one connection.
#[derive(Debug)]
pub struct Streams {
    stall: Duration,
    rate_bytes_per_second_min: u64,
    rate_window: Duration,
    /// By number.
    turns: Vec<Turn>,
    window_since: Instant,
    window_total: u64,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    number: u64,
    /// What it had moved when it last moved.
    moved: u64,
    since: Instant,
    /// What the connection had moved then.
    total: u64,
    /// Since when it waits for the peer without a break.
    waiting_since: Instant,
}

impl Streams {
    /// A connection without streams.
    #[must_use]
    pub fn new(pace: Pace, now: Instant) -> Self {
        Self {
            stall: pace.stall,
            rate_bytes_per_second_min: pace.rate_bytes_per_second_min.unwrap_or(0),
            rate_window: pace.rate_window,
            turns: Vec::new(),
            window_since: now,
            window_total: 0,
        }
    }

    /// Judges the streams at `now`. `total` is what all bodies of the connection ever moved, `streams` are those under
    /// way, oldest first. To be asked every quarter of the stall time or so.
    #[must_use]
    pub fn look(&mut self, now: Instant, total: u64, streams: &[StreamSample]) -> Option<Expiry> {
        let before = std::mem::take(&mut self.turns);
        let mut before = before.into_iter().peekable();
        for stream in streams {
            while before.next_if(|turn| turn.number < stream.number).is_some() {}
            let known = before.next_if(|turn| turn.number == stream.number);
            self.turns.push(match known {
                Some(turn) if stream.busy => {
                    Turn { moved: stream.moved, since: now, total, waiting_since: now, ..turn }
                }
                Some(turn) if turn.moved != stream.moved => Turn { moved: stream.moved, since: now, total, ..turn },
                Some(turn) => turn,
                None => Turn { number: stream.number, moved: stream.moved, since: now, total, waiting_since: now },
            });
        }
        if self.turns.iter().any(|turn| self.refuses(turn, now, total)) {
            return Some(Expiry::Stalled);
        }
        self.is_too_slow(now, total).then_some(Expiry::TooSlow)
    }

    /// Whether a stream does not move although it could. When all of the connection moves a little, nobody knows whose
    /// turn it is: then the least rate decides.
    fn refuses(&self, turn: &Turn, now: Instant, total: u64) -> bool {
        let others = total - turn.total;
        let is_its_turn = others == 0 || others >= TURN_BYTES * self.turns.len() as u64;
        is_its_turn && now >= turn.since + self.stall
    }

    /// Whether the connection moves less than the least rate for each stream that waits for the peer all the time.
    fn is_too_slow(&mut self, now: Instant, total: u64) -> bool {
        if now < self.window_since + self.rate_window {
            return false;
        }
        let waiting = self.turns.iter().filter(|turn| turn.waiting_since <= self.window_since).count() as u64;
        let elapsed_ms = u64::try_from((now - self.window_since).as_millis()).unwrap_or(u64::MAX);
        let least = self.rate_bytes_per_second_min.saturating_mul(waiting).saturating_mul(elapsed_ms) / 1000;
        let moved = total - self.window_total;
        (self.window_since, self.window_total) = (now, total);
        moved < least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        header: Duration::from_secs(10),
        keep_alive: Duration::from_secs(75),
        stall: Duration::from_secs(20),
        rate_bytes_per_second_min: Some(1000),
        rate_window: Duration::from_secs(30),
    };

    /// Looks every five seconds of an hour at streams that `moved` describes (by number and second; `None` is busy);
    /// when and why the connection is cut.
    fn follow(count: u64, moved: impl Fn(u64, u64) -> Option<u64>) -> Option<(u64, Expiry)> {
        let start = Instant::now();
        let mut streams = Streams::new(PACE, start);
        (0..3600).step_by(5).find_map(|at| {
            let samples: Vec<_> = (0..count)
                .map(|number| {
                    let moved = moved(number, at);
                    StreamSample { number, moved: moved.unwrap_or(0), busy: moved.is_none() }
                })
                .collect();
            let total = samples.iter().map(|stream| stream.moved).sum();
            streams.look(start + Duration::from_secs(at), total, &samples).map(|expiry| (at, expiry))
        })
    }

    #[test]
    fn one_living_stream_does_not_shelter_others() {
        let sheltered = follow(100, |number, at| Some(if number == 0 { at * 10_000_000 } else { 7 }));
        assert_eq!(sheltered, Some((20, Expiry::Stalled)));
        // However slow the living one is: a hundred streams must move a hundred times the least rate.
        let trickling = follow(100, |number, at| Some(if number == 0 { at * 99_000 } else { 7 }));
        assert_eq!(trickling, Some((30, Expiry::TooSlow)));
    }

    #[test]
    fn streams_that_share_a_slow_line_are_not_cut() {
        // Each of forty gets 64 KiB every forty seconds, one after the other.
        assert_eq!(follow(40, |number, at| Some((at + 40 - number) / 40 * 65_536)), None);
    }

    #[test]
    fn a_stream_that_waits_for_us_is_not_cut_and_shelters_nobody() {
        assert_eq!(follow(1, |_, _| None), None);
        let mixed = follow(2, |number, _| if number == 0 { None } else { Some(5) });
        assert_eq!(mixed, Some((20, Expiry::Stalled)), "a disk that is busy for one is no excuse for the other");
    }

    #[test]
    fn new_streams_have_their_own_time() {
        let start = Instant::now();
        let mut streams = Streams::new(PACE, start);
        for at in (0..3600).step_by(5) {
            // A new request every five seconds, each over after fifteen.
            let first = at / 5;
            let samples: Vec<_> =
                (first..first + 3).map(|number| StreamSample { number, moved: 0, busy: false }).collect();
            assert_eq!(streams.look(start + Duration::from_secs(at), at * 1_000_000, &samples), None, "{at} s");
        }
    }
}
