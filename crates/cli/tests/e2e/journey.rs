//! The main job: publish → serve → pull → update → compare, and the way back.

use crate::world::{World, assert_same, document, run, said, text};
use penstock_testkit::Tree;
use rustix::process::Signal;

#[test]
fn a_build_is_published_installed_updated_and_brought_back() {
    let world = World::awake();
    let first = Tree::small_game(1, 3_000_000);
    let second = first.next_release();
    let into = world.path("install");
    world.publish(&first, "1.0");
    let report = world.pull(&into);
    assert_eq!(report["to"], "1.0");
    assert_same(&first, &into);
    std::fs::write(into.join("my-notes.txt"), "the player's own").expect("written");

    world.publish(&second, "1.1");
    let mut update = world.pull_command(&into);
    let output = update.arg("--keep-previous").output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
    let report = document(&output);
    assert_eq!((report["from"].as_str(), report["to"].as_str()), (Some("1.0"), Some("1.1")));
    let fetched = report["downloaded_bytes"].as_u64().expect("a number");
    assert!(fetched < second.bytes() / 4, "an update of few bytes fetched {fetched} of {}", second.bytes());
    std::fs::remove_file(into.join("my-notes.txt")).expect("the player's file was left alone");
    assert_same(&second, &into);

    let verified = run(["verify", text(&into), "--json"]);
    assert!(verified.status.success(), "{}", said(&verified));
    let back = run(["rollback", text(&into), "--json"]);
    assert!(back.status.success(), "{}", said(&back));
    assert_same(&first, &into);
    world.pull(&into);
    assert_same(&second, &into);
}

#[test]
fn damage_is_found_and_mended() {
    let world = World::awake();
    let tree = Tree::small_game(2, 1_000_000);
    let into = world.path("install");
    world.publish(&tree, "1.0");
    world.pull(&into);
    let pak = into.join("data/world.pak");
    let mut bytes = std::fs::read(&pak).expect("there");
    bytes[100_000] ^= 1;
    std::fs::write(&pak, bytes).expect("written");
    std::fs::remove_file(into.join("scripts/00.lua")).expect("there");

    let found = run(["verify", text(&into), "--json"]);
    assert_eq!(found.status.code(), Some(1), "{}", said(&found));
    assert_eq!(document(&found)["damaged_count"], 2);
    let mended = run(["repair", text(&into), "--ca", text(&world.certificate.ca), "--json"]);
    assert!(mended.status.success(), "{}", said(&mended));
    assert!(document(&mended)["downloaded_bytes"].as_u64().expect("a number") < 600_000);
    assert_same(&tree, &into);
    let verified = run(["verify", text(&into)]);
    assert!(verified.status.success(), "{}", said(&verified));
}

#[test]
fn publishing_works_with_and_without_a_running_node_and_is_served_when_it_returns() {
    let mut world = World::asleep();
    let first = Tree::small_game(3, 500_000);
    world.publish(&first, "1.0");
    world.wake();
    let into = world.path("install");
    world.pull(&into);
    assert_same(&first, &into);
    let second = first.next_release();
    world.publish(&second, "1.1");
    world.pull(&into);
    assert_same(&second, &into);

    let third = second.clone().file("docs/third.txt", "over the admin URL\n");
    third.write(&world.path("build-1.2")).expect("written");
    let mut publish = crate::world::command();
    publish.args([
        "publish",
        text(&world.path("build-1.2")),
        "--product",
        "game",
        "--version",
        "1.2",
        "--channel",
        "stable",
    ]);
    publish.args(["--key", text(&world.path("publisher.key")), "--to", &world.url("admin_url"), "--json"]);
    let refused = publish.output().expect("starts");
    assert_ne!(refused.status.code(), Some(0), "the admin listener wants a token");
    let output = publish.env("PENSTOCK_ADMIN_TOKEN", world.admin_token()).output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
    world.pull(&into);
    assert_same(&third, &into);
}

#[test]
fn a_dry_run_says_what_it_would_take_and_changes_nothing() {
    let world = World::awake();
    let tree = Tree::small_game(4, 800_000);
    world.publish(&tree, "1.0");
    let into = world.path("install");
    let output = world.pull_command(&into).arg("--dry-run").output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
    let report = document(&output);
    assert_eq!(report["preflight"]["final_bytes"].as_u64(), Some(tree.bytes()), "{report}");
    let left = into.exists().then(|| Tree::read(&into).expect("readable").nodes.len());
    assert!(matches!(left, None | Some(0)), "a dry run wrote files");
}

#[test]
fn wrong_keys_products_and_versions_are_refused_with_nothing_written() {
    let world = World::awake();
    world.publish(&Tree::small_game(5, 300_000), "1.0");
    let other = run(["key", "new", "--out", text(&world.path("other.key"))]);
    let other = String::from_utf8(other.stdout).expect("text").trim().to_owned();
    let into = world.path("install");
    let pull = |extra: &[&str], trust: &str| {
        let mut pull = crate::world::command();
        pull.args([
            "pull",
            "--from",
            &world.url("https_url"),
            "--ca",
            text(&world.certificate.ca),
            "--into",
            text(&into),
        ]);
        pull.args(["--trust", trust]).args(extra).output().expect("starts")
    };
    let wrong_key = pull(&["--product", "game"], &other);
    assert_eq!(wrong_key.status.code(), Some(2), "{}", said(&wrong_key));
    let unknown = pull(&["--product", "nothing"], &world.trust);
    assert!(matches!(unknown.status.code(), Some(1 | 2)), "{}", said(&unknown));
    let version = pull(&["--product", "game", "--version", "9"], &world.trust);
    assert!(matches!(version.status.code(), Some(1 | 2)), "{}", said(&version));
    let left = into.exists().then(|| Tree::read(&into).expect("readable").nodes.len());
    assert!(matches!(left, None | Some(0)), "something was written");
}

#[test]
fn a_node_reloads_and_survives_a_restart() {
    let mut world = World::awake();
    let tree = Tree::small_game(6, 400_000);
    world.publish(&tree, "1.0");
    world.daemon().signal(Signal::HUP);
    assert!(world.daemon().await_state("READY=1", std::time::Duration::from_secs(20)), "no READY after a reload");
    let into = world.path("a");
    world.pull(&into);
    assert_same(&tree, &into);
    let status = world.daemon().terminate().expect("ends");
    assert_eq!(status.code(), Some(0), "{}", world.daemon().log());
    world.wake();
    let into = world.path("b");
    world.pull(&into);
    assert_same(&tree, &into);
}
