//! Releases: what is accepted, and every way to be refused.

use crate::support::{Build, World, delegation, key, member, publisher_text};
use penstock_core::api::{RegisterRelease, ReleasesAnswer};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{CatalogChange, Release, ReleaseState};
use penstock_core::desk::{ReleaseDetail, StatusAnswer};
use penstock_core::id::{Platform, Version};
use serde_json::Value;

async fn game() -> World {
    let world = World::new();
    world.product("game", "licensed").await;
    world
}

#[tokio::test]
async fn a_release_is_registered_told_and_listed() {
    let world = game().await;
    let build = Build::new("game", "1.0+a~b").component("lang.de", "base");
    let reply = world.register(&build).await;
    assert_eq!(reply.status, 201);
    let release: Release = reply.ok();
    assert_eq!((release.content_bytes, release.entry_count, release.state), (2000, 2, ReleaseState::Live));
    assert_eq!(release.manifest_bytes, build.manifest().len() as u64);
    let CatalogChange::Release { release: told, members } = world.sink.all().pop().expect("told") else {
        panic!("a release was told last")
    };
    assert_eq!((&told, members.len()), (&release, 7));
    world.register(&Build::new("game", "1.1")).await.ok::<Value>();
    let list: ReleasesAnswer = world.get("/products/game/releases").await.ok();
    assert_eq!(list.releases.iter().map(|r| r.version.as_str()).collect::<Vec<_>>(), ["1.1", "1.0+a~b"]);
    let detail: ReleaseDetail = world.get("/products/game/releases/1.0%2Ba~b").await.ok();
    assert_eq!((detail.release, detail.members.len()), (release.clone(), 0));
    let detail: ReleaseDetail = world.get("/products/game/releases/1.0+a~b?platform=any&members=true").await.ok();
    assert_eq!(detail.members, members);
    assert_eq!(world.get("/products/game/releases/1.0%2Ba~b").await.ok::<Release>(), release, "reads as a release too");
}

#[tokio::test]
async fn the_same_registration_again_changes_nothing() {
    let world = game().await;
    let build = Build::new("game", "1");
    let first: Release = world.register(&build).await.ok();
    let told = world.sink.all().len();
    let reply = world.register(&build).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.ok::<Release>(), first);
    assert_eq!(world.sink.all().len(), told);
}

#[tokio::test]
async fn a_version_never_changes() {
    let world = game().await;
    world.register(&Build::new("game", "1")).await.ok::<Value>();
    let other = Build::new("game", "1").component("more", "base");
    let detail = world.register(&other).await.refused(409, "conflict");
    assert!(detail.contains("another manifest") && detail.contains('1'), "{detail}");
    let padded = Build::new("game", "1").pack("base", "base", b"one more pack");
    let detail = world.register(&padded).await.refused(409, "conflict");
    assert!(detail.contains("another list of blobs"), "{detail}");
    let mut windows = Build::new("game", "1");
    windows.root.platform = Platform::new("windows-x86_64").expect("name");
    world.register(&windows).await.ok::<Value>();
}

