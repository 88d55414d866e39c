//! Signing with a secret key: used by `publish` (publisher key) and `control` (channel key).
//!
//! The client must not use this module; the tidy test holds it to that, so that a player's
//! machine carries no signing code. `Debug` prints stars.

use crate::keys::PublicKey;
use ed25519_dalek::Signer as _;
use std::fmt;

/// An Ed25519 secret key (RFC 8032). Zeroed on drop by the library.
pub struct SecretKey(ed25519_dalek::SigningKey);

impl SecretKey {
    /// From 32 random bytes that the caller drew.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }
    /// The seed, to be stored in a file of mode 0600 and nowhere else.
    #[must_use]
    pub fn to_seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        #[expect(clippy::expect_used, reason = "a key derived from a seed is never of small order")]
        PublicKey::from_bytes(self.0.verifying_key().to_bytes()).expect("derived keys are usable")
    }
    /// Signs a message; see [`crate::envelope::signing_input`] for what is signed.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(****)")
    }
}

/// Seals a payload with one key: the common case of [`crate::envelope::Envelope`].
#[must_use]
pub fn seal(purpose: crate::envelope::Purpose, payload: Vec<u8>, keys: &[&SecretKey]) -> crate::envelope::Envelope {
    let input = crate::envelope::signing_input(purpose, &payload);
    let signatures = keys.iter().map(|key| (key.public().id(), key.sign(&input))).collect();
    crate::envelope::Envelope::new(purpose, payload, signatures)
}
