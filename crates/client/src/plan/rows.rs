//! What becomes of each entry: compares manifests with each other and with the disk's metadata.

use super::{Have, Owner, RowAction, Scene};
use crate::error::{DiskError, PullError};
use crate::listing::{Listing, RowKind};
use crate::platform::Found;
use std::collections::HashMap;

/// What was decided.
pub(super) struct Decided {
    pub(super) actions: Vec<RowAction>,
    pub(super) removals: Vec<usize>,
    pub(super) aside: Vec<String>,
    /// Whether committing in batches keeps every path usable in between.
    pub(super) lean_is_possible: bool,
}

struct Decider<'a> {
    scene: &'a Scene<'a>,
    /// Old files by content, only those that are on disk.
    by_content: HashMap<[u8; 16], u32>,
    aside: Vec<String>,
    lean_is_possible: bool,
    /// Directory checked last, so that neighbours are checked once.
    checked_dir: String,
}

pub(super) fn decide(scene: &Scene<'_>) -> Result<Decided, PullError> {
    let mut decider = Decider {
        scene,
        by_content: HashMap::new(),
        aside: Vec::new(),
        lean_is_possible: true,
        checked_dir: String::new(),
    };
    let rows = scene.target.rows().len();
    if scene.root.is_none() {
        let fresh = |row: usize| if scene.target.rows()[row].is_file() { RowAction::Assemble } else { RowAction::Make };
        let actions = (0..rows).map(fresh).collect();
        return Ok(Decided { actions, removals: Vec::new(), aside: Vec::new(), lean_is_possible: true });
    }
    decider.index_by_content()?;
    let actions = (0..rows).map(|row| decider.row(row)).collect::<Result<Vec<_>, _>>()?;
    let removals = decider.removals()?;
    Ok(Decided { actions, removals, aside: decider.aside, lean_is_possible: decider.lean_is_possible })
}

