//! Windows of an open blob, one after the other: from the map when resident, else by way of the IO pool.
//!
//! A cold window is populated on the pool, and while it is sent the next one is already being read. Before each window
//! the blob is asked whether it is still sound; if not, the body ends with an error and the blob goes to quarantine.

use super::BodyError;
use super::plan::{Piece, Plan, Source};
use crate::body::Slice;
use crate::listen::{ConnInfo, Protocol, Wire};
use crate::metrics::COLD_WINDOWS;
use crate::sending::Sender;
use crate::shelf::{IoPool, Job, Live, ShelfError};
use bytes::Bytes;
use metrics::counter;
use penstock_core::blob::ByteRange;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Bytes of a map handed over at once. Larger windows cost fewer probes; they hold no memory.
const MAPPED_WINDOW_BYTES: u64 = 256 * 1024;
/// The same without a map, where each connection holds up to two windows in memory.
const READ_WINDOW_BYTES: u64 = 64 * 1024;
/// Window of an outboard: the proof of 64 MiB.
const TREE_WINDOW_BYTES: u64 = 256 * 1024;
/// Bytes handed over at once to HTTP/2 over TLS: with the nine bytes of a frame's head they fill one TLS record. A frame
/// of 16,384 would spill into a second record, with its own head, tag and pass through the cipher.
const TLS_FRAME_BYTES: usize = 16_384 - 9;

/// A body made of windows.
pub(crate) struct Stream {
    view: Arc<Live>,
    pool: IoPool,
    plan: Plan,
    piece: Option<Piece>,
    remaining: u64,
    window_bytes: u64,
    /// Most bytes yielded at once.
    slice_bytes: usize,
    data: Window,
    tree: Window,
    /// The window that the body waits for.
    loading: Option<Load>,
    /// The window after it.
    ahead: Option<Load>,
    /// Answers for slices of the map until the connection has consumed them; `None` for copies in memory.
    sender: Option<Arc<Sender>>,
}

/// Resident bytes of a file.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Bytes,
}

impl Window {
    /// What it holds of `range` from its start on, at most `most` bytes; `None` if not even the first one.
    fn get(&self, range: ByteRange, most: usize) -> Option<Bytes> {
        let skip = usize::try_from(range.start().checked_sub(self.start)?).ok()?;
        let held = self.bytes.len().checked_sub(skip).filter(|held| *held > 0)?.min(most);
        let take = usize::try_from(range.len()).map_or(held, |wanted| wanted.min(held));
        Some(self.bytes.slice(skip..skip + take))
    }
}

/// A window on its way.
struct Load {
    source: Source,
    range: ByteRange,
    job: Job<Bytes>,
}

impl Stream {
    /// The bytes that `plan` names, of `view` and its outboard, for `conn`.
    pub(crate) fn new(view: Arc<Live>, pool: IoPool, plan: Plan, conn: &ConnInfo) -> Self {
        let remaining = plan.total_bytes();
        let first_byte = ByteRange::new(0, 1).filter(|_| view.size().0 > 0);
        let is_mapped = view.file().is_some() && first_byte.is_some_and(|byte| view.slice(byte).is_some());
        Self {
            window_bytes: if is_mapped { MAPPED_WINDOW_BYTES } else { READ_WINDOW_BYTES },
            slice_bytes: match (conn.protocol, conn.wire) {
                (Protocol::Http2, Wire::Tls) => TLS_FRAME_BYTES,
                _ => usize::MAX,
            },
            sender: is_mapped.then(|| conn.sending.begin(&view)),
            view,
            pool,
            plan,
            piece: None,
            remaining,
            data: Window::default(),
            tree: Window::default(),
            loading: None,
            ahead: None,
        }
    }

