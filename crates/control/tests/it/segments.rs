//! Segments: kept with ids as they were given, told with pseudonyms, removed when nothing refers to them.

use crate::policy::Known;
use crate::support::{Build, Engine, World};
use http::Method;
use penstock_core::desk::policy::{RuleKind, SegmentDetail, SegmentVerdict, SegmentsAnswer};
use penstock_core::segment::{Attributes, Rule};
use serde_json::{Value, json};

crate::on_both_engines! {
    ids_are_kept_as_given_and_told_as_pseudonyms,
    a_version_never_comes_twice,
    impossible_segments_are_refused,
    who_is_in_is_said_with_the_reason,
    a_segment_that_a_rollout_names_stays,
}

async fn ids_are_kept_as_given_and_told_as_pseudonyms(engine: Engine) {
    let world = World::new(engine);
    let reply = world.put("/segments/press", &json!({ "rule": { "list": ["alice", "install-7"] } })).await;
    assert_eq!(reply.status, 201);
    let made: SegmentDetail = reply.ok();
    assert_eq!((made.row.kind, made.row.listed), (RuleKind::List, 2));
    assert_eq!(made.rule, Rule::List(["alice".to_owned(), "install-7".to_owned()].into()));
    let told = &Known::of(&world).segments[&made.row.name];
    let key = penstock_control::pseudonym_key(world.dir.path()).expect("the node's key");
    assert_eq!(told.rule, Rule::List(["alice", "install-7"].map(|id| key.account(id).to_string()).into()));
    assert!(told.holds(&[&key.account("alice").to_string()], &Attributes::new()));
    assert!(!format!("{:?}", world.sink.all()).contains("alice"), "edges learn no names");
    let count = world.sink.all().len();
    let again = world.put("/segments/press", &json!({ "rule": { "list": ["install-7", "alice"] } })).await;
    assert_eq!((again.status.as_u16(), again.ok::<SegmentDetail>()), (200, made.clone()));
    assert_eq!(world.sink.all().len(), count, "the same again is no change");
    let rule = json!({ "where": { "is": { "attribute": "beta", "values": [true] } } });
    let beta: SegmentDetail = world.put("/segments/beta", &json!({ "rule": rule })).await.ok();
    let list: SegmentsAnswer = world.get("/segments").await.ok();
    assert_eq!(list.segments, [beta.row, made.row.clone()]);
    assert_eq!(world.get("/segments/press").await.ok::<SegmentDetail>(), made);
    let before = Known::of(&world);
    assert_eq!(Known::of(&world.restarted()), before);
}

async fn a_version_never_comes_twice(engine: Engine) {
    let world = World::new(engine);
    let put = async |id: &str| {
        let segment = world.put("/segments/s", &json!({ "rule": { "list": [id] } })).await;
        segment.ok::<SegmentDetail>().row.version
    };
    assert_eq!((put("a").await, put("b").await), (1, 2));
    assert_eq!(world.call(Method::DELETE, "/segments/s", "").await.ok::<SegmentDetail>().row.version, 2);
    assert_eq!(Known::of(&world).segments.len(), 0);
    world.call(Method::DELETE, "/segments/s", "").await.refused(404, "not_found");
    assert_eq!(put("a").await, 3, "one that is made again is another one");
}

