//! Two directory trees, byte for byte: the quickstart's proof that an install is the build.
//!
//! Reads only. Shares nothing with the client that made the install: no hash, no manifest.

use penstock_core::path::CLIENT_DIR;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Read at once from each of the two files.
const BUFFER_BYTES: usize = 256 * 1024;

/// What was compared, and what was not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Files compared.
    pub(crate) files: u64,
    /// Bytes compared.
    pub(crate) bytes: u64,
    /// Paths that differ, with the reason, in path order.
    pub(crate) differences: Vec<String>,
}

/// Why a tree could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path:?} to compare it")]
pub(crate) struct CompareError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

#[derive(Debug, PartialEq, Eq)]
enum Node {
    File { bytes: u64, executable: bool },
    Directory,
    Link(PathBuf),
}

/// Compares all of `build` with all of `install`, but for the client's own directory in the latter.
///
/// # Errors
/// [`CompareError`] when something cannot be read; a difference is not an error.
pub(crate) fn trees(build: &Path, install: &Path) -> Result<Comparison, CompareError> {
    let (expected, found) = (list(build)?, list(install)?);
    let mut comparison = Comparison { files: 0, bytes: 0, differences: Vec::new() };
    for (path, node) in &expected {
        let difference = match found.get(path) {
            None => Some("is missing"),
            Some(other) if other != node => Some("has another kind, size or mode"),
            Some(_) => match node {
                Node::File { bytes, .. } => {
                    comparison.files += 1;
                    comparison.bytes += bytes;
                    let same = same_bytes(&build.join(path), &install.join(path))?;
                    (!same).then_some("has other bytes")
                }
                Node::Directory | Node::Link(_) => None,
            },
        };
        comparison.differences.extend(difference.map(|reason| format!("{} {reason}", path.display())));
    }
    let extra = found.keys().filter(|path| !expected.contains_key(*path));
    comparison.differences.extend(extra.map(|path| format!("{} is not in the build", path.display())));
    Ok(comparison)
}

fn list(root: &Path) -> Result<BTreeMap<PathBuf, Node>, CompareError> {
    let mut nodes = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(relative) = open.pop() {
        let directory = root.join(&relative);
        let failed = |source| CompareError { path: directory.clone(), source };
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = relative.join(entry.file_name());
            if relative.as_os_str().is_empty() && entry.file_name() == CLIENT_DIR {
                continue;
            }
            let node = node(&entry).map_err(|source| CompareError { path: entry.path(), source })?;
            if node == Node::Directory {
                open.push(path.clone());
            }
            nodes.insert(path, node);
        }
    }
    Ok(nodes)
}

fn node(entry: &std::fs::DirEntry) -> io::Result<Node> {
    let metadata = entry.metadata()?;
    if metadata.is_symlink() {
        return Ok(Node::Link(std::fs::read_link(entry.path())?));
    }
    if metadata.is_dir() {
        return Ok(Node::Directory);
    }
    Ok(Node::File { bytes: metadata.len(), executable: is_executable(&metadata) })
}

#[cfg(unix)]
fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_metadata: &std::fs::Metadata) -> bool {
    false
}

fn same_bytes(a: &Path, b: &Path) -> Result<bool, CompareError> {
    let open = |path: &Path| File::open(path).map_err(|source| CompareError { path: path.to_owned(), source });
    let (mut left, mut right) = (open(a)?, open(b)?);
    let (mut left_bytes, mut right_bytes) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    loop {
        let read = left.read(&mut left_bytes).map_err(|source| CompareError { path: a.to_owned(), source })?;
        if read == 0 {
            let more = right.read(&mut right_bytes).map_err(|source| CompareError { path: b.to_owned(), source })?;
            return Ok(more == 0);
        }
        match right.read_exact(&mut right_bytes[..read]) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(source) => return Err(CompareError { path: b.to_owned(), source }),
        }
        if left_bytes[..read] != right_bytes[..read] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("dir");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("inside")).expect("dir");
            std::fs::write(path, text).expect("written");
        }
        dir
    }

    #[test]
    fn each_kind_of_difference_is_named() {
        let build = tree(&[("a", "same"), ("b/c", "text"), ("only", "x"), ("size", "12")]);
        let install =
            tree(&[("a", "same"), ("b/c", "tEXt"), ("extra", "x"), ("size", "123"), (".penstock/state", "s")]);
        let found = trees(build.path(), install.path()).expect("readable");
        assert_eq!(
            found.differences,
            [
                "b/c has other bytes",
                "only is missing",
                "size has another kind, size or mode",
                "extra is not in the build"
            ]
        );
        assert_eq!((found.files, found.bytes), (2, 8));
    }
}
