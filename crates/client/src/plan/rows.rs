//! What becomes of each entry: compares manifests with each other and with the disk's metadata.

use super::{Have, Owner, RowAction, Scene};
use crate::bits::Bits;
use crate::error::{DiskError, PullError};
use crate::listing::{KeyIndex, Listing, Row, RowKind};
use crate::platform::Found;

/// What was decided.
pub(super) struct Decided {
    pub(super) actions: Vec<RowAction>,
    pub(super) removals: Vec<usize>,
    pub(super) aside: Vec<String>,
    /// Whether committing in batches keeps every path usable in between.
    pub(super) lean_is_possible: bool,
}

impl Decided {
    /// Whether anything on disk has to change.
    pub(super) fn change_anything(&self) -> bool {
        !self.removals.is_empty() || !self.aside.is_empty() || self.actions.iter().any(|a| *a != RowAction::Keep)
    }
}

/// What an earlier release had at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stood {
    FileOrLink,
    Directory,
}

struct Decider<'a> {
    scene: &'a Scene<'a>,
    /// Old files that are on disk, by content and executable bit, sorted.
    by_content: Vec<([u8; 16], bool, u32)>,
    /// Old files that already have a new place.
    moved: Bits,
    /// Old paths by what a case-insensitive disk makes of them; made when first needed.
    old_keys: Option<KeyIndex>,
    aside: Vec<String>,
    lean_is_possible: bool,
    /// Directory checked last, so that neighbours are checked once.
    checked_dir: String,
}

/// In a plan of several batches an old file may be replaced before its content is moved: such moves
/// become copies, so that their room and their bytes are part of what is announced.
pub(super) fn copy_what_is_replaced(scene: &Scene<'_>, actions: &mut [RowAction]) {
    let Some(have) = scene.have else { return };
    for row in 0..actions.len() {
        let RowAction::Reuse(old) = actions[row] else { continue };
        let replaced = scene.target.find(have.listing.path(old as usize));
        if replaced.is_some_and(|by| actions[by].is_staged()) {
            actions[row] = RowAction::Assemble;
        }
    }
}

