//! Where a file is cut into chunks: FastCDC as of 2020, frozen.
//!
//! Algorithm 1 of the manifest: FastCDC (Xia et al., "The Design of Fast Content-Defined Chunking
//! for Data Deduplication Based Storage Systems", IEEE TPDS 2020), rolling two bytes at a time,
//! normalisation level 1, gear table and masks of the `fastcdc` crate's `v2020` module, seed 0,
//! sizes from the manifest. Cuts are a promise to every installed client: changed cuts mean a full
//! download. The vectors in the tests hold them.

use fastcdc::v2020::{Normalization, cut, select_masks};
use penstock_core::manifest::{CHUNKER_FASTCDC_2020, Chunker};

/// Finds the ends of chunks.
#[derive(Debug, Clone, Copy)]
pub struct Cutter {
    min: usize,
    target: usize,
    max: usize,
    mask_small: u64,
    mask_large: u64,
}

/// Whether the file goes on after the bytes at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// More bytes follow.
    More,
    /// The file ends with these.
    End,
}

/// Why a manifest's chunker cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkerError {
    /// An algorithm of a later version.
    #[error("chunker {0} is not known here: update this program")]
    Algorithm(u32),
    /// Sizes that the algorithm does not take.
    #[error("chunk sizes {min}/{target}/{max} are not even, ascending and within the algorithm's bounds")]
    Sizes {
        /// Smallest.
        min: u32,
        /// Target.
        target: u32,
        /// Largest.
        max: u32,
    },
}

impl Cutter {
    /// A cutter with a manifest's parameters.
    ///
    /// # Errors
    /// [`ChunkerError`].
    pub fn new(chunker: &Chunker) -> Result<Self, ChunkerError> {
        if chunker.algorithm != CHUNKER_FASTCDC_2020 {
            return Err(ChunkerError::Algorithm(chunker.algorithm));
        }
        let (min, target, max) = (chunker.min_bytes, chunker.target_bytes, chunker.max_bytes);
        let even = [min, target, max].iter().all(|size| size % 2 == 0);
        let in_bounds =
            (64..=1 << 20).contains(&min) && (256..=4 << 20).contains(&target) && (1024..=16 << 20).contains(&max);
        if !even || !in_bounds || min > target || target > max {
            return Err(ChunkerError::Sizes { min, target, max });
        }
        let (mask_small, mask_large) = select_masks(target as usize, Normalization::Level1);
        Ok(Self { min: min as usize, target: target as usize, max: max as usize, mask_small, mask_large })
    }

    /// Length of the first chunk of `bytes`; `None` when more bytes are needed to say, or there are none.
    ///
    /// With [`Tail::More`] at least the largest chunk's length must be at hand for an answer.
    #[must_use]
    pub fn next(&self, bytes: &[u8], tail: Tail) -> Option<usize> {
        if bytes.is_empty() || (tail == Tail::More && bytes.len() < self.max) {
            return None;
        }
        let (_, length) = cut(
            bytes,
            self.min,
            self.target,
            self.max,
            self.mask_small,
            self.mask_large,
            self.mask_small << 1,
            self.mask_large << 1,
        );
        Some(length)
    }

    /// Largest chunk in bytes.
    #[must_use]
    pub const fn max_bytes(&self) -> usize {
        self.max
    }
}

#[cfg(test)]
#[path = "chunker_tests.rs"]
mod tests;
