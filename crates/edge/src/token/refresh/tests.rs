//! The schedule under a clock that the tests move: fresh, stale, failing, flooded.

use super::super::testing::{ED, ed, keys};
use super::*;
use proptest::prelude::*;

const STALE: Duration = Duration::from_secs(STALE_SECONDS_DEFAULT);

struct Clock(Instant);

impl Clock {
    fn at(&self, seconds: u64) -> Instant {
        self.0 + Duration::from_secs(seconds)
    }
}

fn start() -> (Refresher, Clock) {
    let clock = Clock(Instant::now());
    (Refresher::new(STALE, clock.0), clock)
}

fn with_keys() -> (Refresher, Clock) {
    let (mut refresher, clock) = start();
    assert_eq!(refresher.next(clock.0), Next::Fetch);
    refresher.begin(clock.0);
    refresher.done(keys(&[ED.jwk("a")]), None, 0, clock.0);
    (refresher, clock)
}

#[test]
fn keys_are_fetched_at_once_and_then_when_they_are_no_longer_fresh() {
    let (mut refresher, clock) = start();
    assert!(refresher.keys().is_none());
    assert_eq!(refresher.next(clock.at(0)), Next::Fetch);
    refresher.begin(clock.at(0));
    assert_eq!(refresher.next(clock.at(5)), Next::Wait(None), "one fetch at a time");
    refresher.done(keys(&[ED.jwk("a")]), None, 0, clock.at(5));
    assert!(refresher.keys().is_some_and(|keys| keys.has("a")));
    assert_eq!(refresher.next(clock.at(604)), Next::Wait(Some(clock.at(605))));
    assert_eq!(refresher.next(clock.at(605)), Next::Fetch);
}

#[test]
fn the_source_says_how_long_within_bounds() {
    for (said, expected) in [(None, 600), (Some(0), 60), (Some(60), 60), (Some(900), 900), (Some(1_000_000), 3600)] {
        let (mut refresher, clock) = start();
        refresher.begin(clock.at(0));
        refresher.done(keys(&[ED.jwk("a")]), said.map(Duration::from_secs), 0, clock.at(0));
        assert_eq!(refresher.next(clock.at(0)), Next::Wait(Some(clock.at(expected))), "{said:?}");
    }
    let (mut refresher, clock) = start();
    refresher.begin(clock.at(0));
    refresher.done(keys(&[ED.jwk("a")]), None, u16::MAX, clock.at(0));
    assert_eq!(refresher.next(clock.at(0)), Next::Wait(Some(clock.at(540))), "jitter is a tenth at most");
}

/// The source is down for longer than keys may be stale: they serve until then, and not longer.
#[test]
fn stale_keys_serve_while_the_source_is_down() {
    let (mut refresher, clock) = with_keys();
    let mut seconds = 0;
    let mut fetches = 0;
    loop {
        match refresher.next(clock.at(seconds)) {
            Next::Fetch => {
                refresher.begin(clock.at(seconds));
                refresher.failed(0, clock.at(seconds + 10));
                seconds += 10;
                fetches += 1;
            }
            Next::Wait(until) => {
                seconds = until.expect("no fetch is under way").duration_since(clock.0).as_secs();
                assert!(refresher.keys().is_some());
            }
            Next::Drop => break,
        }
    }
    assert!((600 + STALE_SECONDS_DEFAULT..=610 + STALE_SECONDS_DEFAULT).contains(&seconds), "{seconds}");
    assert!((140..150).contains(&fetches), "every ten minutes or so: {fetches}");
    refresher.drop_keys();
    assert!(refresher.keys().is_none());
    assert!(matches!(refresher.next(clock.at(seconds)), Next::Wait(Some(_)) | Next::Fetch));
    // It comes back.
    refresher.begin(clock.at(seconds));
    refresher.done(keys(&[ED.jwk("b")]), None, 0, clock.at(seconds));
    assert!(refresher.keys().is_some_and(|keys| keys.has("b")));
    assert_eq!(refresher.failures(), 0);
}

#[test]
fn pauses_grow_and_are_short_while_there_are_no_keys() {
    let pauses = |mut refresher: Refresher, clock: &Clock, jitter| -> Vec<u64> {
        (0..8)
            .map(|_| {
                refresher.begin(clock.at(0));
                refresher.failed(jitter, clock.at(0));
                let Next::Wait(Some(until)) = refresher.next(clock.at(0)) else { panic!("a pause") };
                until.duration_since(clock.at(0)).as_secs()
            })
            .collect()
    };
    let (refresher, clock) = start();
    assert_eq!(pauses(refresher, &clock, 0), [5, 10, 20, 40, 80, 160, 320, 600]);
    let (refresher, clock) = with_keys();
    assert_eq!(pauses(refresher, &clock, 0), [30, 60, 120, 240, 480, 600, 600, 600]);
    let (refresher, clock) = with_keys();
    assert_eq!(pauses(refresher, &clock, u16::MAX), [45, 90, 180, 360, 720, 900, 900, 900]);
}

