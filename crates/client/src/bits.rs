//! A fixed-size set of small numbers: one bit per chunk or entry of a release.

/// Bits `0..len`, all clear at first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// Room for `len` bits.
    pub(crate) fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)] }
    }
    /// Sets a bit; one outside the room is ignored.
    pub(crate) fn set(&mut self, at: usize) {
        if let Some(word) = self.words.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }
    /// Clears a bit.
    pub(crate) fn clear(&mut self, at: usize) {
        if let Some(word) = self.words.get_mut(at / 64) {
            *word &= !(1 << (at % 64));
        }
    }
    /// Whether a bit is set; one outside the room is not.
    pub(crate) fn has(&self, at: usize) -> bool {
        self.words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }
    /// How many bits are set.
    pub(crate) fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_outside_the_room_are_neither_set_nor_found() {
        let mut bits = Bits::new(65);
        bits.set(64);
        bits.set(1000);
        assert!(bits.has(64) && !bits.has(63) && !bits.has(1000));
        assert_eq!(bits.count(), 1);
        bits.clear(64);
        assert_eq!(bits.count(), 0);
    }
}
