//! What may not be sent where: policy and places, over real sockets whose peers come by PROXY header.

use crate::from::From;
use crate::issuer::Issuer;
use crate::rig::{Answer, Over, Rig, content, offer, release};
use penstock_core::account::{AccountFacts, Holding, Terms};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{AccessClass, CatalogChange, Product, ReleaseState};
use penstock_core::place::Embargo;
use penstock_core::time::UnixSeconds;
use penstock_edge::serve::PlainTokens;
use penstock_store::Reading;
use penstock_testkit::GeoFile;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const GERMAN: &str = "198.51.100.9";
const IRANIAN: &str = "203.0.113.9";
const CHINESE: &str = "203.0.113.200";
const UKRAINIAN: &str = "192.0.2.1";
/// Nobody knows where in Ukraine.
const SOMEWHERE_IN_UKRAINE: &str = "192.0.2.70";
const CRIMEAN: &str = "192.0.2.200";
const UNKNOWN: &str = "8.8.8.8";
const PRIVATE: &str = "10.0.0.1";

fn rig() -> Rig {
    let rig = Rig::with(Over::Plain, Reading::Map, PlainTokens::Accept);
    place(
        &rig,
        &GeoFile::new("GeoLite2-City", 1)
            .with("198.51.100.0/24", "DE")
            .with("203.0.113.0/25", "IR")
            .with("203.0.113.128/25", "CN")
            .with("192.0.2.0/26", "UA-30")
            .with("192.0.2.64/26", "UA")
            .with("192.0.2.128/25", "UA-43"),
    );
    rig
}

fn place(rig: &Rig, file: &GeoFile) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("places.mmdb");
    std::fs::write(&path, file.bytes()).expect("written");
    rig.geo.reload(Some(&path));
}

fn policy(classes: &Value) -> Embargo {
    serde_json::from_value(json!({"version": 7, "classes": classes})).expect("a policy")
}

/// The policy of these tests: unclassified content goes anywhere but to Iran and Crimea, class `5D002` to those whose
/// place is known, and to China after a look.
fn usual() -> Embargo {
    policy(&json!({
        "": {"regions": {"IR": "deny", "UA-43": "deny"}, "elsewhere": "allow", "unknown": "allow"},
        "5D002": {"regions": {"IR": "deny", "UA-43": "deny", "CN": "hold"}, "elsewhere": "allow", "unknown": "deny"},
    }))
}

/// A product of an export class with one release of one blob, offered on `stable`.
fn game(rig: &Rig, id: &str, access: AccessClass, class: &str) -> BlobId {
    let blob = rig.put(&[id.as_bytes(), &content(5000)].concat());
    let id_ = id.parse().expect("a name");
    let product = Product { title: id.to_owned(), id: id_, access, export_class: class.to_owned() };
    rig.catalog.apply(CatalogChange::Product(product));
    rig.catalog.apply(release(id, "1", "any", ReleaseState::Live, &[blob]));
    rig.catalog.apply(offer(id, "stable", "any", "1", blob));
    blob
}

fn hold(rig: &Rig, account: &str, terms: Terms) {
    let holding = Holding { terms: Arc::new(terms), starts: UnixSeconds(0), ends: None };
    let facts = AccountFacts { holdings: [holding].into(), ..AccountFacts::default() };
    rig.accounts.set(1, rig.accounts.pseudonyms().account(account), Some(facts));
}

fn ask(rig: &Rig, address: &str, path: &str, authorization: Option<&str>) -> Answer {
    From::new(rig, address).get(path, authorization)
}

#[test]
fn an_open_product_goes_where_policy_lets_it() {
    let rig = rig();
    let (plain, strict) =
        (game(&rig, "plain", AccessClass::Open, ""), game(&rig, "strict", AccessClass::Open, "5D002"));
    let paths = |id: &str, blob: BlobId| {
        [
            format!("/v1/blobs/{blob}"),
            format!("/v1/blobs/{blob}/outboard"),
            format!("/v1/blobs/{blob}/verified?start=0&end=100"),
            format!("/v1/products/{id}/channels/stable"),
            format!("/v1/products/{id}/releases/1"),
        ]
    };
    let caching = |path: &str| {
        let answer = ask(&rig, GERMAN, path, None);
        assert_eq!(answer.status, 200, "{path}");
        answer.header("cache-control").expect("said").to_owned()
    };
    let blob = format!("/v1/blobs/{plain}");
    assert_eq!(caching(&blob), "public, max-age=31536000, immutable");
    assert_eq!(caching("/v1/products/plain/releases/1"), "public, no-cache");
    rig.policies.set_embargo(usual());
    assert_eq!(caching(&blob), "private, max-age=31536000, immutable", "a cache does not know where its clients are");
    assert_eq!(caching("/v1/products/plain/releases/1"), "private, no-store");
    for (id, blob, address, refused) in [
        ("plain", plain, GERMAN, None),
        ("plain", plain, UKRAINIAN, None),
        ("plain", plain, SOMEWHERE_IN_UKRAINE, None),
        ("plain", plain, CHINESE, None),
        ("plain", plain, UNKNOWN, None),
        ("plain", plain, PRIVATE, None),
        ("plain", plain, IRANIAN, Some("embargo")),
        ("plain", plain, CRIMEAN, Some("embargo")),
        ("strict", strict, GERMAN, None),
        ("strict", strict, UKRAINIAN, None),
        ("strict", strict, SOMEWHERE_IN_UKRAINE, Some("embargo")),
        ("strict", strict, CRIMEAN, Some("embargo")),
        ("strict", strict, CHINESE, Some("embargo_hold")),
        ("strict", strict, UNKNOWN, Some("embargo")),
        ("strict", strict, PRIVATE, Some("embargo")),
    ] {
        for path in paths(id, blob) {
            let answer = ask(&rig, address, &path, None);
            match refused {
                None => assert_eq!(answer.status, 200, "{path} from {address}"),
                Some(code) => answer.assert_problem(451, code),
            }
        }
    }
    rig.policies.set_embargo(Embargo::default());
    assert_eq!(caching(&blob), "public, max-age=31536000, immutable");
    let everywhere = json!({"": {"regions": {"IR": "allow"}, "elsewhere": "allow", "unknown": "allow"}});
    rig.policies.set_embargo(policy(&everywhere));
    assert_eq!(caching(&blob), "public, max-age=31536000, immutable", "a policy that allows everything is none");
}

