//! The real daemon: `penstock serve` with a config of our own on free ports, and commands against it.

use crate::args::Args;
use crate::fixture::fresh_dir;
use crate::say;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for readiness.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// A certificate for localhost that the daemon and its peer share.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// A self-signed ECDSA P-256 certificate.
    pub(crate) fn make(dir: &Path) -> Result<Self> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
        let paths = Self { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
        fs::write(&paths.cert, made.cert.pem())?;
        fs::write(&paths.key, made.signing_key.serialize_pem())?;
        Ok(paths)
    }
}

/// What sets a daemon apart from one that only serves open content.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    /// Its role; `all` when empty.
    pub(crate) role: &'static str,
    /// Whether it has an admin listener on loopback and takes tokens over plain HTTP.
    pub(crate) desk: Desk,
    /// More tables of its config.
    pub(crate) tables: String,
    /// Variables of its environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// Whether people and tokens come to a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Desk {
    /// Nobody does.
    #[default]
    Closed,
    /// They do.
    Open,
}

/// A running daemon.
pub(crate) struct Node {
    child: Child,
    binary: PathBuf,
    dir: PathBuf,
    pub(crate) http: String,
    pub(crate) https: String,
    /// Its admin listener, when it has one.
    pub(crate) admin: String,
    pub(crate) certificate: Certificate,
    /// From the start of the process to its `READY=1`.
    pub(crate) ready_after: Duration,
}

impl Node {
    /// Starts a daemon in a fresh directory.
    pub(crate) fn start(args: &Args, name: &str) -> Result<Self> {
        Self::start_in(args, fresh_dir(&args.dir, name)?)
    }

    /// Starts a daemon whose data directory may already be filled: see [`data_dir`].
    pub(crate) fn start_in(args: &Args, dir: PathBuf) -> Result<Self> {
        Self::start_as(args, dir, &Setup::default())
    }

    /// The same, for a daemon of another kind.
    pub(crate) fn start_as(args: &Args, dir: PathBuf, setup: &Setup) -> Result<Self> {
        let certificate = Certificate::make(&dir)?;
        let ports = free_ports()?;
        let [http, https, admin] = ports;
        let config = dir.join("penstock.toml");
        fs::write(&config, config_text(&dir, ports, &certificate, setup)?)?;
        let socket = dir.join("notify");
        // Left by an earlier daemon in this directory.
        let _ = fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).context("cannot bind the notify socket")?;
        notify.set_read_timeout(Some(Duration::from_millis(50)))?;
        let log = File::create(dir.join("log"))?;
        let start = Instant::now();
        let mut child = Command::new(&args.binary)
            .args(["serve", "--config"])
            .arg(&config)
            .env("NOTIFY_SOCKET", &socket)
            .envs(setup.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", args.binary.display()))?;
        let ready = wait_ready(&mut child, &notify, start);
        let node = Self {
            child,
            binary: args.binary.clone(),
            http: format!("http://127.0.0.1:{http}"),
            https: format!("https://127.0.0.1:{https}"),
            admin: format!("http://127.0.0.1:{admin}"),
            certificate,
            ready_after: start.elapsed(),
            dir,
        };
        if let Err(error) = ready {
            let log = fs::read_to_string(node.dir.join("log")).unwrap_or_default();
            bail!("{error}; its log:\n{log}");
        }
        Ok(node)
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        data_dir(&self.dir)
    }

    /// The file of a sealed blob, for a peer that serves the same bytes.
    pub(crate) fn blob_file(&self, blob: &str) -> Result<PathBuf> {
        find_file(&self.data_dir().join("blobs"), blob).with_context(|| format!("the blob {blob} has no file"))
    }

    /// A `penstock` command.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Adds an open blob and returns its name.
    pub(crate) fn add_open_blob(&self, file: &Path) -> Result<String> {
        let mut command = self.command(&["blob", "add", "--open", "--json", "--to"]);
        let answer = json_of(command.arg(self.data_dir()).arg(file))?;
        Ok(answer.get("blob").and_then(Value::as_str).context("blob add --json names the blob")?.to_owned())
    }

    /// A `penstock` command against this daemon, as JSON.
    pub(crate) fn desk(&self, words: &[&str]) -> Result<Value> {
        json_of(self.command(words).args(["--json", "--to"]).arg(self.data_dir()))
    }

