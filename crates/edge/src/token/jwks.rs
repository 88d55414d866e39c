//! Key sets as issuers publish them (RFC 7517): which of their keys this edge uses, and why not the others.
//!
//! Owns the reading of a JWKS document, from bytes or a file. Keys for other purposes or of other kinds are usual in a
//! set and are skipped with a reason. A private or symmetric key in a public document is not: the issuer has given a
//! secret away, and nothing in that document is used. It must not fetch anything.

use super::json::{Json, Object, object};
use super::key::{Algorithm, VerifyKey};
use super::{KID_BYTES_MAX, decode};
use penstock_core::keys::PublicKey;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// Largest JWKS document in bytes: sets with certificate chains of a dozen keys have 60 KiB.
pub const JWKS_BYTES_MAX: usize = 256 * 1024;
/// Most keys of one set.
pub const JWKS_KEYS_MAX: usize = 100;

/// Members that only a private key has (RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1; RFC 8037, section 2).
const SECRET_MEMBERS: [&str; 8] = ["d", "k", "p", "q", "dp", "dq", "qi", "oth"];

/// The usable keys of a set, in its order. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct JwksKeys {
    keys: Arc<[Key]>,
    skipped: Arc<[Skipped]>,
    /// Hash of the document that they came in; zeros for none.
    fingerprint: [u8; 32],
}

/// A key of a set.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Empty for a key without a name.
    pub(super) kid: Arc<str>,
    pub(super) verify: Arc<VerifyKey>,
}

/// A key that is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// Its place in the document, from 0.
    pub index: usize,
    /// Why.
    pub reason: SkipReason,
}

/// Why a key is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// It is not an object with a text `kty`.
    #[error("it has no kty")]
    Shape,
    /// Not `OKP`, `EC` or `RSA`, or not the curve Ed25519 or P-256.
    #[error("its kind or curve is not used here")]
    Kind,
    /// `use` is not `sig`.
    #[error("its use is not sig")]
    Use,
    /// `key_ops` does not have `verify`.
    #[error("its key_ops do not have verify")]
    Operations,
    /// `alg` is not the one that this kind of key has here.
    #[error("its alg is not EdDSA, ES256 or RS256, or not that of its kty")]
    Algorithm,
    /// `kid` is empty, too long or not a text.
    #[error("its kid is not a text of 1 to {KID_BYTES_MAX} bytes")]
    Kid,
    /// Its numbers are no key: not canonical base64url, not on the curve, too small or too large.
    #[error("it is not a usable public key")]
    Key,
    /// A key before it has the same `kid`.
    #[error("a key before it has the same kid")]
    Duplicate,
}

/// Why a whole document is refused. Nothing of it is printed.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// The file cannot be read.
    #[error("the key set cannot be read")]
    Read(#[source] std::io::Error),
    /// Too large.
    #[error("the key set has more than {JWKS_BYTES_MAX} bytes")]
    TooLarge,
    /// Not a JSON object without duplicate names that has a list `keys`.
    #[error("the key set is not a JSON object with a list of keys")]
    Shape,
    /// Too many keys.
    #[error("the key set has {0} keys, at most {JWKS_KEYS_MAX} are looked at")]
    TooMany(usize),
    /// A secret was published. It must be considered lost.
    #[error("key {0} of the key set is a private or symmetric key: it was published and must be replaced")]
    Secret(usize),
    /// No key that can be used.
    #[error("the key set has no key that can be used ({0} skipped)")]
    Empty(usize),
}

/// Reads a key set from a file.
///
/// # Errors
/// [`JwksError`].
pub fn load(path: &Path) -> Result<JwksKeys, JwksError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(JwksError::Read)?;
    file.take(JWKS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(JwksError::Read)?;
    JwksKeys::parse(&bytes)
}

