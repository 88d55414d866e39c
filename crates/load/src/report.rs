//! What came of a plan: sums while it runs, the report at its end.

use crate::histogram::Histogram;
use serde::{Deserialize, Serialize};

/// Failed requests, by what failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCounts {
    /// No connection: refused, timed out, or TLS failed.
    pub connect: u64,
    /// The connection broke during a request.
    pub transport: u64,
    /// An answer with another status than asked for.
    pub status: u64,
    /// An answer with another length than asked for.
    pub length: u64,
}

impl ErrorCounts {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.connect + self.transport + self.status + self.length
    }
}

/// Time from sending a request to its last byte, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySeconds {
    /// Mean.
    pub mean: f64,
    /// Half are faster.
    pub p50: f64,
    /// Nine of ten are faster.
    pub p90: f64,
    /// All but one in a hundred are faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// How long it took.
    pub seconds: f64,
    /// Requests that were answered in full.
    pub requests: u64,
    /// Body bytes received, those of abandoned requests included.
    pub bytes: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// Finished requests a second.
    pub requests_per_second: f64,
    /// Latencies of finished requests.
    pub latency_seconds: LatencySeconds,
    /// Failed requests.
    pub errors: ErrorCounts,
    /// What the first failure said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
}

impl LoadReport {
    pub(crate) fn new(tally: &Tally, seconds: f64) -> Self {
        let quantile = |permille| tally.latencies.quantile(permille).as_secs_f64();
        Self {
            seconds,
            requests: tally.requests,
            bytes: tally.bytes,
            connections: tally.connections,
            bytes_per_second: rate(tally.bytes, seconds),
            requests_per_second: rate(tally.requests, seconds),
            latency_seconds: LatencySeconds {
                mean: tally.latencies.mean().as_secs_f64(),
                p50: quantile(500),
                p90: quantile(900),
                p99: quantile(990),
                max: tally.latencies.max().as_secs_f64(),
            },
            errors: tally.errors,
            first_error: tally.first_error.clone(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Sums of one connection, thread or run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    pub(crate) connections: u64,
    pub(crate) latencies: Histogram,
    pub(crate) errors: ErrorCounts,
    pub(crate) first_error: Option<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.connections += other.connections;
        self.latencies.add(&other.latencies);
        self.errors.connect += other.errors.connect;
        self.errors.transport += other.errors.transport;
        self.errors.status += other.errors.status;
        self.errors.length += other.errors.length;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
    }
}
