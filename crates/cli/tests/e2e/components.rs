//! A game with an add-on and a language: who was given some components installs those, and reads nothing of the others.

use crate::entitled::desk;
use crate::world::{World, assert_same, command, document, said, text};
use penstock_testkit::{Tree, noise};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A version of the game with these components. The add-on and the language have a file with the same content.
fn game(edition: u64, components: &[&str]) -> Tree {
    let mut tree = Tree::small_game(80, 300_000).file("version.txt", edition.to_string());
    if components.contains(&"dlc") {
        tree = tree.file("dlc/island.pak", noise(81 + edition, 200_000)).file("dlc/shared.pak", noise(90, 100_000));
    }
    if components.contains(&"lang-de") {
        tree = tree
            .file("lang/de/voice.pak", noise(85 + edition / 3, 200_000))
            .file("lang/de/shared.pak", noise(90, 100_000));
    }
    tree
}

const BOTH: [&str; 2] = ["dlc", "lang-de"];

fn publish(world: &World, edition: u64) {
    let build = world.path(&format!("build-{edition}"));
    game(edition, &BOTH).write(&build).expect("written");
    let version = format!("{edition}.0");
    let mut publish = command();
    publish.args(["publish", text(&build), "--product", "game", "--version", &version, "--channel", "stable"]);
    publish.args(["--component", "dlc=dlc/", "--component", "lang-de=lang/de/", "--optional", "dlc"]);
    publish.args(["--optional", "lang-de", "--key", text(&world.path("publisher.key")), "--to", text(&world.data())]);
    let output = publish.output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
}

/// A file with the token of an account that was given the game with these terms.
fn player(world: &World, account: &str, terms: &[&str]) -> PathBuf {
    desk(world, &["account", "add", account]);
    desk(world, &[&["entitlement", "add", "--account", account, "--product", "game"], terms].concat());
    let made = desk(world, &["token", "new", "--sub", account, "--ttl", "1h"]);
    let file = world.path(&format!("{account}.jwt"));
    std::fs::write(&file, made["token"].as_str().expect("a token")).expect("written");
    file
}

fn pull(world: &World, token: &Path, into: &Path, more: &[&str]) -> Output {
    world.pull_command(into).args(["--token-file", text(token)]).args(more).output().expect("starts")
}

#[track_caller]
fn pulled(world: &World, token: &Path, into: &Path, more: &[&str]) -> Value {
    let output = pull(world, token, into, more);
    assert!(output.status.success(), "{}", said(&output));
    document(&output)
}

