//! The network session as a state machine: which byte range to ask of which edge next.
//!
//! Owns the queue of wanted items, their coalescing into requests, failover, retry with backoff,
//! `Retry-After`, resume at any byte, stall detection and the dropping of edges that lie. It must not
//! open a socket or look at a clock: [`Session::next_action`] says what to do, the `on_…` methods
//! say what happened, and time is an argument. That is why it is tested without a network.
//!
//! An *item* is the smallest thing that can be checked: a frame of a pack, or a whole small blob. The
//! session hands out complete items; the caller checks them against their hashes and reports back
//! with [`Session::on_verdict`]. Bytes of an item that came from one edge alone and are wrong condemn
//! that edge at once; if several edges had a part in it, the item is fetched again from one alone.

mod coalesce;
mod edge;
#[cfg(test)]
mod tests;

pub use coalesce::{COALESCE_GAP_BYTES, REQUEST_BYTES_MAX, coalesced};
use edge::Edge;
pub use edge::{DropReason, EdgeIndex};
use penstock_core::blob::{BlobId, ByteRange};
use std::collections::{BTreeMap, HashMap, VecDeque};

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

/// Attempts of one item that brought less than a verified group, before the session gives up.
pub const ITEM_ATTEMPTS_MAX: u8 = 24;
/// An attempt that brought at least this many bytes is not counted against the item.
const PROGRESS_BYTES: u64 = penstock_core::limits::GROUP_BYTES;

/// See the module's words.
#[derive(Debug)]
pub struct Session {
    limits: SessionLimits,
    edges: Vec<Edge>,
    items: HashMap<ItemId, Pending>,
    queue: VecDeque<ItemId>,
    requests: BTreeMap<RequestId, Running>,
    cancels: VecDeque<RequestId>,
    next_request: u64,
    failed: Option<SessionError>,
    received_bytes: u64,
}

#[derive(Debug)]
struct Pending {
    item: Item,
    /// Verified by nobody yet: the item's first bytes.
    prefix: Vec<u8>,
    /// Bit per edge that contributed to `prefix` (or to the bytes being checked).
    sources: u64,
    attempts: u8,
    /// Bytes must come from one edge, because a mix was wrong and nobody knows whose fault it was.
    alone: bool,
}

#[derive(Debug)]
struct Running {
    edge: EdgeIndex,
    blob: BlobId,
    range: ByteRange,
    cursor: u64,
    items: VecDeque<ItemId>,
    accepted: bool,
    started: Millis,
    last_news: Millis,
}

