//! Every command's `--json` is exactly one document; exit codes are those of the contract.

use crate::world::{World, command, document, run, said, text};
use penstock_testkit::Tree;
use serde_json::Value;

/// Runs with `--json`, expects success and one document.
fn good(args: &[&str]) -> Value {
    let output = command().args(args).arg("--json").output().expect("starts");
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    document(&output)
}

#[test]
fn every_command_prints_one_document() {
    let world = World::awake();
    let data = world.data();
    let to = ["--to", text(&data)];
    let desk = |args: &[&str]| good(&[args, &to].concat());
    let tree = Tree::small_game(51, 400_000);
    let https = world.url("https_url");
    let from = ["--from", https.as_str(), "--ca", text(&world.certificate.ca)];

    let product = desk(&["product", "add", "game", "--access", "open", "--title", "The Game"]);
    assert_eq!(product["access"], "open");
    let publish = world.publish_command(&tree, "1.0").output().expect("starts");
    assert_eq!(document(&publish)["version"], "1.0", "{}", said(&publish));
    world.publish(&tree.next_release(), "1.1");
    assert_eq!(desk(&["product", "list"])["products"][0]["id"], "game");
    assert_eq!(desk(&["product", "show", "game"])["title"], "The Game");
    assert_eq!(desk(&["product", "set", "game", "--export-class", "EAR99"])["export_class"], "EAR99");
    assert_eq!(desk(&["product", "show", "game"])["access"], "open", "what is not named stays");
    assert_eq!(desk(&["release", "list", "game"])["releases"].as_array().expect("a list").len(), 2);
    assert_eq!(desk(&["release", "show", "game", "1.0"])["version"], "1.0");
    let withdrawn = desk(&["release", "withdraw", "game", "1.0"]);
    assert_eq!(
        (withdrawn["state"].as_str(), withdrawn["offered_by"].as_array().map(Vec::len)),
        (Some("withdrawn"), Some(0))
    );
    assert_eq!(desk(&["release", "restore", "game", "1.0"])["state"], "live");
    assert_eq!(desk(&["channel", "list", "game"])["channels"][0]["channel"], "stable");
    assert_eq!(desk(&["channel", "set", "game", "beta", "1.0"])["version"], "1.0");
    assert_eq!(desk(&["channel", "show", "game", "stable"])["version"], "1.1");
    let token = desk(&["token", "new", "--sub", "alice", "--product", "game", "--ttl", "5m"]);
    assert_eq!(token["token"].as_str().expect("a text").split('.').count(), 3);
    let explained = desk(&["explain", "--product", "game"]);
    assert_eq!(explained["allowed"], true, "{explained}");
    assert!(explained["steps"].as_array().expect("a list").len() > 1, "{explained}");

    let account = desk(&["account", "add", "alice", "--attribute", "beta=true"]);
    assert_eq!((account["id"].as_str(), account["attributes"]["beta"].as_bool()), (Some("alice"), Some(true)));
    assert_eq!(desk(&["account", "set", "alice", "--kind", "business"])["kind"], "business");
    assert_eq!(desk(&["account", "list"])["accounts"].as_array().map(Vec::len), Some(1));
    let given = desk(&["entitlement", "add", "--account", "alice", "--product", "game", "--for", "30d"]);
    let id = given["id"].to_string();
    assert_eq!(desk(&["entitlement", "show", &id])["terms"]["product"], "game");
    assert_eq!(desk(&["entitlement", "list", "--account", "alice"]).as_array().map(Vec::len), Some(1));
    assert!(desk(&["entitlement", "rm", &id])["revoked"].is_u64());
    assert_eq!(desk(&["account", "show", "alice"])["entitlements"].as_array().map(Vec::len), Some(1));
    let players = world.path("players.ndjson");
    std::fs::write(&players, "{\"account\":\"bob\",\"terms\":{\"product\":\"game\"}}\n").expect("written");
    assert_eq!(desk(&["account", "import", text(&players)])["entitlements"], 1);

    let file = world.path("blob.bin");
    std::fs::write(&file, penstock_testkit::noise(9, 100_000)).expect("written");
    let added = desk(&["blob", "add", text(&file), "--open"]);
    assert_eq!(added["bytes"], 100_000);
    let blob = added["blob"].as_str().expect("a name");
    assert!(desk(&["blob", "list"])["blobs"].as_array().expect("a list").iter().any(|row| row["blob"] == blob));
    assert_eq!(desk(&["explain", "--blob", blob])["allowed"], true);
    let out = world.path("out.bin");
    let got = good(&[&["blob", "get", blob, "--out", text(&out)], &from[..]].concat());
    assert_eq!(got["bytes"], 100_000);
    assert_eq!(std::fs::read(&out).expect("there"), std::fs::read(&file).expect("there"));
    assert_eq!(good(&[&["blob", "verify", blob], &from[..]].concat())["intact"], true);
    let bench = ["bench", "--blob", blob, "--for", "300ms", "--connections", "2", "--range", "64KiB"];
    assert!(good(&[&bench, &from[..]].concat())["requests"].as_u64().expect("a number") > 0);
    assert_eq!(good(&["inspect", text(&file)])["kind"], "opaque");
    assert_eq!(desk(&["blob", "rm", blob])["blob"], blob);

    let into = world.path("install");
    assert_eq!(world.pull(&into)["to"], "1.1");
    assert_eq!(good(&["verify", text(&into)])["intact"], true);
    assert_eq!(good(&["repair", text(&into), "--ca", text(&world.certificate.ca)])["repaired_count"], 0);
    assert_eq!(good(&["inspect", text(&into)])["version"], "1.1");
    assert_eq!(good(&["check-config", text(&world.path("penstock.toml"))])["good"], true);
    assert!(good(&["key", "show", text(&world.path("publisher.key"))])["public_key"] == world.trust.as_str());
    assert_eq!(good(&["plan", "--clients", "500000", "--bytes", "50MB", "--within", "6h"])["edges"], 2);
    assert!(good(&["completions", "bash"])["script"].as_str().expect("a text").contains("quickstart"));
    let pages = good(&["man", "--out", text(&world.path("man"))]);
    assert!(pages["pages"].as_array().expect("a list").len() > 30, "{pages}");
}

