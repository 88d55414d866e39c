//! The closed loops: each connection sends its next request when the last one's body has come.

use crate::connect::Sender;
use crate::pattern::Offsets;
use crate::plan::{CheckedPlan, LoadError, Protocol};
use crate::report::Tally;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use penstock_core::blob::ByteRange;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, LocalSet};

/// Pause before a connection is tried again, so that a dead server is not hammered.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A loop gives up after so many failures in a row.
const FAILURES_IN_A_ROW_MAX: u32 = 20;
/// Longest wait for the answer to the first question.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks for the blob's size.
pub(crate) fn probe(plan: &CheckedPlan) -> Result<u64, LoadError> {
    runtime()?.block_on(async {
        let asked = tokio::time::timeout(PROBE_TIMEOUT, ask_size(plan)).await;
        asked.unwrap_or_else(|_| Err(LoadError::Probe("no answer in time".to_owned())))
    })
}

/// Runs one thread's share of the connections until `deadline`.
pub(crate) fn drive(
    plan: &Arc<CheckedPlan>,
    thread: u32,
    object_bytes: u64,
    deadline: Instant,
) -> Result<Tally, LoadError> {
    let share = plan.connections / plan.threads + u32::from(thread < plan.connections % plan.threads);
    let requests_left = Rc::new(Cell::new(share_of_requests(plan, thread)));
    let runtime = runtime()?;
    let results = LocalSet::new().block_on(&runtime, async {
        let mut loops = JoinSet::new();
        for index in 0..share {
            let stream = u64::from(thread) << 32 | u64::from(index);
            let offsets = Offsets::new(plan.seed, stream, object_bytes, plan.range_bytes);
            let (plan, requests_left) = (plan.clone(), requests_left.clone());
            let one = Loop { plan, object_bytes, offsets, requests_left, tally: Tally::default() };
            loops.spawn_local(one.until(deadline));
        }
        loops.join_all().await
    });
    let mut sum = Tally::default();
    results.iter().for_each(|tally| sum.add(tally));
    Ok(sum)
}

/// One connection's loop and its counts.
struct Loop {
    plan: Arc<CheckedPlan>,
    object_bytes: u64,
    offsets: Offsets,
    /// Shared by the loops of a thread.
    requests_left: Rc<Cell<u64>>,
    tally: Tally,
}

/// How one request failed.
enum Failure {
    Transport(hyper::Error),
    Status(StatusCode),
    Length { expected: u64, found: u64 },
}

impl Loop {
    /// Runs to the deadline; counts of what was under way then are kept.
    async fn until(mut self, deadline: Instant) -> Tally {
        // The deadline is the usual end of a run, not an error.
        let _ = tokio::time::timeout_at(deadline.into(), self.run()).await;
        self.tally
    }

    async fn run(&mut self) {
        let mut failures_in_a_row = 0;
        while failures_in_a_row < FAILURES_IN_A_ROW_MAX {
            if failures_in_a_row > 0 {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            match Sender::connect(&self.plan).await {
                Ok(sender) => {
                    self.tally.connections += 1;
                    let before = self.tally.requests;
                    if self.ask_until_failure(sender).await.is_ok() {
                        return;
                    }
                    failures_in_a_row = if self.tally.requests > before { 1 } else { failures_in_a_row + 1 };
                }
                Err(error) => {
                    self.tally.errors.connect += 1;
                    self.note(format!("no connection: {error}"));
                    failures_in_a_row += 1;
                }
            }
        }
    }

    /// `Ok` when no request is left to send; `Err` when the connection is of no more use.
    async fn ask_until_failure(&mut self, mut sender: Sender) -> Result<(), ()> {
        while self.take_request() {
            let range = self.offsets.next();
            let start = Instant::now();
            match self.ask(&mut sender, range).await {
                Ok(()) => {
                    self.tally.requests += 1;
                    self.tally.latencies.record(start.elapsed());
                }
                Err(failure) => {
                    self.count(failure);
                    return Err(());
                }
            }
        }
        Ok(())
    }

    fn take_request(&self) -> bool {
        let left = self.requests_left.get();
        self.requests_left.set(left.saturating_sub(1));
        left > 0
    }

    async fn ask(&mut self, sender: &mut Sender, range: Option<ByteRange>) -> Result<(), Failure> {
        let request = request(&self.plan, Method::GET, range);
        let mut response = sender.send(request).await.map_err(Failure::Transport)?;
        let wanted = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        if response.status() != wanted {
            return Err(Failure::Status(response.status()));
        }
        let expected = range.map_or(self.object_bytes, ByteRange::len);
        let found = self.receive(&mut response).await.map_err(Failure::Transport)?;
        if found == expected { Ok(()) } else { Err(Failure::Length { expected, found }) }
    }

    async fn receive(&mut self, response: &mut Response<Incoming>) -> Result<u64, hyper::Error> {
        let mut found = 0;
        while let Some(frame) = response.body_mut().frame().await {
            let bytes = frame?.data_ref().map_or(0, |data| data.len() as u64);
            found += bytes;
            self.tally.bytes += bytes;
        }
        Ok(found)
    }

    fn count(&mut self, failure: Failure) {
        match failure {
            Failure::Transport(error) => {
                self.tally.errors.transport += 1;
                self.note(format!("the connection broke: {error}"));
            }
            Failure::Status(status) => {
                self.tally.errors.status += 1;
                self.note(format!("the answer was {status}"));
            }
            Failure::Length { expected, found } => {
                self.tally.errors.length += 1;
                self.note(format!("{found} bytes came instead of {expected}"));
            }
        }
    }

    fn note(&mut self, text: String) {
        self.tally.first_error.get_or_insert(text);
    }
}

fn runtime() -> Result<Runtime, LoadError> {
    Builder::new_current_thread().enable_all().build().map_err(LoadError::Runtime)
}

fn share_of_requests(plan: &CheckedPlan, thread: u32) -> u64 {
    if plan.requests_max == 0 {
        return u64::MAX;
    }
    let (threads, thread) = (u64::from(plan.threads), u64::from(thread));
    plan.requests_max / threads + u64::from(thread < plan.requests_max % threads)
}

async fn ask_size(plan: &CheckedPlan) -> Result<u64, LoadError> {
    let mut sender = Sender::connect(plan).await.map_err(|error| LoadError::Probe(error.to_string()))?;
    let response = sender.send(request(plan, Method::HEAD, None)).await;
    let response = response.map_err(|error| LoadError::Probe(error.to_string()))?;
    if response.status() != StatusCode::OK {
        return Err(LoadError::Probe(format!("the answer was {}", response.status())));
    }
    let length = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    length.ok_or_else(|| LoadError::Probe("the answer names no length".to_owned()))
}

/// HTTP/1.1 sends the path and a Host head; HTTP/2 takes both from the whole URI.
fn request(plan: &CheckedPlan, method: Method, range: Option<ByteRange>) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method;
    match plan.protocol {
        Protocol::Http1 => {
            let path = plan.uri.path_and_query().cloned();
            *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
            if let Ok(host) = plan.authority.parse() {
                request.headers_mut().insert(header::HOST, host);
            }
        }
        Protocol::Http2 => *request.uri_mut() = plan.uri.clone(),
    }
    if let Some(value) = range.and_then(|range| format!("bytes={}-{}", range.start(), range.end() - 1).parse().ok()) {
        request.headers_mut().insert(header::RANGE, value);
    }
    request
}
