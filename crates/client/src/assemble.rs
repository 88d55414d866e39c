//! Fills staging: content from old files, then from the network, then from what was just written.
//!
//! Every chunk is hashed when it is written, wherever it came from. An old chunk that turns out to be
//! damaged is fetched instead. A batch is complete when this returns.

use crate::bits::Bits;
use crate::drive::{Checker, Network, Sink};
use crate::error::{DiskError, PullError};
use crate::layout;
use crate::plan::{Frame, Group, Have, Plan, RowAction, Scene, Want};
use crate::platform::{Root, read_at};
use crate::pool;
use crate::preflight::in_blocks;
use crate::progress::{Phase, Progress};
use crate::session::{DropReason, Item, ItemId, Verdict};
use crate::stage::Staging;
use penstock_core::blob::ChunkId;
use penstock_frames::frame::FrameDecoder;
use std::fs::File;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Rounds of fetching what turned out to be damaged on disk, before the disk is given up.
const ROUNDS_MAX: usize = 3;

/// What assembling did.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Assembled {
    /// Bytes written to staged files.
    pub(crate) written_bytes: u64,
    /// Of these, taken from disk.
    pub(crate) reused_bytes: u64,
    /// Bytes that should have been on disk and were fetched.
    pub(crate) mended_bytes: u64,
}

/// Assembles the files of `rows`.
pub(crate) struct Assembler<'a> {
    pub(crate) scene: &'a Scene<'a>,
    pub(crate) root: &'a Root,
    pub(crate) staging: &'a Staging<'a>,
    /// How moved files come to their new place.
    pub(crate) moves: Moves,
    pub(crate) workers: usize,
    pub(crate) progress: &'a dyn Progress,
}

/// How the content of a moved file comes to its new place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moves {
    /// A second name; the first one goes at commit.
    Link,
    /// A copy (one that shares blocks, where the disk can): the old file is kept, and a game that changes the
    /// live one must not change that.
    Copy,
}

/// Where content on disk comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Old,
    New,
}

struct CopyJob {
    origin: Origin,
    from: (usize, u64),
    to: (usize, u64),
    ordinal: usize,
    id: ChunkId,
    bytes: u32,
}

