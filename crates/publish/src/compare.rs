//! Is a version that already exists the build at hand? Then publishing it again succeeds.
//!
//! Compared is what is installed: components, entries, chunks. Where chunks lie and when the
//! manifest was made do not count.

use crate::encode::to_entry;
use crate::known::{KnownError, read_chunk_part};
use crate::merge::Chunks;
use crate::registry::{Registry, RegistryError};
use crate::release::Line;
use crate::request::ComponentPlan;
use crate::scan::Scanned;
use penstock_core::blob::BlobId;
use penstock_core::manifest::{Component, VerifiedManifest};
use penstock_frames::part::{ChunkPart, EntryKind, PartError, TreePart};
use std::collections::BTreeSet;

/// Why a build is not the release of its version, or that cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// It is another build.
    #[error("it exists already with other content: {0}; publish under a new version")]
    Different(String),
    /// The release that exists cannot be read.
    #[error("it exists already and cannot be compared")]
    Registry(#[from] RegistryError),
    /// The release that exists is damaged.
    #[error("it exists already and cannot be compared")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<KnownError> for CompareError {
    fn from(error: KnownError) -> Self {
        match error {
            KnownError::Registry(error) => Self::Registry(error),
            other => Self::Damaged(Box::new(other)),
        }
    }
}

impl From<PartError> for CompareError {
    fn from(error: PartError) -> Self {
        Self::Damaged(Box::new(error))
    }
}

impl From<std::io::Error> for CompareError {
    fn from(error: std::io::Error) -> Self {
        Self::Damaged(Box::new(error))
    }
}

/// The build at hand.
pub(crate) struct Build<'a> {
    pub(crate) scanned: &'a Scanned,
    pub(crate) plans: &'a [ComponentPlan],
    pub(crate) chunk_counts: &'a [u32],
    pub(crate) chunks: &'a Chunks,
}

impl Build<'_> {
    /// Compares with a release; the same content gives its components and packs.
    pub(crate) fn same_as(
        &self,
        registry: &dyn Registry,
        release: &VerifiedManifest,
    ) -> Result<Vec<Line>, CompareError> {
        let components = &release.root().components;
        let same = components.len() == self.plans.len()
            && components.iter().zip(self.plans).all(|(there, here)| {
                there.name == here.name && there.group == here.group && there.optional == here.optional
            });
        if !same {
            return Err(CompareError::Different("its components are others".to_owned()));
        }
        let mut lines = Vec::new();
        for (index, component) in components.iter().enumerate() {
            self.compare_tree(registry, index, component)?;
            let packs = self.compare_chunks(registry, index, component)?;
            lines.push(Line { component: component.clone(), packs });
        }
        Ok(lines)
    }

    fn compare_tree(&self, registry: &dyn Registry, index: usize, there: &Component) -> Result<(), CompareError> {
        let mut here = self
            .scanned
            .entries
            .iter()
            .zip(self.chunk_counts)
            .filter(|(entry, _)| entry.component as usize == index)
            .map(|(entry, count)| to_entry(entry, *count));
        for part in &there.tree {
            let stored = registry.read_blob(&part.blob, u64::from(part.stored_bytes))?;
            for old in TreePart::decode(part, &stored)?.entries {
                match here.next() {
                    Some(new) if new == old => {}
                    Some(new) if new.path == old.path => return Err(different(new.path.as_str(), "differs")),
                    Some(new) if penstock_frames::order::path_order(new.path.as_str(), old.path.as_str()).is_lt() => {
                        return Err(different(new.path.as_str(), "is not in it"));
                    }
                    _ => return Err(different(old.path.as_str(), "is missing here")),
                }
            }
        }
        here.next().map_or(Ok(()), |new| Err(different(new.path.as_str(), "is not in it")))
    }

    fn compare_chunks(
        &self,
        registry: &dyn Registry,
        index: usize,
        there: &Component,
    ) -> Result<BTreeSet<BlobId>, CompareError> {
        let order = &self.chunks.orders[index];
        let mut used = BTreeSet::new();
        let mut at = 0;
        for reference in &there.chunks {
            let part: ChunkPart = read_chunk_part(registry, reference)?;
            for old in &part.chunks {
                let same = match order.get(at) {
                    Some(number) => self.chunks.chunk(*number)?.id == old.id,
                    None => false,
                };
                if !same {
                    return Err(different(self.file_of_chunk(index, at), "differs"));
                }
                at += 1;
            }
            used.extend(part.packs);
        }
        if at == order.len() { Ok(used) } else { Err(different(self.file_of_chunk(index, at), "differs")) }
    }

    fn file_of_chunk(&self, component: usize, number: usize) -> &str {
        let mut left = number;
        for (entry, count) in self.scanned.entries.iter().zip(self.chunk_counts) {
            if entry.component as usize == component && matches!(to_entry(entry, *count).kind, EntryKind::File { .. }) {
                if left < *count as usize {
                    return entry.path.as_str();
                }
                left -= *count as usize;
            }
        }
        "a file"
    }
}

fn different(path: &str, how: &str) -> CompareError {
    CompareError::Different(format!("{path:?} {how}"))
}
