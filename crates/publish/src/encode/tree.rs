//! Tree parts, the writing side of `penstock_frames::part`.

use penstock_core::audience::Audience;
use penstock_core::id::ProductId;
use penstock_core::limits::{PART_CONTENT_BYTES_MAX, PART_ENTRIES_MAX};
use penstock_frames::column;
use penstock_frames::part::{
    Entry, EntryKind, FLAG_EXECUTABLE, FLAG_LAUNCH, KIND_DIRECTORY, KIND_FILE, KIND_LINK, TREE_FORMAT,
};
use penstock_frames::wire::TreeWire;

/// A part with this much text is full, however few entries it has: half the limit, since one more
/// entry adds at most a path and a target.
const TEXT_BYTES_FULL: usize = PART_CONTENT_BYTES_MAX as usize / 2;

/// A tree part in the making.
#[derive(Debug)]
pub(super) struct TreeBuilder {
    wire: TreeWire,
    last: String,
}

impl TreeBuilder {
    pub(super) fn new(product: &ProductId, audience: Audience<'_>) -> Self {
        let wire = TreeWire {
            format: TREE_FORMAT,
            group: audience.group.to_string(),
            component: audience.component.to_string(),
            product: product.to_string(),
            ..TreeWire::default()
        };
        Self { wire, last: String::new() }
    }

    pub(super) const fn len(&self) -> usize {
        self.wire.kinds.len()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.wire.kinds.len() >= PART_ENTRIES_MAX || self.wire.rests.len() + self.wire.targets.len() >= TEXT_BYTES_FULL
    }

    pub(super) fn push(&mut self, entry: &Entry) {
        let path = entry.path.as_str();
        let shared = shared_len(&self.last, path);
        column::put(&mut self.wire.shared, shared as u64);
        column::put(&mut self.wire.rest_lens, (path.len() - shared) as u64);
        self.wire.rests.push_str(&path[shared..]);
        path.clone_into(&mut self.last);
        let kind = match &entry.kind {
            EntryKind::File { executable, bytes, chunks, launch } => {
                column::put(&mut self.wire.sizes, *bytes);
                column::put(&mut self.wire.chunk_counts, u64::from(*chunks));
                let flag = |set: bool, flag: u8| if set { flag } else { 0 };
                KIND_FILE | flag(*executable, FLAG_EXECUTABLE) | flag(*launch, FLAG_LAUNCH)
            }
            EntryKind::Directory => KIND_DIRECTORY,
            EntryKind::Link { target } => {
                column::put(&mut self.wire.target_lens, target.len() as u64);
                self.wire.targets.push_str(target);
                KIND_LINK
            }
        };
        self.wire.kinds.push(kind);
    }

    /// The message and its number of entries; the builder starts anew.
    pub(super) fn take(&mut self) -> (Vec<u8>, usize) {
        let fresh = TreeWire { format: TREE_FORMAT, group: self.wire.group.clone(), ..TreeWire::default() };
        let wire = std::mem::replace(&mut self.wire, fresh);
        self.last.clear();
        (wire.to_bytes(), wire.kinds.len())
    }
}

/// Bytes that two paths share at their start, up to a whole character.
fn shared_len(a: &str, b: &str) -> usize {
    let mut shared = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    while !b.is_char_boundary(shared) || !a.is_char_boundary(shared) {
        shared -= 1;
    }
    shared
}
