//! Puts an edition on disk: a bounded buffer per file, several files at once.

use super::content::{Function, Record, append_text};
use super::{Body, Edition, SampleFile, Scale, files};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Flushed when this full, so that a large pak never lies in memory whole.
const BUFFER_BYTES: usize = 1 << 20;

/// Why the sample could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the sample file {path:?}")]
pub(crate) struct SampleError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Writes an edition into `dir` (made when missing) and returns the bytes of all its files.
///
/// # Errors
/// [`SampleError`] with the first file that could not be written.
pub(crate) fn write(dir: &Path, edition: Edition, scale: Scale) -> Result<u64, SampleError> {
    let files = files(edition, scale);
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let work = || -> Result<u64, SampleError> {
        let mut total = 0;
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = dir.join(&file.path);
            total += write_file(&path, file).map_err(|source| SampleError { path, source })?;
        }
        Ok(total)
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().map(|handle| handle.join().expect("the writer does not panic")).sum()
    })
}

/// The length a file will have, in bytes.
#[cfg(test)]
pub(super) fn size_of(file: &SampleFile) -> u64 {
    match &file.body {
        Body::Pak(records) => {
            records.iter().map(|record| record.bytes + INDEX_ENTRY_BYTES).sum::<u64>() + PAK_TRAILER_BYTES
        }
        Body::Program(functions) => functions.iter().map(|function| function.bytes()).sum(),
        Body::Plain(record) => record.bytes,
        Body::Text { .. } => {
            let mut sink = Sink::counting();
            fill(&mut sink, &file.body).expect("counting does no input or output");
            sink.total
        }
    }
}

/// Index entry of a pak: identity, offset and length, 8 bytes each.
#[cfg(test)]
const INDEX_ENTRY_BYTES: u64 = 24;
/// `PAKI` twice and the number of records.
#[cfg(test)]
const PAK_TRAILER_BYTES: u64 = 16;

struct Sink {
    file: Option<File>,
    buffer: Vec<u8>,
    total: u64,
}

impl Sink {
    fn new(file: File) -> Self {
        Self { file: Some(file), buffer: Vec::with_capacity(BUFFER_BYTES + BUFFER_BYTES / 4), total: 0 }
    }

    #[cfg(test)]
    fn counting() -> Self {
        Self { file: None, buffer: Vec::new(), total: 0 }
    }

    fn settle(&mut self, level: usize) -> std::io::Result<()> {
        if self.buffer.len() > level {
            self.total += self.buffer.len() as u64;
            if let Some(file) = &mut self.file {
                file.write_all(&self.buffer)?;
            }
            self.buffer.clear();
        }
        Ok(())
    }
}

fn write_file(path: &Path, file: &SampleFile) -> std::io::Result<u64> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut sink = Sink::new(File::create(path)?);
    fill(&mut sink, &file.body)?;
    if matches!(file.body, Body::Program(_)) {
        executable(path)?;
    }
    Ok(sink.total)
}

#[cfg(unix)]
fn executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn executable(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

fn fill(sink: &mut Sink, body: &Body) -> std::io::Result<()> {
    match body {
        Body::Pak(records) => fill_pak(sink, records)?,
        Body::Program(functions) => fill_program(sink, functions)?,
        Body::Plain(record) => fill_record(sink, *record)?,
        Body::Text { seed, lines, edited } => append_text(*seed, *lines, *edited, &mut sink.buffer),
    }
    sink.settle(0)
}

/// Long records are made in pieces of their own seed, so that the buffer stays small.
fn fill_record(sink: &mut Sink, record: Record) -> std::io::Result<()> {
    let mut left = record.bytes;
    let mut piece = 0;
    while left > 0 {
        let bytes = left.min(BUFFER_BYTES as u64);
        Record { bytes, seed: record.seed.wrapping_add(piece << 48), ..record }.append(&mut sink.buffer);
        sink.settle(BUFFER_BYTES)?;
        left -= bytes;
        piece += 1;
    }
    Ok(())
}

fn fill_pak(sink: &mut Sink, records: &[Record]) -> std::io::Result<()> {
    let mut index = Vec::with_capacity(records.len() * 24);
    let mut offset = 0u64;
    for record in records {
        fill_record(sink, *record)?;
        for field in [record.seed, offset, record.bytes] {
            index.extend_from_slice(&field.to_le_bytes());
        }
        offset += record.bytes;
    }
    sink.buffer.extend_from_slice(&index);
    sink.buffer.extend_from_slice(b"PAKI");
    sink.buffer.extend_from_slice(&(records.len() as u64).to_le_bytes());
    sink.buffer.extend_from_slice(b"PAKI");
    Ok(())
}

fn fill_program(sink: &mut Sink, functions: &[Function]) -> std::io::Result<()> {
    let mut addresses = Vec::with_capacity(functions.len());
    let mut here = 0;
    for function in functions {
        addresses.push((function.seed, here));
        here += function.bytes();
    }
    let mut by_seed = addresses.clone();
    by_seed.sort_unstable();
    for (function, (_, here)) in functions.iter().zip(&addresses) {
        function.append(*here, &by_seed, &mut sink.buffer);
        sink.settle(BUFFER_BYTES)?;
    }
    Ok(())
}
