//! A large studio: a million accounts with three entitlements each, on both engines, and an edge that starts from them.

use crate::args::Args;
use crate::edge;
use crate::figures::{Figures, Goal, number};
use crate::fixture::fresh_dir;
use crate::http::Client;
use crate::node::{Desk, Node, Setup};
use crate::players;
use crate::process::{memory_beside_maps_bytes, peak_memory_bytes};
use crate::say;
use anyhow::{Context as _, Result, ensure};
use penstock_testkit::{PostgresServer, Syncing};
use serde_json::Value;
use std::path::Path;
use std::time::Instant;

const MIB: f64 = 1_048_576.0;
const PRODUCTS: [&str; 3] = ["game", "sequel", "soundtrack"];
const LOOKUPS: usize = 1000;
/// Cold starts of the edge: a start with nothing on its disk, and one with what it knew.
const STARTS: usize = 3;

/// Measures both engines.
pub(crate) fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    let accounts = args.pick(2000, 1_000_000);
    let work = fresh_dir(&args.dir, "scale-work")?;
    let list = work.join("players.csv");
    players::csv(&list, accounts, &PRODUCTS)?;

    let sqlite = Setup { desk: Desk::Open, ..Setup::default() };
    let size = |node: &Node| files_bytes(&node.data_dir(), "control.sqlite");
    one(args, figures, "SQLite", &sqlite, &list, accounts, size)?;

    // It syncs, and has the memory that such a database is given; everything else is as it comes.
    let server = PostgresServer::start(Syncing::Sync, &["shared_buffers=512MB", "max_wal_size=4GB"]);
    let url = server.database();
    let environment = vec![("PENSTOCK__CONTROL__DATABASE".to_owned(), url)];
    let postgres = Setup { desk: Desk::Open, environment, ..Setup::default() };
    let size = |_: &Node| Ok(server.run("SELECT pg_database_size('postgres')").trim().parse()?);
    one(args, figures, "PostgreSQL", &postgres, &list, accounts, size)
}

fn one(
    args: &Args,
    figures: &mut Figures,
    engine: &str,
    setup: &Setup,
    list: &Path,
    accounts: usize,
    database_bytes: impl Fn(&Node) -> Result<u64>,
) -> Result<()> {
    let name = |what: &str| format!("scale, {engine}: {what}");
    let control = Node::start_as(args, fresh_dir(&args.dir, "scale-control")?, setup)?;
    for product in PRODUCTS {
        control.desk(&["product", "add", product, "--access", "licensed"])?;
    }
    let begun = Instant::now();
    let import = control.desk(&["account", "import", list.to_str().context("paths are text")?])?;
    let seconds = begun.elapsed().as_secs_f64();
    let count = |key: &str| import.get(key).and_then(Value::as_u64).unwrap_or(0);
    let lines = (accounts * PRODUCTS.len()) as u64;
    ensure!((count("accounts"), count("entitlements")) == (accounts as u64, lines), "not all went in: {import}");
    say::note(&format!("{engine}: imported after {seconds:.0} s"));
    figures.add(
        name("entitlements imported, with their accounts and the snapshot"),
        "1/s",
        vec![number(lines) / seconds],
    );
    figures.add(name("size of the database"), "MiB", vec![number(database_bytes(&control)?) / MIB]);

    let mut desk = Client::connect(&control.admin)?;
    let head = control.admin_head()?;
    let [median, tail] = lookups(&mut desk, &head, accounts, args.pick(50, LOOKUPS))?;
    figures.judge(name("account looked up over the admin API: median"), "ms", vec![median], Goal::AtMost(10.0));
    figures.add(name("account looked up over the admin API: 99th percentile"), "ms", vec![tail]);

    let begun = Instant::now();
    let snapshot = desk.ask("POST", "/admin/v1/snapshots", &head, b"{}")?.json()?;
    figures.add(name("snapshot of all accounts made"), "s", vec![begun.elapsed().as_secs_f64()]);
    let blob = snapshot.get("blob").and_then(Value::as_str).context("a snapshot is a blob")?;
    figures.add(
        name("size of the snapshot"),
        "MiB",
        vec![number(std::fs::metadata(control.blob_file(blob)?)?.len()) / MIB],
    );
    let peak = peak_memory_bytes(control.pid()).context("the node runs")?;
    figures.add(name("peak memory of the control node"), "MiB", vec![number(peak) / MIB]);
    cold_starts(args, figures, &name, &control)?;
    control.stop()?;
    Ok(())
}

/// Milliseconds: the middle and the tail.
fn lookups(desk: &mut Client, head: &str, accounts: usize, count: usize) -> Result<[f64; 2]> {
    let mut times = Vec::new();
    let mut state = 1_u64;
    for _ in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let player = players::name(usize::try_from(state >> 33)? % accounts);
        let begun = Instant::now();
        let account = desk.ask("GET", &format!("/admin/v1/accounts/{player}"), head, &[])?.json()?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        let given = account.get("entitlements").and_then(Value::as_array).map_or(0, Vec::len);
        ensure!(given == PRODUCTS.len(), "{player} holds {given}: {account}");
    }
    times.sort_by(f64::total_cmp);
    Ok([times[times.len() / 2], times[times.len() * 99 / 100]])
}

/// An edge that knows nothing and is told, and the same one that knows and starts again.
fn cold_starts(args: &Args, figures: &mut Figures, name: &dyn Fn(&str) -> String, control: &Node) -> Result<()> {
    let work = fresh_dir(&args.dir, "scale-edge-work")?;
    let setup = edge::setup(control, &work, "")?;
    let [mut first, mut again, mut peaks, mut beside] = [const { Vec::new() }; 4];
    for _ in 0..args.pick(1, STARTS) {
        let dir = fresh_dir(&args.dir, "scale-edge")?;
        for times in [&mut first, &mut again] {
            let (edge, ready) = edge::start(args, dir.clone(), &setup)?;
            times.push(ready.as_secs_f64());
            peaks.push(number(peak_memory_bytes(edge.pid()).context("the edge runs")?) / MIB);
            beside.push(number(memory_beside_maps_bytes(edge.pid(), &edge.data_dir())?) / MIB);
            edge.stop()?;
        }
    }
    figures.judge(name("edge ready, with nothing on its disk"), "s", first, Goal::AtMost(5.0));
    figures.judge(name("edge ready, with what it knew"), "s", again, Goal::AtMost(5.0));
    figures.judge(name("edge that just became ready: peak resident memory"), "MiB", peaks, Goal::AtMost(200.0));
    figures.add(name("edge that just became ready: resident beside maps"), "MiB", beside);
    Ok(())
}

/// Size of the files whose names begin so.
fn files_bytes(dir: &Path, beginning: &str) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(beginning) {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}
