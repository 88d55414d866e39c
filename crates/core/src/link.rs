//! Links: for tools that can send no header, a URL that says itself what it is worth, signed.
//!
//! Owns the format, what a path prefix covers, and the check of a signature and of time. A link is worth what a token of
//! its account, narrowed to its paths and product, would be: never more, and everything else is decided as for tokens. It
//! must not know where keys lie, or print a link.
//!
//! A link is the query parameter [`LINK_PARAMETER`], in unpadded base64url, of these bytes; numbers are big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the format: 1 |
//! | 16 | id of the key that signed |
//! | 16 | the account's pseudonym |
//! | 8 | when it was issued, in seconds since 1970 |
//! | 8 | when it ends, likewise |
//! | 1, n | length of the product's name, and the name; 0 for every product |
//! | 1, n | length of the path prefix, and the prefix |
//! | 64 | Ed25519 signature of `penstock link v1`, a newline, and all bytes before |

use crate::account::AccountKey;
use crate::entitle::TokenFault;
use crate::id::ProductId;
use crate::keys::{KeyId, PublicKey};
use crate::limits::{LINK_LIFE_SECONDS_MAX, LINK_PATH_BYTES_MAX, NAME_BYTES_MAX};
use crate::sign::SecretKey;
use crate::time::UnixSeconds;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The query parameter that carries a link.
pub const LINK_PARAMETER: &str = "link";
/// Stands for `iss` where a link is revoked: its [`Link::id`] stands for `jti`.
pub const LINK_ISSUER: &str = "penstock:links";
/// How far the clock of whoever signed may be ahead, in seconds.
pub const LINK_LEEWAY_SECONDS: u64 = 30;

/// What is signed begins with this: no other signature of the same key can be taken for a link's.
const DOMAIN: &[u8] = b"penstock link v1\n";
const FORMAT: u8 = 1;
const SIGNATURE_BYTES: usize = 64;
/// All but the two names.
const FIXED_BYTES: usize = 1 + 16 + 16 + 8 + 8 + 1 + 1 + SIGNATURE_BYTES;
/// Longest link as text.
const TEXT_BYTES_MAX: usize = (FIXED_BYTES + NAME_BYTES_MAX + LINK_PATH_BYTES_MAX).div_ceil(3) * 4;

const _: () = assert!(NAME_BYTES_MAX <= 255 && LINK_PATH_BYTES_MAX <= 255);

/// A path and everything below it: `/v1/blobs/ab` covers `/v1/blobs/ab/outboard` and not `/v1/blobs/abc`.
///
/// It is compared with a request's path as it was sent, byte by byte, so it has no second spelling: unreserved characters
/// and `+` only, no escapes, no empty parts and no dots that climb.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(Box<str>);

/// Why a text is no path prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathPrefixError {
    /// Somewhere else than the data plane.
    #[error("a path begins with /v1/ and a name, such as /v1/blobs")]
    Start,
    /// Too long.
    #[error("the path has {0} bytes, at most {LINK_PATH_BYTES_MAX} fit a link")]
    TooLong(usize),
    /// A part that is empty, `.` or `..`.
    #[error("the path has a part that is empty or made of dots")]
    Part,
    /// A byte that the paths of names do not have.
    #[error("byte {0} of the path is no letter, digit or one of -._~+ and is not taken, not even escaped")]
    Byte(usize),
}

impl PathPrefix {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a request's path, as it was sent, is this or below it.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(&*self.0) else { return false };
        // What follows is a part of its own, and nothing in it climbs or hides a slash, however it is spelt.
        let is_apart = rest.is_empty() || rest.starts_with('/');
        is_apart && rest.split('/').skip(1).all(stays_below)
    }
}

/// Whether a part of a path is one name to everybody who reads it. An escape of what needs none is an attempt at something.
fn stays_below(part: &str) -> bool {
    const NEVER: [&str; 4] = ["%2e", "%2f", "%5c", "%25"];
    let lower = part.to_ascii_lowercase();
    !matches!(part, "" | "." | "..") && !part.contains('\\') && !NEVER.iter().any(|escape| lower.contains(escape))
}

