//! A licensed game, from the desk to the player's disk: accounts, entitlements, tokens, explanations.

use crate::world::{World, assert_same, command, document, said, text};
use penstock_testkit::Tree;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

/// The desk, with `--json`.
pub(crate) fn desk(world: &World, args: &[&str]) -> Value {
    let output = command().args(args).args(["--to", text(&world.data()), "--json"]).output().expect("starts");
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    document(&output)
}

/// A node with a licensed release of `game` on `stable`.
pub(crate) fn licensed(tree: &Tree) -> World {
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
pub(crate) fn token(world: &World, account: &str, more: &[&str]) -> PathBuf {
    let made = desk(world, &[&["token", "new", "--sub", account], more].concat());
    let file = world.path(&format!("{account}.jwt"));
    std::fs::write(&file, made["token"].as_str().expect("a token")).expect("written");
    file
}

pub(crate) fn pull(world: &World, token: Option<&Path>, into: &Path) -> Output {
    let mut pull = world.pull_command(into);
    if let Some(token) = token {
        pull.args(["--token-file", text(token)]);
    }
    pull.output().expect("starts")
}

#[track_caller]
pub(crate) fn refused(output: &Output, code: &str) {
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
    desk(&world, &["account", "set", "alice", "--standing", "active", "--sign-out"]);
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
    assert_eq!(walk(&allowed), ["token", "account", "embargo", "access", "holding", "release", "freshness"]);
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

/// A studio's own identity provider: its keys in a file, its players under a prefix, and a rotation while the node runs.
#[test]
fn a_studios_own_provider_vouches_for_its_players_and_for_nobody_else() {
    let tree = Tree::small_game(64, 200_000);
    let mut world = World::asleep();
    let provider = |seed: u8| Provider::new(seed);
    let (first, second) = (provider(1), provider(2));
    let keys = world.path("studio.jwks");
    std::fs::write(&keys, first.jwks()).expect("written");
    let config = world.path("penstock.toml");
    let mut text_of = std::fs::read_to_string(&config).expect("there");
    text_of.push_str(
        "[[tokens.issuers]]\nname = \"studio\"\niss = \"https://id.studio.example\"\naudience = \"games\"\n\
         jwks = \"studio.jwks\"\naccount_prefix = \"studio:\"\n",
    );
    std::fs::write(&config, text_of).expect("written");
    world.wake();
    desk(&world, &["product", "add", "game", "--access", "licensed"]);
    publish(&world, &tree, "1.0", &[]);
    for account in ["studio:alice", "alice"] {
        desk(&world, &["account", "add", account]);
    }
    desk(&world, &["entitlement", "add", "--account", "studio:alice", "--product", "game"]);
    let file = world.path("player.jwt");
    let pulled = |token: &str, into: &str| {
        std::fs::write(&file, token).expect("written");
        pull(&world, Some(&file), &world.path(into))
    };
    let output = pulled(&first.token("alice", "games"), "one");
    assert!(output.status.success(), "{}", said(&output));
    refused(&pulled(&first.token("alice", "shop"), "two"), "token_audience");
    refused(&pulled(&second.token("alice", "games"), "two"), "token_key_unknown");
    // The account without the prefix is control's to vouch for, and holds nothing.
    refused(&pulled(&std::fs::read_to_string(token(&world, "alice", &[])).expect("there"), "two"), "not_entitled");
    // The provider rotates its keys: who was let in by the old one comes again with a token of the new one.
    let old = first.token("alice", "games");
    std::fs::write(&keys, second.jwks()).expect("written");
    let begun = std::time::Instant::now();
    while !pulled(&second.token("alice", "games"), "two").status.success() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "the new keys are never taken");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    refused(&pulled(&old, "three"), "token_key_unknown");
    // Garbage in its place changes nothing.
    std::fs::write(&keys, "{").expect("written");
    let begun = std::time::Instant::now();
    while !world.daemon.as_ref().expect("it runs").log().contains("keys stay as they were") {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "the garbage was never looked at");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(pulled(&second.token("alice", "games"), "three").status.success());
}

/// A provider with one Ed25519 key.
struct Provider {
    kid: String,
    public: String,
    key: jsonwebtoken::EncodingKey,
}

impl Provider {
    fn new(seed: u8) -> Self {
        // RFC 8410, section 7: what stands before the seed in PKCS #8.
        let head = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        let secret = penstock_core::sign::SecretKey::from_seed(&[seed; 32]);
        let public = base64(secret.public().as_bytes());
        let key = jsonwebtoken::EncodingKey::from_ed_der(&[&head[..], &[seed; 32]].concat());
        Self { kid: format!("key-{seed}"), public, key }
    }

    fn jwks(&self) -> String {
        let key = serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid, "x": self.public
        });
        serde_json::json!({ "keys": [key] }).to_string()
    }

    fn token(&self, subject: &str, audience: &str) -> String {
        let mut head = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
        head.kid = Some(self.kid.clone());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        let claims = serde_json::json!({
            "iss": "https://id.studio.example", "aud": audience, "sub": subject, "iat": now, "exp": now + 600
        });
        jsonwebtoken::encode(&head, &claims, &self.key).expect("signed")
    }
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// The record in PostgreSQL, and the accounts in a snapshot: a node that starts knows them all the same.
#[test]
fn a_node_on_postgresql_starts_from_a_snapshot_of_its_accounts() {
    const VARIABLE: &str = "PENSTOCK__CONTROL__DATABASE";
    let tree = Tree::small_game(65, 200_000);
    let mut world = World::asleep();
    let url = penstock_testkit::PostgresServer::shared().database();
    world.environment.push((VARIABLE.to_owned(), url.clone()));
    world.wake();
    desk(&world, &["product", "add", "game", "--access", "licensed"]);
    publish(&world, &tree, "1.0", &[]);
    for account in ["alice", "bob"] {
        desk(&world, &["account", "add", account]);
        desk(&world, &["entitlement", "add", "--account", account, "--product", "game"]);
    }
    let made = command_output("curl", |curl| {
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "-X",
            "POST",
            "--unix-socket",
            text(&world.data().join("node.sock")),
        ]);
        curl.arg("http://localhost/admin/v1/snapshots")
    });
    assert!(made.status.success(), "{}", said(&made));
    desk(&world, &["account", "set", "bob", "--standing", "suspended"]);
    world.daemon().terminate().expect("ends well");
    world.wake();
    let (alice, bob) = (token(&world, "alice", &[]), token(&world, "bob", &[]));
    let output = pull(&world, Some(&alice), &world.path("install"));
    assert!(output.status.success(), "{}", said(&output));
    refused(&pull(&world, Some(&bob), &world.path("other")), "account_suspended");
    let log = world.daemon().log();
    assert!(log.contains("accounts rest on a snapshot"), "the snapshot was not used");
    assert!(!log.contains(&url), "the database's URL is in the log");
    world.daemon().terminate().expect("ends well");
    // A command on the sleeping node's directory must not make a record of its own.
    let listing = || {
        let mut listing = command();
        listing.args(["account", "list", "--to", text(&world.data()), "--json"]);
        listing
    };
    let output = listing().output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(VARIABLE), "{}", said(&output));
    let output = listing().env(VARIABLE, &url).output().expect("starts");
    assert_eq!(document(&output)["accounts"].as_array().map(Vec::len), Some(2), "{}", said(&output));
}

