//! Starting with a full store: from the start of the process to READY with 100,000 blobs.

use crate::args::Args;
use crate::figures::{Figures, Goal, number};
use crate::fixture::{Bytes, fresh_dir};
use crate::node::{Node, data_dir};
use crate::process::memory_beside_maps_bytes;
use crate::say;
use anyhow::Result;
use penstock_store::{Store, StoreOptions};
use std::path::Path;

/// Blobs sealed with shared syncs.
const BATCH: usize = 500;
/// Large enough for an outboard, small enough for 100,000.
const BLOB_BYTES: usize = 20_000;

/// Measures it.
pub(crate) fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    let count = args.pick(500, 100_000);
    // A first start makes the directories, so that only the blobs are ours.
    let dir = Node::start(args, "start")?.stop()?;
    fill(&data_dir(&dir).join("blobs"), count)?;
    let mut seconds = Vec::new();
    for round in 0..args.pairs {
        let node = Node::start_in(args, dir.clone())?;
        seconds.push(node.ready_after.as_secs_f64());
        if round == 0 {
            let memory = number(memory_beside_maps_bytes(node.pid(), &node.data_dir())?) / 1_048_576.0;
            figures.judge(
                format!("daemon, idle with {count} blobs: resident beside maps"),
                "MiB",
                vec![memory],
                Goal::AtMost(30.0),
            );
        }
        node.stop()?;
    }
    figures.judge(format!("start to ready with {count} blobs"), "s", seconds, Goal::AtMost(2.0));
    fresh_dir(&args.dir, "start")?;
    Ok(())
}

fn fill(dir: &Path, count: usize) -> Result<()> {
    let store = Store::open(dir, StoreOptions::default())?;
    let mut source = Bytes::new(11);
    for batch in 0..count.div_ceil(BATCH) {
        let mut drafts = Vec::new();
        for _ in 0..BATCH.min(count - batch * BATCH) {
            let mut draft = store.draft(None, Some(BLOB_BYTES as u64))?;
            draft.write(&source.noise(BLOB_BYTES))?;
            drafts.push(draft);
        }
        for sealed in store.seal_all(drafts) {
            sealed?;
        }
        if batch % 40 == 39 {
            say::note(&format!("{} blobs sealed", (batch + 1) * BATCH));
        }
    }
    Ok(())
}
