//! What became of a request: one [`Outcome`] each, written exactly once, when the request's body is dropped.
//!
//! Metrics and the access log are written from it, in [`Ledger`] and nowhere else. It must not hold tokens: a path is
//! logged without its query.

use crate::listen::{ConnInfo, CutMark, Door, Protocol};
use crate::metrics::RequestMetrics;
use crate::request_id;
use http::Uri;
use penstock_core::blob::BlobId;
use penstock_core::reply::Problem;
use penstock_core::request::{Method, Target};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Which kind of thing was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// A blob's bytes.
    Blob,
    /// A blob's hash tree.
    Outboard,
    /// A blob's bytes with their proof.
    Verified,
    /// A channel.
    Channel,
    /// A release or its key.
    Release,
    /// The catalogue.
    Catalog,
    /// Reports.
    Reports,
    /// No path of ours.
    Unknown,
    /// Refused at the door, whatever it was.
    Door,
    /// Health, readiness, metrics.
    Probe,
    /// The admin API.
    Admin,
    /// An HTTP/1 head that was no request or too large: the HTTP library refused it by itself, without a body or an id.
    BadHead,
}

impl Route {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 12] = [
        Self::Blob,
        Self::Outboard,
        Self::Verified,
        Self::Channel,
        Self::Release,
        Self::Catalog,
        Self::Reports,
        Self::Unknown,
        Self::Door,
        Self::Probe,
        Self::Admin,
        Self::BadHead,
    ];

    /// The name used in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Outboard => "outboard",
            Self::Verified => "verified",
            Self::Channel => "channel",
            Self::Release => "release",
            Self::Catalog => "catalog",
            Self::Reports => "reports",
            Self::Unknown => "unknown",
            Self::Door => "door",
            Self::Probe => "probe",
            Self::Admin => "admin",
            Self::BadHead => "bad_head",
        }
    }

    pub(crate) const fn of(target: &Target) -> Self {
        match target {
            Target::Blob(_) => Self::Blob,
            Target::Outboard(_) => Self::Outboard,
            Target::Verified { .. } => Self::Verified,
            Target::Channel { .. } => Self::Channel,
            Target::Release { .. } | Target::ReleaseKey { .. } => Self::Release,
            Target::Catalog => Self::Catalog,
            Target::Reports => Self::Reports,
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Everything was handed to the connection.
    Complete,
    /// We cut it off: the blob was found damaged or could not be read, the peer passed a deadline, or the drain's time
    /// was up.
    Cut,
    /// The peer went away before everything was handed over.
    Gone,
}

impl End {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Complete, Self::Cut, Self::Gone];

    /// The name used in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cut => "cut",
            Self::Gone => "gone",
        }
    }
}

/// What became of one request.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The request's id, as in `X-Request-Id`.
    pub request_id: Uuid,
    /// What was asked for.
    pub route: Route,
    /// The method, as far as targets care.
    pub method: Method,
    /// The method's name, if it is a standard one, else `other`.
    pub method_name: &'static str,
    /// The door.
    pub door: Door,
    /// HTTP version.
    pub protocol: Protocol,
    /// The client's address.
    pub peer: Option<SocketAddr>,
    /// The target.
    pub target: AskedTarget,
    /// The blob that was asked for.
    pub blob: Option<BlobId>,
    /// The status answered; 0 if the peer went away before there was one.
    pub status: u16,
    /// The problem answered, if any.
    pub problem: Option<Problem>,
    /// How many ranges were answered; 0 unless it was 206.
    pub ranges: usize,
    /// Length of the body, in bytes.
    pub planned_bytes: u64,
    /// Bytes of the body handed to the connection.
    pub sent_bytes: u64,
    /// How it ended.
    pub end: End,
    /// Until the response's head was ready.
    pub head_after: Duration,
    /// Until the body was dropped.
    pub duration: Duration,
}

/// The target of a request as far as anybody may see it: a query has links and names of installs in it.
#[derive(Clone)]
pub struct AskedTarget(Uri);

impl AskedTarget {
    /// The beginning of the path.
    #[must_use]
    pub fn path(&self) -> &str {
        let path = self.0.path();
        let mut end = path.len().min(LOGGED_PATH_BYTES_MAX);
        while !path.is_char_boundary(end) {
            end -= 1;
        }
        &path[..end]
    }

    /// Whether there is a query.
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.0.query().is_some()
    }
}

impl fmt::Debug for AskedTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.path(), if self.has_query() { "?****" } else { "" })
    }
}

/// Where outcomes go: [`Ledger`], or a test. Called on runtime threads: it must not block.
pub trait OutcomeSink: Send + Sync + 'static {
    /// Takes the outcome of one request.
    fn record(&self, outcome: &Outcome);
}

/// Writes the outcome of one request when it is dropped.
pub(crate) struct Pen {
    sink: Arc<dyn OutcomeSink>,
    started: Instant,
    cut: CutMark,
    outcome: Outcome,
}

impl Pen {
    pub(crate) fn new(sink: Arc<dyn OutcomeSink>, conn: &ConnInfo, method: Method, uri: Uri) -> Self {
        let outcome = Outcome {
            request_id: request_id::next(),
            route: Route::Unknown,
            method,
            method_name: method.name(),
            door: conn.door,
            protocol: conn.protocol,
            peer: conn.peer,
            target: AskedTarget(uri),
            blob: None,
            status: 0,
            problem: None,
            ranges: 0,
            planned_bytes: 0,
            sent_bytes: 0,
            end: End::Gone,
            head_after: Duration::ZERO,
            duration: Duration::ZERO,
        };
        Self { sink, started: Instant::now(), cut: conn.cut.clone(), outcome }
    }