/// Thousands of players from a file: what is wrong is named, what is good plays, and the same file again changes nothing.
#[test]
fn players_are_imported_from_a_file() {
    let tree = Tree::small_game(66, 200_000);
    let mut world = licensed(&tree);
    let file = world.path("players.csv");
    let mut csv = "account,standing,product,ends\n".to_owned();
    for number in 0..12_000 {
        let (standing, product) =
            if number == 7 { ("gone", "game") } else { ("", if number == 9 { "none" } else { "game" }) };
        csv.push_str(&format!("player-{number},{standing},{product},4000000000\n"));
    }
    std::fs::write(&file, csv).expect("written");
    let report = world.path("refused.ndjson");
    let import = || {
        let mut import = command();
        import.args([
            "account",
            "import",
            text(&file),
            "--to",
            text(&world.data()),
            "--report",
            text(&report),
            "--json",
        ]);
        import.output().expect("starts")
    };
    let output = import();
    assert_eq!(output.status.code(), Some(1), "two lines are wrong: {}", said(&output));
    let done = document(&output);
    assert_eq!((done["lines"].as_u64(), done["accounts"].as_u64()), (Some(12_000), Some(11_998)), "{done}");
    assert_eq!((done["entitlements"].as_u64(), done["refused"].as_u64()), (Some(11_998), Some(2)), "{done}");
    let refused = std::fs::read_to_string(&report).expect("written");
    assert!(refused.contains("\"line\":9,") && refused.contains("\"line\":11,"), "{refused}");
    let player = token(&world, "player-11999", &[]);
    let output = pull(&world, Some(&player), &world.path("install"));
    assert!(output.status.success(), "{}", said(&output));
    let again = document(&import());
    assert_eq!((again["accounts"].as_u64(), again["same"].as_u64()), (Some(0), Some(11_998)), "{again}");
    world.daemon().terminate().expect("ends well");
    world.wake();
    let player = token(&world, "player-0", &[]);
    let output = pull(&world, Some(&player), &world.path("other"));
    assert!(output.status.success(), "{}", said(&output));
}

fn command_output(
    program: &str,
    arguments: impl FnOnce(&mut std::process::Command) -> &mut std::process::Command,
) -> Output {
    let mut command = std::process::Command::new(program);
    arguments(&mut command);
    command.output().expect("starts")
}
