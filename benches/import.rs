//! Importing: hash and outboard on one core, and a whole synced import beside a plain write with fsync.

use crate::args::Args;
use crate::figures::{Figures, Goal, number, ratios};
use crate::fixture::{fresh_dir, noise_file};
use anyhow::Result;
use penstock_core::tree::OutboardBuilder;
use penstock_store::{Store, StoreOptions};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Instant;

const PIECE_BYTES: usize = 1 << 20;

/// Measures both.
pub(crate) fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    let bytes = args.pick(16 << 20, 1 << 30);
    let dir = fresh_dir(&args.dir, "import")?;
    let source = dir.join("source");
    noise_file(&source, bytes)?;
    let hashing: Result<Vec<f64>> = (0..args.pairs).map(|_| hash_rate(&source)).collect();
    figures.judge("hash + outboard, one core, from page cache", "GB/s", hashing?, Goal::AtLeast(1.5));
    let mut imports = Vec::new();
    let mut writes = Vec::new();
    for pair in 0..args.pairs {
        if pair % 2 == 0 {
            imports.push(import_rate(&source, &dir)?);
            writes.push(write_rate(&source, &dir)?);
        } else {
            writes.push(write_rate(&source, &dir)?);
            imports.push(import_rate(&source, &dir)?);
        }
    }
    figures.judge("import, of write + fsync", "ratio", ratios(&imports, &writes), Goal::AtLeast(0.6));
    figures.add("import: synced and sealed", "GB/s", imports);
    figures.add("import: write + fsync alone", "GB/s", writes);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

fn hash_rate(source: &Path) -> Result<f64> {
    let mut file = File::open(source)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut builder = OutboardBuilder::new();
    let start = Instant::now();
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            break;
        }
        builder.update(&piece[..length]);
    }
    let built = builder.finish();
    Ok(number(built.size.0) / 1e9 / start.elapsed().as_secs_f64())
}

fn import_rate(source: &Path, dir: &Path) -> Result<f64> {
    let dir = fresh_dir(dir, "store")?;
    let store = Store::open(&dir, StoreOptions::default())?;
    let start = Instant::now();
    let sealed = store.import_file(source)?;
    let rate = number(sealed.size.0) / 1e9 / start.elapsed().as_secs_f64();
    drop(store);
    std::fs::remove_dir_all(dir)?;
    Ok(rate)
}

/// What the disk takes: the same bytes from the same source, written and synced, nothing else.
fn write_rate(source: &Path, dir: &Path) -> Result<f64> {
    let path = dir.join("plain");
    let mut from = File::open(source)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut bytes = 0;
    let start = Instant::now();
    let mut to = File::create(&path)?;
    loop {
        let length = from.read(&mut piece)?;
        if length == 0 {
            break;
        }
        to.write_all(&piece[..length])?;
        bytes += length as u64;
    }
    to.sync_all()?;
    let rate = number(bytes) / 1e9 / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}
