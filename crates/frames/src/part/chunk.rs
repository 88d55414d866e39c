//! Chunk parts: where a component's chunks lie. The layout is described in [`super`].

use super::{PartError, check_format, open};
use crate::column;
use crate::frame::FrameKind;
use crate::limits::{PART_FRAMES_MAX, PART_PACKS_MAX};
use crate::wire::ChunkWire;
use penstock_core::blob::{BlobId, ChunkId};
use penstock_core::limits::{
    CHUNK_BYTES_MAX, FRAME_CONTENT_BYTES_MAX, FRAME_STORED_BYTES_MAX, PACK_BYTES_MAX, PART_CHUNKS_MAX,
};
use penstock_core::manifest::PartRef;
use prost::Message as _;

/// The format number of chunk parts.
pub const CHUNK_FORMAT: u32 = 21;

/// Where a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLoc {
    /// Index into [`ChunkPart::packs`].
    pub pack: u32,
    /// Offset of its first byte in the pack.
    pub offset: u64,
    /// Bytes in the pack.
    pub stored_bytes: u32,
    /// Bytes once decoded.
    pub content_bytes: u32,
    /// How it is stored; in a chunk part always a kind that needs no bases.
    pub kind: FrameKind,
}

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLoc {
    /// Hash of its content.
    pub id: ChunkId,
    /// Length of its content in bytes, at least 1.
    pub bytes: u32,
    /// Index into [`ChunkPart::frames`].
    pub frame: u32,
    /// Offset of its first byte in the frame's content.
    pub at: u32,
}

/// A checked chunk part: every index and range in it is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkPart {
    /// The packs that hold the frames.
    pub packs: Vec<BlobId>,
    /// The frames that hold the chunks.
    pub frames: Vec<FrameLoc>,
    /// The chunks, in the order of the files.
    pub chunks: Vec<ChunkLoc>,
}

impl ChunkPart {
    /// Reads and checks a part's blob against what the root says of it.
    ///
    /// # Errors
    /// [`PartError`].
    pub fn decode(part: &PartRef, stored: &[u8]) -> Result<Self, PartError> {
        Self::from_content(&open(part, stored)?, Some(part.items as usize))
    }

    pub(super) fn from_content(content: &[u8], items: Option<usize>) -> Result<Self, PartError> {
        let wire = ChunkWire::decode(content).map_err(|_| PartError::Malformed)?;
        check_format(CHUNK_FORMAT, wire.format, &wire.requires)?;
        let pack_count = column::hash_count("packs", &wire.packs, PART_PACKS_MAX)?;
        let chunk_count = column::hash_count("chunks", &wire.chunks, PART_CHUNKS_MAX)?;
        if items.is_some_and(|items| items != chunk_count) {
            return Err(PartError::Number { what: "chunk", index: chunk_count, field: "count" });
        }
        let mut frames = read_frames(&wire, pack_count)?;
        let (chunks, ends) = read_chunks(&wire, chunk_count, frames.len())?;
        add_content_sizes(&wire, &mut frames, &ends)?;
        let packs = column::hashes(&wire.packs).map(BlobId::from_bytes).collect();
        Ok(Self { packs, frames, chunks })
    }
}

