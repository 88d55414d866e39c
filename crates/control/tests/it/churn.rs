//! What nobody may let grow without an end: rows of what was taken back, accounts that somebody else makes.

use crate::behind::{execute, tables};
use crate::support::{Engine, World, send_as};
use http::Method;
use penstock_core::audit::{AuditAnswer, AuditVerified};
use penstock_core::desk::{Account, AccountDetail, Entitlement, ImportAnswer, User};
use penstock_core::limits::{DELEGATED_ACCOUNTS_MAX, REVOKED_KEPT_MAX};
use serde_json::{Value, json};

crate::on_both_engines! {
    an_account_keeps_the_newest_of_what_was_taken_back,
    a_party_makes_so_many_accounts_and_the_studio_more,
    an_import_says_account_by_account_what_it_changed,
}

async fn an_account_keeps_the_newest_of_what_was_taken_back(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    for account in ["alice", "bob"] {
        world.put(&format!("/accounts/{account}"), &json!({})).await.ok::<AccountDetail>();
    }
    world.put("/accounts/acme", &json!({ "kind": "business" })).await.ok::<AccountDetail>();
    let give = async |account: &str| {
        let wanted = json!({ "account": account, "terms": { "product": "game" } });
        world.post("/entitlements", &wanted).await.ok::<Entitlement>().id
    };
    let (kept, others) = (give("alice").await, give("bob").await);
    let old = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})
         INSERT INTO entitlements (id, account, terms, starts, granted, revoked)
         SELECT 1000 + i, 'alice', 1, 0, 1, 1 + i FROM n",
        REVOKED_KEPT_MAX + 5
    );
    execute(&world.database, &old);
    world.put("/accounts/acme/users/bob", &json!({})).await.ok::<User>();
    // One of the oldest had seats.
    execute(&world.database, "INSERT INTO seats (entitlement, account, given) VALUES (1001, 'bob', 1)");
    let last = give("alice").await;
    world.call(Method::DELETE, &format!("/entitlements/{last}"), "").await.ok::<Entitlement>();
    let shown: AccountDetail = world.get("/accounts/alice").await.ok();
    assert_eq!(shown.entitlements.len(), 1 + REVOKED_KEPT_MAX);
    assert_eq!(
        shown.entitlements.iter().filter(|one| one.revoked.is_none()).map(|one| one.id).collect::<Vec<_>>(),
        [kept]
    );
    let ids: Vec<u64> = shown.entitlements.iter().map(|one| one.id).collect();
    assert!(ids.contains(&last) && !ids.contains(&1006) && ids.contains(&1007), "the oldest go");
    let [seats] = tables(&world.database, ["SELECT account FROM seats"]);
    assert!(seats.is_empty());
    world.get(&format!("/entitlements/{others}")).await.ok::<Entitlement>();
    world.get("/entitlements/1001").await.refused(404, "not_found");
}

async fn a_party_makes_so_many_accounts_and_the_studio_more(engine: Engine) {
    let world = World::new(engine);
    for (account, kind) in [("shop", "reseller"), ("shopping", "business")] {
        world.put(&format!("/accounts/{account}"), &json!({ "kind": kind })).await.ok::<AccountDetail>();
    }
    let secret = world.credential(&json!({ "name": "shop", "role": "reseller", "account": "shop" })).await;
    let network = world.network();
    let add = async |name: &str| {
        send_as(&network, &secret, Method::PUT, &format!("/own/customers/shop%2F{name}"), &json!({})).await
    };
    let many = |count: usize, prefix: &str, start: usize| {
        let pseudonym = match engine {
            Engine::Sqlite => "CAST(printf('%016d', i) AS BLOB)",
            Engine::Postgres => "convert_to(lpad(i::text, 16, '0'), 'UTF8')",
        };
        format!(
            "WITH RECURSIVE n (i) AS (SELECT {start} UNION ALL SELECT i + 1 FROM n WHERE i < {start} + {count} - 1)
             INSERT INTO accounts (id, pseudonym, kind, standing, created)
             SELECT '{prefix}' || i, {pseudonym}, 'individual', 'active', 1 FROM n"
        )
    };
    execute(&world.database, &many(50, "shop", 1));
    execute(&world.database, &many(DELEGATED_ACCOUNTS_MAX - 1, "shop/", 1000));
    assert_eq!(add("last").await.status, 201, "names beside its own do not count");
    let detail = add("more").await.refused(409, "conflict");
    assert!(detail.contains("100000") && detail.contains("studio"), "{detail}");
    assert_eq!(add("last").await.status, 200, "those that are there it keeps in hand");
    world.put("/accounts/shop/customers/shop%2Fmore", &json!({})).await.ok::<Account>();
}

