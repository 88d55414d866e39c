//! Finds chunks by their hash among a bounded number of wanted ones: 16 bytes a chunk. Pure.
//!
//! A chunk is looked up by the first 8 bytes of its hash. That may name the wrong chunk (somebody can
//! make such a pair on purpose); it does no harm, because content is hashed in full when it is used.

use penstock_core::blob::ChunkId;

/// Most chunks indexed at once: 6 MiB of index. More are looked for in several passes, so that the
/// client's memory does not grow with what is to be found.
pub(crate) const INDEX_CHUNKS_MAX: usize = 384 << 10;

/// Chunk hashes and the numbers of the chunks that are wanted, sorted once filled.
#[derive(Debug, Default)]
pub(crate) struct ChunkIndex {
    sorted: Vec<(u64, u32)>,
}

impl ChunkIndex {
    /// Adds a chunk by its number; the caller stops when the index [`ChunkIndex::is_full`].
    pub(crate) fn push(&mut self, id: &ChunkId, ordinal: usize) {
        self.sorted.push((short(id), u32::try_from(ordinal).unwrap_or(u32::MAX)));
    }
    pub(crate) fn is_full(&self) -> bool {
        self.sorted.len() >= INDEX_CHUNKS_MAX
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }
    /// Empties it and keeps its room.
    pub(crate) fn clear(&mut self) {
        self.sorted.clear();
    }
    /// Must be called between the last `push` and the first `find`.
    pub(crate) fn sort(&mut self) {
        self.sorted.sort_unstable();
    }
    /// Numbers of the wanted chunks that are probably this one, lowest first.
    pub(crate) fn find(&self, id: &ChunkId) -> impl Iterator<Item = usize> + '_ {
        let wanted = short(id);
        let from = self.sorted.partition_point(|(hash, _)| *hash < wanted);
        self.sorted[from..].iter().take_while(move |(hash, _)| *hash == wanted).map(|(_, ordinal)| *ordinal as usize)
    }
}

/// Where chunks of the target lie on disk, as positions in a release's content: 5 bytes a chunk.
#[derive(Debug, Default)]
pub(crate) struct Places {
    positions: Vec<[u8; 5]>,
}

impl Places {
    /// Notes a place; `false` when it is beyond what five bytes can say, 1 TiB.
    pub(crate) fn set(&mut self, ordinal: usize, chunk_count: usize, position: u64) -> bool {
        if position >= 1 << 40 || ordinal >= chunk_count {
            return false;
        }
        if self.positions.is_empty() {
            self.positions = vec![[0; 5]; chunk_count];
        }
        self.positions[ordinal].copy_from_slice(&position.to_le_bytes()[..5]);
        true
    }
    /// The place that was noted.
    pub(crate) fn get(&self, ordinal: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        bytes[..5].copy_from_slice(self.positions.get(ordinal)?);
        Some(u64::from_le_bytes(bytes))
    }
}

fn short(id: &ChunkId) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id.as_bytes()[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_wanted_place_of_a_chunk_in_order() {
        let (a, b) = (ChunkId::of(b"a"), ChunkId::of(b"b"));
        let mut index = ChunkIndex::default();
        for (id, ordinal) in [(&a, 9), (&b, 5), (&a, 3)] {
            index.push(id, ordinal);
        }
        index.sort();
        assert_eq!(index.find(&a).collect::<Vec<_>>(), [3, 9]);
        assert_eq!(index.find(&ChunkId::of(b"c")).count(), 0);
    }

    #[test]
    fn places_are_kept_up_to_a_tebibyte() {
        let mut places = Places::default();
        assert_eq!(places.get(0), None);
        assert!(places.set(1, 2, (1 << 40) - 1));
        assert!(!places.set(0, 2, 1 << 40) && !places.set(2, 2, 0));
        assert_eq!(places.get(1), Some((1 << 40) - 1));
    }
}
