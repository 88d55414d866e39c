//! Request bodies: JSON in memory, or a blob read from its file as it is sent.

use crate::registry::Content;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::fs::File;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes per frame of a file body.
const PIECE_BYTES: usize = 256 * 1024;

/// A request body of known length.
#[derive(Debug)]
pub(super) struct Body {
    source: Source,
    left: u64,
}

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    File(File),
}

impl Body {
    pub(super) const fn bytes(bytes: Bytes) -> Self {
        let left = bytes.len() as u64;
        Self { source: Source::Memory(bytes), left }
    }

    pub(super) fn content(content: &Content<'_>) -> io::Result<Self> {
        Ok(match content {
            Content::Memory(bytes) => Self::bytes(Bytes::copy_from_slice(bytes)),
            Content::File { path, bytes } => Self { source: Source::File(File::open(path)?), left: *bytes },
        })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    /// Reads the file in place: this runtime does nothing but calls, and the file was just written.
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let wanted = usize::try_from(self.left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let piece = match &mut self.source {
            Source::Memory(bytes) => bytes.split_to(wanted),
            Source::File(file) => {
                let mut piece = vec![0; wanted];
                match file.read_exact(&mut piece) {
                    Ok(()) => Bytes::from(piece),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
        };
        self.left -= wanted as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
