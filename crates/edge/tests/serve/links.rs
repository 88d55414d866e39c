//! Links: what a URL that says itself what it is worth opens, and what not.

use crate::issuer::{Issuer, NOW};
use crate::rig::{Answer, Over, Rig, offer, product, release};
use penstock_core::account::{AccountFacts, Holding, Standing, Terms};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{AccessClass, ReleaseState, RevokedToken};
use penstock_core::desk::{ExplainQuestion, Explainer as _};
use penstock_core::link::{LINK_ISSUER, LinkAnswer, LinkTerms};
use penstock_core::sign::SecretKey;
use penstock_core::time::UnixSeconds;
use penstock_edge::serve::PlainTokens;
use penstock_store::Reading;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn rig() -> Rig {
    let rig = Rig::with(Over::Plain, Reading::Map, PlainTokens::Accept);
    for account in ["alice", "bob"] {
        set(&rig, account, holds(&["game", "secret"]));
    }
    rig
}

fn set(rig: &Rig, account: &str, facts: AccountFacts) {
    rig.accounts.set(1, rig.accounts.pseudonyms().account(account), Some(facts));
}

fn holds(products: &[&str]) -> AccountFacts {
    let holding = |id: &&str| Holding {
        terms: Arc::new(Terms::of(id.parse().expect("a name"))),
        starts: UnixSeconds(0),
        ends: None,
    };
    AccountFacts { holdings: products.iter().map(holding).collect(), ..AccountFacts::default() }
}

/// A product of one release with one blob, offered on `stable`.
fn game(rig: &Rig, id: &str, access: AccessClass) -> BlobId {
    let blob = rig.put(id.repeat(10_000).as_bytes());
    rig.catalog.apply(product(id, access));
    rig.catalog.apply(release(id, "1", "any", ReleaseState::Live, &[blob]));
    rig.catalog.apply(offer(id, "stable", "any", "1", blob));
    blob
}

fn link(rig: &Rig, account: &str, path: &str, change: impl FnOnce(&mut LinkTerms)) -> LinkAnswer {
    signed(rig, account, path, change, &Issuer::link_key())
}

fn signed(rig: &Rig, account: &str, path: &str, change: impl FnOnce(&mut LinkTerms), key: &SecretKey) -> LinkAnswer {
    let mut terms = LinkTerms {
        account: rig.accounts.pseudonyms().account(account),
        issued: NOW,
        expires: NOW.plus(3600),
        product: None,
        path: path.parse().expect("a path"),
    };
    change(&mut terms);
    LinkAnswer::sign(&terms, key).expect("signed")
}

/// Only the value of the parameter.
fn text(link: &LinkAnswer) -> &str {
    link.target.split_once("link=").expect("a link").1
}

fn get(rig: &Rig, path: &str, link: &LinkAnswer) -> Answer {
    rig.get(&format!("{path}?link={}", text(link)), &[])
}

#[test]
fn a_link_opens_its_path_and_what_is_below() {
    let rig = rig();
    let (blob, other) = (game(&rig, "game", AccessClass::Licensed), game(&rig, "secret", AccessClass::Licensed));
    let path = format!("/v1/blobs/{blob}");
    let link = link(&rig, "alice", &path, |_| {});
    for below in [path.clone(), format!("{path}/outboard"), format!("{path}/verified")] {
        let answer = get(&rig, &below, &link);
        assert_eq!(answer.status, 200, "{below}");
        assert!(answer.header("cache-control").is_some_and(|value| value.starts_with("private")), "{below}");
        assert!(answer.headers.iter().all(|(_, value)| !value.contains(text(&link))), "{below}");
    }
    let more = rig.get(&format!("{path}/verified?start=0&end=100&link={}", text(&link)), &[]);
    assert_eq!(more.status, 200);
    let part = rig.get(&link.target, &[("range", "bytes=0-3")]);
    assert_eq!((part.status, &part.body[..]), (206, &b"game"[..]));
    let elsewhere = ["/v1/products/game/channels/stable".to_owned(), format!("/v1/blobs/{other}")];
    for path in &elsewhere {
        get(&rig, path, &link).assert_problem(403, "token_too_narrow");
    }
    assert_eq!(rig.issuer.verifications.load(Ordering::SeqCst), 1, "it is remembered as a token is");
    let outcomes = format!("{:?}", rig.outcomes.wait(1));
    assert!(!outcomes.contains(text(&link)) && outcomes.contains("?****"));
}

#[test]
fn everything_else_is_decided_as_for_a_token() {
    let rig = rig();
    let blob = game(&rig, "game", AccessClass::Licensed);
    let other = game(&rig, "secret", AccessClass::Licensed);
    let path = format!("/v1/blobs/{blob}");
    let good = link(&rig, "alice", &path, |_| {});
    assert_eq!(get(&rig, &path, &good).status, 200);
    set(&rig, "alice", AccountFacts { standing: Standing::Suspended, ..holds(&["game"]) });
    get(&rig, &path, &good).assert_problem(403, "account_suspended");
    set(&rig, "alice", holds(&[]));
    get(&rig, &path, &good).assert_problem(403, "not_entitled");
    set(&rig, "alice", AccountFacts { tokens_from: Some(NOW.plus(1)), ..holds(&["game"]) });
    get(&rig, &path, &good).assert_problem(401, "token_revoked");
    set(&rig, "alice", holds(&["game"]));
    assert_eq!(get(&rig, &path, &good).status, 200);
    let token = rig.accounts.pseudonyms().token(LINK_ISSUER, &good.id);
    rig.revoked.add(&[RevokedToken { token, until: good.expires }], NOW);
    get(&rig, &path, &good).assert_problem(401, "token_revoked");
    assert_eq!(rig.issuer.verifications.load(Ordering::SeqCst), 1);

    get(&rig, &path, &link(&rig, "nobody", &path, |_| {})).assert_problem(403, "account_unknown");
    let over = link(&rig, "bob", &path, |terms| (terms.issued, terms.expires) = (UnixSeconds(NOW.0 - 60), NOW));
    get(&rig, &path, &over).assert_problem(401, "token_expired");
    let forged = signed(&rig, "bob", &path, |_| {}, &SecretKey::from_seed(&[1; 32]));
    get(&rig, &path, &forged).assert_problem(401, "token_key_unknown");
    let wide = link(&rig, "bob", "/v1/blobs", |terms| terms.product = Some("game".parse().expect("a name")));
    assert_eq!(get(&rig, &path, &wide).status, 200);
    get(&rig, &format!("/v1/blobs/{other}"), &wide).assert_problem(403, "token_too_narrow");
}