async fn impossible_segments_are_refused(engine: Engine) {
    let world = World::new(engine);
    let deep = (0..9).fold(json!({ "absent": { "attribute": "x" } }), |inner, _| json!({ "not": inner }));
    for (rule, words) in [
        (json!({ "where": deep }), "nests deeper"),
        (json!({ "where": { "is": { "attribute": "x", "values": [] } } }), "has no value"),
        (json!({ "score": { "attribute": "x", "from": 5, "below": 5 } }), "is empty"),
        (json!({ "list": [""] }), "each id has 1 to"),
        (json!({ "list": ["x".repeat(257)] }), "each id has 1 to"),
        (json!({ "everybody": true }), "unknown variant"),
    ] {
        let detail = world.put("/segments/s", &json!({ "rule": rule })).await.refused(400, "bad_request");
        assert!(detail.contains(words), "{detail}");
    }
    world.put("/segments/a%20b", &json!({ "rule": { "list": [] } })).await.refused(400, "bad_request");
    let many: Vec<String> = (0..=100_000).map(|number| number.to_string()).collect();
    world.put("/segments/s", &json!({ "rule": { "list": many } })).await.refused(413, "body_too_large");
    let most = &many[1..];
    for number in 0..if engine == Engine::Sqlite { 10 } else { 1 } {
        let path = format!("/segments/s{number}");
        world.put(&path, &json!({ "rule": { "list": most } })).await.ok::<Value>();
    }
    if engine == Engine::Sqlite {
        let full = world.put("/segments/one-more", &json!({ "rule": { "list": ["a"] } })).await;
        assert!(full.refused(413, "body_too_large").contains("all segments"));
        world.put("/segments/s0", &json!({ "rule": { "list": ["a"] } })).await.ok::<Value>();
    }
    world.get("/segments/s").await.refused(404, "not_found");
}

async fn who_is_in_is_said_with_the_reason(engine: Engine) {
    let world = World::new(engine);
    world.put("/accounts/alice", &json!({ "attributes": { "score": 12 } })).await.ok::<Value>();
    world.put("/accounts/bob", &json!({})).await.ok::<Value>();
    let band = json!({ "rule": { "score": { "attribute": "score", "from": 10, "below": 20 } } });
    world.put("/segments/band", &band).await.ok::<Value>();
    world.put("/segments/list", &json!({ "rule": { "list": ["bob", "install-7"] } })).await.ok::<Value>();
    for (segment, asked, is_in, words) in [
        ("band", json!({ "account": "alice" }), true, "its score is 12"),
        ("band", json!({ "account": "bob" }), false, "it has no score"),
        ("list", json!({ "account": "bob" }), true, "the list names it"),
        ("list", json!({ "account": "alice" }), false, "the list of 2 does not name it"),
        ("list", json!({ "account": "alice", "install": "install-7" }), true, "the list names it"),
        ("list", json!({ "install": "install-8" }), false, "does not name it"),
    ] {
        let verdict: SegmentVerdict = world.post(&format!("/segments/{segment}/test"), &asked).await.ok();
        assert!(verdict.is_in == is_in && verdict.reason.contains(words), "{asked}: {verdict:?}");
    }
    world.post("/segments/list/test", &json!({})).await.refused(400, "bad_request");
    world.post("/segments/list/test", &json!({ "account": "carol" })).await.refused(404, "not_found");
    world.post("/segments/none/test", &json!({ "install": "x" })).await.refused(404, "not_found");
}

async fn a_segment_that_a_rollout_names_stays(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "open").await;
    for version in ["1", "2"] {
        world.register(&Build::new("game", version)).await.ok::<Value>();
    }
    world.offer("game", "stable", "1").await.ok::<Value>();
    let steps = json!([{ "from": 0, "share": "100", "segments": ["press"] }]);
    let wanted = json!({ "platform": "any", "target": "2", "steps": steps });
    let path = "/products/game/channels/stable/rollout";
    let detail = world.put(path, &wanted).await.refused(404, "not_found");
    assert!(detail.contains("no segment press"), "{detail}");
    world.put("/segments/press", &json!({ "rule": { "list": ["alice"] } })).await.ok::<Value>();
    world.put(path, &wanted).await.ok::<Value>();
    let detail = world.call(Method::DELETE, "/segments/press", "").await.refused(409, "conflict");
    assert!(detail.contains("rollout in channel stable of game"), "{detail}");
    world.put("/segments/press", &json!({ "rule": { "list": ["bob"] } })).await.ok::<Value>();
    world.post(&format!("{path}/finish"), &json!({ "platform": "any" })).await.ok::<Value>();
    world.call(Method::DELETE, "/segments/press", "").await.ok::<SegmentDetail>();
}
