//! Which bytes to ask for next: a small generator of repeatable random offsets. Pure.

use penstock_core::blob::ByteRange;

/// SplitMix64: enough randomness to defeat caches, in one word of state.
#[derive(Debug, Clone)]
pub(crate) struct Offsets {
    state: u64,
    object_bytes: u64,
    range_bytes: u64,
}

impl Offsets {
    /// `stream` keeps connections with one seed apart.
    pub(crate) const fn new(seed: u64, stream: u64, object_bytes: u64, range_bytes: u64) -> Self {
        Self { state: seed ^ stream.wrapping_mul(0xA076_1D64_78BD_642F), object_bytes, range_bytes }
    }

    /// The next range; `None` means the whole blob.
    pub(crate) fn next(&mut self) -> Option<ByteRange> {
        if self.range_bytes == 0 {
            return None;
        }
        let starts = self.object_bytes.saturating_sub(self.range_bytes) + 1;
        let start = self.random() % starts;
        ByteRange::new(start, start + self.range_bytes)
    }

    const fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_inside_the_blob_and_repeat_with_the_seed() {
        let take = |seed, stream| {
            let mut offsets = Offsets::new(seed, stream, 1000, 10);
            (0..1000).map(|_| offsets.next().expect("a range")).collect::<Vec<_>>()
        };
        let ranges = take(7, 0);
        assert!(ranges.iter().all(|range| range.len() == 10 && range.end() <= 1000));
        assert!(ranges.iter().any(|range| range.start() < 100) && ranges.iter().any(|range| range.end() > 900));
        assert_eq!(ranges, take(7, 0));
        assert_ne!(ranges, take(7, 1));
        assert_ne!(ranges, take(8, 0));
    }

    #[test]
    fn the_whole_blob_and_a_range_as_long_as_it() {
        assert_eq!(Offsets::new(1, 0, 1000, 0).next(), None);
        assert_eq!(Offsets::new(1, 0, 1000, 1000).next(), ByteRange::new(0, 1000));
    }
}
