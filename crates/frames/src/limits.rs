//! Bounds of the stored formats that `core::limits` does not already name, with unit and reason.

use penstock_core::limits::{FRAME_BASES_MAX, FRAME_CONTENT_BYTES_MAX, PACK_FRAMES_MAX};

/// Most bytes of bases that one frame may refer to: a client holds them in memory while it decodes.
pub const FRAME_BASES_BYTES_MAX: usize = 8 << 20;
/// Largest zstd window that a frame may ask for, in bytes: its bases and its content fit.
pub const FRAME_WINDOW_BYTES_MAX: u64 = 16 << 20;
/// Most chunks that one pack's frames may carry together; the smallest worthwhile chunks are small files.
pub const PACK_OUTPUTS_MAX: usize = 1 << 20;
/// Most bases that all frames of one pack may name together.
pub const PACK_BASES_MAX: usize = 1 << 20;
/// Largest pack index in bytes: bounds what `inspect` and recovery read before they trust anything.
pub const PACK_INDEX_BYTES_MAX: u32 = 96 << 20;
/// Most packs that one chunk part may refer to: as many as it may have chunks.
pub const PART_PACKS_MAX: usize = penstock_core::limits::PART_CHUNKS_MAX;
/// Most frames that one chunk part may refer to.
pub const PART_FRAMES_MAX: usize = penstock_core::limits::PART_CHUNKS_MAX;
/// Most frames of one update index; a larger update has several.
pub const UPDATE_FRAMES_MAX: usize = 65_536;
/// Most chunks that one frame of an update index may yield: as many as a shared frame of small files holds.
pub const FRAME_OUTPUTS_MAX: usize = 1024;
/// Most chunks that one update index may name by hash.
pub const UPDATE_BASES_MAX: usize = 131_072;
/// Most bytes of required-feature names in a part or pack index.
pub const REQUIRES_BYTES_MAX: usize = 1024;

const _: () = {
    assert!(FRAME_WINDOW_BYTES_MAX >= FRAME_BASES_BYTES_MAX as u64 + FRAME_CONTENT_BYTES_MAX as u64);
    // Each output and each base costs at most 32 bytes of hash and 5 of length in the index, each frame at most 20.
    assert!(PACK_INDEX_BYTES_MAX as usize >= PACK_OUTPUTS_MAX * 37 + PACK_BASES_MAX * 32 + PACK_FRAMES_MAX * 20);
    assert!(FRAME_BASES_MAX > 0);
    // The hashes leave half of the message for the columns.
    assert!(UPDATE_BASES_MAX * 32 * 2 <= penstock_core::limits::PART_CONTENT_BYTES_MAX as usize);
};
