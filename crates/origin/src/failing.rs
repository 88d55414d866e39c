//! An origin that fails when it is told to: for tests of everything that must survive a bad origin.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use penstock_core::blob::{BlobId, BlobSize};

use crate::{Origin, OriginDraft, OriginError};

/// How a [`FailingOrigin`] fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Failure {
    /// Not at all: everything goes to the origin under it.
    #[default]
    Never,
    /// Every call answers that the origin is not available.
    Always,
    /// Reading and asking work, writing fails: the origin is full.
    Full,
    /// Writing and reading fail once this many bytes went through, over all drafts and readers since it was set.
    After {
        /// The bytes that still pass.
        bytes: u64,
    },
}

/// Wraps an origin; the failure can be changed at any time, from any thread.
#[derive(Clone)]
pub struct FailingOrigin {
    inner: Arc<dyn Origin>,
    failure: Arc<Mutex<Failure>>,
}

impl FailingOrigin {
    /// Wraps `inner`, at first without failing.
    #[must_use]
    pub fn new(inner: Arc<dyn Origin>) -> Self {
        Self { inner, failure: Arc::default() }
    }

    /// Fails like this from now on.
    pub fn set(&self, failure: Failure) {
        *self.lock() = failure;
    }

    fn lock(&self) -> MutexGuard<'_, Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) -> Result<(), OriginError> {
        match *self.lock() {
            Failure::Always => Err(unavailable()),
            Failure::Never | Failure::Full | Failure::After { .. } => Ok(()),
        }
    }

    fn change(&self) -> Result<(), OriginError> {
        self.ask()?;
        match *self.lock() {
            Failure::Full => Err(OriginError::Full(Box::new(io::Error::from(io::ErrorKind::StorageFull)))),
            Failure::Never | Failure::Always | Failure::After { .. } => Ok(()),
        }
    }

    /// Lets `bytes` pass, or fails without passing any.
    fn pass(&self, passing: usize) -> Result<(), OriginError> {
        self.ask()?;
        if let Failure::After { bytes } = &mut *self.lock() {
            *bytes = bytes.checked_sub(passing as u64).ok_or_else(unavailable)?;
        }
        Ok(())
    }
}

fn unavailable() -> OriginError {
    OriginError::Unavailable(Box::new(io::Error::other("told to fail")))
}

impl Origin for FailingOrigin {
    fn size_of(&self, blob: &BlobId) -> Result<Option<BlobSize>, OriginError> {
        self.ask()?;
        self.inner.size_of(blob)
    }

    fn draft(&self, expected: BlobId, size: Option<u64>) -> Result<Box<dyn OriginDraft>, OriginError> {
        self.change()?;
        Ok(Box::new(FailingDraft { origin: self.clone(), inner: self.inner.draft(expected, size)? }))
    }

    fn read_all(&self, blob: &BlobId, max_bytes: u64) -> Result<Bytes, OriginError> {
        self.ask()?;
        let bytes = self.inner.read_all(blob, max_bytes)?;
        self.pass(bytes.len())?;
        Ok(bytes)
    }

    fn reader(&self, blob: &BlobId) -> Result<Box<dyn Read + Send>, OriginError> {
        self.ask()?;
        Ok(Box::new(FailingReader { origin: self.clone(), inner: self.inner.reader(blob)? }))
    }

    fn remove(&self, blob: &BlobId) -> Result<bool, OriginError> {
        self.ask()?;
        self.inner.remove(blob)
    }
}

struct FailingDraft {
    origin: FailingOrigin,
    inner: Box<dyn OriginDraft>,
}

impl OriginDraft for FailingDraft {
    fn write(&mut self, content: &[u8]) -> Result<(), OriginError> {
        self.origin.change()?;
        self.origin.pass(content.len())?;
        self.inner.write(content)
    }

    fn seal(self: Box<Self>) -> Result<BlobSize, OriginError> {
        self.origin.change()?;
        self.inner.seal()
    }
}

struct FailingReader {
    origin: FailingOrigin,
    inner: Box<dyn Read + Send>,
}

impl Read for FailingReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.origin.pass(read).map_err(io::Error::other)?;
        Ok(read)
    }
}
