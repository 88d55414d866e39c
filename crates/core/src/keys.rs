//! Public keys, their text form, their short ids, and the sets of keys that somebody trusts.
//!
//! Holds no secret: signing lives in `sign`, which the client never uses.

use crate::limits::KEYS_MAX;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "ed25519:";

/// An Ed25519 public key (RFC 8032). Text form: `ed25519:` and 43 characters of unpadded base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// The short name of a key: the first 16 bytes of the BLAKE3 hash of its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 16]);

/// Why a text is not a key or a set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Missing `ed25519:`.
    #[error("a public key starts with \"ed25519:\"")]
    Prefix,
    /// Not base64url, or not 32 bytes.
    #[error("a public key is \"ed25519:\" and 43 characters of base64url")]
    Encoding,
    /// The 32 bytes are not a usable curve point.
    #[error("these 32 bytes are not a usable Ed25519 public key")]
    Point,
    /// A set with no keys, too many keys, or the same key twice.
    #[error("a trust set has 1 to {max} different keys", max = KEYS_MAX)]
    Count,
    /// A threshold of zero or above the number of keys.
    #[error("the threshold {threshold} does not fit {keys} keys")]
    Threshold {
        /// Signatures asked for.
        threshold: usize,
        /// Keys in the set.
        keys: usize,
    },
}

impl PublicKey {
    /// Checks that the bytes are a usable key: a curve point that is not of small order.
    ///
    /// # Errors
    /// [`KeyError::Point`] otherwise.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Point)?;
        if key.is_weak() {
            return Err(KeyError::Point);
        }
        Ok(Self(bytes))
    }
    /// As [`PublicKey::from_bytes`], for a protobuf `bytes` field.
    ///
    /// # Errors
    /// [`KeyError::Encoding`] for another length, [`KeyError::Point`] for an unusable key.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::from_bytes(bytes.try_into().map_err(|_| KeyError::Encoding)?)
    }
    /// The 32 bytes of RFC 8032.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
    /// The key's short name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut id = [0u8; 16];
        id.copy_from_slice(&blake3::hash(&self.0).as_bytes()[..16]);
        KeyId(id)
    }
    /// Strict verification (RFC 8032 with the small-order checks of `verify_strict`).
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(&self.0) else { return false };
        key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(KeyError::Prefix)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| KeyError::Encoding)?;
        Self::from_slice(&bytes)
    }
}

crate::text_schema::text_schema!(PublicKey, "PublicKey", format!("^{PREFIX}[A-Za-z0-9_-]{{43}}$"), 128);

impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl KeyId {
    /// Wraps the 16 bytes found in an envelope.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Keys of which `threshold` must have signed.
///
/// Text form: one key, or `2-of:KEY,KEY,KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustSet {
    keys: Vec<PublicKey>,
    threshold: usize,
}

impl TrustSet {
    /// Builds a set; keys are sorted, so that two spellings of one set are equal.
    ///
    /// # Errors
    /// [`KeyError::Count`] and [`KeyError::Threshold`].
    pub fn new(mut keys: Vec<PublicKey>, threshold: usize) -> Result<Self, KeyError> {
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        if keys.is_empty() || keys.len() != count || count > KEYS_MAX {
            return Err(KeyError::Count);
        }
        if threshold == 0 || threshold > count {
            return Err(KeyError::Threshold { threshold, keys: count });
        }
        Ok(Self { keys, threshold })
    }
    /// A set of one key.
    #[must_use]
    pub fn single(key: PublicKey) -> Self {
        Self { keys: vec![key], threshold: 1 }
    }
    /// The keys, sorted.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }
    /// How many different keys must have signed.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }
    /// Finds a key by its short name.
    #[must_use]
    pub fn find(&self, id: KeyId) -> Option<&PublicKey> {
        self.keys.iter().find(|key| key.id() == id)
    }
}

impl fmt::Display for TrustSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.keys.len() > 1 || self.threshold > 1 {
            write!(f, "{}-of:", self.threshold)?;
        }
        for (index, key) in self.keys.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{key}")?;
        }
        Ok(())
    }
}

impl FromStr for TrustSet {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let (threshold, list) = match text.split_once("-of:") {
            Some((count, list)) => (count.parse().map_err(|_| KeyError::Prefix)?, list),
            None => (1, text),
        };
        let keys = list.split(',').map(str::parse).collect::<Result<Vec<PublicKey>, _>>()?;
        Self::new(keys, threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::SecretKey;

    #[test]
    fn keys_and_sets_round_trip_as_text() {
        let a = SecretKey::from_seed(&[1; 32]).public();
        let b = SecretKey::from_seed(&[2; 32]).public();
        assert_eq!(a.to_string().parse(), Ok(a));
        let set = TrustSet::new(vec![b, a], 2).expect("two different keys");
        assert_eq!(set.to_string().parse(), Ok(set.clone()));
        assert_eq!(set.find(a.id()), Some(&a));
        assert_eq!(TrustSet::single(a).to_string(), a.to_string());
        assert_eq!(TrustSet::new(vec![a, a], 1), Err(KeyError::Count));
        assert_eq!(TrustSet::new(vec![a], 2), Err(KeyError::Threshold { threshold: 2, keys: 1 }));
    }

    #[test]
    fn unusable_points_are_refused() {
        // The neutral element has order 1: it would accept signatures of nobody.
        let mut neutral = [0u8; 32];
        neutral[0] = 1;
        assert_eq!(PublicKey::from_bytes(neutral), Err(KeyError::Point));
        assert_eq!("ed25519:AAAA".parse::<PublicKey>(), Err(KeyError::Encoding));
        assert_eq!("rsa:AAAA".parse::<PublicKey>(), Err(KeyError::Prefix));
    }
}
