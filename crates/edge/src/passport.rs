//! Who asks: a request's token becomes a [`Passport`], from the cache in about a microsecond, else by verifying it.
//!
//! Owns the entitlement cache. What comes out is an owned `Arc`; no guard of the cache leaves [`cache`], and nothing is
//! awaited. It must not decide: `core::entitle` does, with the passport.
//!
//! A cached passport is believed until its token expires, at most for [`TRUST_SECONDS_MAX`], and only while three
//! generation numbers stand: that of the keys it was verified with, that of its account and that of its own id among the
//! revoked. So a change of any takes effect with the next request, and nobody walks the cache for it.

mod accounts;
mod cache;
mod gate;
mod hash;
mod memo;
mod revoked;

pub use accounts::Accounts;
pub use gate::TokenGate;
pub use memo::Memo;
pub use revoked::Revoked;

use self::cache::{Cache, Rest, Stand};
use self::hash::{Kind, ProofHash, ProofHasher};
use penstock_core::entitle::{Narrowing, Passport, TokenFault};
use penstock_core::id::{ComponentName, ProductId};
use penstock_core::link::{LINK_ISSUER, Link};
use penstock_core::time::UnixSeconds;
use penstock_core::token::{RawToken, bearer_text};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// A verified token is verified anew after this, in seconds, whatever it says itself.
pub const TRUST_SECONDS_MAX: u64 = 3600;
/// Lifetimes are shortened by up to a quarter, so that the crowd of a patch day does not come back in one second.
const JITTER_PART: u64 = 4;
/// How long a refusal is remembered, in seconds: long enough to make repeating it cheap, short enough that a clock that
/// was corrected or a key that arrived is noticed.
const REFUSAL_SECONDS: u64 = 10;
/// Memory for refusals, in bytes, beside the cache's own budget. Whoever floods it pushes out other floods only.
const REFUSAL_BYTES_MAX: usize = 4 << 20;
/// Locks for tokens that are being verified: whoever comes with the same one meanwhile waits and finds it verified.
const FLIGHTS: usize = 64;

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The account.
    pub account: String,
    /// When it was issued, if it says so.
    pub issued: Option<UnixSeconds>,
    /// When it ends.
    pub expires: UnixSeconds,
    /// The only products that it is for.
    pub products: Option<Box<[ProductId]>>,
    /// The only components that it is for.
    pub components: Option<Box<[ComponentName]>>,
    /// The device that it names.
    pub device: Option<String>,
    /// What it can be revoked by, if it has an id.
    pub id: Option<TokenId>,
}

/// A token's id, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenId {
    /// Claim `iss`.
    pub issuer: Arc<str>,
    /// Claim `jti`.
    pub id: String,
}

/// Why there is no bearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoBearer {
    /// The token is worth nothing. Remembered for a moment.
    Faulty(TokenFault),
    /// Nobody looked at it: too many are being verified.
    Busy,
    /// Nobody looked at it: too many from the same address were worth nothing.
    TooMany {
        /// When it may be tried again, in seconds.
        retry_after_seconds: u64,
    },
}

/// Somebody who verifies tokens.
pub trait Verifier: Send + Sync + 'static {
    /// Verifies one that came from an address. Takes up to about 150 µs of this thread.
    ///
    /// # Errors
    /// What is wrong with it, or why nobody looked at it.
    fn verify(&self, token: &RawToken, from: Option<IpAddr>, now: UnixSeconds) -> Result<Bearer, NoBearer>;
    /// Checks a link that came from an address, likewise. Whoever has no keys of links believes none.
    ///
    /// # Errors
    /// What is wrong with it, or why nobody looked at it.
    fn verify_link(&self, _text: &str, _from: Option<IpAddr>, _now: UnixSeconds) -> Result<Link, NoBearer> {
        Err(NoBearer::Faulty(TokenFault::KeyUnknown))
    }
    /// Changes whenever a key is added or removed.
    fn generation(&self) -> u64;
}

/// What a request shows to say who asks.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// The value of `Authorization`.
    Token(&'a [u8]),
    /// A link, and the path that is asked for, as it was sent.
    Link {
        /// The value of the query's parameter.
        text: &'a str,
        /// The request's path.
        path: &'a str,
    },
}

impl Proof<'_> {
    const fn kind(&self) -> Kind {
        match self {
            Self::Token(_) => Kind::Token,
            Self::Link { .. } => Kind::Link,
        }
    }

    /// What is hashed: of a token its own text, or one good token would be as many entries as it has spellings.
    /// A value without the scheme has none, or it would share the entry of the right spelling.
    fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Token(value) => bearer_text(value),
            Self::Link { text, .. } => Some(text.as_bytes()),
        }
    }

    /// A token is for every path, a link for those below its own.
    fn is_for(&self, passport: &Passport) -> bool {
        match (self, passport.narrowing().and_then(|narrowing| narrowing.path.as_ref())) {
            (Self::Link { path, .. }, Some(prefix)) => prefix.covers(path),
            (Self::Token(_), None) => true,
            // Nobody makes these.
            (Self::Link { .. }, None) | (Self::Token(_), Some(_)) => false,
        }
    }
}

