//! A licensed game, from the desk to the player's disk: accounts, entitlements, tokens, explanations.

use crate::world::{World, assert_same, command, document, said, text};
use penstock_testkit::Tree;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

/// The desk, with `--json`.
fn desk(world: &World, args: &[&str]) -> Value {
    let output = command().args(args).args(["--to", text(&world.data()), "--json"]).output().expect("starts");
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    document(&output)
}

/// A node with a licensed release of `game` on `stable`.
fn licensed(tree: &Tree) -> World {
    let world = World::awake();
    desk(&world, &["product", "add", "game", "--access", "licensed"]);
    publish(&world, tree, "1.0", &[]);
    world
}

fn publish(world: &World, tree: &Tree, version: &str, more: &[&str]) {
    let build = world.path(&format!("build-{version}"));
    tree.write(&build).expect("written");
    let mut publish = command();
    publish.args(["publish", text(&build), "--product", "game", "--version", version, "--channel", "stable"]);
    publish.args(["--key", text(&world.path("publisher.key")), "--to", text(&world.data())]).args(more);
    let output = publish.output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
}

/// A file with a fresh token.
fn token(world: &World, account: &str, more: &[&str]) -> PathBuf {
    let made = desk(world, &[&["token", "new", "--sub", account], more].concat());
    let file = world.path(&format!("{account}.jwt"));
    std::fs::write(&file, made["token"].as_str().expect("a token")).expect("written");
    file
}

fn pull(world: &World, token: Option<&Path>, into: &Path) -> Output {
    let mut pull = world.pull_command(into);
    if let Some(token) = token {
        pull.args(["--token-file", text(token)]);
    }
    pull.output().expect("starts")
}

#[track_caller]
fn refused(output: &Output, code: &str) {
    assert_eq!(output.status.code(), Some(2), "{}", said(output));
    assert!(String::from_utf8_lossy(&output.stderr).contains(code), "{}", said(output));
}

#[test]
fn only_those_who_hold_a_game_install_it() {
    let tree = Tree::small_game(61, 600_000);
    let mut world = licensed(&tree);
    let into = world.path("install");
    refused(&pull(&world, None, &into), "token_required");
    let alice = token(&world, "alice", &["--ttl", "1h"]);
    refused(&pull(&world, Some(&alice), &into), "account_unknown");
    desk(&world, &["account", "add", "alice"]);
    refused(&pull(&world, Some(&alice), &into), "not_entitled");
    assert!(!into.join("game").exists(), "nothing was begun");

    let given = desk(&world, &["entitlement", "add", "--account", "alice", "--product", "game"]);
    let id = given["id"].to_string();
    let output = pull(&world, Some(&alice), &into);
    assert!(output.status.success(), "{}", said(&output));
    assert_same(&tree, &into);

    // What was decided is still so after a restart.
    world.daemon().terminate().expect("ends well");
    world.wake();
    let next = tree.next_release();
    publish(&world, &next, "1.1", &[]);
    let output = pull(&world, Some(&alice), &into);
    assert!(output.status.success(), "{}", said(&output));
    assert_same(&next, &into);

    let other = world.path("other");
    let narrow = token(&world, "alice", &["--product", "else"]);
    refused(&pull(&world, Some(&narrow), &other), "token_too_narrow");
    assert_eq!(desk(&world, &["entitlement", "rm", &id])["account"], "alice");
    let alice = token(&world, "alice", &["--ttl", "1h"]);
    refused(&pull(&world, Some(&alice), &other), "not_entitled");
    desk(&world, &["entitlement", "add", "--account", "alice", "--product", "game"]);
    assert!(pull(&world, Some(&alice), &other).status.success());
    desk(&world, &["account", "set", "alice", "--standing", "suspended"]);
    refused(&pull(&world, Some(&alice), &world.path("third")), "account_suspended");
    desk(&world, &["account", "set", "alice", "--standing", "active", "--end-tokens"]);
    refused(&pull(&world, Some(&alice), &world.path("third")), "token_revoked");
    let shown = desk(&world, &["account", "show", "alice"]);
    assert_eq!(shown["entitlements"].as_array().map(Vec::len), Some(2), "{shown}");
}

#[test]
fn the_desk_can_say_why_a_player_was_refused() {
    let tree = Tree::small_game(62, 200_000);
    let world = licensed(&tree);
    desk(&world, &["account", "add", "bob", "--agreement", "eula@2"]);
    let explain = |more: &[&str]| desk(&world, &[&["explain", "--product", "game"], more].concat());
    let walk = |answer: &Value| -> Vec<String> {
        let steps = answer["steps"].as_array().expect("steps");
        steps.iter().map(|step| step["step"].as_str().expect("a name").to_owned()).collect()
    };
    let nobody = explain(&[]);
    assert_eq!((nobody["code"].as_str(), nobody["status"].as_u64()), (Some("token_required"), Some(401)));
    let nothing = explain(&["--account", "bob"]);
    assert_eq!((nothing["code"].as_str(), nothing["status"].as_u64()), (Some("not_entitled"), Some(403)));
    assert_eq!(walk(&nothing), ["token", "account", "embargo", "access", "holding"]);
    let add =
        ["entitlement", "add", "--account", "bob", "--product", "game", "--region", "DE", "--agreement", "eula@3"];
    desk(&world, &add);
    assert_eq!(explain(&["--account", "bob"])["code"], "region_unknown");
    assert_eq!(explain(&["--account", "bob", "--region", "FR"])["code"], "region_not_included");
    assert_eq!(explain(&["--account", "bob", "--region", "DE-BE"])["code"], "agreement_required");
    desk(&world, &["account", "set", "bob", "--agreement", "eula@3"]);
    let allowed = explain(&["--account", "bob", "--region", "DE-BE"]);
    assert_eq!(allowed["allowed"], true, "{allowed}");
    assert_eq!(walk(&allowed), ["token", "account", "embargo", "access", "holding", "release"]);
    let token = token(&world, "bob", &[]);
    let by_token = explain(&["--token-file", text(&token), "--region", "DE"]);
    assert_eq!(by_token["allowed"], true, "{by_token}");
    std::fs::write(&token, "a.b.c").expect("written");
    assert_eq!(explain(&["--token-file", text(&token)])["code"], "token_malformed");
}

/// Everything that the node wrote down, and every answer, is free of tokens.
#[test]
fn no_token_is_written_down() {
    let tree = Tree::small_game(63, 200_000);
    let mut world = licensed(&tree);
    desk(&world, &["account", "add", "carol"]);
    let file = token(&world, "carol", &[]);
    let secret = std::fs::read_to_string(&file).expect("a token");
    refused(&pull(&world, Some(&file), &world.path("install")), "not_entitled");
    desk(&world, &["entitlement", "add", "--account", "carol", "--product", "game"]);
    assert!(pull(&world, Some(&file), &world.path("install")).status.success());
    desk(&world, &["explain", "--product", "game", "--token-file", text(&file)]);
    let log = world.daemon().log();
    assert!(log.contains("\"route\":\"blob\"") || log.contains("/v1/blobs/"), "requests were logged");
    for part in secret.split('.') {
        assert!(!log.contains(part), "a part of the token is in the log");
    }
}
