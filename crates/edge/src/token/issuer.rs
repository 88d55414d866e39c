//! Whom this edge believes about players: an issuer's `iss`, the audiences it must name, and its clock's leeway.

use std::fmt;
use std::sync::Arc;

/// Longest name of an issuer in the configuration, in bytes: it is a label of metrics.
pub const ISSUER_NAME_BYTES_MAX: usize = 64;
/// Longest `iss` or audience in bytes.
pub const ISSUER_TEXT_BYTES_MAX: usize = 512;
/// Most audiences of one issuer.
pub const AUDIENCES_MAX: usize = 16;
/// Longest leeway in seconds. Clocks are kept by NTP; more only lengthens the life of every token.
pub const LEEWAY_SECONDS_MAX: u64 = 300;
/// The usual leeway in seconds.
pub const LEEWAY_SECONDS_DEFAULT: u64 = 30;

/// `iss` and `aud` of the tokens that control mints, and the name of that issuer.
const CONTROL: &str = "penstock";

/// An issuer of tokens. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer(Arc<Rules>);

#[derive(Debug, PartialEq, Eq)]
struct Rules {
    name: Arc<str>,
    iss: Arc<str>,
    audiences: Vec<String>,
    leeway_seconds: u64,
}

/// Why an issuer cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// The name.
    #[error("an issuer's name has 1 to {ISSUER_NAME_BYTES_MAX} letters, digits and ._-")]
    Name,
    /// The `iss`.
    #[error("an issuer's iss has 1 to {ISSUER_TEXT_BYTES_MAX} bytes")]
    Iss,
    /// The audiences.
    #[error("an issuer has 1 to {AUDIENCES_MAX} audiences of 1 to {ISSUER_TEXT_BYTES_MAX} bytes")]
    Audiences,
    /// The leeway.
    #[error("an issuer's leeway is at most {LEEWAY_SECONDS_MAX} seconds")]
    Leeway,
}

impl Issuer {
    /// An issuer called `name` here and `iss` in its tokens, which must name one of `audiences`.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub fn new(name: &str, iss: &str, audiences: &[&str], leeway_seconds: u64) -> Result<Self, IssuerError> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_text = |text: &str| (1..=ISSUER_TEXT_BYTES_MAX).contains(&text.len());
        if !(1..=ISSUER_NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_name) {
            return Err(IssuerError::Name);
        }
        if !is_text(iss) {
            return Err(IssuerError::Iss);
        }
        if !(1..=AUDIENCES_MAX).contains(&audiences.len()) || !audiences.iter().all(|text| is_text(text)) {
            return Err(IssuerError::Audiences);
        }
        if leeway_seconds > LEEWAY_SECONDS_MAX {
            return Err(IssuerError::Leeway);
        }
        let audiences = audiences.iter().map(|&text| text.to_owned()).collect();
        Ok(Self(Arc::new(Rules { name: name.into(), iss: iss.into(), audiences, leeway_seconds })))
    }

    /// Control, which mints tokens with `iss` and `aud` `penstock`.
    #[must_use]
    pub fn control() -> Self {
        Self(Arc::new(Rules {
            name: CONTROL.into(),
            iss: CONTROL.into(),
            audiences: vec![CONTROL.to_owned()],
            leeway_seconds: LEEWAY_SECONDS_DEFAULT,
        }))
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its claim `iss`, compared byte by byte.
    #[must_use]
    pub fn iss(&self) -> &str {
        &self.0.iss
    }

    /// How many seconds its clock may be off.
    #[must_use]
    pub fn leeway_seconds(&self) -> u64 {
        self.0.leeway_seconds
    }

    pub(super) fn is_audience(&self, audience: &str) -> bool {
        self.0.audiences.iter().any(|ours| ours == audience)
    }

    pub(super) fn shared_iss(&self) -> Arc<str> {
        Arc::clone(&self.0.iss)
    }

    pub(super) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.0.name)
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_have_bounds() {
        let long = "x".repeat(ISSUER_TEXT_BYTES_MAX + 1);
        let many = vec!["a"; AUDIENCES_MAX + 1];
        for (name, iss, audiences, leeway, expected) in [
            ("", "i", &["a"][..], 0, IssuerError::Name),
            ("a b", "i", &["a"], 0, IssuerError::Name),
            ("n", "", &["a"], 0, IssuerError::Iss),
            ("n", &long, &["a"], 0, IssuerError::Iss),
            ("n", "i", &[], 0, IssuerError::Audiences),
            ("n", "i", &[""], 0, IssuerError::Audiences),
            ("n", "i", &many, 0, IssuerError::Audiences),
            ("n", "i", &["a"], LEEWAY_SECONDS_MAX + 1, IssuerError::Leeway),
        ] {
            assert_eq!(Issuer::new(name, iss, audiences, leeway), Err(expected), "{name} {leeway}");
        }
        let issuer = Issuer::new("idp", "https://idp.example", &["a", "b"], 300).expect("good");
        assert!(issuer.is_audience("b") && !issuer.is_audience("c"));
        assert_eq!((issuer.name(), issuer.iss(), issuer.leeway_seconds()), ("idp", "https://idp.example", 300));
    }
}
