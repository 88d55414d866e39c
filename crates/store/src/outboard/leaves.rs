//! An outboard read from front to back in bounded memory: every pair is checked on the way, and the chaining values of
//! the groups come out in their order.
//!
//! `core` checks outboards that are whole in memory; that of the largest blob has 4 GiB.

use std::io;

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use penstock_core::blob::{BlobId, BlobSize};
use penstock_core::limits::GROUP_BYTES;
use penstock_core::tree::{PAIR_BYTES, SIZE_BYTES, Shape};

/// Most bytes read at once: a thousand pairs.
const WINDOW_BYTES: usize = 64 * 1024;
const PAIR: usize = 64;
const _: () = assert!(PAIR as u64 == PAIR_BYTES && WINDOW_BYTES.is_multiple_of(PAIR));

/// What a group must hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Number of the group.
    pub(crate) group: u64,
    chaining_value: [u8; 32],
}

impl Leaf {
    /// Whether `content` is the group.
    pub(crate) fn holds(&self, content: &[u8]) -> bool {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(self.group * GROUP_BYTES).update(content).finalize_non_root() == self.chaining_value
    }
}

/// Why there are no more leaves.
#[derive(Debug)]
pub(crate) enum LeavesError {
    /// It is not the blob's outboard.
    Spoiled,
    /// It could not be read.
    Io(io::Error),
}

/// A subtree that is still ahead, and what its hash must be.
struct Ahead {
    groups: u64,
    hash: [u8; 32],
    is_root: bool,
}

/// See the module's docs. `R` fills a buffer from a byte offset of the outboard.
pub(crate) struct Leaves<R> {
    read: R,
    /// In pre-order, the next one last: at most two for every level of the tree.
    ahead: Vec<Ahead>,
    next_group: u64,
    /// Where the bytes after `window` begin, and where the outboard ends.
    at: u64,
    end: u64,
    window: Vec<u8>,
    /// Bytes of the window that were used.
    used: usize,
}

impl<R: FnMut(u64, &mut [u8]) -> io::Result<()>> Leaves<R> {
    /// Begins to read the outboard of a blob of more than one group.
    pub(crate) fn new(blob: BlobId, size: BlobSize, mut read: R) -> Result<Self, LeavesError> {
        let mut field = [0; 8];
        read(0, &mut field).map_err(sort)?;
        let shape = Shape::new(size);
        if u64::from_le_bytes(field) != size.0 {
            return Err(LeavesError::Spoiled);
        }
        let root = Ahead { groups: shape.groups(), hash: *blob.as_bytes(), is_root: true };
        let (at, end) = (SIZE_BYTES, shape.outboard_bytes());
        Ok(Self { read, ahead: vec![root], next_group: 0, at, end, window: Vec::new(), used: 0 })
    }

    /// The next group's leaf; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Leaf>, LeavesError> {
        while let Some(subtree) = self.ahead.pop() {
            if subtree.groups < 2 {
                let group = self.next_group;
                self.next_group += 1;
                return Ok(Some(Leaf { group, chaining_value: subtree.hash }));
            }
            let (left, right) = self.next_pair()?;
            let hash = if subtree.is_root {
                *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
            } else {
                merge_subtrees_non_root(&left, &right, Mode::Hash)
            };
            if hash != subtree.hash {
                return Err(LeavesError::Spoiled);
            }
            // The largest power of two below the number of groups.
            let left_groups = 1 << (subtree.groups - 1).ilog2();
            self.ahead.push(Ahead { groups: subtree.groups - left_groups, hash: right, is_root: false });
            self.ahead.push(Ahead { groups: left_groups, hash: left, is_root: false });
        }
        Ok(None)
    }

    fn next_pair(&mut self) -> Result<([u8; 32], [u8; 32]), LeavesError> {
        if self.used == self.window.len() {
            let rest = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            self.window.resize(rest.min(WINDOW_BYTES), 0);
            (self.read)(self.at, &mut self.window).map_err(sort)?;
            self.at += self.window.len() as u64;
            self.used = 0;
        }
        let pair = self.window.get(self.used..self.used + PAIR).ok_or(LeavesError::Spoiled)?;
        let (mut left, mut right) = ([0; 32], [0; 32]);
        left.copy_from_slice(&pair[..32]);
        right.copy_from_slice(&pair[32..]);
        self.used += PAIR;
        Ok((left, right))
    }
}

