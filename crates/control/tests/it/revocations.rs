//! Revoked tokens: taken once, told under pseudonyms, forgotten when they ended by themselves.

use crate::behind::change_log;
use crate::policy::Known;
use crate::support::{Engine, NOW, World, apart, full};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use penstock_core::account::{PseudonymKey, TokenKey};
use penstock_core::catalog::{CatalogChange, REVOKED_AT_ONCE_MAX};
use penstock_core::desk::policy::{RevocationRow, RevocationsAnswer, RevocationsTaken};
use penstock_core::limits::{FOREIGN_TOKEN_LIFE_SECONDS, TOKEN_ID_BYTES_MAX, TOKEN_LIFE_SECONDS_MAX};
use penstock_core::time::UnixSeconds;
use serde_json::{Value, json};

crate::on_both_engines! {
    a_token_is_revoked_by_its_id_or_its_text,
    impossible_revocations_are_refused_by_their_place,
    what_ended_by_itself_is_forgotten,
    revocations_are_listed_page_by_page,
    many_are_replayed_some_at_a_time,
}

fn pseudonyms(world: &World) -> PseudonymKey {
    penstock_control::pseudonym_key(world.dir.path()).expect("the node's key")
}

fn token(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

async fn revoke(world: &World, tokens: Value) -> RevocationsTaken {
    world.post("/revocations", &json!({ "tokens": tokens })).await.ok()
}

async fn a_token_is_revoked_by_its_id_or_its_text(engine: Engine) {
    let world = World::new(engine);
    let text = token(&json!({ "iss": "idp.example", "jti": "secret-id", "exp": NOW.0 + 600, "sub": "alice" }));
    let later = NOW.0 + 900;
    let taken = revoke(&world, json!([{ "id": "a" }, { "id": "a", "issuer": "idp.example" }, { "token": text }])).await;
    assert_eq!(taken, RevocationsTaken { revoked: 3, known: 0, ended: 0 });
    let key = pseudonyms(&world);
    let known = Known::of(&world).revoked;
    assert_eq!(known[&key.token("penstock", "a")], NOW.plus(TOKEN_LIFE_SECONDS_MAX));
    assert_eq!(known[&key.token("idp.example", "a")], NOW.plus(FOREIGN_TOKEN_LIFE_SECONDS));
    assert_eq!(known[&key.token("idp.example", "secret-id")], NOW.plus(600));

    // Again, and some in it that are new: told is what is new.
    let taken =
        revoke(&world, json!([{ "id": "a" }, { "id": "b" }, { "id": "b" }, { "id": "c", "until": NOW.0 - 24 * 3600 }]))
            .await;
    assert_eq!(taken, RevocationsTaken { revoked: 1, known: 2, ended: 1 });
    match world.sink.all().last() {
        Some(CatalogChange::TokensRevoked { tokens }) => assert_eq!(tokens.len(), 1, "{tokens:?}"),
        other => unreachable!("{other:?}"),
    }
    // Longer is news, shorter is not: it would be good again before its end.
    let told = world.sink.all().len();
    let id = json!({ "id": "secret-id", "issuer": "idp.example" });
    let until = |until: u64| json!([{ "id": id["id"], "issuer": id["issuer"], "until": until }]);
    assert_eq!(revoke(&world, until(NOW.0 + 1)).await.known, 1);
    assert_eq!(world.sink.all().len(), told);
    assert_eq!(revoke(&world, until(later)).await.revoked, 1);
    let row: RevocationRow = world.get("/revocations/secret-id?issuer=idp.example").await.ok();
    assert_eq!((row.until, row.revoked), (UnixSeconds(later), NOW));
    // A text says when it ends, whatever somebody says beside it.
    let shortened = json!([{ "token": token(&json!({ "iss": "i", "jti": "j", "exp": later })), "until": NOW.0 + 1 }]);
    revoke(&world, shortened).await;
    assert_eq!(Known::of(&world).revoked[&key.token("i", "j")], UnixSeconds(later));

    let before = Known::of(&world);
    let log = format!("{:?}", change_log(&world.database));
    assert!(!log.contains("secret-id") && !log.contains("alice") && !log.contains(&text[4..20]), "ids are not kept");
    let world = world.restarted();
    assert_eq!(Known::of(&world), before);
    world.get("/revocations/secret-id").await.refused(404, "not_found");
}

async fn impossible_revocations_are_refused_by_their_place(engine: Engine) {
    let world = World::new(engine);
    let good = json!({ "id": "good" });
    for (bad, words) in [
        (json!({}), "tokens[1]: name either an id or a token"),
        (json!({ "id": "x", "token": "a.b.c" }), "name either"),
        (json!({ "id": "" }), "id: it has 1 to"),
        (json!({ "id": "x".repeat(TOKEN_ID_BYTES_MAX + 1) }), "id: it has 1 to"),
        (json!({ "id": "a\nb" }), "control characters"),
        (json!({ "id": "x", "issuer": "" }), "issuer: it has 1 to"),
        (json!({ "id": "x", "until": u64::MAX }), "until: this is no number of seconds"),
        (json!({ "token": "no token" }), "token: "),
        (json!({ "token": token(&json!({ "iss": "i", "exp": 5 })) }), "lacks a claim iss, jti or exp"),
        (
            json!({ "token": token(&json!({ "iss": "i", "jti": "j", "exp": 5 })), "issuer": "i" }),
            "issuer: a whole token",
        ),
    ] {
        let reply = world.post("/revocations", &json!({ "tokens": [good, bad] })).await;
        let detail = reply.refused(400, "bad_request");
        assert!(detail.contains(words), "{bad}: {detail}");
    }
    let many = vec![good; REVOKED_AT_ONCE_MAX + 1];
    world.post("/revocations", &json!({ "tokens": many })).await.refused(413, "body_too_large");
    assert_eq!(world.get("/revocations").await.ok::<RevocationsAnswer>().total, 0, "all of a request or none");
}

async fn what_ended_by_itself_is_forgotten(engine: Engine) {
    const DAY: u64 = 24 * 3600;
    let world = World::new(engine);
    let tokens: Vec<Value> = (1..=3).map(|day| json!({ "id": day.to_string(), "until": NOW.0 + day * DAY })).collect();
    revoke(&world, json!(tokens)).await;
    let forget = |at: UnixSeconds| apart(|| world.control.forget_revocations(at)).expect("forgotten");
    assert_eq!(forget(NOW.plus(2 * DAY - 1)), 0, "a day longer than it lasts, because clocks differ");
    assert_eq!(forget(NOW.plus(2 * DAY)), 1);
    world.get("/revocations/1").await.refused(404, "not_found");
    assert_eq!(world.get("/revocations").await.ok::<RevocationsAnswer>().total, 2);
    assert_eq!(forget(NOW.plus(9 * DAY)), 2);
    assert_eq!(world.get("/revocations").await.ok::<RevocationsAnswer>().total, 0);
    revoke(&world, json!([{ "id": "1", "until": NOW.0 + DAY }])).await;
    assert_eq!(Known::of(&world.restarted()).revoked.len(), 1);
}

async fn revocations_are_listed_page_by_page(engine: Engine) {
    let world = World::new(engine);
    let tokens: Vec<Value> = (0..25).map(|number| json!({ "id": number.to_string() })).collect();
    revoke(&world, json!(tokens)).await;
    let mut seen: Vec<TokenKey> = Vec::new();
    let mut path = "/revocations?limit=10".to_owned();
    loop {
        let page: RevocationsAnswer = world.get(&path).await.ok();
        assert_eq!(page.total, 25);
        seen.extend(page.revocations.iter().map(|row| row.token));
        let Some(next) = page.next else { break };
        path = format!("/revocations?limit=10&after={next}");
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted());
    world.get("/revocations?after=xyz").await.refused(400, "bad_request");
}

async fn many_are_replayed_some_at_a_time(engine: Engine) {
    let world = World::new(engine);
    let (batches, most) = if full() { (100, REVOKED_AT_ONCE_MAX) } else { (2, REVOKED_AT_ONCE_MAX) };
    for batch in 0..batches {
        let tokens: Vec<Value> = (0..most).map(|number| json!({ "id": format!("{batch}-{number}") })).collect();
        assert_eq!(revoke(&world, json!(tokens)).await.revoked, most as u64);
    }
    revoke(&world, json!([{ "id": "one more" }])).await;
    let before = Known::of(&world).revoked;
    assert_eq!(before.len(), batches * most + 1);
    let world = world.restarted();
    assert_eq!(Known::of(&world).revoked, before);
    let told = world.sink.all();
    let sizes = told.iter().filter_map(|change| match change {
        CatalogChange::TokensRevoked { tokens } => Some(tokens.len()),
        _ => None,
    });
    assert!(sizes.clone().all(|size| size <= REVOKED_AT_ONCE_MAX) && sizes.count() == batches + 1);
}
