//! Tokens that this node signs: EdDSA JWS (RFC 7515, RFC 8037) and the key set that verifies them.
//!
//! Minting only; checking a token is the edge's.

use crate::keys::{KeyFileError, random_bytes};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use penstock_core::api::{MintToken, TokenAnswer};
use penstock_core::desk::{Jwk, JwksAnswer};
use penstock_core::id::ProductId;
use penstock_core::limits::{SUBJECT_BYTES_MAX, TOKEN_LIFE_SECONDS_MAX, TOKEN_PRODUCTS_MAX};
use penstock_core::sign::SecretKey;
use penstock_core::time::UnixSeconds;
use std::fmt;

/// Claim `iss` of every token that a node mints.
pub const TOKEN_ISSUER: &str = "penstock";
/// Claim `aud`: names the fleet, so that a token of another service is worth nothing here.
pub const TOKEN_AUDIENCE: &str = "penstock";

/// What precedes an Ed25519 seed in its PKCS #8 form (RFC 8410, section 7).
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Why a token is not minted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The subject is empty, too long or has control characters.
    #[error("sub must have 1 to {max} bytes and no control characters", max = SUBJECT_BYTES_MAX)]
    Subject,
    /// Zero, or longer than allowed.
    #[error("ttl_seconds must be 1 to {max}, not {0}", max = TOKEN_LIFE_SECONDS_MAX)]
    Life(u64),
    /// Too many products to fit a token.
    #[error("products must name at most {max}, not {0}: leave it empty for all that the account is owed", max = TOKEN_PRODUCTS_MAX)]
    Products(usize),
    /// The system gave no random bytes.
    #[error("cannot draw the token's id")]
    Random(#[source] KeyFileError),
    /// The signature failed: a fault of ours.
    #[error("cannot sign the token")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// The claims, as they travel.
#[derive(serde::Serialize)]
struct Claims<'a> {
    iss: &'static str,
    aud: &'static str,
    sub: &'a str,
    iat: u64,
    exp: u64,
    jti: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    products: &'a [ProductId],
}

/// Signs tokens with the node's token key.
pub(crate) struct TokenSigner {
    key: EncodingKey,
    head: Header,
    jwk: Jwk,
}

impl TokenSigner {
    pub(crate) fn new(secret: &SecretKey) -> Self {
        let public = secret.public();
        let pkcs8 = [&PKCS8_HEAD[..], &secret.to_seed()].concat();
        let mut head = Header::new(Algorithm::EdDSA);
        head.kid = Some(public.id().to_string());
        let jwk = Jwk {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: URL_SAFE_NO_PAD.encode(public.as_bytes()),
            kid: public.id().to_string(),
            alg: "EdDSA".to_owned(),
            usage: "sig".to_owned(),
        };
        Self { key: EncodingKey::from_ed_der(&pkcs8), head, jwk }
    }

    /// A token for `wanted.sub`, good from `now` for its `ttl_seconds`.
    pub(crate) fn mint(&self, wanted: &MintToken, now: UnixSeconds) -> Result<TokenAnswer, TokenError> {
        check(wanted)?;
        let id = random_bytes().map_err(TokenError::Random)?;
        let expires = now.plus(wanted.ttl_seconds);
        let claims = Claims {
            iss: TOKEN_ISSUER,
            aud: TOKEN_AUDIENCE,
            sub: &wanted.sub,
            iat: now.0,
            exp: expires.0,
            jti: URL_SAFE_NO_PAD.encode(&id[..16]),
            products: &wanted.products,
        };
        let token = jsonwebtoken::encode(&self.head, &claims, &self.key).map_err(TokenError::Sign)?;
        Ok(TokenAnswer { token, expires })
    }

    /// The public half, for whoever verifies.
    pub(crate) fn jwks(&self) -> JwksAnswer {
        JwksAnswer { keys: vec![self.jwk.clone()] }
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigner").field("key", &"****").field("kid", &self.jwk.kid).finish()
    }
}

