//! Nothing that a node writes has a secret in it: neither its log, however much it logs, nor metrics, nor any answer.
//!
//! A real node logs all that it and its libraries can say, and is shown every kind of secret in every way: good, forged,
//! malformed, too long, in the wrong place. Then all that it wrote is searched for pieces of them. So that the search is
//! known to find something, harmless texts of the same shape are planted where they are written down on purpose.

use crate::world::{World, assert_same, command, document, run, said, text};
use penstock_testkit::{Tree, require_tool};
use serde_json::Value;
use std::process::Command;

/// So long a piece of a secret is looked for, in bytes: shorter ones occur by chance.
const PIECE_BYTES: usize = 16;

fn desk(world: &World, args: &[&str]) -> Value {
    let output = command().args(args).args(["--to", text(&world.data()), "--json"]).output().expect("starts");
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    document(&output)
}

/// A running node, and all that anybody got from it so far.
struct Node {
    world: World,
    heard: String,
}

impl Node {
    /// Asks with curl; keeps head and body of the answer, and gives the status.
    fn ask(&mut self, url: &str, args: &[&str]) -> String {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--include", "--cacert", text(&self.world.certificate.ca)]);
        let output = curl.args(args).arg(url).output().expect("curl runs");
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        let status = answer.split_whitespace().nth(1).unwrap_or_default().to_owned();
        self.heard.push_str(&answer);
        status
    }

    fn ask_with(&mut self, url: &str, header: &str, more: &[&str]) -> String {
        self.ask(url, &[&["--header", header][..], more].concat())
    }
}

/// The first line that has a piece of a secret, long enough to be told from chance.
fn leak<'t>(written: &'t str, secret: &str) -> Option<&'t str> {
    let mut pieces =
        (0..secret.len().saturating_sub(PIECE_BYTES - 1)).filter_map(|at| secret.get(at..at + PIECE_BYTES));
    let found = pieces.find(|piece| written.contains(piece))?;
    written.lines().find(|line| line.contains(found))
}

fn reversed(secret: &str) -> String {
    secret.chars().rev().collect()
}

