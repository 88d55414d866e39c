//! A passport out of a cache of a million: ours, and what one would write with moka.

use crate::args::Args;
use crate::entitle::{Believer, NOW, ROOM_BYTES, accounts, value};
use crate::figures::{Figures, Goal, ratios};
use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use moka::sync::Cache;
use penstock_core::entitle::Passport;
use penstock_core::time::UnixSeconds;
use penstock_edge::passport::{Passports, Presented};
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// As long as ours believes a token.
const LIFE: Duration = Duration::from_secs(3600);
/// What the peer counts for an entry: about what one takes.
const ENTRY_BYTES: u32 = 350;

/// A cache hit, hash included, with a million entries, from two threads. All caches take turns.
pub(crate) fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    let count = args.pick(10_000, 1_000_000);
    let lookups = args.pick(20_000, 1_000_000);
    let passports = Passports::new(accounts(), Arc::default(), Arc::new(Believer), [1; 32], ROOM_BYTES);
    let values: Vec<Vec<u8>> = (0..count).map(value).collect();
    let (same, blake3) = (Peer::new(ghash()?), Peer::new(keyed_blake3));
    for value in &values {
        let Presented::Known(passport) = passports.of(value, None, NOW) else { anyhow::bail!("a token was refused") };
        same.insert(value, &passport);
        blake3.insert(value, &passport);
    }
    let [mut ours, mut like_ours, mut usual] = [const { (Vec::new(), Vec::new()) }; 3];
    for _ in 0..args.pairs {
        let is_known = |value: &[u8]| matches!(passports.of(value, None, NOW), Presented::Known(_));
        note(&mut ours, on_two_threads(&values, lookups, is_known)?);
        note(&mut like_ours, on_two_threads(&values, lookups, |value| same.get(value, NOW).is_some())?);
        note(&mut usual, on_two_threads(&values, lookups, |value| blake3.get(value, NOW).is_some())?);
    }
    let name = |what: &str| format!("passport from a cache of 1,000,000: {what}");
    figures.add(name("how much slower moka is, keyed by our hash"), "ratio", ratios(&like_ours.0, &ours.0));
    figures.judge(
        name("how much slower moka is, keyed by BLAKE3"),
        "ratio",
        ratios(&usual.0, &ours.0),
        Goal::AtLeast(2.0),
    );
    figures.judge(name("median"), "µs", ours.0, Goal::AtMost(1.3));
    figures.judge(name("99th percentile"), "µs", ours.1, Goal::AtMost(3.0));
    figures.add(name("moka keyed by our hash, median"), "µs", like_ours.0);
    figures.add(name("moka keyed by our hash, 99th percentile"), "µs", like_ours.1);
    figures.add(name("moka keyed by BLAKE3, median"), "µs", usual.0);
    figures.add(name("moka keyed by BLAKE3, 99th percentile"), "µs", usual.1);
    Ok(())
}

/// What a sensible engineer would write: moka's cache, bounded by weight, with a time to live, keyed by 128 bits of a keyed
/// hash of the token, whose own first bytes are its hash in the map; and a look at the token's own end. It is given what
/// ours has: passports of the same type, in an `Arc` each. It is spared what ours looks at besides: whether a key was
/// taken away, an account changed, the token was revoked.
struct Peer<H> {
    cache: Cache<[u8; 16], Arc<Passport>, BuildHasherDefault<First>>,
    hash: H,
}

impl<H: Fn(&[u8]) -> [u8; 16] + Sync> Peer<H> {
    fn new(hash: H) -> Self {
        let builder = Cache::builder().max_capacity(ROOM_BYTES as u64).weigher(|_, _| ENTRY_BYTES).time_to_live(LIFE);
        Self { cache: builder.build_with_hasher(BuildHasherDefault::default()), hash }
    }

    fn insert(&self, value: &[u8], passport: &Passport) {
        self.cache.insert((self.hash)(value), Arc::new(passport.clone()));
    }

    fn get(&self, value: &[u8], now: UnixSeconds) -> Option<Arc<Passport>> {
        self.cache.get(&(self.hash)(value)).filter(|passport| now < passport.expires)
    }
}

/// The first bytes of what is a hash already.
#[derive(Default)]
struct First(u64);

impl Hasher for First {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
    fn write_usize(&mut self, _: usize) {}
    fn finish(&self) -> u64 {
        self.0
    }
}

/// The hash that ours has.
fn ghash() -> Result<impl Fn(&[u8]) -> [u8; 16] + Sync> {
    let key = UnboundKey::new(&AES_256_GCM, &[1; 32]).ok().context("32 bytes are a key")?;
    let key = LessSafeKey::new(key);
    Ok(move |value: &[u8]| {
        let nonce = Nonce::assume_unique_for_key([1; NONCE_LEN]);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(value), &mut []);
        tag.ok().and_then(|tag| tag.as_ref().first_chunk().copied()).unwrap_or_default()
    })
}

/// The hash that one would take.
fn keyed_blake3(value: &[u8]) -> [u8; 16] {
    blake3::keyed_hash(&[1; 32], value).as_bytes().first_chunk().copied().unwrap_or_default()
}

fn note(of: &mut (Vec<f64>, Vec<f64>), times: Times) {
    of.0.push(times.median);
    of.1.push(times.tail);
}

/// Times of single lookups in microseconds.
#[derive(Clone, Copy)]
struct Times {
    median: f64,
    tail: f64,
}

fn on_two_threads(values: &[Vec<u8>], lookups: u64, look: impl Fn(&[u8]) -> bool + Sync) -> Result<Times> {
    let look = &look;
    let run = |seed: u64| {
        let mut state = seed;
        let mut times = Vec::new();
        let mut found = true;
        for _ in 0..lookups {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(state >> 33).unwrap_or(0) % values.len();
            let value = &values[at];
            // The request's head was just read, so it is in the processor's cache.
            black_box(value.iter().fold(0u8, |sum, byte| sum ^ byte));
            let begun = Instant::now();
            found &= look(value);
            times.push(u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
        (times, found)
    };
    let both = thread::scope(|scope| {
        let other = scope.spawn(|| run(1));
        let mut mine = run(2);
        let theirs = other.join().map_err(|_| anyhow::anyhow!("a thread broke down"))?;
        mine.0.extend(theirs.0);
        mine.1 &= theirs.1;
        anyhow::Ok(mine)
    })?;
    let (mut times, found) = both;
    ensure!(found, "a passport was not found");
    times.sort_unstable();
    let at = |part: usize| f64::from(times[times.len() * part / 100]) / 1000.0;
    Ok(Times { median: at(50), tail: at(99) })
}
