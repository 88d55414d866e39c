//! Update indexes: which delta frames lead from one release to another.
//!
//! An update index is a blob of its own beside the manifests. The publisher does not sign it, and
//! its audience needs to trust nobody: it only says where frames lie and what they should yield,
//! and all that they yield is checked against the chunk hashes of the signed manifest. A wrong
//! index costs a client some bytes, never a wrong file. So it can be added, improved and removed at
//! any time without touching a release; a client that finds none, or cannot read it, fetches plain
//! frames.
//!
//! *How it is addressed.* By a list `updates` in the JSON answers for a channel and for a release,
//! beside the signed statements and outside them (clients of today ignore the field). An entry has
//! `component`, `from` (the old release's manifest blob, absent for any) and the four numbers of a
//! [`PartRef`]: `blob`, `stored_bytes`, `content_bytes`, `items` (frames). The blob belongs to the
//! component's access group, like the component's parts.
//!
//! *Layout*, format 41: as every part, one zstd frame around one protobuf message
//! ([`crate::wire::UpdateWire`]), at most [`UPDATE_FRAMES_MAX`] frames; a larger update has several
//! indexes. An index is for one component of one new release, the *target*. What a frame yields
//! (`outputs`) is named by position in that component's chunk list, that of its chunk parts one
//! after another, because position and hash stand in the signed manifest already; consecutive
//! outputs are one step apart, so they cost a byte each. What a frame needs (`bases`) is named by
//! number: numbers below the count of `named` mean that hash, so that any client that holds the
//! chunk may use the frame; the others mean, less that count, a position in the same component's
//! chunk list of the release `from`.
//!
//! Nothing writes or reads update indexes yet; the layout is frozen so that the first that does
//! needs no new format.

use crate::column;
use crate::frame::FrameKind;
use crate::limits::{FRAME_OUTPUTS_MAX, PART_PACKS_MAX, UPDATE_BASES_MAX, UPDATE_FRAMES_MAX};
use crate::part::{PartError, check_format, open};
use crate::wire::UpdateWire;
use penstock_core::blob::{BlobId, ChunkId};
use penstock_core::limits::{
    CHUNKS_MAX, FRAME_BASES_MAX, FRAME_CONTENT_BYTES_MAX, FRAME_STORED_BYTES_MAX, PACK_BYTES_MAX,
};
use penstock_core::manifest::PartRef;
use prost::Message as _;

/// The format number of update indexes.
pub const UPDATE_FORMAT: u32 = 41;

/// A chunk that a frame needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// This one, wherever the client has it from.
    Named(ChunkId),
    /// The one at this position of the component's chunk list in the release that the index leads from.
    Old(u64),
}

/// One delta frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateFrame {
    /// Index into [`UpdateIndex::packs`].
    pub pack: u32,
    /// Offset of its first byte in the pack.
    pub offset: u64,
    /// Bytes in the pack.
    pub stored_bytes: u32,
    /// Bytes once decoded.
    pub content_bytes: u32,
    /// How it is stored; may be of a later version, and then the frame is of no use here.
    pub kind: FrameKind,
    /// The chunks in its content, back to back: positions in the target's chunk list, at least one.
    pub outputs: Vec<u64>,
    /// The chunks it refers to, in reference order.
    pub bases: Vec<Base>,
}

/// A checked update index: every number is within its bounds. Whether positions exist is known to
/// whoever has the two chunk lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateIndex {
    /// Manifest blob of the release that it leads from; `None` if all bases are named.
    pub from: Option<BlobId>,
    /// Manifest blob of the release that it leads to.
    pub target: BlobId,
    /// The packs that hold the frames.
    pub packs: Vec<BlobId>,
    /// The frames.
    pub frames: Vec<UpdateFrame>,
}

impl UpdateIndex {
    /// Reads and checks an index against what the answer that named it says of it.
    ///
    /// # Errors
    /// [`PartError`].
    pub fn decode(part: &PartRef, stored: &[u8]) -> Result<Self, PartError> {
        let wire = UpdateWire::decode(open(part, stored)?.as_slice()).map_err(|_| PartError::Malformed)?;
        check_format(UPDATE_FORMAT, wire.format, &wire.requires)?;
        let from = if wire.from.is_empty() { None } else { Some(manifest(&wire.from)?) };
        let target = manifest(&wire.target)?;
        let pack_count = column::hash_count("packs", &wire.packs, PART_PACKS_MAX)?;
        let frames = read_frames(&wire, part.items as usize, pack_count, from.is_some())?;
        let packs = column::hashes(&wire.packs).map(BlobId::from_bytes).collect();
        Ok(Self { from, target, packs, frames })
    }
}

fn manifest(bytes: &[u8]) -> Result<BlobId, PartError> {
    BlobId::from_slice(bytes).ok_or(PartError::Number { what: "manifest", index: 0, field: "name" })
}

