//! The audit: what is in it, and that no change of it goes unnoticed.

use crate::behind::execute;
use crate::support::{Build, Engine, Node, World, send_as};
use http::Method;
use penstock_core::audit::{AuditAnswer, AuditEntry, AuditVerified};
use penstock_core::desk::{AccountDetail, Entitlement};
use serde_json::{Value, json};

crate::on_both_engines! {
    every_change_is_written_down_with_who_and_what,
    what_changes_nothing_or_fails_is_not_written_down,
    the_audit_is_read_page_by_page_and_by_what_it_is_about,
    whatever_is_altered_removed_or_put_in_breaks_the_chain,
    writers_of_several_processes_make_one_chain,
}

async fn entries(world: &World, query: &str) -> Vec<AuditEntry> {
    world.get(&format!("/audit{query}")).await.ok::<AuditAnswer>().entries
}

async fn verified(world: &World) -> AuditVerified {
    world.get("/audit/verify").await.ok()
}

async fn every_change_is_written_down_with_who_and_what(engine: Engine) {
    let world = World::new(engine);
    assert!(verified(&world).await.whole, "an empty one holds");
    let network = world.network();
    let desk = world.credential(&json!({ "name": "anna", "role": "desk" })).await;
    world.product("game", "licensed").await;
    world.register(&Build::new("game", "1")).await.ok::<Value>();
    world.offer("game", "stable", "1").await.ok::<Value>();
    send_as(&network, &desk, Method::PUT, "/accounts/alice", &json!({})).await.ok::<AccountDetail>();
    let standing = json!({ "standing": "suspended" });
    send_as(&network, &desk, Method::PUT, "/accounts/alice", &standing).await.ok::<AccountDetail>();
    let wanted = json!({ "account": "alice", "terms": { "product": "game" } });
    let given: Entitlement = send_as(&network, &desk, Method::POST, "/entitlements", &wanted).await.ok();
    let path = format!("/entitlements/{}", given.id);
    send_as(&network, &desk, Method::DELETE, &path, &Value::Null).await.ok::<Entitlement>();
    let lines = json!({ "lines": [{ "account": "bob" }, { "account": "" }] });
    send_as(&network, &desk, Method::POST, "/imports", &lines).await.ok::<Value>();
    world.post("/products/game/releases/1/withdraw", &json!({})).await.ok::<Value>();
    let blob = world.origin.put(b"loose");
    world.post(&format!("/blobs/{blob}/open"), &json!({})).await.ok::<Value>();
    world.call(Method::DELETE, &format!("/blobs/{blob}"), "").await.ok::<Value>();
    world.call(Method::DELETE, "/credentials/anna", "").await.ok::<Value>();

    let found = entries(&world, "").await;
    let said: Vec<(&str, &str, &str)> =
        found.iter().map(|one| (one.actor.as_str(), one.verb.as_str(), one.subject.as_str())).collect();
    let blob = format!("blob/{blob}");
    let entitlement = format!("account/alice/entitlement/{}", given.id);
    assert_eq!(
        said,
        [
            ("@socket", "credential.add", "credential/anna"),
            ("@socket", "product.put", "product/game"),
            ("@socket", "release.register", "product/game/release/any/1"),
            ("@socket", "product.pin", "product/game"),
            ("@socket", "product.delegate", "product/game"),
            ("@socket", "channel.move", "product/game/channel/stable/any"),
            ("anna", "account.put", "account/alice"),
            ("anna", "account.put", "account/alice"),
            ("anna", "entitlement.grant", &entitlement),
            ("anna", "entitlement.revoke", &entitlement),
            ("anna", "import", "import/1"),
            ("anna", "import.part", "import/1"),
            ("@socket", "release.state", "product/game/release/any/1"),
            ("@socket", "blob.open", &blob),
            ("@socket", "blob.remove", &blob),
            ("@socket", "credential.revoke", "credential/anna"),
        ]
    );
    assert!(found.iter().all(|one| one.role == if one.actor == "anna" { "desk" } else { "owner" }));
    assert_eq!(found[6].before, Value::Null);
    assert_eq!((&found[7].before["standing"], &found[7].after["standing"]), (&json!("active"), &json!("suspended")));
    assert_eq!((&found[10].after["accounts"], &found[10].after["refused"]), (&json!(1), &json!(1)));
    let lines = blake3::hash(b"{\"account\":\"bob\"}\n{\"account\":\"\"}\n").to_hex();
    assert_eq!(found[10].after["lines_blake3"], lines.as_str());
    assert_eq!(found[11].after["made"][0]["accounts"], json!(["bob"]));
    let walked = verified(&world).await;
    assert_eq!((walked.whole, walked.entries, &walked.hash), (true, 16, &found[15].hash));
    assert_eq!(entries(&world.restarted(), "").await, found);
}

