//! Accounts and entitlements: what edges are told of them, after each change, after a restart, by a snapshot.

use crate::support::{Engine, World};
use http::Method;
use penstock_core::account::{AccountFacts, AccountKey, DeviceKey, Standing};
use penstock_core::blob::BlobId;
use penstock_core::catalog::CatalogChange;
use penstock_core::desk::{AccountDetail, AccountsAnswer, Entitlement, ImportAnswer, SnapshotAnswer, StatusAnswer};
use penstock_core::snapshot::Snapshot;
use penstock_origin::Origin as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;

crate::on_both_engines! {
    every_change_of_an_account_is_told_whole,
    what_is_told_after_a_restart_is_what_was_told_last,
    a_snapshot_holds_what_was_told_and_a_restart_begins_with_it,
    malformed_accounts_and_entitlements_are_refused_by_field,
    accounts_are_listed_page_by_page,
    an_import_takes_what_is_good_names_what_is_not_and_may_be_repeated,
}

/// The facts that were told last of each account.
fn told(world: &World) -> BTreeMap<AccountKey, AccountFacts> {
    let mut told = BTreeMap::new();
    for change in world.sink.all() {
        if let CatalogChange::Account { account, facts } = change {
            match facts {
                Some(facts) => told.insert(account, facts),
                None => told.remove(&account),
            };
        }
    }
    told
}

fn last(world: &World) -> AccountFacts {
    match world.sink.all().pop() {
        Some(CatalogChange::Account { facts: Some(facts), .. }) => facts,
        other => panic!("an account was told last, not {other:?}"),
    }
}

async fn grant(world: &World, account: &str, more: &Value) -> Entitlement {
    let mut wanted = json!({ "account": account, "terms": { "product": "game" } });
    for (name, value) in more.as_object().into_iter().flatten() {
        wanted[name] = value.clone();
    }
    let reply = world.post("/entitlements", &wanted).await;
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    reply.ok()
}

async fn every_change_of_an_account_is_told_whole(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    let reply = world.put("/accounts/alice", &json!({})).await;
    assert_eq!(reply.status, 201);
    assert_eq!(last(&world), AccountFacts::default());
    let given = grant(&world, "alice", &json!({ "ends": 4_000_000_000_u64 })).await;
    assert_eq!(last(&world).holdings.len(), 1);
    assert_eq!(last(&world).holdings[0].terms.product.as_str(), "game");
    grant(&world, "alice", &json!({ "terms": { "product": "game", "channels": ["beta"], "expiry": "revoke" } })).await;
    assert_eq!(last(&world).holdings.len(), 2);

    let before = world.sink.all().len();
    let changed = json!({ "standing": "suspended", "devices": ["pc-1"], "agreements": ["eula@3"] });
    let reply = world.put("/accounts/alice", &changed).await;
    assert_eq!(reply.status, 200);
    let facts = last(&world);
    assert_eq!((facts.standing, facts.holdings.len()), (Standing::Suspended, 2), "what it holds stays");
    let extras = facts.extras.expect("it has some");
    assert!(extras.agreements.contains("eula@3") && extras.devices.len() == 1);
    assert!(!extras.devices.contains(&DeviceKey(*b"pc-1\0\0\0\0")), "under a pseudonym");
    world.put("/accounts/alice", &changed).await.ok::<AccountDetail>();
    assert_eq!(world.sink.all().len(), before + 1, "the same again is no change");

    world.put("/accounts/alice", &json!({ "end_tokens": true })).await.ok::<AccountDetail>();
    assert!(last(&world).tokens_from.is_some());
    let revoked: Entitlement = world.call(Method::DELETE, &format!("/entitlements/{}", given.id), "").await.ok();
    assert!(revoked.revoked.is_some());
    assert_eq!(last(&world).holdings.len(), 1);
    let count = world.sink.all().len();
    world.call(Method::DELETE, &format!("/entitlements/{}", given.id), "").await.ok::<Entitlement>();
    assert_eq!(world.sink.all().len(), count, "taken back once");
    let detail: AccountDetail = world.get("/accounts/alice").await.ok();
    assert_eq!(detail.entitlements.len(), 2, "nothing is forgotten");
    let text = format!("{:?}", world.sink.all());
    assert!(!text.contains("alice") && !text.contains("pc-1"), "edges learn no names");
    assert_eq!(world.get("/status").await.ok::<StatusAnswer>().accounts, 1);
}

/// Names that need care in a path.
const NAMES: [&str; 4] = ["alice", "bob%40example.com", "steam%3A7656", "%C3%A9lodie%20%2F%20b"];

