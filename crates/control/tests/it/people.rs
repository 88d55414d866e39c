//! Users, seats, packages, devices, agreements: what may be done, and what is refused with which reason.

use crate::behind::execute;
use crate::facts::{slow, told};
use crate::support::{Engine, NOW, World, apart, now};
use http::Method;
use penstock_control::pseudonym_key;
use penstock_core::account::AccountFacts;
use penstock_core::desk::{
    AccountDetail, Entitlement, ImportAnswer, Package, Seat, SeatsAnswer, User, UserRole, UsersAnswer,
};
use penstock_core::limits::PACKAGE_ITEMS_MAX;
use serde_json::{Value, json};

crate::on_both_engines! {
    a_seat_comes_and_goes_with_all_that_it_hangs_on,
    users_and_seats_are_refused_with_a_reason,
    users_and_holders_are_listed_page_by_page,
    a_company_of_many_is_told_by_a_snapshot,
    a_package_changes_for_everyone_who_has_it,
    what_one_account_may_hold_has_a_bound_that_no_package_leads_past,
    devices_and_agreements_are_kept_with_their_times,
    an_import_knows_users_seats_and_packages,
}

async fn world(engine: Engine) -> World {
    let world = World::new(engine);
    for product in ["game", "tools"] {
        world.product(product, "licensed").await;
    }
    world.put("/accounts/acme", &json!({ "kind": "business" })).await.ok::<AccountDetail>();
    world
}

async fn given(world: &World, more: Value) -> u64 {
    let mut wanted = json!({ "account": "acme" });
    for (name, value) in more.as_object().into_iter().flatten() {
        wanted[name] = value.clone();
    }
    world.post("/entitlements", &wanted).await.ok::<Entitlement>().id
}

/// What was told of an account.
fn facts(world: &World, account: &str) -> AccountFacts {
    let key = pseudonym_key(world.dir.path()).expect("there").account(account);
    told(world).remove(&key).expect("it was told")
}

fn holds(world: &World, account: &str) -> usize {
    facts(world, account).holdings.len()
}

async fn delete(world: &World, path: &str) {
    world.call(Method::DELETE, path, "").await.ok::<Value>();
}

async fn a_seat_comes_and_goes_with_all_that_it_hangs_on(engine: Engine) {
    let world = world(engine).await;
    let id = given(
        &world,
        json!({ "terms": { "product": "game", "channels": ["beta"] }, "seats": 2, "ends": 4_000_000_000_u64 }),
    )
    .await;
    assert_eq!(holds(&world, "acme"), 0, "seats are not the company's own");
    for user in ["ann", "bob"] {
        let reply = world.put(&format!("/accounts/acme/users/{user}"), &json!({})).await;
        assert_eq!(reply.status, 201);
        assert_eq!(reply.ok::<User>().role, UserRole::Member);
    }
    let seat = |user: &str| format!("/entitlements/{id}/seats/{user}");
    assert_eq!(world.put(&seat("ann"), &json!({})).await.status, 201);
    assert_eq!(world.put(&seat("ann"), &json!({})).await.status, 200, "twice is one seat");
    let holding = facts(&world, "ann").holdings[0].clone();
    assert_eq!((holding.starts, holding.ends.map(|ends| ends.0)), (NOW, Some(4_000_000_000)));
    assert!(holding.terms.channels.iter().any(|channel| channel.as_str() == "beta"));
    let detail: AccountDetail = world.get("/accounts/ann").await.ok();
    assert_eq!(detail.user_of.expect("a user").company.as_str(), "acme");
    assert_eq!((detail.seats.len(), detail.seats[0].entitlement), (1, id));

    // Each company's standing but one takes what it has lent away, and that one gives it back.
    for standing in ["suspended", "on_hold", "denied"] {
        world.put("/accounts/acme", &json!({ "standing": standing })).await.ok::<AccountDetail>();
        assert_eq!(holds(&world, "ann"), 0, "{standing}");
        assert_eq!(facts(&world, "ann").standing, penstock_core::account::Standing::Active, "and nothing else");
        world.put("/accounts/acme", &json!({ "standing": "active" })).await.ok::<AccountDetail>();
        assert_eq!(holds(&world, "ann"), 1);
    }
    delete(&world, &seat("ann")).await;
    assert_eq!(holds(&world, "ann"), 0);
    let count = world.sink.all().len();
    delete(&world, &seat("ann")).await;
    assert_eq!(world.sink.all().len(), count, "what was not there is not told");

    world.put(&seat("bob"), &json!({})).await.ok::<Seat>();
    delete(&world, "/accounts/acme/users/bob").await;
    assert_eq!(holds(&world, "bob"), 0);
    world.put("/accounts/acme/users/bob", &json!({ "role": "admin" })).await.ok::<User>();
    assert_eq!(holds(&world, "bob"), 0, "whoever comes back has no seat yet");
    world.put(&seat("bob"), &json!({})).await.ok::<Seat>();
    let revoked: Entitlement = world.call(Method::DELETE, &format!("/entitlements/{id}"), "").await.ok();
    assert_eq!((revoked.seats, revoked.seats_taken), (Some(2), Some(1)));
    assert_eq!(holds(&world, "bob"), 0);
    assert_eq!(told(&world), slow(&world));
}

