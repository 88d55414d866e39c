//! Cutting files into chunks and hashing them, over all cores.
//!
//! One worker takes one file at a time, largest first, reads it once through a buffer of its own
//! and writes the chunks' names to a spool file of its own: memory does not grow with the build.

use crate::progress::Progress;
use crate::scan::Scanned;
use crate::source::{self, SourceError, Stamp};
use crate::spool::{Records, Spool};
use penstock_core::blob::ChunkId;
use penstock_core::limits::CHUNKS_MAX;
use penstock_core::path::InstallPath;
use penstock_frames::chunker::{Cutter, Tail};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Width of a record: a chunk's name and its length.
pub(crate) const CUT_BYTES: usize = 36;
/// A worker's read buffer: many chunks, so that little of it is moved to the front each time.
const BUFFER_BYTES: usize = 4 << 20;

/// Where a file's chunks are: so many records of one worker's spool file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FileCuts {
    pub(crate) worker: u32,
    pub(crate) first: u64,
    pub(crate) count: u32,
}

/// All files, cut.
#[derive(Debug)]
pub(crate) struct Cuts {
    /// Per entry of the scan; no chunks for what is not a file or empty.
    pub(crate) files: Vec<FileCuts>,
    /// Per worker.
    pub(crate) records: Vec<Records>,
}

/// Cuts all files of the build.
pub(crate) fn cut(
    dir: &Path,
    scanned: &Scanned,
    cutter: Cutter,
    threads: usize,
    spool: &Spool,
    progress: &dyn Progress,
) -> Result<Cuts, SourceError> {
    // Empty files too: one that was filled since it was listed must not be published empty.
    let mut work: Vec<(usize, &InstallPath, &Stamp)> =
        scanned.files().map(|(index, entry, stamp)| (index, &entry.path, stamp)).collect();
    // Largest first, so that no worker is left alone with a giant at the end; order decides nothing else.
    work.sort_by_key(|(index, _, stamp)| (std::cmp::Reverse(stamp.bytes), *index));
    let job = Job { dir, work: &work, cutter, next: AtomicUsize::new(0), stop: AtomicBool::new(false), progress };
    let outcome = Mutex::new((vec![FileCuts::default(); scanned.entries.len()], None));
    let mut records = Vec::new();
    for worker in 0..threads {
        records.push(spool.records(&format!("cuts-{worker}"), CUT_BYTES).map_err(SourceError::Spool)?);
    }
    std::thread::scope(|scope| {
        for (worker, records) in records.iter_mut().enumerate() {
            let (job, outcome) = (&job, &outcome);
            scope.spawn(move || {
                let worker = u32::try_from(worker).expect("few threads");
                let result = job.run(worker, records);
                let mut outcome = outcome.lock().expect("no worker panics with the lock");
                match result {
                    Ok(files) => files.into_iter().for_each(|(index, cuts)| outcome.0[index] = cuts),
                    Err(error) => {
                        job.stop.store(true, Ordering::Relaxed);
                        outcome.1.get_or_insert(error);
                    }
                }
            });
        }
    });
    let (files, error) = outcome.into_inner().expect("no worker panics with the lock");
    if let Some(error) = error {
        return Err(error);
    }
    let total: u64 = files.iter().map(|cuts| u64::from(cuts.count)).sum();
    if total > CHUNKS_MAX { Err(SourceError::TooManyChunks) } else { Ok(Cuts { files, records }) }
}

struct Job<'a> {
    dir: &'a Path,
    work: &'a [(usize, &'a InstallPath, &'a Stamp)],
    cutter: Cutter,
    next: AtomicUsize,
    stop: AtomicBool,
    progress: &'a dyn Progress,
}

impl Job<'_> {
    fn run(&self, worker: u32, records: &mut Records) -> Result<Vec<(usize, FileCuts)>, SourceError> {
        let mut buffer = vec![0u8; BUFFER_BYTES];
        let mut done = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let Some((index, path, stamp)) = self.work.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
            let first = records.len();
            self.file(path, stamp, &mut buffer, records)?;
            let count = u32::try_from(records.len() - first).map_err(|_| SourceError::TooManyChunks)?;
            done.push((*index, FileCuts { worker, first, count }));
        }
        records.flush().map_err(SourceError::Spool)?;
        Ok(done)
    }

    fn file(
        &self,
        path: &InstallPath,
        stamp: &Stamp,
        buffer: &mut [u8],
        records: &mut Records,
    ) -> Result<(), SourceError> {
        let mut file = source::open(self.dir, path, stamp)?;
        let changed = || SourceError::Changed { path: path.clone() };
        let (mut filled, mut read_bytes, mut tail) = (0, 0u64, Tail::More);
        loop {
            while filled < buffer.len() && tail == Tail::More {
                let count = read_some(&mut file, path, &mut buffer[filled..])?;
                filled += count;
                read_bytes += count as u64;
                if count == 0 {
                    tail = Tail::End;
                } else if read_bytes > stamp.bytes || self.stop.load(Ordering::Relaxed) {
                    // It grows as fast as we read, or somebody else failed: no use to go on.
                    return Err(changed());
                }
            }
            let mut start = 0;
            while let Some(length) = self.cutter.next(&buffer[start..filled], tail) {
                let chunk = &buffer[start..start + length];
                append(records, ChunkId::of(chunk), length).map_err(SourceError::Spool)?;
                start += length;
            }
            self.progress.advance(start as u64);
            if tail == Tail::End {
                break;
            }
            buffer.copy_within(start..filled, 0);
            filled -= start;
        }
        if read_bytes != stamp.bytes {
            return Err(changed());
        }
        source::check(&file, path, stamp)
    }
}

fn read_some(file: &mut File, path: &InstallPath, buffer: &mut [u8]) -> Result<usize, SourceError> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(SourceError::Unreadable { path: path.clone(), source }),
            Ok(count) => return Ok(count),
        }
    }
}

fn append(records: &mut Records, id: ChunkId, length: usize) -> std::io::Result<()> {
    let mut record = [0u8; CUT_BYTES];
    record[..32].copy_from_slice(id.as_bytes());
    let length = u32::try_from(length).expect("a chunk is at most 256 KiB");
    record[32..].copy_from_slice(&length.to_le_bytes());
    records.append(&record)
}

/// Takes a record apart.
pub(crate) fn read_cut(record: &[u8]) -> (ChunkId, u32) {
    let (id, length) = record.split_first_chunk::<32>().expect("a record holds a name");
    let length = u32::from_le_bytes(length[..4].try_into().expect("and a length"));
    (ChunkId::from_bytes(*id), length)
}