impl Assembler<'_> {
    /// Does one batch.
    pub(crate) fn batch(
        &self,
        plan: &mut Plan,
        rows: &Range<usize>,
        network: Option<&mut Network>,
    ) -> Result<Assembled, PullError> {
        let mut done = Assembled::default();
        self.make_links(plan, rows, &mut done)?;
        self.progress.begin(Phase::Reuse, plan.preflight.reuse_bytes);
        for row in rows.clone().filter(|row| plan.actions[*row] == RowAction::Assemble) {
            if self.scene.target.row(row).bytes == 0 {
                self.staging.touch(row)?;
            }
        }
        let failed = self.copy(plan, rows, Origin::Old, &mut done)?;
        self.fetch_instead(plan, failed, &mut done);
        let mut network = network;
        for round in 0.. {
            self.fetch(plan, rows, network.as_deref_mut(), &mut done)?;
            let failed = self.copy(plan, rows, Origin::New, &mut done)?;
            if failed.is_empty() {
                break;
            }
            if round == ROUNDS_MAX {
                let source = std::io::Error::other("content read back is not what was written");
                return Err(DiskError::new("assemble files in", layout::STAGING, source).into());
            }
            for (ordinal, _) in &failed {
                plan.copies.clear(*ordinal);
            }
            self.fetch_instead(plan, failed, &mut done);
        }
        Ok(done)
    }

    /// Moved files: a second name for the old file, once its content was verified.
    fn make_links(&self, plan: &mut Plan, rows: &Range<usize>, done: &mut Assembled) -> Result<(), PullError> {
        let Some(have) = self.scene.have else { return Ok(()) };
        let moved = |plan: &Plan, row: usize| match plan.actions[row] {
            RowAction::Reuse(old) if rows.contains(&row) => Some(old as usize),
            _ => None,
        };
        let target = self.scene.target;
        let bad = Mutex::new(Bits::new(target.len()));
        let check = || {
            let mut buffer = Vec::new();
            let mut open: Option<(usize, Option<File>)> = None;
            let bad = &bad;
            move |(old, row, offset, id, bytes): (usize, usize, u64, ChunkId, u32)| {
                if open.as_ref().is_none_or(|(current, _)| *current != old) {
                    open = Some((old, self.root.open_read(have.listing.path(old)).ok()));
                }
                let file = open.as_ref().and_then(|(_, file)| file.as_ref());
                if !file.is_some_and(|file| crate::scan::chunk_is_good(file, offset, &id, bytes, &mut buffer)) {
                    bad.lock().unwrap_or_else(PoisonError::into_inner).set(row);
                }
                Ok::<(), PullError>(())
            }
        };
        pool::run(self.workers, check, |feed| {
            for part in 0..target.part_count() {
                if !target.rows_of_part(part).any(|row| moved(plan, row).is_some()) {
                    continue;
                }
                let chunks = target.load(part, self.scene.shelf)?;
                for visit in target.visit(part, &chunks) {
                    if let Some(old) = moved(plan, visit.row)
                        && feed.push((old, visit.row, visit.offset, visit.chunk.id, visit.chunk.bytes)).is_err()
                    {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })?;
        let bad = bad.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut copied = Vec::new();
        for row in rows.clone() {
            let Some(old) = moved(plan, row) else { continue };
            let (from, to) = (have.listing.path(old), layout::staged(row));
            let there = !bad.has(row)
                && match self.moves {
                    Moves::Link => self.root.hard_link(from, &to)?,
                    Moves::Copy => self.root.reflink(from, &to, target.row(row).is_executable())?,
                };
            if there {
                done.reused_bytes += target.row(row).bytes;
                if self.moves == Moves::Copy {
                    done.written_bytes += target.row(row).bytes;
                }
            } else {
                // The disk cannot, or the file is damaged: copy what is good, fetch the rest.
                copied.push((row, old));
            }
        }
        self.check_room(&copied)?;
        plan.copy_instead(self.scene, &have, &copied)
    }

    /// Moved files that have to be copied after all take room that the plan did not count.
    fn check_room(&self, copied: &[(usize, usize)]) -> Result<(), PullError> {
        if self.moves == Moves::Copy || copied.is_empty() {
            return Ok(());
        }
        let volume = self.root.volume()?;
        let bytes = |(row, _): &(usize, usize)| in_blocks(self.scene.target.row(*row).bytes, volume.block_bytes);
        let needed_bytes = copied.iter().map(bytes).sum();
        if needed_bytes > volume.free_bytes {
            let free_bytes = volume.free_bytes;
            return Err(PullError::NoSpace { dir: self.scene.dir.to_owned(), needed_bytes, free_bytes });
        }
        Ok(())
    }

    /// Copies chunks that are on disk; gives those that were not good, with their length.
    fn copy(
        &self,
        plan: &Plan,
        rows: &Range<usize>,
        origin: Origin,
        done: &mut Assembled,
    ) -> Result<Vec<(usize, u32)>, PullError> {
        let target = self.scene.target;
        let failed = Mutex::new(Vec::new());
        let copied = std::sync::atomic::AtomicU64::new(0);
        let picked = |ordinal: usize| match origin {
            Origin::Old => plan.old.has(ordinal) && !plan.done.has(ordinal),
            Origin::New => plan.copies.has(ordinal) && !plan.done.has(ordinal),
        };
        let worker = || {
            let mut source = Source { assembler: self, batch_start: rows.start, plan, open: None };
            let (mut buffer, failed, copied) = (Vec::new(), &failed, &copied);
            move |job: CopyJob| {
                if source.read(&job, &mut buffer)? {
                    self.staging.write(job.to.0, job.to.1, &buffer)?;
                    copied.fetch_add(u64::from(job.bytes), std::sync::atomic::Ordering::Relaxed);
                    self.progress.advance(u64::from(job.bytes));
                } else {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).push((job.ordinal, job.bytes));
                }
                Ok::<(), PullError>(())
            }
        };
        pool::run(self.workers, worker, |feed| {
            for part in self.parts(plan, rows) {
                let chunks = target.load(part, self.scene.shelf)?;
                for visit in target.visit(part, &chunks).filter(|v| rows.contains(&v.row) && picked(v.ordinal)) {
                    if plan.actions[visit.row] != RowAction::Assemble {
                        continue;
                    }
                    let from = match origin {
                        Origin::Old => self.scene.have.and_then(|have| plan.source(have.listing, visit.ordinal)),
                        Origin::New => plan.source(target, visit.ordinal),
                    };
                    let Some(from) = from else {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push((visit.ordinal, visit.chunk.bytes));
                        continue;
                    };
                    let (to, id) = ((visit.row, visit.offset), visit.chunk.id);
                    let job = CopyJob { origin, from, to, ordinal: visit.ordinal, id, bytes: visit.chunk.bytes };
                    if feed.push(job).is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })?;
        let copied = copied.into_inner();
        done.written_bytes += copied;
        done.reused_bytes += copied;
        Ok(failed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn fetch_instead(&self, plan: &mut Plan, failed: Vec<(usize, u32)>, done: &mut Assembled) {
        if !failed.is_empty() {
            self.progress
                .note(&format!("{} pieces on disk are not as published and are fetched instead", failed.len()));
        }
        for (ordinal, bytes) in failed {
            plan.old.clear(ordinal);
            plan.fetch.set(ordinal);
            done.mended_bytes += u64::from(bytes);
        }
    }

    fn fetch(
        &self,
        plan: &mut Plan,
        rows: &Range<usize>,
        mut network: Option<&mut Network>,
        done: &mut Assembled,
    ) -> Result<(), PullError> {
        let target = self.scene.target;
        self.progress.begin(Phase::Fetch, plan.preflight.payload_bytes);
        plan.each_group(target, self.scene.shelf, rows, |group| {
            let network = network.as_deref_mut().ok_or(PullError::NoEdges)?;
            let sink = FrameSink { group, staging: self.staging, progress: self.progress };
            let item = |(id, frame): (u32, &Frame)| Item { id: ItemId(id), blob: frame.blob, range: frame.range };
            network.fetch((0..).zip(&group.frames).map(item).collect(), &sink, self.progress)?;
            done.written_bytes += group.wants.iter().map(|want| u64::from(want.bytes)).sum::<u64>();
            Ok(())
        })?;
        for ordinal in rows.clone().flat_map(|row| target.row(row).ordinals()) {
            if plan.fetch.has(ordinal) {
                plan.fetch.clear(ordinal);
                plan.done.set(ordinal);
            }
        }
        Ok(())
    }

    fn parts(&self, plan: &Plan, rows: &Range<usize>) -> Vec<usize> {
        let target = self.scene.target;
        let wanted = |part: &usize| {
            let here = target.rows_of_part(*part);
            here.start < rows.end
                && rows.start < here.end
                && here.into_iter().any(|row| plan.actions[row] == RowAction::Assemble)
        };
        (0..target.part_count()).filter(wanted).collect()
    }
}

/// A worker's way to content on disk, with the file it read last.
struct Source<'a> {
    assembler: &'a Assembler<'a>,
    batch_start: usize,
    plan: &'a Plan,
    open: Option<(Origin, usize, Option<File>)>,
}

impl Source<'_> {
    /// Reads a chunk into `buffer`; `false` when it is not there or not the right one.
    fn read(&mut self, job: &CopyJob, buffer: &mut Vec<u8>) -> Result<bool, PullError> {
        let wanted = (job.origin, job.from.0);
        if self.open.as_ref().is_none_or(|(origin, row, _)| (*origin, *row) != wanted) {
            self.open = Some((job.origin, job.from.0, self.file(job)?));
        }
        let Some((_, _, Some(file))) = &self.open else { return Ok(false) };
        buffer.resize(job.bytes as usize, 0);
        Ok(read_at(file, buffer, job.from.1).is_ok() && ChunkId::of(buffer) == job.id)
    }

    fn file(&self, job: &CopyJob) -> Result<Option<File>, PullError> {
        let (root, row) = (self.assembler.root, job.from.0);
        let file = match job.origin {
            Origin::Old => {
                let Some(Have { listing, .. }) = self.assembler.scene.have else { return Ok(None) };
                root.open_read(listing.path(row))
            }
            // Earlier batches are in place already.
            Origin::New if row < self.batch_start || !self.plan.actions[row].is_staged() => {
                root.open_read(self.assembler.scene.target.path(row))
            }
            Origin::New => self.assembler.staging.open_read(row),
        };
        match file {
            Ok(file) => Ok(Some(file)),
            Err(DiskError::Full { path, source }) => Err(DiskError::Full { path, source }.into()),
            Err(error) => {
                tracing::debug!(%error, "content on disk cannot be read");
                Ok(None)
            }
        }
    }
}

struct FrameSink<'a> {
    group: &'a Group,
    staging: &'a Staging<'a>,
    progress: &'a dyn Progress,
}

impl Sink for FrameSink<'_> {
    fn checker(&self) -> Checker<'_> {
        let mut decoder = FrameDecoder::default();
        let mut content = Vec::new();
        Box::new(move |item, stored| {
            let frame = &self.group.frames[item.0 as usize];
            content.clear();
            if let Err(error) = decoder.decode(frame.kind, stored, frame.content_bytes, &[], &mut content) {
                tracing::debug!(%error, reason = %DropReason::WrongBytes, "a frame cannot be decoded");
                return Ok(Verdict::Bad);
            }
            let all = &self.group.wants;
            let from = all.partition_point(|want| want.frame < item.0);
            let wants = || all[from..].iter().take_while(|want| want.frame == item.0);
            // A part was checked by itself; that its chunks lie within the frame is checked here again, where it is used.
            let piece = |want: &Want| content.get(want.at as usize..want.at as usize + want.bytes as usize);
            let mut last: Option<(ChunkId, u32, u32)> = None;
            for want in wants() {
                let this = (want.id, want.at, want.bytes);
                if last != Some(this) && piece(want).is_none_or(|piece| ChunkId::of(piece) != want.id) {
                    return Ok(Verdict::Bad);
                }
                last = Some(this);
            }
            for want in wants() {
                self.staging.write(want.row, want.offset, piece(want).unwrap_or_default())?;
            }
            self.progress.advance(stored.len() as u64);
            Ok(Verdict::Good)
        })
    }
}
