//! Scrub: reads everything that is stored and compares it with its name.
//!
//! Finds what nobody noticed yet: bytes that changed on the disk, files that were cut or deleted, spoiled outboards.
//! It keeps no clock: it says how long to rest for the asked rate, and its caller rests. It goes on where the last one
//! stopped, and ends there after one round.

mod examine;
mod place;

use std::sync::Arc;
use std::time::Duration;

use penstock_core::blob::BlobId;

use crate::error::{Damage, DiskError};
use crate::store::Shared;

use examine::{Compared, Examined, Subject};
use place::{Keeper, Place};

/// How to scrub.
#[derive(Debug, Clone, Copy)]
pub struct ScrubOptions {
    /// Bytes to read per second; more finds damage earlier and takes that much from serving. 0 means without rest.
    pub bytes_per_second: u64,
}

impl Default for ScrubOptions {
    /// 32 MiB/s: a terabyte in nine hours, a few percent of a disk and of a core.
    fn default() -> Self {
        Self { bytes_per_second: 32 << 20 }
    }
}

/// Where a scrub is.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScrubProgress {
    /// Blobs that are finished.
    pub blobs_done: u64,
    /// Blobs that were listed when the scrub began.
    pub blobs_total: u64,
    /// Bytes read.
    pub bytes_done: u64,
    /// Bytes that were listed when the scrub began, without those of a first blob that an earlier scrub read already.
    pub bytes_total: u64,
    /// Findings so far.
    pub findings: u64,
    /// How long to rest now, to keep the rate.
    pub rest: Duration,
}

/// What the caller of a scrub wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScrubControl {
    /// Read on.
    Continue,
    /// End here, with what was found so far.
    Stop,
}

/// What a scrub found wrong with one blob.
#[derive(Debug)]
pub struct Finding {
    /// The blob.
    pub blob: BlobId,
    /// What is wrong.
    pub found: Found,
}

/// Kinds of findings.
#[derive(Debug)]
pub enum Found {
    /// The file is damaged and was moved to quarantine.
    Damaged(Damage),
    /// The file was gone; the blob is forgotten.
    Deleted,
    /// The outboard was missing or spoiled, and was rebuilt.
    OutboardRebuilt,
    /// It could not be read; the blob stays.
    Unreadable(DiskError),
}

/// The end of a scrub.
#[derive(Debug, Default)]
pub struct ScrubReport {
    /// Where it ended.
    pub progress: ScrubProgress,
    /// Everything that was wrong.
    pub findings: Vec<Finding>,
    /// It was stopped before its end.
    pub stopped: bool,
}

pub(crate) fn run(
    store: &Arc<Shared>,
    options: &ScrubOptions,
    step: &mut dyn FnMut(&ScrubProgress) -> ScrubControl,
) -> ScrubReport {
    let mut list = store.catalog.list();
    let place = Place::read(store.disk.as_ref(), &store.layout.scrub_place());
    let mut bytes_done = place.map_or(0, |place| place.turn(&mut list));
    let mut keeper = Keeper::new(store);
    let mut report = ScrubReport::default();
    report.progress.blobs_total = list.len() as u64;
    report.progress.bytes_total = list.iter().map(|(_, size)| size.0).sum::<u64>() - bytes_done;
    for (blob, size) in list {
        let subject = Subject { store, blob, size, bytes_done: std::mem::take(&mut bytes_done) };
        let mut portion = |bytes: u64, compared: Compared| {
            // One that cannot be taken up in the middle must not keep a node that is restarted often from all others:
            // it has its turn again in the next round.
            let bytes_done = if let Compared::UpTo(end) = compared { end } else { size.0 };
            keeper.came_to(Place { blob, bytes_done }, bytes);
            report.progress.bytes_done += bytes;
            report.progress.rest = rest_after(bytes, options.bytes_per_second);
            step(&report.progress)
        };
        match subject.examine(&mut portion) {
            Examined::Sound => {}
            Examined::Found(found) => {
                tracing::warn!(%blob, ?found, "scrub found something");
                report.findings.push(Finding { blob, found });
                report.progress.findings += 1;
            }
            Examined::Stopped => {
                report.stopped = true;
                return report;
            }
        }
        keeper.came_to(Place { blob, bytes_done: size.0 }, 0);
        report.progress.blobs_done += 1;
    }
    report
}

/// How long reading `bytes` may take at `bytes_per_second`.
fn rest_after(bytes: u64, bytes_per_second: u64) -> Duration {
    if bytes_per_second == 0 {
        return Duration::ZERO;
    }
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_keeps_the_rate() {
        assert_eq!(rest_after(32 << 20, 32 << 20), Duration::from_secs(1));
        assert_eq!(rest_after(1 << 20, 0), Duration::ZERO);
        assert_eq!(rest_after(u64::MAX, 1), Duration::from_nanos(u64::MAX));
    }
}
