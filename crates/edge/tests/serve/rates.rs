//! Bandwidth classes: a connection is sent to as fast as its caller's segment says, and the kernel keeps the pace.
//!
//! Time is only asserted where a clock cannot be too slow: what is paced takes long.

use crate::issuer::Issuer;
use crate::rig::{Duplex, Over, Rig, content, product, read_head, release};
use penstock_core::account::{AccountFacts, Extras};
use penstock_core::catalog::{AccessClass, CatalogChange, CatalogSink as _, ReleaseState};
use penstock_edge::config::{Config, Environment};
use penstock_edge::serve::PlainTokens;
use penstock_store::Reading;
use serde_json::json;
use std::time::{Duration, Instant};

const BYTES: usize = 2 << 20;
/// What 2 MiB at 1 MiB a second take at least, with room for what may leave at once.
const LONG: Duration = Duration::from_millis(1500);

fn configure(rig: &Rig, text: &str) {
    rig.policies.configure(&Config::parse(text, &Environment::default(), None).expect("good"));
}

fn account(rig: &Rig, name: &str, class: &str) -> String {
    let attributes = serde_json::from_value(json!({"class": class})).expect("attributes");
    let extras = Some(Box::new(Extras { attributes, ..Extras::default() }));
    let key = rig.accounts.pseudonyms().account(name);
    rig.accounts.set(1, key, Some(AccountFacts { extras, ..AccountFacts::default() }));
    Issuer::bearer(name, &json!({}))
}

/// Downloads on a connection that stays, and says how long that took.
fn download(socket: &mut dyn Duplex, path: &str, token: Option<&str>) -> Duration {
    let token = token.map_or(String::new(), |token| format!("authorization: {token}\r\n"));
    let begun = Instant::now();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: localhost\r\n{token}\r\n").expect("sent");
    assert_eq!(read_head(socket).expect("a head").status, 200);
    let mut body = vec![0; BYTES];
    socket.read_exact(&mut body).expect("a body");
    assert!(body == content(BYTES));
    begun.elapsed()
}

#[test]
fn a_connection_is_as_fast_as_its_caller_may_be() {
    for over in [Over::Plain, Over::Tls] {
        let rig = Rig::with(over, Reading::Map, PlainTokens::Accept);
        let blob = rig.put(&content(BYTES));
        rig.catalog.apply(product("game", AccessClass::Registered));
        rig.catalog.apply(release("game", "1", "any", ReleaseState::Live, &[blob]));
        let is_trial = json!({"name": "trial", "version": 1,
            "rule": {"where": {"is": {"attribute": "class", "values": ["trial"]}}}});
        let segment = serde_json::from_value(is_trial).expect("a segment");
        rig.copy().apply(1, CatalogChange::Segment(segment));
        let (alice, bob) = (account(&rig, "alice", "trial"), account(&rig, "bob", "full"));
        let path = format!("/v1/blobs/{blob}");
        let mut socket = rig.connect();
        let free = download(&mut *socket, &path, Some(&alice));
        configure(&rig, "[rates]\nsegments = { trial = 1048576 }\n");
        let paced = download(&mut *socket, &path, Some(&alice));
        assert!(paced > LONG, "{over:?}: {paced:?} at 1 MiB a second");
        // The next caller of the connection is none of the segment.
        let other = download(&mut *socket, &path, Some(&bob));
        // And its account may change class between two requests.
        account(&rig, "alice", "full");
        let promoted = download(&mut *socket, &path, Some(&alice));
        configure(&rig, "[rates]\nconnection_bytes_per_second_max = 1048576\n");
        assert!(download(&mut *socket, &path, Some(&bob)) > LONG, "{over:?}: the default is for all others");
        configure(&rig, "");
        let freed = download(&mut *socket, &path, Some(&bob));
        for (who, time) in [("before", free), ("bob", other), ("alice, promoted", promoted), ("freed", freed)] {
            assert!(time < paced, "{over:?}: {who} took {time:?}, and what was paced {paced:?}");
        }
    }
}
