//! `penstock-benches`: measures what the project promises, beside real peers in the same run.
//!
//! Owns method and goals; README.md in this directory says how to read the noise. Drives the real
//! binary from outside and the pure parts (`core`, `frames`, `store`) in process. Prints one JSON
//! document and one table. Must not decide a merge by itself: only `--gate` makes a missed goal an error.

mod args;
mod chunk;
mod content;
mod edge;
mod entitle;
mod figures;
mod fixture;
mod flood;
mod forged;
mod hits;
mod http;
mod import;
mod memory;
mod nginx;
mod node;
mod players;
mod process;
mod pull;
mod revoke;
mod say;
mod scale;
mod serve;
mod soak;
mod start;
mod token;
mod wrk;

use anyhow::Result;
use args::{Args, What};
use figures::Figures;
use std::process::ExitCode;

/// The daemon's: what is measured in process shall lie in memory as it does there.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let args = match Args::parse(&words) {
        Ok(args) => args,
        Err(error) => {
            say::note(&format!("{error}\n{}", args::USAGE));
            return ExitCode::from(64);
        }
    };
    match measure(&args) {
        Ok(figures) => {
            say::result(&figures.json());
            say::result(&figures.table());
            let missed = figures.missed();
            if args.gate && missed > 0 {
                say::note(&format!("{missed} goals were missed"));
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            say::note(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<Figures> {
    let mut figures = Figures::new(args.smoke);
    for what in args.what.parts() {
        say::note(&format!("measuring: {}", what.name()));
        match what {
            What::Serve => serve::measure(args, &mut figures)?,
            What::Import => import::measure(args, &mut figures)?,
            What::Chunk => chunk::measure(args, &mut figures)?,
            What::Entitle => entitle::measure(args, &mut figures)?,
            What::Token => token::measure(args, &mut figures)?,
            What::Revoke => revoke::measure(args, &mut figures)?,
            What::Forged => forged::measure(args, &mut figures)?,
            What::Scale => scale::measure(args, &mut figures)?,
            What::Pull => pull::measure(args, &mut figures)?,
            What::Start => start::measure(args, &mut figures)?,
            What::Memory => memory::measure(args, &mut figures)?,
            What::Soak => soak::measure(args, &mut figures)?,
            What::All => (),
        }
    }
    Ok(figures)
}
