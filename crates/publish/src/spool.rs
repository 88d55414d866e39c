//! Temporary files of one publish: a directory that is gone when it ends, and files of equal records.
//!
//! What grows with the build lives here and not in memory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Appends are gathered up to this many bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// A private directory, removed with all it holds on drop.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
}

impl Spool {
    /// Makes one below `parent`.
    pub(crate) fn create(parent: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(parent)?;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let dir = parent.join(format!("penstock-publish-{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return Ok(Self { dir }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A new file of records of `width` bytes.
    pub(crate) fn records(&self, name: &str, width: usize) -> io::Result<Records> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path(name))?;
        Ok(Records { file, width, flushed: 0, buffer: Vec::new() })
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(%error, dir = %self.dir.display(), "cannot remove the temporary directory");
        }
    }
}

/// A file of records, all of one width, numbered from 0.
#[derive(Debug)]
pub(crate) struct Records {
    file: File,
    width: usize,
    /// Records in the file; those in `buffer` follow.
    flushed: u64,
    buffer: Vec<u8>,
}

impl Records {
    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.flushed + (self.buffer.len() / self.width) as u64
    }

    /// Adds one at the end.
    pub(crate) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        assert_eq!(record.len(), self.width, "records have one width");
        self.buffer.extend_from_slice(record);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Brings the buffer to the file.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.flushed * self.width as u64)?;
        self.flushed += (self.buffer.len() / self.width) as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Fills `out` with whole records from number `first` on.
    pub(crate) fn read(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        assert_eq!(out.len() % self.width, 0, "whole records are read");
        let in_file = usize::try_from(self.flushed.saturating_sub(first)).unwrap_or(usize::MAX);
        let split = in_file.saturating_mul(self.width).min(out.len());
        let (from_file, from_buffer) = out.split_at_mut(split);
        self.file.read_exact_at(from_file, first * self.width as u64)?;
        if from_buffer.is_empty() {
            return Ok(());
        }
        let skip = usize::try_from(first.saturating_sub(self.flushed)).unwrap_or(usize::MAX);
        let start = skip.saturating_mul(self.width);
        let end = start.saturating_add(from_buffer.len());
        let found = self.buffer.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        from_buffer.copy_from_slice(found);
        Ok(())
    }

    /// Writes over a record that was flushed, or past all of them; what lies between reads as zeros.
    pub(crate) fn write(&self, number: u64, record: &[u8]) -> io::Result<()> {
        assert_eq!(record.len(), self.width, "records have one width");
        self.file.write_all_at(record, number * self.width as u64)
    }

    /// Makes `count` records of zeros, in place of all.
    pub(crate) fn zero(&mut self, count: u64) -> io::Result<()> {
        self.buffer.clear();
        self.file.set_len(0)?;
        self.file.set_len(count * self.width as u64)?;
        self.flushed = count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_across_file_and_buffer() {
        let dir = tempfile::tempdir().expect("dir");
        let spool = Spool::create(dir.path()).expect("spool");
        let mut records = spool.records("r", 4).expect("file");
        for number in 0u32..10 {
            records.append(&number.to_le_bytes()).expect("append");
            if number == 5 {
                records.flush().expect("flush");
            }
        }
        assert_eq!(records.len(), 10);
        for first in 0..10u32 {
            let mut out = vec![0u8; 4 * (10 - first as usize)];
            records.read(u64::from(first), &mut out).expect("read");
            let expected: Vec<u8> = (first..10).flat_map(u32::to_le_bytes).collect();
            assert_eq!(out, expected);
        }
        assert!(records.read(9, &mut [0; 8]).is_err());
        records.zero(3).expect("zero");
        records.write(1, &[9; 4]).expect("write");
        let mut out = [1u8; 12];
        records.read(0, &mut out).expect("read");
        assert_eq!(out, [0, 0, 0, 0, 9, 9, 9, 9, 0, 0, 0, 0]);
        drop(spool);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 0);
    }
}
