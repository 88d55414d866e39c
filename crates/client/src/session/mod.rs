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
mod words;

pub use coalesce::{COALESCE_GAP_BYTES, REQUEST_BYTES_MAX, coalesced};
use edge::{Company, Edge, Role};
pub use edge::{DropReason, EdgeIndex};
use penstock_core::blob::{BlobId, ByteRange};
use std::collections::{BTreeMap, HashMap, VecDeque};
pub use words::{
    Action, AnswerHead, Arrived, Failure, Item, ItemId, Millis, RangeRequest, RequestId, SessionError, SessionLimits,
    Trouble, Verdict,
};

/// Edges of one session: each is a bit of what is remembered of an item. Callers refuse more, which would be left out.
pub const EDGES_MAX: usize = u64::BITS as usize;
/// Attempts of one item that were begun and brought less than a verified group. After so many, only edges
/// that never failed at this item are asked for it; when there is none, the session gives up.
pub const ITEM_ATTEMPTS_MAX: u8 = 24;
/// Blobs that an edge may lack before anything came from it; then it is taken for the wrong place to ask.
const STRANGER_LACKS_MAX: u32 = 4;
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
    /// Bit per edge that does not have a blob.
    lacking: HashMap<BlobId, u64>,
    cancels: VecDeque<RequestId>,
    next_request: u64,
    failed: Option<SessionError>,
    /// Edges that began to fail, for whoever tells the player.
    troubles: Vec<(EdgeIndex, Trouble)>,
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
    /// Bit per edge that began this item and failed.
    tried: u64,
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
    role: Role,
    started: Millis,
    last_news: Millis,
}