impl FromStr for PathPrefix {
    type Err = PathPrefixError;
    fn from_str(text: &str) -> Result<Self, PathPrefixError> {
        let parts = text.strip_prefix("/v1/").filter(|rest| !rest.is_empty()).ok_or(PathPrefixError::Start)?;
        if text.len() > LINK_PATH_BYTES_MAX {
            return Err(PathPrefixError::TooLong(text.len()));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        if let Some(at) = text.bytes().position(|byte| !is_plain(byte)) {
            return Err(PathPrefixError::Byte(at));
        }
        if parts.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(PathPrefixError::Part);
        }
        Ok(Self(text.into()))
    }
}

crate::text_schema::text_schema!(PathPrefix, "PathPrefix", r"^/v1(/[A-Za-z0-9._~+-]+)+$", LINK_PATH_BYTES_MAX);

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for PathPrefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PathPrefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTerms {
    /// Whose it is.
    pub account: AccountKey,
    /// When it was issued.
    pub issued: UnixSeconds,
    /// From when on it is worth nothing.
    pub expires: UnixSeconds,
    /// The only product that it is for; `None` for all that the account holds.
    pub product: Option<ProductId>,
    /// The only paths that it is for.
    pub path: PathPrefix,
}

/// Why a link is not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a link lives 1 to {max} seconds, not {0}", max = LINK_LIFE_SECONDS_MAX)]
pub struct LinkLifeError(pub u64);

/// Signs a link: the value of [`LINK_PARAMETER`].
///
/// # Errors
/// [`LinkLifeError`].
pub fn sign(terms: &LinkTerms, key: &SecretKey) -> Result<String, LinkLifeError> {
    let life = terms.expires.0.saturating_sub(terms.issued.0);
    if life == 0 || life > LINK_LIFE_SECONDS_MAX {
        return Err(LinkLifeError(life));
    }
    let mut bytes = body(terms, key.public().id());
    let signature = key.sign(&[DOMAIN, &bytes].concat());
    bytes.extend_from_slice(&signature);
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn body(terms: &LinkTerms, key: KeyId) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(&terms.account.0);
    bytes.extend_from_slice(&terms.issued.0.to_be_bytes());
    bytes.extend_from_slice(&terms.expires.0.to_be_bytes());
    for name in [terms.product.as_ref().map_or("", |product| product.as_str()), terms.path.as_str()] {
        // Both are at most 255 bytes long by their types.
        bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes
}

/// A link that can be read. Nothing in it is believed yet; prints as stars.
#[derive(Clone, PartialEq, Eq)]
pub struct RawLink {
    terms: LinkTerms,
    key: KeyId,
    signature: [u8; SIGNATURE_BYTES],
}

impl RawLink {
    /// Reads the value of [`LINK_PARAMETER`]. One link has one text.
    ///
    /// # Errors
    /// [`TokenFault::Malformed`].
    pub fn read(text: &str) -> Result<Self, TokenFault> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TokenFault::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenFault::Malformed)?;
        Self::of_bytes(&bytes).ok_or(TokenFault::Malformed)
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, signature) = bytes.split_last_chunk::<SIGNATURE_BYTES>()?;
        let ([FORMAT], rest) = body.split_first_chunk()? else { return None };
        let (key, rest) = rest.split_first_chunk::<16>()?;
        let (account, rest) = rest.split_first_chunk::<16>()?;
        let (issued, rest) = rest.split_first_chunk::<8>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (product, rest) = text(rest)?;
        let (path, rest) = text(rest)?;
        let terms = LinkTerms {
            account: AccountKey(*account),
            issued: UnixSeconds(u64::from_be_bytes(*issued)),
            expires: UnixSeconds(u64::from_be_bytes(*expires)),
            product: if product.is_empty() { None } else { Some(product.parse().ok()?) },
            path: path.parse().ok()?,
        };
        rest.is_empty().then_some(Self { terms, key: KeyId::from_bytes(*key), signature: *signature })
    }

    /// Which key is said to have signed it.
    #[must_use]
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// Checks it with the key of that id.
    ///
    /// # Errors
    /// What is wrong with it: first the key, then the signature, then time.
    pub fn verify(self, key: &PublicKey, now: UnixSeconds) -> Result<Link, TokenFault> {
        if key.id() != self.key {
            return Err(TokenFault::KeyUnknown);
        }
        let signed = [DOMAIN, &body(&self.terms, self.key)].concat();
        if !key.verifies(&signed, &self.signature) {
            return Err(TokenFault::Signature);
        }
        let LinkTerms { issued, expires, .. } = self.terms;
        if expires <= issued || expires.0 - issued.0 > LINK_LIFE_SECONDS_MAX {
            return Err(TokenFault::Claims);
        }
        if now >= expires {
            return Err(TokenFault::Expired);
        }
        if now.plus(LINK_LEEWAY_SECONDS) < issued {
            return Err(TokenFault::NotYetValid);
        }
        Ok(Link { id: id(&signed), terms: self.terms })
    }
}

