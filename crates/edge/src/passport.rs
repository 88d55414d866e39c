//! Who asks: a request's token becomes a [`Passport`], from the cache in about a microsecond, else by verifying it.
//!
//! Owns the entitlement cache. What comes out is an owned `Arc`; no guard of the cache leaves [`cache`], and nothing is
//! awaited. It must not decide: `core::entitle` does, with the passport.
//!
//! A cached passport is believed until its token expires, at most for [`TRUST_SECONDS_MAX`], and only while two
//! generation numbers stand: that of the keys it was verified with, and that of its account. So a change of an account
//! or of the keys takes effect with the next request, and nobody walks the cache for it.

mod accounts;
mod cache;
mod gate;

pub use accounts::Accounts;
pub use gate::TokenGate;

use self::cache::{Cache, Found, TokenHash};
use penstock_core::account::PseudonymKey;
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
    verifier: Arc<dyn Verifier>,
    flights: [Mutex<()>; FLIGHTS],
}

impl Passports {
    /// Passports of at most `bytes_max` bytes of memory. `secret` are random bytes that make the cache's hashes its own, so
    /// that nobody can choose tokens that meet in it.
    #[must_use]
    pub fn new(accounts: Arc<Accounts>, verifier: Arc<dyn Verifier>, secret: [u8; 32], bytes_max: usize) -> Self {
        Self {
            cache: Cache::new(secret, bytes_max),
            refusals: Cache::new(secret, REFUSAL_BYTES_MAX),
            accounts,
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
        let account = self.accounts.pseudonyms().account(&bearer.account);
        Arc::new(passport(bearer, account, self.accounts.pseudonyms(), self.accounts.get(&account)))
    }

    /// How many passports are kept, and how many bytes they are counted as.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        (self.cache.len(), self.cache.bytes())
    }

    fn remembered(&self, hash: &TokenHash, now: UnixSeconds) -> Option<Presented> {
        let keys = self.verifier.generation();
        if let Some(Found { passport: Ok(passport), generation, .. }) = self.cache.get(hash, keys, now) {
            let current = self.accounts.generation(&passport.account);
            if generation == current {
                return Some(Presented::Known(passport));
            }
            let renewed = Arc::new(Passport { facts: self.accounts.get(&passport.account), ..(*passport).clone() });
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
                let account = self.accounts.pseudonyms().account(&bearer.account);
                let generation = self.accounts.generation(&account);
                let passport =
                    Arc::new(passport(bearer, account, self.accounts.pseudonyms(), self.accounts.get(&account)));
                let trusted = TRUST_SECONDS_MAX - jitter(&hash, TRUST_SECONDS_MAX / JITTER_PART);
                let until = passport.expires.min(now.plus(trusted));
                self.cache.insert(hash, Ok(Arc::clone(&passport)), generation, keys, until);
                Presented::Known(passport)
            }
            Err(NoBearer::Busy) => Presented::Busy,
            Err(NoBearer::TooMany { retry_after_seconds }) => Presented::TooMany { retry_after_seconds },
            Err(NoBearer::Faulty(fault)) => {
                self.refusals.insert(hash, Err(fault), 0, keys, now.plus(REFUSAL_SECONDS));
                Presented::Faulty(fault)
            }
        }
    }
}

impl std::fmt::Debug for Passports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passports").field("held", &self.held()).finish_non_exhaustive()
    }
}

fn passport(
    bearer: Bearer,
    account: penstock_core::account::AccountKey,
    pseudonyms: &PseudonymKey,
    facts: Option<Arc<penstock_core::account::AccountFacts>>,
) -> Passport {
    Passport {
        account,
        issued: bearer.issued,
        expires: bearer.expires,
        products: bearer.products,
        components: bearer.components,
        device: bearer.device.map(|device| pseudonyms.device(&device)),
        facts,
    }
}

/// Less than `below`, the same for the same token.
fn jitter(hash: &TokenHash, below: u64) -> u64 {
    (u64::from(u16::from_le_bytes([hash.0[14], hash.0[15]])) * below) >> 16
}

#[cfg(test)]
mod tests;
