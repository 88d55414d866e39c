//! Packs: blobs that carry frames, with an index at the end.
//!
//! A client never needs the index, because its chunk parts say where frames lie; it is there so
//! that a pack explains itself to `inspect`, to recovery and to audits. A pack holds content of
//! exactly one product, component and access group. Layout:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | p | frames, back to back |
//! | p | i | index: one protobuf message, [`crate::wire::PackWire`], format 31 |
//! | p+i | 4 | i, little-endian |
//! | p+i+4 | 4 | number of frames, little-endian |
//! | p+i+8 | 32 | BLAKE3 of the index |
//! | p+i+40 | 4 | format version, 1, little-endian |
//! | p+i+44 | 4 | `PSPK` |
//!
//! The index has one row per frame: kind, stored length, content length, number of outputs (the
//! chunks that lie back to back in its content), number of bases (the chunks a delta frame refers
//! to). The stored lengths add up to p, a frame's outputs to its content length.

use crate::column::{self, ColumnError};
use crate::frame::FrameKind;
use crate::limits::{PACK_BASES_MAX, PACK_INDEX_BYTES_MAX, PACK_OUTPUTS_MAX, REQUIRES_BYTES_MAX};
use crate::wire::PackWire;
use penstock_core::blob::ChunkId;
use penstock_core::id::{AccessGroup, ComponentName, NameError, ProductId};
use penstock_core::limits::{FRAME_BASES_MAX, FRAME_CONTENT_BYTES_MAX, FRAME_STORED_BYTES_MAX, PACK_FRAMES_MAX};
use prost::Message as _;

/// The format number of pack indexes.
pub const PACK_FORMAT: u32 = 31;
/// Length of the trailer in bytes.
pub const TRAILER_BYTES: usize = 48;
const MAGIC: &[u8; 4] = b"PSPK";
const VERSION: u32 = 1;

/// Why bytes are not a pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// No trailer.
    #[error("this is not a Penstock pack")]
    Magic,
    /// A later format.
    #[error("pack format {0} is not known here: update this program")]
    Format(u32),
    /// A feature this version does not have.
    #[error("the pack requires {0:?}, which is not known here: update this program")]
    Requires(String),
    /// Lengths contradict each other.
    #[error("the pack's {0} do not add up")]
    Sums(&'static str),
    /// The index is damaged.
    #[error("the pack's index does not have the hash that its trailer says")]
    Hash,
    /// Not protobuf.
    #[error("the pack's index is not well-formed protobuf")]
    Malformed,
    /// A column is not what it should be.
    #[error("the pack's index is malformed")]
    Column(#[from] ColumnError),
    /// A name in it is not a name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// The last bytes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Length of the index in bytes.
    pub index_bytes: u32,
    /// Number of frames.
    pub frame_count: u32,
    /// BLAKE3 of the index.
    pub index_hash: [u8; 32],
}

/// One frame of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackFrame {
    /// How it is stored; may be of a later version.
    pub kind: FrameKind,
    /// Offset of its first byte in the pack.
    pub offset: u64,
    /// Bytes in the pack.
    pub stored_bytes: u32,
    /// Bytes once decoded.
    pub content_bytes: u32,
    /// The chunks in its content, back to back: name and length in bytes.
    pub outputs: Vec<(ChunkId, u32)>,
    /// The chunks it refers to, in reference order.
    pub bases: Vec<ChunkId>,
}

/// A pack's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackIndex {
    /// Product whose content this is.
    pub product: ProductId,
    /// Component whose content this is.
    pub component: ComponentName,
    /// Who may read it.
    pub group: AccessGroup,
    /// The frames, in order of their offsets.
    pub frames: Vec<PackFrame>,
}

impl Trailer {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut out = [0u8; TRAILER_BYTES];
        out[..4].copy_from_slice(&self.index_bytes.to_le_bytes());
        out[4..8].copy_from_slice(&self.frame_count.to_le_bytes());
        out[8..40].copy_from_slice(&self.index_hash);
        out[40..44].copy_from_slice(&VERSION.to_le_bytes());
        out[44..].copy_from_slice(MAGIC);
        out
    }

    /// Reads the last [`TRAILER_BYTES`] of a pack of `pack_bytes`.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn decode(bytes: &[u8; TRAILER_BYTES], pack_bytes: u64) -> Result<Self, PackError> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if &bytes[44..] != MAGIC {
            return Err(PackError::Magic);
        }
        if word(40) != VERSION {
            return Err(PackError::Format(word(40)));
        }
        let mut index_hash = [0u8; 32];
        index_hash.copy_from_slice(&bytes[8..40]);
        let trailer = Self { index_bytes: word(0), frame_count: word(4), index_hash };
        let tail = u64::from(trailer.index_bytes) + TRAILER_BYTES as u64;
        if tail > pack_bytes || trailer.index_bytes > PACK_INDEX_BYTES_MAX {
            return Err(PackError::Sums("index length and size"));
        }
        if trailer.frame_count as usize > PACK_FRAMES_MAX {
            return Err(PackError::Sums("frame count and limit"));
        }
        Ok(trailer)
    }
}