    /// Bytes not yet yielded.
    pub(crate) const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The next bytes. Not to be called when none remain.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Slice, BodyError>> {
        let most = self.slice_bytes;
        loop {
            if self.view.is_poisoned() {
                return Poll::Ready(Err(BodyError::Unreadable));
            }
            if self.piece.is_none() {
                self.piece = self.plan.next();
            }
            let (bytes, rest) = match &self.piece {
                None => return Poll::Ready(Err(BodyError::Unreadable)),
                Some(Piece::Text(text)) => (text.clone(), None),
                Some(Piece::Span { source, range, horizon }) => {
                    let (source, range, horizon) = (*source, *range, *horizon);
                    let Some(bytes) = self.window(source).get(range, most) else {
                        ready!(self.poll_fill(cx, source, range.start(), horizon))?;
                        continue;
                    };
                    let rest = ByteRange::new(range.start() + bytes.len() as u64, range.end());
                    (bytes, rest.map(|range| Piece::Span { source, range, horizon }))
                }
            };
            self.piece = rest;
            self.remaining -= bytes.len() as u64;
            return Poll::Ready(Ok(Slice::new(bytes, self.sender.as_ref())));
        }
    }

    fn window(&mut self, source: Source) -> &mut Window {
        match source {
            Source::Data => &mut self.data,
            Source::Tree => &mut self.tree,
        }
    }

    /// Makes the window that begins at `start` resident.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        source: Source,
        start: u64,
        horizon: u64,
    ) -> Poll<Result<(), BodyError>> {
        if self.loading.is_none() {
            let Some(range) = self.window_at(source, start, horizon) else {
                return Poll::Ready(Err(BodyError::Unreadable));
            };
            let ahead = self.ahead.take().filter(|load| load.source == source && load.range == range);
            if ahead.is_none()
                && source == Source::Data
                && let Some(bytes) = self.view.try_window(range)
            {
                self.data = Window { start, bytes };
                return Poll::Ready(Ok(()));
            }
            self.loading = Some(ahead.unwrap_or_else(|| self.load(source, range)));
            if source == Source::Data {
                self.read_ahead(range.end(), horizon);
            }
        }
        let Some(load) = &mut self.loading else { return Poll::Ready(Err(BodyError::Unreadable)) };
        let loaded = ready!(Pin::new(&mut load.job).poll(cx)).unwrap_or(Err(ShelfError::Pool));
        let start = load.range.start();
        self.loading = None;
        match loaded {
            Ok(bytes) => {
                *self.window(source) = Window { start, bytes };
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                let blob = self.view.id();
                tracing::error!(%blob, error = &error as &dyn std::error::Error, "a body was cut off");
                Poll::Ready(Err(BodyError::Unreadable))
            }
        }
    }

    /// Begins to read the window at `start`, if there is one and it is not resident.
    fn read_ahead(&mut self, start: u64, horizon: u64) {
        let next = self.window_at(Source::Data, start, horizon).filter(|range| !self.view.is_resident(*range));
        self.ahead = next.map(|range| self.load(Source::Data, range));
    }

    /// From `start` to the next multiple of the window's size, but not behind `horizon`.
    const fn window_at(&self, source: Source, start: u64, horizon: u64) -> Option<ByteRange> {
        let step = match source {
            Source::Data => self.window_bytes,
            Source::Tree => TREE_WINDOW_BYTES,
        };
        let end = (start / step + 1) * step;
        ByteRange::new(start, if end < horizon { end } else { horizon })
    }

    fn load(&self, source: Source, range: ByteRange) -> Load {
        let view = Arc::clone(&self.view);
        let job = match source {
            Source::Data => {
                counter!(COLD_WINDOWS).increment(1);
                self.pool.start(move || view.load_window(range))
            }
            Source::Tree => self.pool.start(move || view.outboard_window(range)),
        };
        Load { source, range, job }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A body that ends early may be a peer that left, or a write that failed because the file was cut: look.
        if self.remaining > 0
            && let Some(first) = ByteRange::new(0, 1).filter(|_| self.view.size().0 > 0)
        {
            _ = self.view.is_resident(first);
        }
        if self.view.is_poisoned() {
            let view = Arc::clone(&self.view);
            self.pool.detach(move || view.check());
        }
    }
}