impl std::fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}(****)", self.kind())
    }
}

/// The answer to "who asks".
#[derive(Debug, Clone)]
pub enum Presented {
    /// Somebody known.
    Known(Arc<Passport>),
    /// Somebody with a token that is worth nothing.
    Faulty(TokenFault),
    /// Somebody with a link that is good for other paths.
    Elsewhere,
    /// Nobody knows: too many tokens are being verified.
    Busy,
    /// Nobody knows: too many tokens from that address were worth nothing.
    TooMany {
        /// When it may be tried again, in seconds.
        retry_after_seconds: u64,
    },
}

/// A passport that is believed for the time being.
type Held = Rest<Arc<Passport>>;

/// The passports of a node. One for all workers.
pub struct Passports {
    hasher: ProofHasher,
    cache: Cache<Arc<Passport>>,
    refusals: Cache<TokenFault>,
    accounts: Arc<Accounts>,
    revoked: Arc<Revoked>,
    verifier: Arc<dyn Verifier>,
    flights: [Mutex<()>; FLIGHTS],
}

impl Passports {
    /// Passports of at most `bytes_max` bytes of memory. `secret` are random bytes that make the cache's hashes its own, so
    /// that nobody can choose tokens that meet in it.
    #[must_use]
    pub fn new(
        accounts: Arc<Accounts>,
        revoked: Arc<Revoked>,
        verifier: Arc<dyn Verifier>,
        secret: [u8; 32],
        bytes_max: usize,
    ) -> Self {
        Self {
            hasher: ProofHasher::new(&secret),
            cache: Cache::new(bytes_max),
            refusals: Cache::new(REFUSAL_BYTES_MAX),
            accounts,
            revoked,
            verifier,
            flights: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Who asks with this value of `Authorization`.
    #[must_use]
    pub fn of(&self, authorization: &[u8], from: Option<IpAddr>, now: UnixSeconds) -> Presented {
        self.of_proof(Proof::Token(authorization), from, now)
    }

    /// Who asks with this proof.
    #[must_use]
    pub fn of_proof(&self, proof: Proof<'_>, from: Option<IpAddr>, now: UnixSeconds) -> Presented {
        let Some(hash) = self.hash(proof) else { return Presented::Faulty(TokenFault::Malformed) };
        presented(proof, self.look_up(&hash, proof, from, now))
    }

    /// Who asks with this proof, on a connection that remembers the last one.
    #[must_use]
    pub fn of_request(&self, proof: Proof<'_>, memo: &Memo, from: Option<IpAddr>, now: UnixSeconds) -> Presented {
        let Some(hash) = self.hash(proof) else { return Presented::Faulty(TokenFault::Malformed) };
        let found = match memo.get(&hash, now).filter(|rest| self.is_current(rest, now)) {
            Some(rest) => Ok(rest),
            None => self.look_up(&hash, proof, from, now).inspect(|rest| memo.set(hash, rest.clone(), now)),
        };
        presented(proof, found)
    }

    /// `None` for what is no proof of anything, whatever it says.
    fn hash(&self, proof: Proof<'_>) -> Option<ProofHash> {
        self.hasher.hash(proof.kind(), proof.value()?)
    }

    fn look_up(
        &self,
        hash: &ProofHash,
        proof: Proof<'_>,
        from: Option<IpAddr>,
        now: UnixSeconds,
    ) -> Result<Held, NoBearer> {
        if let Some(found) = self.remembered(hash, now) {
            return found.map_err(NoBearer::Faulty);
        }
        // One verification for all who wait. Nothing is awaited under the lock, so nobody can go away with it.
        let flight = &self.flights[usize::from(hash.0[8]) % FLIGHTS];
        let _flying = flight.lock().unwrap_or_else(PoisonError::into_inner);
        match self.remembered(hash, now) {
            Some(found) => found.map_err(NoBearer::Faulty),
            None => self.verify(hash, proof, from, now),
        }
    }

    /// The passport that a good token would get. Not kept, and no token stands behind it: for [`crate::explain`] only.
    pub(crate) fn as_if(&self, bearer: Bearer) -> Arc<Passport> {
        Arc::new(self.passport(bearer).0)
    }

    /// What makes this fleet's pseudonyms.
    #[must_use]
    pub fn pseudonyms(&self) -> penstock_core::account::PseudonymKey {
        self.accounts.pseudonyms()
    }

    /// How many passports are kept, and how many bytes they are counted as.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        (self.cache.len(), self.cache.bytes())
    }

    fn remembered(&self, hash: &ProofHash, now: UnixSeconds) -> Option<Result<Held, TokenFault>> {
        let keys = self.keys();
        let Some(rest) = self.cache.get(hash, keys, now) else {
            return self.refusals.get(hash, keys, now).map(|refusal| Err(refusal.value));
        };
        if self.stands(&rest.stand) {
            return Some(Ok(rest));
        }
        let (passport, stand) = self.known((*rest.value).clone());
        let value = Arc::new(passport);
        self.cache.renew(hash, Arc::clone(&value), stand);
        Some(Ok(Rest { value, stand, ..rest }))
    }

    fn verify(
        &self,
        hash: &ProofHash,
        proof: Proof<'_>,
        from: Option<IpAddr>,
        now: UnixSeconds,
    ) -> Result<Held, NoBearer> {
        // Read before: what changes meanwhile makes the entry stale at once.
        let keys = self.keys();
        let verified = match proof {
            Proof::Token(value) => RawToken::from_authorization(value)
                .map_err(|_| NoBearer::Faulty(TokenFault::Malformed))
                .and_then(|token| self.verifier.verify(&token, from, now))
                .map(|bearer| self.passport(bearer)),
            Proof::Link { text, .. } => self.verifier.verify_link(text, from, now).map(|link| self.passport_of(&link)),
        };
        match verified {
            Ok((passport, stand)) => {
                let trusted = TRUST_SECONDS_MAX - jitter(hash, TRUST_SECONDS_MAX / JITTER_PART);
                let until = passport.expires.min(now.plus(trusted));
                let rest = Rest { value: Arc::new(passport), stand, keys, until };
                self.cache.insert(*hash, rest.clone());
                Ok(rest)
            }
            Err(error) => {
                if let NoBearer::Faulty(fault) = error {
                    let until = now.plus(REFUSAL_SECONDS);
                    self.refusals.insert(*hash, Rest { value: fault, stand: Stand::NOWHERE, keys, until });
                }
                Err(error)
            }
        }
    }

    /// Changes whenever a key does: of those that tokens are verified with, or the one that makes pseudonyms, which a
    /// passport is written in. Both only rise.
    fn keys(&self) -> u64 {
        self.verifier.generation().wrapping_add(self.accounts.pseudonyms_generation())
    }

    /// What is known of whoever bears a token, and as of which generations.
    fn passport(&self, bearer: Bearer) -> (Passport, Stand) {
        let pseudonyms = self.accounts.pseudonyms();
        let account = pseudonyms.account(&bearer.account);
        let token = bearer.id.map(|one| pseudonyms.token(&one.issuer, &one.id));
        let is_narrow = bearer.products.is_some() || bearer.components.is_some();
        self.known(Passport {
            account,
            issued: bearer.issued,
            expires: bearer.expires,
            narrowing: is_narrow
                .then(|| Box::new(Narrowing { products: bearer.products, components: bearer.components, path: None })),
            device: bearer.device.map(|device| pseudonyms.device(&device)),
            token,
            is_revoked: false,
            facts: None,
        })
    }

    /// Of whoever has a link.
    fn passport_of(&self, link: &Link) -> (Passport, Stand) {
        let terms = link.terms();
        self.known(Passport {
            account: terms.account,
            issued: Some(terms.issued),
            expires: terms.expires,
            narrowing: Some(Box::new(Narrowing {
                products: terms.product.clone().map(|product| [product].into()),
                components: None,
                path: Some(terms.path.clone()),
            })),
            device: None,
            token: Some(self.accounts.pseudonyms().token(LINK_ISSUER, link.id())),
            is_revoked: false,
            facts: None,
        })
    }

    /// Fills in what the edge knows. The generations are read first, so that what changes meanwhile makes the passport
    /// stale at once.
    fn known(&self, mut passport: Passport) -> (Passport, Stand) {
        let token = passport.token.as_ref();
        let stand = Stand {
            account_slot: accounts::slot(&passport.account),
            token_slot: token.map(revoked::slot),
            account: self.accounts.generation(&passport.account),
            token: token.map_or(0, |token| self.revoked.generation(token)),
        };
        passport.is_revoked = token.is_some_and(|token| self.revoked.contains(token));
        passport.facts = self.accounts.get(&passport.account);
        (passport, stand)
    }

    fn stands(&self, stand: &Stand) -> bool {
        self.accounts.generation_of(stand.account_slot) == stand.account
            && stand.token_slot.is_none_or(|slot| self.revoked.generation_of(slot) == stand.token)
    }

    fn is_current(&self, rest: &Held, now: UnixSeconds) -> bool {
        rest.keys == self.keys() && now < rest.until && self.stands(&rest.stand)
    }
}

impl std::fmt::Debug for Passports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passports").field("held", &self.held()).finish_non_exhaustive()
    }
}

fn presented(proof: Proof<'_>, found: Result<Held, NoBearer>) -> Presented {
    match found {
        Ok(rest) if proof.is_for(&rest.value) => Presented::Known(rest.value),
        Ok(_) => Presented::Elsewhere,
        Err(NoBearer::Faulty(fault)) => Presented::Faulty(fault),
        Err(NoBearer::Busy) => Presented::Busy,
        Err(NoBearer::TooMany { retry_after_seconds }) => Presented::TooMany { retry_after_seconds },
    }
}

/// Less than `below`, the same for the same token.
fn jitter(hash: &ProofHash, below: u64) -> u64 {
    (u64::from(u16::from_le_bytes([hash.0[14], hash.0[15]])) * below) >> 16
}

#[cfg(test)]
mod tests;
