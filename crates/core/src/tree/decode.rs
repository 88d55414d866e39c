//! Checks a verified stream as it arrives: push bytes, pull bytes that are proved.
//!
//! Holds at most one group and one path of the tree. Nothing it returns is unproved, and the size it was told is not
//! believed until the last group is checked.

use std::ops::Range;

use super::{Node, PAIR, Place, SIZE, Shape, group_hash, pair_hash, split_pair};
use crate::blob::{BlobId, BlobSize, ByteRange};
use crate::limits::{BLOB_BYTES_MAX, GROUP_BYTES};

/// Proved bytes of the wanted range, with the offset in the blob where they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified<'a> {
    /// Offset of the first byte in the blob.
    pub offset: u64,
    /// The bytes, at most one group.
    pub bytes: &'a [u8],
}

/// Why a stream does not prove what was asked. After the first error the decoder only repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The sender names another size than the caller knows to be right.
    #[error("the stream is of a blob of {claimed} bytes, expected {expected} bytes")]
    Size {
        /// What the stream says, in bytes.
        claimed: u64,
        /// What the caller expects, in bytes.
        expected: u64,
    },
    /// The claimed size is above every blob's bound.
    #[error("the stream claims {0} bytes, more than any blob may have")]
    SizeBound(u64),
    /// A pair of hashes is not what its parent names.
    #[error("the hashes over groups {first} to {last} do not match the blob's name")]
    Pair {
        /// First group under the bad pair.
        first: u64,
        /// Last group under the bad pair.
        last: u64,
    },
    /// A group's bytes are not what its parent names.
    #[error("group {index} (bytes from {offset}) does not match the blob's name")]
    Group {
        /// Number of the group.
        index: u64,
        /// Offset of its first byte in the blob.
        offset: u64,
    },
    /// The stream ended before the range was proved.
    #[error("the stream ended before group {group} was complete")]
    Truncated {
        /// The first group that is not proved.
        group: u64,
    },
    /// Bytes follow the proof.
    #[error("the stream goes on behind the end of the proof")]
    Trailing,
}

#[derive(Debug, Clone, Copy)]
struct Expected {
    node: Node,
    hash: [u8; 32],
    place: Place,
}

/// Decoder of one verified stream.
#[derive(Debug)]
pub struct RangeDecoder {
    root: BlobId,
    range: Option<ByteRange>,
    expected_size: Option<BlobSize>,
    /// `None` until the size field has arrived.
    shape: Option<Shape>,
    wanted: Range<u64>,
    stack: Vec<Expected>,
    /// The item that is being gathered when it arrives in several pushes.
    gathered: Vec<u8>,
    /// `gathered` was handed out and is to be emptied first.
    spent: bool,
    size_proved: bool,
    failed: Option<DecodeError>,
}

impl RangeDecoder {
    /// A decoder of the stream that proves `range` (`None`: all) of blob `root`.
    ///
    /// `expected_size` is the blob's size where the caller has it from a trusted place, such as a signed manifest.
    #[must_use]
    pub fn new(root: BlobId, range: Option<ByteRange>, expected_size: Option<BlobSize>) -> Self {
        Self {
            root,
            range,
            expected_size,
            shape: None,
            wanted: 0..0,
            stack: Vec::new(),
            gathered: Vec::new(),
            spent: false,
            size_proved: false,
            failed: None,
        }
    }