#[test]
fn a_node_that_logs_all_it_can_writes_no_secret() {
    require_tool("curl", "curl");
    let tree = Tree::small_game(71, 100_000);
    let mut world = World::asleep();
    world.environment.push(("PENSTOCK__LOG__LEVEL".to_owned(), "trace".to_owned()));
    world.wake();
    desk(&world, &["product", "add", "game", "--access", "licensed"]);
    let build = world.path("build");
    tree.write(&build).expect("written");
    let publish = ["publish", text(&build), "--product", "game", "--version", "1", "--channel", "stable"];
    let key = world.path("publisher.key");
    let output = run([&publish[..], &["--key", text(&key), "--to", text(&world.data())]].concat());
    assert!(output.status.success(), "{}", said(&output));
    desk(&world, &["account", "add", "alice"]);
    desk(&world, &["entitlement", "add", "--account", "alice", "--product", "game"]);
    let good = desk(&world, &["token", "new", "--sub", "alice"])["token"].as_str().expect("a token").to_owned();
    let (signed, signature) = good.rsplit_once('.').expect("a signature");
    let forged = format!("{signed}.{}", reversed(signature));
    let malformed = "malformed-0123456789-abcdefghijklmnopqrstuvwxyz".to_owned();
    let long = format!("{signed}.{}", "oversize-secret".repeat(1000));
    let path = "/v1/products/game";
    let link = desk(&world, &["link", "new", "--account", "alice", "--path", path]);
    let (_, link) = link["target"].as_str().expect("a target").split_once("link=").expect("a link");
    let link = link.to_owned();
    let admin = world.admin_token();
    let added = desk(&world, &["credential", "add", "ci", "--role", "auditor"]);
    let credential = added["secret"].as_str().expect("it is shown once").to_owned();
    let (https, http, admin_url) = (world.url("https_url"), world.url("http_url"), world.url("admin_url"));

    let mut node = Node { world, heard: String::new() };
    let channel = format!("{path}/channels/stable");
    for version in ["--http1.1", "--http2"] {
        for (header, status) in [
            (format!("Authorization: Bearer {good}"), "200"),
            (format!("authorization: bearer   {good}"), "200"),
            (format!("Authorization: Bearer {forged}"), "401"),
            (format!("Authorization: Bearer {malformed}"), "401"),
            (format!("Authorization: Bearer {long}"), "401"),
            (format!("Authorization: Basic {malformed}"), "401"),
            (format!("X-Token: {good}"), "401"),
            (format!("Cookie: token={good}"), "401"),
            (format!("Proxy-Authorization: Bearer {good}"), "401"),
            (format!("Range: bytes={malformed}"), "401"),
            (format!("If-None-Match: \"{good}\""), "401"),
            (format!("User-Agent: {good}"), "401"),
        ] {
            let asked = node.ask_with(&format!("{https}{channel}"), &header, &[version]);
            assert_eq!(asked, status, "{version} {}", &header[..24.min(header.len())]);
        }
        let linked = format!("{https}{channel}?link={link}");
        assert_eq!(node.ask(&linked, &[version]), "200");
        let elsewhere = format!("{https}/v1/products/else/channels/stable?link={link}");
        assert!(["401", "403", "404"].contains(&&*node.ask(&elsewhere, &[version])));
        assert_eq!(node.ask(&format!("{https}{channel}?link={malformed}"), &[version]), "401");
        assert_eq!(node.ask(&format!("{https}{channel}?link={}", reversed(&link)), &[version]), "401");
        // A query that nobody knows is a mistake or is ignored; either way it is not repeated.
        node.ask(&format!("{https}{channel}?access_token={good}"), &[version]);
        assert_eq!(node.ask_with(&linked, &format!("Authorization: Bearer {good}"), &[version]), "400");
        let verified = format!("{https}/v1/blobs/{}/verified?start=x&link={link}", "0".repeat(64));
        assert_eq!(node.ask(&verified, &[version]), "400");
    }
    assert_eq!(node.ask_with(&format!("{http}{channel}"), &format!("Authorization: Bearer {good}"), &[]), "400");
    assert_eq!(node.ask(&format!("{http}{channel}?link={link}"), &[]), "400");
    // What is no request at all, and a head that is too large, are answered by the HTTP library.
    node.ask(&format!("{http}/v1/catalog"), &["--request", "GE T", "--header", &format!("X-Token: {good}")]);
    let large = format!("X-Token: {}{good}", "x".repeat(60_000));
    node.ask_with(&format!("{https}{channel}"), &large, &["--http1.1"]);
    node.ask_with(&format!("{https}{channel}"), &large, &["--http2"]);

    let status = format!("{admin_url}/admin/v1/status");
    assert_eq!(node.ask_with(&status, &format!("Authorization: Bearer {admin}"), &[]), "200");
    assert_eq!(node.ask_with(&status, &format!("Authorization: Bearer {credential}"), &[]), "200");
    let refused = format!("{admin_url}/admin/v1/accounts/bob");
    let put = ["--request", "PUT", "--header", "Content-Type: application/json", "--data", "{}"];
    assert_eq!(node.ask_with(&refused, &format!("Authorization: Bearer {credential}"), &put), "403");
    for wrong in [reversed(&admin), reversed(&credential), good.clone()] {
        assert_eq!(node.ask_with(&status, &format!("Authorization: Bearer {wrong}"), &[]), "401");
    }
    assert_eq!(node.ask_with(&status, &format!("X-Token: {admin}"), &[]), "401");
    assert_eq!(node.ask(&format!("{status}?token={admin}"), &[]), "401");
    node.ask_with(&format!("{status}?token={credential}"), &format!("Authorization: Bearer {admin}"), &[]);
    // Bodies that are wrong are described, not quoted.
    let question = format!("{admin_url}/admin/v1/explain");
    for body in [format!("{{\"product\":\"game\",\"token\":\"{malformed}\"}}"), format!("{{\"token\":\"{good}\",")] {
        let post = ["--request", "POST", "--header", "Content-Type: application/json", "--data", &body];
        node.ask_with(&question, &format!("Authorization: Bearer {admin}"), &post);
    }
    assert_eq!(node.ask(&format!("{admin_url}/metrics"), &[]), "200");
    let file = node.world.path("alice.jwt");
    std::fs::write(&file, &good).expect("written");
    let explained = desk(&node.world, &["explain", "--product", "game", "--token-file", text(&file)]);
    assert_eq!(explained["allowed"], true);
    node.heard.push_str(&explained.to_string());
    let into = node.world.path("install");
    let pulled = node.world.pull_command(&into).args(["--token-file", text(&file)]).output().expect("starts");
    assert!(pulled.status.success(), "{}", said(&pulled));
    assert_same(&tree, &into);
    node.heard.push_str(&said(&pulled));
    // What is written down on purpose: a path that is asked for, and a name in an answer.
    let (in_log, in_answer) = (reversed("abcdefghij-planted-in-a-path"), "planted-in-an-answer-0123456789");
    assert_eq!(node.ask(&format!("{https}/v1/products/{in_log}/channels/stable"), &[]), "404");
    desk(&node.world, &["account", "add", in_answer]);
    let accounts = format!("{admin_url}/admin/v1/accounts/{in_answer}");
    assert_eq!(node.ask_with(&accounts, &format!("Authorization: Bearer {admin}"), &[]), "200");

    assert!(node.world.daemon().terminate().expect("ends").success());
    let log = node.world.daemon().log();
    assert!(log.contains("TRACE") && log.contains("rustls") && log.contains("h2::"), "it logs all that it can");
    assert!(!log.contains("log lines were dropped"), "nothing of it is missing");
    assert!(log.contains("redacted"), "links were asked for and logged");
    assert!(leak(&log, &in_log).is_some(), "the search finds what is in the log");
    assert!(leak(&node.heard, in_answer).is_some(), "and what is in an answer");
    let secrets = [
        ("token", good),
        ("forged token", forged),
        ("malformed token", malformed),
        ("token that is too long", long),
        ("link", link.clone()),
        ("forged link", reversed(&link)),
        ("admin token", admin.clone()),
        ("wrong admin token", reversed(&admin)),
        ("credential", credential.clone()),
        ("wrong credential", reversed(&credential)),
    ];
    for (name, secret) in &secrets {
        for (place, written) in [("the log", &log), ("an answer", &node.heard)] {
            let line = leak(written, secret).map(|line| line.chars().take(300).collect::<String>());
            assert!(line.is_none(), "{place} has a piece of the {name}: {line:?}");
        }
    }
}
