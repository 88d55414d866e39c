//! Players: a studio's identity provider with one Ed25519 key, the tokens it gives out, and forgeries of them.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use penstock_core::sign::SecretKey;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Claim `iss` of its tokens.
pub(crate) const ISSUER: &str = "https://id.studio.example";
/// Bytes of a claim that carries nothing. It brings a token to about 700 bytes, what a studio's tokens usually have.
const FILLER_BYTES: usize = 281;
/// Long enough for every measurement.
const LIFE_SECONDS: u64 = 24 * 3600;

/// The provider.
pub(crate) struct Provider {
    key: EncodingKey,
    header: Header,
    public: String,
    now: u64,
}

impl Provider {
    /// A provider with a key of its own.
    pub(crate) fn new() -> Result<Self> {
        let seed = [23; 32];
        // RFC 8410, section 7: what stands before the seed in PKCS #8.
        let head = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some("studio-1".to_owned());
        let public = URL_SAFE_NO_PAD.encode(SecretKey::from_seed(&seed).public().as_bytes());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock after 1970")?.as_secs();
        Ok(Self { key: EncodingKey::from_ed_der(&[&head[..], &seed].concat()), header, public, now })
    }

    /// Writes its key set into `dir`, and says what a node's config needs to believe it.
    pub(crate) fn config(&self, dir: &Path) -> Result<String> {
        let file = dir.join("studio.jwks");
        let key = serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.header.kid, "x": self.public
        });
        std::fs::write(&file, serde_json::json!({ "keys": [key] }).to_string())?;
        let file = toml::Value::from(file.to_str().context("paths are text")?);
        Ok(format!("[[tokens.issuers]]\nname = \"studio\"\niss = \"{ISSUER}\"\naudience = \"games\"\njwks = {file}\n"))
    }

    /// A good token of a player, with an id to be revoked by.
    pub(crate) fn token(&self, player: &str, id: &str) -> Result<String> {
        Ok(jsonwebtoken::encode(&self.header, &self.claims(player, id), &self.key)?)
    }

    /// Makes forgeries: the right header, a payload of their own, a signature that has the right form and was made for
    /// another payload. So every check but the last is passed, and the last one does all its work.
    pub(crate) fn forger(&self) -> Result<impl FnMut() -> String + use<>> {
        let genuine = self.token("somebody", "genuine")?;
        let (signed, signature) = genuine.rsplit_once('.').context("a token has three parts")?;
        let (header, _) = signed.split_once('.').context("a token has three parts")?;
        let (header, signature) = (header.to_owned(), signature.to_owned());
        let mut claims = self.claims("somebody", "");
        let mut made = 0_u64;
        Ok(move || {
            made += 1;
            claims["jti"] = format!("forged-{made:012}").into();
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()))
        })
    }

    fn claims(&self, player: &str, id: &str) -> serde_json::Value {
        serde_json::json!({
            "iss": ISSUER, "aud": "games", "sub": player, "iat": self.now, "exp": self.now + LIFE_SECONDS, "jti": id,
            "session": "s".repeat(FILLER_BYTES)
        })
    }
}

/// The name of a player.
pub(crate) fn name(number: usize) -> String {
    format!("player-{number:07}")
}

/// Tokens of so many players, one each.
pub(crate) fn tokens(provider: &Provider, count: usize) -> Result<Vec<String>> {
    (0..count).map(|number| provider.token(&name(number), &format!("session-{number:07}"))).collect()
}

/// A file for `account import`: so many players, each with one entitlement to each product.
pub(crate) fn csv(path: &Path, players: usize, products: &[&str]) -> Result<()> {
    let mut text = String::from("account,product\n");
    for number in 0..players {
        for product in products {
            writeln!(text, "{},{product}", name(number))?;
        }
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const TOKEN_BYTES: usize = 700;

    #[test]
    fn tokens_have_their_length_and_forgeries_differ_in_the_payload_alone() {
        let provider = Provider::new().expect("a provider");
        let tokens = tokens(&provider, 3).expect("tokens");
        assert!(tokens.iter().all(|token| token.len().abs_diff(TOKEN_BYTES) < 30), "{}", tokens[0].len());
        assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), 3);
        let mut forge = provider.forger().expect("a forger");
        let (one, other) = (forge(), forge());
        assert_ne!(one, other);
        assert!(one.len().abs_diff(TOKEN_BYTES) < 30, "{}", one.len());
        let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parts(&one)[0], parts(&tokens[0])[0]);
        assert_eq!(parts(&one)[2].len(), parts(&tokens[0])[2].len());
    }
}
