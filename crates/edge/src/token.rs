//! Player tokens: from a text of the right shape to claims that an issuer signed, or a reason why not.
//!
//! Owns the verification of a compact JWS (EdDSA, ES256, RS256; RFC 7515, RFC 7519, RFC 8725), the keys it is done with
//! and how they are kept fresh, and the bounds on this work. A token is reusable until it expires, and is checked when a
//! request starts. It must not decide what a player may read, remember decisions, or count revocations; and nothing here
//! prints a token or a claim of one.
//!
//! [`verify`] is pure: keys and time are arguments. [`KeyRings`] keeps the current [`KeyRing`]; its task is the only part
//! that does IO.

mod claims;
mod fetch;
mod header;
mod issuer;
mod json;
mod jwks;
mod key;
mod limit;
mod link_keys;
mod refresh;
mod refusal;
mod ring;
mod rings;
#[cfg(test)]
mod testing;
mod verifier;

pub use crate::web::{TlsSetupError, UrlError, WebUrl as JwksUrl, client_config};
pub use claims::{Claims, DATE_SECONDS_MAX, DEVICE_BYTES_MAX};
pub use fetch::{FetchError, Fetched, HttpFetcher, JwksFetcher};
pub use issuer::{
    AUDIENCES_MAX, ISSUER_NAME_BYTES_MAX, ISSUER_TEXT_BYTES_MAX, Issuer, IssuerError, LEEWAY_SECONDS_DEFAULT,
    LEEWAY_SECONDS_MAX,
};
pub use jwks::{JWKS_BYTES_MAX, JWKS_KEYS_MAX, JwksError, JwksKeys, SkipReason, Skipped, load};
pub use key::{Algorithm, RSA_BITS_MAX, RSA_BITS_MIN};
pub use limit::{FAILURES_MAX_DEFAULT, FAILURES_WINDOW_SECONDS, Failures, Held, PEERS_MAX, VerifyLimit, VerifyPermit};
pub use link_keys::{LinkKeysError, load_link_keys};
pub use refresh::{Next, Refresher, STALE_SECONDS_DEFAULT, Unknown};
pub use refusal::{Member, Part, TokenRefusal, UnknownKey};
pub use ring::{ISSUERS_MAX, KEYS_TRIED_MAX, KeyRing, KeyRingError};
pub use rings::{KeyRings, Remote};
pub use verifier::{Moment, NoClaims, Verifier};

use self::claims::Payload;
use self::header::Header;
use self::ring::{Candidates, candidates};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use penstock_core::time::UnixSeconds;
use penstock_core::token::RawToken;

/// Longest key id in bytes. The usual ones have 8 to 64.
pub const KID_BYTES_MAX: usize = 256;

/// Verifies a token at a moment.
///
/// The payload is parsed before the signature is checked, because its `iss` chooses the keys that may prove it; no claim
/// of it counts before one of them did.
///
/// # Errors
/// [`TokenRefusal`], the first that applies.
pub fn verify(ring: &KeyRing, token: &RawToken, now: UnixSeconds) -> Result<Claims, TokenRefusal> {
    let header = Header::read(token.header())?;
    let payload = decode(token.payload()).ok_or(TokenRefusal::Malformed(Part::Payload))?;
    let signature = decode(token.signature()).ok_or(TokenRefusal::Malformed(Part::Signature))?;
    let payload = Payload::read(&payload)?;
    let (issuer, keys) = ring.find(payload.issuer()?).ok_or(TokenRefusal::Issuer)?;
    let keys = match candidates(keys, header.kid.as_deref(), header.algorithm) {
        Candidates::Keys(keys) => keys,
        Candidates::OtherAlgorithm => return Err(TokenRefusal::Unsupported(Member::Algorithm)),
        Candidates::Unknown => {
            return Err(TokenRefusal::KeyUnknown(UnknownKey::new(issuer.shared_name(), header.kid)));
        }
    };
    let signed = token.signed().as_bytes();
    let key = keys.into_iter().find(|key| key.verify.verifies(signed, &signature)).ok_or(TokenRefusal::Signature)?;
    payload.check(issuer, key.kid.clone(), now)
}

/// Base64url as RFC 7515, section 2, has it: no padding, and no bits set behind the last byte, so that one token has one
/// text.
fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests;