impl PackIndex {
    /// Reads the index of a pack that is in memory.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn of(pack: &[u8]) -> Result<Self, PackError> {
        let (rest, trailer) = pack.split_last_chunk::<TRAILER_BYTES>().ok_or(PackError::Magic)?;
        let trailer = Trailer::decode(trailer, pack.len() as u64)?;
        let start = rest.len() - trailer.index_bytes as usize;
        Self::decode(&trailer, start as u64, &rest[start..])
    }

    /// Reads an index against its trailer; the frames fill `payload_bytes` before it.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn decode(trailer: &Trailer, payload_bytes: u64, index: &[u8]) -> Result<Self, PackError> {
        if blake3::hash(index).as_bytes() != &trailer.index_hash {
            return Err(PackError::Hash);
        }
        let wire = PackWire::decode(index).map_err(|_| PackError::Malformed)?;
        if wire.format != PACK_FORMAT {
            return Err(PackError::Format(wire.format));
        }
        if !wire.requires.is_empty() {
            return Err(PackError::Requires(wire.requires.chars().take(REQUIRES_BYTES_MAX).collect()));
        }
        let frames = read_frames(&wire, trailer.frame_count as usize)?;
        let end = frames.last().map_or(0, |frame| frame.offset + u64::from(frame.stored_bytes));
        if end != payload_bytes {
            return Err(PackError::Sums("frame lengths and size"));
        }
        Ok(Self {
            product: ProductId::new(&wire.product)?,
            component: ComponentName::new(&wire.component)?,
            group: AccessGroup::new(&wire.group)?,
            frames,
        })
    }
}

fn read_frames(wire: &PackWire, count: usize) -> Result<Vec<PackFrame>, PackError> {
    let kinds = column::numbers_u32("frame_kinds", &wire.frame_kinds, count)?;
    let stored = column::numbers_u32("frame_stored", &wire.frame_stored, count)?;
    let content = column::numbers_u32("frame_content", &wire.frame_content, count)?;
    let output_counts = column::numbers_u32("frame_outputs", &wire.frame_outputs, count)?;
    let base_counts = column::numbers_u32("frame_bases", &wire.frame_bases, count)?;
    let output_count = column::hash_count("outputs", &wire.outputs, PACK_OUTPUTS_MAX)?;
    column::hash_count("bases", &wire.bases, PACK_BASES_MAX)?;
    let lens = column::numbers_u32("output_bytes", &wire.output_bytes, output_count)?;
    let mut outputs = column::hashes(&wire.outputs).map(ChunkId::from_bytes).zip(lens);
    let mut bases = column::hashes(&wire.bases).map(ChunkId::from_bytes);
    let mut offset = 0u64;
    let mut frames = Vec::with_capacity(count);
    for index in 0..count {
        let (stored_bytes, content_bytes) = (stored[index], content[index]);
        if stored_bytes > FRAME_STORED_BYTES_MAX || content_bytes > FRAME_CONTENT_BYTES_MAX {
            return Err(PackError::Sums("frame lengths and limits"));
        }
        if base_counts[index] as usize > FRAME_BASES_MAX {
            return Err(PackError::Sums("bases and limit"));
        }
        let frame = PackFrame {
            kind: FrameKind::from_number(kinds[index]),
            offset,
            stored_bytes,
            content_bytes,
            outputs: outputs.by_ref().take(output_counts[index] as usize).collect(),
            bases: bases.by_ref().take(base_counts[index] as usize).collect(),
        };
        let total: u64 = frame.outputs.iter().map(|(_, bytes)| u64::from(*bytes)).sum();
        let complete = frame.outputs.len() == output_counts[index] as usize
            && frame.bases.len() == base_counts[index] as usize
            && total == u64::from(content_bytes);
        if !complete {
            return Err(PackError::Sums("outputs and frames"));
        }
        offset += u64::from(stored_bytes);
        frames.push(frame);
    }
    if outputs.next().is_some() || bases.next().is_some() {
        return Err(PackError::Sums("outputs and frames"));
    }
    Ok(frames)
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
