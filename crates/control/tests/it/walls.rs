//! Terms that name channels or platforms: what may be shared with whom, and what a channel does not offer.

use crate::support::{Build, Engine, World};
use http::Method;
use penstock_core::api::{RegisterRelease, ReuseAnswer};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{CatalogChange, Release};
use serde_json::{Value, json};

crate::on_both_engines! {
    a_channel_does_not_offer_what_those_who_are_limited_to_it_could_not_install,
    a_publisher_is_told_what_not_to_share,
    a_release_says_what_is_wholly_its_own,
}

const SHARED: &[u8] = b"pack of the first release";

async fn give(world: &World, account: &str, terms: &Value) {
    world.put(&format!("/accounts/{account}"), &json!({})).await.ok::<Value>();
    let wanted = json!({ "account": account, "terms": terms });
    assert_eq!(world.post("/entitlements", &wanted).await.status, 201);
}

/// Registers a build that says of the shared pack that only a part of it is its own.
async fn register(world: &World, build: &Build) -> Release {
    let mut request: RegisterRelease = build.request(world);
    let is_first = build.root.version.as_str() == "1";
    for member in &mut request.members {
        member.whole = is_first || member.blob != BlobId::of(SHARED);
    }
    world.post("/products/game/releases", &request).await.ok()
}

async fn offer(world: &World, channel: &str, version: &str) -> crate::support::Reply {
    world.put(&format!("/products/game/channels/{channel}"), &json!({ "platform": "any", "version": version })).await
}

/// Version 1 on beta, and version 2 that uses a part of its pack.
async fn two_releases(engine: Engine) -> World {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    for version in ["1", "2"] {
        register(&world, &Build::new("game", version).pack("base", "base", SHARED)).await;
    }
    offer(&world, "beta", "1").await.ok::<Value>();
    world
}

async fn a_channel_does_not_offer_what_those_who_are_limited_to_it_could_not_install(engine: Engine) {
    let world = two_releases(engine).await;
    offer(&world, "open", "2").await.ok::<Value>();
    give(&world, "tester", &json!({ "product": "game", "channels": ["beta"] })).await;
    give(&world, "both", &json!({ "product": "game", "channels": ["beta", "stable"] })).await;
    offer(&world, "stable", "2").await.ok::<Value>();
    give(&world, "player", &json!({ "product": "game", "channels": ["stable"] })).await;
    offer(&world, "stable", "2").await.ok::<Value>();
    let given: Value = {
        give(&world, "candidate", &json!({ "product": "game", "channels": ["candidate"] })).await;
        world.get("/entitlements?account=candidate").await.ok()
    };
    let detail = offer(&world, "candidate", "2").await.refused(409, "conflict");
    let blob = BlobId::of(SHARED).to_string();
    for word in [&blob[..], "content of 1", "channels candidate", "publish the build under another version"] {
        assert!(detail.contains(word), "{word}: {detail}");
    }
    let rollout = json!({ "platform": "any", "target": "2", "fallback": "1", "steps": [] });
    world.put("/products/game/channels/candidate/rollout", &rollout).await.refused(409, "conflict");
    // What nobody has any more limits nobody.
    let id = &given["entitlements"][0]["id"];
    world.call(Method::DELETE, &format!("/entitlements/{id}"), "").await.ok::<Value>();
    offer(&world, "candidate", "2").await.ok::<Value>();
    // Once the channel offered all that lies in the pack, it may.
    give(&world, "later", &json!({ "product": "game", "channels": ["later"] })).await;
    offer(&world, "later", "2").await.refused(409, "conflict");
    offer(&world, "later", "1").await.ok::<Value>();
    offer(&world, "later", "2").await.ok::<Value>();
}

async fn a_publisher_is_told_what_not_to_share(engine: Engine) {
    let world = two_releases(engine).await;
    let (shared, unknown) = (BlobId::of(SHARED), BlobId::of(b"nobody has it"));
    let ask = async |more: &Value| -> ReuseAnswer {
        let mut question = json!({ "platform": "any", "blobs": [unknown, shared] });
        for (name, value) in more.as_object().into_iter().flatten() {
            question[name] = value.clone();
        }
        world.post("/products/game/reuse", &question).await.ok()
    };
    assert_eq!(ask(&json!({})).await, ReuseAnswer { limited: false, unfit: Vec::new() });
    give(&world, "tester", &json!({ "product": "game", "channels": ["beta"] })).await;
    assert_eq!(ask(&json!({})).await.unfit, [unknown], "beta offers what lies in it");
    give(&world, "player", &json!({ "product": "game", "channels": ["stable"] })).await;
    assert_eq!(ask(&json!({})).await.unfit, [unknown, shared], "it may go anywhere");
    assert_eq!(ask(&json!({ "channels": ["beta"] })).await.unfit, [unknown]);
    assert_eq!(ask(&json!({ "channels": ["stable"] })).await.unfit, [unknown, shared]);
    assert_eq!(ask(&json!({ "channels": ["open"] })).await, ReuseAnswer { limited: false, unfit: Vec::new() });
    give(&world, "penguin", &json!({ "product": "game", "platforms": ["linux"] })).await;
    assert_eq!(ask(&json!({ "channels": ["open"] })).await.unfit, [unknown], "it is for any platform");
    let windows = ask(&json!({ "channels": ["open"], "platform": "windows" })).await;
    assert!(!windows.limited, "whoever has only Linux is not owed it");
    let many = vec![shared; penstock_core::limits::MISSING_BLOBS_MAX + 1];
    world
        .post("/products/game/reuse", &json!({ "platform": "any", "blobs": many }))
        .await
        .refused(413, "body_too_large");
    world.post("/products/none/reuse", &json!({ "platform": "any", "blobs": [] })).await.refused(404, "not_found");
}

/// A publisher of before did not say it: what is new is a release's own, what another has is not.
async fn a_release_says_what_is_wholly_its_own(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    let told = |world: &World| match world.sink.all().pop() {
        Some(CatalogChange::Release { members, .. }) => members,
        other => panic!("a release was told last, not {other:?}"),
    };
    for (version, is_whole) in [("1", true), ("2", false)] {
        let build = Build::new("game", version).pack("base", "base", SHARED);
        let mut request = build.request(&world);
        request.members.iter_mut().for_each(|member| member.whole = false);
        world.post("/products/game/releases", &request).await.ok::<Release>();
        let members = told(&world);
        for member in members {
            assert_eq!(member.whole, is_whole || member.blob != BlobId::of(SHARED), "{version}");
        }
        let listed: Value = world.get(&format!("/products/game/releases/{version}?members=true")).await.ok();
        let whole = listed["members"].as_array().into_iter().flatten().filter(|member| member["whole"] == json!(true));
        assert_eq!(whole.count() + usize::from(!is_whole), request.members.len(), "{version}");
        // The same again, whatever it says of that, changes nothing.
        request.members.iter_mut().for_each(|member| member.whole = true);
        assert_eq!(world.post("/products/game/releases", &request).await.status, 200);
    }
}
