//! Bytes in and out: an upload into a draft of the store, and a stored blob as a body.
//!
//! A transfer holds a blocking thread only while it writes or reads, never while it waits for the
//! peer, and at most two buffers of [`UPLOAD_BUFFER_BYTES`]. A blob exists once its draft was
//! sealed, and a draft seals only bytes whose hash is the blob's name; a draft that is dropped
//! leaves nothing.

use crate::blobs;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::products::Made;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use penstock_core::api::BlobAnswer;
use penstock_core::blob::BlobId;
use penstock_core::limits::{BLOB_BYTES_MAX, UPLOAD_BUFFER_BYTES};
use penstock_origin::{OriginDraft, OriginError};
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

/// How long a sender may pause. Longer than a mobile link's worst gap, short enough to free the place.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a transfer waits for a place before it is told to come back.
const QUEUE_MAX: Duration = Duration::from_secs(30);
/// Of a body that is not needed, this much is read, so that the sender gets to read the answer.
const DISCARD_BYTES_MAX: u64 = 64 << 20;

/// Takes a body whose bytes must hash to `blob`. A blob that is there already is not written again.
pub(crate) async fn receive(
    handle: &Handle,
    blob: BlobId,
    length: Option<u64>,
    body: Body,
) -> Result<(BlobAnswer, Made), CallError> {
    if length.is_some_and(|bytes| bytes > BLOB_BYTES_MAX) {
        return Err(CallError::TooLarge { what: "a blob's bytes", max: BLOB_BYTES_MAX });
    }
    let place = take_place(handle).await?;
    let node = Arc::clone(&handle.node);
    let known = blocking(move || node.size_of(blob)).await?;
    if let Some(size) = known {
        discard(body).await;
        let answer = handle.run(Lane::Write, move |node| blobs::arrived(node, blob, size)).await?;
        return Ok((answer, Made::Before));
    }
    let node = Arc::clone(&handle.node);
    let draft = blocking(move || Ok(node.origin.draft(blob, length)?)).await?;
    let draft = fill(draft, body, PAUSE_MAX).await?;
    let size = blocking(move || Ok(draft.seal()?)).await?;
    drop(place);
    let answer = handle.run(Lane::Write, move |node| blobs::arrived(node, blob, size)).await?;
    Ok((answer, Made::New))
}

/// A stored blob as a body, with its length.
pub(crate) async fn send(handle: &Handle, blob: BlobId) -> Result<(Body, u64), CallError> {
    let place = take_place(handle).await?;
    let node = Arc::clone(&handle.node);
    let (reader, size) = blocking(move || {
        let size = node.size_of(blob)?.ok_or(CallError::BlobAbsent(blob))?;
        Ok((node.origin.reader(&blob)?, size))
    })
    .await?;
    let body = BlobBody { blob, state: State::Resting(reader), remaining: size.0, _place: place };
    Ok((Body::new(body), size.0))
}

async fn take_place(handle: &Handle) -> Result<OwnedSemaphorePermit, CallError> {
    let place = Arc::clone(&handle.lanes.transfers).acquire_owned();
    tokio::time::timeout(QUEUE_MAX, place).await.map_err(|_| CallError::Busy)?.map_err(|_| CallError::Busy)
}

/// Moves a body into a draft. One buffer fills from the network while the one before is written.
async fn fill(
    draft: Box<dyn OriginDraft>,
    mut body: Body,
    pause_max: Duration,
) -> Result<Box<dyn OriginDraft>, CallError> {
    let mut writing: JoinHandle<Result<Box<dyn OriginDraft>, OriginError>> = tokio::task::spawn_blocking(|| Ok(draft));
    let mut buffer = BytesMut::with_capacity(UPLOAD_BUFFER_BYTES);
    let mut received = 0u64;
    loop {
        let next = tokio::time::timeout(pause_max, body.frame()).await;
        let frame = match next {
            Ok(Some(Ok(frame))) => Some(frame),
            Ok(None) => None,
            Ok(Some(Err(_))) | Err(_) => return Err(CallError::BodyStopped(received)),
        };
        let last = frame.is_none();
        let mut data = frame.and_then(|frame| frame.into_data().ok()).unwrap_or_default();
        received = received.saturating_add(data.len() as u64);
        if received > BLOB_BYTES_MAX {
            return Err(CallError::TooLarge { what: "a blob's bytes", max: BLOB_BYTES_MAX });
        }
        while !data.is_empty() {
            let room = (UPLOAD_BUFFER_BYTES - buffer.len()).min(data.len());
            buffer.extend_from_slice(&data.split_to(room));
            if buffer.len() == UPLOAD_BUFFER_BYTES {
                writing = write_after(writing, buffer.split().freeze()).await?;
                buffer.reserve(UPLOAD_BUFFER_BYTES);
            }
        }
        if last {
            writing = write_after(writing, buffer.freeze()).await?;
            return Ok(writing.await.map_err(CallError::GivenUp)??);
        }
    }
}

/// Waits for the write before and begins the next.
async fn write_after(
    writing: JoinHandle<Result<Box<dyn OriginDraft>, OriginError>>,
    bytes: Bytes,
) -> Result<JoinHandle<Result<Box<dyn OriginDraft>, OriginError>>, CallError> {
    let mut draft = writing.await.map_err(CallError::GivenUp)??;
    Ok(tokio::task::spawn_blocking(move || {
        draft.write(&bytes)?;
        Ok(draft)
    }))
}

