//! Policy from the desk: revoked tokens, embargo, segments, rollouts and the oldest supported version.

use crate::entitled::{desk, licensed, pull, refused, token};
use crate::world::{World, assert_same, command, said, text};
use penstock_testkit::Tree;
use serde_json::{Value, json};

/// A desk command that fails: exit code and what it said.
fn refusal(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let output = command().args(args).args(["--to", text(&world.data())]).output().expect("starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_revoked_token_is_worth_nothing() {
    let tree = Tree::small_game(71, 200_000);
    let mut world = licensed(&tree);
    desk(&world, &["account", "add", "alice"]);
    desk(&world, &["entitlement", "add", "--account", "alice", "--product", "game"]);
    let leaked = token(&world, "alice", &[]);
    assert!(pull(&world, Some(&leaked), &world.path("first")).status.success());
    let taken = desk(&world, &["revoke", "add", "--token-file", text(&leaked)]);
    assert_eq!(taken, json!({ "revoked": 1, "known": 0, "ended": 0 }));
    refused(&pull(&world, Some(&leaked), &world.path("second")), "token_revoked");
    let fresh = token(&world, "alice", &[]);
    assert!(pull(&world, Some(&fresh), &world.path("second")).status.success(), "another token of the same account");

    let list = world.path("revoked.txt");
    std::fs::write(&list, "id-1\n\n{\"id\": \"id-2\", \"issuer\": \"https://id.example\"}\nid-3\n").expect("written");
    let import = ["revoke", "import", text(&list), "--issuer", "https://other.example"];
    assert_eq!(desk(&world, &import), json!({ "lines": 3, "revoked": 3, "known": 0, "ended": 0 }));
    assert_eq!(desk(&world, &import), json!({ "lines": 3, "revoked": 0, "known": 3, "ended": 0 }), "and once more");
    assert_eq!(desk(&world, &["revoke", "list", "--limit", "2"])["total"], 4);
    desk(&world, &["revoke", "show", "id-2", "--issuer", "https://id.example"]);
    assert_eq!(refusal(&world, &["revoke", "show", "id-2"]).0, Some(1));
    std::fs::write(&list, "id-4\n{\"id\": 5}\n").expect("written");
    let (code, words) = refusal(&world, &["revoke", "import", text(&list)]);
    assert!(code == Some(1) && words.contains("line 2"), "{words}");
    desk(&world, &["revoke", "show", "id-4"]);
    assert_eq!(refusal(&world, &["revoke", "add"]).0, Some(64));
    let (log, secret) = (world.daemon().log(), std::fs::read_to_string(&leaked).expect("a token"));
    assert!(log.contains("/admin/v1/revocations"), "calls were logged");
    assert!(secret.split('.').skip(1).all(|part| !log.contains(part)), "a part of the token is in the log");
}

#[test]
fn embargo_and_segments_are_kept_from_the_desk() {
    let tree = Tree::small_game(72, 50_000);
    let world = licensed(&tree);
    desk(&world, &["product", "set", "game", "--export-class", "5D002"]);
    let file = world.path("policy.json");
    let rules = json!({ "regions": { "UA-43": "deny", "CN": "hold" }, "elsewhere": "allow", "unknown": "deny" });
    let policy =
        |version: u64| json!({ "version": version, "classes": { "5D002": rules, "EAR99": rules } }).to_string();
    std::fs::write(&file, policy(0)).expect("written");
    let answer = desk(&world, &["embargo", "set", text(&file)]);
    assert_eq!(answer["version"], 1);
    assert!(answer["warnings"][0].as_str().expect("a warning").contains("EAR99"), "{answer}");
    let test = |args: &[&str]| desk(&world, &[&["embargo", "test"], args].concat())["ruling"].clone();
    assert_eq!(test(&["--product", "game", "--region", "UA-43"]), "deny");
    assert_eq!(test(&["--class", "5D002", "--region", "CN-SH"]), "hold");
    assert_eq!(test(&["--class", "other", "--region", "UA-43"]), "allow");
    assert_eq!(test(&["--class", "5D002"]), "deny");
    std::fs::write(&file, json!({ "version": 0, "classes": {} }).to_string()).expect("written");
    let (code, words) = refusal(&world, &["embargo", "set", text(&file)]);
    assert!(code == Some(1) && words.contains("version 1 is"), "{words}");
    assert_eq!(desk(&world, &["embargo", "show"])["version"], 1);
    assert_eq!(desk(&world, &["embargo", "show", "--version", "0"])["classes"], json!({}));
    assert_eq!(desk(&world, &["embargo", "history"])["versions"].as_array().map(Vec::len), Some(1));

    desk(&world, &["account", "add", "alice", "--attribute", "tenure=400"]);
    let list = world.path("press.txt");
    std::fs::write(&list, "alice\ninstall-7\n").expect("written");
    assert_eq!(desk(&world, &["segment", "set", "press", "--list", text(&list)])["listed"], 2);
    desk(&world, &["segment", "set", "veterans", "--score", "tenure", "--from", "365"]);
    let predicate = r#"{"at_least": {"attribute": "tenure", "number": 500}}"#;
    desk(&world, &["segment", "set", "elders", "--where", predicate]);
    let test = |segment: &str| desk(&world, &["segment", "test", segment, "--account", "alice"]);
    for (segment, is_in, reason) in [
        ("press", true, "the list names it"),
        ("veterans", true, "its tenure is 400"),
        ("elders", false, "tenure is 400"),
    ] {
        let verdict = test(segment);
        assert!(verdict["is_in"] == is_in && verdict["reason"].as_str().expect("words").contains(reason), "{verdict}");
    }
    assert_eq!(desk(&world, &["segment", "list"])["segments"].as_array().map(Vec::len), Some(3));
    desk(&world, &["segment", "rm", "press"]);
    assert_eq!(refusal(&world, &["segment", "show", "press"]).0, Some(1));
    assert_eq!(refusal(&world, &["segment", "set", "x", "--where", "{"]).0, Some(64));
    assert_eq!(refusal(&world, &["segment", "set", "x", "--from", "3"]).0, Some(64));
}

#[test]
fn a_rollout_is_steered_from_the_desk() {
    let world = licensed(&Tree::small_game(73, 50_000));
    let build = world.path("build-1.1");
    Tree::small_game(74, 50_000).write(&build).expect("written");
    let output = command()
        .args(["publish", text(&build), "--product", "game", "--version", "1.1"])
        .args(["--key", text(&world.path("publisher.key")), "--to", text(&world.data())])
        .output()
        .expect("starts");
    assert!(output.status.success(), "{}", said(&output));
    let rollout = |verb: &str, more: &[&str]| desk(&world, &[&["rollout", verb, "game", "stable"], more].concat());
    let row = rollout("start", &["1.1", "--step", "5", "--step", "100@7d"]);
    assert_eq!((&row["target"], &row["fallback"], &row["state"]), (&json!("1.1"), &json!("1.0"), &json!("running")));
    assert_eq!((&row["in_force"], row["steps"].as_array().map(Vec::len)), (&json!([0]), Some(2)));
    let (code, words) = refusal(&world, &["channel", "set", "game", "stable", "1.1"]);
    assert!(code == Some(1) && words.contains("rolled out to 1.1"), "{words}");
    let (_, words) = refusal(&world, &["rollout", "step", "game", "stable", "4", "--change", "0"]);
    assert!(words.contains("its share would fall"), "{words}");
    let row = rollout("step", &["12.5", "--change", "0"]);
    assert_eq!(row["steps"][0]["share"], "12.5");
    assert_eq!(rollout("step", &["50@1d,region=DE"])["steps"][2]["regions"], json!(["DE"]));
    assert_eq!(rollout("step", &["--remove", "2"])["steps"].as_array().map(Vec::len), Some(2));
    assert_eq!(rollout("pause", &[])["state"], "paused");
    assert_eq!(rollout("resume", &[])["state"], "running");
    let channel: Value = desk(&world, &["channel", "show", "game", "stable"]);
    assert_eq!((&channel["version"], &channel["fallback"]), (&json!("1.1"), &json!("1.0")));
    assert_eq!(rollout("halt", &[])["state"], "halted");
    assert_eq!(desk(&world, &["channel", "show", "game", "stable"])["version"], "1.0");
    rollout("start", &["1.1", "--by-hand", "bypasses"]);
    assert_eq!(rollout("finish", &[])["state"], "finished");
    assert_eq!(rollout("show", &[])["state"], "finished");
    assert_eq!(desk(&world, &["rollout", "list", "game"])["rollouts"].as_array().map(Vec::len), Some(2));
    let minimum = |more: &[&str]| desk(&world, &[&["channel", "minimum", "game", "stable"], more].concat());
    assert_eq!(minimum(&[]), json!({ "platform": "any" }));
    let set = minimum(&["1.1", "--message", "Please update."]);
    assert_eq!(set["minimum"], json!({ "version": "1.1", "message": "Please update." }));
    assert_eq!(minimum(&["--clear"]), json!({ "platform": "any" }));
    let output = command().args(["rollout", "show", "game", "stable", "--to", text(&world.data())]).output();
    let words = said(&output.expect("starts"));
    assert!(words.contains("stable for any platform: 1.1 over 1.0, finished at"), "{words}");
}

/// Publishes a version of the open product `game`, and offers it to nobody.
fn publish_quietly(world: &World, tree: &Tree, version: &str) {
    let build = world.path(&format!("build-{version}"));
    tree.write(&build).expect("written");
    let output = command()
        .args(["publish", text(&build), "--product", "game", "--version", version])
        .args(["--key", text(&world.path("publisher.key")), "--to", text(&world.data())])
        .output()
        .expect("starts");
    assert!(output.status.success(), "{}", said(&output));
}

/// From the desk to the disk: nobody at 0 percent, those who ask by hand, everybody, and back when the brake is pulled.
#[test]
fn players_follow_a_rollout_and_its_brake() {
    let (old, new) = (Tree::small_game(75, 200_000), Tree::small_game(76, 200_000));
    let world = World::awake();
    world.publish(&old, "1.0");
    publish_quietly(&world, &new, "1.1");
    let (player, eager) = (world.path("player"), world.path("eager"));
    assert_eq!(world.pull(&player)["to"], "1.0");
    let rollout = |verb: &str, more: &[&str]| desk(&world, &[&["rollout", verb, "game", "stable"], more].concat());
    rollout("start", &["1.1", "--by-hand", "bypasses"]);
    assert_eq!((&world.pull(&player)["to"], &world.pull(&eager)["to"]), (&json!("1.0"), &json!("1.0")));
    let by_hand = world.pull_command(&eager).arg("--manual-check").output().expect("starts");
    assert!(by_hand.status.success(), "{}", said(&by_hand));
    assert_same(&new, &eager);
    assert_eq!(world.pull(&eager)["changed"], false, "a launcher's next check does not take it away");
    assert_eq!(world.pull(&player)["changed"], false);
    rollout("step", &["100"]);
    assert_eq!(world.pull(&player)["to"], "1.1");
    assert_same(&new, &player);
    rollout("halt", &[]);
    for install in [&player, &eager] {
        assert_eq!(world.pull(install)["to"], "1.0", "the brake takes back what was installed");
        assert_same(&old, install);
    }
    rollout("start", &["1.1", "--step", "0.01"]);
    assert_eq!(rollout("finish", &[])["state"], "finished");
    assert_eq!(world.pull(&player)["to"], "1.1");
}
