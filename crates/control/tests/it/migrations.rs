//! Databases that released versions left, opened by this one.

use crate::behind::{change_log, execute_script};
use crate::support::{Engine, MemoryOrigin, RecordingSink, World};
use penstock_core::api::{ChannelsAnswer, ReleasesAnswer};
use penstock_core::catalog::CatalogChange;
use penstock_core::desk::{AccountDetail, Entitlement, StatusAnswer};
use penstock_core::time::UnixSeconds;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

crate::on_both_engines! {
    a_version_1_database_is_brought_forward_and_nothing_is_lost,
    what_accounts_held_in_version_2_they_still_hold,
}

/// Each version that was released, as it made its tables, and what one of its nodes had written.
const VERSION_1: [&str; 3] = [
    "CREATE TABLE schema_versions (version BIGINT PRIMARY KEY, applied BIGINT NOT NULL);",
    include_str!("../../src/schema/0001_catalogue.sql"),
    include_str!("version-1.sql"),
];

async fn a_version_1_database_is_brought_forward_and_nothing_is_lost(engine: Engine) {
    let newest: StatusAnswer = World::new(engine).get("/status").await.ok();
    let dir = tempfile::tempdir().expect("temp dir");
    let database = engine.database(dir.path());
    VERSION_1.iter().for_each(|script| execute_script(&database, script));
    let logged = change_log(&database);
    let sink = Arc::new(RecordingSink::default());
    let world = World::at(dir, database, MemoryOrigin::new(), sink);
    let status: StatusAnswer = world.get("/status").await.ok();
    assert_eq!(status.schema, newest.schema);
    assert_eq!((status.products, status.releases, status.channels, status.blobs), (1, 2, 1, 8));
    assert_eq!(status.change_sequence, 4);
    let releases: ReleasesAnswer = world.get("/products/b/releases").await.ok();
    let versions: Vec<&str> = releases.releases.iter().map(|release| release.version.as_str()).collect();
    assert_eq!(versions, ["2-9eedac05", "1-9eedac05"]);
    let channels: ChannelsAnswer = world.get("/products/b/channels").await.ok();
    assert_eq!((channels.channels.len(), channels.channels[0].sequence), (1, 1));
    // What is replayed is what that version told, all of it.
    let told = world.sink.all();
    assert_eq!(told.len(), logged.len());
    // A blob is wholly content of the first release that lists it.
    let mut seen = BTreeSet::new();
    for change in &told {
        let CatalogChange::Release { members, .. } = change else { continue };
        assert!(members.iter().all(|member| member.whole == seen.insert(member.blob)), "{members:?}");
    }
    let told: Vec<CatalogChange> = told.into_iter().map(as_told_then).collect();
    assert!(logged.iter().all(|(_, change)| told.contains(change)));
    assert!(matches!(told.last(), Some(CatalogChange::Offer(offer)) if offer.version.as_str() == "2-9eedac05"));
    world.product("new", "open").await;
    assert_eq!(world.get("/status").await.ok::<StatusAnswer>().change_sequence, 5);
    assert_eq!(change_log(&world.database).len(), 5);
}

/// Version 2 with two accounts, three entitlements, one of them taken back.
const VERSION_2: [&str; 4] = [
    "CREATE TABLE schema_versions (version BIGINT PRIMARY KEY, applied BIGINT NOT NULL);",
    include_str!("../../src/schema/0001_catalogue.sql"),
    include_str!("../../src/schema/0002_accounts.sql"),
    r#"INSERT INTO schema_versions (version, applied) VALUES (1, 1), (2, 1);
    INSERT INTO products (id, title, access, export_class, created) VALUES ('game', 'game', 'licensed', '', 1);
    INSERT INTO accounts (id, pseudonym, kind, standing, tokens_from, extras, created) VALUES
        ('alice', x'00112233445566778899aabbccddeeff', 'individual', 'active', NULL, '{"agreements":["eula@1"]}', 1),
        ('acme', x'10112233445566778899aabbccddeeff', 'business', 'suspended', 5, '', 1);
    INSERT INTO terms (id, product, body) VALUES (1, 'game', '{"product":"game","grace_seconds":7}');
    INSERT INTO entitlements (id, account, terms, starts, ends, granted, revoked) VALUES
        (1, 'alice', 1, 5, NULL, 1, 9), (2, 'alice', 1, 6, 4000000000, 1, NULL), (3, 'acme', 1, 7, NULL, 1, NULL);
    UPDATE counters SET last = 3 WHERE name = 'entitlements';
    UPDATE counters SET last = 1 WHERE name = 'terms';"#,
];

async fn what_accounts_held_in_version_2_they_still_hold(engine: Engine) {
    let dir = tempfile::tempdir().expect("temp dir");
    let database = engine.database(dir.path());
    VERSION_2.iter().for_each(|script| execute_script(&database, script));
    let world = World::at(dir, database, MemoryOrigin::new(), Arc::new(RecordingSink::default()));
    let alice: AccountDetail = world.get("/accounts/alice").await.ok();
    assert!(alice.account.agreements.contains("eula@1"));
    let ends: Vec<_> = alice.entitlements.iter().map(|one| (one.id, one.revoked.is_some(), one.ends)).collect();
    assert_eq!(ends, [(1, true, None), (2, false, Some(UnixSeconds(4_000_000_000)))]);
    let told = world.sink.all().into_iter().filter_map(|change| match change {
        CatalogChange::Account { facts, .. } => facts.map(|facts| facts.holdings.len()),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [1, 1]);
    let given =
        world.post("/entitlements", &json!({ "account": "acme", "terms": { "product": "game" }, "seats": 2 })).await;
    assert_eq!(given.ok::<Entitlement>().id, 4, "numbers go on");
}

/// A replay knows which channels offered a release, and which blobs are wholly its own; when it was registered, nobody
/// said so.
fn as_told_then(change: CatalogChange) -> CatalogChange {
    match change {
        CatalogChange::Release { release, mut members, .. } => {
            members.iter_mut().for_each(|member| member.whole = false);
            CatalogChange::Release { release, members, channels: Default::default() }
        }
        other => other,
    }
}
