//! The hash tree of a blob: which pairs an outboard holds, how a range is proved, how a proof is checked.
//!
//! Owns the layout of outboards and of verified streams, as pure state machines that are pushed bytes and pull bytes.
//! It must not read files: `store` brings the bytes, `edge` sends the pieces, `client` feeds the decoder.
//! `bao-tree` with `BlockSize::from_chunk_log(4)` is the reference that the tests compare with.
//!
//! # The tree
//!
//! A blob of `size` bytes is cut into *groups* of 16,384 bytes (16 BLAKE3 chunks); the last may be shorter. There is
//! always at least one group: the empty blob has one of zero bytes. A tree over `n > 1` groups has as its left child
//! the first `p` groups, where `p` is the largest power of two smaller than `n`, and as its right child the rest. This
//! is BLAKE3's own tree with its lowest four levels folded into the groups, so the root hash is the blob's name.
//!
//! The *chaining value* of a group is BLAKE3's non-root hash of its bytes at its chunk offset; of a parent, the
//! non-root parent hash of its two children. The top node, group or parent, is hashed with BLAKE3's root flag.
//!
//! # Outboard (`GET /v1/blobs/{blob}/outboard`)
//!
//! ```text
//! offset              bytes  meaning
//! 0                   8      size of the blob in bytes, unsigned, little-endian
//! 8 + 64 * i          32     left child's chaining value of parent i
//! 8 + 64 * i + 32     32     right child's chaining value of parent i
//! ```
//!
//! Parents are numbered in pre-order: a parent over `n` groups with number `i` has its left child (if that is a
//! parent) at `i + 1` and its right child (if that is a parent) at `i + p`. There are `groups - 1` parents, so a blob
//! of at most 16,384 bytes has an outboard of just the 8 size bytes.
//!
//! # Verified stream (`GET /v1/blobs/{blob}/verified?start=&end=`)
//!
//! ```text
//! 8 bytes: size of the blob, unsigned, little-endian
//! then the tree from its root, in pre-order, leaving out every subtree that holds no wanted group:
//!     a parent: its 64-byte pair, then its left child, then its right child
//!     a group:  its bytes, whole, also where the range begins or ends inside it
//! ```
//!
//! The wanted groups are those that the range touches after it is cut at the blob's end; when none is left (an empty
//! blob, a range behind the end) the last group is wanted, as a proof of the size.
//!
//! The size is a claim until the last group was checked: bytes that the decoder hands out are always right for their
//! offset, but only a stream that contained the last group says where the blob ends.
//!
//! # Vectors
//!
//! Content byte `k` is `k % 251`. `root` is the blob's name; `outboard` and `stream` are the BLAKE3 names of the
//! whole outboard and of the whole blob's verified stream. They are checked by this module's tests.
//!
//! ```text
//! size    root, outboard, stream
//! 0       af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262
//!         71e0a99173564931c0b8acc52d2685a8e39c64dc52e3d02390fdac2a12b155cb
//!         71e0a99173564931c0b8acc52d2685a8e39c64dc52e3d02390fdac2a12b155cb
//! 1       2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213
//!         1a0d12016999e47689dae5744d2b8c1903faf7ca2886a658150083100ef2c8ee
//!         9b779f74b305adc3ec513485085d52e95f9ce4fbaf9e56cb02d38a07e19353df
//! 16384   f875d6646de28985646f34ee13be9a576fd515f76b5b0a26bb324735041ddde4
//!         4ad966242470e4936fb47468105acdb0fb5d89ec383379f806e1d8c454406a3a
//!         118894c58ca1e81d32784562af9aeaa9ff598524ab5040963e5892305e10c4aa
//! 16385   1dabe216be2578830263b049de1639f39f05a4da616b9b78c7a5e4e41662fd1f
//!         aedc94f51a3b7d034b18669c5c1e3929ff96423f24012602cc159c6d45225f4f
//!         0c6fa6b6ec04fc36a32daebfed66120764b0877410b5fe1931c247027bb206a3
//! 65537   7c99f9840a73dfcb6e5bfe4ff6d1558acab7e015640790c26411818bdbe17eca
//!         b561336f504d2bc276e2f0894479e08f14bd8a760893cf29ec9a897641c7b2ff
//!         11d17fcf5597a2446a5330d37cd7b32c2077b199b3dd1eb8f1d4d6895dbe3230
//! 200000  55409142cced2ec79897459f170b6d22565daf883710b4ad7aeeddaef54244b4
//!         4ab4ce809886e439cc988576b0bc61fc889816e861ebb06cd1cbf3be9acf7dbe
//!         b253d6a34ae8058f5cdfc6c8117a57b379ceb4d04c1b1a33cf12dee3aa9fc085
//! ```

