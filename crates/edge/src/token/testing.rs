//! Issuers for tests: keys of each algorithm, the sets they publish and the tokens they sign.

use super::{Issuer, JwksKeys, KeyRing};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use penstock_core::sign::SecretKey;
use penstock_core::time::UnixSeconds;
use penstock_core::token::RawToken;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// When tests happen.
pub(super) const NOW: UnixSeconds = UnixSeconds(2_000_000_000);
/// The `iss` of the tests' own issuer.
pub(super) const ISS: &str = "https://idp.example/";

/// A key pair.
pub(super) enum Signer {
    Ed(SecretKey),
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

pub(super) static ED: LazyLock<Signer> = LazyLock::new(|| ed(1));
pub(super) static EC: LazyLock<Signer> =
    LazyLock::new(|| Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")));
pub(super) static RSA: LazyLock<Signer> =
    LazyLock::new(|| Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")));

pub(super) fn ed(seed: u8) -> Signer {
    Signer::Ed(SecretKey::from_seed(&[seed; 32]))
}

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub(super) const fn alg(&self) -> &'static str {
        match self {
            Self::Ed(_) => "EdDSA",
            Self::Ec(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed(key) => key.sign(message).to_vec(),
            Self::Ec(key) => key.sign(&SystemRandom::new(), message).expect("signed").as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("signed");
                signature
            }
        }
    }

    /// The public half.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Ed(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(key.public().as_bytes()), "kid": kid}),
            Self::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y), "kid": kid, "alg": "ES256"})
            }
            Self::Rsa(key) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"kty": "RSA", "n": b64(public.n), "e": b64(public.e), "kid": kid, "use": "sig"})
            }
        }
    }

    /// A token with this header and payload, whatever they are.
    pub(super) fn token_of(&self, header: &str, payload: &str) -> RawToken {
        let signed = format!("{}.{}", b64(header), b64(payload));
        let signature = b64(self.sign(signed.as_bytes()));
        RawToken::new(&format!("{signed}.{signature}")).expect("the shape of a token")
    }

    /// A token as it should be, but for `change`.
    pub(super) fn token(&self, kid: &str, change: impl FnOnce(&mut Value)) -> RawToken {
        let mut claims = claims();
        change(&mut claims);
        self.token_of(&json!({"alg": self.alg(), "kid": kid, "typ": "JWT"}).to_string(), &claims.to_string())
    }
}

/// Claims as they should be.
pub(super) fn claims() -> Value {
    json!({"iss": ISS, "aud": "fleet", "sub": "player-1", "exp": NOW.0 + 600, "iat": NOW.0, "nbf": NOW.0})
}

pub(super) fn issuer() -> Issuer {
    Issuer::new("idp", ISS, &["fleet", "other"], 30).expect("an issuer")
}

pub(super) fn set(keys: &[Value]) -> Vec<u8> {
    json!({"keys": keys}).to_string().into_bytes()
}

pub(super) fn keys(keys: &[Value]) -> JwksKeys {
    JwksKeys::parse(&set(keys)).expect("a key set")
}

/// The tests' issuer with these keys.
pub(super) fn ring(of: &[Value]) -> KeyRing {
    KeyRing::new(vec![(issuer(), keys(of))]).expect("a ring")
}
