//! The origin of a node that keeps its own blobs: a store on this machine.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use penstock_core::blob::{BlobId, BlobSize, ByteRange};
use penstock_store::{BlobView, Draft, Store};

use crate::{Origin, OriginDraft, OriginError};

/// Bytes that a reader brings in at once.
const READ_BYTES: u64 = 1 << 20;

/// An origin over a local store; the same store may serve.
#[derive(Debug, Clone)]
pub struct LocalOrigin {
    store: Store,
}

impl LocalOrigin {
    /// The origin whose blobs are those of `store`.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    /// The store under it.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }
}

impl Origin for LocalOrigin {
    fn size_of(&self, blob: &BlobId) -> Result<Option<BlobSize>, OriginError> {
        Ok(self.store.size_of(blob))
    }

    fn draft(&self, expected: BlobId, size: Option<u64>) -> Result<Box<dyn OriginDraft>, OriginError> {
        Ok(Box::new(LocalDraft(self.store.draft(Some(expected), size)?)))
    }

    fn read_all(&self, blob: &BlobId, max_bytes: u64) -> Result<Bytes, OriginError> {
        let size = self.store.size_of(blob).ok_or(OriginError::Unknown(*blob))?;
        if size.0 > max_bytes {
            return Err(OriginError::TooLarge { max: max_bytes });
        }
        match ByteRange::whole(size) {
            Some(whole) => Ok(self.store.view(blob)?.read(whole)?),
            None => Ok(Bytes::new()),
        }
    }

    fn reader(&self, blob: &BlobId) -> Result<Box<dyn Read + Send>, OriginError> {
        Ok(Box::new(LocalReader { view: self.store.view(blob)?, next: 0, window: Bytes::new() }))
    }

    fn remove(&self, blob: &BlobId) -> Result<bool, OriginError> {
        self.store.remove(blob).map_err(|error| OriginError::Unavailable(Box::new(error)))
    }
}

struct LocalDraft(Draft);

impl OriginDraft for LocalDraft {
    fn write(&mut self, content: &[u8]) -> Result<(), OriginError> {
        Ok(self.0.write(content)?)
    }

    fn seal(self: Box<Self>) -> Result<BlobSize, OriginError> {
        Ok(self.0.seal()?.size)
    }
}

struct LocalReader {
    view: BlobView,
    next: u64,
    window: Bytes,
}

impl Read for LocalReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.window.is_empty() {
            let end = self.view.size().0.min(self.next + READ_BYTES);
            let Some(range) = ByteRange::new(self.next, end) else { return Ok(0) };
            self.window = self.view.read(range).map_err(io::Error::other)?;
            self.next = end;
        }
        let part = self.window.len().min(into.len());
        self.window.copy_to_slice(&mut into[..part]);
        self.view.check().map_err(io::Error::other)?;
        Ok(part)
    }
}
