//! Finds names that a case-insensitive, normalising disk takes for one: 16 bytes a name. Pure.
//!
//! Names are found by a short hash of their key and compared in full, so that memory stays small and a
//! clash of hashes means nothing.

use super::{Listing, ListingError, RowKind};
use penstock_core::path::collision_key;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// One name: the first bytes of a row's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    hash: u64,
    row: u32,
    len: u16,
}

/// The names of some rows by what such a disk makes of them.
#[derive(Debug, Default)]
pub(crate) struct KeyIndex {
    sorted: Vec<Name>,
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    collision_key(name).hash(&mut hasher);
    hasher.finish()
}

impl KeyIndex {
    /// The paths of some rows.
    pub(crate) fn of(listing: &Listing, rows: impl Iterator<Item = usize>) -> Self {
        let name =
            |row: usize| Name { hash: hash(listing.path(row)), row: number(row), len: length(listing.path(row)) };
        let mut sorted: Vec<Name> = rows.map(name).collect();
        sorted.sort_unstable();
        Self { sorted }
    }
    /// All paths and the directories on the way to them.
    pub(super) fn with_directories(listing: &Listing) -> Self {
        let mut sorted = Vec::with_capacity(listing.len());
        let mut before = "";
        for row in 0..listing.len() {
            let path = listing.path(row);
            let ends = path.match_indices('/').map(|(end, _)| end);
            // Neighbours share directories: each stretch of them is noted once.
            for end in ends.filter(|end| !before.starts_with(&path[..=*end])).chain([path.len()]) {
                sorted.push(Name { hash: hash(&path[..end]), row: number(row), len: length(&path[..end]) });
            }
            before = path;
        }
        sorted.sort_unstable();
        Self { sorted }
    }
    /// Rows whose whole path such a disk takes for this one.
    pub(crate) fn find<'a>(&'a self, listing: &'a Listing, path: &str) -> impl Iterator<Item = usize> + 'a {
        let (wanted, key) = (hash(path), collision_key(path));
        let from = self.sorted.partition_point(|name| name.hash < wanted);
        let same = self.sorted[from..].iter().take_while(move |name| name.hash == wanted);
        same.map(|name| name.row as usize).filter(move |row| collision_key(listing.path(*row)) == key)
    }
    /// Whether a path is probably here under some spelling; never wrong when it says no.
    pub(crate) fn may_have(&self, path: &str) -> bool {
        self.sorted.binary_search_by_key(&hash(path), |name| name.hash).is_ok()
    }
    /// Refuses two names that are one to such a disk, unless both are the same directory.
    pub(super) fn check(&self, listing: &Listing) -> Result<(), ListingError> {
        let text = |name: &Name| &listing.path(name.row as usize)[..name.len as usize];
        let may_share = |name: &Name| {
            let row = name.row as usize;
            usize::from(name.len) < listing.path(row).len() || listing.row(row).kind == RowKind::Directory
        };
        for same in self.sorted.chunk_by(|a, b| a.hash == b.hash) {
            for (at, name) in same.iter().enumerate().skip(1) {
                // Almost always the first one is of the same key; a clash of hashes makes others possible.
                let clashes = |other: &Name| {
                    let (one, two) = (text(other), text(name));
                    let is_one_directory = one == two && may_share(other) && may_share(name);
                    !is_one_directory && collision_key(one) == collision_key(two)
                };
                let earlier = if text(&same[0]) == text(name) { &same[..1] } else { &same[..at] };
                if earlier.iter().any(clashes) {
                    return Err(ListingError::Collision(listing.path(name.row as usize).to_owned()));
                }
            }
        }
        Ok(())
    }
}

fn number(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

fn length(text: &str) -> u16 {
    u16::try_from(text.len()).unwrap_or(u16::MAX)
}
