//! Content that is owed to some: tokens, accounts, holdings, over real sockets.

use crate::issuer::{Issuer, NOW};
use crate::rig::{Answer, Over, Rig, content, offer, product, release};
use penstock_core::account::{AccountFacts, Holding, Standing, Terms};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{AccessClass, ReleaseState};
use penstock_core::desk::{ExplainQuestion, Explainer as _};
use penstock_core::time::UnixSeconds;
use penstock_edge::serve::PlainTokens;
use penstock_store::Reading;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn rig() -> Rig {
    Rig::with(Over::Plain, Reading::Map, PlainTokens::Accept)
}

/// A product of one release with one blob, offered on `stable`.
fn game(rig: &Rig, id: &str, access: AccessClass) -> BlobId {
    let blob = rig.put(&bytes_of(id));
    rig.catalog.apply(product(id, access));
    rig.catalog.apply(release(id, "1", "any", ReleaseState::Live, &[blob]));
    rig.catalog.apply(offer(id, "stable", "any", "1", blob));
    blob
}

/// Content of its own for each product: the same bytes would be one blob.
fn bytes_of(id: &str) -> Vec<u8> {
    [id.as_bytes(), &content(50_000)].concat()
}

fn holds(products: &[&str]) -> AccountFacts {
    let holding = |id: &&str| Holding {
        terms: Arc::new(Terms::of(id.parse().expect("a name"))),
        starts: UnixSeconds(0),
        ends: None,
    };
    AccountFacts { holdings: products.iter().map(holding).collect(), ..AccountFacts::default() }
}

fn set(rig: &Rig, account: &str, facts: AccountFacts) {
    rig.accounts.set(1, rig.accounts.pseudonyms().account(account), Some(facts));
}

fn ask(rig: &Rig, path: &str, authorization: &str) -> Answer {
    rig.get(path, &[("authorization", authorization)])
}

/// Every path below a product that asks for access.
fn paths(id: &str, blob: BlobId) -> Vec<String> {
    let mut paths: Vec<String> =
        ["", "/outboard", "/verified?start=0&end=100"].iter().map(|rest| format!("/v1/blobs/{blob}{rest}")).collect();
    paths.push(format!("/v1/products/{id}/channels/stable"));
    paths.push(format!("/v1/products/{id}/releases/1"));
    paths
}

#[test]
fn a_holder_reads_what_others_do_not() {
    let rig = rig();
    let blob = game(&rig, "game", AccessClass::Licensed);
    set(&rig, "alice", holds(&["game"]));
    set(&rig, "bob", holds(&["demo"]));
    let (alice, bob, eve) =
        (Issuer::bearer("alice", &json!({})), Issuer::bearer("bob", &json!({})), Issuer::bearer("eve", &json!({})));
    for path in paths("game", blob) {
        let answer = rig.get(&path, &[]);
        answer.assert_problem(401, "token_required");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"penstock\""));
        let answer = ask(&rig, &path, &alice);
        assert_eq!(answer.status, 200, "{path}");
        let cache = answer.header("cache-control").expect("said");
        assert!(cache.starts_with("private"), "{path}: {cache}");
        ask(&rig, &path, &bob).assert_problem(403, "not_entitled");
        ask(&rig, &path, &eve).assert_problem(403, "account_unknown");
        let forged = Issuer::signed(&json!({"sub": "alice", "exp": NOW.0 + 1}), "forged");
        let answer = ask(&rig, &path, &forged);
        answer.assert_problem(401, "token_signature");
        let challenge = answer.header("www-authenticate").expect("said");
        assert!(challenge.contains("invalid_token"), "{challenge}");
        ask(&rig, &path, "Bearer x").assert_problem(401, "token_malformed");
        ask(&rig, &path, "Basic eDp5").assert_problem(401, "token_malformed");
        rig.get(&path, &[("authorization", &alice), ("authorization", &bob)]).assert_problem(401, "token_malformed");
    }
    let part = rig.get(&format!("/v1/blobs/{blob}"), &[("authorization", &alice), ("range", "bytes=10-19")]);
    assert_eq!((part.status, &part.body[..]), (206, &bytes_of("game")[10..20]));
    // Three who are known and one whose token is worth nothing were verified once each, and all others remembered.
    assert_eq!(rig.issuer.verifications.load(Ordering::SeqCst), 4);
}

