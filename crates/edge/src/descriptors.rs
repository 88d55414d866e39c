//! How many files the process may open, and who gets them: connections, the cache of open blobs, and blobs under way.
//!
//! Pure but for raising the limit. An edge that runs out of descriptors can neither accept nor open, so each of its parts
//! is bounded such that all of them fit.

use crate::config::{Access, Checked, Limits};
use penstock_core::limits::LIVE_BLOBS_MAX;
use penstock_store::OPEN_VIEWS_MAX;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Kept for everything that is neither a connection nor an open blob: sockets, logs, database, imports.
const RESERVED: u64 = 512;

/// Too few descriptors: what the process may open, and what its cache of blobs takes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooFew {
    pub(crate) allowed: u64,
    pub(crate) blobs: usize,
}

/// The shares of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    allowed: u64,
    /// Most connections.
    connections_max: usize,
    /// Most blobs that are being sent at once.
    pub(crate) live_blobs_max: usize,
}

impl Shares {
    /// Deals out `allowed` descriptors.
    ///
    /// # Errors
    /// [`TooFew`] when nothing is left beside the cache of open blobs.
    pub(crate) fn deal(allowed: u64, config: &Checked) -> Result<Self, TooFew> {
        // In pread mode a blob's outboard stays open beside it.
        let files_per_blob = match config.data.access {
            Access::Map => 1,
            Access::Pread => 2,
        };
        let cached = cached_blobs(allowed, config.data.open_blobs_max);
        let left = allowed.saturating_sub(RESERVED).saturating_sub(cached as u64 * files_per_blob);
        // A quarter at least is for blobs under way: without any, connections would have nothing to be answered from.
        let wanted = left.saturating_sub(config.limits.connections_max as u64).max(left / 4) / files_per_blob;
        let live = wanted.min(LIVE_BLOBS_MAX as u64);
        let connections = left - live * files_per_blob;
        if live == 0 || connections == 0 {
            return Err(TooFew { allowed, blobs: cached });
        }
        let count = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Self { allowed, connections_max: count(connections), live_blobs_max: count(live) })
    }

    /// The limits, lowered to what the process may have.
    pub(crate) fn fit(self, mut limits: Limits) -> Limits {
        if limits.connections_max > self.connections_max {
            warn!(
                connections_max = limits.connections_max,
                allowed_files = self.allowed,
                lowered_to = self.connections_max,
                "limits.connections_max is more than the process has descriptors for: raise LimitNOFILE"
            );
            limits.connections_max = self.connections_max;
        }
        limits
    }
}

/// What the store really keeps open of `open_blobs_max`: it never takes more than its own bound, nor than a quarter of
/// the process's descriptors.
fn cached_blobs(allowed: u64, open_blobs_max: usize) -> usize {
    open_blobs_max.min(OPEN_VIEWS_MAX).min(usize::try_from(allowed / 4).unwrap_or(usize::MAX)).max(1)
}

/// Asks for as many descriptors as the hard limit allows and says how many there are.
pub(crate) fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let soft = limit.current.unwrap_or(u64::MAX);
    match setrlimit(Resource::Nofile, Rlimit { current: Some(hard), maximum: limit.maximum }) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    fn config(text: &str) -> Checked {
        Config::parse(text, &Environment::default(), None).expect("good")
    }

    #[test]
    fn everything_fits_into_what_the_process_may_open() {
        for allowed in [600, 1024, 4096, 20_000, 65_536, 1 << 20, u64::MAX] {
            for text in [
                "",
                "[data]\naccess = \"pread\"",
                "[data]\nopen_blobs_max = 60000",
                "[limits]\nconnections_max = 1000000",
                "[data]\nopen_blobs_max = 16\n[limits]\nconnections_max = 1",
            ] {
                let config = config(text);
                let Ok(shares) = Shares::deal(allowed, &config) else {
                    assert!(allowed <= 1024, "{allowed} descriptors are enough for {text}");
                    continue;
                };
                let files_per_blob = if text.contains("pread") { 2 } else { 1 };
                let blobs = cached_blobs(allowed, config.data.open_blobs_max) + shares.live_blobs_max;
                let connections = shares.fit(config.limits.clone()).connections_max;
                assert!(shares.live_blobs_max >= 1 && connections >= 1);
                assert!(blobs as u64 * files_per_blob + connections as u64 + RESERVED <= allowed, "{allowed}: {text}");
            }
        }
    }

    /// The unit's limit carries the defaults without lowering anything.
    #[test]
    fn the_defaults_fit_the_unit() {
        let config = config("");
        let shares = Shares::deal(65_536, &config).expect("enough");
        assert_eq!(shares.live_blobs_max, LIVE_BLOBS_MAX);
        assert_eq!(shares.fit(config.limits.clone()), config.limits);
    }

    /// A cache that the store lowers by itself must not be counted as written: it once kept small processes from starting.
    #[test]
    fn a_small_process_starts_with_a_small_cache() {
        let shares = Shares::deal(1024, &config("[data]\nopen_blobs_max = 60000")).expect("the store keeps 256 open");
        assert_eq!((shares.live_blobs_max, shares.connections_max), (64, 192));
        assert_eq!(Shares::deal(512, &config("")), Err(TooFew { allowed: 512, blobs: 128 }));
    }
}
