//! What cargo itself checks: format, lints, tests, documentation, the release build.

use crate::plan::environment;
use crate::run::{Context, Tally};
use crate::{say, shell};
use anyhow::{Result, bail};
use std::process::Command;

/// A `cargo` command in the workspace root, with plain output.
pub fn cargo(context: &Context, words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(&context.root)
        .args(words)
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_TERM_PROGRESS_WHEN", "never");
    command.envs(environment(context.depth).iter().copied());
    // Set by the outer `cargo run`; they would mark this crate's settings as the inner build's.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    command
}

/// rustfmt over the workspace and the fuzz package.
///
/// # Errors
/// When a file is not formatted.
pub fn fmt(context: &Context) -> Result<Tally> {
    shell::must(&mut cargo(context, &["fmt", "--all", "--check"]))?;
    shell::must(&mut cargo(context, &["fmt", "--manifest-path", ".fuzz/Cargo.toml", "--check"]))?;
    Ok(Tally::one())
}

/// clippy over every target; warnings are errors.
///
/// # Errors
/// When there is a warning.
pub fn clippy(context: &Context) -> Result<Tally> {
    let words = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"];
    shell::must(&mut cargo(context, &words))?;
    Ok(Tally::one())
}

/// Unit and integration tests: nextest where it is installed, else `cargo test`.
///
/// # Errors
/// When the tests do not build. Failing tests are counted.
pub fn tests(context: &Context) -> Result<Tally> {
    let nextest = shell::has("cargo-nextest");
    if !nextest {
        say::line("cargo-nextest is not installed: cargo test runs the tests instead");
    }
    let words: &[&str] = if nextest {
        &[
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--no-fail-fast",
            "--status-level",
            "slow",
            "--final-status-level",
            "slow",
        ]
    } else {
        &["test", "--workspace", "--all-targets", "--locked", "--no-fail-fast", "--quiet"]
    };
    counted(&mut cargo(context, words))
}

/// Examples in the documentation.
///
/// # Errors
/// When they do not build. Failing ones are counted.
pub fn doctests(context: &Context) -> Result<Tally> {
    counted(&mut cargo(context, &["test", "--workspace", "--doc", "--locked", "--no-fail-fast", "--quiet"]))
}

/// The documentation, with broken links as errors.
///
/// # Errors
/// When there is a warning.
pub fn docs(context: &Context) -> Result<Tally> {
    let mut command =
        cargo(context, &["doc", "--workspace", "--no-deps", "--locked", "--quiet", "--document-private-items"]);
    shell::must(command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"))?;
    Ok(Tally::one())
}

/// The release build of the binary and the benches: the second and last profile of a run. One after the other: a peer in the
/// benches turns on features of crates that the binary has, too, and `cargo run --release` would build it once more.
///
/// # Errors
/// When it does not build.
pub fn release(context: &Context) -> Result<Tally> {
    for package in ["penstock-cli", "penstock-benches"] {
        shell::must(&mut cargo(context, &["build", "--release", "--locked", "--quiet", "-p", package]))?;
    }
    Ok(Tally::one())
}

fn counted(command: &mut Command) -> Result<Tally> {
    let said = shell::stream(command)?;
    let mut tally = shell::count_tests(&said.lines);
    if tally.passed + tally.failed == 0 && !said.success {
        bail!("the tests do not build");
    }
    // A run that ends badly without a failed test (a crash of the harness) must not look green.
    if !said.success && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}
