//! What an edge knows, on its disk: the feed's own lines, each with its mark in front, in one file.
//!
//! ```text
//! 0123456789abcdef {"hello":…}      keys
//! 0123456789abcdef {"state":…}      the last whole state: its parts …
//! 0123456789abcdef {"whole":…}
//! 0123456789abcdef {"change":…}     … and the changes after it, with a beat now and then
//! ```
//!
//! A state is written to a file beside it, which takes the journal's place once it is whole and synced: half a state is
//! never known. Changes are appended, and synced before anybody acts on them. What a crash tore off at the end, or
//! damage anywhere, costs what follows it and no more: the lines before are a state that was, and control tells the rest.
//! A line's mark is checked whenever it is read. When most of the file is what later lines replaced, it is written anew,
//! without revocations of tokens that ended since.
//!
//! The file holds the fleet's pseudonym key, so nobody else may read it. It blocks: only the follower's thread uses it.

use crate::token::LEEWAY_SECONDS_MAX;
use penstock_core::blob::BlobId;
use penstock_core::catalog::CatalogChange;
use penstock_core::feed::{Fold, Hello, Line, Mark, Order, Place};
use penstock_core::limits::FEED_LINE_BYTES_MAX;
use penstock_core::time::UnixSeconds;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Largest journal, in bytes: a state beyond it is refused. Ten thousand releases of a thousand blobs are 1.5 GB.
const BYTES_MAX: u64 = 8 << 30;
/// A journal is written anew when it has so many bytes more than twice what is still true.
const SLACK_BYTES: u64 = 16 << 20;
/// The mark and the space before a line.
const MARK_BYTES: usize = 17;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk.
    #[error("cannot {what} {path}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It grew too large.
    #[error("what control knows takes more than {BYTES_MAX} bytes")]
    TooLarge,
    /// A line that was good is not any more.
    #[error("{path} changed under this process", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// Where a line lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    start: u64,
    bytes: u64,
}

/// A file of lines: the journal, or a state that is not whole yet.
struct Lines {
    path: PathBuf,
    file: File,
    end: u64,
}

/// The journal of a whole state and what came after it.
pub(super) struct Journal {
    lines: Lines,
    hello: Hello,
    fold: Fold<Spot>,
    place: Place,
    heard: UnixSeconds,
    /// Bytes of lines that are still true.
    live: u64,
    snapshot: Option<BlobId>,
    /// A snapshot was told that is not here: something stands in its place.
    lacks_snapshot: bool,
}

/// A state that is being told.
pub(super) struct Draft {
    lines: Lines,
    hello: Hello,
    fold: Fold<Spot>,
    live: u64,
    snapshot: Option<BlobId>,
}

