//! What a token costs: server CPU of a request with one against a request for open content, and the same of nginx.
//!
//! All sides take turns in each round, so that each ratio is made of runs beside each other. Plain HTTP, where the rest of
//! a request costs least and a token therefore most.

use crate::args::Args;
use crate::content::Studio;
use crate::figures::{Figures, Goal, number, ratios};
use crate::fixture::fresh_dir;
use crate::nginx::Nginx;
use crate::process::cpu_seconds;
use crate::wrk::{self, Callers, Load};
use anyhow::Result;
use std::path::Path;

/// As many threads of the generator: a thread cannot tell its connections apart, and each shall have its own token.
const CONNECTIONS: u32 = 32;
/// The claim is of a few percent.
const ROUNDS_MIN: usize = 15;
const PLAYERS: usize = 1000;
const SECONDS: u32 = 3;

/// What takes turns.
struct Side<'a> {
    name: &'static str,
    url: String,
    pid: u32,
    callers: Callers<'a>,
    /// CPU time of the server for each request, in microseconds.
    cpu_us: Vec<f64>,
}

/// Measures it at 1 MiB and at 16 KiB.
pub(crate) fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    let studio = Studio::start(args, "token", PLAYERS)?;
    let work = fresh_dir(&args.dir, "token-peer")?;
    std::os::unix::fs::symlink(studio.node.blob_file(&studio.demo.blob)?, work.join("blob"))?;
    let yes = Nginx::start_yes(&args.dir)?;
    let nginx = Nginx::start_asking(&args.dir, &work, &studio.node.certificate, &yes)?;
    let rounds = args.pick(1, args.pairs.max(ROUNDS_MIN));
    for (size, range_bytes, goal) in [("1 MiB", 1 << 20, 1.03), ("16 KiB", 16 << 10, 1.1)] {
        let mut sides = sides(&studio, &nginx);
        for round in 0..rounds {
            let count = sides.len();
            for turn in 0..count {
                let side = &mut sides[(round + turn) % count];
                let players = first(side.callers, round);
                let load = Load { callers: players, ..load(&side.url, &studio, range_bytes, args.pick(1, SECONDS)) };
                let before = cpu_seconds(side.pid)?;
                let run = wrk::run(&load, &work)?;
                side.cpu_us.push((cpu_seconds(side.pid)? - before) * 1e6 / number(run.requests));
            }
        }
        report(figures, size, &sides, goal);
    }
    studio.node.stop()?;
    Ok(())
}

fn sides<'a>(studio: &'a Studio, nginx: &Nginx) -> Vec<Side<'a>> {
    let tokens: &Path = &studio.tokens_file;
    let side = |name, url: String, pid, callers| Side { name, url, pid, callers, cpu_us: Vec::new() };
    let (node, one_each) = (studio.node.pid(), Callers::OneEach { tokens, first: 0 });
    vec![
        side("penstock, open", studio.url(&studio.demo), node, Callers::Strangers),
        side("penstock, a token on each connection", studio.url(&studio.game), node, one_each),
        side(
            "penstock, another token on each request",
            studio.url(&studio.game),
            node,
            Callers::AnotherEachTime { tokens },
        ),
        side("nginx, open", format!("{}/blob", nginx.http), nginx.pid(), Callers::Strangers),
        side("nginx, auth_request", format!("{}/asked/blob", nginx.http), nginx.pid(), one_each),
    ]
}

/// Other players in each round, so that in the end all of them came.
fn first(callers: Callers<'_>, round: usize) -> Callers<'_> {
    match callers {
        Callers::OneEach { tokens, .. } => Callers::OneEach { tokens, first: round * CONNECTIONS as usize },
        other => other,
    }
}

fn load<'a>(url: &'a str, studio: &Studio, range_bytes: u64, seconds: u32) -> Load<'a> {
    let object_bytes = studio.game.bytes.min(studio.demo.bytes);
    let (connections, threads) = (CONNECTIONS, CONNECTIONS);
    Load { url, connections, threads, seconds, object_bytes, range_bytes, callers: Callers::Strangers }
}

fn report(figures: &mut Figures, size: &str, sides: &[Side<'_>], goal: f64) {
    let [open, each, another, nginx, asking] = sides else { return };
    let of = |side: &Side<'_>, base: &Side<'_>| ratios(&side.cpu_us, &base.cpu_us);
    let name = |what: &str| format!("token, {size}: {what}");
    figures.judge(
        name("server CPU of open content, a token on each connection"),
        "ratio",
        of(each, open),
        Goal::AtMost(goal),
    );
    figures.add(name("server CPU of open content, another token on each request"), "ratio", of(another, open));
    figures.add(name("nginx's CPU of open content, auth_request"), "ratio", of(asking, nginx));
    for side in sides {
        figures.add(name(side.name), "CPU µs", side.cpu_us.clone());
    }
}
