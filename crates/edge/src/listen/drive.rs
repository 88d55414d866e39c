//! Driving one connection from its first byte to its last: hyper, the deadlines and the drain, side by side.
//!
//! HTTP/1 and HTTP/2 have their own builders (chosen by ALPN, not guessed), one loop and one service.

use super::conn::{ConnInfo, CutMark, Handler, Protocol};
use crate::admit::Lane;
use crate::config::Limits;
use crate::deadline::{Expiry, Framing, Next, Pace, Paced, Progress, Streams, Watch};
use crate::drain::Stage;
use crate::metrics::BAD_HEADS;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use metrics::counter;
use penstock_core::reply::Problem;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Receive window of HTTP/2 streams and connections. Players send requests, not bodies, so it may be small.
const DATA_WINDOW_BYTES: u32 = 64 * 1024;
/// The same for publishers, who upload packs.
const ADMIN_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Bytes that one HTTP/2 stream may queue where they are slices of maps: it costs little and keeps the pipe full.
pub(crate) const STREAM_SEND_BYTES_MAPPED: usize = 256 * 1024;
/// The same where they are copies in memory (pread mode): a hundred streams of each connection may queue this much.
pub(crate) const STREAM_SEND_BYTES_COPIED: usize = 16 * 1024;
/// HTTP/2 streams that we may have to reset for the peer's mistakes before the connection ends.
const OWN_RESETS_MAX: usize = 128;
/// Most headers of an HTTP/1 request.
const HEADERS_MAX: usize = 64;

/// What one connection is driven with.
pub(super) struct Ride<H> {
    pub(super) handler: Arc<H>,
    pub(super) conn: Arc<ConnInfo>,
    pub(super) progress: Arc<Progress>,
    pub(super) pace: Pace,
    pub(super) limits: Arc<Limits>,
    /// `Refuse` comes with the problem that every request is answered with.
    pub(super) lane: (Lane, Problem),
    pub(super) stage: watch::Receiver<Stage>,
    pub(super) uploads: Uploads,
    /// Bytes that one HTTP/2 stream may queue.
    pub(super) stream_send_bytes: usize,
}

/// Whether large request bodies are expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uploads {
    Expected,
    Unusual,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// Either side closed it in order.
    Closed,
    /// It finished work while the node drained, and was closed: the end of a body may be on its way.
    Finished,
    /// The peer broke it off or spoke nonsense.
    Failed(hyper::Error),
    /// It rested, was told to close and did not.
    Left,
    /// A deadline passed.
    Expired(Expiry),
    /// The drain's time was up.
    CutByDrain,
}

/// Drives `io` until it ends.
pub(super) async fn drive<H, IO>(io: IO, ride: Ride<H>) -> End
where
    H: Handler,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (handler, conn) = (Arc::clone(&ride.handler), Arc::clone(&ride.conn));
    // Boxed, so that a connection's task is as large as the version it speaks and not as the larger of both.
    let end = match conn.protocol {
        Protocol::Http1 => Box::pin(drive_http1(io, ride)).await,
        Protocol::Http2 => Box::pin(drive_http2(io, ride)).await,
    };
    if let End::Failed(error) = &end {
        note_bad_head(error, &*handler, &conn);
    }
    end
}

/// hyper answers a head that is no request (400) or too large (414, 431) by itself, with no body, and no handler is asked;
/// the connection's error is all that is left to tell, and does not tell 414 from 431. HTTP/2 refuses single streams so,
/// and of those nothing is heard.
fn note_bad_head<H: Handler>(error: &hyper::Error, handler: &H, conn: &ConnInfo) {
    if !error.is_parse() {
        return;
    }
    let (reason, status) = if error.is_parse_too_large() { ("too_large", 431) } else { ("malformed", 400) };
    counter!(BAD_HEADS, "reason" => reason).increment(1);
    handler.bad_head(status, conn);
}

async fn drive_http1<H, IO>(io: IO, ride: Ride<H>) -> End
where
    H: Handler,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stage = ride.stage.clone();
    // A connection that is refused or that slipped in while draining gets one answer.
    let keep_alive = ride.lane.0 == Lane::Serve && *stage.borrow_and_update() == Stage::Serving;
    let reins = Reins::of(&ride);
    let watch = Watch::new(ride.pace, Framing::Single, Instant::now());
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(keep_alive)
        .timer(TokioTimer::new())
        // It would also run while a kept-alive connection rests; `Watch` has a deadline for each.
        .header_read_timeout(None)
        .max_header_size(usize::try_from(ride.limits.header_bytes_max).unwrap_or(usize::MAX))
        .max_headers(HEADERS_MAX);
    let ride = Arc::new(ride);
    let service = service_fn(move |request| answer(Arc::clone(&ride), request));
    run(builder.serve_connection(TokioIo::new(io), service), reins, watch, None, stage).await
}

