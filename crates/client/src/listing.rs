//! A release's entries in memory: compact rows in manifest order, and where each chunk part begins.
//!
//! Owns the checks that need the whole release: components that claim one path, files that do not
//! add up. Chunks themselves stay in their parts and are visited one part at a time.

use crate::error::PullError;
use crate::shelf::Shelf;
use penstock_core::blob::BlobId;
use penstock_core::manifest::{PartRef, Root as ManifestRoot, VerifiedManifest};
use penstock_core::path::collision_key;
use penstock_frames::part::{ChunkLoc, ChunkPart, ComponentCheck, ComponentError, Entry, EntryKind, TreePart};
use std::collections::HashMap;

/// Why entries cannot be installed together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// Within one component.
    #[error("the manifest is not acceptable")]
    Component(#[from] ComponentError),
    /// Between components.
    #[error("path {0:?} is claimed by two components, or clashes with another name on some disks")]
    Collision(String),
    /// More than this version can count.
    #[error("the manifest has more {0} than this client can handle")]
    TooMany(&'static str),
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowKind {
    /// A regular file.
    File {
        /// Whether it may be run.
        executable: bool,
    },
    /// An empty directory.
    Directory,
    /// A symbolic link.
    Link,
}

/// One entry. About 64 bytes, beside its path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    text: u32,
    path_len: u16,
    target_len: u16,
    /// What it is.
    pub(crate) kind: RowKind,
    /// Chunks of its content.
    pub(crate) chunks: u32,
    /// Number of its first chunk in the release.
    pub(crate) first_chunk: u32,
    /// Size of a file.
    pub(crate) bytes: u64,
    /// Where its content begins if all files are laid end to end.
    pub(crate) position: u64,
    /// Digest of its chunk list: equal exactly when the content is.
    pub(crate) digest: [u8; 16],
}

impl Row {
    /// Whether it is a regular file.
    pub(crate) const fn is_file(&self) -> bool {
        matches!(self.kind, RowKind::File { .. })
    }
    /// Whether it is a file that may be run.
    pub(crate) const fn is_executable(&self) -> bool {
        matches!(self.kind, RowKind::File { executable: true })
    }
}

/// Where a chunk part begins.
#[derive(Debug, Clone)]
struct PartStart {
    part: PartRef,
    first_chunk: u32,
    position: u64,
}

/// A release's entries.
#[derive(Debug)]
pub(crate) struct Listing {
    manifest: BlobId,
    texts: String,
    rows: Vec<Row>,
    by_path: Vec<u32>,
    parts: Vec<PartStart>,
    chunk_count: u32,
    content_bytes: u64,
}

/// One chunk of a file, met on a walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit<'a> {
    /// Row of the file.
    pub(crate) row: usize,
    /// Number of the chunk in the release.
    pub(crate) ordinal: usize,
    /// Offset in the file.
    pub(crate) offset: u64,
    /// Offset if all files are laid end to end.
    pub(crate) position: u64,
    /// The chunk.
    pub(crate) chunk: &'a ChunkLoc,
}

impl Listing {
    /// Reads all parts once and checks them.
    pub(crate) fn read(manifest: &VerifiedManifest, shelf: &Shelf<'_>) -> Result<Self, PullError> {
        Self::read_root(manifest.id(), manifest.root(), shelf)
    }

