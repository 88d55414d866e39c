//! A histogram of durations in fixed memory: 32 steps for each doubling, so a quantile is at most about
//! 3 % too high. Pure: it is handed durations and measures none.

use std::time::Duration;

/// Steps for each doubling.
const STEPS: u32 = 32;
/// Doublings covered, from a microsecond: up to about 19 hours.
const DOUBLINGS: u32 = 36;
const BUCKETS: usize = STEPS as usize * (DOUBLINGS as usize + 1);

/// Counts of durations.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    sum: Duration,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0, sum: Duration::ZERO, max: Duration::ZERO }
    }
}

impl Histogram {
    /// Counts one duration. What is longer than the last step is counted in it.
    pub fn record(&mut self, duration: Duration) {
        self.buckets[index(duration)] += 1;
        self.count += 1;
        self.sum += duration;
        self.max = self.max.max(duration);
    }

    /// Takes over another histogram's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// How many durations were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest duration, exactly.
    #[must_use]
    pub const fn max(&self) -> Duration {
        self.max
    }

    /// The mean duration; zero when none was counted.
    #[must_use]
    pub fn mean(&self) -> Duration {
        u32::try_from(self.count).ok().and_then(|count| self.sum.checked_div(count)).unwrap_or_default()
    }

    /// The duration that `permille` of a thousand do not exceed, rounded up to its step.
    #[must_use]
    pub fn quantile(&self, permille: u64) -> Duration {
        let rank = (self.count * permille.min(1000)).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_edge(index).min(self.max);
            }
        }
        self.max
    }
}

/// Below `STEPS` microseconds each microsecond has its own step; above, each doubling has `STEPS`.
fn index(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let steps = u64::from(STEPS);
    let at = if micros < steps {
        micros
    } else {
        let doubling = u64::from(micros.ilog2() - STEPS.ilog2());
        (doubling + 1) * steps + ((micros >> doubling) - steps)
    };
    usize::try_from(at).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn upper_edge(index: usize) -> Duration {
    let (at, steps) = (index as u64, u64::from(STEPS));
    let micros = if at < steps { at + 1 } else { (at % steps + steps + 1) << (at / steps - 1) };
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_under_its_steps_edge_and_near_it() {
        let mut micros = 0u64;
        while micros < 1 << 40 {
            let duration = Duration::from_micros(micros);
            let edge = upper_edge(index(duration));
            assert!(edge > duration, "{micros}");
            assert!(edge.as_micros() <= u128::from(micros + micros / 31 + 1), "{micros} {edge:?}");
            micros += 1 + micros / 7;
        }
    }

    #[test]
    fn steps_are_in_order() {
        let edges: Vec<_> = (0..BUCKETS).map(upper_edge).collect();
        assert!(edges.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn quantiles_mean_and_sum() {
        let mut low = Histogram::default();
        let mut high = Histogram::default();
        (1..=50).for_each(|ms| low.record(Duration::from_millis(ms)));
        (51..=100).for_each(|ms| high.record(Duration::from_millis(ms)));
        low.add(&high);
        assert_eq!((low.count(), low.max()), (100, Duration::from_millis(100)));
        assert_eq!(low.mean(), Duration::from_micros(50_500));
        let near = |permille, ms: u64| {
            let found = low.quantile(permille);
            assert!(
                found >= Duration::from_millis(ms) && found <= Duration::from_millis(ms + ms / 25 + 1),
                "{found:?}"
            );
        };
        near(500, 50);
        near(990, 99);
        assert_eq!(low.quantile(1000), Duration::from_millis(100));
        assert_eq!(Histogram::default().quantile(500), Duration::ZERO);
    }

    #[test]
    fn what_is_too_long_is_kept_in_the_last_step() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_secs(1 << 40));
        assert_eq!(histogram.quantile(500).min(Duration::from_secs(1)), Duration::from_secs(1));
    }
}
