//! Coverage-guided fuzzing on the stable compiler: builds `.fuzz/` with LLVM's coverage pass and runs
//! libFuzzer over each target. It is what cargo-fuzz does, without having to build cargo-fuzz.

use super::cargo::cargo;
use crate::run::{Context, Tally};
use crate::{say, shell};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};

/// What makes the compiler count edges and compare operands for libFuzzer.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions=on -Coverflow-checks=on";

/// Seconds for each target in CI, and in the full run. A night's run is `cargo xtask fuzz --seconds N`.
const SECONDS: (u32, u32) = (12, 180);
/// Targets run side by side: each keeps one core busy, and nothing else runs then.
const AT_ONCE: usize = 2;

/// Every target for a while.
///
/// # Errors
/// When the targets do not build. A target that finds something counts as failed.
pub fn check(context: &Context) -> Result<Tally> {
    build(context)?;
    let seconds = context.pick(SECONDS.0, SECONDS.1);
    let waiting = Mutex::new(targets(context)?);
    let done = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(target) = next() {
                    let result = fuzz(context, &target, seconds);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((target, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut tally = Tally::default();
    for (_, result) in done {
        match result {
            Ok(note) => tally.add(Tally::one().note(note)),
            Err(error) => {
                say::loud(&format!("{error:#}"));
                tally.failed += 1;
            }
        }
    }
    Ok(tally)
}

/// `cargo xtask fuzz [TARGET] [--seconds N]`.
///
/// # Errors
/// When the words are wrong, the targets do not build, or one finds something.
pub fn run_by_hand(context: &Context, words: &[&str]) -> Result<ExitCode> {
    let (target, seconds) = match words {
        [] => (None, 60),
        ["--seconds", number] => (None, number.parse()?),
        [target] => (Some(*target), 60),
        [target, "--seconds", number] => (Some(*target), number.parse()?),
        _ => bail!("usage: cargo xtask fuzz [TARGET] [--seconds N]"),
    };
    build(context)?;
    let known = targets(context)?;
    let wanted: Vec<String> = known.iter().filter(|name| target.is_none_or(|t| t == *name)).cloned().collect();
    ensure!(!wanted.is_empty(), "there is no such target; there are {}", known.join(", "));
    for name in wanted {
        say::line(&fuzz(context, &name, seconds)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn build(context: &Context) -> Result<()> {
    let words = ["build", "--release", "--locked", "--quiet", "--manifest-path", ".fuzz/Cargo.toml", "--target-dir"];
    let mut command = cargo(context, &words);
    command.arg(context.target.join("fuzz")).env("RUSTFLAGS", FLAGS);
    // Without --target the flags would reach build scripts too, which libFuzzer's runtime is not linked to.
    command.args(["--target", &host()?]);
    shell::must(&mut command).context("the fuzz targets do not build")?;
    Ok(())
}

fn host() -> Result<String> {
    let text = shell::stdout_of(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// The names of the targets: one file each.
fn targets(context: &Context) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(context.root.join(".fuzz").join("targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    ensure!(!names.is_empty(), ".fuzz/targets is empty");
    Ok(names)
}

/// Runs one target; returns its figures.
fn fuzz(context: &Context, name: &str, seconds: u32) -> Result<String> {
    let work = context.target.join("fuzz-work").join(name);
    let corpus = made(work.join("corpus"))?;
    let artifacts = made(work.join("artifacts"))?;
    let binary = context.target.join("fuzz").join(host()?).join("release").join(name);
    let seeds = context.root.join(".fuzz").join("seeds").join(name);
    let mut command = Command::new(binary);
    command.arg(&corpus);
    if seeds.is_dir() {
        command.arg(&seeds);
    }
    command.args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-use_value_profile=1", "-verbosity=1"]);
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", artifacts.display()));
    let said = shell::quiet(&mut command)?;
    if !said.success {
        bail!("the fuzz target {name} found something; the input is in {}", artifacts.display());
    }
    Ok(format!("{name}: {}", figures(&said.lines)))
}

fn made(dir: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", Path::new(&dir).display()))?;
    Ok(dir)
}

fn figures(lines: &[String]) -> String {
    let stat = |name: &str| {
        let line = lines.iter().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        line.map_or("?", |rest| rest.trim_start_matches(':').trim()).to_owned()
    };
    let cover = lines.iter().rev().find_map(|line| line.split(" cov: ").nth(1)?.split(' ').next()).unwrap_or("?");
    format!("{} runs, {} a second, {cover} edges", stat("number_of_executed_units"), stat("average_exec_per_sec"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_libfuzzers_output() {
        let lines = [
            "#1024\tREDUCE cov: 321 ft: 800 corp: 5/20b",
            "Done 5000 runs in 2 second(s)",
            "stat::number_of_executed_units: 5000",
            "stat::average_exec_per_sec:     2500",
        ]
        .map(str::to_owned);
        assert_eq!(figures(&lines), "5000 runs, 2500 a second, 321 edges");
        assert_eq!(figures(&[]), "? runs, ? a second, ? edges");
    }
}