/// Frames but for their content sizes, which follow from the chunks.
fn read_frames(wire: &ChunkWire, pack_count: usize) -> Result<Vec<FrameLoc>, PartError> {
    // One byte at least per frame: the count is that of the column that has exactly one byte for small numbers.
    let count = wire.frame_packs.iter().filter(|byte| **byte & 0x80 == 0).count();
    if count > PART_FRAMES_MAX {
        return Err(PartError::Number { what: "frame", index: count, field: "count" });
    }
    let packs = column::numbers_u32("frame_packs", &wire.frame_packs, count)?;
    let gaps = column::signed("frame_gaps", &wire.frame_gaps, count)?;
    let stored = column::numbers_u32("frame_stored", &wire.frame_stored, count)?;
    let kinds = column::numbers_u32("frame_kinds", &wire.frame_kinds, count)?;
    let mut ends = vec![0u64; pack_count];
    let mut frames = Vec::with_capacity(count);
    for index in 0..count {
        let wrong = |field| PartError::Number { what: "frame", index, field };
        let end = ends.get_mut(packs[index] as usize).ok_or(wrong("pack"))?;
        let offset = end.checked_add_signed(gaps[index]).ok_or(wrong("offset"))?;
        let stored_bytes = stored[index];
        if stored_bytes == 0 || stored_bytes > FRAME_STORED_BYTES_MAX {
            return Err(wrong("stored length"));
        }
        let frame_end = offset.checked_add(u64::from(stored_bytes)).filter(|end| *end <= PACK_BYTES_MAX);
        *end = frame_end.ok_or(wrong("offset"))?;
        let kind = FrameKind::from_number(kinds[index]);
        if !kind.is_known() {
            return Err(PartError::Unknown { what: "frame kind", number: kind.number() });
        }
        if !kind.is_plain() {
            return Err(wrong("kind (it needs bases)"));
        }
        frames.push(FrameLoc { pack: packs[index], offset, stored_bytes, content_bytes: 0, kind });
    }
    if ends.contains(&0) {
        return Err(PartError::Number { what: "pack", index: pack_count, field: "use (none)" });
    }
    Ok(frames)
}

/// Chunks, and for each frame the highest end of a chunk in it.
fn read_chunks(wire: &ChunkWire, count: usize, frame_count: usize) -> Result<(Vec<ChunkLoc>, Vec<u32>), PartError> {
    let lens = column::numbers_u32("chunk_bytes", &wire.chunk_bytes, count)?;
    let steps = column::signed("chunk_frames", &wire.chunk_frames, count)?;
    let gaps = column::signed("chunk_gaps", &wire.chunk_gaps, count)?;
    let mut ends = vec![0u32; frame_count];
    let mut chunks: Vec<ChunkLoc> = Vec::with_capacity(count);
    for (index, id) in column::hashes(&wire.chunks).enumerate() {
        let wrong = |field| PartError::Number { what: "chunk", index, field };
        let before = chunks.last();
        let frame = i64::from(before.map_or(0, |chunk| chunk.frame)).checked_add(steps[index]);
        let frame = frame.and_then(|frame| u32::try_from(frame).ok()).ok_or(wrong("frame"))?;
        let end = ends.get_mut(frame as usize).ok_or(wrong("frame"))?;
        let from = before.filter(|chunk| chunk.frame == frame).map_or(0, |chunk| chunk.at + chunk.bytes);
        let at = i64::from(from).checked_add(gaps[index]);
        let at = at.and_then(|at| u32::try_from(at).ok()).ok_or(wrong("offset"))?;
        let bytes = lens[index];
        if bytes == 0 || bytes > CHUNK_BYTES_MAX {
            return Err(wrong("length"));
        }
        let chunk_end = at.checked_add(bytes).filter(|end| *end <= FRAME_CONTENT_BYTES_MAX).ok_or(wrong("offset"))?;
        *end = chunk_end.max(*end);
        chunks.push(ChunkLoc { id: ChunkId::from_bytes(id), bytes, frame, at });
    }
    Ok((chunks, ends))
}

fn add_content_sizes(wire: &ChunkWire, frames: &mut [FrameLoc], ends: &[u32]) -> Result<(), PartError> {
    let extra = column::numbers_u32("frame_extra", &wire.frame_extra, frames.len())?;
    for (index, (frame, (end, extra))) in frames.iter_mut().zip(ends.iter().zip(extra)).enumerate() {
        let wrong = |field| PartError::Number { what: "frame", index, field };
        if *end == 0 {
            return Err(wrong("use (none)"));
        }
        let content = end.checked_add(extra).filter(|bytes| *bytes <= FRAME_CONTENT_BYTES_MAX);
        frame.content_bytes = content.ok_or(wrong("content length"))?;
        if frame.kind == FrameKind::Raw && frame.stored_bytes != frame.content_bytes {
            return Err(wrong("stored length"));
        }
    }
    Ok(())
}
