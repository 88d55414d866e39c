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

/// Everything that is said of a frame: pack, offset, stored length, kind, content length. Parts that
/// contradict each other about one place speak of different frames, and each is held to its word.
type FrameKey = (u32, u64, u32, u32, u32);

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
    order: FrameKey,
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
    known: HashMap<FrameKey, u32>,
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
        let order = (pack, loc.offset, loc.stored_bytes, loc.kind.number(), loc.content_bytes);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Found in review: two parts of one signed manifest that say different things about one place of a pack were taken
    /// for one frame, and a chunk of the second was cut out of the first, beyond its end.
    #[test]
    fn contradictory_frames_are_different_frames() {
        let loc = |kind, content_bytes| FrameLoc { pack: 0, offset: 0, stored_bytes: 10, content_bytes, kind };
        let part = |loc| ChunkPart { packs: vec![BlobId::of(b"pack")], frames: vec![loc], chunks: Vec::new() };
        let locs = [loc(FrameKind::Zstd, 10), loc(FrameKind::Zstd, 1 << 20), loc(FrameKind::Raw, 10)];
        let mut group = Group::default();
        let frames: Vec<u32> = locs.iter().map(|loc| group.add(&part(*loc), loc)).collect();
        assert_eq!(frames, [0, 1, 2]);
        assert_eq!(group.add(&part(locs[0]), &locs[0]), 0);
        let contents: Vec<u32> = group.frames.iter().map(|frame| frame.content_bytes).collect();
        assert_eq!(contents, [10, 1 << 20, 10]);
    }
}