#[test]
fn a_change_of_the_account_counts_from_the_next_request_on() {
    let rig = rig();
    let blob = game(&rig, "game", AccessClass::Licensed);
    let path = format!("/v1/blobs/{blob}");
    let alice = Issuer::bearer("alice", &json!({}));
    ask(&rig, &path, &alice).assert_problem(403, "account_unknown");
    set(&rig, "alice", holds(&[]));
    ask(&rig, &path, &alice).assert_problem(403, "not_entitled");
    set(&rig, "alice", holds(&["game"]));
    assert_eq!(ask(&rig, &path, &alice).status, 200);
    set(&rig, "alice", AccountFacts { standing: Standing::Suspended, ..holds(&["game"]) });
    ask(&rig, &path, &alice).assert_problem(403, "account_suspended");
    set(&rig, "alice", AccountFacts { standing: Standing::Denied, ..holds(&["game"]) });
    ask(&rig, &path, &alice).assert_problem(451, "account_denied");
    set(&rig, "alice", AccountFacts { tokens_from: Some(NOW.plus(1)), ..holds(&["game"]) });
    ask(&rig, &path, &alice).assert_problem(401, "token_revoked");
    rig.accounts.set(1, rig.accounts.pseudonyms().account("alice"), None);
    ask(&rig, &path, &alice).assert_problem(403, "account_unknown");
    assert_eq!(rig.issuer.verifications.load(Ordering::SeqCst), 1, "the token itself never changed");
    rig.issuer.keys.fetch_add(1, Ordering::SeqCst);
    ask(&rig, &path, &alice).assert_problem(403, "account_unknown");
    assert_eq!(rig.issuer.verifications.load(Ordering::SeqCst), 2, "the keys did");
}

#[test]
fn what_is_closed_answers_as_what_is_not_there() {
    let rig = rig();
    let blob = game(&rig, "secret", AccessClass::Closed);
    set(&rig, "alice", holds(&["secret"]));
    set(&rig, "bob", holds(&["other"]));
    let there_not = paths("nothing", BlobId::of(b"nothing"));
    let strangers = [
        None,
        Some(Issuer::bearer("bob", &json!({}))),
        Some(Issuer::bearer("eve", &json!({}))),
        Some(Issuer::signed(&json!({"sub": "alice", "exp": NOW.0 + 1}), "forged")),
        Some("Bearer x".to_owned()),
    ];
    for (closed, unknown) in paths("secret", blob).iter().zip(&there_not) {
        for stranger in &strangers {
            let more = [None, Some(("if-none-match", "*")), Some(("if-match", "\"x\"")), Some(("range", "bytes=0-1"))];
            for extra in more {
                let headers: Vec<(&str, &str)> =
                    stranger.iter().map(|value| ("authorization", value.as_str())).chain(extra).collect();
                let (one, other) = (rig.get(closed, &headers), rig.get(unknown, &headers));
                one.assert_problem(404, "unknown");
                let without = |answer: &Answer| {
                    let id = answer.header("x-request-id").expect("an id").to_owned();
                    let shown: Vec<_> = answer
                        .headers
                        .iter()
                        .filter(|(name, _)| name != "x-request-id" && name != "date")
                        .cloned()
                        .collect();
                    (answer.status, shown, String::from_utf8_lossy(&answer.body).replace(&id, "ID"))
                };
                assert_eq!(without(&one), without(&other), "{closed} {headers:?}");
            }
        }
        assert_eq!(ask(&rig, closed, &Issuer::bearer("alice", &json!({}))).status, 200, "{closed}");
    }
}

#[test]
fn open_content_asks_nobody() {
    let rig = rig();
    let blob = game(&rig, "demo", AccessClass::Open);
    for path in paths("demo", blob) {
        assert_eq!(ask(&rig, &path, "Bearer x").status, 200, "{path}");
        assert_eq!(rig.get(&path, &[]).status, 200, "{path}");
    }
    assert_eq!(rig.issuer.verifications.load(Ordering::SeqCst), 0);
}

