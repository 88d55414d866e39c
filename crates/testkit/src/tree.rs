//! Small builds in memory: written to disk, edited like a release is, compared with an install.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// One entry of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A file.
    File {
        /// Its bytes.
        content: Vec<u8>,
        /// Its executable bit.
        executable: bool,
    },
    /// An empty directory; others are implied by paths.
    Directory,
    /// A symbolic link.
    Link(String),
}

/// A build, by path with `/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// All entries.
    pub nodes: BTreeMap<String, Node>,
}

/// One change between two releases. Built from plain numbers, so that any property-test library can
/// make them; every number means something on every non-empty tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// Flip bits of one byte.
    Patch {
        /// Chooses the file.
        file: u64,
        /// Chooses the place.
        at: u64,
    },
    /// Put new bytes in the middle.
    Insert {
        /// Chooses the file.
        file: u64,
        /// Chooses the place.
        at: u64,
        /// How many.
        bytes: u16,
    },
    /// Cut bytes off the end.
    Truncate {
        /// Chooses the file.
        file: u64,
        /// Chooses what is left.
        at: u64,
    },
    /// Give a file another name.
    Rename {
        /// Chooses the file.
        file: u64,
        /// Part of the new name.
        name: u16,
    },
    /// Remove a file; the last one stays.
    Remove {
        /// Chooses the file.
        file: u64,
    },
    /// Add a file of noise.
    Add {
        /// Part of its name.
        name: u16,
        /// Its length in bytes.
        bytes: u32,
    },
    /// Turn the executable bit around.
    Mode {
        /// Chooses the file.
        file: u64,
    },
}

impl Edit {
    /// Any three numbers are an edit.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "any low bits will do")]
    pub const fn from_numbers(kind: u8, a: u64, b: u64) -> Self {
        match kind % 7 {
            0 => Self::Patch { file: a, at: b },
            1 => Self::Insert { file: a, at: b, bytes: (b % 5000) as u16 + 1 },
            2 => Self::Truncate { file: a, at: b },
            3 => Self::Rename { file: a, name: b as u16 },
            4 => Self::Remove { file: a },
            5 => Self::Add { name: a as u16, bytes: (b % 300_000) as u32 },
            _ => Self::Mode { file: a },
        }
    }
}

/// Bytes that do not compress, the same for the same seed (splitmix64).
#[must_use]
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(bytes);
    out
}