async fn filled(engine: Engine) -> World {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    for (number, name) in NAMES.iter().enumerate() {
        let wanted =
            json!({ "attributes": { "score": number }, "standing": if number == 2 { "on_hold" } else { "active" } });
        let made: AccountDetail = world.put(&format!("/accounts/{name}"), &wanted).await.ok();
        for _ in 0..number {
            grant(&world, made.account.id.as_str(), &json!({ "starts": 5, "ends": 4_000_000_000_u64 })).await;
        }
    }
    world
}

async fn what_is_told_after_a_restart_is_what_was_told_last(engine: Engine) {
    let world = filled(engine).await;
    let before = told(&world);
    assert_eq!(before.len(), NAMES.len());
    let world = world.restarted();
    assert_eq!(told(&world), before);
}

async fn a_snapshot_holds_what_was_told_and_a_restart_begins_with_it(engine: Engine) {
    let world = filled(engine).await;
    let before = told(&world);
    let reply = world.post("/snapshots", &json!({})).await;
    assert_eq!(reply.status, 201);
    let made: SnapshotAnswer = reply.ok();
    let Some(CatalogChange::AccountsSnapshot { blob, sequence, notice }) = world.sink.all().pop() else {
        panic!("told")
    };
    assert_eq!((blob, sequence), (made.blob, made.sequence));
    let read =
        |blob: BlobId| Snapshot::new(world.origin.read_all(&blob, 1 << 30).expect("stored")).expect("a snapshot");
    let snapshot = read(blob);
    assert_eq!((snapshot.sequence(), snapshot.len()), (sequence, NAMES.len()));
    for (account, facts) in &before {
        assert_eq!(snapshot.get(account).expect("sound").as_ref(), Some(facts));
    }
    // Later changes come one by one, on top of it.
    world.put("/accounts/zoe", &json!({})).await.ok::<AccountDetail>();
    world.put("/accounts/alice", &json!({ "standing": "denied" })).await.ok::<AccountDetail>();
    let world = world.restarted();
    let accounts = |change: &CatalogChange| {
        matches!(change, CatalogChange::Account { .. } | CatalogChange::AccountsSnapshot { .. })
    };
    let replayed: Vec<CatalogChange> = world.sink.all().into_iter().filter(accounts).collect();
    assert_eq!(replayed.len(), 3, "{replayed:?}");
    assert_eq!(replayed[0], CatalogChange::AccountsSnapshot { blob, sequence, notice });
    assert_eq!(told(&world).len(), 2);

    // Two are kept, the ones before go.
    let mut blobs = vec![blob];
    for number in 0..3 {
        world.put(&format!("/accounts/more-{number}"), &json!({})).await.ok::<AccountDetail>();
        blobs.push(world.post("/snapshots", &json!({})).await.ok::<SnapshotAnswer>().blob);
    }
    let stored: Vec<bool> = blobs.iter().map(|blob| world.origin.size_of(blob).expect("looked").is_some()).collect();
    assert_eq!(stored, [false, false, true, true]);
    // One that was lost is no reason not to start: every account is told by itself.
    assert!(world.origin.remove(&blobs[3]).expect("removed"));
    let world = world.restarted();
    assert_eq!(told(&world).len(), NAMES.len() + 1 + 3);
}

async fn malformed_accounts_and_entitlements_are_refused_by_field(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    world.put("/accounts/alice", &json!({})).await.ok::<AccountDetail>();
    let many: Vec<String> = (0..65).map(|number| format!("d{number}")).collect();
    for (wanted, field) in [
        (json!({ "standing": "gone" }), "standing"),
        (json!({ "kind": "robot" }), "kind"),
        (json!({ "agreements": ["eula"] }), "name@version"),
        (json!({ "devices": [""] }), "devices"),
        (json!({ "attributes": { "": 1 } }), "attributes"),
        (json!({ "attributes": { "x": 1.5 } }), "attributes"),
        (json!({ "name": "Alice" }), "name"),
    ] {
        let detail = world.put("/accounts/alice", &wanted).await.refused(400, "bad_request");
        assert!(detail.contains(field), "{wanted}: {detail}");
    }
    world.put("/accounts/alice", &json!({ "devices": many })).await.refused(413, "body_too_large");
    world.put(&format!("/accounts/{}", "a".repeat(300)), &json!({})).await.refused(400, "bad_request");
    let good = || json!({ "account": "alice", "terms": { "product": "game" } });
    for (change, status, code) in [
        (json!({ "account": "nobody" }), 404, "not_found"),
        (json!({ "terms": { "product": "nothing" } }), 404, "not_found"),
        (json!({ "terms": { "product": "game", "regions": ["Germany"] } }), 400, "bad_request"),
        (json!({ "terms": { "product": "game", "agreement": "x" } }), 400, "bad_request"),
        (json!({ "terms": { "product": "game", "components": ["../x"] } }), 400, "bad_request"),
        (json!({ "starts": 10, "ends": 10 }), 400, "bad_request"),
        (json!({ "until": 10 }), 400, "bad_request"),
    ] {
        let mut wanted = good();
        for (name, value) in change.as_object().expect("an object") {
            wanted[name] = value.clone();
        }
        world.post("/entitlements", &wanted).await.refused(status, code);
    }
    world.get("/accounts/nobody").await.refused(404, "not_found");
    world.get("/entitlements/99").await.refused(404, "not_found");
    world.call(Method::DELETE, "/entitlements/99", "").await.refused(404, "not_found");
    assert_eq!(told(&world).len(), 1, "nothing was told of what was refused");
}

