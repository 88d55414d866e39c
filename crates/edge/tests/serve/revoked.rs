//! Revoked tokens, over a connection that stays open.

use crate::issuer::{Issuer, NOW};
use crate::rig::{Duplex, Over, Rig, product, read_head, release};
use penstock_core::account::{AccountFacts, Holding, Terms};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{AccessClass, CatalogChange, CatalogSink as _, ReleaseState, RevokedToken};
use penstock_core::time::UnixSeconds;
use penstock_edge::serve::PlainTokens;
use penstock_store::Reading;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Asks on a connection that stays; the status and the problem's code.
fn ask(socket: &mut dyn Duplex, path: &str, authorization: &str) -> (u16, String) {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\n\r\n");
    socket.write_all(head.as_bytes()).expect("sent");
    let answer = read_head(socket).expect("a head");
    let length = answer.header("content-length").expect("a length").parse().expect("a number");
    let mut body = vec![0; length];
    socket.read_exact(&mut body).expect("a body");
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    (answer.status, document["code"].as_str().unwrap_or_default().to_owned())
}

/// A product of one release with one blob that alice holds.
fn game(rig: &Rig, id: &str, access: AccessClass) -> BlobId {
    let blob = rig.put(id.as_bytes());
    rig.catalog.apply(product(id, access));
    rig.catalog.apply(release(id, "1", "any", ReleaseState::Live, &[blob]));
    blob
}

#[test]
fn a_revoked_token_is_refused_at_the_next_request_of_an_open_connection() {
    let rig = Rig::with(Over::Plain, Reading::Map, PlainTokens::Accept);
    let copy = rig.copy();
    let (open, secret) = (game(&rig, "game", AccessClass::Licensed), game(&rig, "secret", AccessClass::Closed));
    let holding = |id: &str| Holding {
        terms: Arc::new(Terms::of(id.parse().expect("a name"))),
        starts: UnixSeconds(0),
        ends: None,
    };
    let facts = AccountFacts { holdings: [holding("game"), holding("secret")].into(), ..AccountFacts::default() };
    rig.accounts.set(1, rig.accounts.pseudonyms().account("alice"), Some(facts));
    let (stolen, other) =
        (Issuer::bearer("alice", &json!({"jti": "stolen"})), Issuer::bearer("alice", &json!({"jti": "other"})));
    let mut socket = rig.connect();
    let paths = [format!("/v1/blobs/{open}"), format!("/v1/blobs/{secret}")];
    for path in &paths {
        assert_eq!(ask(&mut socket, path, &stolen).0, 200);
        assert_eq!(ask(&mut socket, path, &other).0, 200);
    }
    let token = rig.accounts.pseudonyms().token("test", "stolen");
    copy.apply(2, CatalogChange::TokensRevoked { tokens: vec![RevokedToken { token, until: NOW.plus(3600) }] });
    assert_eq!(ask(&mut socket, &paths[0], &stolen), (401, "token_revoked".to_owned()));
    assert_eq!(ask(&mut socket, &paths[1], &stolen), (404, "unknown".to_owned()), "what is closed stays unknown");
    for path in &paths {
        assert_eq!(ask(&mut socket, path, &other).0, 200, "another token of the same account");
    }
    assert_eq!(rig.issuer.verifications.load(Ordering::SeqCst), 2, "both were remembered");
}
