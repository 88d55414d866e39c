//! Pseudo-random numbers that are the same everywhere: xoshiro256++ seeded by splitmix64.
//!
//! Public-domain algorithms of Blackman and Vigna. Not for secrets.

/// One step of splitmix64: spreads a small number over 64 bits.
pub(super) const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// An endless stream of numbers.
pub(super) struct Noise([u64; 4]);

impl Noise {
    pub(super) const fn new(seed: u64) -> Self {
        let a = mix(seed);
        let b = mix(a);
        let c = mix(b);
        Self([a, b, c, mix(c)])
    }

    pub(super) const fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `bound`, close enough to uniform for a sample.
    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_frozen() {
        // Another stream would silently change the sample that figures are compared over. The numbers are those of
        // an independent implementation of the published algorithms.
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
        let mut noise = Noise::new(1);
        let stream: Vec<u64> = (0..4).map(|_| noise.next()).collect();
        assert_eq!(
            stream,
            [0x763B_A63F_94BC_22A2, 0x9660_6B4E_465E_DE1E, 0xCB65_95F8_41D5_65D9, 0x1CDE_C371_E7B2_1B81]
        );
    }
}
