//! The hash under which the cache knows what a request shows: 128 bits, keyed with random bytes of this process.
//!
//! It is the authenticator of AES-GCM (GHASH, NIST SP 800-38D) over the value, with one nonce for each kind of value. For
//! two different values of at most 10 KiB it is the same for fewer than one key in 2^118. A collision would give somebody
//! another's passport, and this is why there will be none: nobody outside sees a hash, so that tries are blind. With 2^24
//! entries and 2^40 tries, each with a value of its own, one meets an entry with a chance below 2^-54. Somebody who knew
//! the key could compute collisions with values that he has already, which open nothing else than those do; to meet
//! another's entry he would have to know the very token. Repeating a nonce tells of the key only to those who see tags.
//! BLAKE3, which was here before, took most of the time of a lookup.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use penstock_core::limits::TOKEN_BYTES_MAX;
use std::hash::Hasher;

/// Longest value that is hashed, in bytes: the longest token with its scheme. A longer one is none.
const VALUE_BYTES_MAX: usize = TOKEN_BYTES_MAX + 64;

/// What kind of value a hash is of: values of two kinds never have the same by being the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Token = 1,
    Link = 2,
}

/// The hash of a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ProofHash(pub(super) [u8; 16]);

/// What makes hashes. `Debug` shows no key.
pub(super) struct ProofHasher(LessSafeKey);

impl ProofHasher {
    #[expect(clippy::expect_used, reason = "32 bytes are a key of AES-256")]
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret).expect("the right length")))
    }

    /// `None` for a value that is too long to be anything.
    pub(super) fn hash(&self, kind: Kind, value: &[u8]) -> Option<ProofHash> {
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        let nonce = Nonce::assume_unique_for_key([kind as u8; NONCE_LEN]);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(value), &mut []).ok()?;
        tag.as_ref().first_chunk().copied().map(ProofHash)
    }
}

impl std::fmt::Debug for ProofHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProofHasher(****)")
    }
}

/// The hash of what is a hash already is its first bytes.
#[derive(Default)]
pub(super) struct Already(u64);

impl Hasher for Already {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
    fn write_usize(&mut self, _: usize) {}
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasherDefault;

    #[test]
    fn the_hash_of_a_hash_is_the_hash() {
        use std::hash::BuildHasher as _;
        let hash = ProofHash([1, 0, 0, 0, 0, 0, 0, 2, 9, 9, 9, 9, 9, 9, 9, 9]);
        assert_eq!(BuildHasherDefault::<Already>::default().hash_one(hash), 0x0200_0000_0000_0001);
    }

    /// Kinds, keys, lengths and zeros at the end are told apart, which a careless universal hash would not do.
    #[test]
    fn what_differs_has_another_hash() {
        let (one, other) = (ProofHasher::new(&[1; 32]), ProofHasher::new(&[2; 32]));
        let long = [7; VALUE_BYTES_MAX + 1];
        assert!(one.hash(Kind::Token, &long).is_none() && one.hash(Kind::Token, &long[1..]).is_some());
        let mut seen = HashSet::new();
        for length in 0..200 {
            for byte in [0, 1] {
                let mut value = vec![0; length];
                if let Some(last) = value.last_mut() {
                    *last = byte;
                }
                for (hasher, kind) in [(&one, Kind::Token), (&one, Kind::Link), (&other, Kind::Token)] {
                    let hash = hasher.hash(kind, &value).expect("short");
                    assert_eq!(hasher.hash(kind, &value).map(|again| again.0), Some(hash.0));
                    assert!(seen.insert(hash.0) || (length == 0 && byte == 1));
                }
            }
        }
    }
}