async fn what_changes_nothing_or_fails_is_not_written_down(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "open").await;
    world.product("game", "open").await;
    world.put("/accounts/alice", &json!({})).await.ok::<AccountDetail>();
    world.put("/accounts/alice", &json!({})).await.ok::<AccountDetail>();
    world
        .post("/entitlements", &json!({ "account": "alice", "terms": { "product": "no" } }))
        .await
        .refused(404, "not_found");
    let release = Build::new("game", "1");
    for _ in 0..2 {
        world.register(&release).await.ok::<Value>();
        world.offer("game", "stable", "1").await.ok::<Value>();
    }
    assert_eq!(entries(&world, "").await.len(), 6);
}

async fn the_audit_is_read_page_by_page_and_by_what_it_is_about(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "open").await;
    world.product("game2", "open").await;
    world.register(&Build::new("game", "1")).await.ok::<Value>();
    let subjects = async |query: &str| -> Vec<String> {
        entries(&world, query).await.into_iter().map(|one| one.subject).collect()
    };
    let of_game = ["product/game", "product/game/release/any/1", "product/game", "product/game"];
    assert_eq!(subjects("?subject=product/game").await, of_game);
    assert_eq!(subjects("?subject=product/game&actor=@socket&after=3&limit=1").await, ["product/game"]);
    assert_eq!(subjects("?actor=nobody").await, [""; 0]);
    let page: AuditAnswer = world.get("/audit?limit=2").await.ok();
    assert_eq!((page.entries.len(), page.next), (2, Some(2)));
    let page: AuditAnswer = world.get("/audit?limit=3&after=2").await.ok();
    assert_eq!((page.entries.len(), page.next), (3, None));
    world.get("/audit?colour=red").await.refused(400, "bad_request");
}

async fn whatever_is_altered_removed_or_put_in_breaks_the_chain(engine: Engine) {
    let copy = "INSERT INTO audit SELECT 4, at, actor, role, verb, subject, before_body, after_body, hash FROM audit";
    for (sql, first_bad) in [
        ("UPDATE audit SET actor = 'mallory' WHERE sequence = 2".to_owned(), 2),
        ("UPDATE audit SET after_body = '{}' WHERE sequence = 3".to_owned(), 3),
        ("UPDATE audit SET at = at - 1 WHERE sequence = 1".to_owned(), 1),
        ("UPDATE audit SET hash = x'00' WHERE sequence = 2".to_owned(), 2),
        ("DELETE FROM audit WHERE sequence = 1".to_owned(), 1),
        ("DELETE FROM audit WHERE sequence = 2".to_owned(), 2),
        ("DELETE FROM audit WHERE sequence = 3".to_owned(), 3),
        (format!("{copy} WHERE sequence = 3"), 4),
    ] {
        let world = World::new(engine);
        for product in ["a", "b", "c"] {
            world.product(product, "open").await;
        }
        assert!(verified(&world).await.whole);
        assert_eq!(execute(&world.database, &sql), 1, "{sql}");
        let walked = verified(&world).await;
        let broken = walked.broken.expect(&sql);
        assert_eq!((walked.whole, walked.entries, broken.sequence), (false, first_bad - 1, first_bad), "{sql}");
    }
}

/// On SQLite they are several connections of one process, which is all that it takes.
async fn writers_of_several_processes_make_one_chain(engine: Engine) {
    let dir = tempfile::tempdir().expect("temp dir");
    let database = engine.database(dir.path());
    let origin = crate::support::MemoryOrigin::new();
    let first = Node::open(dir.path(), &database, &origin);
    let nodes = [first.clone(), Node::open(dir.path(), &database, &origin), Node::open(dir.path(), &database, &origin)];
    let writers = nodes.into_iter().enumerate().map(|(number, node)| {
        tokio::spawn(async move {
            for round in 0..20 {
                node.product(&format!("p{number}-{round}")).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic");
    }
    let walked: AuditVerified = first.get("/audit/verify").await.ok();
    assert_eq!((walked.whole, walked.entries), (true, 60), "{walked:?}");
}
