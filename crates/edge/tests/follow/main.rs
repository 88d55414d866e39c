//! A follower against a control node that breaks off, skips, forges and damages: real sockets, a real store, a script.

use bytes::Bytes;
use penstock_core::account::{AccountFacts, AccountKey, PseudonymKey, Standing as AccountStanding};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{AccessClass, CatalogChange, Product};
use penstock_core::feed::{FORMAT, Hello, Line, Mark};
use penstock_core::sign::SecretKey;
use penstock_core::snapshot::Builder;
use penstock_core::statement::AccountsNotice;
use penstock_core::time::UnixSeconds;
use penstock_edge::catalog::EdgeCatalog;
use penstock_edge::copy::EdgeCopy;
use penstock_edge::feed::{Follower, FollowerParts, Following, Standing};
use penstock_edge::passport::{Accounts, Revoked};
use penstock_edge::policy::Policies;
use penstock_edge::web::WebUrl;
use penstock_store::{Store, StoreOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A control node that answers what it is told to. Each answer closes its connection.
struct Script {
    address: SocketAddr,
    /// Method and target of every request, in order.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    /// `answer` gets a request's method and target, and how many came before; it gives the body, or `None` for 404.
    fn start(mut answer: impl FnMut(&str, usize) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
                let Some(Ok(first)) = lines.next() else { continue };
                let mut has_credential = false;
                for line in lines.by_ref() {
                    let Ok(line) = line else { break };
                    has_credential |= line.eq_ignore_ascii_case("authorization: Bearer the-credential");
                    if line.is_empty() {
                        break;
                    }
                }
                assert!(has_credential, "every request carries it");
                let what = first.trim_end_matches(" HTTP/1.1").to_owned();
                let before = heard.lock().expect("lock").len();
                heard.lock().expect("lock").push(what.clone());
                let body = answer(&what, before);
                let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
                let body = body.unwrap_or_default();
                // A feed has no length; everything else has.
                let length = if what.starts_with("GET /v1/feed?") || what == "GET /v1/feed" {
                    String::new()
                } else {
                    format!("Content-Length: {}\r\n", body.len())
                };
                let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{length}\r\n");
                // A follower that is not pleased hangs up.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("lock").clone()
    }
}

struct Edge {
    dir: tempfile::TempDir,
    copy: EdgeCopy,
    standing: Standing,
    following: Following,
}

fn clock() -> UnixSeconds {
    UnixSeconds(1_800_000_000)
}

fn control_key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

impl Edge {
    fn follow(script: &Script) -> Self {
        Self::follow_in(tempfile::tempdir().expect("dir"), script)
    }

    /// Ends; what is on its disk stays.
    fn end(self) -> tempfile::TempDir {
        drop(self.following);
        self.dir
    }

    fn follow_in(dir: tempfile::TempDir, script: &Script) -> Self {
        let store = Store::open(&dir.path().join("blobs"), StoreOptions::default()).expect("a store");
        let copy = EdgeCopy {
            catalog: Arc::new(EdgeCatalog::default()),
            accounts: Arc::new(Accounts::new(PseudonymKey::from_bytes([0; 32]))),
            revoked: Arc::new(Revoked::default()),
            policies: Arc::new(Policies::default()),
            store,
            standing: Standing::default(),
            clock,
        };
        let credential_file = dir.path().join("credential");
        std::fs::write(&credential_file, "the-credential\n").expect("written");
        let follower = Follower::open(FollowerParts {
            url: WebUrl::parse(&format!("http://{}", script.address)).expect("a URL"),
            credential_file,
            key: control_key().public(),
            tls: None,
            dir: dir.path().join("feed"),
            copy: copy.clone(),
            on_hello: Box::new(|_| {}),
            clock,
        });
        let follower = follower.expect("opens");
        let standing = follower.standing();
        Self { dir, copy, standing, following: follower.start().expect("a thread") }
    }

    fn has(&self, product: &str) -> bool {
        self.copy.catalog.with_channel(&product.parse().expect("a name"), None, None, |known| known.is_some())
    }

    #[track_caller]
    fn until_it_knows(&self, sequence: u64) {
        let end = Instant::now() + PATIENCE;
        while !self.standing.is_whole() || self.standing.at(clock()).sequence < sequence {
            assert!(Instant::now() < end, "{:?}", self.standing.at(clock()));
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

fn product(name: &str) -> CatalogChange {
    CatalogChange::Product(Product {
        id: name.parse().expect("a name"),
        title: name.to_owned(),
        access: AccessClass::Open,
        export_class: String::new(),
    })
}

fn hello() -> Line {
    Line::Hello(Hello {
        format: FORMAT,
        channel_key: control_key().public(),
        token_key: SecretKey::from_seed(&[2; 32]).public(),
        link_key: SecretKey::from_seed(&[4; 32]).public(),
        pseudonym_key: PseudonymKey::from_bytes([7; 32]),
        newest: 9,
        oldest: 1,
    })
}

fn text(lines: &[Line]) -> Option<Vec<u8>> {
    Some(lines.iter().flat_map(Line::encode).collect())
}

/// A whole state.
fn state(sequence: u64, parts: Vec<CatalogChange>) -> Vec<Line> {
    let mut lines = vec![hello(), Line::State { sequence }];
    lines.extend(parts.into_iter().map(|change| Line::Part { sequence, change }));
    lines.push(Line::Whole { sequence, mark: Mark::of_line(b"x") });
    lines
}

#[test]
fn half_a_state_is_not_known() {
    let script = Script::start(|_, before| match before {
        0..3 => {
            let mut half = state(5, vec![product("half"), product("more")]);
            half.truncate(2 + before);
            text(&half)
        }
        _ => text(&state(6, vec![product("whole")])),
    });
    let edge = Edge::follow(&script);
    edge.until_it_knows(6);
    assert!(edge.has("whole") && !edge.has("half"));
    assert!(script.asked().iter().take(4).all(|asked| asked == "GET /v1/feed"), "{:?}", script.asked());
}

#[test]
fn a_gap_is_refused_and_the_state_asked_for() {
    let script = Script::start(|what, before| match before {
        0 => {
            let mut lines = state(5, vec![product("a")]);
            lines.push(Line::Change { sequence: 6, change: product("six") });
            lines.push(Line::Change { sequence: 8, change: product("eight") });
            text(&lines)
        }
        _ if what == "GET /v1/feed" => text(&state(9, vec![product("a"), product("six"), product("nine")])),
        _ => text(&[hello()]),
    });
    let edge = Edge::follow(&script);
    edge.until_it_knows(9);
    assert!(edge.has("six") && edge.has("nine") && !edge.has("eight"));
    assert_eq!(script.asked()[1], "GET /v1/feed", "it asked for no change after the gap");
    let place = edge.standing.at(clock()).sequence;
    let end = Instant::now() + PATIENCE;
    while !script.asked().iter().any(|asked| asked.starts_with(&format!("GET /v1/feed?after={place}&mark="))) {
        assert!(Instant::now() < end, "it goes on from where it is: {:?}", script.asked());
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A snapshot of one account, and the change that tells of it, signed by `key`.
fn snapshot(sequence: u64, key: &SecretKey) -> (Bytes, CatalogChange) {
    let mut builder = Builder::default();
    let facts = AccountFacts { standing: AccountStanding::OnHold, ..AccountFacts::default() };
    builder.add(AccountKey([9; 16]), &facts).expect("in order");
    let bytes = Bytes::from(builder.finish(sequence).expect("made").concat());
    (bytes.clone(), told(BlobId::of(&bytes), sequence, key))
}

fn told(blob: BlobId, sequence: u64, key: &SecretKey) -> CatalogChange {
    let notice = AccountsNotice { blob, sequence, issued: clock(), accounts: 1 }.sign(key);
    CatalogChange::AccountsSnapshot { blob, sequence, notice }
}

#[test]
fn a_snapshot_that_control_did_not_sign_is_not_fetched() {
    let (_, forged) = snapshot(5, &SecretKey::from_seed(&[3; 32]));
    let (bytes, good) = snapshot(6, &control_key());
    let script = Script::start(move |what, before| match before {
        0 | 1 => text(&state(5, vec![forged.clone()])),
        _ if what.starts_with("GET /v1/feed/snapshots/") => Some(bytes.to_vec()),
        _ => text(&state(6, vec![good.clone()])),
    });
    let edge = Edge::follow(&script);
    edge.until_it_knows(6);
    let asked = script.asked();
    assert!(asked[..3].iter().all(|asked| asked == "GET /v1/feed"), "{asked:?}");
    let facts = edge.copy.accounts.get(&AccountKey([9; 16])).expect("the good one is known");
    assert_eq!(facts.standing, AccountStanding::OnHold);
    assert_eq!(*edge.copy.accounts.pseudonyms().reveal(), [7; 32], "control's pseudonyms");
}

#[test]
fn a_damaged_snapshot_is_put_aside_told_of_and_fetched_again() {
    let garbage = b"control's word for it, and no snapshot".to_vec();
    let bad = BlobId::of(&garbage);
    let (bytes, good) = snapshot(6, &control_key());
    let good_blob = BlobId::of(&bytes);
    let first = told(bad, 5, &control_key());
    let mut fetches = 0;
    let script = Script::start(move |what, before| {
        if what == format!("GET /v1/feed/snapshots/{bad}") {
            return Some(garbage.clone());
        }
        if what == format!("GET /v1/feed/snapshots/{good_blob}") {
            fetches += 1;
            // Damaged on the way the first time.
            let mut bytes = bytes.to_vec();
            bytes[70] ^= u8::from(fetches == 1);
            return Some(bytes);
        }
        if what.starts_with("POST ") {
            return Some(b"{\"sound\":true}".to_vec());
        }
        text(&if before == 0 { state(5, vec![first.clone()]) } else { state(6, vec![good.clone()]) })
    });
    let edge = Edge::follow(&script);
    edge.until_it_knows(6);
    let asked = script.asked();
    let count = |what: &str| asked.iter().filter(|asked| **asked == what).count();
    assert_eq!(count(&format!("POST /v1/feed/snapshots/{bad}/damaged")), 2, "{asked:?}");
    assert_eq!(count(&format!("GET /v1/feed/snapshots/{bad}")), 2, "{asked:?}");
    assert_eq!(count(&format!("GET /v1/feed/snapshots/{good_blob}")), 2, "{asked:?}");
    assert_eq!(edge.copy.store.size_of(&bad), None, "nobody takes it for one");
    assert_eq!(edge.copy.accounts.counts(), (1, 0));
}

#[test]
fn a_snapshot_that_cannot_be_had_keeps_nobody_from_hearing_what_comes_after_it() {
    let (bytes, snapshot) = snapshot(6, &control_key());
    let is_to_be_had = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let may = Arc::clone(&is_to_be_had);
    let script = Script::start(move |what, before| {
        if what.starts_with("GET /v1/feed/snapshots/") {
            return may.load(std::sync::atomic::Ordering::Acquire).then(|| bytes.to_vec());
        }
        if before == 0 {
            let mut lines = state(6, vec![product("a")]);
            lines.push(Line::Change { sequence: 7, change: snapshot.clone() });
            lines.push(Line::Change { sequence: 8, change: product("eight") });
            lines.push(Line::Change {
                sequence: 9,
                change: CatalogChange::Account { account: AccountKey([8; 16]), facts: Some(AccountFacts::default()) },
            });
            lines.push(Line::Beat { newest: 9, at: clock() });
            return text(&lines);
        }
        text(&[hello(), Line::Beat { newest: 9, at: clock() }])
    });
    let edge = Edge::follow(&script);
    edge.until_it_knows(9);
    assert!(edge.has("eight"), "it was told after the snapshot");
    assert_eq!(edge.copy.accounts.counts(), (0, 1));
    let end = Instant::now() + PATIENCE;
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        while !is_so() {
            assert!(Instant::now() < end, "{what}: {:?}", script.asked());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    };
    let fetches = || script.asked().iter().filter(|asked| asked.starts_with("GET /v1/feed/snapshots/")).count();
    until("it is tried again", &|| fetches() > 1);
    is_to_be_had.store(true, std::sync::atomic::Ordering::Release);
    until("it is known once it is there", &|| edge.copy.accounts.counts() == (1, 1));
    let facts = edge.copy.accounts.get(&AccountKey([9; 16])).expect("of the snapshot");
    assert_eq!(facts.standing, AccountStanding::OnHold);
    assert!(script.asked().iter().skip(1).all(|asked| *asked != "GET /v1/feed"), "no state was needed");
}

#[test]
fn an_edge_that_ended_while_a_snapshot_was_on_its_way_asks_for_the_state() {
    let (bytes, snapshot) = snapshot(6, &control_key());
    let told = snapshot.clone();
    let script = Script::start(move |what, before| {
        if what.starts_with("GET /v1/feed/snapshots/") {
            return None;
        }
        let mut lines = state(6, vec![product("a")]);
        lines.push(Line::Change { sequence: 7, change: told.clone() });
        lines.push(Line::Change { sequence: 8, change: product("eight") });
        text(&if before == 0 { lines } else { vec![hello()] })
    });
    let edge = Edge::follow(&script);
    edge.until_it_knows(8);
    let dir = edge.end();
    let script = Script::start(move |what, _| match what {
        "GET /v1/feed" => text(&state(8, vec![product("a"), product("eight"), snapshot.clone()])),
        what if what.starts_with("GET /v1/feed/snapshots/") => Some(bytes.to_vec()),
        _ => text(&[hello()]),
    });
    let edge = Edge::follow_in(dir, &script);
    assert!(edge.has("eight"), "what was known is known");
    let end = Instant::now() + PATIENCE;
    while edge.copy.accounts.counts() != (1, 0) {
        assert!(Instant::now() < end, "{:?}", script.asked());
        std::thread::park_timeout(Duration::from_millis(10));
    }
    assert_eq!(script.asked()[0], "GET /v1/feed", "it knows that something is lacking");
}
