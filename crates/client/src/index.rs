//! Which chunks can be had without the network, and where: 16 bytes a chunk. Pure.
//!
//! A chunk is looked up by the first 8 bytes of its hash. That may name the wrong chunk (somebody can
//! make such a pair on purpose); it does no harm, because content is hashed in full when it is used.

use penstock_core::blob::ChunkId;

/// Most chunks indexed, 32 MiB of index or about 125 GB of content: beyond it, chunks are fetched
/// although they might be had. It keeps the client's memory bounded whatever the build's size.
pub(crate) const INDEX_CHUNKS_MAX: usize = 2 << 20;

/// Chunk hashes and content positions, sorted once filled.
#[derive(Debug, Default)]
pub(crate) struct ChunkIndex {
    sorted: Vec<(u64, u64)>,
}

impl ChunkIndex {
    /// Room for `chunks`.
    pub(crate) fn with_capacity(chunks: usize) -> Self {
        Self { sorted: Vec::with_capacity(chunks.min(INDEX_CHUNKS_MAX)) }
    }
    /// Adds a chunk at a content position, unless the index is full.
    pub(crate) fn push(&mut self, id: &ChunkId, position: u64) {
        if self.sorted.len() < INDEX_CHUNKS_MAX {
            self.sorted.push((short(id), position));
        }
    }
    /// Must be called between the last `push` and the first `find`.
    pub(crate) fn sort(&mut self) {
        self.sorted.sort_unstable();
        self.sorted.dedup();
    }
    /// Positions where the chunk probably is, lowest first.
    pub(crate) fn find(&self, id: &ChunkId) -> impl Iterator<Item = u64> + '_ {
        let wanted = short(id);
        let from = self.sorted.partition_point(|(hash, _)| *hash < wanted);
        self.sorted[from..].iter().take_while(move |(hash, _)| *hash == wanted).map(|(_, position)| *position)
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
    fn finds_every_place_of_a_chunk_in_order() {
        let (a, b) = (ChunkId::of(b"a"), ChunkId::of(b"b"));
        let mut index = ChunkIndex::with_capacity(4);
        for (id, position) in [(&a, 9), (&b, 5), (&a, 3), (&a, 3)] {
            index.push(id, position);
        }
        index.sort();
        assert_eq!(index.find(&a).collect::<Vec<_>>(), [3, 9]);
        assert_eq!(index.find(&ChunkId::of(b"c")).count(), 0);
    }
}
