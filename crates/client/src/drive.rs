//! The thin loop between session, transport and workers. Decides nothing about edges or bytes: the
//! session does; checks nothing: the sink does.
//!
//! One thread runs the session, others decrypt what connections receive; workers decode, hash and write. Complete items wait in memory for
//! a worker, at most [`WAITING_BYTES_MAX`] of them; beyond that, sockets are simply not read.

use crate::error::{PullError, with_causes};
use crate::pool::{WorkerPanicked, guarded};
use crate::progress::Progress;
use crate::rate::RateBucket;
use crate::request::{EdgeUrl, Tuning};
use crate::session::{
    Action, AnswerHead, Arrived, EdgeIndex, Failure, Item, ItemId, Millis, RangeRequest, RequestId, Session,
    SessionLimits, Trouble, Verdict,
};
use crate::transport::{GetRequest, Transport, TransportError};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Bytes of complete items that may wait for a worker.
const WAITING_BYTES_MAX: u32 = 4 << 20;
/// Threads on which connections are read: decrypting alone can fill a core when the network is fast.
const CONNECTION_THREADS_MAX: usize = 2;
/// Items that may wait for a worker, so that tiny ones are bounded too.
const WAITING_ITEMS_MAX: usize = 1024;
/// Pieces of answers that may wait for the loop.
const EVENTS_MAX: usize = 32;

/// Whoever checks and keeps what arrives. One checker per worker thread.
pub(crate) trait Sink: Sync {
    /// A function that checks an item and, if it is good, keeps it.
    fn checker(&self) -> Checker<'_>;
}

/// See [`Sink`].
pub(crate) type Checker<'a> = Box<dyn FnMut(ItemId, &[u8]) -> Result<Verdict, PullError> + 'a>;

/// A session with everything it needs to run.
pub(crate) struct Network {
    runtime: tokio::runtime::Runtime,
    transport: Arc<dyn Transport>,
    edges: Vec<EdgeUrl>,
    session: Session,
    started: Instant,
    bucket: Option<Arc<Mutex<RateBucket>>>,
    workers: usize,
    /// Dropped edges that the player knows of.
    told: Vec<EdgeIndex>,
    /// Edges that had no good answer to the last question, and why.
    no_use: Mutex<BTreeMap<EdgeIndex, String>>,
}

enum Event {
    Head(RequestId, AnswerHead),
    Bytes(RequestId, Bytes),
    End(RequestId),
    Failed(RequestId, TransportError),
}

struct Job {
    arrived: Arrived,
    place: OwnedSemaphorePermit,
    room: OwnedSemaphorePermit,
}

/// Beside workers for every core, a second one only costs switches where there are but two (5 % of a pull's time).
fn connection_threads() -> usize {
    (crate::pool::worker_count(0) / 2).clamp(1, CONNECTION_THREADS_MAX)
}

type Judgement = (ItemId, Result<Verdict, PullError>);

