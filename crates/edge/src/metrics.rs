//! Every metric of the data plane: names, meanings, buckets, and the recorder that renders them.
//!
//! Counters end in `_total`; units are base units and come last; labels come from enums, never from a peer's text.

use crate::listen::{Door, Protocol};
use crate::outcome::{End, Outcome, Route};
use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;

/// Requests answered, by `route` and `status`.
pub const REQUESTS: &str = "penstock_edge_requests_total";
/// Requests by `door` and `protocol`.
pub const DOOR_REQUESTS: &str = "penstock_edge_door_requests_total";
/// How requests ended, by `end`.
pub const REQUEST_ENDS: &str = "penstock_edge_request_ends_total";
/// Connections accepted, by `door`.
pub const CONNECTIONS_ACCEPTED: &str = "penstock_edge_connections_accepted_total";
/// Connections open, by `door`.
pub const CONNECTIONS_OPEN: &str = "penstock_edge_connections_open";
/// Connections that ended before they could ask anything, by `reason`.
pub const CONNECTIONS_REJECTED: &str = "penstock_edge_connections_rejected_total";
/// Connections that a deadline or a drain cut, by `reason`.
pub const CONNECTIONS_CUT: &str = "penstock_edge_connections_cut_total";
/// Heads that HTTP/1.1 refused before they were a request (400, 414, 431), by `reason`. The HTTP library answers them by
/// itself; each has an outcome of route `bad_head`. It tells nothing of single HTTP/2 streams that it refuses.
pub const BAD_HEADS: &str = "penstock_edge_bad_heads_total";
/// Problems answered, by `code`.
pub const PROBLEMS: &str = "penstock_edge_problems_total";
/// Body bytes handed to connections, by `route`.
pub const SENT_BYTES: &str = "penstock_edge_sent_bytes_total";
/// From a request's head to the response's head, by `route`.
pub const HEAD_SECONDS: &str = "penstock_edge_head_seconds";
/// From a request's head to the end of its body, by `route`.
pub const REQUEST_SECONDS: &str = "penstock_edge_request_seconds";
/// Windows of blobs that had to be fetched from disk before they were sent.
pub const COLD_WINDOWS: &str = "penstock_edge_cold_windows_total";
/// Jobs that wait for the IO pool or run on it.
pub const IO_JOBS: &str = "penstock_edge_io_jobs";
/// Blobs in the store, set when metrics are read.
pub const STORE_BLOBS: &str = "penstock_edge_store_blobs";
/// Bytes of those blobs.
pub const STORE_BLOB_BYTES: &str = "penstock_edge_store_blob_bytes";
/// Blobs that the catalogue knows.
pub const CATALOG_BLOBS: &str = "penstock_edge_catalog_blobs";
/// When the database of places was built, in seconds since 1970; 0 while there is none. Its age is `time()` less this.
pub const GEO_BUILT: &str = "penstock_edge_geo_built_seconds";
/// Databases of places that were offered by a reload and could not be used.
pub const GEO_REFUSED: &str = "penstock_edge_geo_refused_total";
/// Seconds since control confirmed what this edge knows; only of role `edge`.
pub const KNOWLEDGE_AGE: &str = "penstock_edge_knowledge_age_seconds";
/// 1 while the node should get traffic.
pub const READY: &str = "penstock_edge_ready";

/// Bounds of the buckets of histograms in seconds: from a map's answer to a slow player's whole download.
const SECONDS_BUCKETS: [f64; 14] =
    [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];

/// How often histograms are drained; without it they grow until somebody reads them.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the process's recorder, once, and a thread that keeps it small. Later calls return the same handle.
///
/// Anything counted before the first call is lost, so call it early. If the process has another recorder already, what
/// is counted goes there and the handle renders nothing.
pub fn install() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
            .expect("the list of buckets is not empty")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed in this process: /metrics stays empty");
        }
        describe();
        let upkeep = handle.clone();
        let thread = std::thread::Builder::new().name("penstock-metrics".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        });
        if let Err(error) = thread {
            tracing::warn!(%error, "no thread for metrics: histograms are drained only when /metrics is read");
        }
        handle
    })
}

