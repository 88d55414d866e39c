//! `plan`: how many edges of a measured kind serve a patch in time.

use crate::args::tools::Plan;
use crate::commands::Done;
use crate::output::Output;
use crate::words;
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

/// Of five edges one is kept as headroom: for the one that fails, and for the hour when all come.
const USED_OF_FIVE: u128 = 4;

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Document {
    clients: u64,
    bytes_per_client: u64,
    within_seconds: u64,
    total_bytes: u128,
    needed_bytes_per_second: u64,
    edge_bytes_per_second: u64,
    used_percent: u8,
    edges: u64,
}

/// Prints the number of edges.
pub(crate) fn run(args: &Plan, output: &Output) -> Done {
    let document = plan(args.clients, args.bytes.0, args.within.0, args.rate.0);
    output.result(&document, &text(&document))?;
    Ok(ExitCode::SUCCESS)
}

/// Saturates where a number does not fit; a zero length of time cannot come (the parser refuses it).
fn plan(clients: u64, bytes: u64, within: Duration, rate: u64) -> Document {
    let total = u128::from(clients) * u128::from(bytes);
    let needed = total.saturating_mul(1000).div_ceil(within.as_millis().max(1));
    let usable = u128::from(rate) * USED_OF_FIVE;
    let edges = needed.saturating_mul(5).div_ceil(usable.max(1)).max(1);
    Document {
        clients,
        bytes_per_client: bytes,
        within_seconds: within.as_secs(),
        total_bytes: total,
        needed_bytes_per_second: u64::try_from(needed).unwrap_or(u64::MAX),
        edge_bytes_per_second: rate,
        used_percent: 80,
        edges: u64::try_from(edges).unwrap_or(u64::MAX),
    }
}

fn text(document: &Document) -> String {
    let total = u64::try_from(document.total_bytes).unwrap_or(u64::MAX);
    format!(
        "{} of {} each is {}; in {} that is {}/s\n{} that sustain {}/s, used to {} %",
        words::count(document.clients, "client"),
        words::bytes(document.bytes_per_client),
        words::bytes(total),
        words::time(Duration::from_secs(document.within_seconds)),
        words::bytes(document.needed_bytes_per_second),
        words::count(document.edges, "edge"),
        words::bytes(document.edge_bytes_per_second),
        document.used_percent,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_design_note_s_figures_come_out() {
        // 2 PB in 6 h is 741 Gbit/s (92.6 GB/s).
        let document = plan(2_000_000, 1_000_000_000, Duration::from_secs(6 * 3600), 1_000_000_000);
        assert_eq!(document.needed_bytes_per_second / 1_000_000_000, 92);
        assert_eq!(document.edges, 116);
        // 500,000 players with 50 MB take about seven hours of one node at 1 GB/s.
        assert_eq!(plan(500_000, 50_000_000, Duration::from_secs(7 * 3600), 1_000_000_000).edges, 2);
        assert_eq!(plan(500_000, 50_000_000, Duration::from_secs(9 * 3600), 1_000_000_000).edges, 1);
    }

    #[test]
    fn extremes_saturate() {
        assert_eq!(plan(1, 1, Duration::from_secs(1), u64::MAX).edges, 1);
        let huge = plan(u64::MAX, u64::MAX, Duration::from_millis(1), 1);
        assert_eq!(huge.edges, u64::MAX);
    }
}