async fn drive_http2<H, IO>(io: IO, ride: Ride<H>) -> End
where
    H: Handler,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stage = ride.stage.clone();
    let started = *stage.borrow_and_update();
    let reins = Reins::of(&ride);
    let watch = Watch::new(ride.pace, Framing::Multiplexed, Instant::now());
    let streams = Streams::new(ride.pace, Instant::now());
    let window = match ride.uploads {
        Uploads::Expected => ADMIN_WINDOW_BYTES,
        Uploads::Unusual => DATA_WINDOW_BYTES,
    };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(ride.limits.streams_max)
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .max_header_list_size(ride.limits.header_bytes_max)
        .max_send_buf_size(ride.stream_send_bytes)
        .max_pending_accept_reset_streams(ride.limits.reset_streams_max)
        .max_local_error_reset_streams(OWN_RESETS_MAX);
    let ride = Arc::new(ride);
    let service = service_fn(move |request| answer(Arc::clone(&ride), request));
    let mut connection = Box::pin(builder.serve_connection(TokioIo::new(io), service));
    if started != Stage::Serving {
        connection.as_mut().graceful_shutdown();
    }
    run(connection, reins, watch, Some(streams), stage).await
}

/// One request: refused by admission, or answered by the handler, and watched until its body is gone.
async fn answer<H: Handler>(
    ride: Arc<Ride<H>>,
    request: Request<Incoming>,
) -> Result<Response<Paced<H::Body>>, Infallible> {
    let receiving = !hyper::body::Body::is_end_stream(request.body());
    let underway = ride.progress.request(receiving);
    let response = match ride.lane {
        (Lane::Serve, _) => ride.handler.handle(request, &ride.conn).await,
        (Lane::Refuse | Lane::Close, problem) => ride.handler.refuse(problem, &ride.conn),
    };
    Ok(response.map(|body| underway.answer(body)))
}

/// What a connection is watched and ended by, while hyper has the rest of it.
struct Reins {
    progress: Arc<Progress>,
    cut: CutMark,
}

impl Reins {
    fn of<H>(ride: &Ride<H>) -> Self {
        Self { progress: Arc::clone(&ride.progress), cut: ride.conn.cut.clone() }
    }

    /// Before the connection is dropped unfinished: its socket is reset, and its requests were cut by us.
    fn cut(&self) {
        self.progress.abort();
        self.cut.set();
    }
}

/// What becomes of the connection, now.
fn judge(watch: &mut Watch, streams: Option<&mut Streams>, progress: &Progress) -> Next {
    let (now, sample) = (Instant::now(), progress.sample());
    let next = watch.look(now, sample);
    match streams.and_then(|streams| streams.look(now, sample.bodies, &progress.streams())) {
        // A verdict on the whole connection comes first.
        Some(expiry) if matches!(next, Next::At(_)) => Next::Cut(expiry),
        _ => next,
    }
}

/// A hyper connection of either version.
trait Connection: Future<Output = Result<(), hyper::Error>> {
    /// Finish what is under way, then close.
    fn finish(self: Pin<&mut Self>);
}

impl<I, S, B> Connection for http1::Connection<I, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, B, E> Connection for Pin<Box<http2::Connection<I, S, E>>>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn finish(self: Pin<&mut Self>) {
        self.get_mut().as_mut().graceful_shutdown();
    }
}

enum Event {
    Ended(Result<(), hyper::Error>),
    Due,
    Stage,
}

async fn run<C: Connection>(
    connection: C,
    reins: Reins,
    mut watch: Watch,
    mut streams: Option<Streams>,
    mut stage: watch::Receiver<Stage>,
) -> End {
    let progress = &*reins.progress;
    let mut connection = pin!(connection);
    let mut timer = pin!(sleep_until(Instant::now()));
    // A connection that came while the drain had begun has had no work yet; what it gets is finished in the drain.
    let mut drained_from = (*stage.borrow() != Stage::Serving).then(|| progress.sample());
    loop {
        let event = {
            let watch = &mut watch;
            let step = poll_fn(|cx| {
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(Event::Ended(ended));
                }
                // A new phase has its own deadline; within a phase the armed timer stands.
                if watch.is_stale(progress.sample()) {
                    return Poll::Ready(Event::Due);
                }
                timer.as_mut().poll(cx).map(|()| Event::Due)
            });
            tokio::select! {
                biased;
                event = step => event,
                _ = stage.changed() => Event::Stage,
            }
        };
        match event {
            Event::Ended(Ok(())) => {
                let had_work = drained_from.is_some_and(|then| then.working || then.rests != progress.sample().rests);
                return if had_work { End::Finished } else { End::Closed };
            }
            Event::Ended(Err(error)) => return End::Failed(error),
            Event::Due => match judge(&mut watch, streams.as_mut(), progress) {
                Next::At(moment) => timer.as_mut().reset(moment),
                Next::Close => {
                    watch.closing(Instant::now());
                    connection.as_mut().finish();
                }
                Next::Leave => return End::Left,
                Next::Cut(expiry) => {
                    reins.cut();
                    return End::Expired(expiry);
                }
            },
            Event::Stage if *stage.borrow() == Stage::Draining => {
                drained_from = Some(progress.sample());
                watch.draining();
                connection.as_mut().finish();
            }
            Event::Stage => {
                reins.cut();
                return End::CutByDrain;
            }
        }
    }
}
