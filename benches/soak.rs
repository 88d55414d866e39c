//! A long stretch of load, reloads and new blobs: nothing fails, and memory stays flat.

use crate::args::Args;
use crate::figures::{Figures, Goal, number};
use crate::fixture::noise_file;
use crate::node::Node;
use crate::process::memory_beside_maps_bytes;
use crate::say;
use anyhow::{Context as _, Result, ensure};
use penstock_load::{LoadPlan, Protocol};
use std::time::{Duration, Instant};

/// Memory may end so much above where it was after the first rounds: allocator noise, not a leak.
const GROWTH_MIB_MAX: f64 = 16.0;
/// Rounds before memory is taken as the level to hold.
const WARM_ROUNDS: usize = 3;

/// Soaks for the minutes asked for.
pub(crate) fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    let mut node = Node::start(args, "soak")?;
    let end = Instant::now() + Duration::from_secs(args.pick(10, args.minutes * 60));
    let mut levels = Vec::new();
    let mut requests = 0;
    let mut round = 0;
    while levels.len() <= WARM_ROUNDS || Instant::now() < end {
        requests += one_round(args, &node, round)?;
        ensure!(node.is_alive()?, "the daemon is gone");
        levels.push(number(memory_beside_maps_bytes(node.pid(), &node.data_dir())?) / 1_048_576.0);
        say::note(&format!(
            "round {round}: {requests} requests, {:.1} MiB",
            levels.last().copied().unwrap_or_default()
        ));
        round += 1;
    }
    node.stop()?;
    let warm = levels.get(WARM_ROUNDS - 1).copied().context("enough rounds were run")?;
    let last = levels.last().copied().context("rounds were run")?;
    figures.add("soak: requests", "count", vec![number(requests)]);
    figures.judge("soak: growth of memory after warm-up", "MiB", vec![last - warm], Goal::AtMost(GROWTH_MIB_MAX));
    Ok(())
}

/// A new blob, load over each protocol, and a reload in the middle of it.
fn one_round(args: &Args, node: &Node, round: u64) -> Result<u64> {
    let source = args.dir.join("soak-source");
    noise_file(&source, (4 << 20) + round)?;
    let blob = node.add_open_blob(&source)?;
    std::fs::remove_file(&source)?;
    let ca_pem = std::fs::read(&node.certificate.cert)?;
    let mut requests = 0;
    let https = node.https.replace("127.0.0.1", "localhost");
    for (base, protocol, range_bytes) in
        [(&node.http, Protocol::Http1, 1 << 20), (&https, Protocol::Http1, 65_536), (&https, Protocol::Http2, 1000)]
    {
        let plan = LoadPlan {
            protocol,
            range_bytes,
            connections: 64,
            duration_ms: args.pick(300, 5000),
            seed: round,
            ca_pem: ca_pem.clone(),
            ..LoadPlan::new(format!("{base}/v1/blobs/{blob}"))
        };
        let report = std::thread::scope(|scope| {
            let load = scope.spawn(|| penstock_load::run(&plan));
            node.reload()?;
            load.join().map_err(|_| anyhow::anyhow!("the generator panicked"))?.context("the load could not be made")
        })?;
        ensure!(report.errors.total() == 0, "requests failed: {:?} ({:?})", report.errors, report.first_error);
        requests += report.requests;
    }
    let removed = node.command(&["blob", "rm", &blob, "--to"]).arg(node.data_dir()).status()?;
    ensure!(removed.success(), "blob rm ended with {removed}");
    Ok(requests)
}
