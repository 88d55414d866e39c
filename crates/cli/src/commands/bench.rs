//! `bench`: loads a node from this machine and prints what it gave.

use crate::args::tools::Bench;
use crate::commands::Done;
use crate::failure;
use crate::output::Output;
use crate::words::{bytes, count};
use anyhow::Context as _;
use penstock_load::{LoadPlan, LoadReport, Protocol};
use std::process::ExitCode;

/// Runs the load; exit code 1 when no request was answered.
pub(crate) fn run(args: &Bench, output: &Output) -> Done {
    let ca_pem = match &args.ca {
        Some(file) => std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => Vec::new(),
    };
    let plan = LoadPlan {
        protocol: if args.http2 { Protocol::Http2 } else { Protocol::Http1 },
        connections: args.connections.max(args.threads),
        threads: args.threads,
        range_bytes: args.range.0,
        duration_ms: u64::try_from(args.duration.0.as_millis()).unwrap_or(u64::MAX),
        ca_pem,
        ..LoadPlan::new(format!("{}/v1/blobs/{}", args.from, args.blob))
    };
    let report = penstock_load::run(&plan)?;
    output.result(&report, &text(&report))?;
    Ok(if report.requests == 0 { ExitCode::from(failure::FAILED) } else { ExitCode::SUCCESS })
}

fn text(report: &LoadReport) -> String {
    let latency = &report.latency_seconds;
    let mut text = format!(
        "{} and {} in {:.1} s: {:.1} MB/s, {:.0} requests/s\nlatency: half within {:.2} ms, 99 % within {:.2} ms, slowest {:.2} ms",
        count(report.requests, "request"),
        bytes(report.bytes),
        report.seconds,
        report.bytes_per_second / 1e6,
        report.requests_per_second,
        latency.p50 * 1e3,
        latency.p99 * 1e3,
        latency.max * 1e3,
    );
    if report.errors.total() > 0 {
        let first = report.first_error.as_deref().unwrap_or("nothing was said");
        text.push_str(&format!("\n{}, the first: {first}", count(report.errors.total(), "error")));
    }
    text
}