impl Session {
    /// A session over `edges` edges (at most [`EDGES_MAX`] are used); `seed` spreads retries of many clients.
    #[must_use]
    pub fn new(edges: usize, limits: SessionLimits, seed: u64) -> Self {
        let edges = edges.min(EDGES_MAX);
        Self {
            limits,
            edges: (0..edges).map(|at| Edge::new(seed.wrapping_add(at as u64))).collect(),
            items: HashMap::new(),
            queue: VecDeque::new(),
            requests: BTreeMap::new(),
            lacking: HashMap::new(),
            cancels: VecDeque::new(),
            next_request: 0,
            failed: (edges == 0).then_some(SessionError::NoEdges),
            troubles: Vec::new(),
            received_bytes: 0,
        }
    }
    /// Wants more items; those of one blob in rising order may share a request.
    pub fn want(&mut self, items: impl IntoIterator<Item = Item>) {
        for item in items {
            self.queue.push_back(item.id);
            self.items
                .insert(item.id, Pending { item, prefix: Vec::new(), sources: 0, attempts: 0, tried: 0, alone: false });
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
    /// Whether content came from this edge.
    #[must_use]
    pub fn has_delivered(&self, edge: EdgeIndex) -> bool {
        self.edges.get(edge.0).is_some_and(Edge::has_delivered)
    }
    /// Edges that began to fail since this was last asked and will be asked again: each once until it does well.
    pub fn take_troubles(&mut self) -> Vec<(EdgeIndex, Trouble)> {
        std::mem::take(&mut self.troubles)
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
            match self.choose(now) {
                Ok(Some((edge, at))) => return Action::Start(self.start(edge, at, now)),
                Ok(None) => {}
                Err(error) => {
                    self.failed = Some(error);
                    return Action::Fail(error);
                }
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
        let (edge, blob) = (running.edge, running.blob);
        self.close(id);
        match head.status {
            408 | 425 | 429 | 500..=599 => {
                self.fail_edge(edge, Trouble::Status(head.status), head.retry_after_seconds, now);
            }
            404 | 410 => self.note_lack(edge, blob, head.status),
            300..=399 => self.drop_edge(edge, DropReason::Redirected),
            400..=499 => self.drop_edge(edge, DropReason::Refused(head.status)),
            _ => self.drop_edge(edge, DropReason::WrongRange),
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
            self.drop_edge(edge, DropReason::TooMuch);
            return arrived;
        }
        self.received_bytes += bytes.len() as u64;
        let request_bytes = running.cursor - running.range.start() + bytes.len() as u64;
        self.edges[edge.0].delivered(bytes.len() as u64, request_bytes);
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
                self.edges[edge.0].finish(running.range.len(), now.since(running.started), running.role);
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
        self.close(id);
        match failure {
            Failure::Broken => self.fail_edge(edge, Trouble::Broken, None, now),
            Failure::Malformed => self.drop_edge(edge, DropReason::Malformed),
            Failure::Untrusted => self.drop_edge(edge, DropReason::Untrusted),
        }
    }
    /// The caller checked an arrived item.
    pub fn on_verdict(&mut self, item: ItemId, verdict: Verdict, _now: Millis) {
        if verdict == Verdict::Good {
            self.items.remove(&item);
            return;
        }
        let Some(pending) = self.items.get_mut(&item) else { return };
        let sources = std::mem::take(&mut pending.sources);
        pending.prefix = Vec::new();
        pending.alone = true;
        // A mix accuses nobody: any of them may be true.
        count_attempt(pending, if sources.count_ones() == 1 { sources } else { 0 });
        self.queue.push_front(item);
        if sources.count_ones() == 1 {
            self.drop_edge(EdgeIndex(sources.trailing_zeros() as usize), DropReason::WrongBytes);
        }
    }

    /// Begins a request at the item in place `at` of the queue.
    fn start(&mut self, edge: EdgeIndex, at: usize, now: Millis) -> RangeRequest {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let mut items = VecDeque::new();
        let mut span: Option<(BlobId, u64, u64)> = None;
        while let Some(next) = self.queue.get(at).copied() {
            let Some(pending) = self.items.get_mut(&next) else {
                self.queue.remove(at);
                continue;
            };
            let is_first = span.is_none();
            if !is_first && pending.attempts >= ITEM_ATTEMPTS_MAX {
                break;
            }
            let other_sources = pending.sources & !(1 << edge.0);
            if is_first && pending.alone && other_sources != 0 {
                pending.prefix = Vec::new();
                pending.sources = 0;
                count_attempt(pending, other_sources);
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
            self.queue.remove(at);
            if pending.alone {
                break;
            }
        }
        #[expect(clippy::expect_used, reason = "called with a queue that holds an unfinished item")]
        let (blob, from, to) = span.expect("the queue is not empty");
        #[expect(clippy::expect_used, reason = "an item that is complete is never queued")]
        let range = ByteRange::new(from, to).expect("an unfinished item has bytes left");
        let role = self.edges[edge.0].start();
        self.requests.insert(
            id,
            Running { edge, blob, range, cursor: from, items, accepted: false, role, started: now, last_news: now },
        );
        RangeRequest { id, edge, blob, range }
    }

    /// Ends a request and puts what it did not bring back at the front of the queue.
    fn close(&mut self, id: RequestId) {
        let Some(running) = self.requests.remove(&id) else { return };
        debug_assert!(
            running.items.iter().all(|item| self.items.get(item).is_none_or(|p| p.item.blob == running.blob))
        );
        self.edges[running.edge.0].end(running.role);
        // An edge that refuses or cannot be reached is counted by itself; it says nothing about the item.
        if let Some(pending) = running.items.front().and_then(|item| self.items.get_mut(item))
            && running.accepted
            && running.cursor - running.range.start() < PROGRESS_BYTES
        {
            count_attempt(pending, 1 << running.edge.0);
        }
        for item in running.items.into_iter().rev() {
            self.queue.push_front(item);
        }
    }

    fn fail_edge(&mut self, edge: EdgeIndex, trouble: Trouble, retry_after_seconds: Option<u64>, now: Millis) {
        let is_left = |(at, other): (usize, &Edge)| at != edge.0 && other.dropped().is_none();
        let others = self.edges.iter().enumerate().any(is_left);
        let company = if others { Company::Others } else { Company::Alone };
        if self.edges[edge.0].fail(now, retry_after_seconds, company) {
            self.troubles.push((edge, trouble));
        }
    }

    /// An edge without this blob may have the others: only one that never had anything is dropped.
    fn note_lack(&mut self, edge: EdgeIndex, blob: BlobId, status: u16) {
        let bit = 1u64 << edge.0;
        *self.lacking.entry(blob).or_insert(0) |= bit;
        let lacks = self.lacking.values().filter(|edges| **edges & bit != 0).take(STRANGER_LACKS_MAX as usize).count();
        if !self.edges[edge.0].has_delivered() && lacks >= STRANGER_LACKS_MAX as usize {
            self.drop_edge(edge, DropReason::Refused(status));
        }
    }

    fn drop_edge(&mut self, edge: EdgeIndex, reason: DropReason) {
        self.edges[edge.0].drop_for(reason);
        let mine: Vec<RequestId> =
            self.requests.iter().filter(|(_, running)| running.edge == edge).map(|(id, _)| *id).collect();
        for id in mine {
            self.close(id);
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
                self.close(id);
                self.fail_edge(edge, Trouble::Stalled, None, now);
                self.cancels.push_back(id);
            }
        }
    }

    /// The first item in the queue that a ready edge may be asked for: the edge, and the item's place.
    fn choose(&self, now: Millis) -> Result<Option<(EdgeIndex, usize)>, SessionError> {
        let bits = |pick: &dyn Fn(&Edge) -> bool| {
            let picked = self.edges.iter().enumerate().filter(|(_, edge)| pick(edge));
            picked.fold(0u64, |bits, (at, _)| bits | 1 << at)
        };
        let left = bits(&|edge| edge.dropped().is_none());
        if left == 0 {
            return Err(SessionError::NoEdgeLeft(self.worst_reason()));
        }
        let ready = bits(&|edge| edge.is_ready(now));
        if ready == 0 {
            return Ok(None);
        }
        for (at, id) in self.queue.iter().enumerate() {
            let Some(pending) = self.items.get(id) else { continue };
            let lacking = self.lacking.get(&pending.item.blob).copied().unwrap_or(0);
            let worn_out = if pending.attempts >= ITEM_ATTEMPTS_MAX { pending.tried } else { 0 };
            if left & !lacking == 0 {
                return Err(SessionError::NoEdgeLeft(DropReason::Refused(404)));
            }
            if left & !lacking & !worn_out == 0 {
                return Err(SessionError::ItemExhausted { blob: pending.item.blob, range: pending.item.range });
            }
            if let Some(edge) = self.cheapest(ready & !lacking & !worn_out) {
                return Ok(Some((edge, at)));
            }
        }
        Ok(None)
    }

    fn cheapest(&self, among: u64) -> Option<EdgeIndex> {
        let best_rate = self.edges.iter().filter_map(Edge::rate).fold(1.0, f64::max);
        (0..self.edges.len())
            .filter(|at| among >> at & 1 == 1)
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
}

/// Counts an attempt that failed at some edges.
const fn count_attempt(pending: &mut Pending, edges: u64) {
    pending.attempts = pending.attempts.saturating_add(1);
    pending.tried |= edges;
}

fn is_stalled(running: &Running, limits: &SessionLimits, now: Millis) -> bool {
    if now.since(running.last_news) >= limits.stall_ms {
        return true;
    }
    let age_ms = now.since(running.started);
    let received = running.cursor - running.range.start();
    age_ms >= 2 * limits.stall_ms && received.saturating_mul(1000) < limits.min_bytes_per_second.saturating_mul(age_ms)
}
