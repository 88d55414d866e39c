//! Which bytes make up a verified stream, in order, without touching them.
//!
//! The encoder plans pieces of the blob and of its outboard; whoever sends them slices both files and copies nothing.
//! It does not check the content against the outboard: that was done when the blob was sealed, and the receiver does.

use std::ops::Range;

use super::{Node, PAIR_BYTES, SIZE_BYTES, Shape};
use crate::blob::{BlobSize, ByteRange};

/// One piece of a verified stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// The blob's size, little-endian: always the first piece.
    Size([u8; 8]),
    /// These bytes of the outboard (offsets count from the outboard's own start, size field included).
    Pairs(ByteRange),
    /// These bytes of the blob: one group.
    Data(ByteRange),
}

impl Piece {
    /// Length of the piece in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a piece is never empty")]
    pub const fn len(&self) -> u64 {
        match self {
            Self::Size(bytes) => bytes.len() as u64,
            Self::Pairs(range) | Self::Data(range) => range.len(),
        }
    }
}

/// Yields the pieces of the verified stream of a range. Needs at most 41 nodes of memory, whatever the size.
#[derive(Debug, Clone)]
pub struct RangeEncoder {
    shape: Shape,
    wanted: Range<u64>,
    head: Option<[u8; 8]>,
    stack: Vec<Node>,
}

impl RangeEncoder {
    /// Plans the stream that proves `range` of a blob of `size` bytes; `None` means the whole blob.
    #[must_use]
    pub fn new(size: BlobSize, range: Option<ByteRange>) -> Self {
        let shape = Shape::new(size);
        Self { shape, wanted: shape.touched(range), head: Some(size.0.to_le_bytes()), stack: vec![Node::root(shape)] }
    }

    /// Length of the whole stream in bytes, from its first piece, whatever was already yielded.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let first = self.shape.group(self.wanted.start).start;
        let last = self.shape.group(self.wanted.end - 1).end;
        SIZE_BYTES + PAIR_BYTES * parents_in(Node::root(self.shape), &self.wanted) + (last - first)
    }
}

impl Iterator for RangeEncoder {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if let Some(size) = self.head.take() {
            return Some(Piece::Size(size));
        }
        // Neighbouring pairs go out as one piece; the run ends where a group or a gap in the outboard begins.
        let mut run: Option<Range<u64>> = None;
        while let Some(node) = self.stack.last().copied() {
            if !node.touches(&self.wanted) {
                self.stack.pop();
                continue;
            }
            if node.is_parent() {
                match &mut run {
                    None => run = Some(node.pair..node.pair + 1),
                    Some(run) if run.end == node.pair => run.end += 1,
                    Some(_) => break,
                }
                let (left, right) = node.children();
                self.stack.pop();
                self.stack.push(right);
                self.stack.push(left);
            } else if run.is_some() {
                break;
            } else {
                self.stack.pop();
                let bytes = self.shape.group(node.first);
                if let Some(range) = ByteRange::new(bytes.start, bytes.end) {
                    return Some(Piece::Data(range));
                }
            }
        }
        let run = run?;
        ByteRange::new(SIZE_BYTES + run.start * PAIR_BYTES, SIZE_BYTES + run.end * PAIR_BYTES).map(Piece::Pairs)
    }
}

/// Parents whose subtree holds a wanted group.
fn parents_in(node: Node, wanted: &Range<u64>) -> u64 {
    if !node.is_parent() || !node.touches(wanted) {
        return 0;
    }
    if wanted.start <= node.first && node.first + node.groups <= wanted.end {
        return node.groups - 1;
    }
    let (left, right) = node.children();
    1 + parents_in(left, wanted) + parents_in(right, wanted)
}
