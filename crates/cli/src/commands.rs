//! One file per command: checked arguments in, a call, a result out.

mod account;
mod audit;
mod bench;
mod blob;
mod channel;
mod check_config;
mod completions;
mod credential;
mod embargo;
mod entitlement;
mod explain;
mod import;
mod inspect;
mod install;
mod key;
mod link;
mod own;
mod package;
mod people;
mod plan;
mod product;
mod publish;
mod quickstart;
mod release;
mod revoke;
mod rollout;
mod segment;
mod serve;
mod token;

use crate::args::Command;
use crate::failure::Failure;
use crate::output::Output;
use penstock_core::time::UnixSeconds;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a command ends with: an exit code, or why it did not do it.
pub(crate) type Done = Result<ExitCode, Failure>;

/// Runs one command.
pub(crate) fn run(command: Command, output: &Output) -> Done {
    match command {
        Command::Quickstart(args) => quickstart::run(&args, output),
        Command::Serve(args) => serve::run(&args, output),
        Command::CheckConfig(args) => check_config::run(&args, output),
        Command::Key(args) => key::run(args, output),
        Command::Token(args) => token::run(args, output),
        Command::Link(args) => link::run(args, output),
        Command::Publish(args) => publish::run(args, output),
        Command::Pull(args) => install::pull(args, output),
        Command::Verify(args) => install::verify(&args, output),
        Command::Repair(args) => install::repair(args, output),
        Command::Rollback(args) => install::rollback(args, output),
        Command::Inspect(args) => inspect::run(&args, output),
        Command::Blob(args) => blob::run(args, output),
        Command::Channel(args) => channel::run(args, output),
        Command::Product(args) => product::run(args, output),
        Command::Account(args) => account::run(args, output),
        Command::Entitlement(args) => entitlement::run(args, output),
        Command::Credential(args) => credential::run(args, output),
        Command::Audit(args) => audit::run(args, output),
        Command::Package(args) => package::run(args, output),
        Command::Own(args) => own::run(args, output),
        Command::Release(args) => release::run(args, output),
        Command::Revoke(args) => revoke::run(args, output),
        Command::Embargo(args) => embargo::run(args, output),
        Command::Segment(args) => segment::run(args, output),
        Command::Rollout(args) => rollout::run(args, output),
        Command::Explain(args) => explain::run(args, output),
        Command::Plan(args) => plan::run(&args, output),
        Command::Bench(args) => bench::run(&args, output),
        Command::Completions(args) => completions::completions(&args, output),
        Command::Man(args) => completions::man(&args, output),
    }
}

/// The wall clock: read here, at the outermost loop, and an argument everywhere below.
pub(crate) fn now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