impl fmt::Debug for RawLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawLink(****)")
    }
}

/// A length in one byte, and as much text.
fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// The first half of the hash of what is signed: two links that say the same are one.
fn id(signed: &[u8]) -> String {
    blake3::hash(signed).to_hex()[..32].to_owned()
}

/// A link whose signature holds. Only [`RawLink::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    terms: LinkTerms,
    id: String,
}

impl Link {
    /// What it says.
    #[must_use]
    pub const fn terms(&self) -> &LinkTerms {
        &self.terms
    }
    /// What it can be revoked by, as a token of [`LINK_ISSUER`]. No secret: nobody can make a link of it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The link that a query string carries, if any.
///
/// # Errors
/// [`TokenFault::Malformed`] for more than one.
pub fn of_query(query: &str) -> Result<Option<&str>, TokenFault> {
    let named = |pair: &'_ &str| pair.split('=').next() == Some(LINK_PARAMETER);
    let mut links = query.split('&').filter(named);
    let Some(first) = links.next() else { return Ok(None) };
    if links.next().is_some() {
        return Err(TokenFault::Malformed);
    }
    Ok(Some(first.split_once('=').map_or("", |(_, value)| value)))
}

/// `POST /admin/v1/links`: asks control to sign a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostLink {
    /// Whose it is.
    pub account: crate::account::AccountId,
    /// The path, and everything below it.
    pub path: PathPrefix,
    /// The only product that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<ProductId>,
    /// Life in seconds.
    pub ttl_seconds: u64,
}

/// Answer to [`PostLink`]. `Debug` shows no link.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LinkAnswer {
    /// The path with its link: goes behind an edge's address.
    pub target: String,
    /// When it ends.
    pub expires: UnixSeconds,
    /// What it can be revoked by: `iss` of its token.
    pub issuer: String,
    /// And `jti`.
    pub id: String,
}

impl LinkAnswer {
    /// Signs what was asked for.
    ///
    /// # Errors
    /// [`LinkLifeError`].
    pub fn sign(terms: &LinkTerms, key: &SecretKey) -> Result<Self, LinkLifeError> {
        let text = sign(terms, key)?;
        Ok(Self {
            target: format!("{}?{LINK_PARAMETER}={text}", terms.path),
            expires: terms.expires,
            issuer: LINK_ISSUER.to_owned(),
            id: id(&[DOMAIN, &body(terms, key.public().id())].concat()),
        })
    }
}

impl fmt::Debug for LinkAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkAnswer").field("target", &"****").field("id", &self.id).finish_non_exhaustive()
    }
}

/// `GET /admin/v1/links/key`: the key that verifies control's links, for `[tokens] link_keys` of other edges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LinkKeyAnswer {
    /// The key.
    pub key: PublicKey,
}

#[cfg(test)]
mod tests;