#[tokio::test]
async fn each_false_claim_has_its_own_refusal() {
    type Spoil = fn(&mut RegisterRelease, &World);
    let world = game().await;
    let build = Build::new("game", "1");
    let cases: [(&str, u16, &str, &str, Spoil); 13] = [
        ("version", 400, "bad_request", "for version 1, not 2", |r, _| {
            r.version = Version::new("2").expect("name");
        }),
        ("platform", 400, "bad_request", "for platform any, not mac", |r, _| {
            r.platform = Platform::new("mac").expect("name");
        }),
        ("no such manifest", 404, "not_found", "not stored here", |r, _| r.manifest = BlobId::of(b"other")),
        ("not a manifest", 400, "bad_request", "malformed", |r, w| r.manifest = w.origin.put(b"not an envelope")),
        ("publisher text", 400, "bad_request", "ed25519", |r, _| r.publisher = "me".to_owned()),
        ("wrong publisher", 400, "bad_request", "not signed by the trusted publisher", |r, _| {
            r.publisher = publisher_text(7);
        }),
        ("missing member", 404, "not_found", "not stored here", |r, _| {
            r.members.push(member(BlobId::of(b"nowhere"), "base", "base"));
        }),
        ("unlisted part", 400, "bad_request", "must list the part", |r, _| drop(r.members.remove(0))),
        ("unlisted manifest", 400, "bad_request", "manifest", |r, _| drop(r.members.pop())),
        ("foreign group", 400, "bad_request", "the manifest says base", |r, _| {
            r.members[2] = member(r.members[2].blob, "base", "dlc");
        }),
        ("undelegated key", 409, "conflict", "does not name this node's channel key", |r, _| {
            r.delegation = delegation(1, "game", key(5).public(), 1);
        }),
        ("another's delegation", 400, "bad_request", "not signed by the trusted publisher", |r, w| {
            r.delegation = delegation(7, "game", w.control.channel_key(), 1);
        }),
        ("another product's delegation", 400, "bad_request", "for product other, not game", |r, w| {
            r.delegation = delegation(1, "other", w.control.channel_key(), 1);
        }),
    ];
    let before = world.sink.all();
    for (name, status, code, expected, spoil) in cases {
        let mut request = build.request(&world);
        spoil(&mut request, &world);
        let detail = world.post("/products/game/releases", &request).await.refused(status, code);
        assert!(detail.contains(expected), "{name}: {detail}");
    }
    let elsewhere = world.post("/products/other/releases", &build.request(&world)).await;
    assert!(elsewhere.refused(404, "not_found").contains("POST /admin/v1/products"));
    world.product("other", "open").await;
    let elsewhere = world.post("/products/other/releases", &build.request(&world)).await;
    assert!(elsewhere.refused(400, "bad_request").contains("for product game, not other"));
    assert_eq!(world.sink.all().len(), before.len() + 1, "nothing but the product was told");
    world.register(&build).await.ok::<Value>();
}

#[tokio::test]
async fn a_part_of_another_length_is_refused() {
    let world = game().await;
    let mut build = Build::new("game", "1");
    build.root.components[0].tree[0].stored_bytes += 1;
    let detail = world.register(&build).await.refused(409, "conflict");
    assert!(detail.contains("the manifest says"), "{detail}");
}

#[tokio::test]
async fn the_first_release_pins_the_publisher() {
    let world = game().await;
    world.register(&Build::new("game", "1")).await.ok::<Value>();
    let mut stranger = Build::new("game", "2");
    (stranger.publisher, stranger.signer, stranger.delegation_sequence) = (2, 2, 2);
    let detail = world.register(&stranger).await.refused(409, "conflict");
    assert!(detail.contains("pinned to the publisher") && detail.contains("rotation"), "{detail}");
    let mut forged = Build::new("game", "2");
    forged.signer = 2;
    world.register(&forged).await.refused(400, "bad_request");
    let list: ReleasesAnswer = world.get("/products/game/releases").await.ok();
    assert_eq!(list.releases.len(), 1);
}

#[tokio::test]
async fn delegations_only_go_forward() {
    let world = game().await;
    let mut first = Build::new("game", "1");
    first.delegation_sequence = 5;
    world.register(&first).await.ok::<Value>();
    let mut older = Build::new("game", "2");
    older.delegation_sequence = 4;
    let detail = world.register(&older).await.refused(409, "conflict");
    assert!(detail.contains("sequence 4, older than 5"), "{detail}");
    let mut same_number = Build::new("game", "2").request(&world);
    same_number.delegation = {
        let keys = penstock_core::keys::TrustSet::new(vec![world.control.channel_key(), key(9).public()], 1);
        let statement = penstock_core::statement::Delegation {
            product: penstock_core::id::ProductId::new("game").expect("name"),
            keys: keys.expect("set"),
            sequence: 5,
            issued: crate::support::NOW,
            expires: None,
        };
        penstock_core::sign::seal(penstock_core::envelope::Purpose::Delegation, statement.encode(), &[&key(1)]).encode()
    };
    let detail = world.post("/products/game/releases", &same_number).await.refused(409, "conflict");
    assert!(detail.contains("another delegation with sequence 5"), "{detail}");
    older.delegation_sequence = 6;
    world.register(&older).await.ok::<Value>();
}