#[test]
fn one_request_says_once_who_asks() {
    let rig = rig();
    let blob = game(&rig, "game", AccessClass::Licensed);
    let path = format!("/v1/blobs/{blob}");
    let good = link(&rig, "alice", &path, |_| {});
    let token = Issuer::bearer("alice", &json!({}));
    rig.get(&good.target, &[("authorization", &token)]).assert_problem(400, "bad_request");
    rig.get(&format!("{path}?link="), &[("authorization", &token)]).assert_problem(400, "bad_request");
    rig.get(&format!("{}&link={}", good.target, text(&good)), &[]).assert_problem(401, "token_malformed");
    for broken in [format!("{}=", good.target), format!("{path}?link"), format!("{}%41", good.target)] {
        rig.get(&broken, &[]).assert_problem(401, "token_malformed");
    }
    assert_eq!(rig.get(&good.target, &[]).status, 200);
    // A link is no token, known or not, and a token no link.
    rig.get(&path, &[("authorization", text(&good))]).assert_problem(401, "token_malformed");
    let bare = token.trim_start_matches("Bearer ");
    rig.get(&path, &[("authorization", &token)]);
    rig.get(&format!("{path}?link={bare}"), &[]).assert_problem(401, "token_malformed");
    rig.get(&format!("{path}?Link={}", text(&good)), &[]).assert_problem(401, "token_required");

    let plain = Rig::with(Over::Plain, Reading::Map, PlainTokens::Refuse);
    let blob = game(&plain, "game", AccessClass::Open);
    let good = link(&plain, "alice", &format!("/v1/blobs/{blob}"), |_| {});
    plain.get(&good.target, &[]).assert_problem(400, "token_over_plain_http");
}

#[test]
fn what_is_closed_stays_unknown_to_links_that_do_not_open_it() {
    let rig = rig();
    let blob = game(&rig, "secret", AccessClass::Closed);
    set(&rig, "bob", holds(&["game"]));
    let path = format!("/v1/blobs/{blob}");
    assert_eq!(get(&rig, &path, &link(&rig, "alice", &path, |_| {})).status, 200);
    let game: penstock_core::id::ProductId = "game".parse().expect("a name");
    for stranger in [
        link(&rig, "bob", &path, |_| {}),
        link(&rig, "alice", "/v1/products", |_| {}),
        link(&rig, "alice", &path, |terms| terms.product = Some(game)),
        signed(&rig, "alice", &path, |_| {}, &SecretKey::from_seed(&[1; 32])),
    ] {
        get(&rig, &path, &stranger).assert_problem(404, "unknown");
    }
}

/// Support sees why a link opens something or does not, and nothing of what an unsigned one claims.
#[test]
fn a_link_is_explained() {
    let rig = rig();
    let blob = game(&rig, "game", AccessClass::Licensed);
    let path = format!("/v1/blobs/{blob}");
    let explainer = rig.explainer(None);
    let explain = |link: &str| {
        let question: ExplainQuestion =
            serde_json::from_value(json!({ "blob": blob, "link": link })).expect("a question");
        let answer = explainer.explain(&question);
        assert_eq!((answer.steps[0].step.as_str(), answer.allowed), ("link", answer.code.is_none()));
        (answer.code.unwrap_or_default(), answer.steps[0].finding.clone())
    };
    let good = link(&rig, "alice", &path, |_| {});
    let id = Issuer::link_key().public().id();
    for form in [text(&good).to_owned(), good.target.clone(), format!("https://edge.example{}", good.target)] {
        let (code, finding) = explain(&form);
        let expected = format!("it is signed with key {id}, for {path} and what lies below, until {}", NOW.0 + 3600);
        assert_eq!((code.as_str(), finding), ("", expected));
    }
    let (code, finding) = explain(&link(&rig, "alice", "/v1/products", |_| {}).target);
    assert_eq!(
        (code.as_str(), finding),
        ("token_too_narrow", format!("it is signed with key {id}, and not for {path}"))
    );
    let stranger = SecretKey::from_seed(&[1; 32]);
    let (code, finding) = explain(&signed(&rig, "alice", &path, |_| {}, &stranger).target);
    assert_eq!(code, "token_key_unknown");
    assert!(finding.starts_with(&format!("it names key {}, unknown key id", stranger.public().id())), "{finding}");
    let (code, finding) = explain("/v1/blobs?link=x");
    assert_eq!((code.as_str(), finding.as_str()), ("token_malformed", "it names no key: the token cannot be read"));
    set(&rig, "alice", holds(&[]));
    assert_eq!(explain(text(&good)).0, "not_entitled");
}
