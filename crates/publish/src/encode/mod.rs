//! Manifest parts: lists of entries and chunks, split by content, encoded, proven and uploaded.
//!
//! A part ends where its last item's hash says so, hence a change in one place leaves the parts
//! elsewhere as they were. How many items a part has on average follows from the whole: the root
//! grows with the number of parts and a changed part costs its size, so the sum is least at the
//! square root. The size of the release before is kept as long as it is near that, because another
//! size would change every part.

mod chunk;
mod tree;

use crate::merge::{Chunks, Packs};
use crate::request::ComponentPlan;
use crate::scan::{Scanned, SourceEntry, SourceKind};
use crate::upload::{Outbox, Parcel, Stopped};
use chunk::ChunkBuilder;
use penstock_core::blob::BlobId;
use penstock_core::id::{ComponentName, ProductId};
use penstock_core::limits::{PART_CHUNKS_MAX, PART_ENTRIES_MAX};
use penstock_core::manifest::{Component, PartRef};
use penstock_frames::part::{ChunkPart, ComponentCheck, ComponentError, Entry, EntryKind, PartError, TreePart};
use std::collections::BTreeSet;
use tree::TreeBuilder;

/// zstd level of parts: they are small, and their hashes do not compress at any.
const PART_LEVEL: i32 = 12;
/// Bounds of the average number of items in a part.
const TARGET_MIN: u64 = 64;
/// See [`TARGET_MIN`].
const TARGET_MAX: u64 = 1024;

/// Why parts cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A temporary file of ours cannot be used.
    #[error("cannot use the temporary directory or the compressor")]
    Io(#[from] std::io::Error),
    /// An upload failed.
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    /// An upload failed, whose error is told instead of this one.
    #[error("stopped, because an upload failed")]
    Stopped,
    /// The client's own checks refuse a part.
    #[error("a manifest part does not pass the client's checks")]
    Proof(#[from] PartError),
    /// The client's own checks refuse the parts together.
    #[error("the manifest parts of component {component:?} do not pass the client's checks")]
    Component {
        /// Which component.
        component: ComponentName,
        /// Why.
        #[source]
        source: ComponentError,
    },
    /// Content lies where not everybody who is owed it may read.
    #[error(
        "pack {pack} holds content of component {component:?}, and not everybody who may read that may read the pack"
    )]
    Wall {
        /// Which component.
        component: ComponentName,
        /// The pack.
        pack: BlobId,
    },
}

impl From<Stopped> for EncodeError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What the parts of a component are made of.
pub(crate) struct Encoding<'a> {
    pub(crate) product: &'a ProductId,
    pub(crate) scanned: &'a Scanned,
    /// Per entry of the scan.
    pub(crate) chunk_counts: &'a [u32],
    pub(crate) chunks: &'a Chunks,
    pub(crate) packs: &'a Packs,
}

/// A component's line for the root, and the packs its chunks lie in.
#[derive(Debug)]
pub(crate) struct EncodedComponent {
    pub(crate) component: Component,
    pub(crate) packs: BTreeSet<BlobId>,
}

impl Encoding<'_> {
    /// Makes a component's parts, proves them with the client's functions and sends them.
    ///
    /// `before` is the average number of items per tree and chunk part in the release before.
    pub(crate) fn component(
        &self,
        index: usize,
        plan: &ComponentPlan,
        before: Option<(u32, u32)>,
        outbox: &Outbox<'_>,
    ) -> Result<EncodedComponent, EncodeError> {
        let mut sink = Sink {
            outbox,
            known: self.packs,
            check: ComponentCheck::default(),
            tree: Vec::new(),
            chunks: Vec::new(),
            packs: BTreeSet::new(),
        };
        let failed = |source| EncodeError::Component { component: plan.name.clone(), source };
        let (entry_count, content_bytes) = self.tree(index, plan, before.map(|sizes| sizes.0), &mut sink)?;
        self.chunk_list(index, plan, before.map(|sizes| sizes.1), &mut sink)?;
        let component = Component {
            name: plan.name.clone(),
            group: plan.group.clone(),
            optional: plan.optional,
            tree: sink.tree,
            chunks: sink.chunks,
            entry_count,
            content_bytes,
            chunk_count: self.chunks.orders[index].len() as u64,
        };
        sink.check.finish(&component).map_err(failed)?;
        Ok(EncodedComponent { component, packs: sink.packs })
    }

    fn tree(
        &self,
        index: usize,
        plan: &ComponentPlan,
        before: Option<u32>,
        sink: &mut Sink<'_>,
    ) -> Result<(u64, u64), EncodeError> {
        let mine = || self.scanned.entries.iter().enumerate().filter(|(_, entry)| entry.component as usize == index);
        let splitter = Splitter::new(mine().count() as u64, before);
        let mut part = TreeBuilder::new(self.product, plan.audience());
        let (mut entry_count, mut content_bytes) = (0, 0);
        for (number, source) in mine() {
            let entry = to_entry(source, self.chunk_counts[number]);
            if let EntryKind::File { bytes, .. } = entry.kind {
                content_bytes += bytes;
            }
            entry_count += 1;
            let hash = *blake3::hash(entry.path.as_str().as_bytes()).as_bytes();
            part.push(&entry);
            if part.is_full() || splitter.ends_here(part.len(), &hash) {
                sink.tree_part(part.take(), plan)?;
            }
        }
        if part.len() > 0 {
            sink.tree_part(part.take(), plan)?;
        }
        Ok((entry_count, content_bytes))
    }

    fn chunk_list(
        &self,
        index: usize,
        plan: &ComponentPlan,
        before: Option<u32>,
        sink: &mut Sink<'_>,
    ) -> Result<(), EncodeError> {
        let order = &self.chunks.orders[index];
        let splitter = Splitter::new(order.len() as u64, before);
        let mut part = ChunkBuilder::new(self.product, plan.audience());
        for number in order {
            let chunk = self.chunks.chunk(*number)?;
            let place =
                self.chunks.place(*number)?.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?;
            part.push(&chunk, &place, self.packs.blob(place.pack));
            if splitter.ends_here(part.len(), chunk.id.as_bytes()) {
                sink.chunk_part(part.take(), plan)?;
            }
        }
        if part.len() > 0 {
            sink.chunk_part(part.take(), plan)?;
        }
        Ok(())
    }
}

