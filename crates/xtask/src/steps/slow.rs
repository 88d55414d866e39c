//! Slow peers: slowhttptest holds connections open against a real node, and must lose all of them,
//! while another client is served all the time.

use crate::node::{Node, step_dir};
use crate::run::{Context, Tally};
use crate::shell;
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Connections of each attack.
const CONNECTIONS: &str = "200";
/// After this many seconds an attack counts as having succeeded.
const ATTACK_SECONDS: &str = "150";
/// Longest that the honest client may wait for an answer.
const HONEST_WAIT: Duration = Duration::from_secs(3);
/// Size of the blob that the slow readers ask for: more than all socket buffers hold.
const BLOB_BYTES: usize = 16 << 20;

/// Runs the attacks at once.
///
/// # Errors
/// When slow peers keep their connections, or the honest client is not served.
pub fn check(context: &Context) -> Result<Tally> {
    let dir = step_dir(context, "slow")?;
    let node = Node::start(context, &dir)?;
    let file = dir.join("blob");
    std::fs::write(&file, pattern(BLOB_BYTES))?;
    let path = node.add_open_blob(context, &file)?;
    let plain = format!("{}{path}", node.get("http_url")?);
    let tls = format!("{}{path}", node.get("https_url")?);
    let attacks = [
        ("slow heads, plain", attack(&["-H", "-i", "5", "-x", "24", "-u", &plain])),
        ("slow heads, TLS", attack(&["-H", "-i", "5", "-x", "24", "-u", &tls])),
        (
            "slow reads, plain",
            // A reader notices that it was cut when it has read what its own kernel holds, some 2 KiB: slower than
            // this it would take longer than the attack lasts. A quarter of the least rate is slow enough.
            attack(&["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "256", "-k", "3", "-u", &plain]),
        ),
        ("slow reads, TLS", attack(&["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "256", "-k", "3", "-u", &tls])),
        ("slow bodies, plain", attack(&["-B", "-i", "5", "-x", "24", "-s", "8192", "-u", &plain])),
    ];
    let over = AtomicBool::new(false);
    let mut tally = Tally::default();
    thread::scope(|scope| -> Result<()> {
        let honest = scope.spawn(|| honest_client(&tls, Path::new(node.get("ca_cert")?), &over));
        let running = attacks.map(|(name, mut command)| (name, scope.spawn(move || shell::quiet(&mut command))));
        let results: Vec<_> = running.into_iter().map(|(name, handle)| (name, handle.join())).collect();
        over.store(true, Ordering::Release);
        let (served, slowest) = honest.join().map_err(|_| anyhow::anyhow!("the honest client panicked"))??;
        for (name, said) in results {
            let said = said.map_err(|_| anyhow::anyhow!("an attack's thread panicked"))??;
            tally.notes.push(format!("{name}: {}", cut_off(&said.lines).with_context(|| name.to_owned())?));
            tally.passed += 1;
        }
        tally.notes.push(format!("meanwhile {served} requests were served, the slowest in {slowest:.2?}"));
        tally.passed += 1;
        Ok(())
    })?;
    node.stop()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(tally)
}

fn attack(words: &[&str]) -> Command {
    let mut command = Command::new("slowhttptest");
    command.args(["-c", CONNECTIONS, "-r", "200", "-l", ATTACK_SECONDS, "-t", "GET", "-p", "5"]).args(words);
    command
}

/// What slowhttptest says at its end; it must have no connection left before its time was over.
fn cut_off(lines: &[String]) -> Result<String> {
    let find = |text: &str| lines.iter().rev().find(|line| line.contains(text)).map(|line| plain_text(line));
    let status = find("Exit status:").context("slowhttptest printed no exit status")?;
    ensure!(status.contains("No open connections left"), "slow peers kept their connections: {status}");
    let ended = find("Test ended on").unwrap_or_default();
    Ok(format!("all cut ({})", ended.trim()))
}

/// Removes terminal colours.
fn plain_text(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            text.push(c);
        }
    }
    text.trim().to_owned()
}

fn honest_client(url: &str, ca: &Path, over: &AtomicBool) -> Result<(u64, Duration)> {
    let mut served = 0;
    let mut slowest = Duration::ZERO;
    while !over.load(Ordering::Acquire) {
        let start = Instant::now();
        let seconds = HONEST_WAIT.as_secs().to_string();
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--max-time", &seconds, "--range", "1000-66535"]);
        command.args(["--output", "/dev/null", "--cacert"]).arg(ca).arg(url);
        shell::stdout_of(&mut command).context("another client was not served during the attack")?;
        slowest = slowest.max(start.elapsed());
        served += 1;
        thread::sleep(Duration::from_millis(100));
    }
    Ok((served, slowest))
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_attack_is_good() {
        let lines = |status: &str| {
            vec![
                "\u{1b}[1mTest ended on 26th second\u{1b}[0m".to_owned(),
                format!("Exit status: \u{1b}[1m{status}\u{1b}[0m"),
            ]
        };
        let good = cut_off(&lines("No open connections left")).expect("all were cut");
        assert_eq!(good, "all cut (Test ended on 26th second)");
        assert!(cut_off(&lines("Hit test time limit")).is_err());
        assert!(cut_off(&[]).is_err());
    }
}
