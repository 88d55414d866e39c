//! Reads a release's parts, once each, into a [`Listing`].

use super::{KeyIndex, Listing, ListingError, Packed, PartStart, RowKind};
use crate::error::PullError;
use crate::shelf::Shelf;
use penstock_core::blob::BlobId;
use penstock_core::manifest::{PartRef, Root as ManifestRoot};
use penstock_frames::part::{ChunkLoc, ChunkPart, ComponentCheck, Entry, EntryKind, TreePart};
use std::sync::Arc;

/// A listing that grows.
pub(super) struct Builder<'a> {
    listing: Listing,
    texts: String,
    like: Option<&'a Listing>,
    /// Chunks and bytes that the entries so far announce; their parts come later.
    announced_chunks: u32,
    announced_bytes: u64,
}

impl<'a> Builder<'a> {
    pub(super) fn new(id: BlobId, root: &ManifestRoot, like: Option<&'a Listing>) -> Self {
        let capacity = usize::try_from(root.entry_count()).unwrap_or(0).min(1 << 20);
        let listing = Listing {
            manifest: id,
            texts: Arc::default(),
            alike: like.map(|like| Arc::clone(&like.texts)),
            rows: Vec::with_capacity(capacity),
            by_path: Vec::new(),
            parts: Vec::new(),
            chunk_count: 0,
            content_bytes: 0,
        };
        Self { listing, texts: String::new(), like, announced_chunks: 0, announced_bytes: 0 }
    }

    pub(super) fn read(mut self, root: &ManifestRoot, shelf: &Shelf<'_>) -> Result<Listing, PullError> {
        for component in &root.components {
            let first_row = self.listing.rows.len();
            let mut check = ComponentCheck::default();
            for part in &component.tree {
                let tree = TreePart::decode(part, &shelf.part(part)?)?;
                check.tree(&tree).map_err(ListingError::from)?;
                tree.entries.iter().try_for_each(|entry| self.push(entry))?;
            }
            let mut digests = Digests { row: first_row, hasher: blake3::Hasher::new(), left: 0 };
            for part in &component.chunks {
                let chunks = ChunkPart::decode(part, &shelf.part(part)?)?;
                check.chunks(&chunks).map_err(ListingError::from)?;
                self.push_chunks(part, &chunks, &mut digests)?;
            }
            check.finish(component).map_err(ListingError::from)?;
        }
        Ok(self.finish(root.components.len())?)
    }

    fn push(&mut self, entry: &Entry) -> Result<(), ListingError> {
        let path = entry.path.as_str();
        let target = if let EntryKind::Link { target } = &entry.kind { target.as_str() } else { "" };
        let (text, borrowed) = self.place_texts(path, target)?;
        let length = |text: &str| u16::try_from(text.len()).map_err(|_| ListingError::TooMany("path characters"));
        let mut packed = Packed {
            position: self.announced_bytes,
            digest: [0; 16],
            first_chunk: self.announced_chunks,
            text,
            path_len: length(path)?,
            target_len: length(target)?,
            kind: RowKind::Directory,
            borrowed,
        };
        match &entry.kind {
            EntryKind::Directory => {}
            EntryKind::Link { .. } => packed.kind = RowKind::Link,
            EntryKind::File { executable, bytes, chunks, .. } => {
                packed.kind = RowKind::File { executable: *executable };
                let sum = self.announced_chunks.checked_add(*chunks).ok_or(ListingError::TooMany("chunks"))?;
                self.announced_chunks = sum;
                let sum = self.announced_bytes.checked_add(*bytes).ok_or(ListingError::TooMany("bytes"))?;
                self.announced_bytes = sum;
            }
        }
        self.listing.rows.push(packed);
        Ok(())
    }