async fn users_and_seats_are_refused_with_a_reason(engine: Engine) {
    let world = world(engine).await;
    world.put("/accounts/other", &json!({ "kind": "business" })).await.ok::<AccountDetail>();
    world.put("/accounts/alone", &json!({})).await.ok::<AccountDetail>();
    let one = given(&world, json!({ "terms": { "product": "game" }, "seats": 1 })).await;
    let own = given(&world, json!({ "terms": { "product": "game" } })).await;
    for user in ["ann", "bob"] {
        world.put(&format!("/accounts/acme/users/{user}"), &json!({})).await.ok::<User>();
    }
    world.put("/accounts/other/users/eve", &json!({})).await.ok::<User>();
    let before = world.sink.all().len();
    for (path, status, code, word) in [
        ("/accounts/nobody/users/ann".to_owned(), 404, "not_found", "nobody"),
        ("/accounts/alone/users/zoe".to_owned(), 409, "conflict", "no business"),
        ("/accounts/acme/users/eve".to_owned(), 409, "conflict", "user of other"),
        ("/accounts/acme/users/other".to_owned(), 409, "conflict", "not one person's"),
        ("/accounts/acme/users/acme".to_owned(), 400, "bad_request", "its own"),
        (format!("/entitlements/{one}/seats/eve"), 404, "not_found", "no user eve"),
        (format!("/entitlements/{one}/seats/alone"), 404, "not_found", "no user alone"),
        (format!("/entitlements/{own}/seats/ann"), 409, "conflict", "no seats"),
        ("/entitlements/99/seats/ann".to_owned(), 404, "not_found", "99"),
    ] {
        let detail = world.put(&path, &json!({})).await.refused(status, code);
        assert!(detail.contains(word), "{path}: {detail}");
    }
    world.put(&format!("/entitlements/{one}/seats/ann"), &json!({})).await.ok::<Seat>();
    let detail = world.put(&format!("/entitlements/{one}/seats/bob"), &json!({})).await.refused(409, "conflict");
    assert!(detail.contains("all 1 seats"), "{detail}");
    world.call(Method::DELETE, "/accounts/acme/users/eve", "").await.refused(404, "not_found");
    for (account, kind, word) in
        [("acme", "individual", "users"), ("ann", "business", "a company"), ("other", "reseller", "users")]
    {
        let wanted = json!({ "kind": kind });
        let detail = world.put(&format!("/accounts/{account}"), &wanted).await.refused(409, "conflict");
        assert!(detail.contains(word), "{account}: {detail}");
    }
    for (more, status) in [
        (json!({ "account": "ann", "terms": { "product": "game" }, "seats": 5 }), 409),
        (json!({ "account": "acme", "terms": { "product": "game" }, "seats": 0 }), 413),
        (json!({ "account": "acme", "terms": { "product": "game" }, "seats": 10_001 }), 413),
        (json!({ "account": "acme" }), 400),
        (json!({ "account": "acme", "terms": { "product": "game" }, "package": "suite" }), 400),
        (json!({ "account": "acme", "package": "suite" }), 404),
    ] {
        let reply = world.post("/entitlements", &more).await;
        assert_eq!(reply.status.as_u16(), status, "{more}");
    }
    assert_eq!(world.sink.all().len(), before + 1, "only the seat was told");
    assert_eq!(told(&world), slow(&world));
}

