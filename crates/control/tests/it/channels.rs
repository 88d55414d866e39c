//! Channels: moved, renewed, believed by clients.

use crate::behind::execute;
use crate::support::{Build, Engine, NOW, World, believed, delegation};
use penstock_control::{ChannelStanding, ChannelsStanding};
use penstock_core::api::{ChannelRow, ChannelsAnswer};
use penstock_core::catalog::CatalogChange;
use penstock_core::keys::TrustSet;
use penstock_core::limits::{HEAD_LIFE_SECONDS, HEAD_RENEW_SECONDS};
use penstock_core::statement::SEQUENCE_MAX;
use penstock_core::time::UnixSeconds;
use penstock_core::trust::{Memory, Wanted, verify_offer};
use serde_json::Value;

crate::on_both_engines! {
    a_channel_moves_and_clients_believe_it,
    a_channel_says_that_what_it_offers_is_withdrawn,
    impossible_moves_are_refused,
    heads_are_renewed_daily_and_never_change_what_is_offered,
    an_expired_delegation_stops_signing_until_the_publisher_delegates_anew,
    a_node_with_a_new_channel_key_signs_again_once_it_is_delegated,
    heads_from_before_a_new_delegation_are_signed_again_with_it,
    a_damaged_product_does_not_end_the_renewal_of_others,
}

async fn two_releases(engine: Engine) -> World {
    let world = World::new(engine);
    world.product("game", "open").await;
    for version in ["1", "2"] {
        world.register(&Build::new("game", version)).await.ok::<Value>();
    }
    world
}

async fn a_channel_moves_and_clients_believe_it(engine: Engine) {
    let world = two_releases(engine).await;
    let row: ChannelRow = world.offer("game", "stable", "1").await.ok();
    assert_eq!((row.sequence, row.version.as_str(), row.previous), (1, "1", None));
    assert_eq!(row.expires, NOW.plus(HEAD_LIFE_SECONDS));
    let offer = world.sink.last_offer();
    let head = believed(&offer, 1, NOW);
    assert_eq!((head.head().sequence, &head.target().version), (1, &offer.version));
    let row: ChannelRow = world.offer("game", "stable", "2").await.ok();
    assert_eq!((row.sequence, row.previous.as_ref().map(|v| v.as_str())), (2, Some("1")));
    let told = world.sink.all().len();
    let again: ChannelRow = world.offer("game", "stable", "2").await.ok();
    assert_eq!((again, world.sink.all().len()), (row, told), "offering the same again signs nothing");
    let back: ChannelRow = world.offer("game", "stable", "1").await.ok();
    assert_eq!((back.sequence, back.version.as_str()), (3, "1"), "a version may go down, a sequence never");
    world.offer("game", "beta", "2").await.ok::<Value>();
    let list: ChannelsAnswer = world.get("/products/game/channels").await.ok();
    assert_eq!(list.channels.iter().map(|c| c.channel.as_str()).collect::<Vec<_>>(), ["beta", "stable"]);
    let one: ChannelRow = world.get("/products/game/channels/stable").await.ok();
    assert_eq!(one, back);
}

async fn a_channel_says_that_what_it_offers_is_withdrawn(engine: Engine) {
    let world = two_releases(engine).await;
    world.offer("game", "stable", "1").await.ok::<Value>();
    let moved: ChannelStanding = world.offer("game", "stable", "2").await.ok();
    assert!(!moved.withdrawn && !moved.previous_withdrawn, "{moved:?}");
    for (verb, version, flags) in [
        ("withdraw", "1", (false, true)),
        ("withdraw", "2", (true, true)),
        ("restore", "1", (true, false)),
        ("restore", "2", (false, false)),
    ] {
        world.post(&format!("/products/game/releases/{version}/{verb}"), &()).await.ok::<Value>();
        let one: ChannelStanding = world.get("/products/game/channels/stable").await.ok();
        assert_eq!((one.withdrawn, one.previous_withdrawn), flags, "{verb} {version}");
        assert_eq!(one.row, moved.row);
        let list: ChannelsStanding = world.get("/products/game/channels").await.ok();
        assert_eq!(list.channels, [one], "{verb} {version}");
    }
}

async fn impossible_moves_are_refused(engine: Engine) {
    let world = two_releases(engine).await;
    world.offer("game", "stable", "3").await.refused(404, "not_found");
    world.offer("other", "stable", "1").await.refused(404, "not_found");
    world.offer("game", "stable%0a", "1").await.refused(400, "bad_request");
    world.get("/products/game/channels/stable").await.refused(404, "not_found");
    world.get("/products/other/channels").await.refused(404, "not_found");
    world.post("/products/game/releases/1/withdraw", &()).await.ok::<Value>();
    let detail = world.offer("game", "stable", "1").await.refused(409, "conflict");
    assert!(detail.contains("withdrawn"), "{detail}");
    assert!(!world.sink.all().iter().any(|change| matches!(change, CatalogChange::Offer(_))));
}

async fn heads_are_renewed_daily_and_never_change_what_is_offered(engine: Engine) {
    let world = two_releases(engine).await;
    world.offer("game", "stable", "1").await.ok::<Value>();
    world.offer("game", "stable", "2").await.ok::<Value>();
    world.offer("game", "beta", "2").await.ok::<Value>();
    assert_eq!(world.renew(NOW.plus(HEAD_RENEW_SECONDS - 1)).renewed, 0);
    let mut at = NOW;
    for day in 1..=20 {
        at = at.plus(HEAD_RENEW_SECONDS);
        let report = world.renew(at);
        assert_eq!((report.renewed, report.refused.len()), (2, 0), "day {day}");
    }
    let row: ChannelRow = world.get("/products/game/channels/stable").await.ok();
    assert_eq!((row.sequence, row.version.as_str(), row.expires), (22, "2", at.plus(HEAD_LIFE_SECONDS)));
    assert_eq!(row.previous.as_ref().map(|v| v.as_str()), Some("1"), "a renewal is no move");
    believed(&world.sink.last_offer(), 1, at);
    let world = world.restarted();
    believed(&world.sink.last_offer(), 1, at);
}

