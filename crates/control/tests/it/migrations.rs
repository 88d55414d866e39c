//! Databases that released versions left, opened by this one.

use crate::behind::{change_log, execute_script};
use crate::support::{Engine, MemoryOrigin, RecordingSink, World};
use penstock_core::api::{ChannelsAnswer, ReleasesAnswer};
use penstock_core::catalog::CatalogChange;
use penstock_core::desk::StatusAnswer;
use std::sync::Arc;

crate::on_both_engines! { a_version_1_database_is_brought_forward_and_nothing_is_lost }

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
    let told: Vec<CatalogChange> = told.into_iter().map(without_channels).collect();
    assert!(logged.iter().all(|(_, change)| told.contains(change)));
    assert!(matches!(told.last(), Some(CatalogChange::Offer(offer)) if offer.version.as_str() == "2-9eedac05"));
    world.product("new", "open").await;
    assert_eq!(world.get("/status").await.ok::<StatusAnswer>().change_sequence, 5);
    assert_eq!(change_log(&world.database).len(), 5);
}

/// A replay knows which channels offered a release; when it was registered, nobody did.
fn without_channels(change: CatalogChange) -> CatalogChange {
    match change {
        CatalogChange::Release { release, members, .. } => {
            CatalogChange::Release { release, members, channels: Default::default() }
        }
        other => other,
    }
}