impl Journal {
    /// Opens the journal in `dir`, which is made if it is missing; `None` when no whole state is known.
    ///
    /// # Errors
    /// [`JournalError::Io`]. Damage is none: what is good before it is used, and said in the log.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, JournalError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error("create", dir))?;
        let path = dir.join("journal");
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let length = file.metadata().map_err(io_error("examine", &path))?.len();
        let mut reading = Reading::default();
        let mut reader = BufReader::with_capacity(1 << 16, &file);
        let mut text = Vec::new();
        let mut end = 0;
        loop {
            text.clear();
            let most = (FEED_LINE_BYTES_MAX + MARK_BYTES + 1) as u64;
            let bytes = (&mut reader).take(most).read_until(b'\n', &mut text).map_err(io_error("read", &path))?;
            let spot = Spot { start: end, bytes: bytes as u64 };
            if bytes == 0 || reading.take(&text, spot).is_none() {
                break;
            }
            end += bytes as u64;
        }
        drop(reader);
        let Reading { hello: Some(hello), fold, place: Some(place), heard, live, snapshot, lacks_snapshot, .. } =
            reading
        else {
            tracing::error!(path = %path.display(), "what this edge knew is damaged: it has to ask control");
            return Ok(None);
        };
        if end < length {
            tracing::warn!(
                path = %path.display(), lost_bytes = length - end, sequence = place.sequence,
                "the end of what this edge knew is damaged or torn off: it goes on from before"
            );
            file.set_len(end).and_then(|()| file.sync_all()).map_err(io_error("shorten", &path))?;
        }
        Ok(Some(Self {
            lines: Lines { path, file, end },
            hello,
            fold,
            place,
            heard: UnixSeconds(heard),
            live,
            snapshot,
            lacks_snapshot,
        }))
    }

    /// The last hello.
    pub(super) const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The last change that is known.
    pub(super) const fn place(&self) -> Place {
        self.place
    }

    /// When this was last known to be the newest there was.
    pub(super) const fn heard(&self) -> UnixSeconds {
        self.heard
    }

    /// What is known.
    pub(super) const fn fold(&self) -> &Fold<Spot> {
        &self.fold
    }

    /// Shows everything that is known, in the order in which it was told.
    ///
    /// # Errors
    /// [`JournalError`], also when a line is not what was written.
    pub(super) fn show(&self, mut show: impl FnMut(u64, CatalogChange)) -> Result<(), JournalError> {
        for (sequence, spot) in self.fold.in_order() {
            show(sequence, self.lines.change(*spot)?);
        }
        Ok(())
    }

    /// The blob of the snapshot of accounts.
    pub(super) const fn snapshot(&self) -> Option<BlobId> {
        self.snapshot
    }

    /// Whether a snapshot was told that is not here.
    pub(super) const fn lacks_snapshot(&self) -> bool {
        self.lacks_snapshot
    }

    /// Takes a snapshot that was told earlier and came now, in place of what stood for it: the journal is written anew.
    ///
    /// # Errors
    /// [`JournalError`]; it is as it was before then.
    pub(super) fn rest_on(&mut self, sequence: u64, change: &CatalogChange) -> Result<(), JournalError> {
        self.lacks_snapshot = false;
        let written = self.write_anew(Some((sequence, change)));
        self.lacks_snapshot = written.is_err();
        written
    }

    /// Takes changes that cannot be written, so that it is known what has to go when the next state comes. From here on
    /// the file lacks something, and nothing may be appended any more.
    pub(super) fn note(&mut self, changes: &[(Vec<u8>, u64, CatalogChange)]) {
        for (_, sequence, change) in changes {
            self.fold.take(*sequence, change, Spot { start: 0, bytes: 0 });
            self.snapshot = snapshot_of(change).or(self.snapshot);
        }
    }

    /// Appends changes that came one after the other, each as its line, and makes them durable.
    ///
    /// # Errors
    /// [`JournalError`]; the file is as it was before, as far as the disk lets it be.
    pub(super) fn append(&mut self, changes: &[(Vec<u8>, u64, CatalogChange)]) -> Result<(), JournalError> {
        let before = self.lines.end;
        let written = changes.iter().map(|(text, ..)| self.lines.write(text)).collect::<Result<Vec<_>, _>>();
        let spots = match written.and_then(|spots| self.lines.sync().map(|()| spots)) {
            Ok(spots) => spots,
            Err(error) => {
                // A torn line would end the reading of all that comes after it.
                if self.lines.file.set_len(before).is_ok() {
                    self.lines.end = before;
                }
                return Err(error);
            }
        };
        for ((text, sequence, change), spot) in changes.iter().zip(spots) {
            self.live += spot.bytes;
            let replaced = self.fold.take(*sequence, change, spot);
            self.live -= replaced.iter().map(|spot| spot.bytes).sum::<u64>();
            self.snapshot = snapshot_of(change).or(self.snapshot);
            self.lacks_snapshot = lacks_after(self.lacks_snapshot, change);
            self.place = Place { sequence: *sequence, mark: Mark::of_line(text) };
        }
        self.tidy()
    }

    /// Notes that nothing newer was there at a moment. Not synced: a crash costs a little of the age that is told.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn beat(&mut self, heard: UnixSeconds) -> Result<(), JournalError> {
        self.heard = heard;
        self.lines.write(&Line::Beat { newest: self.place.sequence, at: heard }.encode())?;
        self.tidy()
    }

    /// Writes the journal anew when most of it was replaced.
    fn tidy(&mut self) -> Result<(), JournalError> {
        if self.lines.end <= self.live * 2 + SLACK_BYTES {
            return Ok(());
        }
        self.write_anew(None)
    }

    /// Writes down what is still true, in place of all that was written, and a snapshot that came late.
    fn write_anew(&mut self, late: Option<(u64, &CatalogChange)>) -> Result<(), JournalError> {
        let mut draft = Draft::begin(self.lines.dir(), self.hello.clone(), self.place.sequence)?;
        for (sequence, spot) in self.fold.in_order() {
            let change = self.lines.change(*spot)?;
            let is_over = if change == stand_in() { !self.lacks_snapshot } else { is_over(&change, self.heard) };
            if is_over {
                continue;
            }
            draft.part(&Line::Part { sequence, change: change.clone() }.encode(), sequence, &change)?;
        }
        if let Some((sequence, change)) = late {
            draft.part(&Line::Part { sequence, change: change.clone() }.encode(), sequence, change)?;
        }
        let sound = draft.finish(self.place, self.heard)?;
        *self = Self { lacks_snapshot: self.lacks_snapshot, ..sound.publish()? };
        Ok(())
    }
}