async fn an_expired_delegation_stops_signing_until_the_publisher_delegates_anew(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "open").await;
    let build = Build::new("game", "1");
    let mut request = build.request(&world);
    let statement = |sequence, expires| penstock_core::statement::Delegation {
        product: build.root.product.clone(),
        keys: TrustSet::single(world.control.channel_key()),
        sequence,
        issued: NOW,
        expires: Some(expires),
    };
    let sign = |statement: penstock_core::statement::Delegation| {
        penstock_core::sign::seal(
            penstock_core::envelope::Purpose::Delegation,
            statement.encode(),
            &[&crate::support::key(1)],
        )
        .encode()
    };
    request.delegation = sign(statement(1, NOW.plus(HEAD_RENEW_SECONDS)));
    world.post("/products/game/releases", &request).await.ok::<Value>();
    world.offer("game", "stable", "1").await.ok::<Value>();
    let later = NOW.plus(HEAD_RENEW_SECONDS);
    let report = world.renew(later);
    assert_eq!((report.renewed, report.refused), (0, vec![build.root.product.clone()]));
    request.delegation = sign(statement(2, NOW.plus(1000 * HEAD_RENEW_SECONDS)));
    assert_eq!(world.post("/products/game/releases", &request).await.status, 200);
    assert_eq!(world.sink.last_offer().delegation, request.delegation, "offers travel with the new one at once");
    assert_eq!(world.renew(later).renewed, 1);
    believed(&world.sink.last_offer(), 1, later);
}

async fn a_node_with_a_new_channel_key_signs_again_once_it_is_delegated(engine: Engine) {
    let world = two_releases(engine).await;
    world.offer("game", "stable", "1").await.ok::<Value>();
    let stolen = world.control.channel_key();
    std::fs::remove_file(world.dir.path().join("keys/channel.key")).expect("lost");
    let world = world.restarted();
    let detail = world.offer("game", "stable", "2").await.refused(409, "conflict");
    assert!(detail.contains("does not name this node's channel key"), "{detail}");
    let mut request = Build::new("game", "1").request(&world);
    request.delegation = delegation(1, "game", world.control.channel_key(), 2);
    world.post("/products/game/releases", &request).await.ok::<Value>();
    let offer = world.sink.last_offer();
    let head = believed(&offer, 1, NOW);
    assert_eq!((head.head().sequence, offer.version.as_str()), (2, "1"), "signed again, the target as before");
    // If the lost key was stolen, its thief signs the highest sequence there is. Clients that saw it come back.
    let thief =
        Memory { head_sequence: SEQUENCE_MAX, head_signers: vec![stolen], head_delegation: 1, ..Memory::default() };
    let trust = TrustSet::single(crate::support::key(1).public());
    let wanted =
        Wanted { product: offer.product.clone(), platform: offer.platform.clone(), channel: offer.channel.clone() };
    verify_offer(&trust, &offer.delegation, &offer.head, &wanted, &thief, NOW).expect("believed again");
    world.offer("game", "stable", "2").await.ok::<Value>();
}

/// A client whose last head was by a key that this delegation takes back believes only what was
/// signed after it; an old head of the remaining key must not keep it waiting for a day.
async fn heads_from_before_a_new_delegation_are_signed_again_with_it(engine: Engine) {
    let world = two_releases(engine).await;
    world.offer("game", "stable", "1").await.ok::<Value>();
    let days_ago = UnixSeconds(NOW.0 - 3 * HEAD_RENEW_SECONDS);
    assert_eq!(world.renew(days_ago).renewed, 1, "signed by a clock that was wrong");
    let mut request = Build::new("game", "1").request(&world);
    request.delegation = delegation(1, "game", world.control.channel_key(), 2);
    world.post("/products/game/releases", &request).await.ok::<Value>();
    let head = believed(&world.sink.last_offer(), 1, NOW);
    assert_eq!((head.head().sequence, head.head().issued), (3, NOW));
}

/// One product's damaged rows must not let every other product's heads expire.
async fn a_damaged_product_does_not_end_the_renewal_of_others(engine: Engine) {
    let world = World::new(engine);
    for product in ["a", "b", "c", "d", "e"] {
        world.product(product, "open").await;
        world.register(&Build::new(product, "1")).await.ok::<Value>();
        world.offer(product, "stable", "1").await.ok::<Value>();
    }
    let damage = |sql: &str| assert_eq!(execute(&world.database, sql), 1);
    damage("INSERT INTO rotations (product, step, added, envelope) VALUES ('a', 0, 0, x'00')");
    damage("UPDATE products SET delegation = x'00' WHERE id = 'b'");
    damage("UPDATE heads SET issued = -1 WHERE product = 'c'");
    damage("UPDATE products SET publisher = 'nobody' WHERE id = 'd'");
    let later = NOW.plus(HEAD_RENEW_SECONDS);
    let report = world.renew(later);
    let names = |list: &[penstock_core::id::ProductId]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        (report.renewed, names(&report.refused), names(&report.failed)),
        (1, vec!["b".to_owned()], vec!["a".to_owned(), "c".to_owned(), "d".to_owned()])
    );
    let offer = world.sink.last_offer();
    assert_eq!(offer.product.as_str(), "e");
    believed(&offer, 1, later);
}