impl Decider<'_> {
    fn row(&mut self, row: usize) -> Result<RowAction, PullError> {
        let target = self.scene.target;
        let (path, entry) = (target.path(row), target.rows()[row]);
        self.check_ancestors(path)?;
        let found = self.found(path)?;
        let tracked = self.tracked(path);
        Ok(match (entry.kind, found) {
            (RowKind::Directory, Some(Found::Directory)) => RowAction::Keep,
            (RowKind::Link, Some(Found::Link(to))) if to == target.target(row) => RowAction::Keep,
            (RowKind::File { executable }, Some(Found::File { bytes, executable: bit, .. }))
                if self.content_is_there(row, bytes) =>
            {
                if bit.is_some_and(|bit| bit != executable) {
                    RowAction::Mode
                } else {
                    RowAction::Keep
                }
            }
            (kind, found) => {
                match found {
                    Some(Found::Directory) => {
                        self.lean_is_possible = false;
                        self.check_directory_goes(path)?;
                    }
                    Some(_) if kind == RowKind::Directory && tracked => self.lean_is_possible = false,
                    Some(_) if !tracked => self.aside.push(path.to_owned()),
                    _ => {}
                }
                if entry.is_file() { self.staged(row) } else { RowAction::Make }
            }
        })
    }

    fn staged(&self, row: usize) -> RowAction {
        let entry = &self.scene.target.rows()[row];
        match self.by_content.get(&entry.digest) {
            Some(old) if entry.bytes > 0 => RowAction::Reuse(*old),
            _ => RowAction::Assemble,
        }
    }

    /// Whether the file at a row's path has the row's content, as far as is known.
    fn content_is_there(&self, row: usize, bytes_on_disk: u64) -> bool {
        let entry = &self.scene.target.rows()[row];
        if let Some(present) = self.scene.present.filter(|_| bytes_on_disk == entry.bytes) {
            let first = entry.first_chunk as usize;
            if !(first..first + entry.chunks as usize).any(|chunk| present.bad_chunks.has(chunk)) {
                return true;
            }
        }
        let Some(have) = self.scene.have else { return false };
        let Some(old) = have.listing.find(self.scene.target.path(row)) else { return false };
        let same = have.listing.rows()[old].is_file()
            && have.listing.rows()[old].digest == entry.digest
            && have.listing.rows()[old].bytes == entry.bytes
            && bytes_on_disk == entry.bytes;
        same && !has_bad_chunk(&have, old)
    }

    /// Whether an earlier pull put something there.
    fn tracked(&self, path: &str) -> bool {
        self.scene.have.is_some_and(|have| have.owner == Owner::Install && have.listing.find(path).is_some())
    }

    /// What stands at a path; a link of the old release on the way there counts as nothing, because it goes.
    fn found(&self, path: &str) -> Result<Option<Found>, PullError> {
        let Some(root) = self.scene.root else { return Ok(None) };
        match root.stat(path) {
            Ok(found) => Ok(found),
            Err(DiskError::Symlink { .. }) if self.goes_through_old_link(path) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn goes_through_old_link(&self, path: &str) -> bool {
        let Some(have) = self.scene.have.filter(|have| have.owner == Owner::Install) else { return false };
        let is_link = |at: usize| have.listing.rows()[at].kind == RowKind::Link;
        path.match_indices('/').any(|(end, _)| have.listing.find(&path[..end]).is_some_and(is_link))
    }

    /// Files where the release needs directories.
    fn check_ancestors(&mut self, path: &str) -> Result<(), PullError> {
        let Some((parent, _)) = path.rsplit_once('/') else { return Ok(()) };
        if parent == self.checked_dir {
            return Ok(());
        }
        for end in parent.match_indices('/').map(|(at, _)| at).chain([parent.len()]) {
            let prefix = &parent[..end];
            match self.found(prefix)? {
                None => break,
                Some(Found::Directory) => {}
                Some(_) if self.tracked(prefix) => {
                    self.lean_is_possible = false;
                    break;
                }
                Some(Found::Link(_)) => return Err(DiskError::Symlink { path: prefix.to_owned() }.into()),
                Some(_) => {
                    if !self.aside.iter().any(|known| known == prefix) {
                        self.aside.push(prefix.to_owned());
                    }
                    break;
                }
            }
        }
        parent.clone_into(&mut self.checked_dir);
        Ok(())
    }

    /// A directory that must make way holds nothing but files of the old release.
    fn check_directory_goes(&self, path: &str) -> Result<(), PullError> {
        let Some(root) = self.scene.root else { return Ok(()) };
        let mut open = vec![path.to_owned()];
        while let Some(dir) = open.pop() {
            let mut empty = true;
            for name in root.list(&dir)? {
                empty = false;
                let inner = format!("{dir}/{name}");
                match root.stat(&inner)? {
                    Some(Found::Directory) => open.push(inner),
                    Some(_) if !self.tracked(&inner) => {
                        return Err(PullError::DirectoryInTheWay(path.to_owned()));
                    }
                    _ => {}
                }
            }
            // Nobody would remove it, and a file cannot replace it.
            if empty && !self.tracked(&dir) {
                return Err(PullError::DirectoryInTheWay(path.to_owned()));
            }
        }
        Ok(())
    }

    fn index_by_content(&mut self) -> Result<(), PullError> {
        let Some(have) = self.scene.have else { return Ok(()) };
        for (at, row) in have.listing.rows().iter().enumerate() {
            if !row.is_file() || row.bytes == 0 || has_bad_chunk(&have, at) {
                continue;
            }
            if self.is_changed_in(self.scene.target, have.listing, at) && self.is_on_disk(have.listing, at)? {
                self.by_content.insert(row.digest, u32::try_from(at).unwrap_or(u32::MAX));
            }
        }
        Ok(())
    }

    /// Only files that the target does not have at the same path can have moved.
    fn is_changed_in(&self, target: &Listing, old: &Listing, at: usize) -> bool {
        let same = |row: usize| target.rows()[row].is_file() && target.rows()[row].digest == old.rows()[at].digest;
        !target.find(old.path(at)).is_some_and(same)
    }

    fn is_on_disk(&self, old: &Listing, at: usize) -> Result<bool, PullError> {
        let row = &old.rows()[at];
        Ok(match self.scene.root.map(|root| root.stat(old.path(at))).transpose() {
            Ok(Some(Some(Found::File { bytes, executable, .. }))) => {
                bytes == row.bytes && executable.is_none_or(|bit| bit == row.is_executable())
            }
            Ok(_) | Err(DiskError::Symlink { .. }) => false,
            Err(error) => return Err(error.into()),
        })
    }

    /// Old files that the target does not have.
    fn removals(&self) -> Result<Vec<usize>, PullError> {
        let Some(have) = self.scene.have.filter(|have| have.owner == Owner::Install) else { return Ok(Vec::new()) };
        let target = self.scene.target;
        let mut removals = Vec::new();
        for (at, row) in have.listing.rows().iter().enumerate() {
            let path = have.listing.path(at);
            let stays = |row: usize| target.rows()[row].kind != RowKind::Directory;
            if row.kind == RowKind::Directory || target.find(path).is_some_and(stays) {
                continue;
            }
            if matches!(self.found(path)?, Some(Found::File { .. } | Found::Link(_))) {
                removals.push(at);
            }
        }
        Ok(removals)
    }
}

fn has_bad_chunk(have: &Have<'_>, row: usize) -> bool {
    let Some(scan) = have.scan else { return false };
    let row = &have.listing.rows()[row];
    let first = row.first_chunk as usize;
    (first..first + row.chunks as usize).any(|chunk| scan.bad_chunks.has(chunk))
}
