//! The two versions that are published: the generated sample, or a build and a small change of it.
//!
//! A version never changes what it holds, so the versions of a build carry a print of its tree: a build that
//! was made anew, or another one of the same name, gets versions of its own.

use super::layout::Layout;
use crate::sample::{self, Edition, Scale};
use anyhow::{Context as _, bail};
use penstock_core::id::{ProductId, Version};
use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bytes that the second version of a build has more, in the middle of its largest file.
const INSERTED_BYTES: usize = 4096;

/// Two directories of one product.
#[derive(Debug, Clone)]
pub(crate) struct Builds {
    /// The product's name.
    pub(crate) product: ProductId,
    /// `1` and `2`; of a build `1-PRINT` and `2-PRINT`.
    pub(crate) versions: [Version; 2],
    /// Their trees.
    pub(crate) dirs: [PathBuf; 2],
}

impl Builds {
    /// Makes what is missing.
    pub(crate) fn prepare(layout: &Layout, build: Option<&Path>) -> anyhow::Result<Self> {
        let versions = [version("1"), version("2")];
        let Some(build) = build else {
            let product = ProductId::new("sample").expect("a constant that is a name");
            let dir = layout.builds().join("sample");
            let dirs = [dir.join("1"), dir.join("2")];
            for (dir, edition) in dirs.iter().zip([Edition::First, Edition::Second]) {
                whole(dir, |draft| Ok(sample::write(draft, edition, Scale::FULL).map(drop)?))?;
            }
            return Ok(Self { product, versions, dirs });
        };
        let build = build.canonicalize().with_context(|| format!("cannot find the build {}", build.display()))?;
        if !build.is_dir() {
            bail!("the build {} is not a directory", build.display());
        }
        if layout.root().starts_with(&build) {
            bail!("the quickstart's directory lies inside the build {}: name another with --dir", build.display());
        }
        let product = product_of(&build);
        let print = print_of(&build)?;
        let versions = [version(&format!("1-{print}")), version(&format!("2-{print}"))];
        let copies = layout.builds().join(product.as_str());
        let second = copies.join(versions[1].as_str());
        if !second.is_dir() && copies.is_dir() {
            // Copies of what the build was before: as large as it, and of no use any more.
            fs::remove_dir_all(&copies).with_context(|| format!("cannot remove {}", copies.display()))?;
        }
        whole(&second, |draft| change(&build, draft))?;
        Ok(Self { product, versions, dirs: [build, second] })
    }

    /// Whether a version was made by a quickstart, this or an earlier one.
    pub(crate) fn made(&self, offered: &Version) -> bool {
        let own = |text: &str| {
            text == "1" || text == "2" || text.strip_prefix("1-").or(text.strip_prefix("2-")).is_some_and(is_print)
        };
        own(offered.as_str())
    }
}

/// Hexadecimal digits of a build's print.
const PRINT_DIGITS: usize = 8;

fn is_print(text: &str) -> bool {
    text.len() == PRINT_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
}

/// What a build's tree looks like without reading its files: place, paths, lengths and times of change.
fn print_of(build: &Path) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    list(build, Path::new(""), &mut lines)?;
    lines.sort();
    let mut hasher = blake3::Hasher::new();
    for line in std::iter::once(build.display().to_string()).chain(lines) {
        hasher.update(&(line.len() as u64).to_le_bytes());
        hasher.update(line.as_bytes());
    }
    let print: String = hasher.finalize().to_hex().chars().take(PRINT_DIGITS).collect();
    Ok(print)
}

fn list(root: &Path, at: &Path, lines: &mut Vec<String>) -> anyhow::Result<()> {
    let dir = root.join(at);
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let path = at.join(entry.file_name());
        let about = entry.metadata().with_context(|| format!("cannot look at {}", root.join(&path).display()))?;
        if about.is_dir() {
            list(root, &path, lines)?;
        } else {
            let (seconds, nanos) = (about.mtime(), about.mtime_nsec());
            lines.push(format!("{:?} {} {:o} {seconds}.{nanos}", path, about.len(), about.mode()));
        }
    }
    Ok(())
}

fn version(text: &str) -> Version {
    Version::new(text).expect("a constant that is a version")
}

/// The directory's name where that is a product's name; two builds can so share a quickstart's directory.
fn product_of(build: &Path) -> ProductId {
    let name = build.file_name().and_then(|name| name.to_str()).and_then(|name| ProductId::new(name).ok());
    name.filter(|name| name.as_str() != "sample")
        .unwrap_or_else(|| ProductId::new("my-build").expect("a constant that is a name"))
}

/// A directory that is there is whole: it is written under another name first.
fn whole(dir: &Path, write: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let draft = dir.with_extension("draft");
    if draft.exists() {
        fs::remove_dir_all(&draft).with_context(|| format!("cannot remove {}", draft.display()))?;
    }
    fs::create_dir_all(&draft).with_context(|| format!("cannot make {}", draft.display()))?;
    write(&draft)?;
    fs::rename(&draft, dir).with_context(|| format!("cannot make {}", dir.display()))
}