async fn users_and_holders_are_listed_page_by_page(engine: Engine) {
    let world = world(engine).await;
    let id = given(&world, json!({ "terms": { "product": "game" }, "seats": 9 })).await;
    for number in 0..5 {
        world.put(&format!("/accounts/acme/users/u{number}"), &json!({})).await.ok::<User>();
        world.put(&format!("/entitlements/{id}/seats/u{number}"), &json!({})).await.ok::<Seat>();
    }
    let page: UsersAnswer = world.get("/accounts/acme/users?limit=3").await.ok();
    let next = page.next.expect("more");
    assert_eq!((page.users.len(), next.as_str()), (3, "u2"));
    let rest: UsersAnswer = world.get(&format!("/accounts/acme/users?after={next}")).await.ok();
    assert_eq!((rest.users.len(), rest.next), (2, None));
    let page: SeatsAnswer = world.get(&format!("/entitlements/{id}/seats?limit=4")).await.ok();
    assert_eq!((page.seats, page.taken, page.holders.len()), (9, 5, 4));
    let rest: SeatsAnswer =
        world.get(&format!("/entitlements/{id}/seats?after={}", page.next.expect("more"))).await.ok();
    assert_eq!((rest.holders.len(), rest.next), (1, None));
}

/// More people than one change tells one by one.
async fn a_company_of_many_is_told_by_a_snapshot(engine: Engine) {
    let world = world(engine).await;
    let id = given(&world, json!({ "terms": { "product": "game" }, "seats": 2500 })).await;
    let (wake, woken) = std::sync::mpsc::sync_channel(8);
    world.control.wake_for_snapshots(Box::new(move || wake.send(()).expect("heard")));
    let line = |number: u32| json!({ "account": format!("acme/{number}"), "company": "acme", "seat": id });
    let lines: Vec<Value> = (0..2500).map(line).collect();
    let answer: ImportAnswer = world.post("/imports", &json!({ "lines": lines })).await.ok();
    assert_eq!((answer.accounts, answer.users, answer.seats, answer.refused.len()), (2500, 2500, 2500, 0));
    let renewed = || apart(|| world.control.renew_snapshot(now())).expect("renewed");
    assert!(renewed());
    assert_eq!(holds(&world, "acme/7"), 1);
    let before = world.sink.all().len();
    assert!(woken.try_recv().is_err(), "an import waits for the next look");
    world.put("/accounts/acme", &json!({ "standing": "suspended" })).await.ok::<AccountDetail>();
    assert_eq!(world.sink.all().len(), before + 1, "the company alone is told at once");
    woken.try_recv().expect("whoever makes snapshots is woken");
    assert!(renewed(), "and a snapshot is due");
    assert_eq!((holds(&world, "acme/7"), holds(&world, "acme/2499")), (0, 0));
    assert_eq!(told(&world), slow(&world));
}

