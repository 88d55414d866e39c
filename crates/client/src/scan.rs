//! Hashes what is on disk against a manifest, in parallel. Reads only.

use crate::bits::Bits;
use crate::error::{DiskError, PullError};
use crate::listing::{Listing, RowKind};
use crate::platform::{Found, Root, read_at};
use crate::pool;
use crate::progress::Progress;
use crate::report::{Damage, DamageKind};
use crate::shelf::Shelf;
use penstock_core::blob::ChunkId;
use std::fs::File;
use std::sync::{Mutex, PoisonError};

/// Most damaged paths that are listed by name; the rest is counted.
pub const LISTED_MAX: usize = 1000;
/// Chunks hashed in one go by one thread: about 4 MiB.
const CHUNKS_PER_JOB: usize = 64;

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Chunks that are not on disk where they should be.
    pub(crate) bad_chunks: Bits,
    /// Rows with anything wrong.
    pub(crate) damaged: Bits,
    /// Why, for the first [`LISTED_MAX`].
    pub(crate) listed: Vec<Damage>,
    /// Bytes hashed.
    pub(crate) bytes: u64,
}

struct Job {
    row: usize,
    chunks: Vec<(usize, u64, ChunkId, u32)>,
}

struct Findings<'a> {
    listing: &'a Listing,
    scan: Mutex<Scan>,
}

/// Hashes the rows that `wanted` picks.
pub(crate) fn scan(
    listing: &Listing,
    shelf: &Shelf<'_>,
    root: &Root,
    workers: usize,
    wanted: impl Fn(usize) -> bool,
    progress: &dyn Progress,
) -> Result<Scan, PullError> {
    let blank =
        Scan { bad_chunks: Bits::new(listing.chunk_count()), damaged: Bits::new(listing.len()), ..Scan::default() };
    let findings = Findings { listing, scan: Mutex::new(blank) };
    let mut missing = Bits::new(listing.len());
    for row in (0..listing.len()).filter(|row| wanted(*row)) {
        if let Some(kind) = look(listing, root, row)? {
            findings.add(row, kind);
            if matches!(kind, DamageKind::Missing | DamageKind::WrongKind) {
                missing.set(row);
            }
        }
    }
    let hash = || {
        let mut buffer = Vec::new();
        let findings = &findings;
        move |job: Job| {
            findings.hash(root, &job, &mut buffer);
            progress.advance(job.chunks.iter().map(|chunk| u64::from(chunk.3)).sum());
            Ok::<(), PullError>(())
        }
    };
    pool::run(workers, hash, |feed| {
        for part in 0..listing.part_count() {
            if !listing.rows_of_part(part).any(&wanted) {
                continue;
            }
            let chunks = listing.load(part, shelf)?;
            let mut job = Job { row: usize::MAX, chunks: Vec::new() };
            for visit in listing.visit(part, &chunks) {
                if !wanted(visit.row) {
                    continue;
                }
                if missing.has(visit.row) {
                    findings.bad_chunk(visit.ordinal);
                    continue;
                }
                if visit.row != job.row || job.chunks.len() == CHUNKS_PER_JOB {
                    let full = std::mem::replace(&mut job, Job { row: visit.row, chunks: Vec::new() });
                    if !full.chunks.is_empty() && feed.push(full).is_err() {
                        return Ok(());
                    }
                }
                job.chunks.push((visit.ordinal, visit.offset, visit.chunk.id, visit.chunk.bytes));
            }
            if !job.chunks.is_empty() && feed.push(job).is_err() {
                return Ok(());
            }
        }
        Ok(())
    })?;
    Ok(findings.scan.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Compares everything but content.
fn look(listing: &Listing, root: &Root, row: usize) -> Result<Option<DamageKind>, PullError> {
    let found = match root.stat(listing.path(row)) {
        Ok(found) => found,
        Err(DiskError::Symlink { .. }) => return Ok(Some(DamageKind::WrongKind)),
        Err(error) => return Err(error.into()),
    };
    let entry = listing.row(row);
    Ok(match (entry.kind, found) {
        (_, None) => Some(DamageKind::Missing),
        (RowKind::Directory, Some(Found::Directory)) => None,
        (RowKind::Link, Some(Found::Link(target))) => (target != listing.target(row)).then_some(DamageKind::LinkTarget),
        (RowKind::File { executable }, Some(Found::File { bytes, executable: found, .. })) => {
            if bytes != entry.bytes {
                Some(DamageKind::Damaged)
            } else {
                found.is_some_and(|found| found != executable).then_some(DamageKind::Mode)
            }
        }
        _ => Some(DamageKind::WrongKind),
    })
}

/// Reads one chunk of a file and says whether it is the right one.
pub(crate) fn chunk_is_good(file: &File, offset: u64, id: &ChunkId, bytes: u32, buffer: &mut Vec<u8>) -> bool {
    buffer.resize(bytes as usize, 0);
    read_at(file, buffer, offset).is_ok() && ChunkId::of(buffer) == *id
}

impl Findings<'_> {
    fn hash(&self, root: &Root, job: &Job, buffer: &mut Vec<u8>) {
        let Ok(file) = root.open_read(self.listing.path(job.row)) else {
            job.chunks.iter().for_each(|chunk| self.bad_chunk(chunk.0));
            self.add(job.row, DamageKind::Unreadable);
            return;
        };
        for (ordinal, offset, id, bytes) in &job.chunks {
            if !chunk_is_good(&file, *offset, id, *bytes, buffer) {
                self.bad_chunk(*ordinal);
                self.add(job.row, DamageKind::Damaged);
            }
        }
        self.lock().bytes += job.chunks.iter().map(|chunk| u64::from(chunk.3)).sum::<u64>();
    }
    fn bad_chunk(&self, ordinal: usize) {
        self.lock().bad_chunks.set(ordinal);
    }
    fn add(&self, row: usize, kind: DamageKind) {
        let mut scan = self.lock();
        if scan.damaged.has(row) {
            return;
        }
        scan.damaged.set(row);
        if scan.listed.len() < LISTED_MAX {
            scan.listed.push(Damage { path: self.listing.path(row).to_owned(), kind });
        }
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, Scan> {
        self.scan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