/// A copy with bytes inserted in the middle of the largest file and one small file more.
fn change(build: &Path, draft: &Path) -> anyhow::Result<()> {
    let mut largest: Option<(u64, PathBuf)> = None;
    copy_tree(build, draft, Path::new(""), &mut |path, bytes| {
        if largest.as_ref().is_none_or(|(most, _)| bytes > *most) {
            largest = Some((bytes, path.to_owned()));
        }
    })?;
    if let Some((bytes, path)) = largest {
        let path = draft.join(path);
        insert(&path, bytes / 2).with_context(|| format!("cannot change {}", path.display()))?;
    }
    let mut name = "quickstart-note.txt".to_owned();
    while draft.join(&name).exists() {
        name.insert(0, '_');
    }
    let note = draft.join(name);
    fs::write(&note, "The second version of this build, as the quickstart made it.\n")
        .with_context(|| format!("cannot write {}", note.display()))
}

fn copy_tree(from: &Path, to: &Path, at: &Path, seen: &mut dyn FnMut(&Path, u64)) -> anyhow::Result<()> {
    let source = from.join(at);
    for entry in fs::read_dir(&source).with_context(|| format!("cannot read {}", source.display()))? {
        let entry = entry?;
        let path = at.join(entry.file_name());
        let (old, new) = (from.join(&path), to.join(&path));
        let failed = || format!("cannot copy {}", old.display());
        let kind = entry.file_type().with_context(failed)?;
        if kind.is_dir() {
            fs::create_dir_all(&new).with_context(failed)?;
            copy_tree(from, to, &path, seen)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&old).with_context(failed)?, &new).with_context(failed)?;
        } else if kind.is_file() {
            seen(&path, fs::copy(&old, &new).with_context(failed)?);
        } else {
            bail!("{} is neither a file, a directory nor a link", old.display());
        }
    }
    Ok(())
}

/// Rewrites the tail of a file behind `at`, with new bytes before it; the tail goes through a bounded buffer.
fn insert(path: &Path, at: u64) -> io::Result<()> {
    let draft = path.with_extension("quickstart-draft");
    let mut source = fs::File::open(path)?;
    let permissions = source.metadata()?.permissions();
    {
        let mut out = fs::File::create(&draft)?;
        io::copy(&mut (&source).take(at), &mut out)?;
        let line = b"inserted by the quickstart\n";
        let inserted: Vec<u8> = line.iter().copied().cycle().take(INSERTED_BYTES).collect();
        out.write_all(&inserted)?;
        source.seek(SeekFrom::Start(at))?;
        io::copy(&mut source, &mut out)?;
        out.set_permissions(permissions)?;
    }
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_changed_in_its_copy_only() {
        let scratch = tempfile::tempdir().expect("dir");
        let build = scratch.path().join("game");
        fs::create_dir_all(build.join("data")).expect("dir");
        fs::write(build.join("data/large"), vec![7; 10_000]).expect("written");
        fs::write(build.join("small"), "x").expect("written");
        let layout = Layout::prepare(&scratch.path().join("try")).expect("made");
        let builds = Builds::prepare(&layout, Some(&build)).expect("made");
        assert_eq!(builds.product.as_str(), "game");
        assert_eq!(fs::read(build.join("data/large")).expect("there").len(), 10_000);
        let changed = fs::read(builds.dirs[1].join("data/large")).expect("there");
        assert_eq!(changed.len(), 10_000 + INSERTED_BYTES);
        assert!(changed[..5000].iter().chain(&changed[5000 + INSERTED_BYTES..]).all(|byte| *byte == 7));
        assert!(builds.dirs[1].join("quickstart-note.txt").exists());
        let again = Builds::prepare(&layout, Some(&build)).expect("reused");
        assert_eq!(again.dirs, builds.dirs);
        assert!(builds.versions.iter().all(|version| builds.made(version)));
        assert!(!builds.made(&version("2.0")) && !builds.made(&version("1-final")));

        fs::write(build.join("small"), "made anew").expect("written");
        let anew = Builds::prepare(&layout, Some(&build)).expect("made");
        assert_ne!(anew.versions, builds.versions, "a version never changes");
        assert_eq!(fs::read(anew.dirs[1].join("small")).expect("there"), b"made anew");
        assert!(!builds.dirs[1].exists(), "the old copy is gone");
    }

    #[test]
    fn odd_names_and_places_are_handled() {
        assert_eq!(product_of(Path::new("/x/My Game!")).as_str(), "my-build");
        assert_eq!(product_of(Path::new("/x/sample")).as_str(), "my-build");
        let scratch = tempfile::tempdir().expect("dir");
        let layout = Layout::prepare(&scratch.path().join("try")).expect("made");
        assert!(Builds::prepare(&layout, Some(scratch.path())).is_err(), "it would copy itself");
        assert!(Builds::prepare(&layout, Some(&scratch.path().join("missing"))).is_err());
    }
}
