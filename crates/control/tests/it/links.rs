//! Links are signed for accounts that there are, for a bounded time, and verify with the key that is published.

use crate::support::{Engine, World};
use penstock_core::limits::LINK_LIFE_SECONDS_MAX;
use penstock_core::link::{LINK_LEEWAY_SECONDS, LinkAnswer, LinkKeyAnswer, RawLink};
use penstock_core::time::UnixSeconds;
use serde_json::json;

crate::on_both_engines! {
    a_link_is_signed_for_an_account_and_verifies_with_the_published_key,
    impossible_links_are_refused,
}

async fn a_link_is_signed_for_an_account_and_verifies_with_the_published_key(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    world.put("/accounts/alice", &json!({})).await;
    let wanted = json!({ "account": "alice", "path": "/v1/products/game", "product": "game", "ttl_seconds": 3600 });
    let reply = world.post("/links", &wanted).await;
    assert_eq!(reply.status, 201);
    let answer: LinkAnswer = reply.ok();
    let key: LinkKeyAnswer = world.get("/links/key").await.ok();
    assert_eq!(key.key, world.control.link_key());
    assert_ne!(key.key, world.control.token_key(), "one key, one use");
    let text = answer.target.strip_prefix("/v1/products/game?link=").expect("the path and its link");
    let issued = UnixSeconds(answer.expires.0 - 3600);
    let link = RawLink::read(text).expect("readable").verify(&key.key, issued.plus(LINK_LEEWAY_SECONDS)).expect("good");
    assert_eq!((link.id(), link.terms().expires), (answer.id.as_str(), answer.expires));
    let account = penstock_control::pseudonym_key(world.dir.path()).expect("a key").account("alice");
    assert_eq!((link.terms().account, link.terms().product.as_ref().map(|id| id.as_str())), (account, Some("game")));
    let world = world.restarted();
    assert_eq!(world.control.link_key(), key.key, "links survive a restart");
}

async fn impossible_links_are_refused(engine: Engine) {
    let world = World::new(engine);
    world.put("/accounts/alice", &json!({})).await;
    let wish = |name: &str, value: serde_json::Value| {
        let mut wish = json!({ "account": "alice", "path": "/v1/blobs", "ttl_seconds": 60 });
        wish[name] = value;
        wish
    };
    for (name, value) in [
        ("ttl_seconds", json!(0)),
        ("ttl_seconds", json!(LINK_LIFE_SECONDS_MAX + 1)),
        ("path", json!("/admin/v1/accounts")),
        ("path", json!("/v1/blobs/../products")),
        ("path", json!("/v1/blobs?x")),
        ("account", json!("")),
        ("admin", json!(true)),
    ] {
        world.post("/links", &wish(name, value)).await.refused(400, "bad_request");
    }
    world.post("/links", &wish("account", json!("nobody"))).await.refused(404, "not_found");
    world.post("/links", &wish("product", json!("nothing"))).await.refused(404, "not_found");
}
