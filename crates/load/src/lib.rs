//! A light closed-loop load generator: connections that ask for random ranges of one blob, one request
//! after the other, and count what came. Behind `penstock bench` and `benches/`.
//!
//! Owns connections, timing and counting of its own requests. Must not print, know the store, or be a
//! dependency of anything that serves. For comparisons of servers an independent generator (wrk) is
//! used beside it, so that nobody has to trust ours.

pub mod histogram;
pub mod plan;
pub mod report;

mod connect;
mod pattern;
mod worker;

pub use plan::{LoadError, LoadPlan, Protocol};
pub use report::{ErrorCounts, LatencySeconds, LoadReport};

use plan::CheckedPlan;
use report::Tally;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Runs a plan to its end and reports. Blocks for the plan's duration; not for use on a runtime's thread.
///
/// Asks for the blob's size first, so that a wrong URL or certificate is one clear error and not a
/// million counted ones.
///
/// # Errors
/// [`LoadError`] for a plan that makes no sense and for a blob that cannot be asked about. Errors of
/// later requests are counted in the report.
pub fn run(plan: &LoadPlan) -> Result<LoadReport, LoadError> {
    let plan = Arc::new(CheckedPlan::check(plan)?);
    let object_bytes = worker::probe(&plan)?;
    plan.check_range(object_bytes)?;
    let start = Instant::now();
    let deadline = start + Duration::from_millis(plan.duration_ms);
    let tallies: Vec<Result<Tally, LoadError>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads)
            .map(|index| {
                let plan = &plan;
                scope.spawn(move || worker::drive(plan, index, object_bytes, deadline))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Err(LoadError::Thread))).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let mut sum = Tally::default();
    for tally in tallies {
        sum.add(&tally?);
    }
    Ok(LoadReport::new(&sum, seconds))
}