#[test]
fn a_change_counts_from_the_next_request_on_an_open_connection() {
    let rig = rig();
    let licensed = game(&rig, "game", AccessClass::Licensed, "");
    let open = game(&rig, "demo", AccessClass::Open, "");
    hold(&rig, "alice", Terms::of("game".parse().expect("a name")));
    let alice = Issuer::bearer("alice", &json!({}));
    let (licensed, open) = (format!("/v1/blobs/{licensed}"), format!("/v1/blobs/{open}"));
    let mut iranian = From::new(&rig, IRANIAN);
    assert_eq!(iranian.get(&licensed, Some(&alice)).status, 200);
    assert_eq!(iranian.get(&open, None).status, 200);
    rig.policies.set_embargo(usual());
    iranian.get(&licensed, Some(&alice)).assert_problem(451, "embargo");
    iranian.get(&open, None).assert_problem(451, "embargo");
    iranian.get(&licensed, None).assert_problem(401, "token_required");
    // The connection knew where it is; another database knows better.
    place(&rig, &GeoFile::new("GeoLite2-Country", 2).with("203.0.113.0/24", "DE"));
    assert_eq!(iranian.get(&licensed, Some(&alice)).status, 200);
    place(&rig, &GeoFile::new("GeoLite2-Country", 3).with("203.0.113.0/24", "IR"));
    iranian.get(&licensed, Some(&alice)).assert_problem(451, "embargo");
    rig.policies.set_embargo(Embargo::default());
    assert_eq!(iranian.get(&licensed, Some(&alice)).status, 200);
    assert_eq!(rig.issuer.verifications.load(Ordering::SeqCst), 1, "the passport was cached all the while");
}

#[test]
fn a_closed_product_looks_unknown_under_embargo_too() {
    let rig = rig();
    let closed = game(&rig, "secret", AccessClass::Closed, "5D002");
    rig.policies.set_embargo(usual());
    hold(&rig, "alice", Terms::of("secret".parse().expect("a name")));
    hold(&rig, "bob", Terms::of("other".parse().expect("a name")));
    let (alice, bob) = (Issuer::bearer("alice", &json!({})), Issuer::bearer("bob", &json!({})));
    for path in [format!("/v1/blobs/{closed}"), "/v1/products/secret/channels/stable".to_owned()] {
        for address in [GERMAN, IRANIAN, CHINESE, UNKNOWN] {
            ask(&rig, address, &path, None).assert_problem(404, "unknown");
            ask(&rig, address, &path, Some(&bob)).assert_problem(404, "unknown");
        }
        assert_eq!(ask(&rig, GERMAN, &path, Some(&alice)).status, 200);
        ask(&rig, IRANIAN, &path, Some(&alice)).assert_problem(451, "embargo");
        ask(&rig, CHINESE, &path, Some(&alice)).assert_problem(451, "embargo_hold");
    }
}

#[test]
fn terms_that_name_regions_ask_for_the_place() {
    let rig = rig();
    let blob = game(&rig, "game", AccessClass::Licensed, "");
    let region = |text: &str| text.parse().expect("a region");
    hold(&rig, "alice", Terms { regions: [region("UA")].into(), ..Terms::of("game".parse().expect("a name")) });
    hold(&rig, "bob", Terms { regions: [region("UA-43")].into(), ..Terms::of("game".parse().expect("a name")) });
    let (alice, bob) = (Issuer::bearer("alice", &json!({})), Issuer::bearer("bob", &json!({})));
    let path = format!("/v1/blobs/{blob}");
    assert_eq!(ask(&rig, UKRAINIAN, &path, Some(&alice)).status, 200);
    assert_eq!(ask(&rig, CRIMEAN, &path, Some(&alice)).status, 200);
    ask(&rig, GERMAN, &path, Some(&alice)).assert_problem(403, "region_not_included");
    ask(&rig, UNKNOWN, &path, Some(&alice)).assert_problem(403, "region_unknown");
    assert_eq!(ask(&rig, CRIMEAN, &path, Some(&bob)).status, 200);
    ask(&rig, UKRAINIAN, &path, Some(&bob)).assert_problem(403, "region_not_included");
    rig.geo.reload(None);
    ask(&rig, UKRAINIAN, &path, Some(&alice)).assert_problem(403, "region_unknown");
}
