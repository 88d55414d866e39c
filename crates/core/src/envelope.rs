//! The one signed container: everything signed in Penstock is an envelope.
//!
//! Layout, integers little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | `PSE1` |
//! | 4 | 1 | purpose, see [`Purpose`] |
//! | 5 | 1 | number of signatures `n`, 1 to 16 |
//! | 6 | 4 | payload length `p` |
//! | 10 | p | payload |
//! | 10+p | 80·n | per signature: key id (16), Ed25519 signature (64) |
//!
//! Signed is not the payload alone but `penstock-signed-v1`, a zero byte, the purpose, the payload
//! length as 8 bytes and the payload, so that a head can never pass for a delegation. How many
//! signatures are enough is not in the envelope: that is the trust set's to say, never the sender's.

use crate::keys::{KeyId, PublicKey, TrustSet};
use crate::limits::{ENVELOPE_BYTES_MAX, SIGNATURES_MAX};

const MAGIC: &[u8; 4] = b"PSE1";
const HEAD_BYTES: usize = 10;
const SIGNATURE_BYTES: usize = 80;

/// What a payload is. Numbers are part of the format and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// A release's manifest root, signed by the publisher.
    Manifest = 1,
    /// The publisher names channel keys for a product.
    Delegation = 2,
    /// A channel key says what a channel offers.
    Head = 3,
    /// A trust set names its successor.
    Rotation = 4,
    /// A snapshot of accounts ([`crate::statement::AccountsNotice`]), by the channel key.
    Accounts = 5,
}

impl Purpose {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Manifest),
            2 => Some(Self::Delegation),
            3 => Some(Self::Head),
            4 => Some(Self::Rotation),
            5 => Some(Self::Accounts),
            _ => None,
        }
    }
    /// How messages call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Delegation => "delegation",
            Self::Head => "channel head",
            Self::Rotation => "key rotation",
            Self::Accounts => "snapshot of accounts",
        }
    }
}

/// Why bytes are not an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Larger than any envelope may be.
    #[error("the envelope has {0} bytes, more than allowed")]
    TooLarge(usize),
    /// Not `PSE1`.
    #[error("this is not a Penstock envelope")]
    Magic,
    /// A purpose this version does not know.
    #[error("envelope purpose {0} is unknown")]
    Purpose(u8),
    /// Zero or too many signatures.
    #[error("an envelope has 1 to {max} signatures, this one has {0}", max = SIGNATURES_MAX)]
    SignatureCount(u8),
    /// Length field and bytes disagree.
    #[error("the envelope should have {expected} bytes but has {found}")]
    Length {
        /// What the head of the envelope says.
        expected: u64,
        /// What is there.
        found: usize,
    },
}

/// Why an envelope proves nothing to a given trust set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It is signed, but as something else.
    #[error("expected a {expected}, got a {found}", expected = expected.name(), found = found.name())]
    Purpose {
        /// What the caller needs.
        expected: Purpose,
        /// What it is.
        found: Purpose,
    },
    /// Too few good signatures of trusted keys.
    #[error("{good} of {needed} needed signatures are by trusted keys")]
    Threshold {
        /// Different trusted keys with a good signature.
        good: usize,
        /// The trust set's threshold.
        needed: usize,
    },
}

/// A signed payload, decoded but not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    purpose: Purpose,
    payload: Vec<u8>,
    signatures: Vec<(KeyId, [u8; 64])>,
}

/// A payload whose signatures were checked. Only [`Envelope::verify`] makes one.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedPayload<'a> {
    purpose: Purpose,
    payload: &'a [u8],
}

impl VerifiedPayload<'_> {
    /// The signed bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        self.payload
    }
    /// What they were signed as.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }
}

