//! The intent list of a commit: written and synced before the first rename, replayed after a crash.
//!
//! JSON lines: a head, operations, and a last line with the BLAKE3 of everything before it. A journal
//! that exists is complete, because it is synced before it gets its name; so whoever finds one carries
//! it out, from the start, and every operation may have been done already.

use crate::error::{DiskError, PullError};
use crate::layout;
use crate::platform::Root;
use crate::state::State;
use penstock_core::path::CLIENT_DIR;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write};

/// Longest line that is read: two paths and their escapes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// First line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Format of the journal.
    pub(crate) format: u32,
    /// The state once everything is in place.
    pub(crate) state: State,
    /// Directory inside `.penstock` for replaced files; `None` to drop them.
    pub(crate) keep_in: Option<String>,
    /// Whether this commit ends the update, so that staging and old blobs can go.
    pub(crate) last: bool,
}

/// Format written and read here.
pub(crate) const FORMAT: u32 = 1;

/// One step. Each may be carried out twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Op {
    /// Renames a file that is nobody's, so that it is not lost.
    Aside { path: String, to: String },
    /// Removes a file or link of the old release; `keep` is its row there. On a case-insensitive disk it may
    /// have one name with an entry of the new release: skipped once staged entry `unless_placed` is in place,
    /// and when an entry that came into place earlier, `unless_same`, is the same file.
    Remove {
        path: String,
        keep: Option<usize>,
        unless_placed: Option<usize>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unless_same: Option<String>,
    },
    /// Removes a directory if nothing is left in it.
    RemoveDir { path: String },
    /// Makes a directory.
    MakeDir { path: String },
    /// Puts a staged entry in place; `keep` is the row of what it replaces.
    Place { staged: usize, path: String, keep: Option<usize> },
    /// Sets the executable bit.
    Mode { path: String, executable: bool },
}

/// Writes a journal; it gets its name in [`Writer::finish`].
pub(crate) struct Writer<'a> {
    root: &'a Root,
    out: BufWriter<File>,
    hasher: blake3::Hasher,
}

#[derive(Serialize, Deserialize)]
struct End {
    end: String,
}

impl<'a> Writer<'a> {
    /// Starts a journal.
    pub(crate) fn begin(root: &'a Root, head: &Head) -> Result<Self, PullError> {
        let file = root.create(layout::JOURNAL_NEW, false)?;
        file.set_len(0).map_err(failed)?;
        let mut writer = Self { root, out: BufWriter::new(file), hasher: blake3::Hasher::new() };
        writer.line(head)?;
        Ok(writer)
    }
    /// Adds a step.
    pub(crate) fn push(&mut self, op: &Op) -> Result<(), PullError> {
        self.line(op)
    }
    /// Brings it to the platter and gives it its name: from here on the commit will happen.
    pub(crate) fn finish(mut self) -> Result<(), PullError> {
        let end = self.hasher.finalize().to_hex().to_string();
        self.line(&End { end })?;
        let file = self.out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        self.root.rename(layout::JOURNAL_NEW, layout::JOURNAL)?;
        self.root.sync_dir(CLIENT_DIR)?;
        Ok(())
    }

    fn line<T: Serialize>(&mut self, value: &T) -> Result<(), PullError> {
        let mut bytes = serde_json::to_vec(value)
            .map_err(|source| PullError::State { file: layout::JOURNAL.to_owned(), source })?;
        bytes.push(b'\n');
        self.hasher.update(&bytes);
        Ok(self.out.write_all(&bytes).map_err(failed)?)
    }
}

fn failed(source: std::io::Error) -> DiskError {
    DiskError::new("write", layout::JOURNAL, source)
}

/// A journal that was found, checked from end to end.
pub(crate) struct Reader {
    file: File,
    /// Its first line.
    pub(crate) head: Head,
    lines: usize,
}

impl Reader {
    /// Opens the journal, if there is one, and checks its hash.
    pub(crate) fn open(root: &Root) -> Result<Option<Self>, PullError> {
        if root.stat(layout::JOURNAL)?.is_none() {
            return Ok(None);
        }
        let file = root.open_read(layout::JOURNAL)?;
        let mut hasher = blake3::Hasher::new();
        let mut head = None;
        let mut good_end = false;
        let mut lines = 0;
        each_line(&file, |number, line| {
            lines = number;
            if number == 1 {
                head = Some(serde_json::from_slice::<Head>(line).map_err(|_| PullError::Journal(number))?);
            }
            if let Ok(end) = serde_json::from_slice::<End>(line) {
                good_end = end.end == hasher.finalize().to_hex().to_string();
            } else {
                good_end = false;
            }
            hasher.update(line);
            Ok(())
        })?;
        match head {
            Some(head) if good_end && head.format == FORMAT => Ok(Some(Self { file, head, lines })),
            Some(head) if good_end => Err(PullError::StateFormat(head.format)),
            _ => Err(PullError::Journal(lines)),
        }
    }
    /// Number of steps.
    pub(crate) const fn len(&self) -> usize {
        self.lines.saturating_sub(2)
    }
    /// Gives each step in order.
    pub(crate) fn each(&self, mut step: impl FnMut(Op) -> Result<(), PullError>) -> Result<(), PullError> {
        let last = self.lines;
        each_line(&self.file, |number, line| {
            if number == 1 || number == last {
                return Ok(());
            }
            step(serde_json::from_slice(line).map_err(|_| PullError::Journal(number))?)
        })
    }
}

fn each_line(file: &File, mut take: impl FnMut(usize, &[u8]) -> Result<(), PullError>) -> Result<(), PullError> {
    use std::io::{Read as _, Seek as _};
    let read_failed = |source| DiskError::new("read", layout::JOURNAL, source);
    let mut file = file;
    file.rewind().map_err(read_failed)?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(read_failed)?;
        if read == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            return Err(PullError::Journal(number));
        }
        take(number, &line)?;
    }
    Ok(())
}
