//! A flood of forged tokens: what is left for those who download, beside the same rate of honest tiny requests.
//!
//! All come from loopback, which may fail as often as it likes, so that every single forgery is verified to the end. From
//! elsewhere an address is refused unheard after 30 of them, and a flood costs less.

use crate::args::Args;
use crate::content::Studio;
use crate::figures::{Figures, Goal, number, ratios};
use crate::fixture::fresh_dir;
use crate::flood::{self, Counts};
use crate::wrk::{self, Callers, Load};
use anyhow::{Result, ensure};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const PLAYERS: usize = 1000;
/// Requests a second of the flood.
const RATE: u64 = 2000;
const SECONDS: u32 = 60;
const CONNECTIONS: u32 = 32;
const RANGE_BYTES: u64 = 1 << 20;
/// Answers that must have come, in percent of the requests: the end of a run cuts some off.
const ANSWERED_PERCENT_MIN: u64 = 95;

/// Measures downloads beside both floods, in turn.
pub(crate) fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    let studio = Studio::start(args, "forged", PLAYERS)?;
    let work = fresh_dir(&args.dir, "forged-load")?;
    let (mut honest, mut forged) = (Vec::new(), Vec::new());
    let mut refused = Vec::new();
    // One for all rounds: never the same token twice, because a refusal is remembered for a while.
    let mut forge = studio.provider.forger()?;
    for pair in 0..args.pairs {
        for is_forged in [pair % 2 == 0, pair % 2 != 0] {
            if is_forged {
                let (rate, counts) = beside(args, &studio, &work, pair, || request(&studio, &forge()))?;
                forged.push(rate);
                refused.push(answered(&counts, 401)? / f64::from(seconds(args)));
            } else {
                let mut tokens = studio.tokens.iter().cycle();
                let next = || tokens.next().map_or_else(Vec::new, |token| request(&studio, token));
                let (rate, counts) = beside(args, &studio, &work, pair, next)?;
                answered(&counts, 206)?;
                honest.push(rate);
            }
        }
    }
    figures.judge(
        "downloads beside 2,000 forged tokens a second, of those beside as many tiny requests",
        "ratio",
        ratios(&forged, &honest),
        Goal::AtLeast(0.8),
    );
    figures.add("downloads beside forged tokens", "GB/s", forged);
    figures.add("downloads beside tiny requests", "GB/s", honest);
    figures.add("forged tokens that were verified and refused", "1/s", refused);
    studio.node.stop()?;
    Ok(())
}

/// GB a second of the players, and what became of the flood.
fn beside(
    args: &Args,
    studio: &Studio,
    work: &Path,
    pair: usize,
    request: impl FnMut() -> Vec<u8> + Send,
) -> Result<(f64, Counts)> {
    let url = studio.url(&studio.game);
    let load = Load {
        url: &url,
        connections: CONNECTIONS,
        threads: CONNECTIONS,
        seconds: seconds(args),
        object_bytes: studio.game.bytes,
        range_bytes: RANGE_BYTES,
        callers: Callers::OneEach { tokens: &studio.tokens_file, first: pair * CONNECTIONS as usize },
    };
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let address = studio.node.http.trim_start_matches("http://");
        let flood = scope.spawn(|| flood::run(address, RATE, &is_over, request));
        let run = wrk::run(&load, work);
        is_over.store(true, Ordering::Relaxed);
        let counts = flood.join().map_err(|_| anyhow::anyhow!("the flood broke down"))??;
        let run = run?;
        Ok((number(run.bytes) / 1e9 / run.seconds, counts))
    })
}

/// Answers of the expected status, which nearly all are.
fn answered(counts: &Counts, status: u16) -> Result<f64> {
    let expected = counts.answered.get(&status).copied().unwrap_or(0);
    ensure!(expected * 100 >= counts.sent * ANSWERED_PERCENT_MIN, "not {status} throughout: {counts:?}");
    Ok(number(expected))
}

/// One byte of the game.
fn request(studio: &Studio, token: &str) -> Vec<u8> {
    let path = format!("/v1/blobs/{}", studio.game.blob);
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-0\r\nAuthorization: Bearer {token}\r\n\r\n")
        .into_bytes()
}

fn seconds(args: &Args) -> u32 {
    args.pick(2, SECONDS)
}
