//! Install paths: where a release's files go, and why some names can never be one.
//!
//! Owns the rules for escaping, portability and case collisions, for every platform, as pure
//! functions. Nothing here touches a disk.

use crate::limits::{PATH_BYTES_MAX, PATH_DEPTH_MAX, PATH_PART_BYTES_MAX};
use std::fmt;
use unicode_normalization::UnicodeNormalization as _;

/// A relative path with `/` between its parts that cannot leave the install directory.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstallPath(String);

/// Why a text cannot be an install path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No text at all.
    #[error("a path must not be empty")]
    Empty,
    /// Starts at the root or at a drive.
    #[error("path {0:?} is absolute")]
    Absolute(String),
    /// Contains `.`, `..` or nothing between two slashes.
    #[error("path {0:?} has a part that is empty, \".\" or \"..\"")]
    Dots(String),
    /// Backslash, NUL or another control character.
    #[error("path {0:?} has a character that some systems treat as syntax")]
    Character(String),
    /// Too long or too deep.
    #[error("path {0:?} is too long or too deep")]
    TooLong(String),
    /// Clashes with the client's own directory.
    #[error("path {0:?} is reserved for the installer's own files")]
    Reserved(String),
}

/// The directory inside an install that belongs to the client.
pub const CLIENT_DIR: &str = ".penstock";

impl InstallPath {
    /// Checks a text and wraps it.
    ///
    /// # Errors
    /// [`PathError`], with the path in it.
    pub fn new(text: &str) -> Result<Self, PathError> {
        check(text)?;
        Ok(Self(text.to_owned()))
    }
    /// The path with `/` between its parts.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Its parts, outermost first; never empty.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
    /// Its directories, outermost first, without itself.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }
    /// What two names share whenever a case-insensitive, normalising disk takes them for one: the text in NFC,
    /// folded, in NFC again. Folded is lowercased, uppercased and lowercased: only together do they make one of
    /// sigma and final sigma, of sharp s, its capital and ss, and of long s and s, which NTFS or APFS do.
    #[must_use]
    pub fn collision_key(&self) -> String {
        collision_key(&self.0)
    }
}

/// See [`InstallPath::collision_key`]; usable for directory prefixes too.
#[must_use]
pub fn collision_key(text: &str) -> String {
    text.nfc().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

/// Why Windows could not store a path that Unix can; `None` when it can.
///
/// Source: "Naming Files, Paths, and Namespaces", Win32 documentation.
#[must_use]
pub fn windows_problem(path: &InstallPath) -> Option<&'static str> {
    path.parts().find_map(windows_part_problem)
}

/// As [`windows_problem`], for a link's target: `..` may be a part of it.
#[must_use]
pub fn windows_link_problem(target: &str) -> Option<&'static str> {
    target.split('/').filter(|part| !matches!(*part, "" | "." | "..")).find_map(windows_part_problem)
}

fn windows_part_problem(part: &str) -> Option<&'static str> {
    if part.contains(['<', '>', ':', '"', '|', '?', '*']) {
        return Some("a character that Windows does not allow in names");
    }
    if part.ends_with(['.', ' ']) {
        return Some("a name that ends with a dot or a space, which Windows drops");
    }
    let stem = part.split('.').next().unwrap_or(part).trim_end_matches(' ').to_ascii_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix)
            .is_some_and(|rest| matches!(rest, "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"))
    };
    let device = matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || numbered("COM")
        || numbered("LPT");
    device.then_some("a name that Windows reserves for a device")
}

/// Whether a symbolic link at `link` with this target stays inside the install.
///
/// Targets are relative, use `/`, and may climb only as far as the link is deep.
#[must_use]
pub fn link_stays_inside(link: &InstallPath, target: &str) -> bool {
    if target.is_empty()
        || target.len() > PATH_BYTES_MAX
        || target.starts_with('/')
        || target.contains(is_syntax)
        || target.split('/').any(has_drive)
    {
        return false;
    }
    let mut depth = link.parts().count() - 1;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return false,
            ".." => depth -= 1,
            _ if depth == 0 && collision_key(part) == CLIENT_DIR => return false,
            _ => depth += 1,
        }
    }
    true
}

fn check(text: &str) -> Result<(), PathError> {
    if text.is_empty() {
        return Err(PathError::Empty);
    }
    let owned = || text.to_owned();
    if text.len() > PATH_BYTES_MAX || text.split('/').count() > PATH_DEPTH_MAX {
        return Err(PathError::TooLong(owned()));
    }
    if text.starts_with('/') || text.split('/').any(has_drive) {
        return Err(PathError::Absolute(owned()));
    }
    if text.contains(is_syntax) {
        return Err(PathError::Character(owned()));
    }
    for part in text.split('/') {
        if matches!(part, "" | "." | "..") {
            return Err(PathError::Dots(owned()));
        }
        if part.len() > PATH_PART_BYTES_MAX {
            return Err(PathError::TooLong(owned()));
        }
    }
    if text.split('/').next().is_some_and(|first| collision_key(first) == CLIENT_DIR) {
        return Err(PathError::Reserved(owned()));
    }
    Ok(())
}