impl Draft {
    /// Begins a state beside the journal in `dir`.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn begin(dir: &Path, hello: Hello, sequence: u64) -> Result<Self, JournalError> {
        let path = dir.join("journal.new");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path).map_err(io_error("create", &path))?;
        let mut lines = Lines { path, file, end: 0 };
        lines.write(&Line::Hello(hello.clone()).encode())?;
        lines.write(&Line::State { sequence }.encode())?;
        Ok(Self { lines, hello, fold: Fold::default(), live: 0, snapshot: None })
    }

    /// Takes a part, as its line.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn part(&mut self, text: &[u8], sequence: u64, change: &CatalogChange) -> Result<(), JournalError> {
        let spot = self.lines.write(text)?;
        self.live += spot.bytes;
        let replaced = self.fold.take(sequence, change, spot);
        self.live -= replaced.iter().map(|spot| spot.bytes).sum::<u64>();
        self.snapshot = snapshot_of(change).or(self.snapshot);
        Ok(())
    }

    /// The state is whole: it is made durable, and nobody knows it yet.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(super) fn finish(mut self, place: Place, heard: UnixSeconds) -> Result<Whole, JournalError> {
        self.lines.write(&Line::Whole { sequence: place.sequence, mark: place.mark }.encode())?;
        self.lines.write(&Line::Beat { newest: place.sequence, at: heard }.encode())?;
        self.lines.sync()?;
        let Self { lines, hello, fold, live, snapshot } = self;
        let lacks_snapshot = false;
        Ok(Whole(Journal { lines, hello, fold, place, heard, live, snapshot, lacks_snapshot }))
    }
}

/// A whole state that is not in the journal's place yet.
pub(super) struct Whole(Journal);

impl Whole {
    /// Puts it in the journal's place.
    ///
    /// # Errors
    /// [`JournalError`]; the old journal stays.
    pub(super) fn publish(mut self) -> Result<Journal, JournalError> {
        let dir = self.0.lines.dir().to_owned();
        let path = dir.join("journal");
        fs::rename(&self.0.lines.path, &path).map_err(io_error("rename", &path))?;
        File::open(&dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", &dir))?;
        self.0.lines.path = path;
        Ok(self.0)
    }
}

impl Lines {
    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Writes a line, which may have its end or not, at the end.
    fn write(&mut self, text: &[u8]) -> Result<Spot, JournalError> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let mut line = Mark::of_line(text).to_string().into_bytes();
        line.push(b' ');
        line.extend_from_slice(text);
        line.push(b'\n');
        let spot = Spot { start: self.end, bytes: line.len() as u64 };
        if spot.start + spot.bytes > BYTES_MAX {
            return Err(JournalError::TooLarge);
        }
        let written = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(&line));
        written.map_err(io_error("write", &self.path))?;
        self.end += spot.bytes;
        Ok(spot)
    }

    fn sync(&self) -> Result<(), JournalError> {
        self.file.sync_data().map_err(io_error("sync", &self.path))
    }

    /// Reads a line again.
    fn change(&self, spot: Spot) -> Result<CatalogChange, JournalError> {
        let mut text = vec![0; usize::try_from(spot.bytes).unwrap_or(0)];
        self.file.read_exact_at(&mut text, spot.start).map_err(io_error("read", &self.path))?;
        match line_of(&text) {
            Some((_, Line::Part { change, .. } | Line::Change { change, .. })) => Ok(change),
            _ => Err(JournalError::Changed { path: self.path.clone() }),
        }
    }
}

