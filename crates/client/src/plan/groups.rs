//! Which frames are fetched together: the one place that decides it, so that the bytes a plan
//! announces are the bytes that are asked for.

use super::Plan;
use crate::error::PullError;
use crate::listing::Listing;
use crate::session::coalesced;
use crate::shelf::Shelf;
use penstock_core::blob::{BlobId, ByteRange, ChunkId};
use penstock_frames::frame::FrameKind;
use penstock_frames::part::{ChunkPart, FrameLoc};
use std::collections::HashMap;
use std::ops::Range;

/// Chunks fetched in one go: about 512 MiB of content, and 1 MiB of bookkeeping. Groups end with a
/// wait for the last request, so small ones would cost a round trip each.
const GROUP_CHUNKS_MAX: usize = 8192;

/// A frame to fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    /// The pack.
    pub(crate) blob: BlobId,
    /// Where it lies in the pack.
    pub(crate) range: ByteRange,
    /// How it is stored.
    pub(crate) kind: FrameKind,
    /// Bytes once decoded.
    pub(crate) content_bytes: u32,
    order: (u32, u64, u32),
}

/// A chunk that a frame must yield, and where it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    /// Index into [`Group::frames`].
    pub(crate) frame: u32,
    /// Row of the file.
    pub(crate) row: usize,
    /// Offset in the file.
    pub(crate) offset: u64,
    /// Offset in the frame's content.
    pub(crate) at: u32,
    /// Length.
    pub(crate) bytes: u32,
    /// Hash of its content.
    pub(crate) id: ChunkId,
}

/// Frames that are fetched together, in the order of their packs.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The frames.
    pub(crate) frames: Vec<Frame>,
    /// What they must yield, in the order of the frames.
    pub(crate) wants: Vec<Want>,
    packs: HashMap<BlobId, u32>,
    known: HashMap<(u32, u64, u32), u32>,
}

impl Plan {
    /// Gives the groups of the chunks that are to be fetched for some rows.
    pub(crate) fn each_group(
        &self,
        target: &Listing,
        shelf: &Shelf<'_>,
        rows: &Range<usize>,
        mut take: impl FnMut(&Group) -> Result<(), PullError>,
    ) -> Result<(), PullError> {
        let mut group = Group::default();
        for part in 0..target.part_count() {
            let here = target.rows_of_part(part);
            let touched = here.start < rows.end && rows.start < here.end;
            if !touched || !target.chunks_of_part(part).any(|ordinal| self.fetch.has(ordinal)) {
                continue;
            }
            let chunks = target.load(part, shelf)?;
            for visit in target.visit(part, &chunks) {
                if rows.contains(&visit.row) && self.fetch.has(visit.ordinal) {
                    let frame = group.add(&chunks, &chunks.frames[visit.chunk.frame as usize]);
                    let (at, bytes, id) = (visit.chunk.at, visit.chunk.bytes, visit.chunk.id);
                    group.wants.push(Want { frame, row: visit.row, offset: visit.offset, at, bytes, id });
                }
            }
            if group.wants.len() >= GROUP_CHUNKS_MAX {
                take(&std::mem::take(&mut group).finish())?;
            }
        }
        if group.wants.is_empty() { Ok(()) } else { take(&group.finish()) }
    }
}

impl Group {
    /// The ranges that requests for this group ask for when nothing fails.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (BlobId, ByteRange)> {
        coalesced(self.frames.iter().map(|frame| (frame.blob, frame.range)))
    }

    fn add(&mut self, part: &ChunkPart, loc: &FrameLoc) -> u32 {
        let blob = part.packs[loc.pack as usize];
        let count = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        let pack = *self.packs.entry(blob).or_insert(count);
        let order = (pack, loc.offset, loc.stored_bytes);
        let next = u32::try_from(self.frames.len()).unwrap_or(u32::MAX);
        let frame = *self.known.entry(order).or_insert(next);
        if frame == next {
            let end = loc.offset + u64::from(loc.stored_bytes);
            let range = ByteRange::new(loc.offset, end).expect("a checked part has no empty frame");
            self.frames.push(Frame { blob, range, kind: loc.kind, content_bytes: loc.content_bytes, order });
        }
        frame
    }

    /// Sorts frames by pack and place, and wants by frame.
    fn finish(mut self) -> Self {
        let mut sorted: Vec<u32> = (0..u32::try_from(self.frames.len()).unwrap_or(u32::MAX)).collect();
        sorted.sort_unstable_by_key(|frame| self.frames[*frame as usize].order);
        let mut place = vec![0u32; sorted.len()];
        for (new, old) in (0u32..).zip(&sorted) {
            place[*old as usize] = new;
        }
        self.frames.sort_unstable_by_key(|frame| frame.order);
        for want in &mut self.wants {
            want.frame = place[want.frame as usize];
        }
        self.wants.sort_unstable_by_key(|want| (want.frame, want.row, want.offset));
        self
    }
}
