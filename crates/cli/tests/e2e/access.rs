//! Credentials over the network: a publisher in CI, and what it may not; the audit of it all.

use crate::world::{World, command, document, said, text};
use penstock_testkit::Tree;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

fn desk(world: &World, args: &[&str]) -> Output {
    command().args(args).args(["--to", text(&world.data()), "--json"]).output().expect("starts")
}

fn done(world: &World, args: &[&str]) -> Value {
    let output = desk(world, args);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    document(&output)
}

#[test]
fn a_publishers_credential_publishes_and_does_nothing_else() {
    let mut world = World::awake();
    done(&world, &["product", "add", "game", "--access", "open"]);
    let secret = world.path("ci.secret");
    let add = ["credential", "add", "ci", "--role", "publisher", "--product", "game", "--ttl", "1h"];
    let made = done(&world, &[&add[..], &["--out", text(&secret)]].concat());
    assert!(made.get("secret").is_none(), "{made}");
    let kept = std::fs::read_to_string(&secret).expect("written");
    assert_eq!(std::fs::metadata(&secret).expect("there").permissions().mode() & 0o777, 0o600);
    // Neither a file that is there nor a terminal gets a secret by accident, and nothing is made then.
    let again = ["credential", "add", "two", "--role", "auditor", "--out", text(&secret)];
    assert_eq!(desk(&world, &again).status.code(), Some(1));
    let data = world.data();
    let nowhere = ["credential", "add", "two", "--role", "auditor", "--to", text(&data)];
    assert_eq!(command().args(nowhere).output().expect("starts").status.code(), Some(64));
    assert_eq!(std::fs::read_to_string(&secret).expect("written"), kept);
    let printed = done(&world, &["credential", "add", "two", "--role", "auditor"]);
    assert_eq!(printed["secret"].as_str().map(str::len), Some(43));

    let admin_url = world.url("admin_url");
    let remote = |args: &[&str]| {
        let mut command = command();
        command.args(args).args(["--to", &admin_url, "--ca", text(&world.certificate.ca)]);
        command.args(["--admin-token-file", text(&secret), "--json"]);
        command.output().expect("starts")
    };
    let tree = Tree::small_game(71, 400_000);
    let build = world.path("build");
    tree.write(&build).expect("written");
    let key = world.path("publisher.key");
    let publish = ["publish", text(&build), "--product", "game", "--version", "1.0", "--key", text(&key)];
    let output = remote(&publish);
    assert!(output.status.success(), "{}", said(&output));
    // Publishing is not offering, and offering is not for this role.
    for args in [&["channel", "set", "game", "stable", "1.0"][..], &["account", "list"]] {
        let output = remote(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        assert!(said(&output).contains("admin_forbidden"), "{}", said(&output));
    }
    done(&world, &["credential", "rm", "ci"]);
    let output = remote(&["product", "list"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("admin_credentials"), "{}", said(&output));

    let listed = done(&world, &["credential", "list"]);
    assert_eq!(listed["credentials"].as_array().map(Vec::len), Some(2));
    let by_ci = done(&world, &["audit", "list", "--actor", "ci"]);
    let verbs: Vec<&str> =
        by_ci["entries"].as_array().expect("a list").iter().filter_map(|e| e["verb"].as_str()).collect();
    assert_eq!(verbs, ["release.register", "product.pin", "product.delegate"]);
    let verified = done(&world, &["audit", "verify"]);
    assert_eq!((&verified["whole"], verified["entries"].as_u64()), (&Value::Bool(true), Some(7)));

    // Somebody with the database in his hands: the chain tells.
    world.daemon().terminate().expect("ends well");
    world.daemon = None;
    let database = rusqlite::Connection::open(world.data().join("control.sqlite")).expect("a database");
    let changed = database.execute("UPDATE audit SET actor = 'nobody' WHERE sequence = 4", []).expect("done");
    assert_eq!(changed, 1);
    drop(database);
    let output = desk(&world, &["audit", "verify"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(document(&output)["broken"]["sequence"].as_u64(), Some(4));
}
