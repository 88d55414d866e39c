//! Resellers: customers, allocations, and that no more is given than there is, whoever asks at the same time.

use crate::behind::tables;
use crate::facts::{slow, told};
use crate::support::{Engine, MemoryOrigin, NOW, Node, World};
use http::Method;
use penstock_core::desk::{
    Account, AccountDetail, AccountsAnswer, Allocation, AllocationsAnswer, Entitlement, Package,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

crate::on_both_engines! {
    what_is_given_out_of_an_allocation_is_of_it_and_within_its_time,
    customers_are_one_resellers_at_a_time,
    what_cannot_be_allocated_is_refused,
}

mod at_once {
    crate::on_both_engines! { @ (flavor = "multi_thread", worker_threads = 4) many_at_once_never_take_more_than_there_is }
    use super::many_at_once_never_take_more_than_there_is;
}

async fn world(engine: Engine) -> World {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    world.put("/accounts/shop", &json!({ "kind": "reseller" })).await.ok::<AccountDetail>();
    world
}

async fn customer(world: &World, name: &str, kind: &str) {
    world.put(&format!("/accounts/shop/customers/{name}"), &json!({ "kind": kind })).await.ok::<Account>();
}

async fn allocated(world: &World, more: Value) -> u64 {
    let mut wanted = json!({ "terms": { "product": "game" }, "quantity": 3 });
    for (name, value) in more.as_object().into_iter().flatten() {
        wanted[name] = value.clone();
    }
    world.post("/accounts/shop/allocations", &wanted).await.ok::<Allocation>().id
}

async fn used(world: &World, id: u64) -> u64 {
    let answer: AllocationsAnswer = world.get("/accounts/shop/allocations").await.ok();
    answer.allocations.into_iter().find(|allocation| allocation.id == id).expect("there").used
}

async fn what_is_given_out_of_an_allocation_is_of_it_and_within_its_time(engine: Engine) {
    let world = world(engine).await;
    let (day, ends) = (24 * 3600, NOW.0 + 1_000_000);
    let id = allocated(&world, json!({ "terms": { "product": "game", "channels": ["beta"] }, "ends": ends })).await;
    customer(&world, "alice", "individual").await;
    customer(&world, "acme", "business").await;
    let give = |account: &str, more: Value| {
        let mut wanted = json!({ "account": account, "allocation": id });
        for (name, value) in more.as_object().into_iter().flatten() {
            wanted[name] = value.clone();
        }
        wanted
    };
    let given: Entitlement = world.post("/entitlements", &give("alice", json!({}))).await.ok();
    assert_eq!((given.allocation, given.ends.map(|ends| ends.0)), (Some(id), Some(ends)), "it lasts as long as it can");
    let shown: Value = world.get(&format!("/entitlements/{}", given.id)).await.ok();
    assert_eq!(shown["terms"]["channels"], json!(["beta"]), "its terms are the allocation's");
    assert_eq!(used(&world, id).await, 1);
    for (more, status) in [
        (json!({ "ends": ends + 1 }), 409),
        (json!({ "starts": NOW.0 - day }), 409),
        (json!({ "starts": ends }), 409),
        (json!({ "terms": { "product": "game" } }), 400),
        (json!({ "ends": NOW.0 }), 400),
    ] {
        let reply = world.post("/entitlements", &give("alice", more.clone())).await;
        assert_eq!(reply.status.as_u16(), status, "{more}");
        assert_eq!(used(&world, id).await, 1, "what is refused takes nothing");
    }
    world.put("/accounts/bob", &json!({})).await.ok::<AccountDetail>();
    let detail = world.post("/entitlements", &give("bob", json!({}))).await.refused(404, "not_found");
    assert!(detail.contains("no customer of shop"), "{detail}");

    // Seats take as many as they are.
    let detail = world.post("/entitlements", &give("acme", json!({ "seats": 3 }))).await.refused(409, "conflict");
    assert!(detail.contains("has 2 left, and this takes 3"), "{detail}");
    let seats: Entitlement = world.post("/entitlements", &give("acme", json!({ "seats": 2 }))).await.ok();
    assert_eq!(used(&world, id).await, 3);
    for _ in 0..2 {
        world.call(Method::DELETE, &format!("/entitlements/{}", seats.id), "").await.ok::<Entitlement>();
        assert_eq!(used(&world, id).await, 1, "given back once");
    }
    world.call(Method::DELETE, &format!("/allocations/{id}"), "").await.ok::<Allocation>();
    let detail = world.post("/entitlements", &give("alice", json!({}))).await.refused(409, "conflict");
    assert!(detail.contains("closed"), "{detail}");
    world.call(Method::DELETE, &format!("/entitlements/{}", given.id), "").await.ok::<Entitlement>();
    assert_eq!(used(&world, id).await, 0);

    world.put("/packages/suite", &json!({ "items": [{ "product": "game" }] })).await.ok::<Package>();
    let wanted = json!({ "package": "suite", "quantity": 1 });
    let package: Allocation = world.post("/accounts/shop/allocations", &wanted).await.ok();
    let give = json!({ "account": "alice", "allocation": package.id });
    world.put("/accounts/shop", &json!({ "standing": "suspended" })).await.ok::<AccountDetail>();
    world.post("/entitlements", &give).await.refused(409, "conflict");
    world.put("/accounts/shop", &json!({ "standing": "active" })).await.ok::<AccountDetail>();
    let given: Value = world.post("/entitlements", &give).await.ok();
    assert_eq!(given["package"], "suite");
    assert_eq!(told(&world), slow(&world));
}

async fn customers_are_one_resellers_at_a_time(engine: Engine) {
    let world = world(engine).await;
    world.put("/accounts/rival", &json!({ "kind": "reseller" })).await.ok::<AccountDetail>();
    customer(&world, "alice", "individual").await;
    customer(&world, "acme", "business").await;
    world.put("/accounts/rival/customers/alice", &json!({})).await.refused(409, "conflict");
    world.put("/accounts/alice/customers/bob", &json!({})).await.refused(409, "conflict");
    world.put("/accounts/shop/customers/shop", &json!({})).await.refused(400, "bad_request");
    world.put("/accounts/shop/customers/new", &json!({ "kind": "reseller" })).await.refused(400, "bad_request");
    world.put("/accounts/shop", &json!({ "kind": "business" })).await.refused(409, "conflict");
    assert_eq!(world.put("/accounts/shop/customers/alice", &json!({})).await.status, 200, "it is one already");
    let page: AccountsAnswer = world.get("/accounts/shop/customers?limit=1").await.ok();
    assert_eq!(
        (page.accounts[0].id.as_str(), page.next.map(|next| next.to_string())),
        ("acme", Some("acme".to_owned()))
    );
    world.call(Method::DELETE, "/accounts/rival/customers/alice", "").await.refused(404, "not_found");
    world.call(Method::DELETE, "/accounts/shop/customers/alice", "").await.ok::<Account>();
    let detail: AccountDetail = world.get("/accounts/alice").await.ok();
    assert_eq!(detail.account.seller, None);
    // A change of the account leaves whose customer it is.
    world.put("/accounts/rival/customers/alice", &json!({})).await.ok::<Account>();
    let detail: AccountDetail = world.put("/accounts/alice", &json!({ "standing": "suspended" })).await.ok();
    assert_eq!(detail.account.seller.map(|seller| seller.to_string()), Some("rival".to_owned()));
}

async fn what_cannot_be_allocated_is_refused(engine: Engine) {
    let world = world(engine).await;
    world.put("/accounts/alice", &json!({})).await.ok::<AccountDetail>();
    for (account, body, status) in [
        ("alice", json!({ "terms": { "product": "game" }, "quantity": 1 }), 409),
        ("nobody", json!({ "terms": { "product": "game" }, "quantity": 1 }), 404),
        ("shop", json!({ "terms": { "product": "game" }, "quantity": 0 }), 400),
        ("shop", json!({ "terms": { "product": "game" }, "quantity": u64::MAX }), 400),
        ("shop", json!({ "terms": { "product": "nothing" }, "quantity": 1 }), 404),
        ("shop", json!({ "package": "nothing", "quantity": 1 }), 404),
        ("shop", json!({ "quantity": 1 }), 400),
        ("shop", json!({ "terms": { "product": "game" }, "package": "p", "quantity": 1 }), 400),
        ("shop", json!({ "terms": { "product": "game" }, "quantity": 1, "starts": 9, "ends": 9 }), 400),
    ] {
        let reply = world.post(&format!("/accounts/{account}/allocations"), &body).await;
        assert_eq!(reply.status.as_u16(), status, "{account} {body}");
    }
    world.post("/entitlements", &json!({ "account": "alice", "allocation": 9 })).await.refused(404, "not_found");
    world.call(Method::DELETE, "/allocations/9", "").await.refused(404, "not_found");
}

/// Thirty-two give at once out of ten, some take back, on as many nodes as the engine bears.
async fn many_at_once_never_take_more_than_there_is(engine: Engine) {
    let dir = tempfile::tempdir().expect("temp dir");
    let (database, origin) = (engine.database(dir.path()), MemoryOrigin::new());
    let nodes = if engine == Engine::Postgres { 2 } else { 1 };
    let nodes: Vec<Node> = (0..nodes).map(|_| Node::open(dir.path(), &database, &origin)).collect();
    let node = &nodes[0];
    node.product("game").await;
    node.put("/accounts/shop", &json!({ "kind": "reseller" })).await.ok::<Value>();
    let wanted = json!({ "terms": { "product": "game" }, "quantity": 10 });
    let allocation: Allocation = node.post("/accounts/shop/allocations", &wanted).await.ok();
    for writer in 0..32 {
        node.put(&format!("/accounts/shop/customers/c{writer}"), &json!({})).await.ok::<Value>();
    }
    let mut writers = JoinSet::new();
    for writer in 0..32 {
        let node = nodes[writer % nodes.len()].clone();
        let wanted = json!({ "account": format!("c{writer}"), "allocation": allocation.id });
        writers.spawn(async move {
            let (mut had, mut refused) = (0, 0);
            for round in 0..4 {
                let reply = node.post("/entitlements", &wanted).await;
                if reply.status == 409 {
                    refused += 1;
                    continue;
                }
                let given: Entitlement = reply.ok();
                had += 1;
                if (writer + round) % 3 > 0 {
                    node.delete(&format!("/entitlements/{}", given.id)).await.ok::<Entitlement>();
                    had -= 1;
                }
            }
            (had, refused)
        });
    }
    let done: Vec<(u64, u64)> = writers.join_all().await;
    let (given, refused) = done.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(given <= 10 && refused > 0, "{given} given, {refused} refused");
    let used = || tables(&database, ["SELECT CAST(used AS TEXT) FROM allocations"]).concat().concat();
    assert_eq!(used(), [Some(given.to_string())]);
    // What was taken back can be given again, and no more.
    let wanted = json!({ "account": "c0", "allocation": allocation.id });
    for _ in given..10 {
        node.post("/entitlements", &wanted).await.ok::<Entitlement>();
    }
    node.post("/entitlements", &wanted).await.refused(409, "conflict");
    assert_eq!(used(), [Some("10".to_owned())]);
}