    /// Takes bytes off the front of `input` until some are proved or the input is used up (`None`).
    ///
    /// Call it in a loop until it answers `None`. A group that lies in `input` as a whole is not copied.
    ///
    /// # Errors
    /// What does not match, with its place. Bytes behind the end of the proof are [`DecodeError::Trailing`].
    pub fn feed<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Verified<'a>>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if std::mem::take(&mut self.spent) {
            self.gathered.clear();
        }
        loop {
            let Some(need) = self.need() else {
                return if input.is_empty() { Ok(None) } else { Err(self.fail(DecodeError::Trailing)) };
            };
            let whole: Option<&'i [u8]> = if self.gathered.is_empty() && input.len() >= need {
                let (item, rest) = input.split_at(need);
                *input = rest;
                Some(item)
            } else {
                let (more, rest) = input.split_at(input.len().min(need - self.gathered.len()));
                self.gathered.extend_from_slice(more);
                *input = rest;
                if self.gathered.len() < need {
                    return Ok(None);
                }
                None
            };
            let gathered = std::mem::take(&mut self.gathered);
            let step = self.step(whole.unwrap_or(&gathered));
            self.gathered = gathered;
            match step.map_err(|error| self.fail(error))? {
                Some((offset, within)) => {
                    self.spent = whole.is_none();
                    let item = whole.unwrap_or(&self.gathered);
                    return Ok(Some(Verified { offset, bytes: &item[within] }));
                }
                None => self.gathered.clear(),
            }
        }
    }

    /// Whether the whole proof has arrived and held.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_none() && self.shape.is_some() && self.stack.is_empty()
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] unless the proof is complete; an earlier error again.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.is_complete() => Ok(()),
            None => Err(DecodeError::Truncated { group: self.next_group() }),
        }
    }

    /// The size that the stream claims, once its first 8 bytes have arrived. Good for a progress bar, not for trust.
    #[must_use]
    pub fn claimed_size(&self) -> Option<BlobSize> {
        self.shape.map(Shape::size)
    }

    /// The blob's size, once the last group was checked; never before.
    #[must_use]
    pub fn proved_size(&self) -> Option<BlobSize> {
        if self.size_proved { self.claimed_size() } else { None }
    }

    fn fail(&mut self, error: DecodeError) -> DecodeError {
        self.failed = Some(error);
        error
    }

    /// The first group that is not proved yet.
    fn next_group(&self) -> u64 {
        self.stack.last().map_or(0, |expected| expected.node.first.max(self.wanted.start))
    }

    /// Length of the next item in bytes; `None` when nothing more is wanted.
    fn need(&self) -> Option<usize> {
        let Some(shape) = self.shape else { return Some(SIZE) };
        let node = self.stack.last()?.node;
        if node.is_parent() {
            return Some(PAIR);
        }
        let group = shape.group(node.first);
        usize::try_from(group.end - group.start).ok()
    }

    /// Checks one whole item. Answers which bytes of a group belong to the range, and their offset in the blob.
    fn step(&mut self, item: &[u8]) -> Result<Option<(u64, Range<usize>)>, DecodeError> {
        let Some(shape) = self.shape else {
            self.begin(item)?;
            return Ok(None);
        };
        let Some(Expected { node, hash, place }) = self.stack.pop() else { return Ok(None) };
        if node.is_parent() {
            let (left, right) = split_pair(item);
            if pair_hash(&left, &right, place) != hash {
                return Err(DecodeError::Pair { first: node.first, last: node.first + node.groups - 1 });
            }
            let (left_node, right_node) = node.children();
            for (node, hash) in [(right_node, right), (left_node, left)] {
                if node.touches(&self.wanted) {
                    self.stack.push(Expected { node, hash, place: Place::Inner });
                }
            }
            return Ok(None);
        }
        let group = shape.group(node.first);
        if group_hash(node.first, item, place) != hash {
            return Err(DecodeError::Group { index: node.first, offset: group.start });
        }
        self.size_proved |= node.first + 1 == shape.groups();
        let start = self.range.map_or(0, ByteRange::start).max(group.start);
        let end = self.range.map_or(u64::MAX, ByteRange::end).min(group.end);
        if start >= end {
            return Ok(None);
        }
        Ok(Some((start, in_group(start - group.start)..in_group(end - group.start))))
    }

    fn begin(&mut self, field: &[u8]) -> Result<(), DecodeError> {
        let mut bytes = [0; SIZE];
        bytes.copy_from_slice(field);
        let claimed = u64::from_le_bytes(bytes);
        if claimed > BLOB_BYTES_MAX {
            return Err(DecodeError::SizeBound(claimed));
        }
        if let Some(BlobSize(expected)) = self.expected_size
            && expected != claimed
        {
            return Err(DecodeError::Size { claimed, expected });
        }
        let shape = Shape::new(BlobSize(claimed));
        self.wanted = shape.touched(self.range);
        self.stack.push(Expected { node: Node::root(shape), hash: *self.root.as_bytes(), place: Place::Root });
        self.shape = Some(shape);
        Ok(())
    }
}

/// An offset inside a group fits every platform's `usize`.
fn in_group(offset: u64) -> usize {
    debug_assert!(offset <= GROUP_BYTES);
    usize::try_from(offset).unwrap_or(usize::MAX)
}
