//! One door to verification for requests: the bounds first, then the check, then what its outcome is worth remembering.
//!
//! Owns the order. It must not remember claims or refusals: whoever calls it does, and asks only for what it does not
//! know yet.

use super::claims::Claims;
use super::limit::{Failures, Held, VerifyLimit};
use super::refusal::TokenRefusal;
use super::rings::KeyRings;
use super::verify;
use crate::config::Network;
use penstock_core::time::UnixSeconds;
use penstock_core::token::RawToken;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Key rings and bounds, shared by all workers.
#[derive(Debug)]
pub struct Verifier {
    rings: Arc<KeyRings>,
    limit: VerifyLimit,
    failures: Failures,
}

/// A moment on both clocks: the calendar's for tokens, and the one that never jumps for windows.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The calendar.
    pub unix: UnixSeconds,
    /// What never jumps.
    pub instant: Instant,
}

/// Why there are no claims.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoClaims {
    /// The token was not looked at. Says nothing about the token: not to be remembered for it.
    #[error(transparent)]
    Held(#[from] Held),
    /// The token is no good.
    #[error(transparent)]
    Refused(#[from] TokenRefusal),
}

impl NoClaims {
    /// The stable code, for answers, metrics and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Held(held) => held.code(),
            Self::Refused(refusal) => refusal.code(),
        }
    }
}

impl Verifier {
    /// At most `at_once` verifications at once, and `failures_max` failures of an address in a window.
    #[must_use]
    pub fn new(rings: Arc<KeyRings>, at_once: usize, failures_max: u32) -> Self {
        Self { rings, limit: VerifyLimit::new(at_once), failures: Failures::new(failures_max) }
    }

    /// Verifies a token that `from` sent. Addresses in `exempt` have no bound on failures, as they have none on
    /// connections.
    ///
    /// # Errors
    /// [`NoClaims`].
    pub fn verify(&self, token: &RawToken, from: IpAddr, exempt: &[Network], now: Moment) -> Result<Claims, NoClaims> {
        let check = || verify(&self.rings.current(), token, now.unix);
        let verified = self.bounded(from, exempt, now.instant, TokenRefusal::is_failure, check)?;
        if let Err(TokenRefusal::KeyUnknown(key)) = &verified {
            self.rings.note_unknown(key);
        }
        Ok(verified?)
    }

    /// Any check within the same bounds: of what a signature proves, whatever carries it.
    ///
    /// # Errors
    /// [`Held`]: nobody looked.
    pub fn bounded<T, E>(
        &self,
        from: IpAddr,
        exempt: &[Network],
        now: Instant,
        is_failure: impl FnOnce(&E) -> bool,
        check: impl FnOnce() -> Result<T, E>,
    ) -> Result<Result<T, E>, Held> {
        self.failures.check(from, exempt, now)?;
        let _permit = self.limit.begin()?;
        let checked = check();
        if checked.as_ref().is_err_and(is_failure) {
            self.failures.note(from, exempt, now);
        }
        Ok(checked)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn forgeries_are_refused_unheard_and_honest_mistakes_are_not_held_against_anybody() {
        let rings = KeyRings::new(vec![(issuer(), keys(&[ED.jwk("k")]))], Vec::new()).expect("rings");
        let verifier = Verifier::new(Arc::new(rings), 4, 30);
        let address: IpAddr = "192.0.2.7".parse().expect("address");
        let start = Instant::now();
        let code = |token: &RawToken, seconds| {
            let now = Moment { unix: NOW, instant: start + Duration::from_secs(seconds) };
            verifier.verify(token, address, &[], now).map_or_else(|error| error.code(), |_| "good")
        };
        let (good, forged) = (ED.token("k", |_| {}), ed(2).token("k", |_| {}));
        let expired = ED.token("k", |claims| claims["exp"] = json!(1));
        for _ in 0..100 {
            assert_eq!(code(&expired, 0), "token_expired");
        }
        for _ in 0..30 {
            assert_eq!(code(&forged, 1), "token_signature");
        }
        assert_eq!(code(&forged, 2), "token_failures");
        assert_eq!(code(&good, 2), "token_failures", "nothing is looked at any more");
        assert_eq!(code(&good, 61), "good");
        let exempt = ["192.0.2.0/24".parse().expect("network")];
        let now = Moment { unix: NOW, instant: start + Duration::from_secs(2) };
        assert!(verifier.verify(&good, address, &exempt, now).is_ok());
    }

    #[test]
    fn no_place_no_verification_and_no_mark() {
        let rings = KeyRings::new(vec![(issuer(), keys(&[ED.jwk("k")]))], Vec::new()).expect("rings");
        let verifier = Verifier::new(Arc::new(rings), 0, 30);
        let now = Moment { unix: NOW, instant: Instant::now() };
        let address: IpAddr = "192.0.2.7".parse().expect("address");
        let outcome = verifier.verify(&ed(2).token("k", |_| {}), address, &[], now);
        assert_eq!(outcome, Err(NoClaims::Held(Held::Busy)));
        assert_eq!(verifier.failures.peers(), 0);
    }
}