impl Envelope {
    /// Puts an envelope together; signatures are over [`signing_input`].
    #[must_use]
    pub const fn new(purpose: Purpose, payload: Vec<u8>, signatures: Vec<(KeyId, [u8; 64])>) -> Self {
        Self { purpose, payload, signatures }
    }
    /// What the envelope says it carries.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }
    /// The payload, unverified: for display (`inspect`) only.
    #[must_use]
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }
    /// Short names of the keys that claim to have signed.
    pub fn signers(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.signatures.iter().map(|(id, _)| *id)
    }
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.payload.len() + SIGNATURE_BYTES * self.signatures.len());
        out.extend_from_slice(MAGIC);
        out.push(self.purpose as u8);
        #[expect(clippy::cast_possible_truncation, reason = "built with at most SIGNATURES_MAX signatures")]
        out.push(self.signatures.len() as u8);
        #[expect(clippy::cast_possible_truncation, reason = "built with at most ENVELOPE_BYTES_MAX bytes")]
        out.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.payload);
        for (id, signature) in &self.signatures {
            out.extend_from_slice(id.as_bytes());
            out.extend_from_slice(signature);
        }
        out
    }
    /// Reads the stored form. Every byte is accounted for: nothing may follow the last signature.
    ///
    /// # Errors
    /// [`EnvelopeError`]; no allocation larger than the input is made.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(EnvelopeError::TooLarge(bytes.len()));
        }
        if bytes.len() < HEAD_BYTES || &bytes[..4] != MAGIC {
            return Err(EnvelopeError::Magic);
        }
        let purpose = Purpose::from_byte(bytes[4]).ok_or(EnvelopeError::Purpose(bytes[4]))?;
        let count = bytes[5];
        if count == 0 || usize::from(count) > SIGNATURES_MAX {
            return Err(EnvelopeError::SignatureCount(count));
        }
        let payload_len = u32::from_le_bytes([bytes[6], bytes[7], bytes[8], bytes[9]]);
        let expected = HEAD_BYTES as u64 + u64::from(payload_len) + SIGNATURE_BYTES as u64 * u64::from(count);
        if expected != bytes.len() as u64 {
            return Err(EnvelopeError::Length { expected, found: bytes.len() });
        }
        let (payload, tail) = bytes[HEAD_BYTES..].split_at(payload_len as usize);
        let signatures = tail.chunks_exact(SIGNATURE_BYTES).map(split_signature).collect();
        Ok(Self { purpose, payload: payload.to_vec(), signatures })
    }
    /// Checks that enough different trusted keys signed this payload for this purpose.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, expected: Purpose, trust: &TrustSet) -> Result<VerifiedPayload<'_>, SignatureError> {
        if self.purpose != expected {
            return Err(SignatureError::Purpose { expected, found: self.purpose });
        }
        let good = self.good_signers(trust).len();
        if good < trust.threshold() {
            return Err(SignatureError::Threshold { good, needed: trust.threshold() });
        }
        Ok(VerifiedPayload { purpose: self.purpose, payload: &self.payload })
    }
    /// The keys of a set that signed this payload for the purpose it states, each once.
    #[must_use]
    pub fn good_signers(&self, trust: &TrustSet) -> Vec<PublicKey> {
        let input = signing_input(self.purpose, &self.payload);
        let mut good: Vec<PublicKey> = Vec::new();
        for (id, signature) in &self.signatures {
            let Some(key) = trust.find(*id) else { continue };
            if !good.contains(key) && key.verifies(&input, signature) {
                good.push(*key);
            }
        }
        good
    }
}

/// The exact bytes that a key signs for a payload.
#[must_use]
pub fn signing_input(purpose: Purpose, payload: &[u8]) -> Vec<u8> {
    let mut input = b"penstock-signed-v1\0".to_vec();
    input.push(purpose as u8);
    input.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    input.extend_from_slice(payload);
    input
}

fn split_signature(bytes: &[u8]) -> (KeyId, [u8; 64]) {
    let mut id = [0u8; 16];
    let mut signature = [0u8; 64];
    id.copy_from_slice(&bytes[..16]);
    signature.copy_from_slice(&bytes[16..]);
    (KeyId::from_bytes(id), signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::{SecretKey, seal};
    use proptest::prelude::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    #[test]
    fn a_threshold_counts_different_keys_only() {
        let (a, b, stranger) = (key(1), key(2), key(3));
        let trust = TrustSet::new(vec![a.public(), b.public()], 2).expect("valid set");
        let both = seal(Purpose::Head, b"payload".to_vec(), &[&a, &b]);
        assert_eq!(both.verify(Purpose::Head, &trust).expect("both signed").bytes(), b"payload");
        let twice = seal(Purpose::Head, b"payload".to_vec(), &[&a, &a]);
        assert_eq!(twice.verify(Purpose::Head, &trust).err(), Some(SignatureError::Threshold { good: 1, needed: 2 }));
        let foreign = seal(Purpose::Head, b"payload".to_vec(), &[&a, &stranger]);
        assert!(foreign.verify(Purpose::Head, &trust).is_err());
    }

    #[test]
    fn a_signature_for_one_purpose_is_worthless_for_another() {
        let a = key(1);
        let trust = TrustSet::single(a.public());
        let head = seal(Purpose::Head, b"x".to_vec(), &[&a]);
        assert!(matches!(head.verify(Purpose::Delegation, &trust), Err(SignatureError::Purpose { .. })));
        let relabelled = Envelope::new(Purpose::Delegation, b"x".to_vec(), head.signatures.clone());
        assert!(matches!(relabelled.verify(Purpose::Delegation, &trust), Err(SignatureError::Threshold { .. })));
    }

    #[test]
    fn the_layout_is_frozen() {
        let bytes = seal(Purpose::Head, b"penstock".to_vec(), &[&key(7)]).encode();
        assert_eq!(&bytes[..10], b"PSE1\x03\x01\x08\0\0\0");
        assert_eq!(bytes.len(), 10 + 8 + 80);
        // Ed25519 is deterministic (RFC 8032), so the whole envelope has one hash.
        assert_eq!(
            blake3::hash(&bytes).to_hex().as_str(),
            "1d3f2628540cbc478adf4b3cc55742016623c3b815edb673e6d0a465eec9413c"
        );
    }

    proptest! {
        #[test]
        fn decode_never_panics_and_any_flipped_bit_is_noticed(payload in proptest::collection::vec(any::<u8>(), 0..64), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let signer = key(9);
            let trust = TrustSet::single(signer.public());
            let mut bytes = seal(Purpose::Manifest, payload, &[&signer]).encode();
            let index = at.index(bytes.len());
            bytes[index] ^= 1 << bit;
            let believed = Envelope::decode(&bytes).ok().is_some_and(|e| e.verify(Purpose::Manifest, &trust).is_ok());
            prop_assert!(!believed);
        }

        #[test]
        fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            prop_assert!(Envelope::decode(&bytes).is_err());
        }
    }
}
