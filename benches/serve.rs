//! Serving: 1 MiB random ranges of one blob over 32 connections, beside nginx with sendfile.
//!
//! Pairs are interleaved and their order alternates; a ratio is made of runs beside each other.
//! Server CPU is what the kernel charged to the server's processes during the run.

use crate::args::Args;
use crate::figures::{Figures, Goal, number, ratios};
use crate::fixture::{fresh_dir, noise_file};
use crate::nginx::Nginx;
use crate::node::Node;
use crate::process::cpu_seconds;
use crate::wrk::{self, Callers, Load};
use anyhow::{Context as _, Result, ensure};
use penstock_load::{LoadPlan, Protocol};
use std::path::Path;
use std::process::Command;

const CONNECTIONS: u32 = 32;
const THREADS: u32 = 2;
const RANGE_BYTES: u64 = 1 << 20;

/// One server's side of the pairs.
#[derive(Debug, Default)]
struct Side {
    gb_per_second: Vec<f64>,
    cpu_ms_per_gb: Vec<f64>,
}

/// Measures plain HTTP and TLS 1.3 beside nginx, and HTTP/2 alone.
pub(crate) fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    let object_bytes = args.pick(64 << 20, 1 << 30);
    let node = Node::start(args, "serve")?;
    let work = fresh_dir(&args.dir, "serve-peer")?;
    let source = work.join("source");
    noise_file(&source, object_bytes)?;
    let blob = node.add_open_blob(&source)?;
    std::fs::remove_file(&source)?;
    // The very same file, so that both serve from the same pages of the page cache.
    std::os::unix::fs::symlink(node.blob_file(&blob)?, work.join("blob"))?;
    let nginx = Nginx::start(&args.dir, &work, &node.certificate)?;
    for address in [&node.https, &nginx.https] {
        check_cipher(address)?;
    }
    let seconds = args.pick(1, 6);
    for (name, ours, theirs, cpu_goal) in [
        ("plain", format!("{}/v1/blobs/{blob}", node.http), format!("{}/blob", nginx.http), 0.8),
        ("TLS 1.3", format!("{}/v1/blobs/{blob}", node.https), format!("{}/blob", nginx.https), 0.75),
    ] {
        let load = |url| Load {
            url,
            connections: CONNECTIONS,
            threads: THREADS,
            seconds,
            object_bytes,
            range_bytes: RANGE_BYTES,
            callers: Callers::Strangers,
        };
        let sides = pairs(args.pairs, &work, (&load(&ours), node.pid()), (&load(&theirs), nginx.pid()))?;
        report(figures, name, &sides, cpu_goal);
    }
    http2(args, figures, &node, &blob, u64::from(seconds) * 1000)?;
    node.stop()?;
    Ok(())
}

fn pairs(count: usize, dir: &Path, ours: (&Load<'_>, u32), theirs: (&Load<'_>, u32)) -> Result<[Side; 2]> {
    let mut sides = [Side::default(), Side::default()];
    // A first run of each warms caches and connections and is not counted.
    for (load, _) in [ours, theirs] {
        wrk::run(&Load { seconds: 1, ..load.clone() }, dir)?;
    }
    for pair in 0..count {
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let (load, pid) = [ours, theirs][side];
            let before = cpu_seconds(pid)?;
            let run = wrk::run(load, dir)?;
            let cpu = cpu_seconds(pid)? - before;
            let gigabytes = number(run.bytes) / 1e9;
            sides[side].gb_per_second.push(gigabytes / run.seconds);
            sides[side].cpu_ms_per_gb.push(cpu * 1000.0 / gigabytes);
        }
    }
    Ok(sides)
}

fn report(figures: &mut Figures, name: &str, [ours, theirs]: &[Side; 2], cpu_goal: f64) {
    let throughput = ratios(&ours.gb_per_second, &theirs.gb_per_second);
    let cpu = ratios(&ours.cpu_ms_per_gb, &theirs.cpu_ms_per_gb);
    figures.judge(format!("serve, {name}: throughput of nginx's"), "ratio", throughput, Goal::AtLeast(1.0));
    figures.judge(format!("serve, {name}: server CPU per GB of nginx's"), "ratio", cpu, Goal::AtMost(cpu_goal));
    figures.add(format!("serve, {name}: penstock"), "GB/s", ours.gb_per_second.clone());
    figures.add(format!("serve, {name}: nginx"), "GB/s", theirs.gb_per_second.clone());
    figures.add(format!("serve, {name}: penstock"), "CPU ms/GB", ours.cpu_ms_per_gb.clone());
    figures.add(format!("serve, {name}: nginx"), "CPU ms/GB", theirs.cpu_ms_per_gb.clone());
}

/// wrk speaks no HTTP/2, and Debian's nginx-light serves it otherwise; ours is measured alone.
fn http2(args: &Args, figures: &mut Figures, node: &Node, blob: &str, duration_ms: u64) -> Result<()> {
    let mut side = Side::default();
    for _ in 0..args.pairs {
        let plan = LoadPlan {
            protocol: Protocol::Http2,
            connections: CONNECTIONS,
            threads: THREADS,
            range_bytes: RANGE_BYTES,
            duration_ms,
            ca_pem: std::fs::read(&node.certificate.cert)?,
            ..LoadPlan::new(format!("{}/v1/blobs/{blob}", node.https.replace("127.0.0.1", "localhost")))
        };
        let before = cpu_seconds(node.pid())?;
        let report = penstock_load::run(&plan)?;
        ensure!(report.errors.total() == 0, "HTTP/2 requests failed: {:?}", report.first_error);
        side.gb_per_second.push(report.bytes_per_second / 1e9);
        side.cpu_ms_per_gb.push((cpu_seconds(node.pid())? - before) * 1000.0 / (number(report.bytes) / 1e9));
    }
    figures.add("serve, HTTP/2 over TLS: penstock", "GB/s", side.gb_per_second);
    figures.add("serve, HTTP/2 over TLS: penstock", "CPU ms/GB", side.cpu_ms_per_gb);
    Ok(())
}

/// Ratios over TLS mean something only if both sides encrypt alike.
fn check_cipher(address: &str) -> Result<()> {
    let address = address.trim_start_matches("https://");
    let output = Command::new("openssl")
        .args(["s_client", "-brief", "-connect", address])
        .stdin(std::process::Stdio::null())
        .output()
        .context("cannot start openssl")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    ensure!(
        said.contains("TLS_AES_128_GCM_SHA256"),
        "{address} does not choose AES-128-GCM for a stock client: {said}"
    );
    Ok(())
}
