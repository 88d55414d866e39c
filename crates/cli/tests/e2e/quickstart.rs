//! The contract of `penstock quickstart`.

use crate::world::{command, document, run, said, text};
use penstock_testkit::{Daemon, Tree};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const KEYS: [&str; 14] = [
    "https_url",
    "http_url",
    "admin_url",
    "ca_cert",
    "trust",
    "token_file",
    "admin_token_file",
    "publisher_key",
    "product",
    "channel",
    "versions",
    "data_dir",
    "config",
    "pid",
];

#[test]
fn once_on_a_build_of_mine_verifies_and_ends() {
    let scratch = tempfile::tempdir().expect("a directory");
    let build = scratch.path().join("my-game");
    Tree::small_game(1, 2_000_000).write(&build).expect("written");
    let dir = scratch.path().join("try");
    let args = ["quickstart", "--dir", text(&dir), "--build", text(&build), "--port", "0", "--once", "--json"];
    let output = run(args);
    assert!(output.status.success(), "{}", said(&output));
    let summary = document(&output);
    assert_eq!(summary["verified"], true, "{summary}");
    let update = summary["update"]["downloaded_bytes"].as_u64().expect("a number");
    let full = summary["install"]["downloaded_bytes"].as_u64().expect("a number");
    assert!(update < full, "{summary}");
    // Again in the same directory: what is there is used.
    let again = run(args);
    assert!(again.status.success(), "{}", said(&again));
}

#[test]
fn it_serves_on_and_its_document_is_complete() {
    let scratch = tempfile::tempdir().expect("a directory");
    let build = scratch.path().join("my-game");
    Tree::small_game(2, 500_000).write(&build).expect("written");
    let dir = scratch.path().join("try");
    let mut quickstart = command();
    quickstart.args(["quickstart", "--dir", text(&dir), "--build", text(&build), "--port", "0"]);
    let mut daemon = Daemon::start(quickstart, &dir.join("quickstart.json")).unwrap_or_else(|error| panic!("{error}"));
    let mut keys: Vec<&String> = daemon.addresses.0.as_object().expect("an object").keys().collect();
    keys.sort();
    let mut contract = KEYS;
    contract.sort_unstable();
    assert_eq!(keys, contract);
    for file in ["ca_cert", "token_file", "admin_token_file", "publisher_key", "data_dir", "config"] {
        let path = daemon.addresses.text(file);
        assert!(Path::new(&path).is_absolute() && Path::new(&path).exists(), "{file}: {path}");
    }
    assert_eq!(daemon.addresses.0["pid"].as_u64(), Some(u64::from(daemon.pid())));
    let token = std::fs::read_to_string(daemon.addresses.text("token_file")).expect("there");
    assert_eq!(token.trim().split('.').count(), 3, "a compact JWS has three parts");

    penstock_testkit::require_tool("curl", "curl");
    let catalog = format!("{}/v1/catalog", daemon.addresses.text("https_url"));
    let curl = std::process::Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--cacert", &daemon.addresses.text("ca_cert"), &catalog])
        .output()
        .expect("starts");
    assert!(curl.status.success(), "the certificate must hold for OpenSSL too: {}", said(&curl));
    assert_eq!(document(&curl)["products"][0]["id"], "my-game");

    let into = scratch.path().join("mine");
    let addresses = daemon.addresses.clone();
    let pull = run([
        "pull",
        "--from",
        &addresses.text("https_url"),
        "--ca",
        &addresses.text("ca_cert"),
        "--product",
        &addresses.text("product"),
        "--channel",
        &addresses.text("channel"),
        "--trust",
        &addresses.text("trust"),
        "--token-file",
        &addresses.text("token_file"),
        "--into",
        text(&into),
        "--json",
    ]);
    assert!(pull.status.success(), "{}", said(&pull));
    assert_eq!(document(&pull)["to"], addresses.0["versions"][1]);
    let status = daemon.terminate().expect("ends");
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
}

/// Found in review: whoever stopped it right when its document appeared ended it by signal, and the document stayed.
#[test]
fn a_signal_at_any_moment_ends_it_in_order() {
    let scratch = tempfile::tempdir().expect("a directory");
    let build = scratch.path().join("my-game");
    Tree::small_game(3, 8_000_000).write(&build).expect("written");
    let dir = scratch.path().join("try");
    let document = dir.join("quickstart.json");
    let start = || {
        let args = ["quickstart", "--dir", text(&dir), "--build", text(&build), "--port", "0"];
        let mut quickstart = command();
        quickstart.args(args).stdout(Stdio::null()).stderr(Stdio::piped());
        quickstart.spawn().expect("starts")
    };
    let stop = |child: Child| {
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
            .expect("sent");
        child.wait_with_output().expect("ends")
    };
    let until = |what: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !what() {
            assert!(began.elapsed() < Duration::from_secs(120), "it did not come so far");
            std::thread::park_timeout(Duration::from_millis(2));
        }
    };
    // While it prepares: at once, and it says what to do.
    let child = start();
    until(&|| dir.join("data/lock").exists());
    let output = stop(child);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("run it again"), "{}", said(&output));
    // While others may be served: in order, once the step under way is done.
    let child = start();
    until(&|| document.exists());
    let output = stop(child);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!document.exists(), "the document of a node that is gone stayed");
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let scratch = tempfile::tempdir().expect("a directory");
    let build = scratch.path().join("b");
    Tree::default().file("a", "a").write(&build).expect("written");
    let dir = scratch.path().join("try");
    let output = run(["quickstart", "--dir", text(&dir), "--build", text(&build), "--port", &port, "--once"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains(&port) && words.contains("--port 0"), "it names the port and what to do: {}", said(&output));
}