fn check(wanted: &MintToken) -> Result<(), TokenError> {
    let sub = &wanted.sub;
    if sub.is_empty() || sub.len() > SUBJECT_BYTES_MAX || sub.chars().any(char::is_control) {
        return Err(TokenError::Subject);
    }
    if wanted.ttl_seconds == 0 || wanted.ttl_seconds > TOKEN_LIFE_SECONDS_MAX {
        return Err(TokenError::Life(wanted.ttl_seconds));
    }
    if wanted.products.len() > TOKEN_PRODUCTS_MAX {
        return Err(TokenError::Products(wanted.products.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};
    use penstock_core::limits::{NAME_BYTES_MAX, TOKEN_BYTES_MAX};

    const NOW: UnixSeconds = UnixSeconds(4_000_000_000);

    fn signer() -> TokenSigner {
        TokenSigner::new(&SecretKey::from_seed(&[9; 32]))
    }

    fn wanted() -> MintToken {
        MintToken { sub: "player-1".to_owned(), products: Vec::new(), ttl_seconds: 900 }
    }

    fn decode(token: &str, jwks: &JwksAnswer) -> jsonwebtoken::errors::Result<serde_json::Value> {
        let key = DecodingKey::from_ed_components(&jwks.keys[0].x)?;
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_audience(&[TOKEN_AUDIENCE]);
        rules.set_issuer(&[TOKEN_ISSUER]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        jsonwebtoken::decode(token, &key, &rules).map(|data| data.claims)
    }

    #[test]
    fn a_minted_token_verifies_with_the_published_key_and_no_other() {
        let signer = signer();
        let mut request = wanted();
        request.products = vec![ProductId::new("game").expect("name")];
        let answer = signer.mint(&request, NOW).expect("minted");
        assert_eq!(answer.expires, NOW.plus(900));
        let claims = decode(&answer.token, &signer.jwks()).expect("verifies");
        assert_eq!(claims["sub"], "player-1");
        assert_eq!(claims["iat"], NOW.0);
        assert_eq!(claims["exp"], NOW.0 + 900);
        assert_eq!(claims["products"], serde_json::json!(["game"]));
        let head = jsonwebtoken::decode_header(&answer.token).expect("head");
        assert_eq!((head.alg, head.kid.as_deref()), (Algorithm::EdDSA, Some(signer.jwks().keys[0].kid.as_str())));
        let stranger = TokenSigner::new(&SecretKey::from_seed(&[8; 32])).jwks();
        assert!(decode(&answer.token, &stranger).is_err());
        let again = signer.mint(&request, NOW).expect("minted");
        assert_ne!(answer.token, again.token, "each token has an id of its own");
    }

    #[test]
    fn a_token_without_limits_says_nothing_about_products() {
        let signer = signer();
        let claims = decode(&signer.mint(&wanted(), NOW).expect("minted").token, &signer.jwks()).expect("verifies");
        assert!(claims.get("products").is_none());
    }

    #[test]
    fn impossible_wishes_are_refused_and_the_largest_possible_one_fits() {
        let refused = |change: fn(&mut MintToken)| {
            let mut request = wanted();
            change(&mut request);
            signer().mint(&request, NOW).expect_err("refused")
        };
        assert!(matches!(refused(|r| r.sub.clear()), TokenError::Subject));
        assert!(matches!(refused(|r| r.sub = "a\nb".to_owned()), TokenError::Subject));
        assert!(matches!(refused(|r| r.sub = "x".repeat(SUBJECT_BYTES_MAX + 1)), TokenError::Subject));
        assert!(matches!(refused(|r| r.ttl_seconds = 0), TokenError::Life(0)));
        assert!(matches!(refused(|r| r.ttl_seconds = u64::MAX), TokenError::Life(u64::MAX)));
        let name = "p".repeat(NAME_BYTES_MAX);
        let mut largest = wanted();
        largest.sub = "\"".repeat(SUBJECT_BYTES_MAX);
        largest.products = vec![ProductId::new(&name).expect("name"); TOKEN_PRODUCTS_MAX];
        assert!(signer().mint(&largest, NOW).expect("minted").token.len() <= TOKEN_BYTES_MAX);
        largest.products.push(ProductId::new(&name).expect("name"));
        assert!(matches!(signer().mint(&largest, NOW), Err(TokenError::Products(_))));
    }

    #[test]
    fn the_signer_prints_no_key() {
        let printed = format!("{:?}", signer());
        assert!(printed.contains("****") && !printed.contains(&URL_SAFE_NO_PAD.encode([9u8; 32])));
    }
}