fn curl(args: &[&str]) -> String {
    let output = Command::new("curl").args(["--silent", "--show-error"]).args(args).output().expect("curl starts");
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// Blob and component of everything in a release.
fn members(world: &World, version: &str) -> Vec<(String, String)> {
    let path = format!("http://localhost/admin/v1/products/game/releases/{version}?members=true");
    let answer = curl(&["--fail", "--unix-socket", text(&world.data().join("node.sock")), &path]);
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let field = |member: &Value, name: &str| member[name].as_str().expect("a text").to_owned();
    let members = answer["members"].as_array().expect("members");
    members.iter().map(|member| (field(member, "blob"), field(member, "component"))).collect()
}

/// What an edge answers to whoever asks for a blob's first byte: status and code.
fn answer(world: &World, token: &Path, blob: &str) -> (u16, String) {
    let bearer = format!("Authorization: Bearer {}", std::fs::read_to_string(token).expect("a token"));
    let url = format!("{}/v1/blobs/{blob}", world.url("https_url"));
    let body = world.path("body");
    let args = ["--cacert", text(&world.certificate.ca), "--header", &bearer, "--range", "0-0"];
    let status = curl(&[&args[..], &["--output", text(&body), "--write-out", "%{http_code}", &url]].concat());
    let problem: Value = serde_json::from_slice(&std::fs::read(&body).expect("a body")).unwrap_or_default();
    (status.parse().expect("a status"), problem["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn who_was_given_some_components_installs_those_and_reads_nothing_of_the_others() {
    let world = World::awake();
    desk(&world, &["product", "add", "game", "--access", "licensed"]);
    publish(&world, 1);
    let members = members(&world, "1.0");
    let of = |name: &str| members.iter().filter(|(_, component)| component == name).count();
    assert!(of("base") >= 4 && of("dlc") >= 3 && of("lang-de") >= 3, "each has parts and packs: {members:?}");
    let players: [(&str, &[&str], &[&str]); 4] = [
        ("everything", &[], &BOTH),
        ("islander", &["--component", "dlc"], &["dlc"]),
        ("german", &["--component", "lang-de"], &["lang-de"]),
        ("basic", &["--component", "base"], &[]),
    ];
    for (account, terms, owned) in players {
        let token = player(&world, account, terms);
        for (blob, component) in &members {
            let expected = if component == "base" || owned.contains(&component.as_str()) {
                (206, String::new())
            } else {
                (403, "component_not_included".to_owned())
            };
            assert_eq!(answer(&world, &token, blob), expected, "{account} asks for {blob} of {component}");
        }
        let into = world.path(account);
        let report = pulled(&world, &token, &into, &[]);
        assert_same(&game(1, owned), &into);
        let left_out: Vec<&str> = BOTH.into_iter().filter(|name| !owned.contains(name)).collect();
        assert_eq!(report["left_out"], serde_json::json!(left_out));
        assert_eq!(
            report["dropped_edges"],
            serde_json::json!([]),
            "an edge that says no to one component is a good edge"
        );
        assert_eq!(report["downloaded_bytes"], report["preflight"]["download_bytes"]);
        assert_eq!(pulled(&world, &token, &into, &[])["changed"], false, "{account} is up to date");
    }
    // The next version changes the add-on: whoever has it gets that, and nobody gets more.
    publish(&world, 2);
    for (account, _, owned) in players {
        let into = world.path(account);
        pulled(&world, &world.path(&format!("{account}.jwt")), &into, &[]);
        assert_same(&game(2, owned), &into);
    }
}

#[test]
fn a_player_chooses_among_the_components_and_the_choice_stays() {
    let world = World::awake();
    desk(&world, &["product", "add", "game", "--access", "licensed"]);
    publish(&world, 1);
    let everything = player(&world, "everything", &[]);
    let islander = player(&world, "islander", &["--component", "dlc"]);
    let into = world.path("install");
    let refused = pull(&world, &islander, &into, &["--component", "lang-de"]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("component lang-de is not included") && words.contains("--all-components"), "{words}");
    let unknown = pull(&world, &everything, &into, &["--component", "lang-fr"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", said(&unknown));
    let words = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(words.contains("no component lang-fr") && words.contains("dlc, lang-de"), "{words}");
    assert!(!into.exists(), "nothing was begun");

    let report = pulled(&world, &everything, &into, &["--component", "lang-de"]);
    assert_same(&game(1, &["lang-de"]), &into);
    assert_eq!(report["left_out"], serde_json::json!(["dlc"]));
    publish(&world, 2);
    pulled(&world, &everything, &into, &[]);
    assert_same(&game(2, &["lang-de"]), &into);
    let run = |args: &[&str]| {
        let output = command().args(args).output().expect("starts");
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(run(&["inspect", text(&into)]).contains("without dlc"));
    run(&["verify", text(&into)]);
    // Other components of the same version are another install, which leads back to the one before.
    let report = pulled(&world, &everything, &into, &["--component", "dlc", "--keep-previous"]);
    assert_eq!((report["changed"].as_bool(), report["from"].as_str()), (Some(true), Some("2.0")));
    assert_same(&game(2, &["dlc"]), &into);
    run(&["rollback", text(&into)]);
    assert_same(&game(2, &["lang-de"]), &into);
    run(&["verify", text(&into)]);
    std::fs::write(into.join("lang/de/voice.pak"), b"broken").expect("written");
    run(&["repair", text(&into), "--token-file", text(&everything), "--ca", text(&world.certificate.ca)]);
    assert_same(&game(2, &["lang-de"]), &into);
    pulled(&world, &everything, &into, &["--all-components"]);
    assert_same(&game(2, &BOTH), &into);
    run(&["verify", text(&into)]);
    // What is here needs no entitlement; what would have to be fetched does, and the rest goes on without it.
    assert_eq!(pulled(&world, &islander, &into, &[])["changed"], false);
    publish(&world, 3);
    let report = pulled(&world, &islander, &into, &[]);
    assert_eq!(report["left_out"], serde_json::json!(["lang-de"]));
    assert_same(&game(3, &["dlc"]), &into);
}

#[test]
fn components_that_nobody_named_are_bad_usage() {
    let world = World::asleep();
    let build = world.path("build");
    game(1, &[]).write(&build).expect("written");
    for stray in [["--optional", "dlc"], ["--group", "dlc=owners"]] {
        let mut publish = command();
        publish.args(["publish", text(&build), "--product", "game", "--version", "1.0"]).args(stray);
        publish.args(["--key", text(&world.path("publisher.key")), "--to", text(&world.data())]);
        let output = publish.output().expect("starts");
        assert_eq!(output.status.code(), Some(64), "{}", said(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains("--component 'dlc=PATTERN'"), "{}", said(&output));
    }
}
