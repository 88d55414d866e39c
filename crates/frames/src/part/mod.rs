//! Manifest parts: the two kinds of blob that a manifest root names.
//!
//! A part is one zstd frame (content size in its head, no dictionary) around one protobuf message
//! of [`crate::wire`]. The root gives its hash, both lengths and the number of items; all four are
//! checked before anything in it is believed. Number columns are packed varints.
//!
//! *Tree part*, format 11: entries in path order ([`crate::order`]). `kinds` has one byte each: the
//! low two bits are 0 file, 1 directory, 2 link; bit 2 marks an executable file, bit 3 a file of the
//! launch set; other bits are 0. A path is the first `shared` bytes of the path before and the next
//! `rest_lens` bytes of `rests`; the first path shares nothing. `sizes` and `chunk_counts` have one
//! number per file, `target_lens` one per link. Directories are listed only where they are empty.
//!
//! *Chunk part*, format 21: where the chunks of those files lie. Chunks are in the order of the
//! files, a file's chunks in the order of its bytes, and a component's chunk list is that of its
//! chunk parts one after another: a file's chunks are the next `chunk_counts` of that list. A chunk
//! lies in a frame at an offset of the frame's content; a frame lies in a pack. Columns hold
//! differences where neighbours are alike, see [`crate::wire::ChunkWire`].
//!
//! Where a component's list is split into parts is the publisher's choice and means nothing here;
//! it splits by content, so that a small change touches few parts.

mod check;
mod chunk;
mod tree;

pub use check::{ComponentCheck, ComponentError};
pub use chunk::{CHUNK_FORMAT, ChunkLoc, ChunkPart, FrameLoc};
pub use tree::{
    Entry, EntryKind, FLAG_EXECUTABLE, FLAG_LAUNCH, KIND_DIRECTORY, KIND_FILE, KIND_LINK, TREE_FORMAT, TreePart,
};

use crate::column::ColumnError;
use crate::limits::REQUIRES_BYTES_MAX;
use crate::order::TreeError;
use crate::zstd_frame::{self, ZstdError};
use penstock_core::blob::BlobId;
use penstock_core::limits::{PART_CONTENT_BYTES_MAX, PART_STORED_BYTES_MAX};
use penstock_core::manifest::PartRef;
use penstock_core::path::{InstallPath, PathError};
use zstd::zstd_safe::DCtx;

/// Why a part is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// Another length than the root says.
    #[error("the manifest part should have {expected} bytes and has {found}")]
    Size {
        /// From the root.
        expected: u32,
        /// What came.
        found: usize,
    },
    /// Other bytes than the root names.
    #[error("the manifest part's bytes hash to {found}, expected {expected}")]
    Hash {
        /// From the root.
        expected: BlobId,
        /// What came.
        found: BlobId,
    },
    /// Not the zstd frame it should be.
    #[error("the manifest part is malformed")]
    Zstd(#[from] ZstdError),
    /// Not protobuf.
    #[error("the manifest part is not well-formed protobuf")]
    Malformed,
    /// Another kind of part, or a later format.
    #[error("manifest part format {found} is not {expected}: update the launcher")]
    Format {
        /// What this version reads here.
        expected: u32,
        /// What was found.
        found: u32,
    },
    /// A feature this version does not have.
    #[error("the manifest part requires {0:?}, which is not known here: update the launcher")]
    Requires(String),
    /// An entry kind or frame kind of a later version.
    #[error("the manifest part uses {what} {number}, which is not known here: update the launcher")]
    Unknown {
        /// Entry kind or frame kind.
        what: &'static str,
        /// Its number.
        number: u32,
    },
    /// A column is not what it should be.
    #[error("the manifest part is malformed")]
    Column(#[from] ColumnError),
    /// A path that cannot be installed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A link that leads out of the install.
    #[error("the link {path:?} leads out of the install to {target:?}")]
    Link {
        /// The link.
        path: InstallPath,
        /// Its target.
        target: String,
    },
    /// Entries that no disk could hold side by side.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Texts that do not fit their lengths.
    #[error("the manifest part's {0} are cut off, too long or not UTF-8 where they are split")]
    Text(&'static str),
    /// Numbers that contradict each other or a limit; the position says which item.
    #[error("the manifest part's {what} {index} has an impossible {field}")]
    Number {
        /// Entry, frame or chunk.
        what: &'static str,
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        field: &'static str,
    },
}

/// What a part turned out to be, for `inspect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyPart {
    /// A tree part.
    Tree(TreePart),
    /// A chunk part.
    Chunks(ChunkPart),
}

/// Reads a part without a root that vouches for it: for display only.
///
/// # Errors
/// [`PartError`].
pub fn inspect(stored: &[u8]) -> Result<AnyPart, PartError> {
    let content_bytes = zstd::zstd_safe::get_frame_content_size(stored)
        .ok()
        .flatten()
        .and_then(|bytes| u32::try_from(bytes).ok())
        .ok_or(ZstdError::Head)?;
    let reference = PartRef {
        blob: BlobId::of(stored),
        stored_bytes: u32::try_from(stored.len()).unwrap_or(u32::MAX),
        content_bytes,
        items: 0,
    };
    let content = open(&reference, stored)?;
    // Chunk parts first: all their columns are bytes, so a tree part's texts pass for them and the format number
    // decides; the other way round a chunk part's bytes are not UTF-8 and hide it.
    match ChunkPart::from_content(&content, None) {
        Err(PartError::Format { found: TREE_FORMAT, .. }) => TreePart::from_content(&content, None).map(AnyPart::Tree),
        other => other.map(AnyPart::Chunks),
    }
}

/// Checks sizes and hash, then decompresses.
pub(crate) fn open(part: &PartRef, stored: &[u8]) -> Result<Vec<u8>, PartError> {
    if stored.len() != part.stored_bytes as usize || part.stored_bytes > PART_STORED_BYTES_MAX {
        return Err(PartError::Size { expected: part.stored_bytes, found: stored.len() });
    }
    if part.content_bytes > PART_CONTENT_BYTES_MAX {
        return Err(PartError::Size { expected: PART_CONTENT_BYTES_MAX, found: part.content_bytes as usize });
    }
    let found = BlobId::of(stored);
    if found != part.blob {
        return Err(PartError::Hash { expected: part.blob, found });
    }
    let mut content = Vec::new();
    zstd_frame::decode(&mut DCtx::create(), stored, part.content_bytes as usize, &mut content)?;
    Ok(content)
}

/// Refuses other formats and features of later versions.
pub(crate) fn check_format(expected: u32, found: u32, requires: &str) -> Result<(), PartError> {
    if found != expected {
        return Err(PartError::Format { expected, found });
    }
    if requires.is_empty() {
        return Ok(());
    }
    Err(PartError::Requires(requires.chars().take(REQUIRES_BYTES_MAX).collect()))
}

#[cfg(test)]
mod tests;
