//! `completions` and `man`: generated from the definition that also parses.

use crate::args::Cli;
use crate::args::tools::{Completions, Man};
use crate::commands::Done;
use crate::output::Output;
use anyhow::Context as _;
use clap::CommandFactory as _;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Serialize)]
struct Script {
    shell: String,
    script: String,
}

#[derive(Serialize)]
struct Pages {
    pages: Vec<PathBuf>,
}

/// Prints a shell's completion script.
pub(crate) fn completions(args: &Completions, output: &Output) -> Done {
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "penstock", &mut bytes);
    let script = String::from_utf8(bytes).context("the completion script is not text")?;
    output.result(&Script { shell: args.shell.to_string(), script: script.clone() }, &script)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a page for the program and one for every command.
pub(crate) fn man(args: &Man, output: &Output) -> Done {
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    page(&command, "penstock", &args.out, &mut pages)?;
    let names: Vec<String> = pages.iter().map(|path| path.display().to_string()).collect();
    output.result(&Pages { pages }, &names.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn page(command: &clap::Command, name: &str, out: &Path, pages: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let path = out.join(format!("{name}.1"));
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut bytes)?;
    std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    pages.push(path);
    for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
        page(child, &format!("{name}-{}", child.get_name()), out, pages)?;
    }
    Ok(())
}