#[tokio::test]
async fn content_never_reaches_a_wider_audience() {
    let world = game().await;
    world.product("demo", "open").await;
    world.product("secret", "closed").await;
    let secret = Build::new("secret", "1").pack("base", "base", b"secret pack");
    world.register(&secret).await.ok::<Value>();
    let base = Build::new("game", "1").component("dlc", "owners").pack("dlc", "owners", b"dlc pack");
    world.register(&base).await.ok::<Value>();
    world.register(&Build::new("demo", "1").pack("base", "base", b"demo pack")).await.ok::<Value>();

    let leaks = [
        ("a closed product's pack", Build::new("game", "2").pack("base", "base", b"secret pack")),
        ("a licensed product's pack", Build::new("demo", "2").pack("base", "base", b"pack of game 1 base base")),
        ("an add-on's pack in the base", Build::new("game", "2").pack("base", "base", b"dlc pack")),
        (
            "one add-on's pack in another",
            Build::new("game", "2").component("dlc2", "others").pack("dlc2", "others", b"dlc pack"),
        ),
    ];
    for (name, leak) in leaks {
        let detail = world.register(&leak).await.refused(409, "conflict");
        let blob = leak.members.last().expect("a pack").blob.to_string();
        assert!(detail.contains(&blob), "{name}: {detail}");
    }
    let fine = [
        Build::new("game", "2").pack("base", "base", b"demo pack"),
        Build::new("game", "3").pack("base", "base", b"pack of game 1 base base"),
        Build::new("game", "4").component("dlc", "owners").pack("dlc", "owners", b"pack of game 1 base base"),
        Build::new("game", "5").component("dlc", "owners").pack("dlc", "owners", b"dlc pack"),
    ];
    for build in fine {
        world.register(&build).await.ok::<Value>();
    }
}

#[tokio::test]
async fn a_release_is_taken_back_and_given_out_again() {
    let world = game().await;
    world.register(&Build::new("game", "1")).await.ok::<Value>();
    let path = "/products/game/releases/1";
    let told = world.sink.all().len();
    let withdrawn: Release = world.post(&format!("{path}/withdraw?platform=any"), &()).await.ok();
    assert_eq!(withdrawn.state, ReleaseState::Withdrawn);
    let CatalogChange::Release { release, members } = world.sink.all().pop().expect("told") else { panic!("told") };
    assert_eq!((release.state, members.len()), (ReleaseState::Withdrawn, 4));
    world.post(&format!("{path}/withdraw"), &()).await.ok::<Release>();
    assert_eq!(world.sink.all().len(), told + 1, "withdrawing twice is one change");
    let restored: Release = world.post(&format!("{path}/restore"), &()).await.ok();
    assert_eq!(restored.state, ReleaseState::Live);
    world.post(&format!("{path}/withdraw?platform=mac"), &()).await.refused(404, "not_found");
    world.post("/products/game/releases/9/restore", &()).await.refused(404, "not_found");
    world.post(&format!("{path}/withdraw?platfrom=mac"), &()).await.refused(400, "bad_request");
    let world = world.restarted();
    world.get(path).await.ok::<Release>();
}

#[tokio::test]
async fn a_release_whose_blobs_were_lost_is_reported_and_mended() {
    let world = game().await;
    let build = Build::new("game", "1");
    world.register(&build).await.ok::<Value>();
    world.offer("game", "stable", "1").await.ok::<Value>();
    let lost = build.members[2].blob;
    world.origin.lose(lost);
    let world = world.restarted();
    let status: StatusAnswer = world.get("/status").await.ok();
    let incomplete = &status.incomplete[0];
    assert_eq!((incomplete.version.as_str(), incomplete.missing, incomplete.example), ("1", 1, lost));
    assert!(world.sink.all().iter().any(|c| matches!(c, CatalogChange::Release { .. })), "told all the same");
    world.register(&build).await.ok::<Value>();
    world.origin.lose(lost);
    let detail = world.offer("game", "beta", "1").await.refused(409, "conflict");
    assert!(detail.contains(&lost.to_string()), "{detail}");
    let bytes = build.blobs[2].clone();
    world.call(http::Method::PUT, &format!("/blobs/{lost}"), bytes).await.ok::<Value>();
    let status: StatusAnswer = world.get("/status").await.ok();
    assert_eq!(status.incomplete, []);
    world.offer("game", "beta", "1").await.ok::<Value>();
}