impl JwksKeys {
    /// Reads a key set.
    ///
    /// # Errors
    /// [`JwksError`].
    pub fn parse(document: &[u8]) -> Result<Self, JwksError> {
        if document.len() > JWKS_BYTES_MAX {
            return Err(JwksError::TooLarge);
        }
        let members = object(document).ok_or(JwksError::Shape)?;
        let Some(Json::List(list)) = members.get("keys") else { return Err(JwksError::Shape) };
        if list.len() > JWKS_KEYS_MAX {
            return Err(JwksError::TooMany(list.len()));
        }
        // All of them first: a secret must not hide behind another reason.
        if let Some(index) = list.iter().position(is_secret) {
            return Err(JwksError::Secret(index));
        }
        let (mut keys, mut skipped) = (Vec::<Key>::new(), Vec::new());
        for (index, jwk) in list.iter().enumerate() {
            match read(jwk) {
                Ok(key) if !key.kid.is_empty() && keys.iter().any(|other| other.kid == key.kid) => {
                    skipped.push(Skipped { index, reason: SkipReason::Duplicate });
                }
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push(Skipped { index, reason }),
            }
        }
        if keys.is_empty() {
            return Err(JwksError::Empty(skipped.len()));
        }
        let fingerprint = *blake3::hash(document).as_bytes();
        Ok(Self { keys: keys.into(), skipped: skipped.into(), fingerprint })
    }

    /// Control's own key, under the id that control writes into its tokens.
    #[must_use]
    pub fn of_control(key: &PublicKey) -> Self {
        let verify = VerifyKey::ed25519(key.as_bytes()).map(Arc::new);
        let keys = verify.map(|verify| Key { kid: key.id().to_string().into(), verify });
        Self { keys: keys.into_iter().collect(), skipped: Arc::default(), fingerprint: *key.as_bytes() }
    }

    /// Whether these came in the same document.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that are not used.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether a key of that name is in the set.
    #[must_use]
    pub fn has(&self, kid: &str) -> bool {
        !kid.is_empty() && self.keys.iter().any(|key| &*key.kid == kid)
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }
}

fn is_secret(jwk: &Json) -> bool {
    let Json::Object(jwk) = jwk else { return false };
    SECRET_MEMBERS.iter().any(|name| jwk.contains_key(*name)) || jwk.get("kty").and_then(Json::as_text) == Some("oct")
}

fn read(jwk: &Json) -> Result<Key, SkipReason> {
    let Json::Object(jwk) = jwk else { return Err(SkipReason::Shape) };
    let kind = jwk.get("kty").and_then(Json::as_text).ok_or(SkipReason::Shape)?;
    if jwk.get("use").is_some_and(|usage| usage.as_text() != Some("sig")) {
        return Err(SkipReason::Use);
    }
    let verifies = |operations: &Json| match operations {
        Json::List(list) => list.iter().any(|one| one.as_text() == Some("verify")),
        _ => false,
    };
    if !jwk.get("key_ops").is_none_or(verifies) {
        return Err(SkipReason::Operations);
    }
    let curve = jwk.get("crv").and_then(Json::as_text);
    let algorithm = match (kind, curve) {
        ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
        ("EC", Some("P-256")) => Algorithm::Es256,
        ("RSA", _) => Algorithm::Rs256,
        _ => return Err(SkipReason::Kind),
    };
    if jwk.get("alg").is_some_and(|name| name.as_text() != Some(algorithm.name())) {
        return Err(SkipReason::Algorithm);
    }
    let kid = match jwk.get("kid") {
        None => "",
        Some(Json::Text(kid)) if (1..=KID_BYTES_MAX).contains(&kid.len()) => kid,
        Some(_) => return Err(SkipReason::Kid),
    };
    let verify = parse_key(jwk, algorithm).ok_or(SkipReason::Key)?;
    Ok(Key { kid: kid.into(), verify: Arc::new(verify) })
}

fn parse_key(jwk: &Object, algorithm: Algorithm) -> Option<VerifyKey> {
    let number = |name: &str| decode(jwk.get(name)?.as_text()?);
    match algorithm {
        Algorithm::EdDsa => VerifyKey::ed25519(&number("x")?),
        Algorithm::Es256 => VerifyKey::p256(&number("x")?, &number("y")?),
        Algorithm::Rs256 => VerifyKey::rsa(&number("n")?, &number("e")?),
    }
}

#[cfg(test)]
mod tests;