fn is_syntax(c: char) -> bool {
    c == '\\' || c.is_control()
}

/// `C:` and the like. Windows joins such a part to a path by replacing the whole path, wherever it
/// stands, so that it would leave the install directory.
fn has_drive(part: &str) -> bool {
    part.chars().nth(1) == Some(':')
}

impl fmt::Display for InstallPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstallPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl serde::Serialize for InstallPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for InstallPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_some_disk_takes_for_one_share_a_key() {
        for (one, other) in [("ΟΔΟΣ", "οδος"), ("οδοσ", "οδος"), ("straße", "STRASSE"), ("ẞ", "ß"), ("ſ", "s")]
        {
            assert_eq!(collision_key(one), collision_key(other), "{one} and {other}");
        }
        assert_ne!(collision_key("data"), collision_key("date"));
    }

    #[test]
    fn paths_that_escape_are_refused_each_for_its_reason() {
        type Case = (&'static str, fn(&PathError) -> bool);
        let cases: [Case; 14] = [
            ("", |e| matches!(e, PathError::Empty)),
            ("/etc/passwd", |e| matches!(e, PathError::Absolute(_))),
            ("C:evil", |e| matches!(e, PathError::Absolute(_))),
            ("c:/evil", |e| matches!(e, PathError::Absolute(_))),
            ("data/D:evil", |e| matches!(e, PathError::Absolute(_))),
            ("data/d:/evil", |e| matches!(e, PathError::Absolute(_))),
            ("../up", |e| matches!(e, PathError::Dots(_))),
            ("a/../../up", |e| matches!(e, PathError::Dots(_))),
            ("a//b", |e| matches!(e, PathError::Dots(_))),
            ("a/", |e| matches!(e, PathError::Dots(_))),
            ("./a", |e| matches!(e, PathError::Dots(_))),
            ("a\\..\\b", |e| matches!(e, PathError::Character(_))),
            ("a\0b", |e| matches!(e, PathError::Character(_))),
            (".Penstock/state", |e| matches!(e, PathError::Reserved(_))),
        ];
        for (text, expected) in cases {
            let error = InstallPath::new(text).expect_err(text);
            assert!(expected(&error), "{text:?}: {error:?}");
        }
        assert!(InstallPath::new(&"a/".repeat(PATH_DEPTH_MAX + 1)).is_err());
        assert!(InstallPath::new(&"a".repeat(PATH_PART_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn names_that_one_disk_takes_for_one_share_a_key() {
        let key = |text: &str| InstallPath::new(text).expect("valid").collision_key();
        assert_eq!(key("Data/Readme.TXT"), key("data/README.txt"));
        assert_eq!(key("caf\u{e9}"), key("cafe\u{301}"));
        assert_ne!(key("a"), key("b"));
    }

    #[test]
    fn windows_names() {
        let problem = |text: &str| windows_problem(&InstallPath::new(text).expect("valid"));
        for bad in
            ["aux", "data/NUL.txt", "com1.dat", "a?b", "x/trailing.", "x/trailing ", "ab:stream", "lpt9", "con .x"]
        {
            assert!(problem(bad).is_some(), "{bad:?}");
        }
        assert!(windows_link_problem("../../data/nul").is_some());
        assert!(windows_link_problem("../x:stream").is_some());
        assert_eq!(windows_link_problem("../../data/world.pak"), None);
        for good in ["auxiliary", "com10", "a/b.txt", "console", ".hidden"] {
            assert_eq!(problem(good), None, "{good:?}");
        }
    }

    #[test]
    fn links_stay_inside() {
        let link = InstallPath::new("lib/a/link").expect("valid");
        assert!(link_stays_inside(&link, "../../bin/tool"));
        assert!(link_stays_inside(&link, "sibling"));
        assert!(!link_stays_inside(&link, "../../../etc"));
        assert!(!link_stays_inside(&link, "/etc"));
        assert!(!link_stays_inside(&link, "C:/x"));
        assert!(!link_stays_inside(&link, "x/D:evil"));
        assert!(!link_stays_inside(&link, "../../.penstock/state"));
    }

    proptest! {
        #[test]
        fn an_accepted_path_never_leaves_its_directory(text in "[a-zA-Z./\\\\: \u{0}é]{0,24}") {
            if let Ok(path) = InstallPath::new(&text) {
                let joined = std::path::Path::new("/base").join(path.as_str());
                prop_assert!(joined.starts_with("/base"));
                prop_assert!(joined.components().all(|c| !matches!(c, std::path::Component::ParentDir)));
                // What Windows would take for a drive stands in no part.
                prop_assert!(path.parts().all(|part| part.chars().nth(1) != Some(':')));
            }
        }
    }
}