async fn accounts_are_listed_page_by_page(engine: Engine) {
    let world = World::new(engine);
    for number in 0..7 {
        world.put(&format!("/accounts/a{number}"), &json!({})).await.ok::<AccountDetail>();
    }
    let mut names = Vec::new();
    let mut path = "/accounts?limit=3".to_owned();
    loop {
        let page: AccountsAnswer = world.get(&path).await.ok();
        assert!(page.accounts.len() <= 3);
        names.extend(page.accounts.into_iter().map(|account| account.id.to_string()));
        let Some(next) = page.next else { break };
        path = format!("/accounts?limit=3&after={next}");
    }
    assert_eq!(names, (0..7).map(|number| format!("a{number}")).collect::<Vec<_>>());
}

async fn an_import_takes_what_is_good_names_what_is_not_and_may_be_repeated(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    world.put("/accounts/old", &json!({ "agreements": ["eula@1"] })).await.ok::<AccountDetail>();
    grant(&world, "old", &json!({ "starts": 0 })).await;
    let told_before = world.sink.all().len();
    let game = json!({ "product": "game" });
    let lines = json!([
        { "account": "new" },
        { "account": "new", "terms": game, "ends": 4_000_000_000_u64 },
        { "account": "new", "terms": { "product": "game", "expiry": "revoke" } },
        { "account": "old", "terms": game },
        { "account": "old", "standing": "suspended" },
        { "account": "", "terms": game },
        { "account": "x", "terms": { "product": "nothing" } },
        { "account": "y", "ends": 5 },
        "not an object",
        { "account": "z", "terms": game, "starts": 9, "ends": 9 },
        { "account": "w", "colour": "red" },
    ]);
    let answer: ImportAnswer = world.post("/imports", &json!({ "lines": lines })).await.ok();
    let refused: Vec<u64> = answer.refused.iter().map(|refusal| refusal.index).collect();
    assert_eq!(refused, [5, 6, 7, 8, 9, 10], "{:?}", answer.refused);
    assert!(answer.refused[1].detail.contains("no product nothing"), "{:?}", answer.refused[1]);
    assert_eq!((answer.accounts, answer.changed, answer.entitlements, answer.same), (1, 1, 2, 1));
    assert_eq!(world.sink.all().len(), told_before, "told by the next snapshot, all at once");
    let again: ImportAnswer = world.post("/imports", &json!({ "lines": lines })).await.ok();
    assert_eq!((again.accounts, again.changed, again.entitlements, again.same), (0, 0, 0, 5), "{again:?}");
    let old: AccountDetail = world.get("/accounts/old").await.ok();
    assert_eq!((old.account.standing, old.entitlements.len()), (Standing::Suspended, 1));
    assert!(old.account.agreements.contains("eula@1"), "what a line does not name stays");
    let new: AccountDetail = world.get("/accounts/new").await.ok();
    assert_eq!(new.entitlements.len(), 2);

    let renewed =
        |world: &World| crate::support::apart(|| world.control.renew_snapshot(crate::support::now())).expect("renewed");
    assert!(renewed(&world), "an import makes a snapshot due");
    assert!(!renewed(&world), "once");
    let Some(CatalogChange::AccountsSnapshot { blob, .. }) = world.sink.all().pop() else { panic!("told") };
    let snapshot = Snapshot::new(world.origin.read_all(&blob, 1 << 30).expect("stored")).expect("a snapshot");
    assert_eq!(snapshot.len(), 2);
    let many: Vec<Value> = (0..5001).map(|number| json!({ "account": format!("a{number}") })).collect();
    world.post("/imports", &json!({ "lines": many })).await.refused(413, "body_too_large");
    let answer: ImportAnswer = world.post("/imports", &json!({ "lines": &many[..5000] })).await.ok();
    assert_eq!((answer.accounts, answer.refused.len()), (5000, 0));
    // What was imported and not told by a snapshot yet is told at the next start.
    let world = world.restarted();
    assert!(renewed(&world));
    let Some(CatalogChange::AccountsSnapshot { blob, .. }) = world.sink.all().pop() else { panic!("told") };
    assert_eq!(Snapshot::new(world.origin.read_all(&blob, 1 << 30).expect("stored")).expect("good").len(), 5002);
}
