//! The thin loop between session, transport and workers. Decides nothing about edges or bytes: the
//! session does; checks nothing: the sink does.
//!
//! One thread runs the session, others decrypt what connections receive; workers decode, hash and write. Complete items wait in memory for
//! a worker, at most [`WAITING_BYTES_MAX`] of them; beyond that, sockets are simply not read.

use crate::error::PullError;
use crate::pool::{WorkerPanicked, guarded};
use crate::progress::Progress;
use crate::rate::RateBucket;
use crate::request::{EdgeUrl, Tuning};
use crate::session::{Action, AnswerHead, Arrived, Failure, Item, ItemId, Millis, RangeRequest, RequestId, Session};
use crate::session::{SessionLimits, Verdict};
use crate::transport::{GetRequest, Transport, TransportError};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Bytes of complete items that may wait for a worker.
const WAITING_BYTES_MAX: u32 = 4 << 20;
/// Threads on which connections are read: decrypting alone can fill a core when the network is fast.
const CONNECTION_THREADS: usize = 2;
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
    told: usize,
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

type Judgement = (ItemId, Result<Verdict, PullError>);

impl Network {
    /// A network over these edges.
    pub(crate) fn new(edges: &[EdgeUrl], transport: Arc<dyn Transport>, tuning: &Tuning) -> Result<Self, PullError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONNECTION_THREADS)
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
            told: 0,
        })
    }
    /// Content bytes received so far.
    pub(crate) const fn received_bytes(&self) -> u64 {
        self.session.received_bytes()
    }
    /// Edges that were dropped, in words.
    pub(crate) fn dropped(&self) -> Vec<String> {
        self.session.dropped().map(|(edge, reason)| format!("{}: {reason}", self.edges[edge.0])).collect()
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
                jobs,
                room: Arc::new(Semaphore::new(WAITING_BYTES_MAX as usize)),
                places: Arc::new(Semaphore::new(WAITING_ITEMS_MAX)),
                running: HashMap::new(),
            };
            self.runtime.block_on(lane.run(judgements))
        });
        for note in self.dropped().iter().skip(self.told) {
            progress.note(&format!("dropped {note}"));
        }
        self.told = self.session.dropped().count();
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
            let until = match self.session.next_action(self.now()) {
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
            }
        }
        Ok(())
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
    }
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
            let pause = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(piece.len() as u64, now_ns);
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
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::session::EdgeIndex;
    use crate::transport::{Answer, AnswerBody, BoxFuture};
    use penstock_core::blob::{BlobId, ByteRange};

    /// Serves zeros.
    struct Zeros;

    struct Once(Option<Bytes>);

    impl AnswerBody for Once {
        fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>> {
            Box::pin(async move { self.0.take().map(Ok) })
        }
    }

    impl Transport for Zeros {
        fn get(&self, _: EdgeIndex, request: GetRequest) -> BoxFuture<'_, Result<Answer, TransportError>> {
            let range = request.range.expect("blobs are asked for by range");
            let head = AnswerHead {
                status: 206,
                content_range: Some((range.start(), range.end() - 1)),
                content_length: Some(range.len()),
                retry_after_seconds: None,
            };
            let body = Bytes::from(vec![0; usize::try_from(range.len()).expect("small")]);
            Box::pin(async move { Ok(Answer { head, body: Box::new(Once(Some(body))) }) })
        }
    }

    struct Panics;

    impl Sink for Panics {
        fn checker(&self) -> Checker<'_> {
            Box::new(|item, _| if item.0 == 3 { panic!("a bug") } else { Ok(Verdict::Good) })
        }
    }

    struct Agrees;

    impl Sink for Agrees {
        fn checker(&self) -> Checker<'_> {
            Box::new(|_, _| Ok(Verdict::Good))
        }
    }

    fn items(count: u32) -> Vec<Item> {
        let item = |at: u32| {
            let start = u64::from(at) * 100;
            let range = ByteRange::new(start, start + 100).expect("not empty");
            Item { id: ItemId(at), blob: BlobId::of(b"pack"), range }
        };
        (0..count).map(item).collect()
    }

    /// A real build with thousands of small files hung: one piece of an answer held more items than both queues do, so
    /// that the loop waited for the workers and the workers for the loop.
    #[test]
    fn more_tiny_items_than_the_queues_hold_come_through() {
        let edges = vec!["http://127.0.0.1:1".parse().expect("url")];
        let mut network = Network::new(&edges, Arc::new(Zeros), &Tuning::default()).expect("network");
        let many = u32::try_from(5 * WAITING_ITEMS_MAX).expect("small");
        network.fetch(items(many), &Agrees, &Silent).expect("all are good");
        assert_eq!(network.received_bytes(), u64::from(many) * 100);
    }

    /// Found in review: the verdict of an item whose check panicked never came, and the pull waited for ever.
    #[test]
    fn a_panic_in_a_check_ends_the_fetch_with_an_error() {
        let edges = vec!["http://127.0.0.1:1".parse().expect("url")];
        let mut network = Network::new(&edges, Arc::new(Zeros), &Tuning::default()).expect("network");
        let result = network.fetch(items(8), &Panics, &Silent);
        assert!(matches!(result, Err(PullError::Worker(_))), "{result:?}");
    }
}