impl Network {
    /// A network over these edges.
    pub(crate) fn new(edges: &[EdgeUrl], transport: Arc<dyn Transport>, tuning: &Tuning) -> Result<Self, PullError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(connection_threads())
            .thread_name("penstock-net")
            .enable_all()
            .build()
            .map_err(PullError::Runtime)?;
        let parallel = tuning.parallel_requests.clamp(1, 64);
        let mut limits = SessionLimits { parallel, stall_ms: tuning.stall_ms.max(100), ..SessionLimits::default() };
        if let Some(rate) = tuning.limit_rate {
            // A cap of ours must not look like an edge that stalls.
            let round_ms = (parallel as u64 * 512 * 1024).saturating_mul(1000) / rate.max(1);
            limits.stall_ms = limits.stall_ms.saturating_add(round_ms);
            limits.min_bytes_per_second = 0;
        }
        let seed = u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Ok(Self {
            runtime,
            transport,
            edges: edges.to_vec(),
            session: Session::new(edges.len(), limits, seed),
            started: Instant::now(),
            bucket: tuning.limit_rate.map(|rate| Arc::new(Mutex::new(RateBucket::new(rate)))),
            workers: crate::pool::worker_count(tuning.workers),
            told: Vec::new(),
            no_use: Mutex::default(),
        })
    }
    /// Content bytes received so far.
    pub(crate) const fn received_bytes(&self) -> u64 {
        self.session.received_bytes()
    }
    /// Edges that were dropped, or that neither answered a question nor delivered anything, in words.
    pub(crate) fn dropped(&self) -> Vec<String> {
        let mut reasons = lock(&self.no_use).clone();
        reasons.retain(|edge, _| !self.session.has_delivered(*edge));
        reasons.extend(self.session.dropped().map(|(edge, reason)| (edge, reason.to_string())));
        reasons.iter().map(|(edge, reason)| format!("{}: {reason}", self.edges[edge.0])).collect()
    }
    /// An edge answered well.
    pub(crate) fn answered(&self, edge: EdgeIndex) {
        lock(&self.no_use).remove(&edge);
    }
    /// An edge did not. Gives whether that is news.
    pub(crate) fn no_use(&self, edge: EdgeIndex, reason: String) -> bool {
        lock(&self.no_use).insert(edge, reason).is_none()
    }
    /// The addresses.
    pub(crate) fn edges(&self) -> &[EdgeUrl] {
        &self.edges
    }
    /// Runs one future on the network's runtime, with its transport.
    pub(crate) fn ask<T, F: Future<Output = T>>(&self, question: impl FnOnce(Arc<dyn Transport>) -> F) -> T {
        self.runtime.block_on(question(Arc::clone(&self.transport)))
    }
    /// Fetches items until all are good.
    ///
    /// # Errors
    /// The sink's first error, or the session's when no edge can deliver.
    pub(crate) fn fetch(
        &mut self,
        items: Vec<Item>,
        sink: &dyn Sink,
        progress: &dyn Progress,
    ) -> Result<(), PullError> {
        self.session.want(items);
        let (jobs, waiting) = crossbeam_channel::bounded::<Job>(WAITING_ITEMS_MAX);
        let (judge, judgements) = mpsc::channel::<Judgement>(WAITING_ITEMS_MAX);
        let result = std::thread::scope(|scope| {
            for _ in 0..self.workers {
                let (judge, waiting) = (judge.clone(), &waiting);
                scope.spawn(move || work(waiting, &judge, sink.checker()));
            }
            drop(judge);
            let lane = Lane {
                session: &mut self.session,
                transport: &self.transport,
                bucket: self.bucket.as_ref(),
                started: self.started,
                edges: &self.edges,
                no_use: &self.no_use,
                progress,
                jobs,
                room: Arc::new(Semaphore::new(WAITING_BYTES_MAX as usize)),
                places: Arc::new(Semaphore::new(WAITING_ITEMS_MAX)),
                running: HashMap::new(),
            };
            self.runtime.block_on(lane.run(judgements))
        });
        for (edge, reason) in self.session.dropped() {
            if !self.told.contains(&edge) {
                progress.note(&format!("dropped {}: {reason}", self.edges[edge.0]));
                self.told.push(edge);
            }
        }
        result
    }
}

fn work(waiting: &crossbeam_channel::Receiver<Job>, judge: &mpsc::Sender<Judgement>, mut check: Checker<'_>) {
    while let Ok(Job { arrived, place, room }) = waiting.recv() {
        drop(place);
        let verdict = guarded(|| check(arrived.item, &arrived.bytes));
        drop(arrived.bytes);
        drop(room);
        if judge.blocking_send((arrived.item, verdict)).is_err() {
            return;
        }
    }
}

/// One call of [`Network::fetch`].
struct Lane<'a> {
    session: &'a mut Session,
    transport: &'a Arc<dyn Transport>,
    bucket: Option<&'a Arc<Mutex<RateBucket>>>,
    started: Instant,
    edges: &'a [EdgeUrl],
    /// Edges whose failing was told of before.
    no_use: &'a Mutex<BTreeMap<EdgeIndex, String>>,
    progress: &'a dyn Progress,
    jobs: crossbeam_channel::Sender<Job>,
    /// Bytes that may wait for a worker.
    room: Arc<Semaphore>,
    /// Items that may: as many as `jobs` holds, so that sending never blocks this loop.
    places: Arc<Semaphore>,
    running: HashMap<RequestId, AbortHandle>,
}