    /// As [`Listing::read`], for a root that was verified when it was installed and still has its hash.
    pub(crate) fn read_root(id: BlobId, root: &ManifestRoot, shelf: &Shelf<'_>) -> Result<Self, PullError> {
        let capacity = usize::try_from(root.entry_count()).unwrap_or(0);
        let mut listing = Self {
            manifest: id,
            texts: String::new(),
            rows: Vec::with_capacity(capacity.min(1 << 20)),
            by_path: Vec::new(),
            parts: Vec::new(),
            chunk_count: 0,
            content_bytes: 0,
        };
        for component in &root.components {
            let first_row = listing.rows.len();
            let mut check = ComponentCheck::default();
            for part in &component.tree {
                let tree = TreePart::decode(part, &shelf.part(part)?)?;
                check.tree(&tree).map_err(ListingError::from)?;
                tree.entries.iter().try_for_each(|entry| listing.push(entry))?;
            }
            let mut digests = Digests { rows: first_row, hasher: blake3::Hasher::new(), left: 0 };
            for part in &component.chunks {
                let chunks = ChunkPart::decode(part, &shelf.part(part)?)?;
                check.chunks(&chunks).map_err(ListingError::from)?;
                listing.push_chunks(part, &chunks, &mut digests)?;
            }
            check.finish(component).map_err(ListingError::from)?;
        }
        listing.finish(root.components.len())?;
        Ok(listing)
    }
    /// The manifest these entries are of.
    pub(crate) const fn manifest(&self) -> BlobId {
        self.manifest
    }
    /// All rows.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }
    /// Number of chunks.
    pub(crate) const fn chunk_count(&self) -> usize {
        self.chunk_count as usize
    }
    /// Bytes of all files.
    pub(crate) const fn content_bytes(&self) -> u64 {
        self.content_bytes
    }
    /// Number of chunk parts.
    pub(crate) fn part_count(&self) -> usize {
        self.parts.len()
    }
    /// A row's path.
    pub(crate) fn path(&self, row: usize) -> &str {
        let row = &self.rows[row];
        &self.texts[row.text as usize..row.text as usize + row.path_len as usize]
    }
    /// A link's target.
    pub(crate) fn target(&self, row: usize) -> &str {
        let row = &self.rows[row];
        let from = row.text as usize + row.path_len as usize;
        &self.texts[from..from + row.target_len as usize]
    }
    /// The row of a path.
    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        let at = self.by_path.binary_search_by(|row| self.path(*row as usize).cmp(path)).ok()?;
        Some(self.by_path[at] as usize)
    }
    /// The file whose content covers a position.
    pub(crate) fn row_at(&self, position: u64) -> Option<usize> {
        // Entries without content come before the file that shares their position, so the last one covers it.
        let last = self.rows.partition_point(|row| row.position <= position).checked_sub(1)?;
        (position < self.rows[last].position + self.rows[last].bytes).then_some(last)
    }
    /// Reads a chunk part.
    pub(crate) fn load(&self, part: usize, shelf: &Shelf<'_>) -> Result<ChunkPart, PullError> {
        let part = &self.parts[part].part;
        Ok(ChunkPart::decode(part, &shelf.part(part)?)?)
    }
    /// Rows that have chunks in a part.
    pub(crate) fn rows_of_part(&self, part: usize) -> std::ops::Range<usize> {
        let first = self.parts[part].first_chunk;
        let end = first + self.parts[part].part.items;
        let from = self.rows.partition_point(|row| row.first_chunk + row.chunks <= first);
        let to = self.rows.partition_point(|row| row.first_chunk < end);
        from..to.max(from)
    }
    /// Numbers of a part's chunks.
    pub(crate) fn chunks_of_part(&self, part: usize) -> std::ops::Range<usize> {
        let first = self.parts[part].first_chunk as usize;
        first..first + self.parts[part].part.items as usize
    }
    /// The chunks of a part with the files they belong to, in order.
    pub(crate) fn visit<'a>(&'a self, part: usize, chunks: &'a ChunkPart) -> impl Iterator<Item = Visit<'a>> + 'a {
        let start = &self.parts[part];
        let mut row = self.rows_of_part(part).start;
        let mut position = start.position;
        chunks.chunks.iter().enumerate().map(move |(index, chunk)| {
            let ordinal = start.first_chunk as usize + index;
            while self.rows[row].first_chunk as usize + self.rows[row].chunks as usize <= ordinal {
                row += 1;
            }
            let at = position;
            position += u64::from(chunk.bytes);
            Visit { row, ordinal, offset: at - self.rows[row].position, position: at, chunk }
        })
    }

    fn push(&mut self, entry: &Entry) -> Result<(), ListingError> {
        let too_many = |_| ListingError::TooMany("path characters");
        let text = u32::try_from(self.texts.len()).map_err(too_many)?;
        let path = entry.path.as_str();
        self.texts.push_str(path);
        let mut row = Row {
            text,
            path_len: u16::try_from(path.len()).map_err(too_many)?,
            target_len: 0,
            kind: RowKind::Directory,
            chunks: 0,
            first_chunk: self.rows.last().map_or(0, |row| row.first_chunk + row.chunks),
            bytes: 0,
            position: self.rows.last().map_or(0, |row| row.position + row.bytes),
            digest: [0; 16],
        };
        match &entry.kind {
            EntryKind::Directory => {}
            EntryKind::Link { target } => {
                row.kind = RowKind::Link;
                row.target_len = u16::try_from(target.len()).map_err(too_many)?;
                self.texts.push_str(target);
            }
            EntryKind::File { executable, bytes, chunks, .. } => {
                row.kind = RowKind::File { executable: *executable };
                (row.bytes, row.chunks) = (*bytes, *chunks);
                row.first_chunk.checked_add(*chunks).ok_or(ListingError::TooMany("chunks"))?;
            }
        }
        self.rows.push(row);
        Ok(())
    }

    fn push_chunks(&mut self, part: &PartRef, chunks: &ChunkPart, digests: &mut Digests) -> Result<(), ListingError> {
        self.parts.push(PartStart { part: part.clone(), first_chunk: self.chunk_count, position: self.content_bytes });
        for chunk in &chunks.chunks {
            digests.take(chunk, &mut self.rows);
            self.content_bytes += u64::from(chunk.bytes);
        }
        self.chunk_count = self.chunk_count.checked_add(part.items).ok_or(ListingError::TooMany("chunks"))?;
        Ok(())
    }

    fn finish(&mut self, components: usize) -> Result<(), ListingError> {
        self.texts.shrink_to_fit();
        let count = u32::try_from(self.rows.len()).map_err(|_| ListingError::TooMany("entries"))?;
        let mut by_path: Vec<u32> = (0..count).collect();
        by_path.sort_unstable_by(|a, b| self.path(*a as usize).cmp(self.path(*b as usize)));
        self.by_path = by_path;
        if components > 1 { self.check_components() } else { Ok(()) }
    }

    /// Each component is a tree by itself; here all of them together.
    fn check_components(&self) -> Result<(), ListingError> {
        let mut claimed: HashMap<String, (&str, bool)> = HashMap::new();
        for (at, row) in self.rows.iter().enumerate() {
            let path = self.path(at);
            let is_directory = row.kind == RowKind::Directory;
            let prefixes = path.match_indices('/').map(|(end, _)| (&path[..end], true));
            for (prefix, may_share) in prefixes.chain([(path, is_directory)]) {
                let before = claimed.insert(collision_key(prefix), (prefix, may_share));
                if before.is_some_and(|(spelling, shared)| spelling != prefix || !shared || !may_share) {
                    return Err(ListingError::Collision(path.to_owned()));
                }
            }
        }
        Ok(())
    }
}

/// Digests of files' chunk lists, made while parts go by.
struct Digests {
    /// The row that the next chunk belongs to, or one before it.
    rows: usize,
    hasher: blake3::Hasher,
    /// Chunks of that row still to come.
    left: u32,
}

impl Digests {
    fn take(&mut self, chunk: &ChunkLoc, rows: &mut [Row]) {
        if self.left == 0 {
            while rows.get(self.rows).is_some_and(|row| row.chunks == 0) {
                self.rows += 1;
            }
            let Some(row) = rows.get(self.rows) else { return };
            self.left = row.chunks;
            self.hasher.reset();
        }
        self.hasher.update(chunk.id.as_bytes());
        self.hasher.update(&chunk.bytes.to_le_bytes());
        self.left -= 1;
        if self.left == 0 {
            rows[self.rows].digest.copy_from_slice(&self.hasher.finalize().as_bytes()[..16]);
            self.rows += 1;
        }
    }
}
