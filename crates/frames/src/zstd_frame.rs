//! One zstd frame, checked before it is decoded: RFC 8878 section 3.1.1.
//!
//! Owns the rule that a stored frame says its content size, that the size is the one expected, that
//! its window is within bounds, and that nothing follows it. Output goes to a buffer of exactly the
//! expected size, so neither a bomb nor a lie can make us allocate more.

use crate::limits::FRAME_WINDOW_BYTES_MAX;
use zstd::zstd_safe::{self, DCtx};

/// Why bytes are not the one zstd frame they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ZstdError {
    /// The frame's head is cut off or not zstd.
    #[error("the compressed data is not a zstd frame")]
    Head,
    /// The frame does not say how much it holds, or says something else.
    #[error("the compressed data should hold {expected} bytes, its head says {found:?}")]
    ContentSize {
        /// From the index.
        expected: u64,
        /// From the frame; `None` when it does not say.
        found: Option<u64>,
    },
    /// The window is too large.
    #[error("the compressed data asks for a window of {0} bytes, more than allowed")]
    Window(u64),
    /// It names a dictionary, which no format of ours has.
    #[error("the compressed data names a dictionary")]
    Dictionary,
    /// Bytes follow the frame, or the frame is cut off.
    #[error("the compressed data is cut off or followed by something else")]
    Length,
    /// The decoder refused it.
    #[error("the compressed data is damaged")]
    Damaged,
}

/// Decodes one frame into the end of `out`, which grows by exactly `content_bytes`.
///
/// # Errors
/// [`ZstdError`]; `out` is as it was before.
pub(crate) fn decode(
    context: &mut DCtx<'_>,
    stored: &[u8],
    content_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<(), ZstdError> {
    check(stored, content_bytes as u64)?;
    let start = out.len();
    out.resize(start + content_bytes, 0);
    let written = context.decompress(&mut out[start..], stored);
    if written.is_ok_and(|count| count == content_bytes) {
        return Ok(());
    }
    out.truncate(start);
    Err(ZstdError::Damaged)
}

/// Checks a frame's head and length without decoding it.
pub(crate) fn check(stored: &[u8], content_bytes: u64) -> Result<(), ZstdError> {
    let head = Head::read(stored).ok_or(ZstdError::Head)?;
    if head.dictionary {
        return Err(ZstdError::Dictionary);
    }
    if head.content_bytes != Some(content_bytes) {
        return Err(ZstdError::ContentSize { expected: content_bytes, found: head.content_bytes });
    }
    if head.window_bytes > FRAME_WINDOW_BYTES_MAX {
        return Err(ZstdError::Window(head.window_bytes));
    }
    match zstd_safe::find_frame_compressed_size(stored) {
        Ok(length) if length == stored.len() => Ok(()),
        _ => Err(ZstdError::Length),
    }
}

/// What a frame's head says.
struct Head {
    content_bytes: Option<u64>,
    window_bytes: u64,
    dictionary: bool,
}

impl Head {
    /// RFC 8878 section 3.1.1.1: magic, descriptor, window descriptor, dictionary id, content size.
    fn read(stored: &[u8]) -> Option<Self> {
        let rest = stored.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?;
        let (&descriptor, rest) = rest.split_first()?;
        if descriptor & 0b1000 != 0 {
            return None;
        }
        let single_segment = descriptor & 0b10_0000 != 0;
        let (window, rest) = if single_segment {
            (None, rest)
        } else {
            let (&byte, rest) = rest.split_first()?;
            let base = 1u64 << (10 + u32::from(byte >> 3));
            (Some(base + base / 8 * u64::from(byte & 7)), rest)
        };
        let dictionary_len = [0usize, 1, 2, 4][usize::from(descriptor & 0b11)];
        let rest = rest.get(dictionary_len..)?;
        let size_len = match descriptor >> 6 {
            0 => usize::from(single_segment),
            1 => 2,
            2 => 4,
            _ => 8,
        };
        let field = rest.get(..size_len)?;
        let mut bytes = [0u8; 8];
        bytes[..size_len].copy_from_slice(field);
        let content_bytes = match size_len {
            0 => None,
            2 => Some(u64::from_le_bytes(bytes) + 256),
            _ => Some(u64::from_le_bytes(bytes)),
        };
        let window_bytes = window.or(content_bytes)?;
        Some(Self { content_bytes, window_bytes, dictionary: dictionary_len != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compress(content: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(content, 9).expect("compress")
    }

    fn run(stored: &[u8], content_bytes: usize) -> Result<Vec<u8>, ZstdError> {
        let mut out = b"before".to_vec();
        decode(&mut DCtx::create(), stored, content_bytes, &mut out)?;
        Ok(out.split_off(6))
    }

    #[test]
    fn a_frame_must_hold_exactly_what_the_index_says() {
        let content = vec![7u8; 1000];
        let stored = compress(&content);
        assert_eq!(run(&stored, 1000), Ok(content));
        assert!(matches!(run(&stored, 999), Err(ZstdError::ContentSize { found: Some(1000), .. })));
        assert_eq!(run(&stored[..stored.len() - 1], 1000), Err(ZstdError::Length));
        let twice = [stored.clone(), stored].concat();
        assert_eq!(run(&twice, 1000), Err(ZstdError::Length));
        assert_eq!(run(b"not zstd", 8), Err(ZstdError::Head));
    }

    #[test]
    fn a_frame_that_does_not_say_its_size_is_refused() {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("encoder");
        std::io::Write::write_all(&mut encoder, &[1; 5000]).expect("write");
        let stored = encoder.finish().expect("finish");
        assert!(matches!(run(&stored, 5000), Err(ZstdError::ContentSize { found: None, .. })));
    }

    #[test]
    fn a_window_too_large_is_refused_before_anything_is_allocated() {
        // Descriptor: 8-byte content size, no single segment; window descriptor 2^(10+31).
        let mut stored = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1100_0000, 31 << 3];
        stored.extend_from_slice(&4u64.to_le_bytes());
        stored.extend_from_slice(&[0x21, 0, 0, b'a', b'b', b'c', b'd']);
        assert_eq!(run(&stored, 4), Err(ZstdError::Window(1 << 41)));
    }

    #[test]
    fn legacy_and_skippable_frames_are_not_frames_here() {
        assert_eq!(run(&[0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0], 0), Err(ZstdError::Head));
        assert_eq!(run(&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], 0), Err(ZstdError::Head));
    }

    proptest! {
        #[test]
        fn damage_never_panics_and_never_grows_the_output(
            content in proptest::collection::vec(any::<u8>(), 0..2000),
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let mut stored = compress(&content);
            let at = at.index(stored.len());
            stored[at] ^= flip;
            if let Ok(out) = run(&stored, content.len()) {
                prop_assert_eq!(out.len(), content.len());
            }
        }
    }
}