    pub(crate) fn outcome(&mut self) -> &mut Outcome {
        &mut self.outcome
    }

    /// What was asked for, by its full name.
    pub(crate) fn asked(&mut self, method: &http::Method) {
        self.outcome.method_name = method_name(method);
    }

    /// The head is ready.
    pub(crate) fn head(&mut self, status: u16, planned_bytes: u64) {
        self.outcome.status = status;
        self.outcome.planned_bytes = planned_bytes;
        self.outcome.head_after = self.started.elapsed();
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.outcome.sent_bytes += bytes as u64;
    }

    pub(crate) fn end(&mut self, end: End) {
        self.outcome.end = end;
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        self.outcome.duration = self.started.elapsed();
        if self.outcome.end == End::Gone && self.cut.is_set() {
            self.outcome.end = End::Cut;
        }
        self.sink.record(&self.outcome);
    }
}

/// The outcome of a head that was answered with `status` before anybody saw a request.
pub(crate) fn note_bad_head(mut pen: Pen, status: u16) {
    pen.outcome().route = Route::BadHead;
    pen.head(status, 0);
    pen.end(End::Complete);
}

/// Whether each request is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// A line each.
    Write,
    /// Metrics only.
    Skip,
}

/// Metrics and the access log.
pub struct Ledger {
    metrics: RequestMetrics,
    log: AtomicBool,
}

impl Ledger {
    /// Call [`crate::metrics::install`] first, or nothing is counted.
    #[must_use]
    pub fn new(log: AccessLog) -> Self {
        Self { metrics: RequestMetrics::new(), log: AtomicBool::new(log == AccessLog::Write) }
    }

    /// Changes what a reload may change.
    pub fn set_access_log(&self, log: AccessLog) {
        self.log.store(log == AccessLog::Write, Ordering::Relaxed);
    }
}

impl OutcomeSink for Ledger {
    fn record(&self, outcome: &Outcome) {
        self.metrics.count(outcome);
        // A probe that went well is asked every few seconds and tells nothing.
        let is_noise = outcome.route == Route::Probe && outcome.status == 200;
        if !is_noise && self.log.load(Ordering::Relaxed) {
            write_line(outcome);
        }
    }
}

/// Longest path that is logged, in bytes; ours are shorter.
const LOGGED_PATH_BYTES_MAX: usize = 256;

/// One line of the access log: an event of target `penstock::access`, which the log's JSON format turns into an object.
fn write_line(outcome: &Outcome) {
    tracing::info!(
        target: "penstock::access",
        request_id = %outcome.request_id,
        peer = outcome.peer.map(tracing::field::display),
        door = outcome.door.name(),
        protocol = outcome.protocol.name(),
        method = outcome.method_name,
        path = outcome.target.path(),
        query = if outcome.target.has_query() { "redacted" } else { "" },
        route = outcome.route.name(),
        blob = outcome.blob.map(tracing::field::display),
        status = outcome.status,
        problem = outcome.problem.map(Problem::code),
        ranges = outcome.ranges,
        planned_bytes = outcome.planned_bytes,
        sent_bytes = outcome.sent_bytes,
        end = outcome.end.name(),
        head_seconds = outcome.head_after.as_secs_f64(),
        duration_seconds = outcome.duration.as_secs_f64(),
        "request"
    );
}

/// The standard methods (RFC 9110, section 9.3, and RFC 5789) by name; any other is a peer's text.
fn method_name(method: &http::Method) -> &'static str {
    const STANDARD: [(http::Method, &str); 9] = [
        (http::Method::GET, "GET"),
        (http::Method::HEAD, "HEAD"),
        (http::Method::POST, "POST"),
        (http::Method::PUT, "PUT"),
        (http::Method::DELETE, "DELETE"),
        (http::Method::OPTIONS, "OPTIONS"),
        (http::Method::PATCH, "PATCH"),
        (http::Method::CONNECT, "CONNECT"),
        (http::Method::TRACE, "TRACE"),
    ];
    STANDARD.iter().find(|(standard, _)| standard == method).map_or("other", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_the_order_of_their_declaration() {
        assert!(Route::ALL.iter().enumerate().all(|(index, route)| *route as usize == index));
        assert!(End::ALL.iter().enumerate().all(|(index, end)| *end as usize == index));
    }

    #[test]
    fn methods_have_their_names_and_a_peers_own_has_none() {
        for name in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"] {
            assert_eq!(method_name(&name.parse().expect("a method")), name);
        }
        for foreign in ["BREW", "put", "PROPFIND"] {
            assert_eq!(method_name(&foreign.parse().expect("a method")), "other");
        }
    }

    #[test]
    fn a_logged_path_is_bounded_and_has_no_query() {
        let target = AskedTarget("/v1/catalog?link=secret".parse().expect("uri"));
        assert_eq!((target.path(), format!("{target:?}")), ("/v1/catalog", "\"/v1/catalog\"?****".to_owned()));
        let long = AskedTarget(format!("/{}", "a".repeat(1000)).parse().expect("uri"));
        assert_eq!(long.path().len(), LOGGED_PATH_BYTES_MAX);
    }
}