/// Reads a body that is not needed, in bounds: some clients never look for an answer before they
/// have sent all of theirs.
async fn discard(mut body: Body) {
    let mut left = DISCARD_BYTES_MAX;
    while left > 0 {
        let Ok(Some(Ok(frame))) = tokio::time::timeout(PAUSE_MAX, body.frame()).await else { return };
        left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    tokio::task::spawn_blocking(work).await.map_err(CallError::GivenUp)?
}

type Reader = Box<dyn Read + Send>;

enum State {
    Resting(Reader),
    Reading(JoinHandle<(Reader, io::Result<Bytes>)>),
    Ended,
}

/// A blob's bytes, one buffer at a time, each read when the peer has room for it.
struct BlobBody {
    blob: BlobId,
    state: State,
    remaining: u64,
    _place: OwnedSemaphorePermit,
}

impl http_body::Body for BlobBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut reading = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return Poll::Ready(None),
            State::Resting(_) if self.remaining == 0 => return Poll::Ready(None),
            State::Resting(reader) => start_reading(reader, self.remaining),
            State::Reading(reading) => reading,
        };
        let done = match Pin::new(&mut reading).poll(context) {
            Poll::Pending => {
                self.state = State::Reading(reading);
                return Poll::Pending;
            }
            Poll::Ready(done) => done,
        };
        let result = done.map_err(io::Error::other).and_then(|(reader, result)| Ok((reader, result?)));
        match result {
            Ok((reader, bytes)) => {
                self.remaining -= bytes.len() as u64;
                self.state = State::Resting(reader);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Err(error) => {
                // The head is out, so cutting the connection is the only way to say it.
                tracing::error!(blob = %self.blob, %error, "a stored blob cannot be read to its end");
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

fn start_reading(mut reader: Reader, remaining: u64) -> JoinHandle<(Reader, io::Result<Bytes>)> {
    tokio::task::spawn_blocking(move || {
        let want = usize::try_from(remaining).unwrap_or(usize::MAX).min(UPLOAD_BUFFER_BYTES / 4);
        let mut buffer = vec![0; want];
        let result = reader.read_exact(&mut buffer).map(|()| Bytes::from(buffer));
        (reader, result)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::blob::BlobSize;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Records the sizes of the writes it gets, and that it was dropped.
    #[derive(Default)]
    struct Seen {
        writes: Mutex<Vec<usize>>,
        dropped: AtomicUsize,
    }

    struct Draft(Arc<Seen>);

    impl OriginDraft for Draft {
        fn write(&mut self, content: &[u8]) -> Result<(), OriginError> {
            self.0.writes.lock().expect("lock").push(content.len());
            Ok(())
        }
        fn seal(self: Box<Self>) -> Result<BlobSize, OriginError> {
            Ok(BlobSize(self.0.writes.lock().expect("lock").iter().sum::<usize>() as u64))
        }
    }

    impl Drop for Draft {
        fn drop(&mut self) {
            self.0.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Frames, and then nothing for ever: a sender that fell asleep.
    struct Sleeper(Vec<usize>);

    impl http_body::Body for Sleeper {
        type Data = Bytes;
        type Error = io::Error;
        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            match self.0.pop() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![7; bytes]))))),
                None => Poll::Pending,
            }
        }
    }

    #[tokio::test]
    async fn tiny_frames_reach_the_disk_as_whole_buffers() {
        let seen = Arc::new(Seen::default());
        let total = 2 * UPLOAD_BUFFER_BYTES + 5;
        let body = Body::new(Frames { total, frame_bytes: 333 });
        let draft = fill(Box::new(Draft(Arc::clone(&seen))), body, PAUSE_MAX).await.expect("filled");
        assert_eq!(draft.seal().expect("sealed"), BlobSize(total as u64));
        assert_eq!(*seen.writes.lock().expect("lock"), [UPLOAD_BUFFER_BYTES, UPLOAD_BUFFER_BYTES, 5]);
    }

    #[tokio::test]
    async fn a_sender_that_falls_asleep_loses_its_place_and_its_draft() {
        let seen = Arc::new(Seen::default());
        let body = Body::new(Sleeper(vec![100, UPLOAD_BUFFER_BYTES]));
        let result = fill(Box::new(Draft(Arc::clone(&seen))), body, Duration::from_millis(20)).await;
        let expected = UPLOAD_BUFFER_BYTES as u64 + 100;
        assert!(matches!(result, Err(CallError::BodyStopped(bytes)) if bytes == expected));
        drop(result);
        // The last write may still be on its thread; it drops the draft when it is done.
        while seen.dropped.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// `total` bytes in frames of `frame_bytes`.
    struct Frames {
        total: usize,
        frame_bytes: usize,
    }

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = io::Error;
        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            let bytes = self.total.min(self.frame_bytes);
            self.total -= bytes;
            Poll::Ready((bytes > 0).then(|| Ok(Frame::data(Bytes::from(vec![7; bytes])))))
        }
    }
}