    /// Where the texts stand: in the other listing if it has them side by side, too, or at the end of ours.
    fn place_texts(&mut self, path: &str, target: &str) -> Result<(u32, bool), ListingError> {
        if let Some(like) = self.like
            && let Some(row) = like.find(path)
            && !like.rows[row].borrowed
            && (target.is_empty() || like.target(row) == target)
        {
            return Ok((like.rows[row].text, true));
        }
        let text = u32::try_from(self.texts.len()).map_err(|_| ListingError::TooMany("path characters"))?;
        self.texts.push_str(path);
        self.texts.push_str(target);
        Ok((text, false))
    }

    fn push_chunks(&mut self, part: &PartRef, chunks: &ChunkPart, digests: &mut Digests) -> Result<(), ListingError> {
        let listing = &mut self.listing;
        let (first_chunk, position) = (listing.chunk_count, listing.content_bytes);
        listing.parts.push(PartStart { part: part.clone(), first_chunk, position });
        for chunk in &chunks.chunks {
            digests.take(chunk, &mut listing.rows, self.announced_chunks);
            listing.content_bytes += u64::from(chunk.bytes);
        }
        listing.chunk_count = listing.chunk_count.checked_add(part.items).ok_or(ListingError::TooMany("chunks"))?;
        Ok(())
    }

    fn finish(mut self, components: usize) -> Result<Listing, ListingError> {
        self.texts.shrink_to_fit();
        self.listing.texts = Arc::new(self.texts);
        let mut listing = self.listing;
        let count = u32::try_from(listing.rows.len()).map_err(|_| ListingError::TooMany("entries"))?;
        let mut by_path: Vec<u32> = (0..count).collect();
        by_path.sort_unstable_by(|a, b| listing.path(*a as usize).cmp(listing.path(*b as usize)));
        listing.by_path = by_path;
        // Each component is a tree by itself; all of them together may still clash.
        match components {
            0 | 1 => Ok(listing),
            _ => KeyIndex::with_directories(&listing).check(&listing).map(|()| listing),
        }
    }
}

/// Digests of files' chunk lists, made while parts go by.
struct Digests {
    /// The row that the next chunk belongs to, or one before it.
    row: usize,
    hasher: blake3::Hasher,
    /// Chunks of that row still to come.
    left: u32,
}

impl Digests {
    fn take(&mut self, chunk: &ChunkLoc, rows: &mut [Packed], announced_chunks: u32) {
        let chunks_of = |rows: &[Packed], row: usize| {
            let end = rows.get(row + 1).map_or(announced_chunks, |next| next.first_chunk);
            rows.get(row).map(|packed| end - packed.first_chunk)
        };
        if self.left == 0 {
            while chunks_of(rows, self.row) == Some(0) {
                self.row += 1;
            }
            let Some(chunks) = chunks_of(rows, self.row) else { return };
            self.left = chunks;
            self.hasher.reset();
        }
        self.hasher.update(chunk.id.as_bytes());
        self.hasher.update(&chunk.bytes.to_le_bytes());
        self.left -= 1;
        if self.left == 0 {
            rows[self.row].digest.copy_from_slice(&self.hasher.finalize().as_bytes()[..16]);
            self.row += 1;
        }
    }
}

#[cfg(test)]
impl Listing {
    /// Empty files at these paths, for tests of what does not look at content.
    pub(crate) fn sample(name: &[u8], paths: &[&str]) -> Self {
        let root = ManifestRoot {
            product: penstock_core::id::ProductId::new("game").expect("name"),
            platform: penstock_core::id::Platform::any(),
            version: penstock_core::id::Version::new("1").expect("version"),
            created: penstock_core::time::UnixSeconds(0),
            chunker: penstock_core::manifest::Chunker::default(),
            components: Vec::new(),
        };
        let mut builder = Builder::new(BlobId::of(name), &root, None);
        for path in paths {
            let kind = EntryKind::File { executable: false, bytes: 0, chunks: 0, launch: false };
            let path = penstock_core::path::InstallPath::new(path).expect("path");
            builder.push(&Entry { path, kind }).expect("small");
        }
        builder.finish(1).expect("small")
    }
}