/// Whether `read` reads the whole and right outboard of a blob of more than one group.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn is_sound(
    blob: BlobId,
    size: BlobSize,
    read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<bool> {
    let checked = Leaves::new(blob, size, read).and_then(|mut leaves| {
        while leaves.next()?.is_some() {}
        Ok(())
    });
    match checked {
        Ok(()) => Ok(true),
        Err(LeavesError::Spoiled) => Ok(false),
        Err(LeavesError::Io(error)) => Err(error),
    }
}

fn sort(error: io::Error) -> LeavesError {
    // Cut while it was read.
    if error.kind() == io::ErrorKind::UnexpectedEof { LeavesError::Spoiled } else { LeavesError::Io(error) }
}

#[cfg(test)]
mod tests {
    use penstock_core::tree::{Outboard, OutboardBuilder, write_pre_order};

    use super::*;

    fn of(content: &[u8]) -> (BlobId, BlobSize, Vec<u8>) {
        let mut builder = OutboardBuilder::new();
        builder.update(content);
        let built = builder.finish();
        let mut outboard = Vec::new();
        let read = |offset: u64, into: &mut [u8]| {
            let start = usize::try_from(offset).expect("fits");
            into.copy_from_slice(&built.pairs[start..start + into.len()]);
            Ok::<_, io::Error>(())
        };
        write_pre_order(built.size, read, |bytes| {
            outboard.extend_from_slice(bytes);
            Ok(())
        })
        .expect("lays out");
        (built.blob, built.size, outboard)
    }

    /// Reads like a file does, and notes the longest read.
    fn reader<'a>(outboard: &'a [u8], longest: &'a mut usize) -> impl FnMut(u64, &mut [u8]) -> io::Result<()> + 'a {
        move |offset, into| {
            *longest = (*longest).max(into.len());
            let start = usize::try_from(offset).expect("fits");
            let part = outboard.get(start..start + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            into.copy_from_slice(part);
            Ok(())
        }
    }

    fn content(size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn leaves_are_those_of_the_groups_for_every_shape() {
        for groups in 2..40_usize {
            for size in [groups * 16_384, groups * 16_384 - 1, (groups - 1) * 16_384 + 1] {
                let content = content(size);
                let (blob, size, outboard) = of(&content);
                Outboard::check(blob, &outboard).expect("the reference agrees");
                let mut longest = 0;
                let mut leaves = Leaves::new(blob, size, reader(&outboard, &mut longest)).expect("begins");
                for (index, group) in content.chunks(16_384).enumerate() {
                    let leaf = leaves.next().expect("is sound").expect("one for each group");
                    assert_eq!(leaf.group, index as u64);
                    assert!(leaf.holds(group));
                    let mut other = group.to_vec();
                    other[0] ^= 1;
                    assert!(!leaf.holds(&other));
                }
                assert!(leaves.next().expect("is sound").is_none());
            }
        }
    }

    #[test]
    fn every_changed_byte_is_found_like_by_the_whole_check() {
        let (blob, size, outboard) = of(&content(19 * 16_384));
        for at in 0..outboard.len() {
            let mut changed = outboard.clone();
            changed[at] ^= 1;
            assert!(Outboard::check(blob, &changed).is_err(), "the reference agrees");
            assert!(!is_sound(blob, size, reader(&changed, &mut 0)).expect("reads"), "byte {at}");
        }
        for len in 0..outboard.len() {
            assert!(!is_sound(blob, size, reader(&outboard[..len], &mut 0)).expect("reads"), "cut to {len}");
        }
        let refuse = |_: u64, _: &mut [u8]| Err(io::Error::from_raw_os_error(libc::EIO));
        assert!(is_sound(blob, size, refuse).is_err(), "a disk that refuses has not said that the outboard is wrong");
    }

    /// Reading the outboard of a 1 TiB blob whole took 4 GiB of memory.
    #[test]
    fn memory_does_not_grow_with_the_blob() {
        let (blob, size, outboard) = of(&content(3000 * 16_384));
        let mut longest = 0;
        assert!(is_sound(blob, size, reader(&outboard, &mut longest)).expect("reads"));
        assert!(outboard.len() > 2 * WINDOW_BYTES && longest == WINDOW_BYTES, "{longest}");
    }
}
