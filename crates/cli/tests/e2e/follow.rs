//! A control node and an edge in processes of their own: what the desk does on one is so on the other, and stays so while
//! control is away.

use crate::entitled::desk;
use crate::world::{World, assert_same, command, said, text};
use penstock_core::blob::BlobId;
use penstock_core::catalog::CatalogChange;
use penstock_core::feed::{Fold, Hello, Line, Order};
use penstock_testkit::Tree;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Ends a test that would hang; nothing that is right comes near it.
const PATIENCE: Duration = Duration::from_secs(90);

/// An edge, not running yet, that follows a control node which runs.
pub(crate) fn edge_of(control: &World) -> World {
    let mut edge = World::asleep();
    edge.trust.clone_from(&control.trust);
    for name in ["cert.pem", "cert.key"] {
        std::fs::copy(control.path(name), edge.path(name)).expect("copied");
    }
    edge.certificate = control.certificate.clone();
    std::fs::write(edge.path("credential"), control.admin_token()).expect("written");
    let key = status(control)["channel_key"].as_str().expect("a key").to_owned();
    let config = std::fs::read_to_string(edge.path("penstock.toml")).expect("written");
    let follow =
        format!("[control]\nurl = \"{}\"\ncredential = \"credential\"\nkey = \"{key}\"\n", control.url("admin_url"));
    std::fs::write(edge.path("penstock.toml"), config.replace("\"all\"", "\"edge\"") + &follow).expect("written");
    edge
}

/// An answer's status and body; `None` when the connection broke.
pub(crate) fn call(url: &str, method: &str, path: &str, bearer: &str, body: &str) -> Option<(u16, Vec<u8>)> {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {bearer}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
    Some((status, answer.split_off(end + 4)))
}

pub(crate) fn status(control: &World) -> Value {
    let answer = call(&control.url("admin_url"), "GET", "/admin/v1/status", &control.admin_token(), "");
    let (code, body) = answer.expect("an answer");
    assert_eq!(code, 200);
    serde_json::from_slice(&body).expect("JSON")
}

/// `/readyz` of an edge: its status, and what it says.
fn readiness(edge: &World) -> (u16, Value) {
    let (code, body) = call(&edge.url("admin_url"), "GET", "/readyz", "", "").expect("an answer");
    (code, serde_json::from_slice(&body).expect("JSON"))
}

/// Waits for something.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// The state of what control tells: everything that is, by key.
pub(crate) type State = Fold<CatalogChange>;

/// What control tells a follower that comes now: its hello, the state's number, the state.
pub(crate) fn told(control: &World) -> (Hello, u64, State) {
    let mut hello = None;
    let mut state = State::default();
    let mut number = None;
    lines(control, "/v1/feed", |line| {
        match line {
            Line::Hello(one) => hello = Some(one),
            Line::Part { sequence, change } => drop(state.take(sequence, &change, change.clone())),
            Line::Whole { sequence, .. } => number = Some(sequence),
            _ => {}
        }
        number.is_none()
    });
    (hello.expect("a hello"), number.expect("a whole state"), state)
}

/// Reads lines of the feed, each checked for its order, for as long as `more` says.
pub(crate) fn lines(control: &World, path: &str, mut more: impl FnMut(Line) -> bool) {
    let url = control.url("admin_url");
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    // HTTP/1.0 has no chunks, so what comes after the head is the lines themselves.
    let bearer = control.admin_token();
    let head = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {bearer}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let after = path.split_once("after=").map(|(_, after)| after.parse().expect("a number"));
    let mut order = Order::new(after);
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("it goes on"));
    assert!(lines.next().expect("a status").contains(" 200 "));
    for text in lines.skip_while(|line| !line.is_empty()).skip(1) {
        let line = Line::parse(text.as_bytes()).expect("a line");
        order.take(&line).expect("in order");
        if !more(line) {
            return;
        }
    }
    panic!("the feed ended");
}

/// What an edge has on its disk: the last change and the state. Its process may be writing it.
pub(crate) fn known(edge: &World) -> Option<(u64, State)> {
    let text = std::fs::read_to_string(edge.data().join("feed/journal")).ok()?;
    let (mut state, mut last) = (State::default(), None);
    for line in text.lines() {
        match Line::parse(line.get(17..)?.as_bytes()).ok()? {
            Line::Part { sequence, change } => drop(state.take(sequence, &change, change.clone())),
            Line::Whole { sequence, .. } => last = Some(sequence),
            Line::Change { sequence, change } => {
                state.take(sequence, &change, change.clone());
                last = Some(sequence);
            }
            Line::Hello(_) | Line::State { .. } | Line::Beat { .. } => {}
        }
    }
    Some((last?, state))
}

/// What is, in an order of its own: two states with the same content compare equal.
pub(crate) fn content(state: &State) -> Vec<String> {
    let mut all: Vec<String> = state.in_order().into_iter().map(|(_, change)| format!("{change:?}")).collect();
    all.sort();
    all
}

fn publish_licensed(control: &World, tree: &Tree) {
    let build = control.path("build");
    tree.write(&build).expect("written");
    let mut publish = command();
    publish.args(["publish", text(&build), "--product", "game", "--version", "1.0", "--channel", "stable"]);
    publish.args(["--key", text(&control.path("publisher.key")), "--to", text(&control.data())]);
    let output = publish.output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
}