#[test]
fn a_manifest_a_pack_and_the_parts_explain_themselves() {
    let world = World::asleep();
    world.publish(&Tree::small_game(52, 400_000), "1.0");
    let data = world.data();
    let listed = good(&["release", "show", "game", "1.0", "--to", text(&data)]);
    let manifest = listed["manifest"].as_str().expect("a name");
    let inspected = good(&["inspect", manifest, "--data", text(&data)]);
    assert_eq!((inspected["kind"].as_str(), inspected["product"].as_str()), (Some("manifest"), Some("game")));
    let blobs = good(&["blob", "list", "--all", "--to", text(&data)]);
    let kinds: Vec<String> = blobs["blobs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| good(&["inspect", row["blob"].as_str().expect("a name"), "--data", text(&data)]))
        .map(|document| document["kind"].as_str().expect("a text").to_owned())
        .collect();
    for kind in ["manifest", "pack", "tree_part", "chunk_part"] {
        assert!(kinds.iter().any(|found| found == kind), "no {kind} among {kinds:?}");
    }
}

#[test]
fn bad_usage_is_64_and_help_is_0() {
    let no_arguments: [&str; 0] = [];
    for args in [
        &no_arguments[..],
        &["nonsense"],
        &["pull"],
        &["plan", "--clients", "0", "--bytes", "1", "--within", "1h"],
        &["plan", "--clients", "1", "--bytes", "1.5MB", "--within", "1h"],
        &["channel", "show", "../x", "stable", "--to", "data"],
        &["publish", ".", "--product", "p", "--version", "1", "--key", "k", "--to", "http://user:secret@host"],
        &["explain", "--to", "data"],
        &["repair", ".", "--from", &"http://127.0.0.1:1,".repeat(65)[..65 * 19 - 1]],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {}", said(&output));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}: {}", said(&output));
    }
    for args in [&["--help"][..], &["--version"], &["pull", "--help"], &["blob", "add", "--help"], &["help", "serve"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
        assert!(!output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn failures_are_1_on_stderr_with_nothing_on_stdout() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = dir.path().join("missing");
    for args in [
        &["verify", text(&missing), "--json"][..],
        &["check-config", text(&missing)],
        &["key", "show", text(&missing), "--json"],
        &["serve", "--config", text(&missing)],
        &["inspect", text(&missing)],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", said(&output));
        let is_report = args[0] == "check-config";
        assert!(is_report || output.stdout.is_empty(), "{args:?}: {}", said(&output));
        assert!(is_report || !output.stderr.is_empty(), "{args:?}: {}", said(&output));
    }
}

#[test]
fn a_bad_config_is_refused_with_every_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "role = \"king\"\n[limits]\nspeed = 3\n").expect("written");
    let output = run(["check-config", text(&file), "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let problems = document(&output)["problems"].as_array().expect("a list").clone();
    let errors = problems.iter().filter(|problem| problem["error"] == true);
    assert_eq!(errors.map(|problem| problem["line"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(3)], "{problems:?}");
    let serve = run(["serve", "--config", text(&file)]);
    assert_eq!(serve.status.code(), Some(64), "{}", said(&serve));
    let words = String::from_utf8_lossy(&serve.stderr).into_owned();
    assert!(words.contains("error: line 1") && words.contains("note: line 3"), "{}", said(&serve));
    assert!(words.contains("the configuration has 1 error"), "{}", said(&serve));
}

#[test]
fn a_directory_with_other_things_does_not_become_a_node() {
    let world = World::asleep();
    let tree = Tree::small_game(54, 200_000);
    let wrong = world.path("photos");
    std::fs::create_dir(&wrong).expect("mkdir");
    std::fs::write(wrong.join("cat.jpg"), "miaow").expect("written");
    let mut publish = world.publish_command(&tree, "1.0");
    let output = publish.args(["--to", text(&wrong)]).output().expect("starts");
    assert_eq!(output.status.code(), Some(64), "--to twice: {}", said(&output));
    let build = world.path("build-1.0");
    let key = world.path("publisher.key");
    let to = |dir: &std::path::Path| {
        let what = ["publish", text(&build), "--product", "game", "--version", "1.0", "--access", "open"];
        run(what.into_iter().chain(["--key", text(&key), "--to", text(dir)]))
    };
    let output = to(&wrong);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("other things"), "{}", said(&output));
    assert_eq!(std::fs::read_dir(&wrong).expect("there").count(), 1, "nothing was made in it");
    let quickstart = run(["quickstart", "--once", "--port", "0", "--dir", text(&wrong)]);
    assert_eq!(quickstart.status.code(), Some(1), "{}", said(&quickstart));
    assert_eq!(std::fs::read_dir(&wrong).expect("there").count(), 1, "nothing was made in it");
    let output = to(&world.path("new"));
    assert!(output.status.success(), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("new data directory"), "{}", said(&output));
}

#[test]
fn a_publish_does_not_change_who_may_read_and_says_how_players_come_to_it() {
    let world = World::asleep();
    let data = world.data();
    let product = |access: &str| good(&["product", "set", "game", "--access", access, "--to", text(&data)]);
    world.publish(&Tree::small_game(55, 200_000), "1.0");
    product("licensed");
    let mut publish = world.publish_command(&Tree::small_game(56, 200_000), "1.1");
    let output = publish.output().expect("starts");
    assert_eq!(output.status.code(), Some(64), "{}", said(&output));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("penstock product set game --access open"),
        "{}",
        said(&output)
    );
    let (build, key) = (world.path("build-1.1"), world.path("publisher.key"));
    let words = ["publish", text(&build), "--product", "game", "--version", "1.1", "--key", text(&key)];
    let output = run(words.into_iter().chain(["--to", text(&data)]));
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("penstock entitlement add --account A --product game"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_damaged_blob_is_not_explained_as_if_it_were_whole() {
    let world = World::asleep();
    world.publish(&Tree::small_game(57, 200_000), "1.0");
    let data = world.data();
    let blobs = good(&["blob", "list", "--all", "--to", text(&data)]);
    let blob = blobs["blobs"][0]["blob"].as_str().expect("a name").to_owned();
    assert!(run(["inspect", &blob]).status.code() == Some(64), "a name without a node");
    let file = data.join("blobs").join(&blob[..2]).join(&blob);
    let mut content = std::fs::read(&file).expect("there");
    content[0] ^= 1;
    std::fs::remove_file(&file).expect("removed");
    std::fs::write(&file, content).expect("written");
    let output = run(["inspect", &blob, "--data", text(&data)]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("damaged"), "{}", said(&output));
}

#[test]
fn a_key_of_another_certificate_is_refused_before_anything_starts() {
    let world = World::asleep();
    let other = tempfile::tempdir().expect("a directory");
    penstock_testkit::Certificate::loopback(other.path()).expect("a certificate");
    std::fs::copy(other.path().join("cert.key"), world.path("cert.key")).expect("copied");
    let config = world.path("penstock.toml");
    let check = run(["check-config", text(&config), "--json"]);
    assert_eq!(check.status.code(), Some(1), "{}", said(&check));
    let problems = document(&check)["problems"].as_array().expect("a list").clone();
    assert!(problems.iter().any(|problem| problem["key"] == "tls.key" && problem["error"] == true), "{problems:?}");
    let serve = run(["serve", "--config", text(&config)]);
    assert_eq!(serve.status.code(), Some(64), "{}", said(&serve));
    assert!(!world.data().exists(), "nothing was made");
}

#[test]
fn a_withdrawal_says_which_channel_still_offers_it() {
    let world = World::asleep();
    world.publish(&Tree::small_game(58, 200_000), "1.0");
    let data = world.data();
    let to = ["--to", text(&data)];
    let output = run(["release", "withdraw", "game", "1.0"].into_iter().chain(to));
    assert!(output.status.success(), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("channel stable still offers it"), "{}", said(&output));
    let output = run(["channel", "show", "game", "stable"].into_iter().chain(to));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1.0 (withdrawn)"), "{}", said(&output));
}

#[test]
fn two_nodes_cannot_share_a_directory() {
    let world = World::awake();
    let second = run(["serve", "--config", text(&world.path("penstock.toml"))]);
    assert_eq!(second.status.code(), Some(1), "{}", said(&second));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another penstock process"), "{}", said(&second));
}

#[test]
fn progress_and_results_do_not_mix() {
    let world = World::awake();
    world.publish(&Tree::small_game(53, 300_000), "1.0");
    let output = world.pull_command(&world.path("install")).output().expect("starts");
    document(&output);
    assert!(output.stderr.is_empty(), "a pipe sees no progress: {}", said(&output));
}
