//! Chunk parts, the writing side of `penstock_frames::part`.

use crate::merge::{Place, UniqueChunk};
use penstock_core::audience::Audience;
use penstock_core::blob::BlobId;
use penstock_core::id::ProductId;
use penstock_frames::column;
use penstock_frames::part::CHUNK_FORMAT;
use penstock_frames::wire::ChunkWire;
use std::collections::HashMap;

/// A chunk part in the making.
#[derive(Debug)]
pub(super) struct ChunkBuilder {
    wire: ChunkWire,
    len: usize,
    /// Pack number of the release → index in this part, and the end of its last frame here.
    packs: HashMap<u32, (u32, u64)>,
    /// Pack number and offset → index in `frames`.
    frame_of: HashMap<(u32, u32), u32>,
    /// Content length and highest end of a chunk.
    frames: Vec<(u32, u32)>,
    /// Frame and end of the last chunk.
    last: (u32, u32),
}

impl ChunkBuilder {
    pub(super) fn new(product: &ProductId, audience: Audience<'_>) -> Self {
        let wire = ChunkWire {
            format: CHUNK_FORMAT,
            group: audience.group.to_string(),
            component: audience.component.to_string(),
            product: product.to_string(),
            ..ChunkWire::default()
        };
        Self { wire, len: 0, packs: HashMap::new(), frame_of: HashMap::new(), frames: Vec::new(), last: (0, 0) }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, chunk: &UniqueChunk, place: &Place, pack: BlobId) {
        let frame = match self.frame_of.get(&(place.pack, place.offset)) {
            Some(frame) => *frame,
            None => self.push_frame(place, pack),
        };
        let (last_frame, last_end) = self.last;
        let from = if frame == last_frame && self.len > 0 { last_end } else { 0 };
        let end = place.at + chunk.bytes;
        self.wire.chunks.extend_from_slice(chunk.id.as_bytes());
        column::put(&mut self.wire.chunk_bytes, u64::from(chunk.bytes));
        column::put_signed(&mut self.wire.chunk_frames, i64::from(frame) - i64::from(last_frame));
        column::put_signed(&mut self.wire.chunk_gaps, i64::from(place.at) - i64::from(from));
        let extent = &mut self.frames[frame as usize].1;
        *extent = end.max(*extent);
        self.last = (frame, end);
        self.len += 1;
    }

    fn push_frame(&mut self, place: &Place, pack: BlobId) -> u32 {
        let next_pack = u32::try_from(self.packs.len()).expect("fewer packs than chunks");
        let (index, end) = self.packs.entry(place.pack).or_insert_with(|| {
            self.wire.packs.extend_from_slice(pack.as_bytes());
            (next_pack, 0)
        });
        let offset = i64::from(place.offset);
        let gap = offset - i64::try_from(*end).expect("a pack is at most 16 MiB");
        *end = u64::from(place.offset) + u64::from(place.stored_bytes);
        column::put(&mut self.wire.frame_packs, u64::from(*index));
        column::put_signed(&mut self.wire.frame_gaps, gap);
        column::put(&mut self.wire.frame_stored, u64::from(place.stored_bytes));
        column::put(&mut self.wire.frame_kinds, u64::from(place.kind.number()));
        let frame = u32::try_from(self.frames.len()).expect("fewer frames than chunks");
        self.frames.push((place.content_bytes, 0));
        self.frame_of.insert((place.pack, place.offset), frame);
        frame
    }

    /// The message and its number of chunks; the builder starts anew.
    pub(super) fn take(&mut self) -> (Vec<u8>, usize) {
        for (content, extent) in &self.frames {
            column::put(&mut self.wire.frame_extra, u64::from(content - extent));
        }
        let fresh = ChunkWire {
            format: CHUNK_FORMAT,
            group: self.wire.group.clone(),
            component: self.wire.component.clone(),
            product: self.wire.product.clone(),
            ..ChunkWire::default()
        };
        let wire = std::mem::replace(&mut self.wire, fresh);
        self.packs.clear();
        self.frame_of.clear();
        self.frames.clear();
        self.last = (0, 0);
        (wire.to_bytes(), std::mem::take(&mut self.len))
    }
}
