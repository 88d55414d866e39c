//! The keys that tokens are verified with: an immutable set, each key of one issuer and one algorithm.

use super::issuer::Issuer;
use super::jwks::{JwksKeys, Key};
use super::key::Algorithm;

/// Most keys that a token without a key id is tried with. Each try costs a verification, so that more would let one
/// token cost many.
pub const KEYS_TRIED_MAX: usize = 4;
/// Most issuers of one edge.
pub const ISSUERS_MAX: usize = 16;

/// Issuers with their keys. Never changed: a new one takes its place.
#[derive(Debug, Clone, Default)]
pub struct KeyRing {
    issuers: Vec<(Issuer, JwksKeys)>,
}

/// Why issuers cannot be in one ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// Two issuers have the same name or the same `iss`: whose keys count would be a matter of order.
    #[error("issuer {0} has the name or the iss of another issuer")]
    Duplicate(String),
    /// Too many issuers.
    #[error("there are {0} issuers, at most {ISSUERS_MAX} can be used")]
    TooMany(usize),
}

impl KeyRing {
    /// A ring of these issuers. An issuer without keys is known, and has signed nothing.
    ///
    /// # Errors
    /// [`KeyRingError`].
    pub fn new(issuers: Vec<(Issuer, JwksKeys)>) -> Result<Self, KeyRingError> {
        if issuers.len() > ISSUERS_MAX {
            return Err(KeyRingError::TooMany(issuers.len()));
        }
        for (index, (issuer, _)) in issuers.iter().enumerate() {
            let same = |(other, _): &(Issuer, _)| other.name() == issuer.name() || other.iss() == issuer.iss();
            if issuers[..index].iter().any(same) {
                return Err(KeyRingError::Duplicate(issuer.name().to_owned()));
            }
        }
        Ok(Self { issuers })
    }

    /// The same ring with other keys for one issuer, by its name. Nothing changes if there is none of that name.
    #[must_use]
    pub fn with(&self, name: &str, keys: JwksKeys) -> Self {
        let mut next = self.clone();
        if let Some((_, old)) = next.issuers.iter_mut().find(|(issuer, _)| issuer.name() == name) {
            *old = keys;
        }
        next
    }

    /// Whether an issuer has these very keys, or there is no issuer of that name to have any.
    pub(super) fn has_same(&self, name: &str, keys: &JwksKeys) -> bool {
        self.issuers.iter().find(|(issuer, _)| issuer.name() == name).is_none_or(|(_, known)| known.is_same(keys))
    }

    /// Each issuer with the number of its keys.
    pub fn issuers(&self) -> impl Iterator<Item = (&Issuer, usize)> {
        self.issuers.iter().map(|(issuer, keys)| (issuer, keys.len()))
    }

    /// The issuer whose `iss` this is, and its keys.
    pub(super) fn find(&self, iss: &str) -> Option<(&Issuer, &JwksKeys)> {
        self.issuers.iter().find(|(issuer, _)| issuer.iss() == iss).map(|(issuer, keys)| (issuer, keys))
    }
}

/// Which keys of an issuer may prove a token.
pub(super) enum Candidates<'a> {
    /// These, at most [`KEYS_TRIED_MAX`].
    Keys(Vec<&'a Key>),
    /// There is a key of that name, but it verifies another algorithm.
    OtherAlgorithm,
    /// There is none.
    Unknown,
}

/// A key id chooses one key; without one, every key of the algorithm may do, the first few only.
pub(super) fn candidates<'a>(keys: &'a JwksKeys, kid: Option<&str>, algorithm: Algorithm) -> Candidates<'a> {
    let is_kind = |key: &&Key| key.verify.algorithm() == algorithm;
    let Some(kid) = kid else {
        let keys: Vec<_> = keys.keys().iter().filter(is_kind).take(KEYS_TRIED_MAX).collect();
        return if keys.is_empty() { Candidates::Unknown } else { Candidates::Keys(keys) };
    };
    match keys.keys().iter().find(|key| &*key.kid == kid) {
        Some(key) if is_kind(&key) => Candidates::Keys(vec![key]),
        Some(_) => Candidates::OtherAlgorithm,
        None => Candidates::Unknown,
    }
}
