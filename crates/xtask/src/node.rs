//! A real node for the steps that need one: `penstock quickstart`, kept serving until it is dropped.
//!
//! Knows the binary only from outside: its flags, `quickstart.json` and exit codes.

use crate::run::Context;
use crate::{say, shell};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a quickstart may take to serve. The contract says 20 s on a quiet machine.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How often its summary is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running quickstart node and what its summary says.
pub struct Node {
    child: Child,
    dir: PathBuf,
    summary: Value,
}

impl Node {
    /// Starts a node below `dir` on free ports and waits until it serves.
    ///
    /// # Errors
    /// When the binary is not built, ends, or does not serve in time; its log is printed.
    pub fn start(context: &Context, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let log = File::create(dir.join("node.log"))?;
        let mut child = Command::new(context.penstock())
            .args(["quickstart", "--port", "0", "--dir"])
            .arg(dir.join("quickstart"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", context.penstock().display()))?;
        match wait_for_summary(&mut child, &dir.join("quickstart").join("quickstart.json")) {
            Ok(summary) => Ok(Self { child, dir: dir.to_owned(), summary }),
            Err(error) => {
                // It may be gone already; what matters is that it does not stay.
                let _ = child.kill();
                let _ = child.wait();
                print_log(dir);
                Err(error)
            }
        }
    }

    /// A text of the summary.
    ///
    /// # Errors
    /// When the summary lacks it.
    pub fn get(&self, key: &str) -> Result<&str> {
        self.summary.get(key).and_then(Value::as_str).with_context(|| format!("quickstart.json has no text {key}"))
    }

    /// A `penstock` command that may use the node's admin API.
    ///
    /// # Errors
    /// When the admin token cannot be read.
    pub fn command(&self, context: &Context, words: &[&str]) -> Result<Command> {
        let token = std::fs::read_to_string(self.get("admin_token_file")?)?;
        let mut command = Command::new(context.penstock());
        command.args(words).env("PENSTOCK_ADMIN_TOKEN", token.trim()).env("SSL_CERT_FILE", self.get("ca_cert")?);
        Ok(command)
    }

    /// Adds an open blob and returns its URL path.
    ///
    /// # Errors
    /// When the command fails.
    pub fn add_open_blob(&self, context: &Context, file: &Path) -> Result<String> {
        let file = file.to_str().context("a temporary path is text")?;
        let words = ["blob", "add", file, "--to", self.get("data_dir")?, "--open", "--json"];
        let answer: Value = serde_json::from_str(&shell::stdout_of(&mut self.command(context, &words)?)?)?;
        let blob = answer.get("blob").and_then(Value::as_str).context("blob add --json names the blob")?;
        Ok(format!("/v1/blobs/{blob}"))
    }

    /// Ends the node with SIGTERM and checks that it went cleanly.
    ///
    /// # Errors
    /// When it does not end with code 0.
    pub fn stop(mut self) -> Result<()> {
        shell::must(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let status = self.child.wait()?;
        if !status.success() {
            print_log(&self.dir);
            bail!("the node ended with {status} after SIGTERM");
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Already gone after `stop`; otherwise a step failed and nobody waits for a clean end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A fresh directory for one step below the target directory.
///
/// # Errors
/// When it cannot be emptied or made.
pub fn step_dir(context: &Context, name: &str) -> Result<PathBuf> {
    let dir = context.target.join("xtask").join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

fn wait_for_summary(child: &mut Child, path: &Path) -> Result<Value> {
    let start = Instant::now();
    while start.elapsed() < READY_WITHIN {
        // The file is renamed into place, so it is whole as soon as it is there.
        if let Ok(text) = std::fs::read_to_string(path) {
            return serde_json::from_str(&text).context("quickstart.json is not JSON");
        }
        if let Some(status) = child.try_wait()? {
            bail!("quickstart ended with {status} before it served");
        }
        thread::sleep(LOOK_EVERY);
    }
    bail!("quickstart did not serve within {READY_WITHIN:?}")
}

fn print_log(dir: &Path) {
    let log = std::fs::read_to_string(dir.join("node.log")).unwrap_or_default();
    log.lines().rev().take(40).collect::<Vec<_>>().iter().rev().for_each(|line| say::line(&format!("    {line}")));
}
