//! One public key and the one algorithm it verifies.
//!
//! Owns what makes a key usable and the check of a signature. A key is parsed once, for its algorithm; nothing that a
//! token says can change what is done with it (RFC 8725, section 3.1). That is also why this is `aws-lc-rs` itself and
//! not `jsonwebtoken`, which takes the algorithm from its caller and copies and parses the key for every token.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use penstock_core::keys::PublicKey;
use std::fmt;

/// Smallest RSA modulus in bits (RFC 7518, section 3.3).
pub const RSA_BITS_MIN: usize = 2048;
/// Largest RSA modulus in bits: verification time rises with the square, and nobody needs more here.
pub const RSA_BITS_MAX: usize = 4096;
/// Longest public exponent in bytes: 65,537 has three, and a longer one only costs time.
const RSA_EXPONENT_BYTES_MAX: usize = 4;
/// Bytes of a P-256 coordinate (RFC 7518, section 6.2.1.2: leading zeros stay).
const P256_BYTES: usize = 32;

/// How tokens may be signed (RFC 7518, section 3.1; RFC 8037, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// EdDSA with Ed25519, and with no other curve.
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// The algorithm of that name, byte by byte.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::EdDsa, Self::Es256, Self::Rs256].into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Its name in a header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// A public key, parsed for its algorithm.
pub(super) struct VerifyKey {
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

impl VerifyKey {
    /// An Ed25519 key. Points of small order are refused: their signatures are anybody's.
    pub(super) fn ed25519(bytes: &[u8]) -> Option<Self> {
        let key = PublicKey::from_slice(bytes).ok()?;
        Some(Self { algorithm: Algorithm::EdDsa, key: ParsedPublicKey::new(&ED25519, key.as_bytes()).ok()? })
    }

    /// A P-256 key from its coordinates. The point must be on the curve.
    pub(super) fn p256(x: &[u8], y: &[u8]) -> Option<Self> {
        if x.len() != P256_BYTES || y.len() != P256_BYTES {
            return None;
        }
        let point = [&[4], x, y].concat();
        Some(Self { algorithm: Algorithm::Es256, key: ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()? })
    }

    /// An RSA key from modulus and exponent, big-endian without leading zeros (RFC 7518, section 6.3.1).
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let bits = match n.first()? {
            0 => return None,
            first => n.len() * 8 - first.leading_zeros() as usize,
        };
        let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
        let exponent_fits = (1..=RSA_EXPONENT_BYTES_MAX).contains(&e.len()) && e[0] != 0 && e != [1];
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) || !odd(n) || !odd(e) || !exponent_fits {
            return None;
        }
        let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
        Some(Self { algorithm: Algorithm::Rs256, key })
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("VerifyKey").field(&self.algorithm).finish()
    }
}

#[cfg(test)]
mod tests;
