//! Verified claims become bearers: the one place where the cache and the cryptography meet.

use super::{Bearer, NoBearer, TokenId, Verifier};
use crate::config::Network;
use crate::token::{self, Claims, Held, KeyRings, Moment, NoClaims, TokenRefusal};
use arc_swap::ArcSwap;
use penstock_core::entitle::TokenFault;
use penstock_core::keys::PublicKey;
use penstock_core::link::{Link, RawLink};
use penstock_core::time::UnixSeconds;
use penstock_core::token::RawToken;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Verifications at once: each takes a core for about 50 µs, so more would only wait for one.
const AT_ONCE_MAX: usize = 64;
/// Stands for whoever has no address.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Verifies tokens with the key rings of a node, within bounds.
pub struct TokenGate {
    rings: Arc<KeyRings>,
    verifier: token::Verifier,
    /// Keys of whoever signs links.
    links: ArcSwap<Vec<PublicKey>>,
    /// Rises with every change of them.
    link_changes: AtomicU64,
    /// Networks whose failures are not counted.
    exempt: ArcSwap<Vec<Network>>,
    /// The network of [`LOCAL`].
    local: Vec<Network>,
    /// What stands before an issuer's subjects in the names of accounts, by the issuer's name.
    prefixes: HashMap<String, String>,
}

impl TokenGate {
    /// A gate over these keys. Addresses in `exempt` may fail as often as they like; `prefixes` say what stands before an
    /// issuer's subjects in the names of accounts.
    #[must_use]
    pub fn new(rings: Arc<KeyRings>, exempt: Vec<Network>, prefixes: HashMap<String, String>) -> Self {
        let verifier = token::Verifier::new(Arc::clone(&rings), AT_ONCE_MAX, token::FAILURES_MAX_DEFAULT);
        let local = "127.0.0.0/8".parse().into_iter().collect();
        let (links, link_changes) = (ArcSwap::default(), AtomicU64::new(0));
        Self { rings, verifier, links, link_changes, exempt: ArcSwap::from_pointee(exempt), local, prefixes }
    }

    /// Takes other keys of links. What was signed with one that is gone counts no more.
    pub fn set_link_keys(&self, keys: Vec<PublicKey>) {
        if **self.links.load() != keys {
            self.links.store(Arc::new(keys));
            // Only now: whoever sees the new number verifies with the new keys.
            self.link_changes.fetch_add(1, Ordering::Release);
        }
    }

    /// Takes other networks to exempt.
    pub fn exempt(&self, networks: Vec<Network>) {
        self.exempt.store(Arc::new(networks));
    }
}

impl Verifier for TokenGate {
    fn verify(&self, token: &RawToken, from: Option<IpAddr>, now: UnixSeconds) -> Result<Bearer, NoBearer> {
        let moment = Moment { unix: now, instant: Instant::now() };
        let verified = match from {
            Some(address) => self.verifier.verify(token, address, &self.exempt.load(), moment),
            // Whoever has no address is on this machine, and may fail as often as it likes.
            None => self.verifier.verify(token, LOCAL, &self.local, moment),
        };
        verified.map(|claims| self.bearer(claims)).map_err(no_bearer)
    }

    fn verify_link(&self, text: &str, from: Option<IpAddr>, now: UnixSeconds) -> Result<Link, NoBearer> {
        let check = || {
            let link = RawLink::read(text)?;
            let keys = self.links.load();
            let key = keys.iter().find(|key| key.id() == link.key()).ok_or(TokenFault::KeyUnknown)?;
            link.verify(key, now)
        };
        let instant = Instant::now();
        let checked = match from {
            Some(address) => self.verifier.bounded(address, &self.exempt.load(), instant, is_failure, check),
            None => self.verifier.bounded(LOCAL, &self.local, instant, is_failure, check),
        };
        checked.map_err(held)?.map_err(NoBearer::Faulty)
    }

    fn generation(&self) -> u64 {
        // Both only rise.
        self.rings.generation() + self.link_changes.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for TokenGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenGate").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

impl TokenGate {
    fn bearer(&self, claims: Claims) -> Bearer {
        let prefix = self.prefixes.get(&*claims.issuer).map_or("", String::as_str);
        Bearer {
            account: format!("{prefix}{}", claims.subject),
            issued: claims.issued_at,
            expires: claims.refused_from,
            products: claims.products.map(Into::into),
            components: claims.components.map(Into::into),
            device: claims.device,
            id: claims.id.map(|id| TokenId { issuer: claims.iss, id }),
        }
    }
}

const fn held(reason: Held) -> NoBearer {
    match reason {
        Held::Busy => NoBearer::Busy,
        Held::Failures { retry_after_seconds } => NoBearer::TooMany { retry_after_seconds },
    }
}

/// Whether a link that is worth nothing counts against its sender's address: as for tokens, all but one that was signed.
const fn is_failure(fault: &TokenFault) -> bool {
    matches!(fault, TokenFault::Malformed | TokenFault::KeyUnknown | TokenFault::Signature)
}

fn no_bearer(error: NoClaims) -> NoBearer {
    match error {
        NoClaims::Held(reason) => held(reason),
        NoClaims::Refused(refusal) => NoBearer::Faulty(match refusal {
            TokenRefusal::Malformed(_) => TokenFault::Malformed,
            TokenRefusal::Unsupported(_) => TokenFault::Unsupported,
            TokenRefusal::Issuer => TokenFault::Issuer,
            TokenRefusal::KeyUnknown(_) => TokenFault::KeyUnknown,
            TokenRefusal::Signature => TokenFault::Signature,
            TokenRefusal::Claims(_) => TokenFault::Claims,
            TokenRefusal::Audience => TokenFault::Audience,
            TokenRefusal::Expired => TokenFault::Expired,
            TokenRefusal::NotYetValid => TokenFault::NotYetValid,
        }),
    }
}
