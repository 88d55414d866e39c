//! Lengths worth trying, each with its reason. One list, so that a lesson learnt once is tried everywhere.

/// A length and why it is interesting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterestingSize {
    /// Length in bytes.
    pub bytes: u64,
    /// What is special about it.
    pub reason: &'static str,
}

const fn size(bytes: u64, reason: &'static str) -> InterestingSize {
    InterestingSize { bytes, reason }
}

/// From nothing to a few mebibytes.
pub const INTERESTING_SIZES: [InterestingSize; 20] = [
    size(0, "the empty blob: no group, no range, a hash all the same"),
    size(1, "the shortest content"),
    size(1023, "one byte less than a BLAKE3 chunk"),
    size(1024, "exactly one BLAKE3 chunk"),
    size(1025, "two BLAKE3 chunks"),
    size(16 * 1024 - 1, "one byte less than a verified group, and than the smallest chunk"),
    size(16 * 1024, "exactly one group: the outboard has no parent yet"),
    size(16 * 1024 + 1, "two groups: the first parent"),
    size(32 * 1024, "two full groups"),
    size(32 * 1024 + 1, "three groups: the tree is lopsided"),
    size(48 * 1024, "three full groups"),
    size(64 * 1024, "the target of the chunker, a power of two of groups"),
    size(64 * 1024 + 1, "one byte into the fifth group"),
    size(100_000, "no power of anything"),
    size(256 * 1024, "the largest chunk"),
    size(256 * 1024 + 1, "must be cut by force"),
    size(1 << 20, "the largest frame, and a usual read window"),
    size((1 << 20) + 1, "one byte into the next window"),
    size(3 * (1 << 20) + 12_345, "several windows and a rest"),
    size((8 << 20) + 1, "more than a pack is meant to hold"),
];
