//! The build tree as a list: what is in it, in release order, and why some trees are refused.
//!
//! Every refusal names the path. Nothing is read but directories and links; file content is
//! `cut`'s. Names are checked for every platform, not only for this machine's disk.

use crate::request::{Checked, ComponentRule, Pattern, PublishRequest};
use crate::source::Stamp;
use penstock_core::id::{ComponentName, Platform};
use penstock_core::limits::ENTRIES_MAX;
use penstock_core::path::{InstallPath, PathError, collision_key, windows_link_problem, windows_problem};
use penstock_frames::order::{link_is_safe, path_order};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Why a build tree cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A directory or link cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// On this machine.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The build itself is not a directory.
    #[error("{0} is not a directory")]
    NotADirectory(PathBuf),
    /// A name that is not text.
    #[error("{0:?} has a name that is not UTF-8: players' disks could not show it alike")]
    NotUtf8(PathBuf),
    /// A name that is no install path.
    #[error("a name in the build cannot be installed")]
    Path(#[from] PathError),
    /// A name that Windows cannot store, in a release that may be installed there: one for Windows,
    /// or for any platform.
    #[error("{path:?} has {problem}: rename it, or publish for a platform that is not Windows")]
    Windows {
        /// Which path.
        path: InstallPath,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A link to a name that Windows cannot store, in such a release.
    #[error("the link {path:?} points to {target:?}, which has {problem}")]
    WindowsLink {
        /// The link.
        path: InstallPath,
        /// Its target.
        target: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two names that a case-insensitive disk takes for one.
    #[error("{one:?} and {other:?} are one name to a case-insensitive disk: rename one")]
    Collision {
        /// Which path.
        one: String,
        /// The other.
        other: String,
    },
    /// A link out of the build, or one that could lead out through another.
    #[error("the link {path:?} points to {target:?}, which leads out of the build or could")]
    Link {
        /// The link.
        path: InstallPath,
        /// Its target.
        target: String,
    },
    /// A device, socket or pipe.
    #[error("{path:?} is a {what}: a release holds files, directories and links only")]
    Special {
        /// Which path.
        path: InstallPath,
        /// What it is.
        what: &'static str,
    },
    /// More than a release may have.
    #[error("the build has more than {ENTRIES_MAX} files, directories and links")]
    TooMany,
    /// A component's pattern is probably mistyped; the release could not be mended later.
    #[error("the pattern {pattern:?} of component {component} matches nothing in the build")]
    NothingInComponent {
        /// As it was given.
        pattern: String,
        /// The component.
        component: ComponentName,
    },
    /// A launch pattern is probably mistyped; the release could not be mended later.
    #[error("the launch pattern {pattern:?} matches no file in the build")]
    NothingToLaunch {
        /// As it was given.
        pattern: String,
    },
    /// Nothing to publish.
    #[error("{0} is empty: there is nothing to publish")]
    Empty(PathBuf),
}

/// One thing in the build.
#[derive(Debug)]
pub(crate) struct SourceEntry {
    pub(crate) path: InstallPath,
    /// Index into the checked request's components.
    pub(crate) component: u32,
    pub(crate) kind: SourceKind,
}

/// What it is.
#[derive(Debug)]
pub(crate) enum SourceKind {
    File { stamp: Stamp, executable: bool, launch: bool },
    Directory,
    Link { target: String },
}

/// The build, in release order.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) entries: Vec<SourceEntry>,
    pub(crate) content_bytes: u64,
    pub(crate) file_count: u64,
}

impl Scanned {
    /// Entries that are files, by index.
    pub(crate) fn files(&self) -> impl Iterator<Item = (usize, &SourceEntry, &Stamp)> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| match &entry.kind {
            SourceKind::File { stamp, .. } => Some((index, entry, stamp)),
            SourceKind::Directory | SourceKind::Link { .. } => None,
        })
    }
}

/// Lists the build.
pub(crate) fn scan(request: &PublishRequest, checked: &Checked) -> Result<Scanned, ScanError> {
    let unreadable = |source| ScanError::Unreadable { path: request.dir.clone(), source };
    if !fs::metadata(&request.dir).map_err(unreadable)?.is_dir() {
        return Err(ScanError::NotADirectory(request.dir.clone()));
    }
    let (rules, launch) = (request.components.iter().collect(), request.launch.iter().collect());
    let mut walk = Walk { request, checked, entries: Vec::new(), idle_rules: rules, idle_launch: launch };
    let mut open = vec![String::new()];
    while let Some(directory) = open.pop() {
        walk.directory(&directory, &mut open)?;
    }
    if walk.entries.is_empty() {
        return Err(ScanError::Empty(request.dir.clone()));
    }
    if let Some(rule) = walk.idle_rules.first() {
        let (pattern, component) = (rule.pattern.to_string(), rule.name.clone());
        return Err(ScanError::NothingInComponent { pattern, component });
    }
    if let Some(pattern) = walk.idle_launch.first() {
        return Err(ScanError::NothingToLaunch { pattern: pattern.to_string() });
    }
    let mut entries = walk.entries;
    entries.sort_unstable_by(|a, b| path_order(a.path.as_str(), b.path.as_str()));
    let mut scanned = Scanned { entries, content_bytes: 0, file_count: 0 };
    let (files, bytes) = scanned.files().fold((0, 0), |(files, bytes), (_, _, stamp)| (files + 1, bytes + stamp.bytes));
    (scanned.file_count, scanned.content_bytes) = (files, bytes);
    Ok(scanned)
}

