//! Dependencies: the rules of `.deny.toml` held by our own reader, and by cargo-deny where it is installed.
//!
//! No package brings a cargo-deny that knows today's licence names, and building it from source would cost
//! a CI run more than it shows; so our reader is the check that always runs.

use super::cargo::cargo;
use crate::run::{Context, Tally};
use crate::{shell, tidy};
use anyhow::{Result, bail};

/// Bans, licences, sources.
///
/// # Errors
/// When a rule is broken.
pub fn check(context: &Context) -> Result<Tally> {
    let rules = std::fs::read_to_string(context.root.join(".deny.toml"))?;
    let rules = tidy::deps::Rules::parse(&rules)?;
    let built = tidy::deps::built(&context.root)?;
    let findings = tidy::deps::check(&tidy::metadata(&context.root)?, &built, &rules);
    if !findings.is_empty() {
        bail!("{}", findings.join("\n"));
    }
    let tally = Tally { passed: 3, ..Tally::default() };
    if !shell::has("cargo-deny") {
        return Ok(tally.note("cargo-deny is not installed; our own reader held its bans, licences and sources"));
    }
    let words = ["deny", "--offline", "check", "--config", ".deny.toml", "bans", "licenses", "sources"];
    shell::must(&mut cargo(context, &words))?;
    Ok(Tally { passed: 4, ..tally })
}
