//! `serve`: log, config, lock, store, control, doors; run; drain.

use crate::args::node::Serve;
use crate::commands::Done;
use crate::failure::Failure;
use crate::node::{Doors, Marker, NodeError, assemble, log};
use crate::output::Output;
use crate::words::count;
use penstock_edge::config::{Checked, Config, ConfigProblem, Environment, ProblemKind};
use penstock_edge::node::StartError;
use penstock_edge::preflight;
use penstock_edge::supervise::{Orders, Supervisor};
use std::process::ExitCode;

/// Runs until told to stop; every problem of the config is named before anything starts.
pub(crate) fn run(args: &Serve, output: &Output) -> Done {
    // First of all: a signal that comes while the node starts is kept for it.
    let orders = Orders::listen()?;
    let config = load(args, output)?;
    let log = log::Log::install(&config.log, &log::Destination::Stderr)?;
    let data_dir = config.data.dir.clone();
    for note in config.notes() {
        tracing::warn!(%note, "configuration");
    }
    let on_reload = log.on_reload();
    let node = assemble(config, Doors::Configured, Box::new(move |config| on_reload(&config.log))).map_err(classify)?;
    let marker = Marker::write(&data_dir, node.addresses())?;
    let (node, kept) = node.split();
    let drained = Supervisor::new(node).with(orders).run()?;
    drop(marker);
    drop(kept);
    tracing::info!(cut = drained.cut, "stopped");
    drop(log);
    Ok(ExitCode::SUCCESS)
}

/// A config without anything to serve on is refused as any other is; only the sockets that a service manager did not
/// pass make it so, which is why it shows late.
fn classify(error: NodeError) -> Failure {
    match error {
        NodeError::Start(StartError::NoDoor) => Failure::Usage(error.into()),
        error => error.into(),
    }
}

fn load(args: &Serve, output: &Output) -> Result<Checked, Failure> {
    let refused = |problems: Vec<ConfigProblem>| {
        let file = args.config.as_ref().map_or_else(String::new, |file| format!("{}: ", file.display()));
        for problem in &problems {
            let word = if problem.kind.is_error_in_serve() { "error" } else { "note" };
            output.note(&format!("{file}{word}: {problem}"));
        }
        let errors = || problems.iter().filter(|problem| problem.kind.is_error_in_serve());
        let what = format!("the configuration has {}", count(errors().count() as u64, "error"));
        // A file that cannot be read may be there in a moment; the same words do not become right by being repeated.
        if errors().all(|problem| problem.kind == ProblemKind::Unreadable) {
            return Failure::Failed(anyhow::Error::msg(what));
        }
        Failure::usage(what)
    };
    let config = Config::load(args.config.as_deref(), &Environment::from_process()).map_err(refused)?;
    let around = preflight::check(&config);
    if around.iter().any(|problem| problem.kind.is_error_in_serve()) {
        return Err(refused(around));
    }
    Ok(config)
}
