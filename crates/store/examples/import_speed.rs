//! Measures what an import costs: hash and outboard on one core, the whole import beside a plain write with fsync, a
//! batch beside single imports; and how long a start with 100,000 blobs takes.
//!
//! `cargo run --release -p penstock-store --example import_speed [DIR [MIB]]`. Prints medians of eight interleaved runs.
#![expect(clippy::print_stdout, reason = "an example that prints its measurements")]

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use penstock_core::tree::{OutboardBuilder, write_pre_order};
use penstock_store::{Store, StoreOptions};

const RUNS: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let base = args.next().unwrap_or_else(|| ".".to_owned());
    let mib: usize = args.next().map_or(Ok(1024), |text| text.parse())?;
    let dir = tempfile::tempdir_in(base)?;
    let mut content = vec![0; mib << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    let gb = content.len() as f64 / 1e9;

    let (mut hash, mut plain, mut import) = (Vec::new(), Vec::new(), Vec::new());
    let store = Store::open(&dir.path().join("store"), StoreOptions::default())?;
    for run in 0..RUNS {
        hash.push(gb / seconds(|| hash_and_outboard(&content))?);
        // Whoever comes second pays for the removal of the first one's file: take turns.
        for turn in [run % 2, (run + 1) % 2] {
            if turn == 0 {
                plain.push(gb / seconds(|| plain_write(&dir.path().join("plain"), &content))?);
                std::fs::remove_file(dir.path().join("plain"))?;
            } else {
                import.push(gb / seconds(|| import_once(&store, &content))?);
                for (blob, _) in store.list() {
                    store.remove(&blob)?;
                }
            }
        }
    }
    let (hash, plain, import) = (median(hash), median(plain), median(import));
    println!("hash and outboard          {hash:.2} GB/s");
    println!("plain write with fsync     {plain:.2} GB/s");
    println!("import, synced and sealed  {import:.2} GB/s, {:.2} of plain", import / plain);
    batches(&store)?;
    start(&dir.path().join("many"))
}

/// A start with 100,000 sealed files, whose content a start does not look at.
fn start(dir: &Path) -> Result<(), Box<dyn Error>> {
    drop(Store::open(dir, StoreOptions::default())?);
    for number in 0..100_000_u64 {
        let name = blake3::hash(&number.to_le_bytes()).to_string();
        std::fs::File::create(dir.join(&name[..2]).join(name))?;
    }
    let took = seconds(|| {
        let blobs = Store::open(dir, StoreOptions::default())?.list().len();
        println!("blobs in the store         {blobs}");
        Ok(())
    })?;
    println!("start                      {:.0} ms", took * 1e3);
    Ok(())
}

/// Imports of small blobs one by one and in a batch: what shared syncs buy.
fn batches(store: &Store) -> Result<(), Box<dyn Error>> {
    const BLOBS: u64 = 64;
    let content = |round: u64, number: u64| {
        let mut bytes = vec![0; 1 << 20];
        blake3::Hasher::new()
            .update(&round.to_le_bytes())
            .update(&number.to_le_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    };
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for round in 0..RUNS as u64 {
        let contents: Vec<_> = (0..2 * BLOBS).map(|number| content(round, number)).collect();
        let (first, second) = contents.split_at(contents.len() / 2);
        alone.push(seconds(|| {
            for content in first {
                store.import_reader(&mut content.as_slice())?;
            }
            Ok(())
        })?);
        together.push(seconds(|| {
            let mut drafts = Vec::new();
            for content in second {
                let mut draft = store.draft(None, None)?;
                draft.write(content)?;
                drafts.push(draft);
            }
            for sealed in store.seal_all(drafts) {
                sealed?;
            }
            Ok(())
        })?);
    }
    let (alone, together) = (median(alone), median(together));
    println!("64 blobs of 1 MiB          {:.0} ms one by one, {:.0} ms in a batch", alone * 1e3, together * 1e3);
    Ok(())
}

fn hash_and_outboard(content: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut builder = OutboardBuilder::new();
    for window in content.chunks(256 * 1024) {
        builder.update(window);
    }
    let built = builder.finish();
    let mut outboard = Vec::new();
    write_pre_order::<std::io::Error>(
        built.size,
        |at, into| {
            let at = usize::try_from(at).map_err(std::io::Error::other)?;
            into.copy_from_slice(&built.pairs[at..at + into.len()]);
            Ok(())
        },
        |bytes| {
            outboard.extend_from_slice(bytes);
            Ok(())
        },
    )?;
    std::hint::black_box(outboard);
    Ok(())
}

fn import_once(store: &Store, content: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut source = content;
    store.import_reader(&mut source)?;
    Ok(())
}

fn plain_write(path: &Path, content: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut file = std::fs::File::create(path)?;
    for window in content.chunks(256 * 1024) {
        file.write_all(window)?;
    }
    file.sync_all()?;
    Ok(())
}

fn seconds(work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