    /// The head line that opens its admin listener.
    pub(crate) fn admin_head(&self) -> Result<String> {
        let secret = fs::read_to_string(self.data_dir().join("keys/admin.token"))?;
        Ok(format!("Authorization: Bearer {}\r\n", secret.trim()))
    }

    /// Asks for a reload of config and certificates.
    pub(crate) fn reload(&self) -> Result<()> {
        self.signal("-HUP")
    }

    /// Whether it is still there.
    pub(crate) fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Ends it as systemd would, and checks that it went cleanly.
    pub(crate) fn stop(mut self) -> Result<PathBuf> {
        self.signal("-TERM")?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the daemon ended with {status} after SIGTERM");
        Ok(self.dir.clone())
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill").arg(signal).arg(self.pid().to_string()).status()?;
        ensure!(status.success(), "kill {signal} failed");
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Gone already after `stop`; otherwise a measurement failed and nobody waits for a clean end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a daemon started in `dir` keeps its data.
pub(crate) fn data_dir(dir: &Path) -> PathBuf {
    dir.join("data")
}

/// Standard output of a command as JSON; its errors go to ours.
pub(crate) fn json_of(command: &mut Command) -> Result<Value> {
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{:?} ended with {}", command.get_args().next(), output.status);
    serde_json::from_slice(&output.stdout).context("--json prints one JSON document")
}

/// Ports that were free a moment ago.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn config_text(dir: &Path, ports: [u16; 3], certificate: &Certificate, setup: &Setup) -> Result<String> {
    let text = |path: &Path| Ok::<_, anyhow::Error>(toml::Value::from(path.to_str().context("paths are text")?));
    let role = if setup.role.is_empty() { "all" } else { setup.role };
    let [http, https, admin] = ports;
    let desk = match setup.desk {
        Desk::Closed => "admin = \"\"".to_owned(),
        Desk::Open => format!("admin = \"127.0.0.1:{admin}\"\ntokens_over_http = true"),
    };
    Ok(format!(
        "role = \"{role}\"\n[data]\ndir = {}\n[listen]\nhttp = [\"127.0.0.1:{http}\"]\nhttps = [\"127.0.0.1:{https}\"]\n\
         {desk}\n[tls]\ncert = {}\nkey = {}\n[log]\nlevel = \"warn\"\naccess = false\n{}",
        text(&data_dir(dir))?,
        text(&certificate.cert)?,
        text(&certificate.key)?,
        setup.tables,
    ))
}

fn wait_ready(child: &mut Child, notify: &UnixDatagram, start: Instant) -> Result<()> {
    let mut message = [0; 4096];
    while start.elapsed() < READY_WITHIN {
        // A timeout of the read only means that it is time to look at the child.
        if let Ok(length) = notify.recv(&mut message)
            && String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1")
        {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("the daemon ended with {status} before it was ready");
        }
    }
    say::note("the daemon said nothing to its notify socket");
    bail!("the daemon was not ready within {READY_WITHIN:?}")
}

/// The largest file whose name holds `blob`, as a whole or behind a directory that begins it.
fn find_file(dir: &Path, blob: &str) -> Option<PathBuf> {
    let mut found: Option<(u64, PathBuf)> = None;
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_it = name.starts_with(blob) || blob.ends_with(&name) && name.len() > 40;
            let length = entry.metadata().ok()?.len();
            if is_it && found.as_ref().is_none_or(|(longest, _)| length > *longest) {
                found = Some((length, path));
            }
        }
    }
    found.map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_toml_with_hostile_paths_too() {
        let certificate = Certificate { cert: "/a \"b\"/c.pem".into(), key: "/k".into() };
        let setup = Setup { role: "edge", desk: Desk::Open, tables: "[rates]\n".to_owned(), ..Setup::default() };
        let text = config_text(Path::new("/d\\e"), [1, 2, 3], &certificate, &setup).expect("text");
        let table: toml::Table = text.parse().expect("TOML");
        assert_eq!(table["role"].as_str(), Some("edge"));
        assert_eq!(table["listen"]["admin"].as_str(), Some("127.0.0.1:3"));
        assert_eq!(table["data"]["dir"].as_str(), Some("/d\\e/data"));
        assert_eq!(table["tls"]["cert"].as_str(), Some("/a \"b\"/c.pem"));
    }

    #[test]
    fn free_ports_differ() {
        let [a, b] = free_ports().expect("ports");
        assert_ne!(a, b);
    }
}
