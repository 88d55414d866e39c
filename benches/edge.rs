//! A node of role `edge` in a process of its own, which follows a control node.

use crate::args::Args;
use crate::http::Client;
use crate::node::{Desk, Node, Setup};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait for what an edge shall know.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is asked.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What an edge's config says beside the usual: whom it follows. Its credential is made and lies in `dir`.
pub(crate) fn setup(control: &Node, dir: &Path, tables: &str) -> Result<Setup> {
    let credential = dir.join("credential");
    let text = credential.to_str().context("paths are text")?;
    control.desk(&["credential", "add", "edge", "--role", "edge", "--out", text])?;
    let status =
        Client::connect(&control.admin)?.ask("GET", "/admin/v1/status", &control.admin_head()?, &[])?.json()?;
    let key = status.get("channel_key").and_then(Value::as_str).context("the status has a channel_key")?;
    let (url, file) = (&control.admin, toml::Value::from(text));
    let follow = format!("[control]\nurl = \"{url}\"\ncredential = {file}\nkey = \"{key}\"\n{tables}");
    Ok(Setup { role: "edge", desk: Desk::Open, tables: follow, ..Setup::default() })
}

/// Starts an edge in `dir`, and how long it took from the start of its process until it was ready to serve: it knows a
/// whole state.
pub(crate) fn start(args: &Args, dir: PathBuf, setup: &Setup) -> Result<(Node, Duration)> {
    let begun = Instant::now();
    let edge = Node::start_as(args, dir, setup)?;
    until(&edge, |ready| ready.get("ready").and_then(Value::as_bool) == Some(true))?;
    Ok((edge, begun.elapsed()))
}

/// Waits until `/readyz` says what is wanted.
fn until(edge: &Node, is_so: impl Fn(&Value) -> bool) -> Result<()> {
    let begun = Instant::now();
    let mut client = Client::connect(&edge.admin)?;
    loop {
        let answer = client.ask("GET", "/readyz", "", &[])?;
        // Its status is an error for as long as the edge knows nothing.
        let ready = serde_json::from_slice(&answer.body).context("/readyz answers JSON")?;
        if is_so(&ready) {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "the edge does not get there: {ready}");
        thread::sleep(LOOK_EVERY);
    }
}
