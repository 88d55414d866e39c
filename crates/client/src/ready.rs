//! Looks ahead: whether every step of a commit can be done, found out before the journal makes it final.
//!
//! After that point there is no way back: a step that fails leaves a mix of two versions and a journal
//! that fails again at every start. So directories that may not be changed, other volumes mounted inside
//! the install, files in use and things in the way are refused here, by name, with nothing changed.
//! Changes nothing.

use crate::error::{DiskError, PullError};
use crate::journal::Op;
use crate::platform::{Deed, Found, Root};
use std::collections::HashSet;

/// Takes the steps of a commit in their order.
pub(crate) struct Lookahead<'a> {
    root: &'a Root,
    /// Paths that earlier steps take away.
    gone: HashSet<String>,
    /// Directory checked last, so that neighbours are checked once.
    checked_dir: Option<String>,
}

impl<'a> Lookahead<'a> {
    pub(crate) fn new(root: &'a Root) -> Self {
        Self { root, gone: HashSet::new(), checked_dir: None }
    }
    /// Looks at one step.
    ///
    /// # Errors
    /// [`DiskError`], with the path.
    pub(crate) fn step(&mut self, op: &Op) -> Result<(), PullError> {
        match op {
            Op::Aside { path, .. } | Op::Remove { path, .. } => {
                self.entry(path)?;
                self.gone.insert(path.clone());
            }
            // One that is not empty stays, which is no failure.
            Op::RemoveDir { path } => {
                self.parent(path)?;
                self.gone.insert(path.clone());
            }
            Op::MakeDir { path } => match self.found(path)? {
                Some(Found::Directory) => {}
                None => self.parent(path)?,
                Some(_) => return Err(DiskError::InTheWay { path: path.clone() }.into()),
            },
            Op::Place { path, .. } => match self.found(path)? {
                Some(Found::Directory | Found::Other) => return Err(DiskError::InTheWay { path: path.clone() }.into()),
                _ => self.entry(path)?,
            },
            Op::Mode { path, .. } => self.root.check(path, Deed::Mode)?,
        }
        Ok(())
    }

    /// What will stand at a path when its turn comes.
    fn found(&self, path: &str) -> Result<Option<Found>, PullError> {
        let mut ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        if ends.any(|end| self.gone.contains(&path[..end])) {
            return Ok(None);
        }
        Ok(self.root.stat(path)?)
    }

    /// An entry that is made, replaced or taken away.
    fn entry(&mut self, path: &str) -> Result<(), PullError> {
        if cfg!(windows) {
            return Ok(self.root.check(path, Deed::Entry)?);
        }
        self.parent(path)
    }

    fn parent(&mut self, path: &str) -> Result<(), PullError> {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        if self.checked_dir.as_deref() == Some(dir) {
            return Ok(());
        }
        match self.root.check(path, Deed::Entry) {
            // A link on the way that goes first: what comes in its place is ours.
            Err(DiskError::Symlink { .. }) if self.leads_through_gone(dir) => {}
            other => other?,
        }
        self.checked_dir = Some(dir.to_owned());
        Ok(())
    }

    fn leads_through_gone(&self, dir: &str) -> bool {
        let mut ends = dir.match_indices('/').map(|(end, _)| end).chain([dir.len()]);
        ends.any(|end| self.gone.contains(&dir[..end]))
    }
}
