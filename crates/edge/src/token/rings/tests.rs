//! The task that keeps keys fresh, with a source that the tests script and a clock that they move.

use super::super::testing::*;
use super::super::{Fetched, KeyRing, TokenRefusal, verify};
use super::*;
use bytes::Bytes;
use std::collections::VecDeque;

/// What the source does next. When nothing is left, it is down.
enum Answer {
    Keys(Vec<u8>),
    Garbage,
    Down,
    /// Answers after so many seconds.
    Slow(u64, Vec<u8>),
}

#[derive(Default)]
struct Source {
    script: Mutex<VecDeque<Answer>>,
    /// When it was asked, in seconds.
    asked: Mutex<Vec<u64>>,
    start: Mutex<Option<Instant>>,
}

impl Source {
    fn of(script: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        let source = Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() };
        *source.start.lock().expect("unpoisoned") = Some(Instant::now());
        Arc::new(source)
    }

    fn asked(&self) -> Vec<u64> {
        self.asked.lock().expect("unpoisoned").clone()
    }
}

impl JwksFetcher for Source {
    async fn fetch(&self, _: &JwksUrl) -> Result<Fetched, FetchError> {
        let start = self.start.lock().expect("unpoisoned").expect("started");
        self.asked.lock().expect("unpoisoned").push(start.elapsed().as_secs());
        let next = self.script.lock().expect("unpoisoned").pop_front();
        let body = match next {
            Some(Answer::Keys(body)) => body,
            Some(Answer::Garbage) => b"<html>sorry</html>".to_vec(),
            Some(Answer::Slow(seconds, body)) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                body
            }
            Some(Answer::Down) | None => return Err(FetchError::Status(503)),
        };
        Ok(Fetched { body: Bytes::from(body), max_age: None })
    }
}

struct Running {
    rings: Arc<KeyRings>,
    source: Arc<Source>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn running(script: impl IntoIterator<Item = Answer>) -> Running {
    let url = JwksUrl::parse("https://idp.example/keys").expect("url");
    let remote = Remote { issuer: issuer(), url, stale: Duration::from_secs(24 * 3600) };
    let control = JwksKeys::of_control(&penstock_core::sign::SecretKey::from_seed(&[7; 32]).public());
    let rings = Arc::new(KeyRings::new(vec![(Issuer::control(), control)], vec![remote]).expect("rings"));
    let source = Source::of(script);
    let stop = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&rings).run(Arc::clone(&source), stop.clone()));
    sleep(1).await;
    Running { rings, source, stop, task }
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

impl Running {
    fn code(&self, kid: &str, seed: u8) -> &'static str {
        let ring: Arc<KeyRing> = self.rings.current();
        match verify(&ring, &ed(seed).token(kid, |_| {}), NOW) {
            Ok(_) => "good",
            Err(refusal) => {
                if let TokenRefusal::KeyUnknown(key) = &refusal {
                    self.rings.note_unknown(key);
                }
                refusal.code()
            }
        }
    }
}

fn published(seeds: &[u8]) -> Vec<u8> {
    set(&seeds.iter().map(|seed| ed(*seed).jwk(&format!("k{seed}"))).collect::<Vec<_>>())
}