fn token(control: &World, account: &str) -> PathBuf {
    let made = desk(control, &["token", "new", "--sub", account, "--ttl", "1h"]);
    let file = control.path(&format!("{account}.jwt"));
    std::fs::write(&file, made["token"].as_str().expect("a token")).expect("written");
    file
}

fn pull(edge: &World, token: &Path, into: &Path) -> Output {
    let mut pull: Command = edge.pull_command(into);
    pull.args(["--token-file", text(token)]).output().expect("starts")
}

#[test]
fn an_edge_serves_what_control_says_and_goes_on_without_it() {
    let tree = Tree::small_game(71, 400_000);
    let mut control = World::asleep_on_fixed_ports();
    control.wake();
    desk(&control, &["product", "add", "game", "--access", "licensed"]);
    publish_licensed(&control, &tree);
    desk(&control, &["account", "add", "alice"]);
    let given = desk(&control, &["entitlement", "add", "--account", "alice", "--product", "game"]);
    let alice = token(&control, "alice");
    let bob = token(&control, "bob");

    let mut edge = edge_of(&control);
    let blobs = edge.data();
    std::fs::create_dir_all(&blobs).expect("made");
    let copied = Command::new("cp").args(["-a", text(&control.data().join("blobs")), text(&blobs)]).status();
    assert!(copied.expect("cp starts").success());
    edge.wake();
    until("the edge is ready", || readiness(&edge).0 == 200);
    let (_, said_ready) = readiness(&edge);
    assert_eq!(said_ready["knowledge"]["whole"], true, "{said_ready}");
    let output = pull(&edge, &alice, &edge.path("one"));
    assert!(output.status.success(), "{}", said(&output));
    assert_same(&tree, &edge.path("one"));
    assert_eq!(pull(&edge, &bob, &edge.path("two")).status.code(), Some(2), "nobody knows bob");

    // What the desk does takes effect there.
    desk(&control, &["account", "add", "bob"]);
    desk(&control, &["entitlement", "add", "--account", "bob", "--product", "game"]);
    until("bob may", || pull(&edge, &bob, &edge.path("two")).status.success());
    desk(&control, &["entitlement", "rm", &given["id"].to_string()]);
    until("alice may not any more", || pull(&edge, &alice, &edge.path("three")).status.code() == Some(2));

    // Control dies. The edge goes on, and so it does after a restart of its own, and a death.
    control.daemon().kill_9();
    let output = pull(&edge, &bob, &edge.path("four"));
    assert!(output.status.success(), "{}", said(&output));
    edge.daemon().terminate().expect("ends well");
    edge.wake();
    let (code, said_ready) = readiness(&edge);
    assert_eq!((code, &said_ready["knowledge"]["following"]), (200, &Value::Bool(false)), "{said_ready}");
    let output = pull(&edge, &bob, &edge.path("five"));
    assert!(output.status.success(), "{}", said(&output));
    edge.daemon().kill_9();
    edge.wake();
    let output = pull(&edge, &bob, &edge.path("six"));
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(pull(&edge, &alice, &edge.path("seven")).status.code(), Some(2), "what was taken stays taken");

    // Control is back.
    control.wake();
    desk(&control, &["entitlement", "add", "--account", "alice", "--product", "game"]);
    until("alice may again", || pull(&edge, &alice, &edge.path("eight")).status.success());
    assert_eq!(readiness(&edge).1["knowledge"]["following"], true);

    // Nothing that either of them wrote tells the secret or the credential.
    let pseudonyms = std::fs::read_to_string(control.data().join("keys/pseudonym.key")).expect("made by the node");
    for log in [control.daemon().log(), edge.daemon().log()] {
        assert!(!log.contains(pseudonyms.trim()) && !log.contains(&control.admin_token()), "a secret is in a log");
    }

    // A feed has no end; a drain does not wait for it.
    let began = Instant::now();
    control.daemon().terminate().expect("ends well");
    assert!(began.elapsed() < Duration::from_secs(25), "the drain waited for the feed");
}

#[test]
fn an_edge_that_knows_nothing_says_so() {
    let mut control = World::asleep_on_fixed_ports();
    control.wake();
    let mut edge = edge_of(&control);
    control.daemon().terminate().expect("ends well");
    edge.wake();
    let (code, said_ready) = readiness(&edge);
    assert_eq!((code, &said_ready["knowledge"]["whole"]), (503, &Value::Bool(false)), "{said_ready}");
    let (code, body) = call(&edge.url("http_url"), "GET", "/v1/catalog", "", "").expect("an answer");
    assert_ne!(code, 404, "nobody knows what does not exist: {}", String::from_utf8_lossy(&body));
    let blob = BlobId::of(b"anything");
    let path = format!("/v1/feed/snapshots/{blob}");
    let (code, _) = call(&edge.url("admin_url"), "GET", &path, "", "").expect("an answer");
    assert_eq!(code, 404, "an edge has no admin API");
    control.wake();
    until("the edge is ready", || readiness(&edge).0 == 200);
}