impl Lane<'_> {
    async fn run(mut self, mut judgements: mpsc::Receiver<Judgement>) -> Result<(), PullError> {
        let (events, mut inbox) = mpsc::channel(EVENTS_MAX);
        let result = loop {
            // What has already happened is told before anything is called late.
            while let Ok(judgement) = judgements.try_recv() {
                if let Err(error) = self.judge(Some(judgement)) {
                    return self.stop(error);
                }
            }
            while let Ok(event) = inbox.try_recv() {
                if let Err(error) = self.hear(event, &mut judgements).await {
                    return self.stop(error);
                }
            }
            let action = self.session.next_action(self.now());
            self.tell(None);
            let until = match action {
                Action::Start(request) => {
                    self.start(request, &events);
                    continue;
                }
                Action::Cancel(id) => {
                    self.abort(id);
                    continue;
                }
                Action::Idle => break Ok(()),
                Action::Fail(error) => break Err(error.into()),
                Action::Wait(until) => until,
            };
            let pause = Duration::from_millis(until.since(self.now()));
            tokio::select! {
                biased;
                judgement = judgements.recv() => {
                    if let Err(error) = self.judge(judgement) {
                        return self.stop(error);
                    }
                }
                event = inbox.recv() => {
                    if let Some(event) = event
                        && let Err(error) = self.hear(event, &mut judgements).await
                    {
                        return self.stop(error);
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        };
        self.abort_all();
        result
    }

    fn stop(mut self, error: PullError) -> Result<(), PullError> {
        self.abort_all();
        Err(error)
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Tells the session what a worker found. No judgement means that the workers are gone, which they are before this
    /// loop only by breaking down.
    fn judge(&mut self, judgement: Option<Judgement>) -> Result<(), PullError> {
        let Some((item, verdict)) = judgement else { return Err(WorkerPanicked.into()) };
        let now = self.now();
        self.session.on_verdict(item, verdict?, now);
        Ok(())
    }

    /// Hands an item to the workers, waiting for room. Meanwhile judgements are taken: workers wait when nobody does, and
    /// with both queues full each side would wait for the other for ever.
    async fn hand_over(
        &mut self,
        arrived: Arrived,
        judgements: &mut mpsc::Receiver<Judgement>,
    ) -> Result<(), PullError> {
        let bytes = u32::try_from(arrived.bytes.len()).unwrap_or(u32::MAX).min(WAITING_BYTES_MAX);
        let (room, places) = (Arc::clone(&self.room), Arc::clone(&self.places));
        let mut permits = std::pin::pin!(async move {
            // Neither is ever closed.
            Some((room.acquire_many_owned(bytes).await.ok()?, places.acquire_owned().await.ok()?))
        });
        loop {
            tokio::select! {
                biased;
                judgement = judgements.recv() => self.judge(judgement)?,
                permits = &mut permits => {
                    let (room, place) = permits.ok_or(WorkerPanicked)?;
                    let sent = self.jobs.try_send(Job { arrived, place, room });
                    return sent.map_err(|_| WorkerPanicked.into());
                }
            }
        }
    }

    async fn hear(&mut self, event: Event, judgements: &mut mpsc::Receiver<Judgement>) -> Result<(), PullError> {
        let now = self.now();
        match event {
            Event::Head(id, head) => {
                if !self.session.on_head(id, &head, now) {
                    self.abort(id);
                }
            }
            Event::Bytes(id, bytes) => {
                for arrived in self.session.on_bytes(id, &bytes, now) {
                    self.hand_over(arrived, judgements).await?;
                }
            }
            Event::End(id) => {
                self.running.remove(&id);
                self.session.on_end(id, now);
            }
            Event::Failed(id, error) => {
                self.running.remove(&id);
                tracing::debug!(request = id.0, error = &error as &dyn std::error::Error, "a request failed");
                self.session.on_failure(id, error.failure(), now);
                self.tell(Some(&error));
            }
        }
        Ok(())
    }

    /// Tells which edges began to fail: otherwise nothing is heard for as long as a sole edge is waited for.
    fn tell(&mut self, error: Option<&TransportError>) {
        for (edge, trouble) in self.session.take_troubles() {
            if lock(self.no_use).contains_key(&edge) {
                continue;
            }
            let what = match (trouble, error) {
                (Trouble::Broken, Some(error)) => format!("not answering ({})", with_causes(error)),
                (Trouble::Broken, None) => "its answer broke off".to_owned(),
                (Trouble::Stalled, _) => "nothing came for too long".to_owned(),
                (Trouble::Status(status), _) => format!("it answered with status {status}"),
            };
            self.progress.note(&format!("{}: {what}, trying again", self.edges[edge.0]));
        }
    }

    fn start(&mut self, request: RangeRequest, events: &mpsc::Sender<Event>) {
        let (transport, events) = (Arc::clone(self.transport), events.clone());
        let (bucket, started) = (self.bucket.cloned(), self.started);
        let task = tokio::spawn(async move {
            let done = converse(transport.as_ref(), &request, &events, bucket.as_deref(), started).await;
            let last = match done {
                Ok(()) => Event::End(request.id),
                Err(error) => Event::Failed(request.id, error),
            };
            // A closed inbox means that nobody wants to know any more.
            events.send(last).await.ok();
        });
        self.running.insert(request.id, task.abort_handle());
    }

    fn abort(&mut self, id: RequestId) {
        if let Some(task) = self.running.remove(&id) {
            task.abort();
        }
    }

    fn abort_all(&mut self) {
        let now = self.now();
        for (id, task) in self.running.drain() {
            task.abort();
            self.session.on_failure(id, Failure::Broken, now);
        }
        // That was ours, and no edge's.
        self.session.take_troubles();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn converse(
    transport: &dyn Transport,
    request: &RangeRequest,
    events: &mpsc::Sender<Event>,
    bucket: Option<&Mutex<RateBucket>>,
    started: Instant,
) -> Result<(), TransportError> {
    let get = GetRequest { target: format!("/v1/blobs/{}", request.blob), range: Some(request.range) };
    let mut answer = transport.get(request.edge, get).await?;
    events.send(Event::Head(request.id, answer.head)).await.ok();
    while let Some(piece) = answer.body.next().await {
        let piece = piece?;
        if let Some(bucket) = bucket {
            let now_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let pause = lock(bucket).take(piece.len() as u64, now_ns);
            if pause > 0 {
                tokio::time::sleep(Duration::from_nanos(pause)).await;
            }
        }
        if events.send(Event::Bytes(request.id, piece)).await.is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
