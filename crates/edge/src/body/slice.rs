//! What bodies are made of: bytes in memory, or of a map that the connection answers for until it has consumed them.

use crate::sending::Sender;
use bytes::{Buf, Bytes};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a response. Dropped once they are written, encrypted or thrown away.
#[derive(Debug, Default)]
pub struct Slice {
    bytes: Bytes,
    sender: Option<Arc<Sender>>,
    /// Somebody has looked at the bytes, so the connection must look at the file before it writes.
    is_exposed: AtomicBool,
}

impl Slice {
    /// Bytes of a map have a sender.
    pub(crate) fn new(bytes: Bytes, sender: Option<&Arc<Sender>>) -> Self {
        Self { bytes, sender: sender.cloned(), is_exposed: AtomicBool::new(false) }
    }

    fn expose(&self) {
        if let Some(sender) = &self.sender
            && !self.is_exposed.swap(true, Ordering::Relaxed)
        {
            sender.expose();
        }
    }
}

impl From<Bytes> for Slice {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes, None)
    }
}

impl Buf for Slice {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        self.expose();
        &self.bytes
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.expose();
        self.bytes.chunks_vectored(slices)
    }

    fn advance(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        if let Some(sender) = &self.sender
            && *self.is_exposed.get_mut()
        {
            sender.conceal();
        }
    }
}
