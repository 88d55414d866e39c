//! Text that must not be seen: tokens and credentials. It prints as stars.

use penstock_core::blob::BlobId;
use std::fmt;

/// A secret text. `Debug` prints stars; there is no `Display`.
#[derive(Clone)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a secret.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }
    /// The secret itself, for the one place that sends or stores it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
    /// Whether `offered` is this secret, in a time that depends on the length of `offered` only.
    ///
    /// Both texts are hashed first, so that what is compared has one length and a byte that
    /// matches teaches nothing about the secret.
    #[must_use]
    pub fn matches(&self, offered: &[u8]) -> bool {
        let (mine, theirs) = (BlobId::of(self.0.as_bytes()), BlobId::of(offered));
        let difference = mine.as_bytes().iter().zip(theirs.as_bytes()).fold(0u8, |seen, (a, b)| seen | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(****)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_itself_only_and_never_prints() {
        let secret = SecretText::new("hunter2".to_owned());
        assert!(secret.matches(b"hunter2"));
        for other in [&b""[..], b"hunter", b"hunter22", b"Hunter2"] {
            assert!(!secret.matches(other));
        }
        assert!(!format!("{secret:?} {:#?}", Some(&secret)).contains("hunter"));
    }
}
