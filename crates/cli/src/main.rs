//! The one binary, `penstock`: arguments → checked arguments → a call → an exit code.
//!
//! Owns the wiring of all rooms and nothing they could own themselves. Only `output` prints.

mod args;
mod commands;
mod compare;
mod desk;
mod failure;
mod fetch;
mod node;
mod output;
mod progress;
mod runtime;
mod sample;
mod secrets;
mod words;

use clap::Parser as _;
use clap::error::ErrorKind;
use output::Output;
use std::process::ExitCode;

/// glibc keeps freed memory; a node that was busy once should be small again. And a record's buffer that was freed
/// last is given out first, while it is still in the processor's cache: mimalloc takes turns among many, which cost
/// an eighth of a TLS node's time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(cli.json, cli.quiet);
    match commands::run(cli.command, &output) {
        Ok(code) => code,
        Err(failure) => {
            output.failure(&failure);
            failure.code()
        }
    }
}

/// clap exits with 2 on bad usage; the contract says 64, because 2 means refused by policy.
fn usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion if printed.is_ok() => ExitCode::SUCCESS,
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::from(failure::FAILED),
        _ => ExitCode::from(failure::USAGE),
    }
}
