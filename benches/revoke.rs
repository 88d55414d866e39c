//! From a revocation at the desk to a refusal on an edge in another process, with a million revoked before.
//!
//! Each token is in use on a kept connection when it is revoked, so it is in every cache that there is.

use crate::args::Args;
use crate::content;
use crate::edge;
use crate::figures::{Figures, Goal, number};
use crate::fixture::fresh_dir;
use crate::http::Client;
use crate::node::{Desk, Node, Setup};
use crate::players::{self, ISSUER, Provider};
use crate::process::peak_memory_bytes;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fmt::Write as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How often the edge is asked whether it refuses: the times are right to so much.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A token that is still good after this is a fault and no figure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures it.
pub(crate) fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    let before = args.pick(5000, 1_000_000);
    let tries = args.pick(10, 300);
    let dir = fresh_dir(&args.dir, "revoke-control")?;
    let provider = Provider::new()?;
    let tables = provider.config(&dir)?;
    let control = Node::start_as(args, dir, &Setup { desk: Desk::Open, tables: tables.clone(), ..Setup::default() })?;
    let work = fresh_dir(&args.dir, "revoke-work")?;
    let game = content::publish(&control, &work, "game", "licensed")?;
    let text = |name: &str| work.join(name).to_str().map(str::to_owned).context("paths are text");
    players::csv(&work.join("players.csv"), tries, &["game"])?;
    control.desk(&["account", "import", &text("players.csv")?])?;

    let mut ids = String::new();
    (0..before).try_for_each(|number| writeln!(ids, "before-{number:012}"))?;
    std::fs::write(work.join("revoked"), ids)?;
    let begun = Instant::now();
    let import = control.desk(&["revoke", "import", &text("revoked")?, "--issuer", ISSUER])?;
    ensure!(import.get("revoked").and_then(Value::as_u64) == Some(before), "not all were revoked: {import}");
    figures.add("revoke: ids imported", "1/s", vec![number(before) / begun.elapsed().as_secs_f64()]);

    let dir = fresh_dir(&args.dir, "revoke-edge")?;
    // An edge fetches no blobs yet: it has them from elsewhere.
    std::fs::create_dir_all(crate::node::data_dir(&dir))?;
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(control.data_dir().join("blobs")).arg(crate::node::data_dir(&dir));
    ensure!(copy.status()?.success(), "cp failed");
    let setup = edge::setup(&control, &work, &tables)?;
    let (edge, ready) = edge::start(args, dir, &setup)?;
    figures.add(format!("revoke: an edge knows {before} revoked ids after"), "s", vec![ready.as_secs_f64()]);

    let mut times = Vec::new();
    let path = format!("/v1/blobs/{}", game.blob);
    let mut desk = Client::connect(&control.admin)?;
    for number in 0..tries {
        let id = format!("session-{number:07}");
        let token = provider.token(&players::name(number), &id)?;
        times.push(revoke(&mut desk, &control.admin_head()?, &edge, &path, &token, &id)?);
    }
    times.sort_by(f64::total_cmp);
    let tail = times.get(times.len() * 99 / 100).copied().context("times were taken")?;
    let after = format!("revoke → refused on an edge, after {before} others");
    figures.add(format!("{after}: each"), "ms", times);
    figures.judge(format!("{after}: 99th percentile"), "ms", vec![tail], Goal::AtMost(1000.0));
    let peak = number(peak_memory_bytes(edge.pid()).context("the edge runs")?) / 1_048_576.0;
    figures.add(format!("edge with {before} revoked ids: peak memory"), "MiB", vec![peak]);
    edge.stop()?;
    control.stop()?;
    Ok(())
}

/// Milliseconds from the call to the edge's refusal.
fn revoke(desk: &mut Client, admin: &str, edge: &Node, path: &str, token: &str, id: &str) -> Result<f64> {
    let mut player = Client::connect(&edge.http)?;
    let head = format!("Authorization: Bearer {token}\r\nRange: bytes=0-0\r\n");
    for _ in 0..2 {
        let status = player.ask("GET", path, &head, &[])?.status;
        ensure!(status == 206, "a good token got {status}");
    }
    let body = serde_json::json!({ "tokens": [{ "id": id, "issuer": ISSUER }] }).to_string();
    let begun = Instant::now();
    desk.ask("POST", "/admin/v1/revocations", admin, body.as_bytes())?.json()?;
    loop {
        let status = player.ask("GET", path, &head, &[])?.status;
        if status != 206 {
            ensure!(status == 401 || status == 403, "a revoked token got {status}");
            return Ok(begun.elapsed().as_secs_f64() * 1000.0);
        }
        ensure!(begun.elapsed() < PATIENCE, "a revoked token is still good");
        thread::sleep(LOOK_EVERY);
    }
}
