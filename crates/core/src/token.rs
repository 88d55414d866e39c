//! The shape of an access token: a bounded compact JWS (RFC 7515, section 7.1), before anybody looks inside.
//!
//! Owns what a text must look like to be worth a signature check, and that a token is never printed. It knows no key,
//! no claim and no clock: whether a token holds is decided elsewhere, and only for a [`RawToken`].

use crate::limits::TOKEN_BYTES_MAX;
use std::fmt;

/// Three non-empty stretches of base64url with dots between, of at most [`TOKEN_BYTES_MAX`] bytes. Prints as stars.
#[derive(Clone, PartialEq, Eq)]
pub struct RawToken {
    text: String,
    header_end: usize,
    payload_end: usize,
}

/// Why a text is not a token. Says nothing of the text: it may be a secret all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// No `Bearer` scheme (RFC 6750, section 2.1).
    #[error("the authorization is not of the scheme Bearer")]
    Scheme,
    /// Too long.
    #[error("the token has {0} bytes, at most {max} are looked at", max = TOKEN_BYTES_MAX)]
    TooLong(usize),
    /// Not three parts.
    #[error("the token has {0} parts, a compact JWS has 3")]
    Parts(usize),
    /// A part without content. An empty signature is the mark of an unsigned token (RFC 8725, section 3.2).
    #[error("part {0} of the token is empty")]
    Empty(usize),
    /// A byte that base64url does not have.
    #[error("byte {0} of the token is not base64url")]
    Byte(usize),
    /// A part whose length no encoder makes: 4n + 1 digits.
    #[error("part {0} of the token has a length that base64url cannot have")]
    Length(usize),
}

/// What follows `Bearer` in an `Authorization` header's value, in any spelling of scheme and spaces (RFC 9110, section
/// 11.4): one token has one text here, however it was sent.
#[must_use]
pub fn bearer_text(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    (scheme.eq_ignore_ascii_case(SCHEME) && rest.first() == Some(&b' ')).then(|| rest.trim_ascii())
}

impl RawToken {
    /// Checks the shape.
    ///
    /// # Errors
    /// [`ShapeError`], the first that applies.
    pub fn new(text: &str) -> Result<Self, ShapeError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(ShapeError::TooLong(text.len()));
        }
        if let Some(at) = text.bytes().position(|byte| !is_base64url(byte) && byte != b'.') {
            return Err(ShapeError::Byte(at));
        }
        let parts = text.split('.').count();
        if parts != 3 {
            return Err(ShapeError::Parts(parts));
        }
        for (number, part) in (1..).zip(text.split('.')) {
            if part.is_empty() {
                return Err(ShapeError::Empty(number));
            }
            if part.len() % 4 == 1 {
                return Err(ShapeError::Length(number));
            }
        }
        let header_end = text.find('.').unwrap_or_default();
        let payload_end = text.rfind('.').unwrap_or_default();
        Ok(Self { text: text.to_owned(), header_end, payload_end })
    }

    /// Takes the token out of an `Authorization` header's value: `Bearer`, in any case, one space or more, the token.
    ///
    /// # Errors
    /// [`ShapeError`].
    pub fn from_authorization(value: &[u8]) -> Result<Self, ShapeError> {
        let token = bearer_text(value).ok_or(ShapeError::Scheme)?;
        // What is not text has a byte that base64url does not have.
        let text = std::str::from_utf8(token).map_err(|error| ShapeError::Byte(error.valid_up_to()))?;
        Self::new(text)
    }

    /// The protected header, in base64url.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.text[..self.header_end]
    }

    /// The payload, in base64url.
    #[must_use]
    pub fn payload(&self) -> &str {
        &self.text[self.header_end + 1..self.payload_end]
    }

    /// The signature, in base64url.
    #[must_use]
    pub fn signature(&self) -> &str {
        &self.text[self.payload_end + 1..]
    }

    /// What the signature is over (RFC 7515, section 5.2).
    #[must_use]
    pub fn signed(&self) -> &str {
        &self.text[..self.payload_end]
    }

    /// The whole text, for whoever sends or verifies it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for RawToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawToken(****)")
    }
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_is_taken_apart_and_never_printed() {
        // RFC 7515, appendix A.1, shortened.
        let token = RawToken::new("eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UifQ.dBjftJeZ4CVP").expect("a token");
        assert_eq!(token.header(), "eyJhbGciOiJIUzI1NiJ9");
        assert_eq!(token.payload(), "eyJpc3MiOiJqb2UifQ");
        assert_eq!(token.signature(), "dBjftJeZ4CVP");
        assert_eq!(token.signed(), "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UifQ");
        assert_eq!(format!("{token:?}"), "RawToken(****)");
    }

    #[test]
    fn every_other_shape_is_refused_for_its_reason() {
        for (text, error) in [
            ("", ShapeError::Parts(1)),
            ("aa.bb", ShapeError::Parts(2)),
            ("aa.bb.cc.dd.ee", ShapeError::Parts(5)),
            (".bb.cc", ShapeError::Empty(1)),
            ("aa..cc", ShapeError::Empty(2)),
            ("aa.bb.", ShapeError::Empty(3)),
            ("aaaaa.bb.cc", ShapeError::Length(1)),
            ("aa.bb.c", ShapeError::Length(3)),
            ("aa.b=.cc", ShapeError::Byte(4)),
            ("aa.bb.cc\n", ShapeError::Byte(8)),
            ("aa.bé.cc", ShapeError::Byte(4)),
        ] {
            assert_eq!(RawToken::new(text), Err(error), "{text:?}");
        }
        let long = "a".repeat(TOKEN_BYTES_MAX + 1);
        assert_eq!(RawToken::new(&long), Err(ShapeError::TooLong(long.len())));
    }

    #[test]
    fn authorizations() {
        for good in ["Bearer aa.bb.cc", "bearer aa.bb.cc", "BEARER   aa.bb.cc", "Bearer aa.bb.cc "] {
            assert_eq!(RawToken::from_authorization(good.as_bytes()).expect(good).reveal(), "aa.bb.cc");
        }
        for bad in ["", "Bearer", "Beareraa.bb.cc", "Basic aa.bb.cc", "Bearer\taa.bb.cc", "aa.bb.cc"] {
            assert_eq!(RawToken::from_authorization(bad.as_bytes()), Err(ShapeError::Scheme), "{bad:?}");
        }
        assert_eq!(RawToken::from_authorization(b"Bearer aa.\xff.cc"), Err(ShapeError::Byte(3)));
        assert_eq!(RawToken::from_authorization(b"Bearer "), Err(ShapeError::Parts(1)));
    }

    proptest! {
        #[test]
        fn parts_make_the_whole(text in "[A-Za-z0-9_.=-]{0,40}") {
            if let Ok(token) = RawToken::new(&text) {
                prop_assert_eq!(format!("{}.{}.{}", token.header(), token.payload(), token.signature()), text);
            }
        }
    }
}