impl Tree {
    /// Adds a plain file.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.nodes.insert(path.to_owned(), Node::File { content: content.into(), executable: false });
        self
    }

    /// Adds an executable file.
    #[must_use]
    pub fn program(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.nodes.insert(path.to_owned(), Node::File { content: content.into(), executable: true });
        self
    }

    /// Adds an empty directory.
    #[must_use]
    pub fn directory(mut self, path: &str) -> Self {
        self.nodes.insert(path.to_owned(), Node::Directory);
        self
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.nodes.insert(path.to_owned(), Node::Link(target.to_owned()));
        self
    }

    /// A build with one of everything, about `scale_bytes` large: a pak, a program, texts, a link, an
    /// empty file, an empty directory, a name beyond ASCII.
    #[must_use]
    pub fn small_game(seed: u64, scale_bytes: usize) -> Self {
        let mut tree = Self::default()
            .file("data/world.pak", noise(seed, scale_bytes / 2))
            .file("data/characters.pak", noise(seed + 1, scale_bytes / 4))
            .program("bin/racer", noise(seed + 2, scale_bytes / 8).repeat(2))
            .file("docs/empty.txt", Vec::new())
            .file("lang/żółw.txt", "szybki\n".repeat(100))
            .directory("saves")
            .link("racer", "bin/racer");
        for number in 0..20 {
            let text = format!("line of script {number}\n").repeat(10 + number);
            tree = tree.file(&format!("scripts/{number:02}.lua"), text);
        }
        tree
    }

    /// The next release of [`Tree::small_game`]: an insertion in the middle, a patch, a rename, a changed
    /// text, one file more, one less.
    #[must_use]
    pub fn next_release(&self) -> Self {
        let mut next = self.clone();
        if let Some(Node::File { content, .. }) = next.nodes.get_mut("data/world.pak") {
            let middle = content.len() / 2;
            content.splice(middle..middle, noise(99, 3000));
        }
        if let Some(Node::File { content, .. }) = next.nodes.get_mut("bin/racer") {
            let third = content.len() / 3;
            content[third] ^= 0xFF;
        }
        if let Some(node) = next.nodes.remove("data/characters.pak") {
            next.nodes.insert("data/cast/characters.pak".to_owned(), node);
        }
        next.nodes.remove("scripts/03.lua");
        next.file("scripts/07.lua", "return 7\n").file("docs/CHANGES.txt", "faster\n")
    }

    /// Applies one edit; an edit that has nothing to work on changes nothing.
    pub fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::Patch { file, at } => self.with_content(file, |content| {
                let at = place(at, content.len());
                if let Some(byte) = content.get_mut(at) {
                    *byte ^= 0x5A;
                }
            }),
            Edit::Insert { file, at, bytes } => self.with_content(file, |content| {
                let at = place(at, content.len() + 1);
                content.splice(at..at, noise(u64::from(bytes), usize::from(bytes)));
            }),
            Edit::Truncate { file, at } => self.with_content(file, |content| {
                let left = place(at, content.len() + 1);
                content.truncate(left);
            }),
            Edit::Rename { file, name } => {
                if let Some(path) = self.pick(file) {
                    let node = self.nodes.remove(&path).expect("picked among the nodes");
                    self.nodes.insert(format!("renamed/{name}.bin"), node);
                }
            }
            Edit::Remove { file } => {
                if let Some(path) = self.pick(file).filter(|_| self.nodes.len() > 1) {
                    self.nodes.remove(&path);
                }
            }
            Edit::Add { name, bytes } => {
                let content = noise(u64::from(name) + 7, usize::try_from(bytes).unwrap_or(0));
                self.nodes.insert(format!("added/{name}.bin"), Node::File { content, executable: false });
            }
            Edit::Mode { file } => {
                let path = self.pick(file);
                if let Some(Node::File { executable, .. }) = path.and_then(|path| self.nodes.get_mut(&path)) {
                    *executable = !*executable;
                }
            }
        }
    }

    fn pick(&self, number: u64) -> Option<String> {
        let files: Vec<&String> =
            self.nodes.iter().filter(|(_, node)| matches!(node, Node::File { .. })).map(|(path, _)| path).collect();
        files.get(place(number, files.len())).map(|path| (*path).clone())
    }

    fn with_content(&mut self, number: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.pick(number);
        if let Some(Node::File { content, .. }) = path.and_then(|path| self.nodes.get_mut(&path)) {
            change(content);
        }
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let sizes = self.nodes.values().map(|node| match node {
            Node::File { content, .. } => content.len() as u64,
            Node::Directory | Node::Link(_) => 0,
        });
        sizes.sum()
    }

    /// Writes everything below `dir`, which is made when missing.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        for (path, node) in &self.nodes {
            let full = dir.join(path);
            if let Some(parent) = full.parent() {
                fs::create_dir_all(parent)?;
            }
            match node {
                Node::File { content, executable } => {
                    fs::write(&full, content)?;
                    let mode = if *executable { 0o755 } else { 0o644 };
                    fs::set_permissions(&full, fs::Permissions::from_mode(mode))?;
                }
                Node::Directory => fs::create_dir_all(&full)?,
                Node::Link(target) => symlink(target, &full)?,
            }
        }
        Ok(())
    }

    /// Reads a directory back, without the client's own `.penstock`. Directories that hold something are implied.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut open = vec![PathBuf::new()];
        while let Some(relative) = open.pop() {
            let mut is_empty = true;
            for entry in fs::read_dir(dir.join(&relative))? {
                let entry = entry?;
                is_empty = false;
                let path = relative.join(entry.file_name());
                if path == Path::new(".penstock") {
                    continue;
                }
                let metadata = entry.metadata()?;
                let node = if metadata.is_dir() {
                    open.push(path);
                    continue;
                } else if metadata.is_symlink() {
                    Node::Link(fs::read_link(entry.path())?.to_string_lossy().into_owned())
                } else {
                    let executable = metadata.permissions().mode() & 0o100 != 0;
                    Node::File { content: fs::read(entry.path())?, executable }
                };
                tree.nodes.insert(path.to_string_lossy().into_owned(), node);
            }
            if is_empty && !relative.as_os_str().is_empty() {
                tree.nodes.insert(relative.to_string_lossy().into_owned(), Node::Directory);
            }
        }
        Ok(tree)
    }

    /// Every path in which the directory differs from this build, in order; empty means byte for byte the same.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn differences(&self, dir: &Path) -> io::Result<Vec<String>> {
        let found = Self::read(dir)?;
        let mut paths: Vec<&String> = self.nodes.keys().chain(found.nodes.keys()).collect();
        paths.sort_unstable();
        paths.dedup();
        paths.retain(|path| self.nodes.get(*path) != found.nodes.get(*path));
        Ok(paths.into_iter().cloned().collect())
    }
}

/// A place below `bound`, 0 when there is none.
fn place(number: u64, bound: usize) -> usize {
    usize::try_from(number % (bound.max(1) as u64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_comes_back_from_disk_and_differences_are_named() {
        let dir = tempfile::tempdir().expect("dir");
        let tree = Tree::small_game(1, 100_000);
        tree.write(dir.path()).expect("written");
        assert_eq!(Tree::read(dir.path()).expect("read"), tree);
        assert_eq!(tree.differences(dir.path()).expect("read"), Vec::<String>::new());
        fs::write(dir.path().join("scripts/00.lua"), "other").expect("written");
        fs::write(dir.path().join("extra"), "other").expect("written");
        assert_eq!(tree.differences(dir.path()).expect("read"), ["extra", "scripts/00.lua"]);
    }

    #[test]
    fn any_numbers_are_an_edit_that_keeps_the_tree_usable() {
        let mut tree = Tree::small_game(1, 10_000);
        for number in 0..500u64 {
            let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            tree.apply(Edit::from_numbers(u8::try_from(number % 251).expect("small"), spread, spread >> 7));
            assert!(!tree.nodes.is_empty());
        }
        let dir = tempfile::tempdir().expect("dir");
        tree.write(dir.path()).expect("written");
        assert_eq!(tree.differences(dir.path()).expect("read"), Vec::<String>::new());
    }
}
