//! Channels, releases and the catalogue.

use crate::rig::{Rig, content, offer, product, release};
use penstock_core::api::CatalogAnswer;
use penstock_core::catalog::{AccessClass, Offer, Release, ReleaseState};

#[test]
fn an_open_products_channel_and_release() {
    let rig = Rig::new();
    let manifest = rig.put(&content(100));
    rig.catalog.apply(product("game", AccessClass::Open));
    rig.catalog.apply(release("game", "1.0+a", "linux", ReleaseState::Live, &[manifest]));
    rig.catalog.apply(offer("game", "stable", "linux", "1.0+a", manifest));
    let answer = rig.get("/v1/products/game/channels/stable?install=me&have=0.9", &[]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("private, no-store"), "it depends on who asks");
    let told: Offer = serde_json::from_slice(&answer.body).expect("an offer");
    assert_eq!((told.version.as_str(), told.manifest), ("1.0+a", manifest));

    let answer = rig.get("/v1/products/game/releases/1.0%2Ba?platform=linux", &[]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("public, no-cache"));
    let told: Release = serde_json::from_slice(&answer.body).expect("a release");
    assert_eq!(told.manifest, manifest);
    let etag = answer.header("etag").expect("a tag").to_owned();
    let unchanged = rig.get("/v1/products/game/releases/1.0+a", &[("if-none-match", &etag)]);
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    assert_eq!(rig.get(&format!("/v1/blobs/{manifest}"), &[]).status, 200, "its blobs are readable");

    let head = rig.ask("HEAD", "/v1/products/game/channels/stable", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.header("content-length").is_some_and(|length| length != "0"));
    rig.ask("POST", "/v1/products/game/channels/stable", &[]).assert_problem(405, "method_not_allowed");
    for unknown in [
        "/v1/products/game/channels/beta",
        "/v1/products/game/channels/stable?platform=any",
        "/v1/products/game/releases/2.0",
        "/v1/products/game/releases/1.0+a?platform=windows",
        "/v1/products/game/releases/1.0+a/key",
        "/v1/products/other/channels/stable",
    ] {
        rig.get(unknown, &[]).assert_problem(404, "unknown");
    }
    rig.get("/v1/products/game/channels/stable?platform=a/b", &[]).assert_problem(400, "bad_request");
}

#[test]
fn a_platform_must_be_named_when_there_are_several() {
    let rig = Rig::new();
    let manifest = rig.put(b"m");
    rig.catalog.apply(product("game", AccessClass::Open));
    for platform in ["linux", "windows"] {
        rig.catalog.apply(release("game", "1", platform, ReleaseState::Live, &[manifest]));
        rig.catalog.apply(offer("game", "stable", platform, "1", manifest));
    }
    for path in ["/v1/products/game/channels/stable", "/v1/products/game/releases/1"] {
        let answer = rig.get(path, &[]);
        answer.assert_problem(400, "bad_request");
        assert!(String::from_utf8_lossy(&answer.body).contains("linux, windows"), "the answer names them");
        assert_eq!(rig.get(&format!("{path}?platform=linux"), &[]).status, 200);
    }
}

/// Nobody can tell a closed product from one that does not exist, on any path below it.
#[test]
fn closed_looks_unknown_everywhere() {
    let rig = Rig::new();
    let manifest = rig.put(b"m");
    rig.catalog.apply(product("closed", AccessClass::Closed));
    rig.catalog.apply(release("closed", "1", "linux", ReleaseState::Live, &[manifest]));
    rig.catalog.apply(release("closed", "1", "windows", ReleaseState::Live, &[manifest]));
    rig.catalog.apply(release("closed", "0", "linux", ReleaseState::Withdrawn, &[manifest]));
    rig.catalog.apply(offer("closed", "stable", "linux", "1", manifest));
    rig.catalog.apply(offer("closed", "stable", "windows", "1", manifest));
    for below in [
        "channels/stable",
        "channels/none",
        "channels/stable?platform=linux",
        "releases/1",
        "releases/0",
        "releases/1/key",
        "releases/..",
        "channels/stable?platform=",
        "channels",
        "",
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let closed = rig.ask(method, &format!("/v1/products/closed/{below}"), &[]);
            let unknown = rig.ask(method, &format!("/v1/products/nobody/{below}"), &[]);
            let plain = |answer: &crate::rig::Answer| {
                let fields = answer.headers.iter().filter(|(name, _)| name != "x-request-id" && name != "date");
                let id = answer.header("x-request-id").expect("an id").to_owned();
                let body = String::from_utf8(answer.body.clone()).expect("text").replace(&id, "");
                (answer.status, fields.cloned().collect::<Vec<_>>(), body)
            };
            assert_eq!(plain(&closed), plain(&unknown), "{method} {below}");
            assert!(closed.status >= 400);
        }
    }
    rig.get(&format!("/v1/blobs/{manifest}"), &[]).assert_problem(404, "unknown");
    assert_eq!(rig.get("/v1/catalog", &[]).body, br#"{"products":[]}"#);
}

#[test]
fn products_that_need_a_token_say_so() {
    let rig = Rig::new();
    let manifest = rig.put(b"m");
    for (id, access) in [("registered", AccessClass::Registered), ("licensed", AccessClass::Licensed)] {
        rig.catalog.apply(product(id, access));
        rig.catalog.apply(release(id, "1", "any", ReleaseState::Live, &[manifest]));
        for path in ["channels/stable", "releases/1"] {
            let answer = rig.get(&format!("/v1/products/{id}/{path}"), &[]);
            answer.assert_problem(401, "token_required");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"penstock\""));
        }
    }
    rig.get(&format!("/v1/blobs/{manifest}"), &[]).assert_problem(401, "token_required");
}

#[test]
fn what_was_withdrawn_is_gone() {
    let rig = Rig::new();
    let (manifest, shared) = (rig.put(b"m"), rig.put(b"shared"));
    rig.catalog.apply(product("game", AccessClass::Open));
    rig.catalog.apply(release("game", "1", "any", ReleaseState::Live, &[manifest, shared]));
    rig.catalog.apply(release("game", "2", "any", ReleaseState::Live, &[shared]));
    rig.catalog.apply(offer("game", "stable", "any", "1", manifest));
    rig.catalog.apply(release("game", "1", "any", ReleaseState::Withdrawn, &[manifest, shared]));
    rig.get("/v1/products/game/releases/1", &[]).assert_problem(410, "withdrawn");
    rig.get("/v1/products/game/channels/stable", &[]).assert_problem(410, "withdrawn");
    rig.get(&format!("/v1/blobs/{manifest}"), &[]).assert_problem(410, "withdrawn");
    assert_eq!(rig.get(&format!("/v1/blobs/{shared}"), &[]).status, 200, "a live release has it too");
}

#[test]
fn the_catalogue_lists_open_products() {
    let rig = Rig::new();
    let empty = rig.get("/v1/catalog", &[]);
    assert_eq!((empty.status, empty.body.as_slice()), (200, br#"{"products":[]}"#.as_slice()));
    rig.catalog.apply(product("b", AccessClass::Open));
    rig.catalog.apply(product("a", AccessClass::Open));
    rig.catalog.apply(product("c", AccessClass::Licensed));
    let answer = rig.get("/v1/catalog", &[]);
    assert_eq!(answer.header("cache-control"), Some("public, no-cache"));
    let listing: CatalogAnswer = serde_json::from_slice(&answer.body).expect("a listing");
    assert_eq!(listing.products.iter().map(|product| product.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    rig.ask("DELETE", "/v1/catalog", &[]).assert_problem(405, "method_not_allowed");
}
