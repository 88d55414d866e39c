//! The only code that differs between systems: one small interface, one module each.
//!
//! [`Root`] is an opened install directory; every path it takes is relative, uses `/`, and is walked
//! without ever following a symbolic link, so that neither an old release nor somebody else on the
//! machine can make the client write outside the install. Rules that can be pure are pure and here.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{Lock, Root, let_go_of_cache, read_at, write_at};
#[cfg(windows)]
pub(crate) use windows::{Lock, Root, let_go_of_cache, read_at, write_at};

use std::io;

/// What stands at a path, links not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A regular file.
    File {
        /// Length.
        bytes: u64,
        /// Bytes that it occupies, where the system says so.
        allocated_bytes: u64,
        /// How many names it has.
        names: u64,
        /// Whether its owner may run it; `None` where the system has no such bit.
        executable: Option<bool>,
    },
    /// A directory.
    Directory,
    /// A symbolic link and where it points, with `/`.
    Link(String),
    /// A socket, device or the like.
    Other,
}

/// Free space on the volume of an install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Volume {
    /// Bytes that this user may still write.
    pub(crate) free_bytes: u64,
    /// Files occupy multiples of this.
    pub(crate) block_bytes: u64,
    /// Files, directories and links that this user may still make; `None` where the volume does not count them.
    pub(crate) free_files: Option<u64>,
    /// Whether files can have second names.
    pub(crate) links: Links,
}

/// Whether files of a volume can have second names, as far as is known without trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// Probably.
    Expected,
    /// No: FAT and its kind.
    None,
}

/// What is about to happen to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It is made, replaced, renamed or removed: its directory changes.
    Entry,
    /// Its mode changes.
    Mode,
}

/// Whether a part of a path is one that Windows takes for more than a name: a drive, a stream, a separator.
/// Joining `D:x` to a path replaces the whole path there. Pure, so that it is tested everywhere.
#[must_use]
pub fn is_windows_syntax(part: &str) -> bool {
    part.contains([':', '\\']) || part == ".."
}

/// Splits a path into its directory ("" for the root) and its last part.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Whether an error means that another program holds the file: Windows' sharing and lock
/// violations (codes 32 and 33). Other systems never produce it for a rename or an unlink.
#[must_use]
pub fn is_sharing_violation(error: &io::Error) -> bool {
    cfg!(windows) && is_sharing_violation_code(error.raw_os_error())
}

/// See [`is_sharing_violation`]; pure, so that it is tested everywhere.
#[must_use]
pub const fn is_sharing_violation_code(code: Option<i32>) -> bool {
    matches!(code, Some(32 | 33))
}

/// A path in the form Windows needs beyond 260 characters: `\\?\` and backslashes. Pure.
#[must_use]
pub fn windows_long_path(absolute: &str) -> String {
    let path = absolute.replace('/', "\\");
    if path.starts_with("\\\\?\\") {
        path
    } else if let Some(share) = path.strip_prefix("\\\\") {
        format!("\\\\?\\UNC\\{share}")
    } else {
        format!("\\\\?\\{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_rules_hold_on_every_system() {
        assert_eq!(windows_long_path("C:/games/x"), "\\\\?\\C:\\games\\x");
        assert_eq!(windows_long_path("\\\\server\\share\\x"), "\\\\?\\UNC\\server\\share\\x");
        assert_eq!(windows_long_path("\\\\?\\C:\\x"), "\\\\?\\C:\\x");
        for part in ["D:evil", "ab:stream", "a\\b", ".."] {
            assert!(is_windows_syntax(part), "{part}");
        }
        assert!(!is_windows_syntax("world.pak"));
        assert!(is_sharing_violation_code(Some(32)) && is_sharing_violation_code(Some(33)));
        assert!(!is_sharing_violation_code(Some(5)) && !is_sharing_violation_code(None));
    }

    #[test]
    fn paths_split_at_the_last_slash() {
        assert_eq!(split("a/b/c"), ("a/b", "c"));
        assert_eq!(split("a"), ("", "a"));
    }
}