fn describe() {
    describe_counter!(REQUESTS, "Requests answered, by route and status; status 0: the peer left before an answer");
    describe_counter!(DOOR_REQUESTS, "Requests, by door and HTTP version");
    describe_counter!(REQUEST_ENDS, "How requests ended: complete, cut (by us), gone (the peer)");
    describe_counter!(CONNECTIONS_ACCEPTED, "Connections accepted, by door");
    describe_gauge!(CONNECTIONS_OPEN, "Connections open, by door");
    describe_counter!(CONNECTIONS_REJECTED, "Connections that ended before they could ask anything, by reason");
    describe_counter!(CONNECTIONS_CUT, "Connections that a deadline or a drain cut, by reason");
    describe_counter!(BAD_HEADS, "HTTP/1.1 heads that were no request (400) or too large (414, 431), by reason");
    describe_counter!(PROBLEMS, "Problem documents answered, by code");
    describe_counter!(SENT_BYTES, Unit::Bytes, "Body bytes handed to connections, by route");
    describe_histogram!(HEAD_SECONDS, Unit::Seconds, "From a request's head to its response's head");
    describe_histogram!(REQUEST_SECONDS, Unit::Seconds, "From a request's head to the end of its body");
    describe_counter!(COLD_WINDOWS, "Windows of blobs that had to come from disk before they were sent");
    describe_gauge!(IO_JOBS, "Jobs that wait for the IO pool or run on it");
    describe_gauge!(STORE_BLOBS, "Blobs in the store");
    describe_gauge!(STORE_BLOB_BYTES, Unit::Bytes, "Bytes of the blobs in the store");
    describe_gauge!(CATALOG_BLOBS, "Blobs that the catalogue knows");
    describe_gauge!(GEO_BUILT, Unit::Seconds, "When the database of places was built, since 1970; 0 without one");
    describe_counter!(GEO_REFUSED, "Databases of places that a reload found and could not use");
    describe_gauge!(KNOWLEDGE_AGE, Unit::Seconds, "Since control confirmed what this edge knows");
    describe_gauge!(READY, "1 while the node should get traffic");
}

/// Statuses that have a counter of their own from the start; others get theirs when they happen.
const USUAL_STATUSES: [(u16, &str); 4] = [(200, "200"), (206, "206"), (304, "304"), (404, "404")];

/// Handles that are looked up once, so that counting a request costs a few atomic additions.
pub(crate) struct RequestMetrics {
    routes: [RouteMetrics; Route::ALL.len()],
    ends: [Counter; End::ALL.len()],
    doors: [[Counter; 2]; 4],
}

struct RouteMetrics {
    usual: [Counter; USUAL_STATUSES.len()],
    sent_bytes: Counter,
    head_seconds: Histogram,
    request_seconds: Histogram,
}

impl RequestMetrics {
    pub(crate) fn new() -> Self {
        let door = |door: Door| {
            [Protocol::Http1, Protocol::Http2]
                .map(|protocol| counter!(DOOR_REQUESTS, "door" => door.name(), "protocol" => protocol.name()))
        };
        Self {
            routes: Route::ALL.map(RouteMetrics::new),
            ends: End::ALL.map(|end| counter!(REQUEST_ENDS, "end" => end.name())),
            doors: [Door::Https, Door::Http, Door::Admin, Door::AdminSocket].map(door),
        }
    }

    pub(crate) fn count(&self, outcome: &Outcome) {
        let route = &self.routes[outcome.route as usize];
        match USUAL_STATUSES.iter().position(|(status, _)| *status == outcome.status) {
            Some(usual) => route.usual[usual].increment(1),
            // A status is a number that we chose, never a peer's text.
            None => {
                counter!(REQUESTS, "route" => outcome.route.name(), "status" => outcome.status.to_string()).increment(1)
            }
        }
        route.sent_bytes.increment(outcome.sent_bytes);
        route.head_seconds.record(outcome.head_after);
        route.request_seconds.record(outcome.duration);
        self.ends[outcome.end as usize].increment(1);
        self.doors[outcome.door as usize][outcome.protocol as usize].increment(1);
        if let Some(problem) = outcome.problem {
            counter!(PROBLEMS, "code" => problem.code()).increment(1);
        }
    }
}

impl RouteMetrics {
    fn new(route: Route) -> Self {
        let route = route.name();
        Self {
            usual: USUAL_STATUSES.map(|(_, status)| counter!(REQUESTS, "route" => route, "status" => status)),
            sent_bytes: counter!(SENT_BYTES, "route" => route),
            head_seconds: histogram!(HEAD_SECONDS, "route" => route),
            request_seconds: histogram!(REQUEST_SECONDS, "route" => route),
        }
    }
}

/// What is measured when metrics are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Levels {
    pub(crate) store_blobs: usize,
    pub(crate) store_blob_bytes: u64,
    pub(crate) catalog_blobs: usize,
    pub(crate) is_ready: bool,
    /// Of an edge that follows control elsewhere.
    pub(crate) knowledge_age_seconds: Option<u64>,
}

impl Levels {
    #[expect(clippy::cast_precision_loss, reason = "gauges are floating point; a rounded total is fine on a graph")]
    pub(crate) fn publish(self) {
        gauge!(STORE_BLOBS).set(self.store_blobs as f64);
        gauge!(STORE_BLOB_BYTES).set(self.store_blob_bytes as f64);
        gauge!(CATALOG_BLOBS).set(self.catalog_blobs as f64);
        if let Some(seconds) = self.knowledge_age_seconds {
            gauge!(KNOWLEDGE_AGE).set(seconds as f64);
        }
        gauge!(READY).set(if self.is_ready { 1.0 } else { 0.0 });
    }
}
