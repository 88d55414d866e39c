//! Scrub: reads everything that is stored and compares it with its name.
//!
//! Finds what nobody noticed yet: bytes that changed on the disk, files that were cut or deleted, spoiled outboards.
//! It keeps no clock: it says how long to rest for the asked rate, and its caller rests.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use penstock_core::blob::{BlobId, BlobSize};
use penstock_core::limits::GROUP_BYTES;
use penstock_core::tree::{Outboard, Shape};

use crate::error::{Damage, DiskError, ViewError};
use crate::outboard::{self, OpenOutboard};
use crate::store::Shared;
use crate::view::IN_MEMORY_BYTES;

/// Bytes read between two calls of the caller: 64 groups, a multiple of one.
const PORTION_BYTES: u64 = 64 * GROUP_BYTES;

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
    /// Bytes that were listed when the scrub began.
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
    let list = store.catalog.list();
    let mut report = ScrubReport::default();
    report.progress.blobs_total = list.len() as u64;
    report.progress.bytes_total = list.iter().map(|(_, size)| size.0).sum();
    for (blob, size) in list {
        let mut portion = |bytes: u64| {
            report.progress.bytes_done += bytes;
            report.progress.rest = rest_after(bytes, options.bytes_per_second);
            step(&report.progress)
        };
        match examine(store, blob, size, &mut portion) {
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

enum Examined {
    Sound,
    Found(Found),
    Stopped,
}

fn examine(
    store: &Arc<Shared>,
    blob: BlobId,
    size: BlobSize,
    portion: &mut dyn FnMut(u64) -> ScrubControl,
) -> Examined {
    let path = store.layout.blob(&blob);
    let file = match store.disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Removed by its owner while the scrub was on its way here, or deleted behind our back.
            if store.catalog.get(&blob).is_none() {
                return Examined::Sound;
            }
            store.forget_deleted(&blob);
            return Examined::Found(Found::Deleted);
        }
        Err(error) => return Examined::Found(Found::Unreadable(DiskError::new("open", &path, error))),
    };
    // Pages read for the scrub alone should not push out pages that are being served.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::NoReuse);
    let outboard = match outboard::open_checked(store, blob, size) {
        Ok(outboard) => outboard,
        Err(error) => return found(error),
    };
    match compare(store, blob, size, &file, outboard.as_ref(), portion) {
        Ok(ScrubControl::Stop) => return Examined::Stopped,
        Ok(ScrubControl::Continue) => {}
        Err(error) => return found(error),
    }
    if outboard.is_none() && size.0 > IN_MEMORY_BYTES {
        // The view, if one is open, checked another outboard file earlier and keeps it.
        return match outboard::rebuild(store, blob, size, &file) {
            Ok(()) => Examined::Found(Found::OutboardRebuilt),
            Err(error) => found(error),
        };
    }
    Examined::Sound
}

fn found(error: ViewError) -> Examined {
    match error {
        ViewError::Damaged { damage, .. } => Examined::Found(Found::Damaged(damage)),
        ViewError::Deleted(_) => Examined::Found(Found::Deleted),
        ViewError::Disk(error) => Examined::Found(Found::Unreadable(error)),
        // Removed meanwhile; a range inside the blob is never out of range.
        ViewError::Unknown(_) | ViewError::OutOfRange { .. } => Examined::Sound,
    }
}

/// Reads a blob from front to back. The hash decides; the outboard, where there is one, says which group is wrong.
fn compare(
    store: &Arc<Shared>,
    blob: BlobId,
    size: BlobSize,
    file: &File,
    outboard: Option<&OpenOutboard>,
    portion: &mut dyn FnMut(u64) -> ScrubControl,
) -> Result<ScrubControl, ViewError> {
    let actual = file.metadata().map_or(size.0, |metadata| metadata.len());
    if actual != size.0 {
        return Err(store.condemn(&blob, Damage::Length { expected: size.0, actual }));
    }
    let mut hasher = blake3::Hasher::new();
    let mut window = vec![0; usize::try_from(PORTION_BYTES.min(size.0)).unwrap_or(usize::MAX)];
    let mut at = 0;
    while at < size.0 {
        let part = usize::try_from(size.0 - at).unwrap_or(usize::MAX).min(window.len());
        crate::view::read_exact(store, blob, size, file, at, &mut window[..part])?;
        hasher.update(&window[..part]);
        at += part as u64;
        if portion(part as u64) == ScrubControl::Stop {
            return Ok(ScrubControl::Stop);
        }
    }
    if BlobId::from(hasher.finalize()) == blob {
        return Ok(ScrubControl::Continue);
    }
    let first_bad_group = if size.0 <= IN_MEMORY_BYTES {
        Some(0)
    } else {
        outboard.and_then(|outboard| first_bad_group(blob, size, file, outboard))
    };
    Err(store.condemn(&blob, Damage::Altered { first_bad_group }))
}

fn first_bad_group(blob: BlobId, size: BlobSize, file: &File, outboard: &OpenOutboard) -> Option<u64> {
    let bytes = outboard.checked_bytes(size)?;
    let outboard = Outboard::check(blob, bytes).ok()?;
    let shape = Shape::new(size);
    let mut group = vec![0; usize::try_from(GROUP_BYTES).unwrap_or(usize::MAX)];
    (0..shape.groups()).find(|index| {
        let place = shape.group(*index);
        let len = usize::try_from(place.end - place.start).unwrap_or(usize::MAX);
        file.read_exact_at(&mut group[..len], place.start).is_err() || !outboard.holds(*index, &group[..len])
    })
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