pub(super) fn decide(scene: &Scene<'_>) -> Result<Decided, PullError> {
    let mut decider = Decider {
        scene,
        by_content: Vec::new(),
        moved: Bits::new(scene.have.map_or(0, |have| have.listing.len())),
        old_keys: None,
        aside: Vec::new(),
        lean_is_possible: true,
        checked_dir: String::new(),
    };
    let rows = scene.target.len();
    if scene.root.is_none() {
        let fresh = |row: usize| if scene.target.row(row).is_file() { RowAction::Assemble } else { RowAction::Make };
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
        let (path, entry) = (target.path(row), target.row(row));
        self.check_ancestors(path)?;
        let found = self.found(path)?;
        let tracked = found.is_some() && self.tracked(path, &[Stood::FileOrLink])?;
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
                if entry.is_file() { self.staged(&entry) } else { RowAction::Make }
            }
        })
    }

    /// A second name needs the same content and the same executable bit, and each old file gives one:
    /// files that share their bytes would change together.
    fn staged(&mut self, entry: &Row) -> RowAction {
        let key = (entry.digest, entry.is_executable());
        let from = self.by_content.partition_point(|(digest, bit, _)| (*digest, *bit) < key);
        let same = self.by_content[from..].iter().take_while(|(digest, bit, _)| (*digest, *bit) == key);
        match same.map(|(_, _, old)| *old).find(|old| !self.moved.has(*old as usize)) {
            Some(old) if entry.bytes > 0 => {
                self.moved.set(old as usize);
                RowAction::Reuse(old)
            }
            _ => RowAction::Assemble,
        }
    }

    /// Whether the file at a row's path has the row's content, as far as is known.
    fn content_is_there(&self, row: usize, bytes_on_disk: u64) -> bool {
        let entry = self.scene.target.row(row);
        if let Some(present) = self.scene.present.filter(|_| bytes_on_disk == entry.bytes) {
            let first = entry.first_chunk as usize;
            if !(first..first + entry.chunks as usize).any(|chunk| present.bad_chunks.has(chunk)) {
                return true;
            }
        }
        let Some(have) = self.scene.have else { return false };
        let Some(old) = have.listing.find(self.scene.target.path(row)) else { return false };
        let same = have.listing.row(old).is_file()
            && have.listing.row(old).digest == entry.digest
            && have.listing.row(old).bytes == entry.bytes
            && bytes_on_disk == entry.bytes;
        same && !has_bad_chunk(&have, old)
    }

    /// Whether an earlier pull put something of this sort where something stands now. An empty directory
    /// of ours that the player replaced by a file or link is theirs. On a case-insensitive disk our
    /// entry may have another spelling.
    fn tracked(&mut self, path: &str, sorts: &[Stood]) -> Result<bool, PullError> {
        let Some(have) = self.scene.have.filter(|have| have.owner == Owner::Install) else { return Ok(false) };
        let counts = |old: usize| {
            let is_directory = have.listing.row(old).kind == RowKind::Directory;
            sorts.contains(&if is_directory { Stood::Directory } else { Stood::FileOrLink })
        };
        if let Some(old) = have.listing.find(path) {
            return Ok(counts(old));
        }
        let Some(root) = self.scene.root else { return Ok(false) };
        let keys = self.old_keys.get_or_insert_with(|| KeyIndex::of(have.listing, 0..have.listing.len()));
        for old in keys.find(have.listing, path).filter(|old| counts(*old)) {
            if root.is_same(path, have.listing.path(old))? {
                return Ok(true);
            }
        }
        Ok(false)
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
        let is_link = |at: usize| have.listing.row(at).kind == RowKind::Link;
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
                Some(_) if self.tracked(prefix, &[Stood::FileOrLink])? => {
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
    fn check_directory_goes(&mut self, path: &str) -> Result<(), PullError> {
        let Some(root) = self.scene.root else { return Ok(()) };
        let mut open = vec![path.to_owned()];
        while let Some(dir) = open.pop() {
            let mut empty = true;
            for name in root.list(&dir)? {
                empty = false;
                let inner = format!("{dir}/{name}");
                match root.stat(&inner)? {
                    Some(Found::Directory) => open.push(inner),
                    Some(_) if !self.tracked(&inner, &[Stood::FileOrLink])? => {
                        return Err(PullError::DirectoryInTheWay(path.to_owned()));
                    }
                    _ => {}
                }
            }
            // Nobody would remove it, and a file cannot replace it.
            if empty && !self.tracked(&dir, &[Stood::Directory, Stood::FileOrLink])? {
                return Err(PullError::DirectoryInTheWay(path.to_owned()));
            }
        }
        Ok(())
    }

    fn index_by_content(&mut self) -> Result<(), PullError> {
        let Some(have) = self.scene.have else { return Ok(()) };
        for (at, row) in have.listing.each() {
            if !row.is_file() || row.bytes == 0 || has_bad_chunk(&have, at) {
                continue;
            }
            if self.is_changed_in(self.scene.target, have.listing, at) && self.is_on_disk(have.listing, at)? {
                let number = u32::try_from(at).unwrap_or(u32::MAX);
                self.by_content.push((row.digest, row.is_executable(), number));
            }
        }
        self.by_content.sort_unstable();
        Ok(())
    }

    /// Only files that the target does not have at the same path can have moved.
    fn is_changed_in(&self, target: &Listing, old: &Listing, at: usize) -> bool {
        let same = |row: usize| target.row(row).is_file() && target.row(row).digest == old.row(at).digest;
        !target.find(old.path(at)).is_some_and(same)
    }

    fn is_on_disk(&self, old: &Listing, at: usize) -> Result<bool, PullError> {
        let row = old.row(at);
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
        for (at, row) in have.listing.each() {
            let path = have.listing.path(at);
            let stays = |row: usize| target.row(row).kind != RowKind::Directory;
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
    let row = have.listing.row(row);
    let first = row.first_chunk as usize;
    (first..first + row.chunks as usize).any(|chunk| scan.bad_chunks.has(chunk))
}