/// An entry as the manifest has it.
pub(crate) fn to_entry(source: &SourceEntry, chunks: u32) -> Entry {
    let kind = match &source.kind {
        SourceKind::File { stamp, executable, launch } => {
            EntryKind::File { executable: *executable, bytes: stamp.bytes, chunks, launch: *launch }
        }
        SourceKind::Directory => EntryKind::Directory,
        SourceKind::Link { target } => EntryKind::Link { target: target.clone() },
    };
    Entry { path: source.path.clone(), kind }
}

/// Proves finished parts and sends them.
struct Sink<'a> {
    outbox: &'a Outbox<'a>,
    known: &'a Packs,
    check: ComponentCheck,
    tree: Vec<PartRef>,
    chunks: Vec<PartRef>,
    /// What the parts refer to, as a client reads them.
    packs: BTreeSet<BlobId>,
}

impl Sink<'_> {
    fn tree_part(&mut self, (message, items): (Vec<u8>, usize), plan: &ComponentPlan) -> Result<(), EncodeError> {
        let (part, stored) = seal(&message, items)?;
        let decoded = TreePart::decode(&part, &stored)?;
        self.check.tree(&decoded).map_err(|source| EncodeError::Component { component: plan.name.clone(), source })?;
        self.outbox.send(Parcel::Memory { blob: part.blob, content: stored })?;
        self.tree.push(part);
        Ok(())
    }

    fn chunk_part(&mut self, (message, items): (Vec<u8>, usize), plan: &ComponentPlan) -> Result<(), EncodeError> {
        let (part, stored) = seal(&message, items)?;
        let decoded = ChunkPart::decode(&part, &stored)?;
        self.check
            .chunks(&decoded)
            .map_err(|source| EncodeError::Component { component: plan.name.clone(), source })?;
        for pack in decoded.packs {
            if !self.known.audience_of(&pack).is_some_and(|audience| audience.covers(&plan.audience())) {
                return Err(EncodeError::Wall { component: plan.name.clone(), pack });
            }
            self.packs.insert(pack);
        }
        self.outbox.send(Parcel::Memory { blob: part.blob, content: stored })?;
        self.chunks.push(part);
        Ok(())
    }
}

/// Compresses a part's message and says what the root says of it.
fn seal(message: &[u8], items: usize) -> std::io::Result<(PartRef, Vec<u8>)> {
    let stored = zstd::bulk::compress(message, PART_LEVEL)?;
    let small = |length: usize| u32::try_from(length).expect("a part is at most 8 MiB");
    let part = PartRef {
        blob: BlobId::of(&stored),
        stored_bytes: small(stored.len()),
        content_bytes: small(message.len()),
        items: small(items),
    };
    Ok((part, stored))
}

/// Where parts end.
#[derive(Debug, Clone, Copy)]
struct Splitter {
    /// A power of two.
    target: u64,
}

impl Splitter {
    fn new(items: u64, before: Option<u32>) -> Self {
        let ideal = items.max(1).isqrt().next_power_of_two().clamp(TARGET_MIN, TARGET_MAX);
        // Parts average a quarter more than their target, because the first quarter of one never ends it.
        let before = before.map(|size| 1u64 << u64::from(size.max(1)).ilog2());
        let near = |size: &u64| (ideal / 2..=ideal * 2).contains(size) && (TARGET_MIN..=TARGET_MAX).contains(size);
        Self { target: before.filter(near).unwrap_or(ideal) }
    }

    /// Whether a part of `len` items ends with the item of this hash.
    fn ends_here(self, len: usize, hash: &[u8; 32]) -> bool {
        let len = len as u64;
        // The middle of the hash: its head already orders other things.
        let bits = u64::from_le_bytes(*hash[8..].first_chunk::<8>().expect("a hash has 32 bytes"));
        len >= 4 * self.target || (len >= self.target / 4 && bits & (self.target - 1) == 0)
    }
}

const _: () = {
    assert!(4 * TARGET_MAX <= PART_ENTRIES_MAX as u64 && 4 * TARGET_MAX <= PART_CHUNKS_MAX as u64);
};

#[cfg(test)]
mod tests;
