//! Releases: what is accepted, and every way to be refused.

use crate::support::{Build, Engine, WATCHDOG, World, delegation, key, member, publisher_text};
use penstock_control::ReleaseChange;
use penstock_core::api::{RegisterRelease, ReleasesAnswer, SigningAnswer};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{CatalogChange, Release, ReleaseState};
use penstock_core::desk::{ReleaseDetail, StatusAnswer};
use penstock_core::id::{Platform, Version};
use serde_json::Value;
use std::sync::Arc;

crate::on_both_engines! {
    a_release_is_registered_told_and_listed,
    the_same_registration_again_changes_nothing,
    a_version_never_changes,
    each_false_claim_has_its_own_refusal,
    a_part_of_another_length_is_refused,
    the_first_release_pins_the_publisher,
    delegations_only_go_forward,
    content_never_reaches_a_wider_audience,
    a_release_is_taken_back_and_given_out_again,
    a_withdrawal_names_the_channels_that_offer_the_release,
    a_release_whose_blobs_were_lost_is_reported_and_mended,
    a_release_may_leave_the_delegation_in_force,
    other_changes_go_on_while_a_release_is_checked,
    an_audience_that_changes_during_the_check_is_noticed,
    a_release_is_registered_however_much_changes_meanwhile,
}

async fn game(engine: Engine) -> World {
    let world = World::new(engine);
    world.product("game", "licensed").await;
    world
}