/// A line of the file and its text, if it is what was written.
fn line_of(text: &[u8]) -> Option<(&[u8], Line)> {
    let (mark, text) = text.strip_suffix(b"\n")?.split_at_checked(MARK_BYTES)?;
    let mark: Mark = std::str::from_utf8(mark).ok()?.strip_suffix(' ')?.parse().ok()?;
    if Mark::of_line(text) != mark {
        return None;
    }
    Some((text, Line::parse(text).ok()?))
}

/// A journal that is being read.
#[derive(Default)]
struct Reading {
    order: Option<Order>,
    hello: Option<Hello>,
    fold: Fold<Spot>,
    /// Once a state was whole.
    place: Option<Place>,
    /// In Unix seconds.
    heard: u64,
    live: u64,
    snapshot: Option<BlobId>,
    lacks_snapshot: bool,
}

impl Reading {
    /// Takes a line; `None` when it is not one that was written here.
    fn take(&mut self, text: &[u8], spot: Spot) -> Option<()> {
        let (text, line) = line_of(text)?;
        self.order.get_or_insert_with(|| Order::new(None)).take(&line).ok()?;
        match line {
            Line::Hello(hello) => self.hello = Some(hello),
            Line::State { .. } => {}
            Line::Part { sequence, change } => self.keep(sequence, &change, spot),
            Line::Whole { sequence, mark } => self.place = Some(Place { sequence, mark }),
            Line::Change { sequence, change } => {
                self.keep(sequence, &change, spot);
                self.place = Some(Place { sequence, mark: Mark::of_line(text) });
            }
            Line::Beat { at, .. } => self.heard = at.0,
        }
        Some(())
    }

    fn keep(&mut self, sequence: u64, change: &CatalogChange, spot: Spot) {
        self.live += spot.bytes;
        let replaced = self.fold.take(sequence, change, spot);
        self.live -= replaced.iter().map(|spot| spot.bytes).sum::<u64>();
        self.snapshot = snapshot_of(change).or(self.snapshot);
        self.lacks_snapshot = lacks_after(self.lacks_snapshot, change);
    }
}

/// What stands in the place of a snapshot that was told and is not here: nothing that anybody knows by it. Control tells no
/// such change.
pub(super) const fn stand_in() -> CatalogChange {
    CatalogChange::TokensRevoked { tokens: Vec::new() }
}

/// Whether a snapshot is lacking after a change, as it was before it: a later one holds what an earlier one does.
fn lacks_after(before: bool, change: &CatalogChange) -> bool {
    *change == stand_in() || (before && snapshot_of(change).is_none())
}

/// Whether nobody needs to remember a change any more: revocations of tokens that all ended by themselves.
fn is_over(change: &CatalogChange, now: UnixSeconds) -> bool {
    let CatalogChange::TokensRevoked { tokens } = change else { return false };
    tokens.iter().all(|revoked| revoked.until.plus(LEEWAY_SECONDS_MAX) < now)
}

const fn snapshot_of(change: &CatalogChange) -> Option<BlobId> {
    if let CatalogChange::AccountsSnapshot { blob, .. } = change { Some(*blob) } else { None }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { what, path, source }
}

#[cfg(test)]
mod tests;
