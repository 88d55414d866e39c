//! Tree parts: files, directories and links. The layout is described in [`super`].

use super::{PartError, check_format, open};
use crate::column;
use crate::order::{TreeError, link_is_safe, path_order};
use crate::wire::TreeWire;
use penstock_core::limits::{CHUNK_BYTES_MAX, PART_ENTRIES_MAX, PATH_BYTES_MAX};
use penstock_core::manifest::PartRef;
use penstock_core::path::InstallPath;
use prost::Message as _;
use std::cmp::Ordering;

/// The format number of tree parts.
pub const TREE_FORMAT: u32 = 11;
/// Low bits of a kind byte: a file.
pub const KIND_FILE: u8 = 0;
/// Low bits of a kind byte: an empty directory.
pub const KIND_DIRECTORY: u8 = 1;
/// Low bits of a kind byte: a symbolic link.
pub const KIND_LINK: u8 = 2;
/// Flag of a kind byte: an executable file.
pub const FLAG_EXECUTABLE: u8 = 4;
/// Flag of a kind byte: a file of the launch set.
pub const FLAG_LAUNCH: u8 = 8;

/// One thing to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes.
    pub path: InstallPath,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Whether it may be run.
        executable: bool,
        /// Size in bytes.
        bytes: u64,
        /// How many of the component's next chunks are its content; 0 exactly when it is empty.
        chunks: u32,
        /// Whether the publisher marked it as a file that the game starts with. Nothing follows from
        /// it here: packs hold content in path order, and the order of a download is the client's.
        launch: bool,
    },
    /// An empty directory.
    Directory,
    /// A symbolic link.
    Link {
        /// Relative, with `/` between its parts; leads nowhere outside the install.
        target: String,
    },
}

/// A checked tree part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreePart {
    /// Entries in path order.
    pub entries: Vec<Entry>,
}

impl TreePart {
    /// Reads and checks a part's blob against what the root says of it.
    ///
    /// Order and collisions between parts are [`crate::order::TreeCheck`]'s to find.
    ///
    /// # Errors
    /// [`PartError`].
    pub fn decode(part: &PartRef, stored: &[u8]) -> Result<Self, PartError> {
        Self::from_content(&open(part, stored)?, Some(part.items as usize))
    }

    pub(super) fn from_content(content: &[u8], items: Option<usize>) -> Result<Self, PartError> {
        let wire = TreeWire::decode(content).map_err(|_| PartError::Malformed)?;
        check_format(TREE_FORMAT, wire.format, &wire.requires)?;
        let count = wire.kinds.len();
        if count > PART_ENTRIES_MAX || items.is_some_and(|items| items != count) {
            return Err(PartError::Number { what: "entry", index: count, field: "count" });
        }
        let paths = read_paths(&wire, count)?;
        let kinds = read_kinds(&wire, &paths)?;
        let entries = paths.into_iter().zip(kinds).map(|(path, kind)| Entry { path, kind }).collect();
        Ok(Self { entries })
    }
}

fn read_paths(wire: &TreeWire, count: usize) -> Result<Vec<InstallPath>, PartError> {
    let shared = column::numbers("shared", &wire.shared, count)?;
    let lens = column::numbers("rest_lens", &wire.rest_lens, count)?;
    let mut paths: Vec<InstallPath> = Vec::with_capacity(count);
    let mut rests = wire.rests.as_str();
    for (shared, len) in shared.into_iter().zip(lens) {
        let before = paths.last().map_or("", |path| path.as_str());
        let head = usize::try_from(shared).ok().and_then(|shared| before.get(..shared));
        let rest = split_text(&mut rests, len);
        let (Some(head), Some(rest)) = (head, rest) else { return Err(PartError::Text("paths")) };
        if head.len() + rest.len() > PATH_BYTES_MAX {
            return Err(PartError::Text("paths"));
        }
        let path = InstallPath::new(&format!("{head}{rest}"))?;
        if !paths.is_empty() && path_order(before, path.as_str()) != Ordering::Less {
            return Err(TreeError::Order(path).into());
        }
        paths.push(path);
    }
    if rests.is_empty() { Ok(paths) } else { Err(PartError::Text("paths")) }
}

fn read_kinds(wire: &TreeWire, paths: &[InstallPath]) -> Result<Vec<EntryKind>, PartError> {
    let of_kind = |kind: u8| wire.kinds.iter().filter(|byte| **byte & 3 == kind).count();
    let mut sizes = column::numbers("sizes", &wire.sizes, of_kind(KIND_FILE))?.into_iter();
    let mut counts = column::numbers_u32("chunk_counts", &wire.chunk_counts, of_kind(KIND_FILE))?.into_iter();
    let mut lens = column::numbers("target_lens", &wire.target_lens, of_kind(KIND_LINK))?.into_iter();
    let mut targets = wire.targets.as_str();
    let mut kinds = Vec::with_capacity(paths.len());
    for (index, (&byte, path)) in wire.kinds.iter().zip(paths).enumerate() {
        let (kind, flags) = (byte & 3, byte & !3);
        let flags_known = if kind == KIND_FILE { FLAG_EXECUTABLE | FLAG_LAUNCH } else { 0 };
        if flags & !flags_known != 0 {
            return Err(PartError::Unknown { what: "entry kind", number: u32::from(byte) });
        }
        kinds.push(match kind {
            KIND_FILE => {
                let bytes = sizes.next().expect("one size per file was read");
                let chunks = counts.next().expect("one count per file was read");
                check_file(index, bytes, chunks)?;
                let (executable, launch) = (flags & FLAG_EXECUTABLE != 0, flags & FLAG_LAUNCH != 0);
                EntryKind::File { executable, bytes, chunks, launch }
            }
            KIND_DIRECTORY => EntryKind::Directory,
            KIND_LINK => {
                let len = lens.next().expect("one length per link was read");
                let target = split_text(&mut targets, len).ok_or(PartError::Text("link targets"))?.to_owned();
                if !link_is_safe(path, &target) {
                    return Err(PartError::Link { path: path.clone(), target });
                }
                EntryKind::Link { target }
            }
            _ => return Err(PartError::Unknown { what: "entry kind", number: u32::from(byte) }),
        });
    }
    if targets.is_empty() { Ok(kinds) } else { Err(PartError::Text("link targets")) }
}

fn check_file(index: usize, bytes: u64, chunks: u32) -> Result<(), PartError> {
    let chunks = u64::from(chunks);
    if (bytes == 0) == (chunks == 0) && chunks <= bytes && bytes <= chunks * u64::from(CHUNK_BYTES_MAX) {
        return Ok(());
    }
    Err(PartError::Number { what: "entry", index, field: "number of chunks" })
}

/// Takes the next `len` bytes of a text, if that ends at a character.
fn split_text<'a>(text: &mut &'a str, len: u64) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(usize::try_from(len).ok()?)?;
    *text = tail;
    Some(head)
}
