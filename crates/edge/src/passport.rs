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
mod revoked;

pub use accounts::Accounts;
pub use gate::TokenGate;
pub use revoked::Revoked;

use self::cache::{Cache, Found, Generations, TokenHash};
use penstock_core::account::{AccountKey, TokenKey};
use penstock_core::entitle::{Passport, TokenFault};
use penstock_core::id::{ComponentName, ProductId};
use penstock_core::time::UnixSeconds;
use penstock_core::token::RawToken;
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
    /// Changes whenever a key is added or removed.
    fn generation(&self) -> u64;
}

/// The answer to "who asks".
#[derive(Debug, Clone)]
pub enum Presented {
    /// Somebody known.
    Known(Arc<Passport>),
    /// Somebody with a token that is worth nothing.
    Faulty(TokenFault),
    /// Nobody knows: too many tokens are being verified.
    Busy,
    /// Nobody knows: too many tokens from that address were worth nothing.
    TooMany {
        /// When it may be tried again, in seconds.
        retry_after_seconds: u64,
    },
}

/// The passports of a node. One for all workers.
pub struct Passports {
    cache: Cache,
    refusals: Cache,
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
            cache: Cache::new(secret, bytes_max),
            refusals: Cache::new(secret, REFUSAL_BYTES_MAX),
            accounts,
            revoked,
            verifier,
            flights: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Who asks with this value of `Authorization`.
    #[must_use]
    pub fn of(&self, authorization: &[u8], from: Option<IpAddr>, now: UnixSeconds) -> Presented {
        let hash = self.cache.hash(authorization);
        if let Some(presented) = self.remembered(&hash, now) {
            return presented;
        }
        // One verification for all who wait. Nothing is awaited under the lock, so nobody can go away with it.
        let flight = &self.flights[usize::from(hash.0[8]) % FLIGHTS];
        let _flying = flight.lock().unwrap_or_else(PoisonError::into_inner);
        self.remembered(&hash, now).unwrap_or_else(|| self.verify(hash, authorization, from, now))
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

    fn remembered(&self, hash: &TokenHash, now: UnixSeconds) -> Option<Presented> {
        let keys = self.verifier.generation();
        if let Some(Found { passport: Ok(passport), read_at }) = self.cache.get(hash, keys, now) {
            let current = self.generations(&passport.account, passport.token.as_ref());
            if read_at == current {
                return Some(Presented::Known(passport));
            }
            let renewed = Arc::new(Passport {
                is_revoked: passport.token.is_some_and(|token| self.revoked.contains(&token)),
                facts: self.accounts.get(&passport.account),
                ..(*passport).clone()
            });
            self.cache.renew(hash, Arc::clone(&renewed), current);
            return Some(Presented::Known(renewed));
        }
        match self.refusals.get(hash, keys, now)?.passport {
            Err(fault) => Some(Presented::Faulty(fault)),
            Ok(passport) => Some(Presented::Known(passport)),
        }
    }

    fn verify(&self, hash: TokenHash, authorization: &[u8], from: Option<IpAddr>, now: UnixSeconds) -> Presented {
        // Read before: what changes meanwhile makes the entry stale at once.
        let keys = self.verifier.generation();
        let token = RawToken::from_authorization(authorization).map_err(|_| NoBearer::Faulty(TokenFault::Malformed));
        match token.and_then(|token| self.verifier.verify(&token, from, now)) {
            Ok(bearer) => {
                let (passport, read_at) = self.passport(bearer);
                let passport = Arc::new(passport);
                let trusted = TRUST_SECONDS_MAX - jitter(&hash, TRUST_SECONDS_MAX / JITTER_PART);
                let until = passport.expires.min(now.plus(trusted));
                self.cache.insert(hash, Ok(Arc::clone(&passport)), read_at, keys, until);
                Presented::Known(passport)
            }
            Err(NoBearer::Busy) => Presented::Busy,
            Err(NoBearer::TooMany { retry_after_seconds }) => Presented::TooMany { retry_after_seconds },
            Err(NoBearer::Faulty(fault)) => {
                self.refusals.insert(hash, Err(fault), Generations::default(), keys, now.plus(REFUSAL_SECONDS));
                Presented::Faulty(fault)
            }
        }
    }

    /// What is known of whoever bears it, and as of which generations: they are read first, so that what changes meanwhile
    /// makes the passport stale at once.
    fn passport(&self, bearer: Bearer) -> (Passport, Generations) {
        let pseudonyms = self.accounts.pseudonyms();
        let account = pseudonyms.account(&bearer.account);
        let token = bearer.id.map(|one| pseudonyms.token(&one.issuer, &one.id));
        let read_at = self.generations(&account, token.as_ref());
        let passport = Passport {
            account,
            issued: bearer.issued,
            expires: bearer.expires,
            products: bearer.products,
            components: bearer.components,
            device: bearer.device.map(|device| pseudonyms.device(&device)),
            token,
            is_revoked: token.is_some_and(|token| self.revoked.contains(&token)),
            facts: self.accounts.get(&account),
        };
        (passport, read_at)
    }

    fn generations(&self, account: &AccountKey, token: Option<&TokenKey>) -> Generations {
        Generations {
            account: self.accounts.generation(account),
            token: token.map_or(0, |token| self.revoked.generation(token)),
        }
    }
}

impl std::fmt::Debug for Passports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passports").field("held", &self.held()).finish_non_exhaustive()
    }
}

/// Less than `below`, the same for the same token.
fn jitter(hash: &TokenHash, below: u64) -> u64 {
    (u64::from(u16::from_le_bytes([hash.0[14], hash.0[15]])) * below) >> 16
}

#[cfg(test)]
mod tests;
