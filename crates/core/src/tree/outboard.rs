//! Building outboards in one pass with the hash, laying them out, and checking content against them.
//!
//! The builder yields pairs in *post-order*, the only order that is known before the blob's size is: the caller spills
//! them to a file when they grow, and [`write_pre_order`] lays them out at the end with a bounded buffer.

use super::{GROUP, Node, PAIR, PAIR_BYTES, Place, SIZE_BYTES, Shape, group_hash, pair_hash, split_pair};
use crate::blob::{BlobId, BlobSize};
use crate::limits::{BLOB_BYTES_MAX, GROUP_BYTES};

/// Groups under the largest subtree that [`write_pre_order`] turns around in memory: two buffers of 1 MiB.
const TURN_GROUPS: u64 = 16_384;

/// Hashes content and collects its tree, in one pass.
#[derive(Debug, Default)]
pub struct OutboardBuilder {
    /// Bytes of a group that is not complete yet. Also the whole of group 0 until a byte follows it, because a blob
    /// of one group is hashed differently.
    pending: Vec<u8>,
    groups: u64,
    /// Chaining values of complete subtrees, largest first: one for every bit of `groups`, before the lazy merge.
    stack: Vec<[u8; 32]>,
    pairs: Vec<u8>,
}

/// What a builder found.
#[derive(Debug)]
pub struct Built {
    /// The blob's name.
    pub blob: BlobId,
    /// Number of bytes that were pushed.
    pub size: BlobSize,
    /// The pairs that were not yet taken, in post-order.
    pub pairs: Vec<u8>,
}

impl OutboardBuilder {
    /// A builder that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Hashes more content. Slices of several groups (from 64 KiB on) are hashed without copying most of them.
    pub fn update(&mut self, mut content: &[u8]) {
        while !content.is_empty() {
            if self.pending.len() == GROUP {
                self.close_pending();
            }
            if self.pending.is_empty() && self.groups > 0 && content.len() >= GROUP {
                let (group, rest) = content.split_at(GROUP);
                self.close(group_hash(self.groups, group, Place::Inner));
                content = rest;
            } else {
                let (more, rest) = content.split_at(content.len().min(GROUP - self.pending.len()));
                self.pending.extend_from_slice(more);
                content = rest;
            }
        }
    }

    /// Bytes that were pushed so far.
    #[must_use]
    pub fn size(&self) -> BlobSize {
        BlobSize(self.groups * GROUP_BYTES + self.pending.len() as u64)
    }

    /// Pairs in post-order that were not yet taken.
    #[must_use]
    pub fn pairs(&self) -> &[u8] {
        &self.pairs
    }

    /// Forgets the pairs that [`Self::pairs`] showed, because the caller keeps them elsewhere.
    pub fn clear_pairs(&mut self) {
        self.pairs.clear();
    }

    /// Ends the content.
    #[must_use]
    pub fn finish(mut self) -> Built {
        let size = self.size();
        if self.groups == 0 {
            return Built { blob: BlobId::of(&self.pending), size, pairs: self.pairs };
        }
        if !self.pending.is_empty() {
            self.close_pending();
        }
        let mut right = self.stack.pop().expect("at least one group was closed");
        while let Some(left) = self.stack.pop() {
            let place = if self.stack.is_empty() { Place::Root } else { Place::Inner };
            self.pairs.extend_from_slice(&left);
            self.pairs.extend_from_slice(&right);
            right = pair_hash(&left, &right, place);
        }
        Built { blob: BlobId::from_bytes(right), size, pairs: self.pairs }
    }

    fn close_pending(&mut self) {
        let hash = group_hash(self.groups, &self.pending, Place::Inner);
        self.pending.clear();
        self.close(hash);
    }

    /// Adds a group's chaining value. Subtrees that ended before it are merged only now: one that nothing follows
    /// may be the root.
    fn close(&mut self, hash: [u8; 32]) {
        while self.stack.len() > self.groups.count_ones() as usize {
            self.merge_top();
        }
        self.stack.push(hash);
        self.groups += 1;
    }

    fn merge_top(&mut self) {
        let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop()) else { return };
        self.pairs.extend_from_slice(&left);
        self.pairs.extend_from_slice(&right);
        self.stack.push(pair_hash(&left, &right, Place::Inner));
    }
}