fn read_frames(
    wire: &UpdateWire,
    count: usize,
    pack_count: usize,
    has_old: bool,
) -> Result<Vec<UpdateFrame>, PartError> {
    if count > UPDATE_FRAMES_MAX {
        return Err(PartError::Number { what: "frame", index: count, field: "count" });
    }
    let packs = column::numbers_u32("frame_packs", &wire.frame_packs, count)?;
    let gaps = column::signed("frame_gaps", &wire.frame_gaps, count)?;
    let stored = column::numbers_u32("frame_stored", &wire.frame_stored, count)?;
    let content = column::numbers_u32("frame_content", &wire.frame_content, count)?;
    let kinds = column::numbers_u32("frame_kinds", &wire.frame_kinds, count)?;
    let output_counts = column::numbers_u32("frame_outputs", &wire.frame_outputs, count)?;
    let base_counts = column::numbers_u32("frame_bases", &wire.frame_bases, count)?;
    let mut outputs =
        Outputs { steps: counted("outputs", &wire.outputs, &output_counts, FRAME_OUTPUTS_MAX)?, last: -1 };
    let mut bases = Bases::new(wire, &base_counts, has_old)?;
    let mut ends = vec![0u64; pack_count];
    let mut frames = Vec::with_capacity(count);
    for index in 0..count {
        let wrong = |field| PartError::Number { what: "frame", index, field };
        let end = ends.get_mut(packs[index] as usize).ok_or(wrong("pack"))?;
        let offset = end.checked_add_signed(gaps[index]).ok_or(wrong("offset"))?;
        let (stored_bytes, content_bytes) = (stored[index], content[index]);
        if stored_bytes == 0 || stored_bytes > FRAME_STORED_BYTES_MAX {
            return Err(wrong("stored length"));
        }
        if content_bytes == 0 || content_bytes > FRAME_CONTENT_BYTES_MAX {
            return Err(wrong("content length"));
        }
        let frame_end = offset.checked_add(u64::from(stored_bytes)).filter(|end| *end <= PACK_BYTES_MAX);
        *end = frame_end.ok_or(wrong("offset"))?;
        frames.push(UpdateFrame {
            pack: packs[index],
            offset,
            stored_bytes,
            content_bytes,
            kind: FrameKind::from_number(kinds[index]),
            outputs: outputs.take(output_counts[index]).ok_or(wrong("output"))?,
            bases: bases.take(base_counts[index]).ok_or(wrong("base"))?,
        });
    }
    Ok(frames)
}

/// A column with as many numbers as `counts` add up to, none of which is above `max`.
fn counted(
    column: &'static str,
    bytes: &[u8],
    counts: &[u32],
    max: usize,
) -> Result<std::vec::IntoIter<u64>, PartError> {
    if let Some(index) = counts.iter().position(|count| *count as usize > max) {
        return Err(PartError::Number { what: "frame", index, field: column });
    }
    let total = counts.iter().map(|count| *count as usize).sum();
    Ok(column::numbers(column, bytes, total)?.into_iter())
}

/// Positions, each a step from the one before; the first from just before the list.
struct Outputs {
    steps: std::vec::IntoIter<u64>,
    last: i64,
}

impl Outputs {
    fn take(&mut self, count: u32) -> Option<Vec<u64>> {
        let positions = self.steps.by_ref().take(count as usize).map(|step| {
            self.last = self.last.checked_add(column::unzigzag(step))?;
            u64::try_from(self.last).ok().filter(|position| *position < CHUNKS_MAX)
        });
        positions.collect::<Option<Vec<u64>>>().filter(|positions| !positions.is_empty())
    }
}

struct Bases {
    named: Vec<ChunkId>,
    numbers: std::vec::IntoIter<u64>,
    has_old: bool,
}

impl Bases {
    fn new(wire: &UpdateWire, counts: &[u32], has_old: bool) -> Result<Self, PartError> {
        column::hash_count("named", &wire.named, UPDATE_BASES_MAX)?;
        let numbers = counted("bases", &wire.bases, counts, FRAME_BASES_MAX)?;
        Ok(Self { named: column::hashes(&wire.named).map(ChunkId::from_bytes).collect(), numbers, has_old })
    }

    fn take(&mut self, count: u32) -> Option<Vec<Base>> {
        let numbers = self.numbers.by_ref().take(count as usize);
        numbers.map(|number| Self::base(&self.named, self.has_old, number)).collect()
    }

    fn base(named: &[ChunkId], has_old: bool, number: u64) -> Option<Base> {
        let at = usize::try_from(number).ok()?;
        if let Some(id) = named.get(at) {
            return Some(Base::Named(*id));
        }
        let position = number - named.len() as u64;
        (has_old && position < CHUNKS_MAX).then_some(Base::Old(position))
    }
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
