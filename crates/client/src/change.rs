//! From a plan to the steps of a commit. Pure but for the names it is asked to find free.

use crate::journal::Op;
use crate::listing::{KeyIndex, Listing, RowKind};
use crate::plan::{Have, Owner, Plan, RowAction};
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

/// What a commit does, in an order in which each step finds what it needs.
pub(crate) struct Change<'a> {
    pub(crate) target: &'a Listing,
    pub(crate) have: Option<Have<'a>>,
    pub(crate) plan: &'a Plan,
    /// Rows of this commit.
    pub(crate) rows: Range<usize>,
    /// Whether this commit ends the update.
    pub(crate) last: bool,
    /// Files in the way, and the free names they get.
    pub(crate) aside: &'a [(String, String)],
    /// Whether replaced files are kept.
    pub(crate) keep: bool,
}

impl Change<'_> {
    /// Gives each step.
    pub(crate) fn each<E>(&self, mut step: impl FnMut(Op) -> Result<(), E>) -> Result<(), E> {
        // Untracked files first, so that nothing of the player's is ever replaced.
        if self.rows.start == 0 {
            for (path, to) in self.aside {
                step(Op::Aside { path: path.clone(), to: to.clone() })?;
            }
        }
        if self.last {
            self.removals(&mut step)?;
        }
        self.directories(&mut step)?;
        for row in self.rows.clone() {
            let path = || self.target.path(row).to_owned();
            match (self.plan.actions[row], self.target.row(row).kind) {
                (RowAction::Keep, _) | (_, RowKind::Directory) => {}
                (RowAction::Mode, RowKind::File { executable }) => step(Op::Mode { path: path(), executable })?,
                _ => step(Op::Place { staged: row, path: path(), keep: self.replaced(row) })?,
            }
        }
        Ok(())
    }

    /// Row of the old file that a placed entry replaces, if it is to be kept.
    fn replaced(&self, row: usize) -> Option<usize> {
        let have = self.have.filter(|have| self.keep && have.owner == Owner::Install)?;
        let old = have.listing.find(self.target.path(row))?;
        (have.listing.row(old).kind != RowKind::Directory).then_some(old)
    }

    fn removals<E>(&self, step: &mut impl FnMut(Op) -> Result<(), E>) -> Result<(), E> {
        let Some(have) = self.have else { return Ok(()) };
        let same_key = self.rows_by_removal_key(have.listing);
        let mut emptied = BTreeSet::new();
        for &old in &self.plan.removals {
            let path = have.listing.path(old);
            for (end, _) in path.match_indices('/') {
                emptied.insert(path[..end].to_owned());
            }
            // All of the release's names count, those of earlier batches and those that stay, too.
            let twin = same_key.find(self.target, path).next();
            let in_this_batch = |row: &usize| self.rows.contains(row) && self.plan.actions[*row].is_staged();
            step(Op::Remove {
                path: path.to_owned(),
                keep: self.keep.then_some(old),
                unless_placed: twin.filter(in_this_batch),
                unless_same: twin.filter(|row| !in_this_batch(row)).map(|row| self.target.path(row).to_owned()),
            })?;
        }
        if have.owner == Owner::Install {
            for (old, _) in have.listing.each().filter(|(_, row)| row.kind == RowKind::Directory) {
                emptied.insert(have.listing.path(old).to_owned());
            }
        }
        let stays =
            |dir: &str| self.target.find(dir).is_some_and(|row| self.target.row(row).kind == RowKind::Directory);
        // Deeper directories sort after the ones they are in.
        for path in emptied.into_iter().rev().filter(|dir| !stays(dir)) {
            step(Op::RemoveDir { path })?;
        }
        Ok(())
    }

    /// The target's entries whose names a case-insensitive disk takes for one of those that go.
    fn rows_by_removal_key(&self, old: &Listing) -> KeyIndex {
        if self.plan.removals.is_empty() {
            return KeyIndex::default();
        }
        let going = KeyIndex::of(old, self.plan.removals.iter().copied());
        KeyIndex::of(self.target, (0..self.target.len()).filter(|row| going.may_have(self.target.path(*row))))
    }

    fn directories<E>(&self, step: &mut impl FnMut(Op) -> Result<(), E>) -> Result<(), E> {
        let mut made: HashSet<&str> = HashSet::new();
        for row in self.rows.clone().filter(|row| self.plan.actions[*row] != RowAction::Keep) {
            let path = self.target.path(row);
            let own = (self.target.row(row).kind == RowKind::Directory).then_some(path);
            for dir in path.match_indices('/').map(|(end, _)| &path[..end]).chain(own) {
                if made.insert(dir) {
                    step(Op::MakeDir { path: dir.to_owned() })?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Scene;
    use crate::platform::{Links, Volume};
    use crate::shelf::Shelf;
    use crate::stage::Resumed;

    /// Found in review: an update in batches that only changes a name's case could remove the new file on a
    /// case-insensitive disk, because only the last batch's names were compared with those that go.
    #[test]
    fn a_removal_knows_its_other_spelling_whatever_batch_that_was_in() {
        let old = Listing::sample(b"old", &["Data/Readme", "gone", "z/Last"]);
        let target = Listing::sample(b"new", &["data/README", "other", "z/LAST"]);
        let shelf = Shelf::aside(None);
        let staged = Resumed::nothing(&target);
        let have = Have { listing: &old, scan: None, owner: Owner::Install };
        let scene = Scene {
            target: &target,
            dir: std::path::Path::new("."),
            have: Some(have),
            shelf: &shelf,
            root: None,
            volume: Volume { free_bytes: 0, block_bytes: 1, free_files: None, links: Links::Expected },
            from: None,
            present: None,
            staged: &staged,
        };
        let plan = Plan::sample(&scene, vec![RowAction::Assemble; 3], vec![0, 1, 2], vec![1, 3]);
        let mut removed = Vec::new();
        let change =
            Change { target: &target, have: Some(have), plan: &plan, rows: 1..3, last: true, aside: &[], keep: false };
        let note = |op| {
            if let Op::Remove { path, unless_placed, unless_same, .. } = op {
                removed.push((path, unless_placed, unless_same));
            }
            Ok::<(), std::convert::Infallible>(())
        };
        change.each(note).expect("nothing fails");
        let expected = [
            ("Data/Readme".to_owned(), None, Some("data/README".to_owned())),
            ("gone".to_owned(), None, None),
            ("z/Last".to_owned(), Some(2), None),
        ];
        assert_eq!(removed, expected);
    }
}
