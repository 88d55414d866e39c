//! Changes that insist on what they saw, for everything that the desk steers by: segments, packages, rollouts, minimum
//! versions, the embargo policy.

use crate::support::{Build, Engine, Reply, World};
use axum::body::Body;
use http::{Method, Request};
use penstock_core::desk::policy::{RolloutRow, RolloutState};
use penstock_core::place::Embargo;
use serde_json::{Value, json};

crate::on_both_engines! {
    segments_and_packages_are_changed_by_whoever_saw_them_last,
    a_rollout_is_steered_by_whoever_saw_it_last,
    a_minimum_and_the_embargo_likewise,
}

async fn ask(world: &World, method: Method, path: &str, condition: (&str, &str), body: &Value) -> Reply {
    let request = Request::builder().method(method).uri(format!("/admin/v1{path}")).header(condition.0, condition.1);
    world.send(request.body(Body::from(body.to_string())).expect("a request")).await
}

fn tag(reply: &Reply) -> String {
    reply.headers["etag"].to_str().expect("text").to_owned()
}

async fn segments_and_packages_are_changed_by_whoever_saw_them_last(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    world.product("dlc", "licensed").await;
    let list = |id: &str| json!({ "rule": { "list": [id] } });
    let items = |product: &str| json!({ "items": [{ "product": product }] });
    for (path, first, second, third) in [
        ("/segments/press", list("a"), list("b"), list("c")),
        ("/packages/suite", items("game"), items("dlc"), json!({ "title": "All", "items": [{ "product": "dlc" }] })),
    ] {
        let put = async |condition: (&str, &str), body: &Value| ask(&world, Method::PUT, path, condition, body).await;
        put(("if-match", "*"), &first).await.refused(412, "precondition_failed");
        let made = put(("if-none-match", "*"), &first).await;
        assert_eq!(made.status, 201);
        put(("if-none-match", "*"), &second).await.refused(412, "precondition_failed");
        let seen = tag(&world.get(path).await);
        assert_eq!(seen, tag(&made), "the answer to a change is what a reader sees");
        let changed = put(("if-match", &seen), &second).await;
        assert_eq!(changed.status, 200);
        put(("if-match", &seen), &third).await.refused(412, "precondition_failed");
        assert_eq!(tag(&world.get(path).await), tag(&changed), "what is refused changes nothing");
        let gone = ask(&world, Method::DELETE, path, ("if-match", &seen), &Value::Null).await;
        gone.refused(412, "precondition_failed");
        ask(&world, Method::DELETE, path, ("if-match", &tag(&changed)), &Value::Null).await.ok::<Value>();
        world.get(path).await.refused(404, "not_found");
    }
}

async fn channel(engine: Engine) -> World {
    let world = World::new(engine);
    world.product("game", "open").await;
    for version in ["1", "2"] {
        world.register(&Build::new("game", version)).await.ok::<Value>();
    }
    world.offer("game", "stable", "1").await.ok::<Value>();
    world
}

async fn a_rollout_is_steered_by_whoever_saw_it_last(engine: Engine) {
    let world = channel(engine).await;
    let path = "/products/game/channels/stable/rollout";
    let wanted = json!({ "platform": "any", "target": "2" });
    ask(&world, Method::PUT, path, ("if-match", "*"), &wanted).await.refused(412, "precondition_failed");
    let started = ask(&world, Method::PUT, path, ("if-none-match", "*"), &wanted).await;
    assert_eq!(started.status, 201);
    let first = tag(&world.get(path).await);
    assert_eq!(first, tag(&started));
    let steps = format!("{path}/steps");
    let step = json!({ "platform": "any", "step": { "from": 4_102_444_800_u64, "share": "5" } });
    let added = ask(&world, Method::POST, &steps, ("if-match", &first), &step).await;
    let row: RolloutRow = added.ok();
    assert_eq!(row.steps.len(), 1);
    // Whoever did not see the step steers nothing.
    let platform = json!({ "platform": "any" });
    for (method, path, body) in [
        (Method::POST, steps.clone(), &step),
        (Method::PUT, format!("{steps}/1"), &step),
        (Method::DELETE, format!("{steps}/1"), &Value::Null),
        (Method::POST, format!("{path}/pause"), &platform),
        (Method::POST, format!("{path}/resume"), &platform),
        (Method::POST, format!("{path}/halt"), &platform),
        (Method::POST, format!("{path}/finish"), &platform),
        (Method::PUT, path.to_owned(), &wanted),
    ] {
        ask(&world, method, &path, ("if-match", &first), body).await.refused(412, "precondition_failed");
    }
    let seen = tag(&world.get(path).await);
    assert_eq!(seen, tag(&added));
    let halted: RolloutRow =
        ask(&world, Method::POST, &format!("{path}/halt"), ("if-match", &seen), &platform).await.ok();
    assert_eq!(halted.state, RolloutState::Halted);
}

async fn a_minimum_and_the_embargo_likewise(engine: Engine) {
    let world = channel(engine).await;
    let path = "/products/game/channels/stable/minimum";
    let minimum = |message: &str| json!({ "platform": "any", "minimum": { "version": "1", "message": message } });
    let none = tag(&world.get(path).await);
    let set = ask(&world, Method::PUT, path, ("if-match", &none), &minimum("a")).await;
    assert_eq!(tag(&world.get(path).await), tag(&set));
    ask(&world, Method::PUT, path, ("if-match", &none), &minimum("b")).await.refused(412, "precondition_failed");
    assert!(ask(&world, Method::PUT, path, ("if-match", &tag(&set)), &minimum("b")).await.status.is_success());

    let rules = json!({ "regions": { "IR": "deny" }, "elsewhere": "allow", "unknown": "allow" });
    let policy = |version: u64, class: &str| json!({ "version": version, "classes": { class: rules } });
    let empty = tag(&world.get("/embargo").await);
    let put =
        async |condition: &str, body: &Value| ask(&world, Method::PUT, "/embargo", ("if-match", condition), body).await;
    put(&empty, &policy(0, "a")).await.ok::<Value>();
    put(&empty, &policy(1, "b")).await.refused(412, "precondition_failed");
    let seen = tag(&world.get("/embargo").await);
    put(&seen, &policy(1, "b")).await.ok::<Value>();
    assert_eq!(world.get("/embargo").await.ok::<Embargo>().version, 2);
}
