//! `cargo xtask`: the project's own build steps. `test` is what CI runs, `full` what is run before an
//! issue is closed, `tidy` the checks of the tree itself, `fuzz` one fuzz target for as long as wanted.
//!
//! Must not be needed to build the product, and depends on no crate of it: it drives the real binary.

pub mod node;
pub mod plan;
pub mod run;
pub mod say;
pub mod shell;
pub mod steps;
pub mod tidy;
pub mod tools;

use anyhow::{Context as _, Result};
use run::{Context, Depth, Step};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND
  test [--only STEP]...   what CI runs: format, lints, tidy, tests, fuzz smoke, end-to-end checks
  full [--only STEP]...   the long form: long fuzz, full crash matrices, soak, scale, benches
  tidy                    the checks of the tree itself
  fuzz [TARGET] [--seconds N]   run one fuzz target (or all) for N seconds each, 60 by default
  steps                   the steps of test and full";

/// Does what the words of the command line ask for.
#[must_use]
pub fn main(words: &[String]) -> ExitCode {
    match dispatch(words) {
        Ok(code) => code,
        Err(error) => {
            say::loud(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test", rest @ ..] => run_plan(Depth::Short, plan::short(), rest),
        ["full", rest @ ..] => run_plan(Depth::Full, plan::full(), rest),
        ["tidy"] => run_plan(Depth::Short, vec![plan::TIDY], &[]),
        ["fuzz", rest @ ..] => steps::fuzz::run_by_hand(&context(Depth::Short)?, rest),
        ["steps"] => {
            for (name, steps) in [("test", plan::short()), ("full", plan::full())] {
                say::line(&format!("{name}:"));
                steps.iter().for_each(|step| say::line(&format!("  {:<12} {}", step.name, step.what)));
            }
            Ok(ExitCode::SUCCESS)
        }
        ["help" | "--help" | "-h"] => {
            say::line(USAGE);
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            say::line(USAGE);
            Ok(ExitCode::from(64))
        }
    }
}

fn run_plan(depth: Depth, steps: Vec<Step>, words: &[&str]) -> Result<ExitCode> {
    let wanted = only(words)?;
    if let Some(unknown) = wanted.iter().find(|name| !steps.iter().any(|step| step.name == **name)) {
        anyhow::bail!("there is no step {unknown}; `cargo xtask steps` lists them");
    }
    let steps: Vec<Step> = steps.into_iter().filter(|step| wanted.is_empty() || wanted.contains(&step.name)).collect();
    let sum = run::run(&context(depth)?, &steps);
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn only<'a>(words: &[&'a str]) -> Result<Vec<&'a str>> {
    let mut wanted = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--only" => wanted.push(*words.next().context("--only needs the name of a step")?),
            other => anyhow::bail!("{other} is not an option of this command\n{USAGE}"),
        }
    }
    Ok(wanted)
}

fn context(depth: Depth) -> Result<Context> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("the crate lies two directories below the root")?
        .to_owned();
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cargo metadata failed")?;
    Ok(Context { root, target: metadata.target_directory.into_std_path_buf(), depth })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_strangers_refused() {
        assert_eq!(only(&["--only", "fmt", "--only", "tests"]).expect("good words"), ["fmt", "tests"]);
        assert!(only(&["--only"]).is_err());
        assert!(only(&["--fast"]).is_err());
        assert!(run_plan(Depth::Short, plan::short(), &["--only", "no-such-step"]).is_err());
    }

    #[test]
    fn unknown_commands_are_bad_usage() {
        assert_eq!(dispatch(&["dance".to_owned()]).expect("usage"), ExitCode::from(64));
    }
}