struct Walk<'a> {
    request: &'a PublishRequest,
    checked: &'a Checked,
    entries: Vec<SourceEntry>,
    /// Component rules that matched nothing so far. One that matches what an earlier rule took is not idle.
    idle_rules: Vec<&'a ComponentRule>,
    /// Launch patterns that matched no file so far.
    idle_launch: Vec<&'a Pattern>,
}

impl Walk<'_> {
    /// Lists one directory, given with a slash at its end or empty for the build itself.
    fn directory(&mut self, prefix: &str, open: &mut Vec<String>) -> Result<(), ScanError> {
        let on_disk = self.request.dir.join(prefix);
        let unreadable = |source| ScanError::Unreadable { path: on_disk.clone(), source };
        let mut keys: HashMap<String, String> = HashMap::new();
        for item in fs::read_dir(&on_disk).map_err(unreadable)? {
            let name = item.map_err(unreadable)?.file_name();
            let Some(name) = name.to_str() else { return Err(ScanError::NotUtf8(on_disk.join(name))) };
            let path = InstallPath::new(&format!("{prefix}{name}"))?;
            if let Some(other) = keys.insert(collision_key(name), name.to_owned()) {
                let mut pair = [other, name.to_owned()].map(|name| format!("{prefix}{name}"));
                pair.sort();
                let [one, other] = pair;
                return Err(ScanError::Collision { one, other });
            }
            self.item(path, open)?;
        }
        if keys.is_empty() && !prefix.is_empty() {
            let path = InstallPath::new(prefix.trim_end_matches('/'))?;
            self.push(path, SourceKind::Directory)?;
        }
        Ok(())
    }

    fn item(&mut self, path: InstallPath, open: &mut Vec<String>) -> Result<(), ScanError> {
        if may_be_windows(&self.request.platform)
            && let Some(problem) = windows_problem(&path)
        {
            return Err(ScanError::Windows { path, problem });
        }
        let on_disk = self.request.dir.join(path.as_str());
        let unreadable = |source| ScanError::Unreadable { path: on_disk.clone(), source };
        let meta = fs::symlink_metadata(&on_disk).map_err(unreadable)?;
        let kind = meta.file_type();
        if kind.is_dir() {
            open.push(format!("{path}/"));
            return Ok(());
        }
        if kind.is_symlink() {
            let target = read_link(&on_disk)?;
            if !link_is_safe(&path, &target) {
                return Err(ScanError::Link { path, target });
            }
            if may_be_windows(&self.request.platform)
                && let Some(problem) = windows_link_problem(&target)
            {
                return Err(ScanError::WindowsLink { path, target, problem });
            }
            return self.push(path, SourceKind::Link { target });
        }
        if !kind.is_file() {
            return Err(ScanError::Special { path, what: special_name(&meta) });
        }
        let executable = meta.mode() & 0o111 != 0;
        self.idle_launch.retain(|pattern| !pattern.matches(path.as_str()));
        let launch = self.request.launch.iter().any(|pattern| pattern.matches(path.as_str()));
        self.push(path, SourceKind::File { stamp: Stamp::of(&meta), executable, launch })
    }

    fn push(&mut self, path: InstallPath, kind: SourceKind) -> Result<(), ScanError> {
        if self.entries.len() as u64 >= ENTRIES_MAX {
            return Err(ScanError::TooMany);
        }
        self.idle_rules.retain(|rule| !rule.pattern.matches(path.as_str()));
        let component = self.checked.component_of(&self.request.components, path.as_str());
        self.entries.push(SourceEntry { path, component, kind });
        Ok(())
    }
}

/// A release for any platform must install on each; whoever cannot rename names the others one by one.
fn may_be_windows(platform: &Platform) -> bool {
    *platform == Platform::any() || platform.as_str().starts_with("windows")
}

fn read_link(on_disk: &Path) -> Result<String, ScanError> {
    let target = fs::read_link(on_disk).map_err(|source| ScanError::Unreadable { path: on_disk.to_owned(), source })?;
    target.into_os_string().into_string().map_err(|_| ScanError::NotUtf8(on_disk.to_owned()))
}

fn special_name(meta: &fs::Metadata) -> &'static str {
    let kind = meta.file_type();
    if kind.is_fifo() {
        "pipe"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "device"
    } else {
        "thing of unknown kind"
    }
}
