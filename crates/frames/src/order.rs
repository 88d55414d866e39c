//! The order of paths in a release, and the rules that hold between paths.
//!
//! Paths are ordered part by part, each part by its bytes, so that a directory's content directly
//! follows its name. Owns [`TreeCheck`], which sees entries in that order and refuses trees that no
//! disk could hold: a path twice, a file where a directory is needed, names that a
//! case-insensitive disk takes for one. Also owns the rule for link targets.

use crate::part::{Entry, EntryKind};
use penstock_core::path::{InstallPath, collision_key, link_stays_inside};
use std::cmp::Ordering;
use std::collections::HashSet;

/// Why a list of entries is not a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Not in order, or there twice.
    #[error("path {0:?} is there twice or out of order")]
    Order(InstallPath),
    /// Two names that some disks cannot hold side by side, or a file where a directory is needed.
    #[error("path {path:?} collides at {at:?} with another name that a case-insensitive disk takes for the same")]
    Collision {
        /// The later path.
        path: InstallPath,
        /// The part of it that collides.
        at: String,
    },
}

/// How two paths are ordered in a release.
#[must_use]
pub fn path_order(a: &str, b: &str) -> Ordering {
    // Paths hold no control characters, so zero is free to sort a slash before all else.
    let key = |byte: u8| if byte == b'/' { 0 } else { byte };
    a.bytes().map(key).cmp(b.bytes().map(key))
}

/// Whether a link's target is one that cannot lead out of the install, whatever else is in it.
///
/// Stricter than `link_stays_inside`: `..` may only lead, because a name before it could itself be
/// a link, and then `..` would climb from where that one points.
#[must_use]
pub fn link_is_safe(link: &InstallPath, target: &str) -> bool {
    let mut parts = target.split('/').skip_while(|part| *part == "..");
    link_stays_inside(link, target) && !parts.any(|part| part == "..")
}

/// Sees a tree's entries in order and refuses what cannot be installed. Memory: the names of the
/// directories that are open, and of their direct content.
#[derive(Debug, Default)]
pub struct TreeCheck {
    last: Option<InstallPath>,
    root: HashSet<String>,
    /// Open directories, outermost first: name of the last part, keys of its content.
    open: Vec<(String, HashSet<String>)>,
}

impl TreeCheck {
    /// Takes the next entry.
    ///
    /// # Errors
    /// [`TreeError`].
    pub fn push(&mut self, entry: &Entry) -> Result<(), TreeError> {
        let path = &entry.path;
        if self.last.as_ref().is_some_and(|last| path_order(last.as_str(), path.as_str()) != Ordering::Less) {
            return Err(TreeError::Order(path.clone()));
        }
        self.last = Some(path.clone());
        let parts: Vec<&str> = path.parts().collect();
        let (name, directories) = parts.split_last().expect("a path has at least one part");
        let shared = self.open.iter().zip(directories).take_while(|((open, _), part)| open == *part).count();
        self.open.truncate(shared);
        for part in &directories[shared..] {
            self.claim(path, part)?;
            self.open.push(((*part).to_owned(), HashSet::new()));
        }
        self.claim(path, name)?;
        if matches!(entry.kind, EntryKind::Directory) {
            self.open.push(((*name).to_owned(), HashSet::new()));
        }
        Ok(())
    }

    fn claim(&mut self, path: &InstallPath, part: &str) -> Result<(), TreeError> {
        let siblings = self.open.last_mut().map_or(&mut self.root, |(_, names)| names);
        if siblings.insert(collision_key(part)) {
            Ok(())
        } else {
            Err(TreeError::Collision { path: path.clone(), at: part.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(path: &str) -> Entry {
        let kind = EntryKind::File { executable: false, bytes: 0, chunks: 0, launch: false };
        Entry { path: InstallPath::new(path).expect("valid"), kind }
    }

    fn check(paths: &[&str]) -> Result<(), TreeError> {
        let mut check = TreeCheck::default();
        paths.iter().try_for_each(|path| check.push(&entry(path)))
    }

    #[test]
    fn a_directory_comes_before_its_content_and_both_before_longer_names() {
        assert_eq!(path_order("a/b", "a.txt"), Ordering::Less);
        assert_eq!(path_order("a", "a/b"), Ordering::Less);
        assert_eq!(path_order("a/z", "b"), Ordering::Less);
        assert_eq!(check(&["a/b", "a/c/d", "a/e", "a.txt", "b"]), Ok(()));
    }

    #[test]
    fn impossible_trees_are_refused() {
        assert!(matches!(check(&["b", "a"]), Err(TreeError::Order(_))));
        assert!(matches!(check(&["a", "a"]), Err(TreeError::Order(_))));
        assert!(matches!(check(&["Data/x", "data/y"]), Err(TreeError::Collision { .. })));
        assert!(matches!(check(&["a/README", "a/b", "a/readme"]), Err(TreeError::Collision { .. })));
        assert!(matches!(check(&["a", "a/b"]), Err(TreeError::Collision { .. })), "a file is no directory");
        let mut tree = TreeCheck::default();
        let directory = Entry { kind: EntryKind::Directory, ..entry("a") };
        assert_eq!(tree.push(&directory).and_then(|()| tree.push(&entry("a/b"))), Ok(()));
        assert!(tree.push(&entry("a/B")).is_err());
    }

    #[test]
    fn links_cannot_climb_through_other_links() {
        let link = InstallPath::new("a/b/c/l").expect("valid");
        assert!(link_is_safe(&link, "../../x/y"));
        // If a/b/d is a link to "..", this would leave the install.
        assert!(!link_is_safe(&link, "../d/../.."));
        assert!(!link_is_safe(&link, "../../../../x"));
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_lists_of_parts(a in "[a-c.]{1,3}(/[a-c.]{1,3}){0,3}", b in "[a-c.]{1,3}(/[a-c.]{1,3}){0,3}") {
            let slow = a.split('/').map(str::as_bytes).cmp(b.split('/').map(str::as_bytes));
            prop_assert_eq!(path_order(&a, &b), slow);
        }
    }
}
