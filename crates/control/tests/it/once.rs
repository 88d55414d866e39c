//! Calls that are done once however often they are sent, changes that insist on what they change, and filtered lists.

use crate::behind::execute;
use crate::support::{Engine, NOW, Reply, World, send};
use axum::body::Body;
use http::{Method, Request};
use penstock_core::desk::{AccountDetail, AccountsAnswer, EntitlementsAnswer};
use serde_json::{Value, json};

crate::on_both_engines! {
    the_same_key_and_body_are_done_once,
    a_key_is_one_callers_own_and_ends_after_a_day,
    a_call_whose_answer_was_lost_is_not_done_twice,
    calls_at_once_with_one_key_are_done_once,
    a_secret_is_not_kept_for_who_asks_again,
    changes_insist_on_what_they_saw,
    lists_are_filtered,
    numbers_that_no_database_holds_are_refused,
}

async fn with(world: &World, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    let mut request = Request::builder().method(method).uri(format!("/admin/v1{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(Body::from(body.to_string())).expect("a request")).await
}

async fn grant(world: &World, key: &str, ends: u64) -> Reply {
    let body = json!({ "account": "alice", "terms": { "product": "game" }, "ends": ends });
    with(world, Method::POST, "/entitlements", &[("idempotency-key", key)], &body).await
}

async fn filled(engine: Engine) -> World {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    world.put("/accounts/alice", &json!({})).await.ok::<AccountDetail>();
    world
}

const LATER: u64 = NOW.0 + 1000;

async fn held(world: &World) -> usize {
    world.get("/accounts/alice").await.ok::<AccountDetail>().entitlements.len()
}

async fn the_same_key_and_body_are_done_once(engine: Engine) {
    let world = filled(engine).await;
    let first = grant(&world, "a", LATER).await;
    assert_eq!(first.status, 201);
    let again = grant(&world, "a", LATER).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(held(&world).await, 1);
    grant(&world, "a", LATER + 1).await.refused(422, "idempotency_mismatch");
    let body = json!({ "account": "alice", "terms": { "product": "game" }, "ends": LATER });
    with(&world, Method::POST, "/imports", &[("idempotency-key", "a")], &body)
        .await
        .refused(422, "idempotency_mismatch");
    assert_eq!(grant(&world, "b", LATER).await.status, 201);
    assert_eq!(held(&world).await, 2);
    // The same call by way of a proxy, whose request line has the whole URL.
    let request = Request::post("http://control:8444/admin/v1/entitlements").header("idempotency-key", "a");
    let proxied = world.send(request.body(Body::from(body.to_string())).expect("a request")).await;
    assert_eq!((proxied.status, &proxied.body), (first.status, &first.body));
    // What was refused is not remembered: it may be mended and sent again.
    let wrong = json!({ "account": "bob", "terms": { "product": "game" } });
    let key = [("idempotency-key", "c")];
    with(&world, Method::POST, "/entitlements", &key, &wrong).await.refused(404, "not_found");
    world.put("/accounts/bob", &json!({})).await.ok::<AccountDetail>();
    assert_eq!(with(&world, Method::POST, "/entitlements", &key, &wrong).await.status, 201);
    for bad in ["", "a b", &"x".repeat(129)] {
        with(&world, Method::POST, "/entitlements", &[("idempotency-key", bad)], &wrong)
            .await
            .refused(400, "bad_request");
    }
    let world = world.restarted();
    assert_eq!(grant(&world, "a", LATER).await.body, first.body, "a restart forgets none");
}

async fn a_key_is_one_callers_own_and_ends_after_a_day(engine: Engine) {
    let world = filled(engine).await;
    grant(&world, "a", LATER).await;
    let desk = world.credential(&json!({ "name": "anna", "role": "desk" })).await;
    let body = json!({ "account": "alice", "terms": { "product": "game" } }).to_string();
    let request = Request::post("/admin/v1/entitlements").header("idempotency-key", "a");
    let request = request.header("authorization", format!("Bearer {desk}")).body(Body::from(body)).expect("a request");
    assert_eq!(send(&world.network(), request).await.status, 201);
    assert_eq!(held(&world).await, 2);
    execute(&world.database, "UPDATE kept_answers SET at = at - 86400");
    assert_eq!(grant(&world, "a", LATER + 5).await.status, 201);
    assert_eq!(execute(&world.database, "DELETE FROM kept_answers"), 1, "those that are over are dropped");
}

async fn a_call_whose_answer_was_lost_is_not_done_twice(engine: Engine) {
    let world = filled(engine).await;
    grant(&world, "a", LATER).await;
    // As a crash leaves it between the change and its answer.
    execute(&world.database, "UPDATE kept_answers SET status = 0, answer = x''");
    let detail = grant(&world, "a", LATER).await.refused(409, "conflict");
    assert!(detail.contains("was done"), "{detail}");
    assert_eq!(held(&world).await, 1);
}

async fn calls_at_once_with_one_key_are_done_once(engine: Engine) {
    let world = std::sync::Arc::new(filled(engine).await);
    let calls = (0..8).map(|_| {
        let world = std::sync::Arc::clone(&world);
        tokio::spawn(async move { grant(&world, "a", LATER).await.status.as_u16() })
    });
    let mut statuses = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        statuses.push(call.await.expect("no panic"));
    }
    assert!(statuses.contains(&201) && statuses.iter().all(|status| matches!(status, 201 | 409)), "{statuses:?}");
    assert_eq!(held(&world).await, 1);
}

async fn a_secret_is_not_kept_for_who_asks_again(engine: Engine) {
    let world = World::new(engine);
    let body = json!({ "name": "ci", "role": "publisher" });
    let ask = async || with(&world, Method::POST, "/credentials", &[("idempotency-key", "a")], &body).await;
    assert_eq!(ask().await.status, 201);
    ask().await.refused(409, "conflict");
    let kept = execute(&world.database, "UPDATE kept_answers SET at = at WHERE status = 0 AND answer = x''");
    assert_eq!(kept, 1);
}

async fn changes_insist_on_what_they_saw(engine: Engine) {
    let world = filled(engine).await;
    let tag = async |path: &str| world.get(path).await.headers["etag"].to_str().expect("text").to_owned();
    let first = tag("/accounts/alice").await;
    let put = async |condition: (&str, &str), standing: &str| {
        with(&world, Method::PUT, "/accounts/alice", &[condition], &json!({ "standing": standing })).await
    };
    let changed = put(("if-match", &first), "suspended").await;
    assert!(changed.status.is_success());
    assert_eq!(changed.headers["etag"].to_str().expect("text"), tag("/accounts/alice").await);
    put(("if-match", &first), "active").await.refused(412, "precondition_failed");
    put(("if-none-match", "*"), "active").await.refused(412, "precondition_failed");
    put(("if-match", "nonsense"), "active").await.refused(400, "bad_request");
    // Giving something changes the account as it is shown.
    let before = tag("/accounts/alice").await;
    let given = grant(&world, "a", LATER).await;
    put(("if-match", &before), "active").await.refused(412, "precondition_failed");
    assert!(put(("if-match", "*"), "active").await.status.is_success());
    let new = with(&world, Method::PUT, "/accounts/bob", &[("if-match", "*")], &json!({})).await;
    new.refused(412, "precondition_failed");
    let new = with(&world, Method::PUT, "/accounts/bob", &[("if-none-match", "*")], &json!({})).await;
    assert_eq!(new.status, 201);
    let path = format!("/entitlements/{}", given.json()["id"]);
    with(&world, Method::DELETE, &path, &[("if-match", "\"x\"")], &json!(null))
        .await
        .refused(412, "precondition_failed");
    let seen = given.headers["etag"].to_str().expect("text");
    assert_eq!(with(&world, Method::DELETE, &path, &[("if-match", seen)], &json!(null)).await.status, 200);
    let product = json!({ "id": "game", "access": "open" });
    let create = [("if-none-match", "*")];
    with(&world, Method::POST, "/products", &create, &product).await.refused(412, "precondition_failed");
    let seen = tag("/products/game").await;
    assert_eq!(with(&world, Method::POST, "/products", &[("if-match", &seen)], &product).await.status, 200);
    world.credential(&json!({ "name": "ci", "role": "desk" })).await;
    let gone = with(&world, Method::DELETE, "/credentials/ci", &[("if-match", "\"x\"")], &json!(null)).await;
    gone.refused(412, "precondition_failed");
    let seen = tag("/credentials/ci").await;
    assert_eq!(with(&world, Method::DELETE, "/credentials/ci", &[("if-match", &seen)], &json!(null)).await.status, 200);
}

async fn lists_are_filtered(engine: Engine) {
    let world = filled(engine).await;
    world.product("other", "licensed").await;
    for (name, kind, standing) in
        [("acme", "business", "active"), ("acmf", "business", "suspended"), ("ac", "reseller", "active")]
    {
        let wanted = json!({ "kind": kind, "standing": standing });
        world.put(&format!("/accounts/{name}"), &wanted).await.ok::<AccountDetail>();
    }
    let accounts = async |query: &str| -> Vec<String> {
        let answer: AccountsAnswer = world.get(&format!("/accounts?{query}")).await.ok();
        answer.accounts.into_iter().map(|account| account.id.to_string()).collect()
    };
    assert_eq!(accounts("kind=business").await, ["acme", "acmf"]);
    assert_eq!(accounts("kind=business&standing=active").await, ["acme"]);
    assert_eq!(accounts("prefix=ac").await, ["ac", "acme", "acmf"]);
    assert_eq!(accounts("prefix=acme").await, ["acme"]);
    assert_eq!(accounts("prefix=ac&after=ac&limit=1").await, ["acme"]);
    world.get("/accounts?kind=robot").await.refused(400, "bad_request");
    for (account, product, starts, ends) in [
        ("alice", "game", 5, Some(NOW.0)),
        ("alice", "game", 5, None),
        ("alice", "other", NOW.0 + 5, None),
        ("acme", "game", 5, Some(LATER)),
        ("acme", "game", 5, None),
    ] {
        let body = json!({ "account": account, "terms": { "product": product }, "starts": starts, "ends": ends });
        world.post("/entitlements", &body).await.ok::<Value>();
    }
    world.call(Method::DELETE, "/entitlements/5", "").await.ok::<Value>();
    let entitlements = async |query: &str| -> (Vec<u64>, Option<u64>) {
        let answer: EntitlementsAnswer = world.get(&format!("/entitlements?{query}")).await.ok();
        (answer.entitlements.into_iter().map(|one| one.id).collect(), answer.next)
    };
    assert_eq!(entitlements("").await, (vec![1, 2, 3, 4, 5], None));
    assert_eq!(entitlements("limit=2").await, (vec![1, 2], Some(2)));
    assert_eq!(entitlements("limit=2&after=2").await, (vec![3, 4], Some(4)));
    assert_eq!(entitlements("account=alice").await.0, [1, 2, 3]);
    assert_eq!(entitlements("product=game&account=alice").await.0, [1, 2]);
    for (state, ids) in [("live", vec![2, 4]), ("ended", vec![1]), ("scheduled", vec![3]), ("revoked", vec![5])] {
        assert_eq!(entitlements(&format!("state={state}")).await.0, ids, "{state}");
    }
    for version in ["1", "2"] {
        world.register(&crate::support::Build::new("game", version)).await.ok::<Value>();
    }
    world.post("/products/game/releases/1/withdraw", &json!({})).await.ok::<Value>();
    let releases =
        async |query: &str| world.get(&format!("/products/game/releases?{query}")).await.json()["releases"].clone();
    assert_eq!(releases("state=live").await[0]["version"], "2");
    assert_eq!(releases("state=withdrawn").await[0]["version"], "1");
    assert_eq!(releases("platform=any").await.as_array().expect("list").len(), 2);
    assert_eq!(releases("platform=windows").await, json!([]));
}

/// Each was once a 500: the databases count to 2^63.
async fn numbers_that_no_database_holds_are_refused(engine: Engine) {
    let world = filled(engine).await;
    let huge = u64::MAX;
    for path in [format!("/entitlements/{huge}"), format!("/entitlements?after={huge}"), format!("/audit?after={huge}")]
    {
        world.get(&path).await.refused(400, "bad_request");
    }
    world.get("/audit?subject=%00").await.refused(400, "bad_request");
    let body = json!({ "account": "alice", "terms": { "product": "game" }, "ends": huge });
    world.post("/entitlements", &body).await.refused(400, "bad_request");
    let body = json!({ "name": "x", "role": "desk", "expires": huge });
    world.post("/credentials", &body).await.refused(400, "bad_request");
}