async fn an_import_says_account_by_account_what_it_changed(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    world.put("/accounts/acme", &json!({ "kind": "business" })).await.ok::<AccountDetail>();
    world.put("/accounts/old", &json!({ "attributes": { "beta": true } })).await.ok::<AccountDetail>();
    world.put("/accounts/acme/users/ann", &json!({})).await.ok::<User>();
    let seats = json!({ "account": "acme", "terms": { "product": "game" }, "seats": 2 });
    let seats = world.post("/entitlements", &seats).await.ok::<Entitlement>().id;
    let game = json!({ "product": "game" });
    let lines = json!([
        { "account": "old", "standing": "suspended" },
        { "account": "old", "terms": game, "ends": 4_000_000_000_u64 },
        { "account": "new1", "terms": game },
        { "account": "new2", "terms": game, "company": "acme", "seat": seats },
        { "account": "ann", "company": "acme", "role": "admin" },
    ]);
    let answer: ImportAnswer = world.post("/imports", &json!({ "lines": lines })).await.ok();
    assert_eq!((answer.accounts, answer.changed, answer.refused.len()), (2, 1, 0), "{answer:?}");
    let audit: AuditAnswer = world.get("/audit?subject=import/1").await.ok();
    let [whole, part] = audit.entries.as_slice() else { panic!("{:?}", audit.entries) };
    assert_eq!((whole.verb.as_str(), part.verb.as_str()), ("import", "import.part"));
    assert_eq!(part.before["changed"][0]["standing"], "active");
    assert_eq!(part.before["users"][0]["role"], "member");
    let after = &part.after;
    assert_eq!(
        (&after["changed"][0]["account"], &after["changed"][0]["standing"]),
        (&json!("old"), &json!("suspended"))
    );
    assert_eq!(after["changed"][0]["attributes"], json!({ "beta": true }));
    assert_eq!(after["made"][0]["accounts"], json!(["new1", "new2"]));
    let users: Vec<&Value> = after["users"].as_array().expect("users").iter().map(|user| &user["account"]).collect();
    assert_eq!(users, [&json!("ann"), &json!("new2")]);
    assert_eq!(after["seats"], json!([{ "entitlement": seats, "accounts": ["new2"] }]));
    // The numbers are those that the entitlements have.
    let mut said = 0;
    for group in after["given"].as_array().expect("groups") {
        let first = group["first"].as_u64().expect("a number");
        for (number, account) in (first..).zip(group["accounts"].as_array().expect("names")) {
            let given: Entitlement = world.get(&format!("/entitlements/{number}")).await.ok();
            assert_eq!(given.account.as_str(), account.as_str().expect("a name"));
            assert_eq!(given.ends.map(|ends| ends.0), group["ends"].as_u64());
            said += 1;
        }
    }
    assert_eq!(said, 3);
    // The same lines again change nothing, and say so.
    world.post("/imports", &json!({ "lines": lines })).await.ok::<ImportAnswer>();
    assert_eq!(world.get("/audit?subject=import/2").await.ok::<AuditAnswer>().entries.len(), 1);
    // A full request is a handful of entries, each of which is kept whole.
    let many: Vec<Value> = (0..5000).map(|n| json!({ "account": format!("player-{n}"), "terms": game })).collect();
    world.post("/imports", &json!({ "lines": many })).await.ok::<ImportAnswer>();
    let audit: AuditAnswer = world.get("/audit?subject=import/3").await.ok();
    assert!((3..12).contains(&audit.entries.len()), "{}", audit.entries.len());
    let names = |section: &str| -> usize {
        let groups = audit.entries.iter().filter_map(|entry| entry.after[section].as_array()).flatten();
        groups.map(|group| group["accounts"].as_array().map_or(0, Vec::len)).sum()
    };
    assert_eq!((names("made"), names("given")), (5000, 5000));
    assert!(audit.entries.iter().all(|entry| entry.after.get("blake3").is_none()));
    assert!(world.get("/audit/verify").await.ok::<AuditVerified>().whole);
}
