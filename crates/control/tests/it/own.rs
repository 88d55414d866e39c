//! What a company and a reseller do with credentials of their own, and that it stays within what is theirs.

use crate::behind::execute;
use crate::facts::{slow, told};
use crate::support::{Engine, NOW, Reply, World, send_as};
use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use penstock_core::api::TokenAnswer;
use penstock_core::audit::AuditAnswer;
use penstock_core::desk::{
    Account, AccountDetail, AccountsAnswer, Allocation, AllocationsAnswer, Entitlement, Package, Seat, SeatsAnswer,
    User, UsersAnswer,
};
use penstock_core::limits::DELEGATED_LIFE_SECONDS_MAX;
use serde_json::{Value, json};

crate::on_both_engines! {
    a_company_runs_its_users_and_seats_and_nobody_elses,
    a_reseller_gives_what_was_allocated_to_its_own_customers,
    a_token_that_is_handed_on_is_never_wider_than_what_was_given,
    who_is_not_served_changes_nothing_in_its_own_name,
    an_admin_acts_for_its_company_as_long_as_it_is_one,
    a_credential_whose_account_is_lost_acts_for_nobody,
    who_has_a_seat_is_not_taken_in_by_a_reseller,
}

/// Somebody with a credential.
struct Caller {
    network: Router,
    secret: String,
}

impl Caller {
    async fn new(world: &World, role: &str, account: &str) -> Self {
        let name = format!("{role}.{account}");
        let secret = world.credential(&json!({ "name": name, "role": role, "account": account })).await;
        Self { network: world.network(), secret }
    }
    async fn call(&self, method: Method, path: &str, body: Value) -> Reply {
        send_as(&self.network, &self.secret, method, path, &body).await
    }
    async fn put(&self, path: &str) -> Reply {
        self.call(Method::PUT, path, json!({})).await
    }
    async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, Value::Null).await
    }
    async fn delete(&self, path: &str) -> Reply {
        self.call(Method::DELETE, path, Value::Null).await
    }
    async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, body).await
    }
}

async fn world(engine: Engine) -> World {
    let world = World::new(engine);
    for product in ["game", "tools", "other"] {
        world.product(product, "licensed").await;
    }
    for (account, kind) in [("acme", "business"), ("rival", "business"), ("shop", "reseller"), ("mart", "reseller")] {
        world.put(&format!("/accounts/{account}"), &json!({ "kind": kind })).await.ok::<AccountDetail>();
    }
    world
}

async fn seats(world: &World, account: &str) -> u64 {
    let wanted = json!({ "account": account, "terms": { "product": "game" }, "seats": 2 });
    world.post("/entitlements", &wanted).await.ok::<Entitlement>().id
}

