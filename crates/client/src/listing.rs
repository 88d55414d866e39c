//! A release's entries in memory: compact rows in manifest order, and where each chunk part begins.
//!
//! Owns the checks that need the whole release: components that claim one path, files that do not
//! add up, names that this system cannot store. Memory: 44 bytes an entry and its path, which a release
//! that is compared with another borrows from there. Chunks themselves stay in their parts and are visited one part at a time.

mod build;
mod keys;

use crate::error::PullError;
use crate::shelf::Shelf;
use build::Builder;
pub(crate) use keys::KeyIndex;
use penstock_core::blob::BlobId;
use penstock_core::manifest::{PartRef, Root as ManifestRoot};
use penstock_core::path::{InstallPath, windows_link_problem, windows_problem};
use penstock_frames::part::{ChunkLoc, ChunkPart, ComponentError};
use std::sync::Arc;

/// Why entries cannot be installed together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// Within one component.
    #[error("the manifest is not acceptable")]
    Component(#[from] ComponentError),
    /// Between components.
    #[error("path {0:?} is claimed by two components, or clashes with another name on some disks")]
    Collision(String),
    /// Windows cannot store it, or would store it elsewhere.
    #[error("path {path:?} cannot be installed on Windows: {problem}")]
    Windows {
        /// The entry.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
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

/// One entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
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
    /// Numbers of its chunks.
    pub(crate) const fn ordinals(&self) -> std::ops::Range<usize> {
        self.first_chunk as usize..self.first_chunk as usize + self.chunks as usize
    }
}

/// An entry as it is held, 40 bytes: its size and number of chunks follow from the entry after it.
#[derive(Debug, Clone, Copy)]
struct Packed {
    position: u64,
    digest: [u8; 16],
    first_chunk: u32,
    text: u32,
    path_len: u16,
    target_len: u16,
    kind: RowKind,
    /// Whether its texts are those of the listing that this one is like.
    borrowed: bool,
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
    texts: Arc<String>,
    /// Texts of the release that this one is compared with: most paths stand in both.
    alike: Option<Arc<String>>,
    rows: Vec<Packed>,
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
    /// Reads all parts once and checks them. `alike` lends its texts.
    pub(crate) fn read(
        id: BlobId,
        root: &ManifestRoot,
        shelf: &Shelf<'_>,
        alike: Option<&Self>,
    ) -> Result<Self, PullError> {
        let listing = Builder::new(id, root, alike).read(root, shelf)?;
        if cfg!(windows) {
            listing.check_for_windows()?;
        }
        Ok(listing)
    }
    /// What names these entries: see [`crate::state::Release::identity`].
    pub(crate) const fn manifest(&self) -> BlobId {
        self.manifest
    }
    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
    /// An entry.
    pub(crate) fn row(&self, row: usize) -> Row {
        let packed = &self.rows[row];
        let (end, end_chunk) = self
            .rows
            .get(row + 1)
            .map_or((self.content_bytes, self.chunk_count), |next| (next.position, next.first_chunk));
        Row {
            kind: packed.kind,
            chunks: end_chunk - packed.first_chunk,
            first_chunk: packed.first_chunk,
            bytes: end - packed.position,
            position: packed.position,
            digest: packed.digest,
        }
    }
    /// All entries in order.
    pub(crate) fn each(&self) -> impl Iterator<Item = (usize, Row)> + '_ {
        (0..self.len()).map(|row| (row, self.row(row)))
    }
    /// The numbers of all regular files.
    pub(crate) fn files(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(|row| matches!(self.rows[*row].kind, RowKind::File { .. }))
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
        let packed = &self.rows[row];
        let from = packed.text as usize;
        &self.texts_of(packed)[from..from + packed.path_len as usize]
    }
    /// A link's target.
    pub(crate) fn target(&self, row: usize) -> &str {
        let packed = &self.rows[row];
        let from = packed.text as usize + packed.path_len as usize;
        &self.texts_of(packed)[from..from + packed.target_len as usize]
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
        (position < self.row(last).position + self.row(last).bytes).then_some(last)
    }
    /// The file that a chunk belongs to.
    pub(crate) fn row_of_chunk(&self, ordinal: usize) -> Option<usize> {
        self.rows.partition_point(|row| row.first_chunk as usize <= ordinal).checked_sub(1)
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
        // The row that holds the first chunk, or entries without chunks right before it.
        let from = self.rows.partition_point(|row| row.first_chunk <= first).saturating_sub(1);
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
        let mut at_row = self.rows_of_part(part).start;
        let mut row = self.row(at_row);
        let mut position = start.position;
        chunks.chunks.iter().enumerate().map(move |(index, chunk)| {
            let ordinal = start.first_chunk as usize + index;
            while row.ordinals().end <= ordinal {
                at_row += 1;
                row = self.row(at_row);
            }
            let at = position;
            position += u64::from(chunk.bytes);
            Visit { row: at_row, ordinal, offset: at - row.position, position: at, chunk }
        })
    }

    /// Refuses names that Windows takes for something else, before anything is written.
    fn check_for_windows(&self) -> Result<(), ListingError> {
        (0..self.len()).try_for_each(|row| check_windows_names(self.path(row), self.target(row)))
    }

    fn texts_of(&self, packed: &Packed) -> &str {
        match &self.alike {
            Some(alike) if packed.borrowed => alike,
            _ => &self.texts,
        }
    }
}

/// See [`Listing::check_for_windows`]; pure, so that it is tested everywhere.
fn check_windows_names(path: &str, target: &str) -> Result<(), ListingError> {
    let problem = match InstallPath::new(path) {
        Ok(checked) => windows_problem(&checked).or_else(|| windows_link_problem(target)),
        Err(_) => Some("a name that cannot be installed"),
    };
    problem.map_or(Ok(()), |problem| Err(ListingError::Windows { path: path.to_owned(), problem }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found in review: `data/D:evil` passed, and joining `D:evil` to a path replaces the whole path on Windows.
    #[test]
    fn names_that_lead_elsewhere_on_windows_are_refused_by_name() {
        for (path, target) in [("data/ab:stream", ""), ("data/nul.txt", ""), ("x/trailing.", ""), ("link", "../x/aux")]
        {
            let error = check_windows_names(path, target).expect_err(path);
            assert!(matches!(&error, ListingError::Windows { path: named, .. } if named == path), "{error:?}");
        }
        // Refused on every system, before it gets here.
        assert!(InstallPath::new("data/D:evil").is_err());
        check_windows_names("data/world.pak", "").expect("good");
        check_windows_names("latest", "../data/world.pak").expect("good");
    }
}