/// Writes the outboard of a blob of `size` bytes, whose pairs `read` finds in post-order (byte offset, buffer to fill).
///
/// Reads and writes at most 1 MiB at a time, writes from front to back, and needs about 2 MiB of memory.
///
/// # Errors
/// The first error of `read` or `write`.
pub fn write_pre_order<E>(
    size: BlobSize,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    mut write: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    write(&size.0.to_le_bytes())?;
    let (mut post, mut pre) = (Vec::new(), Vec::new());
    // Subtrees in pre-order, each with the post-order number of its first pair.
    let mut stack = vec![(Node::root(Shape::new(size)), 0)];
    while let Some((node, first_pair)) = stack.pop() {
        if !node.is_parent() {
            continue;
        }
        let pairs = node.groups - 1;
        if node.groups <= TURN_GROUPS {
            post.resize(usize::try_from(pairs).unwrap_or(usize::MAX) * PAIR, 0);
            read(first_pair * PAIR_BYTES, &mut post)?;
            pre.clear();
            turn_around(node.groups, &post, &mut pre);
            write(&pre)?;
            continue;
        }
        let mut pair = [0; PAIR];
        read((first_pair + pairs - 1) * PAIR_BYTES, &mut pair)?;
        write(&pair)?;
        let (left, right) = node.children();
        stack.push((right, first_pair + left.groups - 1));
        stack.push((left, first_pair));
    }
    Ok(())
}

fn turn_around(groups: u64, post: &[u8], pre: &mut Vec<u8>) {
    if groups < 2 {
        return;
    }
    let (below, own) = post.split_at(post.len() - PAIR);
    pre.extend_from_slice(own);
    let left = super::left_groups(groups);
    let (left_pairs, right_pairs) = below.split_at(usize::try_from(left - 1).unwrap_or(usize::MAX) * PAIR);
    turn_around(left, left_pairs, pre);
    turn_around(groups - left, right_pairs, pre);
}

/// Why bytes are not an outboard of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutboardError {
    /// The length does not follow from the size field.
    #[error("an outboard that begins like this one has {expected} bytes, this has {actual}")]
    Length {
        /// What the size field asks for, in bytes.
        expected: u64,
        /// What is there, in bytes.
        actual: u64,
    },
    /// Too short for a size field, or a size above every blob's bound.
    #[error("the outboard has no credible size field")]
    Size,
    /// A pair is not what its parent, or the blob's name, says.
    #[error("the hashes over groups {first} to {last} do not match the blob's name")]
    Pair {
        /// First group under the bad pair.
        first: u64,
        /// Last group under the bad pair.
        last: u64,
    },
}

/// An outboard whose every pair leads up to the blob's name. Its size is proved only by its last group.
#[derive(Debug, Clone)]
pub struct Outboard<B> {
    root: BlobId,
    shape: Shape,
    bytes: B,
}

impl<B: AsRef<[u8]>> Outboard<B> {
    /// Checks every pair: about 7 ms for each GiB of the blob.
    ///
    /// # Errors
    /// The first thing that does not match.
    pub fn check(root: BlobId, bytes: B) -> Result<Self, OutboardError> {
        let content = bytes.as_ref();
        let field = content.first_chunk::<8>().ok_or(OutboardError::Size)?;
        let size = u64::from_le_bytes(*field);
        if size > BLOB_BYTES_MAX {
            return Err(OutboardError::Size);
        }
        let shape = Shape::new(BlobSize(size));
        let (expected, actual) = (shape.outboard_bytes(), content.len() as u64);
        if expected != actual {
            return Err(OutboardError::Length { expected, actual });
        }
        let mut stack = vec![(Node::root(shape), *root.as_bytes(), Place::Root)];
        while let Some((node, hash, place)) = stack.pop() {
            if !node.is_parent() {
                continue;
            }
            let (left, right) = split_pair(pair_at(content, node.pair));
            if pair_hash(&left, &right, place) != hash {
                return Err(OutboardError::Pair { first: node.first, last: node.first + node.groups - 1 });
            }
            let (left_node, right_node) = node.children();
            stack.push((right_node, right, Place::Inner));
            stack.push((left_node, left, Place::Inner));
        }
        Ok(Self { root, shape, bytes })
    }

    /// The size and tree that the outboard claims.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether `content` is the whole of group `index`. `false` also for a group that the blob does not have.
    pub fn holds(&self, index: u64, content: &[u8]) -> bool {
        let group = self.shape.group(index);
        if index >= self.shape.groups() || group.end - group.start != content.len() as u64 {
            return false;
        }
        let mut node = Node::root(self.shape);
        let mut expected = (*self.root.as_bytes(), Place::Root);
        while node.is_parent() {
            let (left, right) = split_pair(pair_at(self.bytes.as_ref(), node.pair));
            let (left_node, right_node) = node.children();
            (node, expected) = if index < right_node.first {
                (left_node, (left, Place::Inner))
            } else {
                (right_node, (right, Place::Inner))
            };
        }
        group_hash(index, content, expected.1) == expected.0
    }
}

fn pair_at(outboard: &[u8], pair: u64) -> &[u8] {
    let start = usize::try_from(SIZE_BYTES + pair * PAIR_BYTES).unwrap_or(usize::MAX);
    &outboard[start..start + PAIR]
}
