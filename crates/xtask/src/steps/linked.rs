//! The static binary of `deploy/Dockerfile`: it builds as that file says, needs no library, and does the main job.

use super::cargo::cargo;
use crate::node::step_dir;
use crate::run::{Context, Tally};
use crate::shell;
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;

/// The target that the Dockerfile names. With `--target`, the flags stay away from build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds it, looks for a program interpreter in it, and runs the quickstart with it.
///
/// # Errors
/// When it does not build, is not static, or does not do its job.
pub fn check(context: &Context) -> Result<Tally> {
    let recipe = std::fs::read_to_string(context.root.join("deploy").join("Dockerfile"))?;
    ensure!(
        recipe.contains("+crt-static") && recipe.contains(TARGET),
        "deploy/Dockerfile no longer says how the static binary is built: this step must follow it"
    );
    let target = context.target.join("static");
    let words = ["build", "--release", "--locked", "--quiet", "-p", "penstock-cli", "--target", TARGET];
    let mut build = cargo(context, &words);
    shell::must(build.arg("--target-dir").arg(&target).env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    let binary = target.join(TARGET).join("release").join("penstock");
    ensure!(is_static(&std::fs::read(&binary)?), "{} wants a program interpreter", binary.display());
    let dir = step_dir(context, "static")?;
    quickstart(&binary, &dir)?;
    std::fs::remove_dir_all(&dir)?;
    let bytes = std::fs::metadata(&binary)?.len();
    Ok(Tally { passed: 3, ..Tally::default() }.note(format!("the static binary has {:.1} MB", mega(bytes))))
}

/// With an empty environment: what a container without a shell has.
fn quickstart(binary: &Path, dir: &Path) -> Result<()> {
    let mut command = Command::new(binary);
    command.args(["quickstart", "--once", "--port", "0", "--dir"]).arg(dir.join("home")).env_clear();
    shell::must(&mut command).context("the static binary does not do the main job")?;
    // localhost is looked up: name resolution is what static binaries get wrong.
    let mut command = Command::new(binary);
    command.args(["blob", "list", "--to", "http://localhost:1"]).env_clear().env("PENSTOCK_ADMIN_TOKEN", "none");
    let said = shell::quiet(&mut command)?;
    ensure!(
        said.code == Some(1) && said.lines.iter().any(|line| line.contains("refused")),
        "looking up localhost went wrong: {:?}",
        said.lines
    );
    Ok(())
}

/// Whether an ELF file of 64 bits, little-endian, has no `PT_INTERP` segment.
fn is_static(file: &[u8]) -> bool {
    const INTERPRETER: u32 = 3;
    let number = |at: usize, bytes: usize| -> Option<usize> {
        let mut word = [0u8; 8];
        word[..bytes].copy_from_slice(file.get(at..at.checked_add(bytes)?)?);
        usize::try_from(u64::from_le_bytes(word)).ok()
    };
    let table = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((start, size, count)) = table().filter(|_| file.starts_with(b"\x7fELF\x02\x01")) else { return false };
    (0..count).all(|index| number(start + index * size, 4).is_some_and(|kind| kind != INTERPRETER as usize))
}

#[expect(clippy::cast_precision_loss, reason = "for people; a binary is far below 2^52 bytes")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_seen() {
        let own = std::fs::read(std::env::current_exe().expect("knows itself")).expect("readable");
        assert!(!is_static(&own), "this test is linked dynamically");
        assert!(!is_static(b"") && !is_static(b"\x7fELF\x02\x01"), "no ELF file at all");
        let mut small = vec![0u8; 64 + 56];
        small[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (small[32], small[54], small[56], small[64]) = (64, 56, 1, 1);
        assert!(is_static(&small));
        small[64] = 3;
        assert!(!is_static(&small));
    }
}
