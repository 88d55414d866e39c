//! A node under test with its keys, and the command line to drive it.

use penstock_testkit::{Certificate, Daemon, Tree};
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_penstock");

/// A command with a clean environment: what the developer exported must not change a test.
pub(crate) fn command() -> Command {
    let mut command = Command::new(BINARY);
    for name in ["PENSTOCK_TO", "PENSTOCK_TOKEN", "PENSTOCK_ADMIN_TOKEN", "PENSTOCK_CA", "PENSTOCK_CONFIG"] {
        command.env_remove(name);
    }
    command
}

/// Runs to the end.
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    command().args(args).output().expect("the binary starts")
}

/// What a command printed, for messages.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Exactly one JSON document on stdout, and nothing behind it.
pub(crate) fn document(output: &Output) -> Value {
    let mut documents = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let first = documents.next().unwrap_or_else(|| panic!("no document: {}", said(output)));
    let first = first.unwrap_or_else(|error| panic!("not JSON: {error}: {}", said(output)));
    assert!(documents.next().is_none(), "more than one document: {}", said(output));
    first
}

/// A node, or the directory of one.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) certificate: Certificate,
    pub(crate) trust: String,
    pub(crate) daemon: Option<Daemon>,
    /// Variables for the node.
    pub(crate) environment: Vec<(String, String)>,
}

impl World {
    /// Keys, certificate and config, and no node yet.
    pub(crate) fn asleep() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let certificate = Certificate::loopback(dir.path()).expect("a certificate");
        let key = dir.path().join("publisher.key");
        let made = run(["key", "new", "--out", text(&key)]);
        assert!(made.status.success(), "{}", said(&made));
        let trust = String::from_utf8(made.stdout).expect("text").trim().to_owned();
        let config = "role = \"all\"\n[data]\ndir = \"data\"\n[listen]\nhttps = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
                      admin = \"127.0.0.1:0\"\n[tls]\ncert = \"cert.pem\"\nkey = \"cert.key\"\n[limits]\ndrain_seconds = 30\n";
        std::fs::write(dir.path().join("penstock.toml"), config).expect("written");
        Self { dir, certificate, trust, daemon: None, environment: Vec::new() }
    }

    /// As [`Self::asleep`], for a node that is found at the same addresses after a restart.
    pub(crate) fn asleep_on_fixed_ports() -> Self {
        let world = Self::asleep();
        let held: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let path = world.path("penstock.toml");
        let mut config = std::fs::read_to_string(&path).expect("written");
        for socket in &held {
            let port = socket.local_addr().expect("bound").port();
            config = config.replacen("127.0.0.1:0\"", &format!("127.0.0.1:{port}\""), 1);
        }
        std::fs::write(&path, config).expect("written");
        world
    }

    /// Another node with the same keys and content, which sleeps as this one does.
    pub(crate) fn twin(&self) -> Self {
        assert!(self.daemon.is_none(), "a running node's record is not copied");
        let mut twin = Self::asleep();
        twin.trust.clone_from(&self.trust);
        // The same authority, so that one --ca is enough for both.
        for name in ["cert.pem", "cert.key"] {
            std::fs::copy(self.path(name), twin.path(name)).expect("copied");
        }
        twin.certificate = self.certificate.clone();
        let copied = Command::new("cp").args(["-a", text(&self.data()), text(twin.dir.path())]).status();
        assert!(copied.expect("cp starts").success());
        twin
    }

    /// A running node.
    pub(crate) fn awake() -> Self {
        let mut world = Self::asleep();
        world.wake();
        world
    }

    /// Starts the node.
    pub(crate) fn wake(&mut self) {
        let mut serve = command();
        serve.args(["serve", "--config", text(&self.path("penstock.toml"))]);
        serve.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let daemon = Daemon::start(serve, &self.data().join("node.json"));
        self.daemon = Some(daemon.unwrap_or_else(|error| panic!("{error}")));
    }

    pub(crate) fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the node runs")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// One of the node's addresses, such as `https_url`.
    pub(crate) fn url(&self, field: &str) -> String {
        self.daemon.as_ref().expect("the node runs").addresses.text(field)
    }

    pub(crate) fn admin_token(&self) -> String {
        std::fs::read_to_string(self.data().join("keys/admin.token")).expect("made by the node").trim().to_owned()
    }

    /// Writes a build and publishes it to the channel `stable` of the open product `game`.
    pub(crate) fn publish(&self, tree: &Tree, version: &str) {
        let output = self.publish_command(tree, version).output().expect("the binary starts");
        assert!(output.status.success(), "{}", said(&output));
    }

    /// The command that does it.
    pub(crate) fn publish_command(&self, tree: &Tree, version: &str) -> Command {
        let build = self.path(&format!("build-{version}"));
        if !build.exists() {
            tree.write(&build).expect("written");
        }
        let mut publish = command();
        publish.args(["publish", text(&build), "--product", "game", "--version", version, "--access", "open"]);
        publish.args(["--channel", "stable", "--key", text(&self.path("publisher.key")), "--to", text(&self.data())]);
        publish.arg("--json");
        publish
    }

    /// The command that installs or updates `into` over HTTPS.
    pub(crate) fn pull_command(&self, into: &Path) -> Command {
        self.pull_from(&self.url("https_url"), into)
    }

    pub(crate) fn pull_from(&self, from: &str, into: &Path) -> Command {
        let mut pull = command();
        pull.args(["pull", "--from", from, "--ca", text(&self.certificate.ca), "--product", "game"]);
        pull.args(["--trust", &self.trust, "--into", text(into), "--json"]);
        pull
    }

    /// Installs or updates, and returns the report.
    pub(crate) fn pull(&self, into: &Path) -> Value {
        let output = self.pull_command(into).output().expect("the binary starts");
        assert!(output.status.success(), "{}", said(&output));
        document(&output)
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

/// Fails with the paths that differ.
pub(crate) fn assert_same(tree: &Tree, install: &Path) {
    let differences = tree.differences(install).expect("readable");
    assert!(differences.is_empty(), "the install differs from the build in {differences:?}");
}
