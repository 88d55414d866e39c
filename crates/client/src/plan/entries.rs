//! How many files, directories and links a plan adds to the volume: some volumes run out of them before they run out of
//! bytes.

use super::{Owner, RowAction, Scene, Wishes};
use crate::listing::RowKind;
use crate::platform::Found;
use std::collections::HashSet;

/// Files of the client's own that a commit makes: journal, state, staging and the like.
const COMMIT_FILES: u64 = 8;

/// Most entries beyond today's at any moment, when the rows before each of `batch_ends` are put in place together.
pub(super) fn peak(scene: &Scene<'_>, actions: &[RowAction], wishes: Wishes, batch_ends: &[usize]) -> u64 {
    let mut directories = HashSet::new();
    let (mut peak, mut base, mut start) = (0, 0u64, 0);
    for end in batch_ends {
        let (mut added, mut freed) = (0, 0);
        for row in (start..*end).filter(|row| !matches!(actions[*row], RowAction::Keep | RowAction::Mode)) {
            added += u64::from(takes_one(scene, actions[row], wishes, row));
            freed += u64::from(frees_one(scene, wishes, row));
            added += new_directories(scene, row, &mut directories);
        }
        peak = peak.max(base + added);
        base = (base + added).saturating_sub(freed);
        start = *end;
    }
    peak + COMMIT_FILES
}

/// Whether a row's file or link is one more: not when it is staged already, or gets a second name.
fn takes_one(scene: &Scene<'_>, action: RowAction, wishes: Wishes, row: usize) -> bool {
    match action {
        RowAction::Assemble => !scene.staged.allocated_bytes.contains_key(&row),
        RowAction::Reuse(_) => wishes.copy_moves(scene),
        RowAction::Make => scene.target.row(row).kind == RowKind::Link,
        RowAction::Keep | RowAction::Mode => false,
    }
}

fn frees_one(scene: &Scene<'_>, wishes: Wishes, row: usize) -> bool {
    let Some(have) = scene.have.filter(|have| have.owner == Owner::Install && !wishes.keep_previous) else {
        return false;
    };
    have.listing.find(scene.target.path(row)).is_some_and(|old| have.listing.row(old).kind != RowKind::Directory)
}

/// Directories that a row needs, that are not there and were not counted yet.
fn new_directories<'a>(scene: &Scene<'a>, row: usize, counted: &mut HashSet<&'a str>) -> u64 {
    let path = scene.target.path(row);
    let own = (scene.target.row(row).kind == RowKind::Directory).then_some(path);
    let above = path.match_indices('/').map(|(end, _)| &path[..end]);
    let is_there = |dir: &str| scene.root.is_some_and(|root| matches!(root.stat(dir), Ok(Some(Found::Directory))));
    above.chain(own).filter(|dir| counted.insert(dir) && !is_there(dir)).count() as u64
}
