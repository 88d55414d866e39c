//! Content becomes a frame: compressed where that pays, raw where it does not, proven either way.
//!
//! Owns the probe that keeps already compressed media from costing time, and the rule that no frame
//! leaves before the client's own decoder made the same content of it.

use penstock_frames::frame::{FrameDecoder, FrameKind};

/// Bytes looked at by the probe; a quarter from each of four places.
const PROBE_BYTES: usize = 4096;
/// A sample with more bits per byte than this is probably compressed already. Text has 4–5, code 6,
/// media 7.9 and more; such a small sample of random bytes measures about 7.95.
const PROBE_BITS_MAX: f64 = 7.6;
/// A compressed frame must save at least one byte in so many, or it is not worth decoding.
const PAYS_ONE_IN: usize = 64;

/// Content as stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Squeezed {
    pub(crate) kind: FrameKind,
    pub(crate) stored: Vec<u8>,
}

/// Why content cannot be stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqueezeError {
    /// The library refused.
    #[error("the compressor failed")]
    Compress(#[source] std::io::Error),
    /// The decoder made something else of it: broken memory or a broken library.
    #[error("a frame did not decode to what was put in: this machine's memory may be faulty")]
    Proof,
}

/// Compresses one piece after another.
pub(crate) struct Squeezer {
    fast: zstd::bulk::Compressor<'static>,
    strong: zstd::bulk::Compressor<'static>,
    decoder: FrameDecoder,
    check: Vec<u8>,
}

impl Squeezer {
    /// A compressor of this zstd level.
    pub(crate) fn new(level: i32) -> Result<Self, SqueezeError> {
        let compressor = |level| zstd::bulk::Compressor::new(level).map_err(SqueezeError::Compress);
        Ok(Self {
            fast: compressor(1)?,
            strong: compressor(level)?,
            decoder: FrameDecoder::default(),
            check: Vec::new(),
        })
    }

    /// Stores content the smaller way and proves it.
    pub(crate) fn squeeze(&mut self, content: &[u8]) -> Result<Squeezed, SqueezeError> {
        let squeezed = self.smaller(content)?;
        self.check.clear();
        let content_bytes = u32::try_from(content.len()).map_err(|_| SqueezeError::Proof)?;
        let decoded = self.decoder.decode(squeezed.kind, &squeezed.stored, content_bytes, &[], &mut self.check);
        if decoded.is_ok() && self.check == content { Ok(squeezed) } else { Err(SqueezeError::Proof) }
    }

    fn smaller(&mut self, content: &[u8]) -> Result<Squeezed, SqueezeError> {
        let pays = |stored: &[u8]| stored.len() + content.len() / PAYS_ONE_IN < content.len();
        let raw = || Squeezed { kind: FrameKind::Raw, stored: content.to_vec() };
        if looks_compressed(content) {
            // High entropy may still hide repeats; the fastest level finds them or gives up quickly.
            let quick = self.fast.compress(content).map_err(SqueezeError::Compress)?;
            if !pays(&quick) {
                return Ok(raw());
            }
        }
        let stored = self.strong.compress(content).map_err(SqueezeError::Compress)?;
        Ok(if pays(&stored) { Squeezed { kind: FrameKind::Zstd, stored } } else { raw() })
    }
}

/// Whether a sample's bytes are so evenly spread that compression will hardly pay.
fn looks_compressed(content: &[u8]) -> bool {
    if content.len() < PROBE_BYTES {
        return false;
    }
    let mut counts = [0u32; 256];
    let quarter = PROBE_BYTES / 4;
    for place in 0..4 {
        let start = (content.len() - quarter) / 3 * place;
        content[start..start + quarter].iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    }
    let total = f64::from(u32::try_from(PROBE_BYTES).expect("small"));
    let share = |count: &u32| f64::from(*count) / total;
    let bits: f64 = counts.iter().filter(|count| **count > 0).map(|count| -share(count) * share(count).log2()).sum();
    bits > PROBE_BITS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut out);
        out
    }

    fn squeeze(content: &[u8]) -> Squeezed {
        Squeezer::new(9).expect("compressor").squeeze(content).expect("proven")
    }

    #[test]
    fn noise_is_stored_raw_and_text_is_not() {
        assert_eq!(squeeze(&noise(100_000)).kind, FrameKind::Raw);
        assert!(looks_compressed(&noise(100_000)));
        let text = "the quick brown fox jumps over the lazy dog. ".repeat(1000);
        let squeezed = squeeze(text.as_bytes());
        assert_eq!(squeezed.kind, FrameKind::Zstd);
        assert!(!looks_compressed(text.as_bytes()));
        assert!(squeezed.stored.len() < text.len() / 100);
    }

    #[test]
    fn repeated_noise_is_found_although_it_looks_compressed() {
        let twice = [noise(50_000), noise(50_000)].concat();
        assert!(looks_compressed(&twice));
        let squeezed = squeeze(&twice);
        assert_eq!(squeezed.kind, FrameKind::Zstd);
        assert!(squeezed.stored.len() < 51_000);
    }

    #[test]
    fn tiny_content_is_raw() {
        for length in 0..8 {
            assert_eq!(squeeze(&vec![7; length]), Squeezed { kind: FrameKind::Raw, stored: vec![7; length] });
        }
    }

    proptest! {
        #[test]
        fn a_frame_is_never_larger_than_its_content(content in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            prop_assert!(squeeze(&content).stored.len() <= content.len());
        }
    }
}
