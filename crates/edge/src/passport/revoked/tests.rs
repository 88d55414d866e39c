//! Revocations against a model, from many threads, and a million of them.

use super::*;
use proptest::prelude::*;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

/// Spread as pseudonyms are; the same for the same number.
fn key(number: u64) -> TokenKey {
    let hash = blake3::hash(&number.to_le_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&hash.as_bytes()[..16]);
    TokenKey(first)
}

const fn revoked(token: TokenKey, until: UnixSeconds) -> RevokedToken {
    RevokedToken { token, until }
}

#[test]
fn what_is_over_goes_at_the_next_merge_and_not_before_the_leeway_is() {
    let set = Arc::new(Revoked::default());
    let ended = NOW.plus(600);
    set.add(&[revoked(key(1), ended), revoked(key(2), NOW.plus(100_000))], NOW);
    set.merge(NOW);
    assert_eq!(set.counts(), (2, 0));
    set.merge(ended.plus(LEEWAY_SECONDS_MAX - 1));
    assert!(set.contains(&key(1)), "an issuer with the longest leeway still takes it");
    set.merge(ended.plus(LEEWAY_SECONDS_MAX + 60));
    assert!(!set.contains(&key(1)) && set.contains(&key(2)));
    set.add(&[revoked(key(3), UnixSeconds(5))], NOW);
    assert_eq!(set.counts(), (1, 0), "what is long over is not kept at all");
    // Told again with a later end: the later one counts.
    set.add(&[revoked(key(2), NOW.plus(200_000)), revoked(key(2), NOW.plus(50_000))], NOW);
    set.merge(NOW.plus(150_000));
    assert!(set.contains(&key(2)));
}

#[test]
fn a_revocation_moves_the_generation_of_its_slot_and_few_others() {
    let set = Arc::new(Revoked::default());
    let before: Vec<u32> = (0..1000).map(|number| set.generation(&key(number))).collect();
    set.add(&[revoked(key(7), NOW.plus(60))], NOW);
    assert_ne!(set.generation(&key(7)), before[7]);
    let moved =
        (0..1000).filter(|number| set.generation(&key(*number)) != before[usize::try_from(*number).unwrap_or(0)]);
    assert!(moved.count() < 10);
}

/// Keys that begin alike are one to the filter and two to the set.
#[test]
fn the_filter_decides_nothing() {
    let set = Arc::new(Revoked::default());
    let twin = |last: u8| {
        let mut twin = key(5);
        twin.0[15] = last;
        twin
    };
    let mut many: Vec<RevokedToken> =
        (100..100 + LATE_MIN as u64).map(|number| revoked(key(number), NOW.plus(3600))).collect();
    many.extend([revoked(twin(1), NOW.plus(3600)), revoked(twin(2), NOW.plus(3600))]);
    set.add(&many, NOW);
    set.merge(NOW);
    assert!(set.base.load().filter.as_ref().is_some_and(|filter| filter.contains(&word(&twin(3)))));
    assert!(set.contains(&twin(1)) && set.contains(&twin(2)) && !set.contains(&twin(3)));
    assert!(many.iter().all(|one| set.contains(&one.token)));
}

/// A million ids, as they come at a replay, in the memory that they may take. `benches/` measures how fast.
#[test]
fn a_million_load_and_are_found() {
    const COUNT: u64 = 1_000_000;
    let batches: Vec<Vec<RevokedToken>> = (0..COUNT / 10_000)
        .map(|batch| (0..10_000).map(|one| revoked(key(batch * 10_000 + one), NOW.plus(86_400))).collect())
        .collect();
    let set = Arc::new(Revoked::default());
    batches.iter().for_each(|batch| set.add(batch, NOW));
    set.merge(NOW);
    assert_eq!(set.counts(), (1_000_000, 0));
    // 16 bytes of key, 4 of end, 2.25 of filter.
    assert!(set.base_bytes() < 23_000_000, "{} bytes", set.base_bytes());
    assert!(!(COUNT..COUNT + 200_000).map(key).any(|token| set.contains(&token)));
    assert!(batches.iter().flatten().step_by(5).all(|one| set.contains(&one.token)));
}

/// Revoke, look up, merge and expire the same keys from many threads. What was told once is found until its end, whatever
/// merge is under way; a watchdog, because what this is afraid of is that nobody comes back.
#[test]
fn many_threads_lose_no_revocation() {
    let set = &Arc::new(Revoked::default());
    let stop = &AtomicBool::new(false);
    let rounds = &AtomicU64::new(0);
    let long = NOW.plus(1_000_000);
    thread::scope(|scope| {
        for thread in 0..6u64 {
            scope.spawn(move || {
                let mut state = thread + 1;
                let mut told = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    match (state >> 40) % 64 {
                        0 => set.merge(NOW.plus((state >> 50) % 10_000)),
                        1..8 => {
                            let number = (thread << 32) | told;
                            told += 1;
                            // One of its own that stays, one of everybody's that ends soon.
                            let soon = NOW.plus((state >> 50) % 10_000);
                            set.add(&[revoked(key(number), long), revoked(key((1 << 60) | (told % 50)), soon)], NOW);
                            assert!(set.contains(&key(number)));
                        }
                        _ if told > 0 => assert!(set.contains(&key((thread << 32) | ((state >> 20) % told)))),
                        _ => assert!(!set.contains(&key(thread << 32))),
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let begun = Instant::now();
        let mut last = 0;
        while begun.elapsed() < Duration::from_secs(2) {
            thread::sleep(Duration::from_millis(250));
            let now = rounds.load(Ordering::Relaxed);
            if now == last {
                // Joining the threads would hang, too.
                eprintln!("nobody came back after {now} rounds");
                std::process::abort();
            }
            last = now;
        }
        stop.store(true, Ordering::Relaxed);
    });
    set.merge(NOW.plus(20_000));
    assert!((0..50).all(|number| !set.contains(&key((1 << 60) | number))), "what ended is gone");
}

#[derive(Debug, Clone)]
enum Move {
    Add(u64, u64),
    Merge,
    Wait(u64),
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => (0u64..40, 0u64..5000).prop_map(|(token, life)| Move::Add(token, life)),
        2 => Just(Move::Merge),
        2 => (0u64..2000).prop_map(Move::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    /// What was revoked is found until its end and the leeway, and nothing is found that was not.
    #[test]
    fn the_set_is_a_list_of_ends(moves in proptest::collection::vec(any_move(), 0..80)) {
        let set = Arc::new(Revoked::default());
        let mut model: HashMap<u64, UnixSeconds> = HashMap::new();
        let mut now = NOW;
        for one in moves {
            match one {
                Move::Add(token, life) => {
                    let until = now.plus(life);
                    set.add(&[revoked(key(token), until)], now);
                    let known = model.entry(token).or_insert(until);
                    *known = until.max(*known);
                }
                Move::Merge => set.merge(now),
                Move::Wait(seconds) => now = now.plus(seconds),
            }
            for token in 0..40 {
                match model.get(&token) {
                    None => prop_assert!(!set.contains(&key(token))),
                    Some(until) if now < until.plus(LEEWAY_SECONDS_MAX) => prop_assert!(set.contains(&key(token))),
                    // Over: it may be remembered until the next merge.
                    Some(_) => {}
                }
            }
        }
        set.merge(now.plus(1_000_000));
        prop_assert_eq!(set.counts(), (0, 0));
    }
}
