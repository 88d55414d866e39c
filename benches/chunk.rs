//! Chunking and hashing of chunks, on one core, from memory: the first pass of a publish.

use crate::args::Args;
use crate::figures::{Figures, Goal, number};
use crate::fixture::Bytes;
use anyhow::Result;
use penstock_core::manifest::Chunker;
use penstock_frames::chunker::{Cutter, Tail};
use std::hint::black_box;
use std::time::Instant;

/// Measures it.
pub(crate) fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    let content = Bytes::new(3).assets(args.pick(8 << 20, 512 << 20));
    let cutter = Cutter::new(&Chunker::default())?;
    let mut rates = Vec::new();
    for _ in 0..args.pairs {
        let start = Instant::now();
        let mut rest = content.as_slice();
        let mut chunks = 0u64;
        while let Some(length) = cutter.next(rest, Tail::End) {
            black_box(blake3::hash(&rest[..length]));
            rest = &rest[length..];
            chunks += 1;
        }
        rates.push(number(content.len() as u64) / 1e9 / start.elapsed().as_secs_f64());
        anyhow::ensure!(chunks > 0 && rest.is_empty(), "the cutter stopped early");
    }
    figures.judge("chunking + hashing, one core", "GB/s", rates, Goal::AtLeast(1.0));
    Ok(())
}