async fn a_release_is_registered_told_and_listed(engine: Engine) {
    let world = game(engine).await;
    let build = Build::new("game", "1.0+a~b").component("lang.de", "base");
    let reply = world.register(&build).await;
    assert_eq!(reply.status, 201);
    let release: Release = reply.ok();
    assert_eq!((release.content_bytes, release.entry_count, release.state), (2000, 2, ReleaseState::Live));
    assert_eq!(release.manifest_bytes, build.manifest().len() as u64);
    let CatalogChange::Release { release: told, members, .. } = world.sink.all().pop().expect("told") else {
        unreachable!("a release was told last")
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

async fn the_same_registration_again_changes_nothing(engine: Engine) {
    let world = game(engine).await;
    let build = Build::new("game", "1");
    let first: Release = world.register(&build).await.ok();
    let told = world.sink.all().len();
    let reply = world.register(&build).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.ok::<Release>(), first);
    assert_eq!(world.sink.all().len(), told);
}

async fn a_version_never_changes(engine: Engine) {
    let world = game(engine).await;
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

async fn each_false_claim_has_its_own_refusal(engine: Engine) {
    type Spoil = fn(&mut RegisterRelease, &World);
    let world = game(engine).await;
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
        ("wrong publisher", 403, "signature_refused", "not signed by the trusted publisher", |r, _| {
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
        ("another's delegation", 403, "signature_refused", "not signed by the trusted publisher", |r, w| {
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
    let detail = elsewhere.refused(404, "not_found");
    assert!(detail.ends_with("create it with `penstock product add` (POST /admin/v1/products)"), "{detail}");
    world.product("other", "open").await;
    let elsewhere = world.post("/products/other/releases", &build.request(&world)).await;
    assert!(elsewhere.refused(400, "bad_request").contains("for product game, not other"));
    assert_eq!(world.sink.all().len(), before.len() + 1, "nothing but the product was told");
    world.register(&build).await.ok::<Value>();
}

async fn a_part_of_another_length_is_refused(engine: Engine) {
    let world = game(engine).await;
    let mut build = Build::new("game", "1");
    build.root.components[0].tree[0].stored_bytes += 1;
    let detail = world.register(&build).await.refused(409, "conflict");
    assert!(detail.contains("the manifest says"), "{detail}");
}

async fn the_first_release_pins_the_publisher(engine: Engine) {
    let world = game(engine).await;
    world.register(&Build::new("game", "1")).await.ok::<Value>();
    let mut stranger = Build::new("game", "2");
    (stranger.publisher, stranger.signer, stranger.delegation_sequence) = (2, 2, 2);
    let detail = world.register(&stranger).await.refused(403, "signature_refused");
    assert!(detail.contains("pinned to the publisher") && detail.contains("rotation"), "{detail}");
    let mut forged = Build::new("game", "2");
    forged.signer = 2;
    world.register(&forged).await.refused(403, "signature_refused");
    let list: ReleasesAnswer = world.get("/products/game/releases").await.ok();
    assert_eq!(list.releases.len(), 1);
}

async fn delegations_only_go_forward(engine: Engine) {
    let world = game(engine).await;
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

async fn content_never_reaches_a_wider_audience(engine: Engine) {
    let world = game(engine).await;
    world.product("demo", "open").await;
    world.product("secret", "closed").await;
    let secret = Build::new("secret", "1").pack("base", "base", b"secret pack");
    world.register(&secret).await.ok::<Value>();
    let base = Build::new("game", "1").component("dlc", "owners").pack("dlc", "owners", b"dlc pack");
    let base = base.component("lang.de", "base").pack("lang.de", "base", b"german pack");
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
        (
            "one add-on's pack in another of the same group",
            Build::new("game", "2").component("dlc2", "owners").pack("dlc2", "owners", b"dlc pack"),
        ),
        ("a language's pack in the base", Build::new("game", "2").pack("base", "base", b"german pack")),
        (
            "one language's pack in another",
            Build::new("game", "2").component("lang.fr", "base").pack("lang.fr", "base", b"german pack"),
        ),
        ("an open product's pack", Build::new("game", "2").pack("base", "base", b"demo pack")),
    ];
    for (name, leak) in leaks {
        let detail = world.register(&leak).await.refused(409, "conflict");
        let blob = leak.members.last().expect("a pack").blob.to_string();
        assert!(detail.contains(&blob), "{name}: {detail}");
    }
    let fine = [
        Build::new("game", "2").component("lang.de", "translators").pack("lang.de", "translators", b"german pack"),
        Build::new("game", "3").pack("base", "base", b"pack of game 1 base base"),
        Build::new("game", "4").component("dlc", "owners").pack("dlc", "owners", b"pack of game 1 base base"),
        Build::new("game", "5").component("dlc", "owners").pack("dlc", "owners", b"dlc pack"),
    ];
    for build in fine {
        world.register(&build).await.ok::<Value>();
    }
}

async fn a_release_is_taken_back_and_given_out_again(engine: Engine) {
    let world = game(engine).await;
    world.register(&Build::new("game", "1")).await.ok::<Value>();
    let path = "/products/game/releases/1";
    let told = world.sink.all().len();
    let withdrawn: Release = world.post(&format!("{path}/withdraw?platform=any"), &()).await.ok();
    assert_eq!(withdrawn.state, ReleaseState::Withdrawn);
    let CatalogChange::Release { release, members, .. } = world.sink.all().pop().expect("told") else {
        unreachable!("told last")
    };
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

/// Channels go on offering what was withdrawn; whoever withdraws it is told which.
async fn a_withdrawal_names_the_channels_that_offer_the_release(engine: Engine) {
    let world = game(engine).await;
    let windows = Platform::new("windows-x86_64").expect("name");
    for version in ["1", "2"] {
        world.register(&Build::new("game", version)).await.ok::<Value>();
        let mut build = Build::new("game", version);
        build.root.platform = windows.clone();
        world.register(&build).await.ok::<Value>();
    }
    for (channel, version) in [("stable", "1"), ("beta", "1"), ("old", "1"), ("old", "2")] {
        world.offer("game", channel, version).await.ok::<Value>();
    }
    let names = |change: &ReleaseChange| -> Vec<String> { change.offered_by.iter().map(ToString::to_string).collect() };
    let path = "/products/game/releases/1";
    let change: ReleaseChange = world.post(&format!("{path}/withdraw"), &()).await.ok();
    assert_eq!((change.release.state, names(&change)), (ReleaseState::Withdrawn, vec!["beta".into(), "stable".into()]));
    let elsewhere: ReleaseChange = world.post(&format!("{path}/withdraw?platform={windows}"), &()).await.ok();
    assert_eq!(names(&elsewhere), Vec::<String>::new(), "no channel offers it for that platform");
    world.offer("game", "beta", "2").await.ok::<Value>();
    let again: ReleaseChange = world.post(&format!("{path}/withdraw"), &()).await.ok();
    assert_eq!(names(&again), ["stable"], "asked again, it says how things stand");
    let document: Value = world.post(&format!("{path}/restore"), &()).await.ok();
    assert_eq!((&document["version"], &document["offered_by"]), (&"1".into(), &serde_json::json!(["stable"])));
}

async fn a_release_whose_blobs_were_lost_is_reported_and_mended(engine: Engine) {
    let world = game(engine).await;
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

async fn a_release_may_leave_the_delegation_in_force(engine: Engine) {
    let world = game(engine).await;
    let mut request = Build::new("game", "1").request(&world);
    request.delegation.clear();
    let detail = world.post("/products/game/releases", &request).await.refused(409, "conflict");
    assert!(detail.contains("no delegation yet") && detail.contains("ed25519:"), "{detail}");
    // Both of two first publishers sign number 1; the second is refused, and then needs none.
    let mut first = Build::new("game", "1").request(&world);
    first.delegation = delegation(1, "game", world.control.channel_key(), 1);
    world.post("/products/game/releases", &first).await.ok::<Value>();
    let signing: SigningAnswer = world.get("/products/game/signing").await.ok();
    assert_eq!(signing.delegation_expires, None);
    let mut second = Build::new("game", "2").request(&world);
    second.delegation.clear();
    world.post("/products/game/releases", &second).await.ok::<Value>();
    assert_eq!(world.get("/products/game/signing").await.ok::<SigningAnswer>(), signing);
    // A node whose key is another by now cannot do with what is in force.
    std::fs::remove_file(world.dir.path().join("keys/channel.key")).expect("lost");
    let world = world.restarted();
    let detail = world.post("/products/game/releases", &second).await.refused(409, "conflict");
    assert!(detail.contains("does not name this node's channel key"), "{detail}");
}

/// A check of 100,000 blobs takes seconds; it used to hold the writer's lock all the while.
async fn other_changes_go_on_while_a_release_is_checked(engine: Engine) {
    let world = Arc::new(game(engine).await);
    world.register(&Build::new("game", "0")).await.ok::<Value>();
    let build = Build::new("game", "1");
    let request = build.request(&world);
    for (step, body) in ["check", "offer"].into_iter().enumerate() {
        let (began, begins) = tokio::sync::oneshot::channel::<()>();
        let (go_on, wait) = std::sync::mpsc::sync_channel::<()>(1);
        world.origin.when_asked_for(build.members[0].blob, move || {
            began.send(()).expect("the test waits");
            // An error means that the test gave up.
            let _ = wait.recv();
        });
        let (theirs, request) = (Arc::clone(&world), request.clone());
        let working = tokio::spawn(async move {
            match body {
                "check" => theirs.post("/products/game/releases", &request).await,
                _ => theirs.offer("game", "stable", "1").await,
            }
        });
        begins.await.expect("the check began");
        let others = async {
            world.product(&format!("other-{step}"), "open").await;
            world.offer("game", "beta", "0").await.ok::<Value>();
        };
        tokio::time::timeout(WATCHDOG, others).await.expect("they do not wait for the check");
        go_on.send(()).expect("the check waits");
        working.await.expect("no panic").ok::<Value>();
    }
}

/// While the game's release is checked, a closed product becomes the first owner of a pack in it.
async fn an_audience_that_changes_during_the_check_is_noticed(engine: Engine) {
    let world = Arc::new(game(engine).await);
    world.product("secret", "closed").await;
    let build = Build::new("game", "1").pack("base", "base", b"the pack");
    let request = build.request(&world);
    let (theirs, runtime) = (Arc::clone(&world), tokio::runtime::Handle::current());
    world.origin.when_asked_for(build.members[0].blob, move || {
        runtime.block_on(async {
            theirs.register(&Build::new("secret", "1").pack("base", "base", b"the pack")).await.ok::<Value>();
        });
    });
    let detail = world.post("/products/game/releases", &request).await.refused(409, "conflict");
    assert!(detail.contains(&BlobId::of(b"the pack").to_string()) && detail.contains("secret"), "{detail}");
}

/// A record that never rests: the check is done under the lock in the end.
async fn a_release_is_registered_however_much_changes_meanwhile(engine: Engine) {
    fn keep_changing(world: &Arc<World>, blob: BlobId, left: u32) {
        let (theirs, runtime) = (Arc::clone(world), tokio::runtime::Handle::current());
        world.origin.when_asked_for(blob, move || {
            runtime.block_on(theirs.product(&format!("p{left}"), "open"));
            if left > 0 {
                keep_changing(&theirs, blob, left - 1);
            }
        });
    }
    let world = Arc::new(game(engine).await);
    let build = Build::new("game", "1");
    let request = build.request(&world);
    // The record knows the blobs, so each look asks the store once.
    for bytes in &build.blobs {
        world.call(http::Method::PUT, &format!("/blobs/{}", BlobId::of(bytes)), bytes.clone()).await.ok::<Value>();
    }
    keep_changing(&world, build.members[0].blob, 20);
    assert_eq!(world.post("/products/game/releases", &request).await.status, 201);
    world.get("/products/p18").await.ok::<Value>();
    world.get("/products/p17").await.refused(404, "not_found");
}