async fn a_package_changes_for_everyone_who_has_it(engine: Engine) {
    let world = world(engine).await;
    let items = |products: &[&str]| json!({ "title": "All of it", "items": products.iter().map(|one| json!({ "product": one })).collect::<Vec<_>>() });
    assert_eq!(world.put("/packages/suite", &items(&["game"])).await.status, 201);
    world.put("/accounts/alice", &json!({})).await.ok::<AccountDetail>();
    let seats = given(&world, json!({ "package": "suite", "seats": 5 })).await;
    given(&world, json!({ "account": "alice", "package": "suite" })).await;
    world.put("/accounts/acme/users/ann", &json!({})).await.ok::<User>();
    world.put(&format!("/entitlements/{seats}/seats/ann"), &json!({})).await.ok::<Seat>();
    assert_eq!((holds(&world, "alice"), holds(&world, "ann")), (1, 1));
    let reply = world.put("/packages/suite", &items(&["game", "tools"])).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.ok::<Package>().items.len(), 2);
    assert_eq!((holds(&world, "alice"), holds(&world, "ann")), (2, 2));
    let before = world.sink.all().len();
    world.put("/packages/suite", &items(&["game", "tools"])).await.ok::<Package>();
    world.put("/packages/empty-handed", &items(&["tools"])).await.ok::<Package>();
    assert_eq!(world.sink.all().len(), before, "the same again, and a package that nobody has, tell nobody");
    assert_eq!(told(&world), slow(&world));

    world.call(Method::DELETE, "/packages/suite", "").await.refused(409, "conflict");
    delete(&world, "/packages/empty-handed").await;
    world.get("/packages/empty-handed").await.refused(404, "not_found");
    let list: Value = world.get("/packages").await.ok();
    assert_eq!(list["packages"].as_array().map(Vec::len), Some(1));
    let many: Vec<String> = (0..=PACKAGE_ITEMS_MAX).map(|number| format!("c{number}")).collect();
    let many: Vec<Value> = many.iter().map(|channel| json!({ "product": "game", "channels": [channel] })).collect();
    for (body, status) in [
        (json!({ "items": [] }), 400),
        (json!({ "items": [{ "product": "game" }, { "product": "game" }] }), 400),
        (json!({ "items": [{ "product": "nothing" }] }), 404),
        (json!({ "items": [{ "product": "game", "agreement": "eula" }] }), 400),
        (json!({ "items": many }), 413),
    ] {
        assert_eq!(world.put("/packages/wrong", &body).await.status.as_u16(), status, "{body}");
    }
}

async fn what_one_account_may_hold_has_a_bound_that_no_package_leads_past(engine: Engine) {
    let world = world(engine).await;
    world.put("/packages/suite", &json!({ "items": [{ "product": "game" }] })).await.ok::<Package>();
    world.put("/accounts/acme/users/ann", &json!({})).await.ok::<User>();
    let seats = given(&world, json!({ "package": "suite", "seats": 1 })).await;
    for number in 0..31 {
        given(&world, json!({ "account": "ann", "package": "suite", "starts": number })).await;
    }
    let more = json!({ "account": "ann", "package": "suite" });
    world.put(&format!("/entitlements/{seats}/seats/ann"), &json!({})).await.ok::<Seat>();
    world.post("/entitlements", &more).await.refused(409, "conflict");
    let own = json!({ "account": "acme", "terms": { "product": "game" }, "seats": 1 });
    let other = given(&world, own).await;
    world.put(&format!("/entitlements/{other}/seats/ann"), &json!({})).await.refused(409, "conflict");
    let line = json!([{ "account": "ann", "terms": { "product": "game" } }, { "account": "ann", "package": "suite", "starts": 3 }]);
    let answer: ImportAnswer = world.post("/imports", &json!({ "lines": line })).await.ok();
    assert_eq!((answer.refused.len(), answer.same), (1, 1), "{:?}", answer.refused);
    let items: Vec<Value> =
        (0..PACKAGE_ITEMS_MAX).map(|number| json!({ "product": "game", "grace_seconds": number })).collect();
    world.put("/packages/suite", &json!({ "items": items })).await.ok::<Package>();
    assert_eq!(holds(&world, "ann"), 1024, "as full as can be");
    world.post("/snapshots", &json!({})).await.ok::<Value>();
    assert_eq!(told(&world), slow(&world));
}

