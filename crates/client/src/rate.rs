//! A token bucket for `--limit-rate`: pure, time is an argument.

/// Lets `bytes_per_second` through on average, with bursts of at most a quarter second's worth.
#[derive(Debug, Clone)]
pub struct RateBucket {
    bytes_per_second: u64,
    /// Nanoseconds since an arbitrary start at which everything granted so far is paid for.
    paid_until_ns: u64,
}

/// How far the bucket may lag behind: unused time older than this is lost.
const BURST_NS: u64 = 250_000_000;

impl RateBucket {
    /// A bucket of this rate; a rate of 0 is taken for 1.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid_until_ns: 0 }
    }
    /// Takes `bytes` at `now_ns`; returns how many nanoseconds the caller waits before it goes on.
    pub fn take(&mut self, bytes: u64, now_ns: u64) -> u64 {
        let cost = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let start = self.paid_until_ns.max(now_ns.saturating_sub(BURST_NS));
        self.paid_until_ns = start.saturating_add(cost);
        self.paid_until_ns.saturating_sub(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_is_free_and_the_rest_is_paid_for() {
        let mut bucket = RateBucket::new(1000);
        let start = 10_000_000_000;
        assert_eq!(bucket.take(250, start), 0);
        assert_eq!(bucket.take(500, start), 500_000_000);
        assert_eq!(bucket.take(100, start + 500_000_000), 100_000_000);
    }

    proptest! {
        /// Over any span, no more passes than rate × time plus one burst.
        #[test]
        fn never_faster_than_the_rate(rate in 1u64..1_000_000_000, takes in prop::collection::vec((1u64..200_000, 0u64..50_000_000), 1..200)) {
            let mut bucket = RateBucket::new(rate);
            let start = 1_000_000_000u64;
            let (mut now, mut sent) = (start, 0u128);
            for (bytes, pause) in takes {
                now += pause;
                now += bucket.take(bytes, now);
                sent += u128::from(bytes);
                let allowed = u128::from(rate) * u128::from(now - start + BURST_NS) / 1_000_000_000 + 200;
                prop_assert!(sent <= allowed, "{sent} > {allowed}");
            }
        }
    }
}
