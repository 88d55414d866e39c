//! Response bodies: windows of a blob's map, without a copy, never from a page that is not resident.
//!
//! [`Body`] counts what is handed over and tells the [`Pen`]; [`stream`] yields the windows. It must not decide which
//! bytes are meant.

mod plan;
mod slice;
mod stream;

pub(crate) use plan::Plan;
pub use slice::Slice;
pub(crate) use stream::Stream;

use crate::outcome::{End, Pen};
use bytes::{Buf as _, Bytes};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Why a body ends early. The connection (HTTP/1) or the stream (HTTP/2) is cut, so that the peer notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The blob was damaged behind our back, or could not be read.
    #[error("the blob cannot be read on, the body is cut off")]
    Unreadable,
}

/// The body of a data-plane response.
pub struct Body {
    content: Content,
    pen: Option<Box<Pen>>,
}

enum Content {
    Done,
    Full(Bytes),
    Stream(Box<Stream>),
}

impl Body {
    /// No bytes: HEAD, 304.
    pub(crate) const fn empty() -> Self {
        Self { content: Content::Done, pen: None }
    }
    /// Bytes in memory.
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self { content: if bytes.is_empty() { Content::Done } else { Content::Full(bytes) }, pen: None }
    }
    /// Windows of a blob.
    pub(crate) fn stream(stream: Stream) -> Self {
        Self {
            content: if stream.remaining() == 0 { Content::Done } else { Content::Stream(Box::new(stream)) },
            pen: None,
        }
    }
    /// Bytes that are still to come.
    pub(crate) fn remaining(&self) -> u64 {
        match &self.content {
            Content::Done => 0,
            Content::Full(bytes) => bytes.len() as u64,
            Content::Stream(stream) => stream.remaining(),
        }
    }
    /// From here on the outcome is written when the body is dropped.
    pub(crate) fn signed(mut self, mut pen: Pen) -> Self {
        if matches!(self.content, Content::Done) {
            pen.end(End::Complete);
        }
        self.pen = Some(Box::new(pen));
        self
    }

    fn note(&mut self, sent: usize) {
        let is_done = matches!(self.content, Content::Done);
        if let Some(pen) = &mut self.pen {
            pen.sent(sent);
            if is_done {
                pen.end(End::Complete);
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Slice;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Slice>, BodyError>>> {
        let this = self.get_mut();
        let polled = match &mut this.content {
            Content::Done => return Poll::Ready(None),
            Content::Full(bytes) => Ok(Slice::from(std::mem::take(bytes))),
            Content::Stream(stream) => ready!(stream.poll_next(cx)),
        };
        if this.remaining() == 0 || polled.is_err() {
            this.content = Content::Done;
        }
        match polled {
            Ok(slice) => {
                this.note(slice.remaining());
                Poll::Ready(Some(Ok(Frame::data(slice))))
            }
            Err(error) => {
                if let Some(pen) = &mut this.pen {
                    pen.end(End::Cut);
                }
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Done)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining())
    }
}