mod decode;
mod encode;
mod outboard;
#[cfg(test)]
mod tests;

use std::ops::Range;

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::blob::{BlobSize, ByteRange};
use crate::limits::GROUP_BYTES;

pub use decode::{DecodeError, RangeDecoder, Verified};
pub use encode::{Piece, RangeEncoder};
pub use outboard::{Built, Outboard, OutboardBuilder, OutboardError, write_pre_order};

/// Bytes of one parent's pair of chaining values.
pub const PAIR_BYTES: u64 = 64;
/// Bytes of the size that opens outboards and verified streams.
pub const SIZE_BYTES: u64 = 8;

// The same numbers for slices.
const GROUP: usize = 16_384;
const PAIR: usize = 64;
const SIZE: usize = 8;
const _: () = assert!(GROUP as u64 == GROUP_BYTES && PAIR as u64 == PAIR_BYTES && SIZE as u64 == SIZE_BYTES);

/// The geometry of a blob's tree; everything follows from its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    size: u64,
}

impl Shape {
    /// The tree of a blob of this size.
    #[must_use]
    pub const fn new(size: BlobSize) -> Self {
        Self { size: size.0 }
    }

    /// The blob's size.
    #[must_use]
    pub const fn size(self) -> BlobSize {
        BlobSize(self.size)
    }

    /// Number of groups, at least 1.
    #[must_use]
    pub const fn groups(self) -> u64 {
        if self.size == 0 { 1 } else { self.size.div_ceil(GROUP_BYTES) }
    }

    /// Number of parents, which is the number of pairs in the outboard.
    #[must_use]
    pub const fn pairs(self) -> u64 {
        self.groups() - 1
    }

    /// Length of the outboard in bytes, its size field included.
    #[must_use]
    pub const fn outboard_bytes(self) -> u64 {
        SIZE_BYTES + PAIR_BYTES * self.pairs()
    }

    /// The byte offsets of group `index`; empty only for the empty blob's single group.
    #[must_use]
    pub fn group(self, index: u64) -> Range<u64> {
        let start = index * GROUP_BYTES;
        start..(start + GROUP_BYTES).min(self.size)
    }

    /// The groups that a range touches; the last group when it touches none. `None` means the whole blob.
    #[must_use]
    pub fn touched(self, range: Option<ByteRange>) -> Range<u64> {
        let Some(range) = range else { return 0..self.groups() };
        let last = self.groups() - 1;
        if range.start() >= self.size {
            return last..last + 1;
        }
        range.start() / GROUP_BYTES..range.end().min(self.size).div_ceil(GROUP_BYTES)
    }
}

/// A node of the tree: the groups it covers and, for a parent, its number in pre-order.
#[derive(Debug, Clone, Copy)]
struct Node {
    first: u64,
    groups: u64,
    pair: u64,
}

impl Node {
    const fn root(shape: Shape) -> Self {
        Self { first: 0, groups: shape.groups(), pair: 0 }
    }

    const fn is_parent(self) -> bool {
        self.groups > 1
    }

    /// Both children of a parent.
    const fn children(self) -> (Self, Self) {
        let left = left_groups(self.groups);
        (
            Self { first: self.first, groups: left, pair: self.pair + 1 },
            Self { first: self.first + left, groups: self.groups - left, pair: self.pair + left },
        )
    }

    const fn touches(self, wanted: &Range<u64>) -> bool {
        self.first < wanted.end && wanted.start < self.first + self.groups
    }
}

/// The largest power of two below `groups`, which is at least 2.
const fn left_groups(groups: u64) -> u64 {
    1 << (groups - 1).ilog2()
}

/// Whether a node is hashed with BLAKE3's root flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Inner,
}

fn group_hash(index: u64, content: &[u8], place: Place) -> [u8; 32] {
    match place {
        Place::Root => *blake3::hash(content).as_bytes(),
        Place::Inner => blake3::Hasher::new().set_input_offset(index * GROUP_BYTES).update(content).finalize_non_root(),
    }
}

fn pair_hash(left: &[u8; 32], right: &[u8; 32], place: Place) -> [u8; 32] {
    match place {
        Place::Root => *merge_subtrees_root(left, right, Mode::Hash).as_bytes(),
        Place::Inner => merge_subtrees_non_root(left, right, Mode::Hash),
    }
}

/// Splits a 64-byte pair; the caller has taken exactly [`PAIR_BYTES`] bytes.
fn split_pair(pair: &[u8]) -> ([u8; 32], [u8; 32]) {
    let (mut left, mut right) = ([0; 32], [0; 32]);
    left.copy_from_slice(&pair[..32]);
    right.copy_from_slice(&pair[32..64]);
    (left, right)
}
