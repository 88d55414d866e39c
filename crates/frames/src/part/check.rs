//! What must hold between a component's parts and its line in the root.
//!
//! Each part is good by itself; together they must be one tree, and each file's size must be that
//! of its chunks. Memory: 12 bytes per file, and the names that `TreeCheck` keeps.

use super::{ChunkPart, EntryKind, TreePart};
use crate::order::{TreeCheck, TreeError};
use penstock_core::manifest::Component;
use std::collections::VecDeque;

/// Why parts do not add up to a component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComponentError {
    /// The entries are not a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file's chunks are longer or shorter than the file.
    #[error("file number {0} of the component is not as long as its chunks")]
    FileSize(u64),
    /// More chunks than the files have.
    #[error("the component has chunks that belong to no file")]
    StrayChunks,
    /// The root says something else.
    #[error("the component's {0} are not what the manifest says")]
    Sums(&'static str),
}

/// Takes all tree parts of a component, then all chunk parts, and compares them with the root.
#[derive(Debug, Default)]
pub struct ComponentCheck {
    tree: TreeCheck,
    /// Files whose chunks have not come yet: bytes and chunks left.
    files: VecDeque<(u64, u32)>,
    files_done: u64,
    entries: u64,
    content_bytes: u64,
    chunks: u64,
}

impl ComponentCheck {
    /// Takes the next tree part.
    ///
    /// # Errors
    /// [`ComponentError::Tree`].
    pub fn tree(&mut self, part: &TreePart) -> Result<(), ComponentError> {
        for entry in &part.entries {
            self.tree.push(entry)?;
            self.entries += 1;
            if let EntryKind::File { bytes, chunks, .. } = entry.kind {
                self.content_bytes = self.content_bytes.saturating_add(bytes);
                if chunks > 0 {
                    self.files.push_back((bytes, chunks));
                }
            }
        }
        Ok(())
    }

    /// Takes the next chunk part; all tree parts came before.
    ///
    /// # Errors
    /// [`ComponentError`].
    pub fn chunks(&mut self, part: &ChunkPart) -> Result<(), ComponentError> {
        for chunk in &part.chunks {
            let (bytes, left) = self.files.front_mut().ok_or(ComponentError::StrayChunks)?;
            let wrong = ComponentError::FileSize(self.files_done);
            *bytes = bytes.checked_sub(u64::from(chunk.bytes)).ok_or(wrong.clone())?;
            *left -= 1;
            if *left == 0 {
                if *bytes != 0 {
                    return Err(wrong);
                }
                self.files.pop_front();
                self.files_done += 1;
            }
            self.chunks += 1;
        }
        Ok(())
    }

    /// Compares the totals with the root's.
    ///
    /// # Errors
    /// [`ComponentError::Sums`].
    pub fn finish(self, component: &Component) -> Result<(), ComponentError> {
        if self.entries != component.entry_count {
            return Err(ComponentError::Sums("entries"));
        }
        if self.content_bytes != component.content_bytes {
            return Err(ComponentError::Sums("content sizes"));
        }
        if self.chunks != component.chunk_count || !self.files.is_empty() {
            return Err(ComponentError::Sums("chunks"));
        }
        Ok(())
    }
}