async fn a_company_runs_its_users_and_seats_and_nobody_elses(engine: Engine) {
    let world = world(engine).await;
    let (ours, theirs) = (seats(&world, "acme").await, seats(&world, "rival").await);
    world.put("/accounts/rival/users/eve", &json!({})).await.ok::<User>();
    world.put("/accounts/alice", &json!({})).await.ok::<AccountDetail>();
    let acme = Caller::new(&world, "company", "acme").await;
    let jane = "/own/users/acme%2Fjane";
    assert_eq!(acme.put(jane).await.status, 201);
    assert_eq!(acme.put(&format!("/own/entitlements/{ours}/seats/acme%2Fjane")).await.status, 201);
    let shown: AccountDetail = acme.get("/own").await.ok();
    assert_eq!((shown.account.id.as_str(), shown.entitlements[0].seats_taken), ("acme", Some(1)));
    assert_eq!(acme.get("/own/users").await.ok::<UsersAnswer>().users.len(), 1);
    let holders: SeatsAnswer = acme.get(&format!("/own/entitlements/{ours}/seats")).await.ok();
    assert_eq!(holders.holders.len(), 1);

    // Names that are not below its own, whether or not they are there: the answers are alike.
    let mut answers = Vec::new();
    for name in ["alice", "eve", "nobody", "rival", "acmes%2Fjane"] {
        let detail = acme.put(&format!("/own/users/{name}")).await.refused(403, "admin_forbidden");
        answers.push(detail.replace(&name.replace("%2F", "/"), "NAME"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    acme.delete("/own/users/eve").await.refused(404, "not_found");
    for path in [format!("/own/entitlements/{theirs}/seats"), "/own/entitlements/99/seats".to_owned()] {
        acme.get(&path).await.refused(404, "not_found");
    }
    acme.put(&format!("/own/entitlements/{theirs}/seats/eve")).await.refused(404, "not_found");
    acme.put(&format!("/own/entitlements/{ours}/seats/eve")).await.refused(404, "not_found");
    // What is a reseller's, and what is the studio's.
    let gift = json!({ "account": "acme/jane", "terms": { "product": "other" } });
    acme.post("/own/entitlements", gift.clone()).await.refused(403, "admin_forbidden");
    acme.get("/own/allocations").await.refused(403, "admin_forbidden");
    acme.put("/own/customers/acme%2Fbob").await.refused(403, "admin_forbidden");
    acme.delete(&format!("/own/entitlements/{ours}")).await.refused(403, "admin_forbidden");
    acme.post("/entitlements", gift).await.refused(403, "admin_forbidden");
    acme.put("/accounts/acme/users/acme%2Fbob").await.refused(403, "admin_forbidden");
    acme.post("/tokens", json!({ "sub": "alice", "ttl_seconds": 60 })).await.refused(403, "admin_forbidden");
    // Who left and came to hold something else is the studio's to bring back.
    acme.delete(jane).await.ok::<User>();
    assert_eq!(acme.put(jane).await.status, 201, "who holds nothing else comes back");
    acme.delete(jane).await.ok::<User>();
    let own = json!({ "account": "acme/jane", "terms": { "product": "other" } });
    world.post("/entitlements", &own).await.ok::<Entitlement>();
    acme.put(jane).await.refused(403, "admin_forbidden");
    assert_eq!(told(&world), slow(&world));
}

async fn a_reseller_gives_what_was_allocated_to_its_own_customers(engine: Engine) {
    let world = world(engine).await;
    let wanted = json!({ "terms": { "product": "game" }, "quantity": 1 });
    let ours: Allocation = world.post("/accounts/shop/allocations", &wanted).await.ok();
    let theirs: Allocation = world.post("/accounts/mart/allocations", &wanted).await.ok();
    world.put("/accounts/mart/customers/zoe", &json!({})).await.ok::<Account>();
    let shop = Caller::new(&world, "reseller", "shop").await;
    assert_eq!(shop.put("/own/customers/shop%2Fbob").await.status, 201);
    let list: AllocationsAnswer = shop.get("/own/allocations").await.ok();
    assert_eq!((list.allocations.len(), list.allocations[0].id), (1, ours.id));
    let give = |account: &str, allocation: u64| json!({ "account": account, "allocation": allocation });
    shop.post("/own/entitlements", give("zoe", ours.id)).await.refused(404, "not_found");
    shop.post("/own/entitlements", give("shop/bob", theirs.id)).await.refused(404, "not_found");
    let bare = json!({ "account": "shop/bob", "terms": { "product": "game" } });
    shop.post("/own/entitlements", bare).await.refused(403, "admin_forbidden");
    let given: Entitlement = shop.post("/own/entitlements", give("shop/bob", ours.id)).await.ok();
    shop.post("/own/entitlements", give("shop/bob", ours.id)).await.refused(409, "conflict");
    // It takes back what it gave, and nothing else.
    let direct = json!({ "account": "shop/bob", "terms": { "product": "tools" } });
    let direct: Entitlement = world.post("/entitlements", &direct).await.ok();
    shop.delete(&format!("/own/entitlements/{}", direct.id)).await.refused(404, "not_found");
    let revoked: Entitlement = shop.delete(&format!("/own/entitlements/{}", given.id)).await.ok();
    assert!(revoked.revoked.is_some());
    for name in ["zoe", "alice", "shop", "mart%2Fx"] {
        shop.put(&format!("/own/customers/{name}")).await.refused(403, "admin_forbidden");
    }
    shop.put("/own/users/shop%2Fx").await.refused(403, "admin_forbidden");
    shop.delete("/own/customers/zoe").await.refused(404, "not_found");
    assert_eq!(shop.get("/own/customers").await.ok::<AccountsAnswer>().accounts.len(), 1);
    shop.delete("/own/customers/shop%2Fbob").await.ok::<Account>();
    assert_eq!(told(&world), slow(&world));
}

fn claims(answer: &TokenAnswer) -> Value {
    let part = answer.token.split('.').nth(1).expect("claims");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

async fn a_token_that_is_handed_on_is_never_wider_than_what_was_given(engine: Engine) {
    let world = world(engine).await;
    world
        .put("/packages/suite", &json!({ "items": [{ "product": "game" }, { "product": "tools" }] }))
        .await
        .ok::<Package>();
    let wanted = json!({ "account": "acme", "package": "suite", "seats": 2 });
    let id = world.post("/entitlements", &wanted).await.ok::<Entitlement>().id;
    // The studio itself made a customer of another product a user.
    world.put("/accounts/acme/users/ann", &json!({})).await.ok::<User>();
    let own = json!({ "account": "ann", "terms": { "product": "other" } });
    world.post("/entitlements", &own).await.ok::<Entitlement>();
    world.put(&format!("/entitlements/{id}/seats/ann"), &json!({})).await.ok::<Seat>();
    let acme = Caller::new(&world, "company", "acme").await;
    let rival = Caller::new(&world, "company", "rival").await;
    let wish = |sub: &str, products: &[&str], ttl: u64| json!({ "sub": sub, "products": products, "ttl_seconds": ttl });
    let minted: TokenAnswer = acme.post("/own/tokens", wish("ann", &[], 60)).await.ok();
    let said = claims(&minted);
    assert_eq!(
        (said["sub"].as_str(), &said["products"]),
        (Some("ann"), &json!(["game", "tools"])),
        "not all she holds"
    );
    assert!(said["jti"].is_string());
    let minted: TokenAnswer = acme.post("/own/tokens", wish("ann", &["tools"], DELEGATED_LIFE_SECONDS_MAX)).await.ok();
    assert_eq!(claims(&minted)["products"], json!(["tools"]));
    acme.post("/own/tokens", wish("ann", &["other"], 60)).await.refused(403, "admin_forbidden");
    acme.post("/own/tokens", wish("ann", &[], DELEGATED_LIFE_SECONDS_MAX + 1)).await.refused(400, "bad_request");
    acme.post("/own/tokens", wish("ann", &[], 0)).await.refused(400, "bad_request");
    for stranger in ["nobody", "acme", "shop", "a\nb"] {
        acme.post("/own/tokens", wish(stranger, &[], 60)).await.refused(403, "admin_forbidden");
    }
    rival.post("/own/tokens", wish("ann", &[], 60)).await.refused(403, "admin_forbidden");
    world.call(Method::DELETE, &format!("/entitlements/{id}/seats/ann"), "").await.ok::<Value>();
    acme.post("/own/tokens", wish("ann", &[], 60)).await.refused(409, "conflict");
    world.put(&format!("/entitlements/{id}/seats/ann"), &json!({})).await.ok::<Seat>();
    world.put("/accounts/acme", &json!({ "standing": "suspended" })).await.ok::<AccountDetail>();
    acme.post("/own/tokens", wish("ann", &[], 60)).await.refused(403, "admin_forbidden");

    let allocation = json!({ "terms": { "product": "game" }, "quantity": 5 });
    let allocation: Allocation = world.post("/accounts/shop/allocations", &allocation).await.ok();
    let shop = Caller::new(&world, "reseller", "shop").await;
    shop.put("/own/customers/shop%2Fbob").await.ok::<Account>();
    shop.post("/own/tokens", wish("shop/bob", &[], 60)).await.refused(409, "conflict");
    let gift = json!({ "account": "shop/bob", "allocation": allocation.id });
    shop.post("/own/entitlements", gift).await.ok::<Entitlement>();
    let minted: TokenAnswer = shop.post("/own/tokens", wish("shop/bob", &[], 60)).await.ok();
    assert_eq!(claims(&minted)["products"], json!(["game"]));
    shop.post("/own/tokens", wish("ann", &[], 60)).await.refused(403, "admin_forbidden");
}

async fn who_is_not_served_changes_nothing_in_its_own_name(engine: Engine) {
    let world = world(engine).await;
    let id = seats(&world, "acme").await;
    let wanted = json!({ "terms": { "product": "game" }, "quantity": 5 });
    let allocation: Allocation = world.post("/accounts/shop/allocations", &wanted).await.ok();
    let acme = Caller::new(&world, "company", "acme").await;
    let shop = Caller::new(&world, "reseller", "shop").await;
    acme.put("/own/users/acme%2Fjane").await.ok::<User>();
    acme.put(&format!("/own/entitlements/{id}/seats/acme%2Fjane")).await.ok::<Seat>();
    shop.put("/own/customers/shop%2Fbob").await.ok::<Account>();
    let gift = json!({ "account": "shop/bob", "allocation": allocation.id });
    let given: Entitlement = shop.post("/own/entitlements", gift.clone()).await.ok();
    let token = |sub: &str| json!({ "sub": sub, "ttl_seconds": 60 });
    for standing in ["suspended", "on_hold", "denied"] {
        for account in ["acme", "shop"] {
            world.put(&format!("/accounts/{account}"), &json!({ "standing": standing })).await.ok::<AccountDetail>();
        }
        let before = world.get("/audit").await.ok::<Value>();
        for refused in [
            acme.put("/own/users/acme%2Fzoe").await,
            acme.delete("/own/users/acme%2Fjane").await,
            acme.put(&format!("/own/entitlements/{id}/seats/acme%2Fjane")).await,
            acme.delete(&format!("/own/entitlements/{id}/seats/acme%2Fjane")).await,
            acme.post("/own/tokens", token("acme/jane")).await,
            shop.put("/own/customers/shop%2Fzoe").await,
            shop.delete("/own/customers/shop%2Fbob").await,
            shop.post("/own/entitlements", gift.clone()).await,
            shop.delete(&format!("/own/entitlements/{}", given.id)).await,
            shop.post("/own/tokens", token("shop/bob")).await,
        ] {
            assert!(refused.refused(403, "admin_forbidden").contains("not active"), "{standing}");
        }
        assert_eq!(world.get("/audit").await.ok::<Value>(), before);
        // It may look.
        acme.get("/own").await.ok::<AccountDetail>();
        assert_eq!(acme.get("/own/users").await.ok::<UsersAnswer>().users.len(), 1);
        assert_eq!(shop.get("/own/customers").await.ok::<AccountsAnswer>().accounts.len(), 1);
    }
    world.put("/accounts/acme", &json!({ "standing": "active" })).await.ok::<AccountDetail>();
    acme.post("/own/tokens", token("acme/jane")).await.ok::<TokenAnswer>();
}

async fn an_admin_acts_for_its_company_as_long_as_it_is_one(engine: Engine) {
    let world = world(engine).await;
    let id = seats(&world, "acme").await;
    let credential = |name: &str| json!({ "name": format!("{name}.pc"), "role": "company", "account": name });
    for (user, role) in [("ann", "admin"), ("bob", "member")] {
        world.put(&format!("/accounts/acme/users/{user}"), &json!({ "role": role })).await.ok::<User>();
    }
    world.put("/accounts/eve", &json!({})).await.ok::<AccountDetail>();
    for nobody in ["bob", "eve", "shop"] {
        let detail = world.post("/credentials", &credential(nobody)).await.refused(400, "bad_request");
        assert!(detail.contains("admins"), "{detail}");
    }
    let secret = world.credential(&credential("ann")).await;
    let ann = Caller { network: world.network(), secret };
    let shown: AccountDetail = ann.get("/own").await.ok();
    assert_eq!(shown.account.id.as_str(), "acme");
    ann.put(&format!("/own/entitlements/{id}/seats/bob")).await.ok::<Seat>();
    ann.put("/own/users/acme%2Fjane").await.ok::<User>();
    ann.post("/own/tokens", json!({ "sub": "bob", "ttl_seconds": 60 })).await.ok::<TokenAnswer>();
    // New names are below the company's, not below hers.
    ann.put("/own/users/ann%2Fx").await.refused(403, "admin_forbidden");

    world.put("/accounts/ann", &json!({ "standing": "suspended" })).await.ok::<AccountDetail>();
    assert!(ann.put("/own/users/acme%2Fzoe").await.refused(403, "admin_forbidden").contains("ann is not active"));
    ann.get("/own/users").await.ok::<UsersAnswer>();
    world.put("/accounts/ann", &json!({ "standing": "active" })).await.ok::<AccountDetail>();
    ann.put("/own/users/acme%2Fzoe").await.ok::<User>();
    world.put("/accounts/acme/users/ann", &json!({ "role": "member" })).await.ok::<User>();
    assert!(ann.get("/own").await.refused(403, "admin_forbidden").contains("admins"));
    world.put("/accounts/acme/users/ann", &json!({ "role": "admin" })).await.ok::<User>();
    ann.get("/own").await.ok::<AccountDetail>();
    world.call(Method::DELETE, "/accounts/acme/users/ann", "").await.ok::<User>();
    ann.get("/own").await.refused(403, "admin_forbidden");
}

async fn a_credential_whose_account_is_lost_acts_for_nobody(engine: Engine) {
    let world = world(engine).await;
    let acme = Caller::new(&world, "company", "acme").await;
    let owner =
        Caller { network: world.network(), secret: world.credential(&json!({ "name": "o", "role": "owner" })).await };
    acme.get("/own").await.ok::<AccountDetail>();
    execute(&world.database, "UPDATE credentials SET account = NULL WHERE role = 'company'");
    execute(&world.database, "UPDATE credentials SET account = 'acme' WHERE role = 'owner'");
    for call in [
        acme.get("/own").await,
        acme.post("/own/tokens", json!({ "sub": "x", "ttl_seconds": 60 })).await,
        owner.get("/products").await,
    ] {
        call.refused(500, "internal");
    }
}

async fn who_has_a_seat_is_not_taken_in_by_a_reseller(engine: Engine) {
    let world = world(engine).await;
    let id = seats(&world, "acme").await;
    world.put("/accounts/acme/users/shop%2Fbob", &json!({})).await.ok::<User>();
    world.put(&format!("/entitlements/{id}/seats/shop%2Fbob"), &json!({})).await.ok::<Seat>();
    let shop = Caller::new(&world, "reseller", "shop").await;
    shop.put("/own/customers/shop%2Fbob").await.refused(403, "admin_forbidden");
    // What it lost says the audit, because nothing else does.
    world.call(Method::DELETE, "/accounts/acme/users/shop%2Fbob", "").await.ok::<User>();
    let audit: AuditAnswer = world.get("/audit?subject=account/acme/user/shop%2Fbob").await.ok();
    let last = audit.entries.last().expect("an entry");
    assert_eq!((last.verb.as_str(), &last.before["account"]), ("user.remove", &json!("shop/bob")));
    assert_eq!(last.before["seats"], json!({ id.to_string(): NOW.0 }));
    shop.put("/own/customers/shop%2Fbob").await.ok::<Account>();
}