#[tokio::test(start_paused = true)]
async fn a_rotation_is_noticed_within_half_a_minute() {
    let running = running([Answer::Keys(published(&[1])), Answer::Keys(published(&[1, 2]))]).await;
    assert_eq!(running.code("k1", 1), "good");
    sleep(100).await;
    assert_eq!(running.code("k2", 2), "token_key_unknown");
    sleep(1).await;
    assert_eq!(running.code("k2", 2), "good", "nothing kept the fetch from coming at once");
    assert_eq!(running.code("k1", 1), "good");
    assert_eq!(running.source.asked(), [0, 101]);
    running.stop.cancel();
    running.task.await.expect("ended");
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_goes_with_the_next_refresh() {
    let running = running([Answer::Keys(published(&[1, 2])), Answer::Keys(published(&[2]))]).await;
    assert_eq!((running.code("k1", 1), running.code("k2", 2)), ("good", "good"));
    sleep(601).await;
    assert_eq!((running.code("k1", 1), running.code("k2", 2)), ("token_key_unknown", "good"));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_lets_the_old_keys_serve() {
    let secret = {
        let mut jwk = ed(3).jwk("k3");
        jwk["d"] = serde_json::json!("AAAA");
        set(&[jwk])
    };
    let script = [Answer::Keys(published(&[1])), Answer::Garbage, Answer::Down, Answer::Keys(secret)];
    let running = running(script).await;
    for _ in 0..23 {
        sleep(3600).await;
        assert_eq!((running.code("k1", 1), running.code("k3", 3)), ("good", "token_key_unknown"));
    }
    let asked = running.source.asked();
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 30) && asked.len() < 200, "{asked:?}");
    // A day is over, and the ten minutes in which the keys were fresh.
    sleep(3600 + 700).await;
    assert_eq!(running.code("k1", 1), "token_key_unknown");
    let known: Vec<_> =
        running.rings.current().issuers().map(|(issuer, keys)| (issuer.name().to_owned(), keys)).collect();
    assert_eq!(known, [("penstock".to_owned(), 1), ("idp".to_owned(), 0)], "others are not disturbed");
    // The source comes back.
    running.source.script.lock().expect("unpoisoned").push_back(Answer::Keys(published(&[5])));
    sleep(1000).await;
    assert_eq!(running.code("k5", 5), "good");
}

#[tokio::test(start_paused = true)]
async fn a_slow_source_holds_up_nobody() {
    let script = [Answer::Slow(9, published(&[1])), Answer::Slow(9, published(&[1, 2]))];
    let running = running(script).await;
    for _ in 0..7 {
        assert_eq!(running.code("k1", 1), "token_key_unknown");
        sleep(1).await;
    }
    sleep(2).await;
    assert_eq!(running.code("k1", 1), "good");
    // While the second fetch is under way, the first one's keys serve.
    assert_eq!(running.code("k2", 2), "token_key_unknown");
    sleep(25).await;
    assert_eq!((running.code("k1", 1), running.code("k2", 2)), ("good", "token_key_unknown"));
    sleep(9).await;
    assert_eq!(running.code("k2", 2), "good");
    assert_eq!(running.source.asked(), [0, 30]);
}

/// Everybody invents key ids, for ten minutes.
#[tokio::test(start_paused = true)]
async fn a_flood_of_key_ids_is_at_most_a_fetch_every_half_minute() {
    let running = running((0..100).map(|_| Answer::Keys(published(&[1])))).await;
    for second in 0..600 {
        for number in 0..20 {
            assert_eq!(running.code(&format!("evil-{second}-{number}"), 9), "token_key_unknown");
        }
        sleep(1).await;
    }
    let asked = running.source.asked();
    assert!((19..=21).contains(&asked.len()), "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 30), "{asked:?}");
    assert_eq!(running.code("k1", 1), "good");
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_file_are_replaced() {
    let rings = KeyRings::new(vec![(issuer(), keys(&[ED.jwk("old")]))], Vec::new()).expect("rings");
    let before = rings.current();
    rings.replace("idp", &keys(&[ed(2).jwk("new")]));
    rings.replace("nobody", &keys(&[ed(3).jwk("x")]));
    assert!(verify(&before, &ED.token("old", |_| {}), NOW).is_ok(), "who holds the old ring is not disturbed");
    assert!(verify(&rings.current(), &ed(2).token("new", |_| {}), NOW).is_ok());
    assert!(verify(&rings.current(), &ED.token("old", |_| {}), NOW).is_err());
}

/// Requests verify while keys come and go: a token of a key that stays is never refused.
#[test]
fn a_rotation_under_load_refuses_nobody() {
    let sets = [keys(&[ed(1).jwk("old"), ed(2).jwk("stays")]), keys(&[ed(2).jwk("stays"), ed(3).jwk("new")])];
    let rings = KeyRings::new(vec![(issuer(), sets[0].clone())], Vec::new()).expect("rings");
    let token = ed(2).token("stays", |_| {});
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) || count < 100 {
                        verify(&rings.current(), &token, NOW).expect("its key stays");
                        count += 1;
                    }
                })
            })
            .collect();
        for number in 0..2000 {
            rings.replace("idp", &sets[number % 2]);
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().expect("no token was refused"));
    });
}
