//! What a session and its caller say to each other.

use super::ITEM_ATTEMPTS_MAX;
use super::edge::{DropReason, EdgeIndex};
use penstock_core::blob::{BlobId, ByteRange};

/// Milliseconds since an arbitrary start; never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// This moment plus `ms`, saturating.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
    /// Milliseconds since `earlier`, 0 when it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Names an item; chosen by the caller, unique among those not yet done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub u32);

/// Names a request; never reused within a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Something to fetch that can be checked as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub id: ItemId,
    /// The blob it lies in.
    pub blob: BlobId,
    /// Where it lies.
    pub range: ByteRange,
}

/// One range request to one edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeRequest {
    /// Its name.
    pub id: RequestId,
    /// Whom to ask.
    pub edge: EdgeIndex,
    /// What to ask for.
    pub blob: BlobId,
    /// Which bytes.
    pub range: ByteRange,
}

/// The head of an answer, as far as the session cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerHead {
    /// HTTP status.
    pub status: u16,
    /// First and last byte of `Content-Range`, the last one inclusive, if the header is there and well-formed.
    pub content_range: Option<(u64, u64)>,
    /// `Content-Length`, if there.
    pub content_length: Option<u64>,
    /// `Retry-After` in seconds, if there and a number.
    pub retry_after_seconds: Option<u64>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send this request.
    Start(RangeRequest),
    /// Stop reading this request's answer and close it.
    Cancel(RequestId),
    /// Nothing until something happens, or until this moment.
    Wait(Millis),
    /// Nothing is wanted any more.
    Idle,
    /// No edge can deliver what is wanted.
    Fail(SessionError),
}

/// A complete item, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Which.
    pub item: ItemId,
    /// Exactly as many bytes as its range.
    pub bytes: Vec<u8>,
}

/// What the caller found out about an arrived item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its hashes are right.
    Good,
    /// They are not.
    Bad,
}

/// Why a request ended before its answer was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or it broke.
    Broken,
    /// The answer is not HTTP, or breaks a bound of ours.
    Malformed,
    /// The peer's certificate is not one we accept.
    Untrusted,
}

/// What an edge does that began to fail and will be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No connection, or it broke.
    Broken,
    /// Nothing came for too long, or too little.
    Stalled,
    /// It answered with this status.
    Status(u16),
}

/// Why the session gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Every edge was dropped; the worst reason is given.
    #[error("no edge is left: {0}")]
    NoEdgeLeft(DropReason),
    /// One item failed too often.
    #[error("bytes {start}..{end} of blob {blob} could not be had in {ITEM_ATTEMPTS_MAX} attempts", start = range.start(), end = range.end())]
    ItemExhausted {
        /// The blob.
        blob: BlobId,
        /// The bytes.
        range: ByteRange,
    },
    /// The caller gave no edge at all.
    #[error("there is no edge to ask")]
    NoEdges,
}

/// Bounds of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Requests at once over all edges.
    pub parallel: usize,
    /// Silence after which a request is given up, in milliseconds.
    pub stall_ms: u64,
    /// Slowest acceptable mean of a request, in bytes per second, looked at after `stall_ms`; 0 switches it off.
    pub min_bytes_per_second: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { parallel: 6, stall_ms: 15_000, min_bytes_per_second: 4 * 1024 }
    }
}
