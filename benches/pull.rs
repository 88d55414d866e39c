//! A whole release over TLS on loopback: published, installed, updated by the real binary, timed and weighed.

use crate::args::Args;
use crate::figures::{Figures, Goal, number};
use crate::fixture::{build_tree, fresh_dir};
use crate::node::{Node, json_of};
use crate::process::{cpu_seconds, peak_memory_bytes, stolen_seconds, user_and_system_seconds};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const MIB: f64 = 1_048_576.0;
/// Peak memory only grows, so the last look before the end is close to the truth.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The disk of a virtual machine is in a different mood every few seconds: the median of five.
const ROUNDS: usize = 5;

/// What a finished command took.
struct Taken {
    seconds: f64,
    peak_mib: f64,
    /// CPU time in its own code and in the kernel's.
    user_seconds: f64,
    system_seconds: f64,
}

/// Measures publish, install and update.
pub(crate) fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    let node = Node::start(args, "pull")?;
    let work = fresh_dir(&args.dir, "pull-work")?;
    let tree = work.join("tree");
    let bytes = build_tree(&tree, args.pick(24 << 20, 2 << 30))?;
    let key = work.join("publisher.key");
    let made = json_of(node.command(&["key", "new", "--json", "--out"]).arg(&key))?;
    let trust = made.get("public_key").or_else(|| made.get("public")).and_then(Value::as_str);
    let trust = trust.with_context(|| format!("key new --json names the public key: {made}"))?.to_owned();

    let published = weigh(&mut publish(&node, &tree, &key, "1"))?;
    figures.judge("publish: peak memory", "MiB", vec![published.peak_mib], Goal::AtMost(512.0));
    figures.add("publish: content", "MB/s", vec![number(bytes) / 1e6 / published.seconds]);

    let mut rates = Vec::new();
    let mut copies = Vec::new();
    let mut peaks = Vec::new();
    let [mut user, mut system, mut server, mut stolen] = [const { Vec::new() }; 4];
    for round in 0..args.pick(1, ROUNDS) {
        settle()?;
        copies.push(number(bytes) / 1e6 / copy(&tree, &work.join("copy"))?);
        settle()?;
        let install = work.join(format!("install{round}"));
        let before = (cpu_seconds(node.pid())?, stolen_seconds()?);
        let pulled = weigh(&mut pull(&node, &install, &trust))?;
        server.push(cpu_seconds(node.pid())? - before.0);
        stolen.push(stolen_seconds()? - before.1);
        rates.push(number(bytes) / 1e6 / pulled.seconds);
        peaks.push(pulled.peak_mib);
        user.push(pulled.user_seconds);
        system.push(pulled.system_seconds);
        if round > 0 {
            std::fs::remove_dir_all(&install)?;
        }
    }
    figures.add("cp of the same tree, with sync", "MB/s", copies);
    figures.judge("pull over TLS: content, decompressed, verified, written", "MB/s", rates, Goal::AtLeast(300.0));
    figures.add("pull: client CPU in its own code", "s", user);
    figures.add("pull: client CPU in the kernel", "s", system);
    figures.add("pull: server CPU", "s", server);
    figures.add("pull: CPU that the host kept from this machine", "s", stolen);
    figures.judge("pull: peak memory", "MiB", peaks, Goal::AtMost(64.0));
    update(&node, &work, &key, &trust, figures)?;
    node.stop()?;
    std::fs::remove_dir_all(work)?;
    Ok(())
}

/// Lets the disk finish what earlier steps left, so that the next one pays for its own writes only.
fn settle() -> Result<()> {
    ensure!(Command::new("sync").status()?.success(), "sync failed");
    Ok(())
}

/// Seconds that the system's own tool takes to write the same files from memory to the platter.
fn copy(tree: &Path, to: &Path) -> Result<f64> {
    let start = Instant::now();
    ensure!(Command::new("cp").arg("--recursive").arg(tree).arg(to).status()?.success(), "cp failed");
    settle()?;
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_dir_all(to)?;
    Ok(seconds)
}

/// A changed byte in each pak: what an update costs when almost nothing is new.
fn update(node: &Node, work: &Path, key: &Path, trust: &str, figures: &mut Figures) -> Result<()> {
    let tree = work.join("tree");
    for entry in std::fs::read_dir(tree.join("data"))? {
        let path = entry?.path();
        if path.is_file() {
            let mut content = std::fs::read(&path)?;
            let middle = content.len() / 2;
            content[middle] ^= 0xFF;
            std::fs::write(&path, content)?;
        }
    }
    weigh(&mut publish(node, &tree, key, "2"))?;
    let install = work.join("install0");
    let mut command = pull(node, &install, trust);
    let start = Instant::now();
    let report = json_of(&mut command)?;
    figures.add("update, a byte changed in each of 8 paks", "s", vec![start.elapsed().as_secs_f64()]);
    let downloaded = report.get("downloaded_bytes").and_then(Value::as_u64).context("pull --json: downloaded_bytes")?;
    figures.add("update, a byte changed in each of 8 paks", "MB downloaded", vec![number(downloaded) / 1e6]);
    let mut diff = Command::new("diff");
    diff.args(["--recursive", "--brief", "--exclude=.penstock*"]).arg(&tree).arg(&install);
    let same = diff.status()?.success();
    ensure!(same, "the updated install differs from what was published");
    Ok(())
}

fn publish(node: &Node, tree: &Path, key: &Path, version: &str) -> Command {
    let mut command =
        node.command(&["publish", "--product", "bench", "--access", "open", "--channel", "stable", "--json"]);
    command.args(["--version", version, "--key"]).arg(key).arg("--to").arg(node.data_dir()).arg(tree);
    command
}

fn pull(node: &Node, install: &Path, trust: &str) -> Command {
    let mut command = node.command(&["pull", "--product", "bench", "--json", "--from", &node.https, "--trust", trust]);
    command.arg("--ca").arg(&node.certificate.cert).arg("--into").arg(install);
    command
}

/// Runs a command to its end and watches its memory and time.
fn weigh(command: &mut Command) -> Result<Taken> {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?;
    let mut taken = Taken { seconds: 0.0, peak_mib: 0.0, user_seconds: 0.0, system_seconds: 0.0 };
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        taken.peak_mib = taken.peak_mib.max(number(peak_memory_bytes(child.id()).unwrap_or(0)) / MIB);
        if let Some((user, system)) = user_and_system_seconds(child.id()) {
            (taken.user_seconds, taken.system_seconds) = (user, system);
        }
        thread::sleep(LOOK_EVERY);
    };
    taken.seconds = start.elapsed().as_secs_f64();
    ensure!(status.success(), "{:?} ended with {status}", command.get_args().next());
    Ok(taken)
}
