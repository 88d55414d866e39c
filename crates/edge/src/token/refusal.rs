//! Why a token is refused: stable codes, and messages that say nothing of the token's content.

use std::fmt;
use std::sync::Arc;

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// A part is not canonical base64url of what belongs there.
    #[error("the token's {0} cannot be read")]
    Malformed(Part),
    /// The header asks for something that this edge does not do.
    #[error("the token's header has an unsupported {0}")]
    Unsupported(Member),
    /// No issuer of this edge is called that.
    #[error("the token is of an issuer that this edge does not know")]
    Issuer,
    /// The issuer has no such key, as far as this edge knows.
    #[error("the token is signed with a key that issuer {} does not publish", .0.issuer)]
    KeyUnknown(UnknownKey),
    /// The signature is not that key's.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing, twice there, or not what it must be. Names the claim, which is one that this edge knows.
    #[error("the token's claim {0} is missing or not as it must be")]
    Claims(&'static str),
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// It was good until now.
    #[error("the token has expired")]
    Expired,
    /// It will be good later, or was issued in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
}

/// A part of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The protected header: a JSON object without duplicate names (RFC 7515, section 4).
    Header,
    /// The payload: a JSON object without duplicate names (RFC 7519, section 4).
    Payload,
    /// The signature.
    Signature,
}

/// A member of a token's header that can be unsupported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// `alg`: not one of ours, or not the key's.
    Algorithm,
    /// `crit`: no extension is known here, so that any critical one is too much (RFC 7515, section 4.1.11).
    Critical,
    /// `typ`: another kind of token (RFC 8725, section 3.11).
    Type,
    /// `b64`: an unencoded payload (RFC 7797).
    Unencoded,
}

/// Which key was asked for: what [`KeyRings::note_unknown`](super::KeyRings::note_unknown) wants to know.
#[derive(Clone, PartialEq, Eq)]
pub struct UnknownKey {
    issuer: Arc<str>,
    kid: Option<String>,
}

impl UnknownKey {
    pub(super) const fn new(issuer: Arc<str>, kid: Option<String>) -> Self {
        Self { issuer, kid }
    }

    /// The issuer's name in the configuration.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The key id out of the token's header. It is the sender's text: not for logs.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }
}

impl fmt::Debug for UnknownKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("UnknownKey").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl TokenRefusal {
    /// The stable code, for answers, metrics and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "token_malformed",
            Self::Unsupported(_) => "token_unsupported",
            Self::Issuer => "token_issuer",
            Self::KeyUnknown(_) => "token_key_unknown",
            Self::Signature => "token_signature",
            Self::Claims(_) => "token_claims",
            Self::Audience => "token_audience",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
        }
    }

    /// Whether it counts against the sender's address in [`Failures`](super::Failures): everything but a token that an
    /// issuer did sign. A household whose players all hold expired tokens is not an attack, and its refusals can be
    /// remembered.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::Unsupported(_) | Self::Issuer | Self::KeyUnknown(_) | Self::Signature => true,
            Self::Claims(_) | Self::Audience | Self::Expired | Self::NotYetValid => false,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

impl fmt::Display for Member {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Algorithm => "alg",
            Self::Critical => "crit",
            Self::Type => "typ",
            Self::Unencoded => "b64",
        })
    }
}