#[test]
fn a_token_can_be_for_less_than_its_account_holds() {
    let rig = rig();
    let (game_blob, tool) = (game(&rig, "game", AccessClass::Licensed), game(&rig, "tool", AccessClass::Registered));
    set(&rig, "alice", holds(&["game"]));
    let narrow = Issuer::bearer("alice", &json!({"products": ["tool"]}));
    ask(&rig, &format!("/v1/blobs/{game_blob}"), &narrow).assert_problem(403, "token_too_narrow");
    assert_eq!(ask(&rig, &format!("/v1/blobs/{tool}"), &narrow).status, 200, "registered: any known account");
    assert_eq!(ask(&rig, &format!("/v1/blobs/{game_blob}"), &Issuer::bearer("alice", &json!({}))).status, 200);
}

#[test]
fn over_plain_http_tokens_are_refused_unless_the_node_says_otherwise() {
    let rig = Rig::new();
    let blob = game(&rig, "game", AccessClass::Licensed);
    set(&rig, "alice", holds(&["game"]));
    let answer = ask(&rig, &format!("/v1/blobs/{blob}"), &Issuer::bearer("alice", &json!({})));
    answer.assert_problem(400, "token_over_plain_http");
    let rig = Rig::with(Over::Tls, Reading::Map, PlainTokens::Refuse);
    let blob = game(&rig, "game", AccessClass::Licensed);
    set(&rig, "alice", holds(&["game"]));
    assert_eq!(ask(&rig, &format!("/v1/blobs/{blob}"), &Issuer::bearer("alice", &json!({}))).status, 200);
}

/// A release's document tells of its blobs, so it is given out on the same terms as they are.
#[test]
fn a_release_is_told_of_on_the_terms_that_its_content_has() {
    let rig = rig();
    let blob = game(&rig, "game", AccessClass::Licensed);
    let beta = rig.put(b"beta");
    rig.catalog.apply(release("game", "2", "windows", ReleaseState::Live, &[beta]));
    rig.catalog.apply(offer("game", "beta", "windows", "2", beta));
    let token = Issuer::bearer("alice", &json!({}));
    let terms = || Terms::of("game".parse().expect("a name"));
    for (name, terms, ends, refusal) in [
        ("all", terms(), None, None),
        (
            "stable",
            Terms { channels: ["stable".parse().expect("a name")].into(), ..terms() },
            None,
            Some((403, "channel_not_included")),
        ),
        ("beta", Terms { channels: ["beta".parse().expect("a name")].into(), ..terms() }, None, None),
        (
            "linux",
            Terms { platforms: ["linux".parse().expect("a name")].into(), ..terms() },
            None,
            Some((403, "platform_not_included")),
        ),
        ("windows", Terms { platforms: ["windows".parse().expect("a name")].into(), ..terms() }, None, None),
        ("ended before it was registered", terms(), Some(0), Some((403, "entitlement_ended"))),
    ] {
        let holding = Holding { terms: Arc::new(terms), starts: UnixSeconds(0), ends: ends.map(UnixSeconds) };
        set(&rig, "alice", AccountFacts { holdings: [holding].into(), ..AccountFacts::default() });
        for path in ["/v1/products/game/releases/2".to_owned(), format!("/v1/blobs/{beta}")] {
            let answer = ask(&rig, &path, &token);
            match refusal {
                None => assert_eq!(answer.status, 200, "{name}: {path}"),
                Some((status, code)) => answer.assert_problem(status, code),
            }
        }
    }
    let linux = Terms { platforms: ["linux".parse().expect("a name")].into(), ..terms() };
    let holding = Holding { terms: Arc::new(linux), starts: UnixSeconds(0), ends: None };
    set(&rig, "alice", AccountFacts { holdings: [holding].into(), ..AccountFacts::default() });
    for query in ["", "?platform=windows"] {
        let path = format!("/v1/products/game/channels/beta{query}");
        ask(&rig, &path, &token).assert_problem(403, "platform_not_included");
    }
    let question = json!({ "product": "game", "channel": "beta", "account": "alice" });
    let question: ExplainQuestion = serde_json::from_value(question).expect("a question");
    let explained = rig.explainer(None).explain(&question);
    assert_eq!(explained.code.as_deref(), Some("platform_not_included"), "support is told the same");
    set(&rig, "alice", holds(&["game"]));
    assert_eq!(ask(&rig, "/v1/products/game/channels/beta", &token).status, 200);
    assert_eq!(ask(&rig, &format!("/v1/blobs/{blob}"), &token).status, 200);
    ask(&rig, "/v1/products/game/releases/3", &token).assert_problem(404, "unknown");
}