impl Session {
    /// A session over `edges` edges (at most 64 are used); `seed` spreads retries of many clients.
    #[must_use]
    pub fn new(edges: usize, limits: SessionLimits, seed: u64) -> Self {
        let edges = edges.min(64);
        Self {
            limits,
            edges: (0..edges).map(|at| Edge::new(seed.wrapping_add(at as u64))).collect(),
            items: HashMap::new(),
            queue: VecDeque::new(),
            requests: BTreeMap::new(),
            cancels: VecDeque::new(),
            next_request: 0,
            failed: (edges == 0).then_some(SessionError::NoEdges),
            received_bytes: 0,
        }
    }
    /// Wants more items; those of one blob in rising order may share a request.
    pub fn want(&mut self, items: impl IntoIterator<Item = Item>) {
        for item in items {
            self.queue.push_back(item.id);
            self.items.insert(item.id, Pending { item, prefix: Vec::new(), sources: 0, attempts: 0, alone: false });
        }
    }
    /// Content bytes received so far, those of discarded attempts included.
    #[must_use]
    pub const fn received_bytes(&self) -> u64 {
        self.received_bytes
    }
    /// Edges that were dropped, with the reason.
    pub fn dropped(&self) -> impl Iterator<Item = (EdgeIndex, DropReason)> + '_ {
        self.edges.iter().enumerate().filter_map(|(at, edge)| edge.dropped().map(|reason| (EdgeIndex(at), reason)))
    }
    /// What to do now. Called again after every event, until it says [`Action::Wait`] or ends.
    pub fn next_action(&mut self, now: Millis) -> Action {
        self.give_up_stalled(now);
        if let Some(id) = self.cancels.pop_front() {
            return Action::Cancel(id);
        }
        if let Some(error) = self.failed {
            return Action::Fail(error);
        }
        if self.items.is_empty() {
            return Action::Idle;
        }
        if !self.queue.is_empty() && self.requests.len() < self.limits.parallel.max(1) {
            match self.choose_edge(now) {
                Some(edge) => return Action::Start(self.start(edge, now)),
                None if self.edges.iter().all(|edge| edge.dropped().is_some()) => {
                    return self.fail(SessionError::NoEdgeLeft(self.worst_reason()));
                }
                None => {}
            }
        }
        Action::Wait(self.next_moment(now))
    }
    /// The answer's head came. `false` means the body is of no use and the request is over.
    pub fn on_head(&mut self, id: RequestId, head: &AnswerHead, now: Millis) -> bool {
        let Some(running) = self.requests.get_mut(&id) else { return false };
        running.last_news = now;
        let range = running.range;
        let fits = match head.status {
            206 => head.content_range == Some((range.start(), range.end() - 1)),
            200 => range.start() == 0 && head.content_length == Some(range.len()),
            _ => false,
        };
        if fits {
            running.accepted = true;
            return true;
        }
        let edge = running.edge;
        self.close(id, now);
        match head.status {
            408 | 425 | 429 | 500..=599 => self.edges[edge.0].fail(now, head.retry_after_seconds),
            300..=399 => self.drop_edge(edge, DropReason::Redirected, now),
            400..=499 => self.drop_edge(edge, DropReason::Refused(head.status), now),
            _ => self.drop_edge(edge, DropReason::WrongRange, now),
        }
        false
    }
    /// Body bytes came. Returns the items that are complete now; the caller checks them.
    pub fn on_bytes(&mut self, id: RequestId, mut bytes: &[u8], now: Millis) -> Vec<Arrived> {
        let mut arrived = Vec::new();
        let Some(running) = self.requests.get_mut(&id) else { return arrived };
        running.last_news = now;
        let edge = running.edge;
        if !running.accepted || bytes.len() as u64 > running.range.end() - running.cursor {
            self.drop_edge(edge, DropReason::TooMuch, now);
            return arrived;
        }
        self.received_bytes += bytes.len() as u64;
        self.edges[edge.0].delivered(bytes.len() as u64);
        while let Some(item_id) = running.items.front().copied() {
            let Some(pending) = self.items.get_mut(&item_id) else {
                running.items.pop_front();
                continue;
            };
            let wanted = pending.item.range.start() + pending.prefix.len() as u64;
            if wanted < running.cursor {
                // What came before was discarded meanwhile, because its edge lied: the item is asked for again.
                running.items.pop_front();
                self.queue.push_front(item_id);
                continue;
            }
            let gap = usize::try_from(wanted.saturating_sub(running.cursor)).unwrap_or(usize::MAX).min(bytes.len());
            bytes = &bytes[gap..];
            running.cursor += gap as u64;
            if bytes.is_empty() {
                break;
            }
            let missing = usize::try_from(pending.item.range.end() - wanted).unwrap_or(usize::MAX);
            let taken = missing.min(bytes.len());
            if pending.prefix.is_empty() {
                pending.prefix.reserve_exact(missing);
            }
            pending.prefix.extend_from_slice(&bytes[..taken]);
            pending.sources |= 1 << edge.0;
            bytes = &bytes[taken..];
            running.cursor += taken as u64;
            if taken == missing {
                running.items.pop_front();
                arrived.push(Arrived { item: item_id, bytes: std::mem::take(&mut pending.prefix) });
            }
        }
        running.cursor += bytes.len() as u64;
        if running.cursor == running.range.end() {
            let running = self.requests.remove(&id);
            if let Some(running) = running {
                self.edges[edge.0].finish(running.range.len(), now.since(running.started));
            }
        }
        arrived
    }
    /// The body ended. Harmless when everything had come; otherwise the rest is asked for again.
    pub fn on_end(&mut self, id: RequestId, now: Millis) {
        self.on_failure(id, Failure::Broken, now);
    }
    /// The request failed.
    pub fn on_failure(&mut self, id: RequestId, failure: Failure, now: Millis) {
        let Some(edge) = self.requests.get(&id).map(|running| running.edge) else { return };
        self.close(id, now);
        match failure {
            Failure::Broken => self.edges[edge.0].fail(now, None),
            Failure::Malformed => self.drop_edge(edge, DropReason::Malformed, now),
            Failure::Untrusted => self.drop_edge(edge, DropReason::Untrusted, now),
        }
    }
    /// The caller checked an arrived item.
    pub fn on_verdict(&mut self, item: ItemId, verdict: Verdict, now: Millis) {
        if verdict == Verdict::Good {
            self.items.remove(&item);
            return;
        }
        let Some(pending) = self.items.get_mut(&item) else { return };
        let sources = std::mem::take(&mut pending.sources);
        pending.prefix = Vec::new();
        pending.alone = true;
        let exhausted = count_attempt(pending);
        self.queue.push_front(item);
        if let Some(error) = exhausted {
            self.failed = Some(error);
        }
        if sources.count_ones() == 1 {
            self.drop_edge(EdgeIndex(sources.trailing_zeros() as usize), DropReason::WrongBytes, now);
        }
    }

    fn start(&mut self, edge: EdgeIndex, now: Millis) -> RangeRequest {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let mut items = VecDeque::new();
        let mut span: Option<(BlobId, u64, u64)> = None;
        while let Some(next) = self.queue.front().copied() {
            let Some(pending) = self.items.get_mut(&next) else {
                self.queue.pop_front();
                continue;
            };
            let other_sources = pending.sources & !(1 << edge.0);
            if pending.alone && other_sources != 0 {
                pending.prefix = Vec::new();
                pending.sources = 0;
                self.failed = self.failed.or(count_attempt(pending));
            }
            let (start, end) = (pending.item.range.start() + pending.prefix.len() as u64, pending.item.range.end());
            match span {
                None => span = Some((pending.item.blob, start, end)),
                Some((blob, from, to)) => {
                    let fits = pending.prefix.is_empty() && !pending.alone && pending.item.blob == blob;
                    if !fits || !coalesce::joins(from, to, start, end) {
                        break;
                    }
                    span = Some((blob, from, end));
                }
            }
            items.push_back(next);
            self.queue.pop_front();
            if pending.alone {
                break;
            }
        }
        #[expect(clippy::expect_used, reason = "called with a queue that holds an unfinished item")]
        let (blob, from, to) = span.expect("the queue is not empty");
        #[expect(clippy::expect_used, reason = "an item that is complete is never queued")]
        let range = ByteRange::new(from, to).expect("an unfinished item has bytes left");
        self.edges[edge.0].start();
        self.requests.insert(
            id,
            Running { edge, blob, range, cursor: from, items, accepted: false, started: now, last_news: now },
        );
        RangeRequest { id, edge, blob, range }
    }

    /// Ends a request and puts what it did not bring back at the front of the queue.
    fn close(&mut self, id: RequestId, _now: Millis) {
        let Some(running) = self.requests.remove(&id) else { return };
        debug_assert!(
            running.items.iter().all(|item| self.items.get(item).is_none_or(|p| p.item.blob == running.blob))
        );
        self.edges[running.edge.0].end();
        if let Some(pending) = running.items.front().and_then(|item| self.items.get_mut(item))
            && running.cursor - running.range.start() < PROGRESS_BYTES
            && let Some(error) = count_attempt(pending)
        {
            self.failed = Some(error);
        }
        for item in running.items.into_iter().rev() {
            self.queue.push_front(item);
        }
    }

    fn drop_edge(&mut self, edge: EdgeIndex, reason: DropReason, now: Millis) {
        self.edges[edge.0].drop_for(reason);
        let mine: Vec<RequestId> =
            self.requests.iter().filter(|(_, running)| running.edge == edge).map(|(id, _)| *id).collect();
        for id in mine {
            self.close(id, now);
            self.cancels.push_back(id);
        }
        if reason.is_lie() {
            for pending in self.items.values_mut().filter(|pending| pending.sources & 1 << edge.0 != 0) {
                if !pending.prefix.is_empty() {
                    pending.prefix = Vec::new();
                    pending.sources = 0;
                }
            }
        }
    }

    fn give_up_stalled(&mut self, now: Millis) {
        let limits = self.limits;
        let stalled: Vec<RequestId> =
            self.requests.iter().filter(|(_, running)| is_stalled(running, &limits, now)).map(|(id, _)| *id).collect();
        for id in stalled {
            if let Some(edge) = self.requests.get(&id).map(|running| running.edge) {
                self.close(id, now);
                self.edges[edge.0].fail(now, None);
                self.cancels.push_back(id);
            }
        }
    }

    fn choose_edge(&self, now: Millis) -> Option<EdgeIndex> {
        let best_rate = self.edges.iter().filter_map(Edge::rate).fold(1.0, f64::max);
        (0..self.edges.len())
            .filter(|at| self.edges[*at].is_ready(now))
            .min_by(|a, b| self.edges[*a].cost(best_rate).total_cmp(&self.edges[*b].cost(best_rate)))
            .map(EdgeIndex)
    }

    fn next_moment(&self, now: Millis) -> Millis {
        let stalls = self.requests.values().map(|running| running.last_news.plus(self.limits.stall_ms));
        let retries = self.edges.iter().filter(|edge| edge.dropped().is_none()).map(Edge::retry_at);
        let retries = retries.filter(|at| *at > now && !self.queue.is_empty());
        stalls.chain(retries).min().unwrap_or_else(|| now.plus(self.limits.stall_ms)).max(now.plus(1))
    }

    fn worst_reason(&self) -> DropReason {
        self.edges.iter().filter_map(Edge::dropped).max().unwrap_or(DropReason::Unreachable)
    }

    fn fail(&mut self, error: SessionError) -> Action {
        self.failed = Some(error);
        Action::Fail(error)
    }
}

fn count_attempt(pending: &mut Pending) -> Option<SessionError> {
    pending.attempts = pending.attempts.saturating_add(1);
    (pending.attempts >= ITEM_ATTEMPTS_MAX)
        .then_some(SessionError::ItemExhausted { blob: pending.item.blob, range: pending.item.range })
}

fn is_stalled(running: &Running, limits: &SessionLimits, now: Millis) -> bool {
    if now.since(running.last_news) >= limits.stall_ms {
        return true;
    }
    let age_ms = now.since(running.started);
    let received = running.cursor - running.range.start();
    age_ms >= 2 * limits.stall_ms && received.saturating_mul(1000) < limits.min_bytes_per_second.saturating_mul(age_ms)
}
