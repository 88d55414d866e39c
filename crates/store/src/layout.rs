//! Where a blob lies, and what a name in the store's directory means. Pure.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use penstock_core::blob::BlobId;

/// Number of shard directories: one for every first byte.
pub(crate) const SHARDS: usize = 256;

const OUTBOARD: &str = ".obao";
const SHA256: &str = ".sha2";

/// The paths of one store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// What a file in a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Blob(BlobId),
    /// Something that can be rebuilt and is worthless without its blob.
    Beside(BlobId),
    /// Not ours: left alone.
    Foreign,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
    pub(crate) fn scrub_place(&self) -> PathBuf {
        self.root.join("scrub")
    }
    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }
    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }
    pub(crate) fn shard(&self, first_byte: u8) -> PathBuf {
        self.root.join(format!("{first_byte:02x}"))
    }
    pub(crate) fn shard_of(&self, blob: &BlobId) -> PathBuf {
        self.shard(blob.as_bytes()[0])
    }
    pub(crate) fn blob(&self, blob: &BlobId) -> PathBuf {
        self.shard_of(blob).join(blob.to_string())
    }
    pub(crate) fn outboard(&self, blob: &BlobId) -> PathBuf {
        self.shard_of(blob).join(format!("{blob}{OUTBOARD}"))
    }
    pub(crate) fn sha256(&self, blob: &BlobId) -> PathBuf {
        self.shard_of(blob).join(format!("{blob}{SHA256}"))
    }
    /// What `name`, found in the shard of `first_byte`, is.
    pub(crate) fn named(first_byte: u8, name: &OsStr) -> Named {
        let Some(name) = name.to_str() else { return Named::Foreign };
        let (stem, beside) = match name.strip_suffix(OUTBOARD).or_else(|| name.strip_suffix(SHA256)) {
            Some(stem) => (stem, true),
            None => (name, false),
        };
        match stem.parse::<BlobId>() {
            Ok(blob) if blob.as_bytes()[0] != first_byte => Named::Foreign,
            Ok(blob) if beside => Named::Beside(blob),
            Ok(blob) => Named::Blob(blob),
            Err(_) => Named::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_reads_back_as_what_it_is() {
        let layout = Layout::new(Path::new("/store"));
        let blob = BlobId::of(b"x");
        let first = blob.as_bytes()[0];
        let named = |path: &Path| Layout::named(first, path.file_name().expect("has a name"));
        assert_eq!(named(&layout.blob(&blob)), Named::Blob(blob));
        assert_eq!(named(&layout.outboard(&blob)), Named::Beside(blob));
        assert_eq!(named(&layout.sha256(&blob)), Named::Beside(blob));
        assert_eq!(layout.blob(&blob), layout.shard(first).join(blob.to_string()));
        let elsewhere = Layout::named(first.wrapping_add(1), layout.blob(&blob).file_name().expect("has a name"));
        assert_eq!(elsewhere, Named::Foreign, "a blob in another shard would never be found again");
        for foreign in ["", "lost+found", ".obao", "README"] {
            assert_eq!(Layout::named(first, OsStr::new(foreign)), Named::Foreign);
        }
    }
}