async fn devices_and_agreements_are_kept_with_their_times(engine: Engine) {
    let world = world(engine).await;
    world.put("/accounts/alice", &json!({})).await.ok::<AccountDetail>();
    // As an earlier version wrote it: sets without times.
    let old = r#"{"agreements":["eula@1"],"devices":["old"]}"#;
    execute(&world.database, &format!("UPDATE accounts SET extras = '{old}' WHERE id = 'alice'"));
    let reply = world.put("/accounts/alice/devices/pc%201", &json!({})).await;
    assert_eq!(reply.status, 201);
    let account = reply.ok::<AccountDetail>().account;
    assert_eq!((account.devices.len(), account.registered.len()), (2, 1));
    assert_eq!(account.registered["pc 1"], NOW);
    assert_eq!(world.put("/accounts/alice/devices/pc%201", &json!({})).await.status, 200);
    world.put("/accounts/alice/devices/%0A", &json!({})).await.refused(400, "bad_request");
    for number in 2..64 {
        world.put(&format!("/accounts/alice/devices/d{number}"), &json!({})).await.ok::<AccountDetail>();
    }
    world.put("/accounts/alice/devices/more", &json!({})).await.refused(409, "conflict");
    let left: AccountDetail = world.call(Method::DELETE, "/accounts/alice/devices/old", "").await.ok();
    assert_eq!(left.account.devices.len(), 63);
    world.put("/accounts/nobody/devices/x", &json!({})).await.refused(404, "not_found");

    let hash = "ab".repeat(32);
    let accepted = world.put("/accounts/alice/agreements/eula@2", &json!({ "text": hash })).await;
    assert_eq!(accepted.status, 201);
    let account = accepted.ok::<AccountDetail>().account;
    assert_eq!(account.accepted["eula@2"].text.map(|text| text.to_string()), Some(hash));
    assert!(account.agreements.contains("eula@1") && !account.accepted.contains_key("eula@1"), "nobody knows when");
    let again = world.put("/accounts/alice/agreements/eula@2", &json!({})).await;
    assert_eq!(again.status, 200);
    assert!(again.ok::<AccountDetail>().account.accepted["eula@2"].text.is_some(), "what is known stays known");
    world.put("/accounts/alice/agreements/eula", &json!({})).await.refused(400, "bad_request");
    world.put("/accounts/alice/agreements/eula@2", &json!({ "text": "x" })).await.refused(400, "bad_request");
    let replaced: AccountDetail =
        world.put("/accounts/alice", &json!({ "agreements": ["eula@3"], "devices": [] })).await.ok();
    assert_eq!(replaced.account.accepted.keys().collect::<Vec<_>>(), ["eula@3"]);
    assert!(replaced.account.registered.is_empty());
    assert_eq!(told(&world), slow(&world));
}

async fn an_import_knows_users_seats_and_packages(engine: Engine) {
    let world = world(engine).await;
    world
        .put("/packages/suite", &json!({ "items": [{ "product": "game" }, { "product": "tools" }] }))
        .await
        .ok::<Package>();
    world.put("/accounts/other", &json!({ "kind": "business" })).await.ok::<AccountDetail>();
    let id = given(&world, json!({ "package": "suite", "seats": 2 })).await;
    let lines = json!([
        { "account": "acme", "terms": { "product": "game" }, "seats": 7 },
        { "account": "new", "kind": "business", "package": "suite", "seats": 3 },
        { "account": "ann", "company": "acme", "role": "admin", "seat": id },
        { "account": "bob", "company": "acme", "seat": id, "package": "suite" },
        { "account": "joe", "company": "new" },
        // Each of these is refused, and leaves nothing behind.
        { "account": "cat", "company": "acme", "seat": id },
        { "account": "ann", "company": "other" },
        { "account": "dan", "company": "nowhere" },
        { "account": "dan", "company": "joe" },
        { "account": "dan", "seat": id },
        { "account": "dan", "company": "acme", "seat": 99 },
        { "account": "dan", "package": "nothing" },
        { "account": "dan", "package": "suite", "seats": 4 },
        { "account": "dan", "role": "admin" },
        { "account": "dan", "seats": 4 },
        { "account": "dan", "package": "suite", "terms": { "product": "game" } },
        { "account": "new", "kind": "individual" },
        { "account": "acme", "company": "other" },
    ]);
    let answer: ImportAnswer = world.post("/imports", &json!({ "lines": lines })).await.ok();
    let refused: Vec<u64> = answer.refused.iter().map(|refusal| refusal.index).collect();
    assert_eq!(refused, (5..18).collect::<Vec<u64>>(), "{:?}", answer.refused);
    assert_eq!((answer.accounts, answer.entitlements, answer.users, answer.seats), (4, 3, 3, 2));
    for nobody in ["cat", "dan"] {
        world.get(&format!("/accounts/{nobody}")).await.refused(404, "not_found");
    }
    let again: ImportAnswer = world.post("/imports", &json!({ "lines": lines })).await.ok();
    assert_eq!((again.accounts, again.entitlements, again.users, again.seats, again.same), (0, 0, 0, 0, 5));
    assert!(apart(|| world.control.renew_snapshot(now())).expect("renewed"));
    assert_eq!((holds(&world, "ann"), holds(&world, "bob")), (2, 4));
    assert_eq!(told(&world), slow(&world));
}
