//! What callers ask for: checked once here, believed by every later room.
//!
//! Owns edge addresses and tokens (which print as stars); must not open anything.

use http::Uri;
use penstock_core::id::{ChannelName, ComponentName, Platform, ProductId, Version};
use penstock_core::keys::TrustSet;
use penstock_core::limits::TOKEN_BYTES_MAX;
use penstock_core::time::UnixSeconds;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// An edge's base address: `https://host[:port][/prefix]` or `http://…`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EdgeUrl {
    secure: bool,
    host: String,
    port: u16,
    prefix: String,
}

/// Why a text is not an edge's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EdgeUrlError {
    /// Not a URL at all.
    #[error("{0:?} is not a URL such as https://edge.example:8443")]
    Syntax(String),
    /// Neither http nor https.
    #[error("{0:?} has another scheme than https or http")]
    Scheme(String),
    /// Carries a user name, query or fragment.
    #[error("{0:?} has a user name or query, which an edge's address must not")]
    Extra(String),
}

impl EdgeUrl {
    /// Whether it is `https`.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }
    /// Host name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
    /// TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
    /// Path before `/v1/…`, without a trailing slash; usually empty.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
    /// Value of the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.secure { 443 } else { 80 };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }
}

impl FromStr for EdgeUrl {
    type Err = EdgeUrlError;
    fn from_str(text: &str) -> Result<Self, EdgeUrlError> {
        let text = text.trim();
        let syntax = || EdgeUrlError::Syntax(text.to_owned());
        if text.contains('#') {
            return Err(EdgeUrlError::Extra(text.to_owned()));
        }
        let uri: Uri = text.parse().map_err(|_| syntax())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err(EdgeUrlError::Scheme(text.to_owned())),
            None => return Err(syntax()),
        };
        let authority = uri.authority().ok_or_else(syntax)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(EdgeUrlError::Extra(text.to_owned()));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(syntax());
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { secure, host, port, prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for EdgeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

impl fmt::Debug for EdgeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EdgeUrl({self})")
    }
}

impl serde::Serialize for EdgeUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for EdgeUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A bearer token. Prints as stars, travels over TLS only.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why a text is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing in it.
    #[error("the token is empty")]
    Empty,
    /// Larger than edges accept.
    #[error("the token has {0} bytes, more than any edge accepts")]
    TooLong(usize),
    /// A character that has no place in a header.
    #[error("the token has a character that a token cannot have")]
    Character,
}

impl Token {
    /// Checks a text, trimming the newline that files end with.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong(text.len()));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Character);
        }
        Ok(Self(text.to_owned()))
    }
    /// The text, for the `Authorization` header and nothing else.
    #[must_use]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(****)")
    }
}

/// Which release to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Whatever the channel offers now.
    Channel(ChannelName),
    /// This very release.
    Version(Version),
}

/// Who wants to know what a channel offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// A launcher or a schedule: the install waits for its turn in a rollout.
    #[default]
    Scheduled,
    /// A player, by hand. Where the studio lets that, it gets what is being rolled out before its turn.
    ByHand,
}

/// Which of a release's optional components to install. The others are part of every install.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Components {
    /// Those of the last pull; on a first install, all.
    #[default]
    AsBefore,
    /// All that edges give to this caller.
    All,
    /// These.
    Only(BTreeSet<ComponentName>),
}

/// Whether to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Do it.
    Apply,
    /// Plan and preflight only; nothing in the install changes.
    DryRun,
}

/// Bounds that a caller may change; [`Tuning::default`] suits a player's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Bytes of download per second; `None` means no limit.
    pub limit_rate: Option<u64>,
    /// Requests at once over all edges. More only helps on paths with losses.
    pub parallel_requests: usize,
    /// Threads that decode, hash and write; 0 means one per core, at most 8.
    pub workers: usize,
    /// A request that brings nothing for this long, in milliseconds, is given up.
    pub stall_ms: u64,
    /// Whether edges are offered HTTP/2 beside HTTP/1.1. HTTP/1.1 alone costs less CPU on both sides.
    pub offer_http2: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { limit_rate: None, parallel_requests: 6, workers: 0, stall_ms: 15_000, offer_http2: true }
    }
}

/// Installs or updates.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// Edges to fetch from, best guess first; at least one.
    pub edges: Vec<EdgeUrl>,
    /// Product.
    pub product: ProductId,
    /// Platform of the release.
    pub platform: Platform,
    /// Which release.
    pub target: Target,
    /// Who wants to know what the channel offers.
    pub check: Check,
    /// Which components.
    pub components: Components,
    /// For products that are not open.
    pub token: Option<Token>,
    /// The publisher keys the player was given.
    pub trust: TrustSet,
    /// Certificate authority in PEM; `None` means the system's.
    pub ca_file: Option<PathBuf>,
    /// The install's directory; created when missing.
    pub into: PathBuf,
    /// Do it or only say what it would take.
    pub intent: Intent,
    /// Keep the files that this update replaces, so that `rollback` can bring them back.
    pub keep_previous: bool,
    /// What time it is.
    pub now: UnixSeconds,
    /// Bounds.
    pub tuning: Tuning,
}

/// Compares an install with its manifest.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// The install's directory.
    pub dir: PathBuf,
    /// Bounds; only `workers` matters.
    pub tuning: Tuning,
}

/// Mends an install.
#[derive(Debug, Clone)]
pub struct RepairRequest {
    /// The install's directory.
    pub dir: PathBuf,
    /// Edges to fetch from; empty means those of the last pull.
    pub edges: Vec<EdgeUrl>,
    /// For products that are not open.
    pub token: Option<Token>,
    /// Certificate authority in PEM; `None` means that of the last pull, or the system's.
    pub ca_file: Option<PathBuf>,
    /// Do it or only say what it would take.
    pub intent: Intent,
    /// Bounds.
    pub tuning: Tuning,
}

/// Goes back to the version kept on disk.
#[derive(Debug, Clone)]
pub struct RollbackRequest {
    /// The install's directory.
    pub dir: PathBuf,
    /// Bounds; only `workers` matters.
    pub tuning: Tuning,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalised_and_checked() {
        let url: EdgeUrl = "https://Edge.example/".parse().expect("good");
        assert_eq!((url.port(), url.prefix(), url.is_secure()), (443, "", true));
        let url: EdgeUrl = "http://[::1]:8080/a/b/".parse().expect("good");
        assert_eq!((url.host(), url.authority().as_str(), url.prefix()), ("::1", "[::1]:8080", "/a/b"));
        assert_eq!(url.to_string(), "http://[::1]:8080/a/b");
        for bad in ["", "edge", "ftp://x", "https://u@x", "https://x/?q=1", "https://x/#f", "https://"] {
            assert!(bad.parse::<EdgeUrl>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tokens_print_as_stars_and_cannot_break_a_header() {
        let token = Token::new("abc.def\n").expect("good");
        assert_eq!(token.reveal(), "abc.def");
        assert!(!format!("{token:?}").contains("abc"));
        assert_eq!(Token::new("a\r\nb: c"), Err(TokenError::Character));
        assert_eq!(Token::new(" "), Err(TokenError::Empty));
    }
}