#[test]
fn an_unknown_key_hastens_one_fetch() {
    let (mut refresher, clock) = with_keys();
    // Too soon after the last fetch: it is put off, not forgotten.
    assert_eq!(refresher.note_unknown(Some("b"), clock.at(10)), Unknown::Hastened);
    assert_eq!(refresher.next(clock.at(10)), Next::Wait(Some(clock.at(30))));
    assert_eq!(refresher.note_unknown(Some("c"), clock.at(11)), Unknown::Coming);
    assert_eq!(refresher.next(clock.at(30)), Next::Fetch);
    refresher.begin(clock.at(30));
    assert_eq!(refresher.note_unknown(Some("d"), clock.at(31)), Unknown::Coming, "one at a time");
    refresher.done(keys(&[ED.jwk("a"), ed(2).jwk("b")]), None, 0, clock.at(32));
    assert!(refresher.keys().is_some_and(|keys| keys.has("b")));
    assert_eq!(refresher.note_unknown(Some("b"), clock.at(33)), Unknown::Known, "told by a token that was slow");
    // What was asked for before the fetch and not found is not asked for again for a while.
    assert_eq!(refresher.note_unknown(Some("c"), clock.at(100)), Unknown::Absent);
    assert_eq!(refresher.note_unknown(Some("c"), clock.at(152)), Unknown::Hastened);
    // What was asked for during the fetch may have come too late for it.
    let (mut refresher, clock) = with_keys();
    refresher.begin(clock.at(100));
    assert_eq!(refresher.note_unknown(Some("d"), clock.at(101)), Unknown::Coming);
    refresher.done(keys(&[ED.jwk("a")]), None, 0, clock.at(102));
    assert_eq!(refresher.note_unknown(Some("d"), clock.at(103)), Unknown::Hastened);
    assert_eq!(refresher.next(clock.at(103)), Next::Wait(Some(clock.at(130))));
}

#[test]
fn a_key_that_was_absent_and_came_is_no_longer_absent() {
    let (mut refresher, clock) = with_keys();
    refresher.note_unknown(Some("b"), clock.at(40));
    refresher.begin(clock.at(40));
    refresher.done(keys(&[ED.jwk("a")]), None, 0, clock.at(40));
    assert_eq!(refresher.note_unknown(Some("b"), clock.at(41)), Unknown::Absent);
    refresher.begin(clock.at(50));
    refresher.done(keys(&[ED.jwk("b")]), None, 0, clock.at(50));
    refresher.begin(clock.at(60));
    refresher.done(keys(&[ED.jwk("a")]), None, 0, clock.at(60));
    assert_eq!(refresher.note_unknown(Some("b"), clock.at(61)), Unknown::Hastened);
}

#[test]
fn unknown_keys_do_not_shorten_a_pause() {
    let (mut refresher, clock) = with_keys();
    for _ in 0..4 {
        refresher.begin(clock.at(1000));
        refresher.failed(0, clock.at(1000));
    }
    assert_eq!(refresher.note_unknown(Some("b"), clock.at(1001)), Unknown::Coming);
    assert_eq!(refresher.next(clock.at(1001)), Next::Wait(Some(clock.at(1240))));
}

/// Ten thousand key ids a second for an hour: a fetch every 30 seconds, and little memory.
#[test]
fn a_flood_of_unknown_keys_is_bounded() {
    for failing in [false, true] {
        let (mut refresher, clock) = with_keys();
        let mut began = vec![0u64];
        let mut number = 0u64;
        for seconds in 1..=3600 {
            for _ in 0..if seconds % 60 == 0 { 10_000 } else { 20 } {
                number += 1;
                refresher.note_unknown(Some(&format!("kid-{number}")), clock.at(seconds));
            }
            if refresher.next(clock.at(seconds)) == Next::Fetch {
                began.push(seconds);
                refresher.begin(clock.at(seconds));
                if failing {
                    refresher.failed(0, clock.at(seconds));
                } else {
                    refresher.done(keys(&[ED.jwk("a")]), None, 0, clock.at(seconds));
                }
            }
            assert!(refresher.asked.len() <= ABSENT_MAX && refresher.absent.len() <= ABSENT_MAX);
        }
        assert!(began.windows(2).all(|pair| pair[1] - pair[0] >= 30), "{began:?}");
        assert!(began.len() <= 121 && (failing || began.len() >= 110), "{}", began.len());
    }
}

proptest! {
    /// Whatever happens: one fetch at a time, 30 s between fetches once there are keys, and keys that are never too old.
    #[test]
    fn the_promises_hold(steps in prop::collection::vec((0u64..90, 0u8..4, any::<u16>()), 1..200)) {
        let (mut refresher, clock) = with_keys();
        let (mut seconds, mut in_flight, mut began, mut good) = (0, false, 0, 0);
        for (step, kind, jitter) in steps {
            seconds += step;
            let now = clock.at(seconds);
            match refresher.next(now) {
                Next::Fetch => {
                    prop_assert!(!in_flight && seconds - began >= 30);
                    refresher.begin(now);
                    (in_flight, began) = (true, seconds);
                }
                Next::Drop => {
                    prop_assert!(seconds - good >= 60 + STALE_SECONDS_DEFAULT);
                    refresher.drop_keys();
                }
                Next::Wait(until) => {
                    prop_assert!(until.is_none_or(|until| until > now));
                    prop_assert!(until.is_some() || in_flight);
                }
            }
            match kind {
                0 => { refresher.note_unknown(Some("x"), now); }
                1 => { refresher.note_unknown(None, now); }
                2 if in_flight => {
                    refresher.done(keys(&[ED.jwk("a")]), Some(Duration::from_secs(60)), jitter, now);
                    (in_flight, good) = (false, seconds);
                }
                3 if in_flight => {
                    refresher.failed(jitter, now);
                    in_flight = false;
                }
                _ => {}
            }
        }
    }
}
