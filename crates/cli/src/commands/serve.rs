//! `serve`: log, config, lock, store, control, doors; run; drain.

use crate::args::node::Serve;
use crate::commands::Done;
use crate::failure::Failure;
use crate::node::{Doors, Marker, assemble, log};
use crate::output::Output;
use penstock_edge::config::{Checked, Config, Environment};
use penstock_edge::supervise::Supervisor;
use std::process::ExitCode;

/// Runs until told to stop; every problem of the config is named before anything starts.
pub(crate) fn run(args: &Serve, output: &Output) -> Done {
    let config = load(args, output)?;
    let log = log::Log::install(&config.log, &log::Destination::Stderr)?;
    let data_dir = config.data.dir.clone();
    for note in config.notes() {
        tracing::warn!(%note, "configuration");
    }
    let on_reload = log.on_reload();
    let node = assemble(config, Doors::Configured, Box::new(move |config| on_reload(&config.log)))?;
    let marker = Marker::write(&data_dir, node.addresses())?;
    let (node, kept) = node.split();
    let drained = Supervisor::new(node).run()?;
    drop(marker);
    drop(kept);
    tracing::info!(cut = drained.cut, "stopped");
    drop(log);
    Ok(ExitCode::SUCCESS)
}

fn load(args: &Serve, output: &Output) -> Result<Checked, Failure> {
    Config::load(args.config.as_deref(), &Environment::from_process()).map_err(|problems| {
        let file = args.config.as_ref().map_or_else(String::new, |file| format!("{}: ", file.display()));
        for problem in &problems {
            output.note(&format!("{file}{problem}"));
        }
        Failure::Failed(anyhow::anyhow!("the configuration has {} problem(s)", problems.len()))
    })
}
