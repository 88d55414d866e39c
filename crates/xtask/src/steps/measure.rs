//! The measurements of benches/: a smoke run in CI, the goals and the soak in the full run.

use crate::run::{Context, Tally};
use crate::shell;
use anyhow::{Result, bail};
use std::process::Command;

/// How long the soak lasts. Long enough for several levels after the caches have filled; a night's run is
/// `penstock-benches soak --minutes 600 --gate`.
const SOAK_MINUTES: &str = "20";

/// Every measurement with smoke sizes: shows that they run, not how fast anything is.
///
/// # Errors
/// When one does not run.
pub fn smoke(context: &Context) -> Result<Tally> {
    benches(context, &["all", "--smoke"])
}

/// Every measurement at full size, with the goals as gates.
///
/// # Errors
/// When one does not run or misses its goal.
pub fn gate(context: &Context) -> Result<Tally> {
    benches(context, &["all", "--gate"])
}

/// Load, reloads and new blobs for a while.
///
/// # Errors
/// When something fails or memory grows.
pub fn soak(context: &Context) -> Result<Tally> {
    benches(context, &["soak", "--minutes", SOAK_MINUTES, "--gate"])
}

fn benches(context: &Context, words: &[&str]) -> Result<Tally> {
    let program = context.target.join("release").join("penstock-benches");
    let said = shell::stream(Command::new(program).args(words).args(["--binary"]).arg(context.penstock()))?;
    if !said.success {
        bail!("penstock-benches {} ended with code {:?}", words.join(" "), said.code);
    }
    let figures = said.lines.into_iter().filter(|line| line.starts_with("| ")).collect();
    Ok(Tally { passed: 1, failed: 0, notes: figures })
}
