//! From a plan to the steps of a commit. Pure but for the names it is asked to find free.

use crate::journal::Op;
use crate::listing::{Listing, RowKind};
use crate::plan::{Have, Owner, Plan, RowAction};
use penstock_core::path::collision_key;
use std::collections::{BTreeSet, HashMap, HashSet};
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
            match (self.plan.actions[row], self.target.rows()[row].kind) {
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
        (have.listing.rows()[old].kind != RowKind::Directory).then_some(old)
    }

    fn removals<E>(&self, step: &mut impl FnMut(Op) -> Result<(), E>) -> Result<(), E> {
        let Some(have) = self.have else { return Ok(()) };
        let placed = self.placed_keys();
        let mut emptied = BTreeSet::new();
        for &old in &self.plan.removals {
            let path = have.listing.path(old);
            for (end, _) in path.match_indices('/') {
                emptied.insert(path[..end].to_owned());
            }
            let unless_placed = placed.get(&collision_key(path)).copied();
            step(Op::Remove { path: path.to_owned(), keep: self.keep.then_some(old), unless_placed })?;
        }
        if have.owner == Owner::Install {
            let rows = have.listing.rows().iter().enumerate();
            for (old, _) in rows.filter(|(_, row)| row.kind == RowKind::Directory) {
                emptied.insert(have.listing.path(old).to_owned());
            }
        }
        let stays =
            |dir: &str| self.target.find(dir).is_some_and(|row| self.target.rows()[row].kind == RowKind::Directory);
        // Deeper directories sort after the ones they are in.
        for path in emptied.into_iter().rev().filter(|dir| !stays(dir)) {
            step(Op::RemoveDir { path })?;
        }
        Ok(())
    }

    /// Names that this commit puts in place, as a case-insensitive disk sees them.
    fn placed_keys(&self) -> HashMap<String, usize> {
        if self.plan.removals.is_empty() {
            return HashMap::new();
        }
        let rows = self.rows.clone().filter(|row| self.plan.actions[*row].is_staged());
        rows.map(|row| (collision_key(self.target.path(row)), row)).collect()
    }

    fn directories<E>(&self, step: &mut impl FnMut(Op) -> Result<(), E>) -> Result<(), E> {
        let mut made: HashSet<&str> = HashSet::new();
        for row in self.rows.clone().filter(|row| self.plan.actions[*row] != RowAction::Keep) {
            let path = self.target.path(row);
            let own = (self.target.rows()[row].kind == RowKind::Directory).then_some(path);
            for dir in path.match_indices('/').map(|(end, _)| &path[..end]).chain(own) {
                if made.insert(dir) {
                    step(Op::MakeDir { path: dir.to_owned() })?;
                }
            }
        }
        Ok(())
    }
}
