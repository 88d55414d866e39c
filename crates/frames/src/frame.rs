//! Frames: pieces of content as they are stored, each decodable by itself.
//!
//! A frame is a number of bytes in a pack. What they mean is its kind, which stands in the index
//! that led to it (a chunk part, an update index or the pack's own), never in the frame:
//!
//! | number | kind | bytes | needs |
//! |---|---|---|---|
//! | 0 | raw | the content | – |
//! | 1 | zstd | one zstd frame (RFC 8878) with its content size in the head, no dictionary | – |
//! | 2 | zstd delta | as 1, made with the bases, back to back, as reference prefix | bases |
//! | 3 | executable delta | reserved: subtraction from the bases for machine code | bases |
//! | 4 | container | reserved: a deflate container, recompressed without loss | – or bases |
//! | 5 | sealed | reserved: another kind under AEAD with the release's key | key |
//!
//! Any-version delta frames yield one chunk and run frames yield several: both are kind 2, the
//! number of outputs tells them apart. A kind that this version cannot decode is refused with
//! [`FrameError::UpdateLauncher`]. Whether content is the right content is not known here: the
//! caller hashes each chunk.

use crate::limits::FRAME_BASES_BYTES_MAX;
use crate::zstd_frame::{self, ZstdError};
use penstock_core::limits::{FRAME_BASES_MAX, FRAME_CONTENT_BYTES_MAX, FRAME_STORED_BYTES_MAX};
use zstd::zstd_safe::DCtx;

/// How a frame is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// 0: the content itself.
    Raw,
    /// 1: one zstd frame.
    Zstd,
    /// 2: one zstd frame whose reference is old content.
    ZstdDelta,
    /// 3: reserved for the executable transform.
    ExeDelta,
    /// 4: reserved for recompressed containers.
    Container,
    /// 5: reserved for encrypted frames.
    Sealed,
    /// A number that a later version gave a meaning to.
    Other(u32),
}

impl FrameKind {
    /// The kind of a number; every number has one.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Raw,
            1 => Self::Zstd,
            2 => Self::ZstdDelta,
            3 => Self::ExeDelta,
            4 => Self::Container,
            5 => Self::Sealed,
            other => Self::Other(other),
        }
    }
    /// The number in the stored formats.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
            Self::ZstdDelta => 2,
            Self::ExeDelta => 3,
            Self::Container => 4,
            Self::Sealed => 5,
            Self::Other(number) => number,
        }
    }
    /// Whether this version can decode it.
    #[must_use]
    pub const fn is_known(self) -> bool {
        matches!(self, Self::Raw | Self::Zstd | Self::ZstdDelta)
    }
    /// Whether it is decoded without old content.
    #[must_use]
    pub const fn is_plain(self) -> bool {
        matches!(self, Self::Raw | Self::Zstd)
    }
}

/// Why a frame yields nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind of a later version.
    #[error("frame kind {0} is not known here: update the launcher")]
    UpdateLauncher(u32),
    /// A size above its bound.
    #[error("the frame's {what} of {found} bytes is above the limit of {max}")]
    Limit {
        /// Which size.
        what: &'static str,
        /// What was found.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// A raw frame of another length.
    #[error("a raw frame should have {expected} bytes and has {found}")]
    RawLength {
        /// From the index.
        expected: u32,
        /// What came.
        found: usize,
    },
    /// Bases where there must be none, none where there must be some, or too many.
    #[error("a frame of kind {kind} came with {found} bases")]
    Bases {
        /// The frame's kind.
        kind: u32,
        /// How many came.
        found: usize,
    },
    /// The compressed bytes are not good.
    #[error("the frame is malformed")]
    Zstd(#[from] ZstdError),
}

/// Decodes frames one after another with one context, which is cheaper than one each.
pub struct FrameDecoder {
    context: DCtx<'static>,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self { context: DCtx::create() }
    }
}

impl FrameDecoder {
    /// Appends a frame's content to `out`, which grows by exactly `content_bytes`.
    ///
    /// `bases` are the contents of the chunks that a delta frame names, in its order.
    ///
    /// # Errors
    /// [`FrameError`]; `out` is as it was before. Nothing larger than `content_bytes` and the bases
    /// is allocated, and that only within the limits.
    pub fn decode(
        &mut self,
        kind: FrameKind,
        stored: &[u8],
        content_bytes: u32,
        bases: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        check_sizes(kind, stored, content_bytes, bases)?;
        match kind {
            FrameKind::Raw if stored.len() == content_bytes as usize => out.extend_from_slice(stored),
            FrameKind::Raw => return Err(FrameError::RawLength { expected: content_bytes, found: stored.len() }),
            FrameKind::Zstd => zstd_frame::decode(&mut self.context, stored, content_bytes as usize, out)?,
            FrameKind::ZstdDelta => {
                let prefix = bases.concat();
                let mut context = DCtx::create();
                context.ref_prefix(&prefix).map_err(|_| ZstdError::Damaged)?;
                zstd_frame::decode(&mut context, stored, content_bytes as usize, out)?;
            }
            FrameKind::ExeDelta | FrameKind::Container | FrameKind::Sealed | FrameKind::Other(_) => {
                return Err(FrameError::UpdateLauncher(kind.number()));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for FrameDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameDecoder")
    }
}

/// Decodes one frame; [`FrameDecoder`] is the way to decode many.
///
/// # Errors
/// As [`FrameDecoder::decode`].
pub fn decode_frame(
    kind: FrameKind,
    stored: &[u8],
    content_bytes: u32,
    bases: &[&[u8]],
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    FrameDecoder::default().decode(kind, stored, content_bytes, bases, out)
}

fn check_sizes(kind: FrameKind, stored: &[u8], content_bytes: u32, bases: &[&[u8]]) -> Result<(), FrameError> {
    if !kind.is_known() {
        return Err(FrameError::UpdateLauncher(kind.number()));
    }
    let limit = |what, found: u64, max: u64| {
        if found > max { Err(FrameError::Limit { what, found, max }) } else { Ok(()) }
    };
    limit("content", u64::from(content_bytes), u64::from(FRAME_CONTENT_BYTES_MAX))?;
    limit("stored size", stored.len() as u64, u64::from(FRAME_STORED_BYTES_MAX))?;
    if kind.is_plain() != bases.is_empty() || bases.len() > FRAME_BASES_MAX {
        return Err(FrameError::Bases { kind: kind.number(), found: bases.len() });
    }
    let base_bytes: usize = bases.iter().map(|base| base.len()).sum();
    limit("bases", base_bytes as u64, FRAME_BASES_BYTES_MAX as u64)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
