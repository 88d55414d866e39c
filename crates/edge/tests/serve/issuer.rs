//! An issuer of tokens whose signature is a word: what the tests of access need no cryptography for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use penstock_core::entitle::TokenFault;
use penstock_core::link::{Link, RawLink};
use penstock_core::sign::SecretKey;
use penstock_core::time::UnixSeconds;
use penstock_core::token::RawToken;
use penstock_edge::passport::{Bearer, NoBearer, TokenId, Verifier};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The moment in which these tests happen.
pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

#[derive(Debug, Default)]
pub(crate) struct Issuer {
    pub(crate) verifications: AtomicU64,
    pub(crate) keys: AtomicU64,
}

impl Issuer {
    /// The `Authorization` of an account for an hour, with more claims.
    pub(crate) fn bearer(account: &str, more: &Value) -> String {
        let mut claims = json!({"sub": account, "iat": NOW.0, "exp": NOW.0 + 3600});
        for (name, value) in more.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        Self::signed(&claims, "good")
    }

    /// What signs links.
    pub(crate) fn link_key() -> SecretKey {
        SecretKey::from_seed(&[9; 32])
    }

    /// The same, with a signature of one's choice.
    pub(crate) fn signed(claims: &Value, signature: &str) -> String {
        format!("Bearer e30.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }
}

impl Verifier for Issuer {
    fn verify(&self, token: &RawToken, _: Option<IpAddr>, now: UnixSeconds) -> Result<Bearer, NoBearer> {
        self.verifications.fetch_add(1, Ordering::SeqCst);
        if token.signature() != "good" {
            return Err(NoBearer::Faulty(TokenFault::Signature));
        }
        let payload = URL_SAFE_NO_PAD.decode(token.payload()).map_err(|_| NoBearer::Faulty(TokenFault::Malformed))?;
        let claims: Value = serde_json::from_slice(&payload).map_err(|_| NoBearer::Faulty(TokenFault::Claims))?;
        let time = |name: &str| claims[name].as_u64().map(UnixSeconds);
        let names = |name: &str| claims[name].as_array().map(|names| names.iter().filter_map(Value::as_str));
        let expires = time("exp").ok_or(NoBearer::Faulty(TokenFault::Claims))?;
        if expires <= now {
            return Err(NoBearer::Faulty(TokenFault::Expired));
        }
        Ok(Bearer {
            account: claims["sub"].as_str().ok_or(NoBearer::Faulty(TokenFault::Claims))?.to_owned(),
            issued: time("iat"),
            expires,
            products: names("products").map(|names| names.filter_map(|name| name.parse().ok()).collect()),
            components: names("components").map(|names| names.filter_map(|name| name.parse().ok()).collect()),
            device: claims["device"].as_str().map(str::to_owned),
            id: claims["jti"].as_str().map(|id| TokenId { issuer: "test".into(), id: id.to_owned() }),
        })
    }

    fn verify_link(&self, text: &str, _: Option<IpAddr>, now: UnixSeconds) -> Result<Link, NoBearer> {
        self.verifications.fetch_add(1, Ordering::SeqCst);
        RawLink::read(text).and_then(|link| link.verify(&Self::link_key().public(), now)).map_err(NoBearer::Faulty)
    }

    fn generation(&self) -> u64 {
        self.keys.load(Ordering::SeqCst)
    }
}
