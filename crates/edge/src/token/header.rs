//! A token's protected header: which algorithm, which key, and nothing that we do not do.
//!
//! Owns the rules of RFC 7515, section 4, and RFC 8725 about headers. Keys that a header carries or points at (`jwk`,
//! `jku`, `x5u`, `x5c`) are ignored: a token does not say which key proves it.

use super::json::{Json, Object, object};
use super::key::Algorithm;
use super::refusal::{Member, Part, TokenRefusal};
use super::{KID_BYTES_MAX, decode};

/// What a header says.
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
}

impl Header {
    pub(super) fn read(encoded: &str) -> Result<Self, TokenRefusal> {
        let malformed = TokenRefusal::Malformed(Part::Header);
        let bytes = decode(encoded).ok_or(malformed.clone())?;
        let mut members = object(&bytes).ok_or(malformed.clone())?;
        if members.contains_key("crit") {
            return Err(TokenRefusal::Unsupported(Member::Critical));
        }
        if members.get("b64").is_some_and(|b64| *b64 != Json::Flag(true)) {
            return Err(TokenRefusal::Unsupported(Member::Unencoded));
        }
        if !is_ours(&members)? {
            return Err(TokenRefusal::Unsupported(Member::Type));
        }
        let algorithm = members.get("alg").and_then(Json::as_text).ok_or(malformed.clone())?;
        let algorithm = Algorithm::named(algorithm).ok_or(TokenRefusal::Unsupported(Member::Algorithm))?;
        let kid = match members.remove("kid") {
            None => None,
            Some(Json::Text(kid)) if (1..=KID_BYTES_MAX).contains(&kid.len()) => Some(kid),
            Some(_) => return Err(malformed),
        };
        Ok(Self { algorithm, kid })
    }
}

/// Whether `typ` is absent or that of an access token: `JWT`, or `at+jwt` (RFC 9068), in any case, with or without the
/// `application/` that RFC 7515, section 4.1.9, says to leave out.
fn is_ours(members: &Object) -> Result<bool, TokenRefusal> {
    const PREFIX: &str = "application/";
    let Some(kind) = members.get("typ") else { return Ok(true) };
    let kind = kind.as_text().ok_or(TokenRefusal::Malformed(Part::Header))?;
    let short = match kind.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => kind,
    };
    Ok(["jwt", "at+jwt"].iter().any(|ours| short.eq_ignore_ascii_case(ours)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    fn read(text: &str) -> Result<(Algorithm, Option<String>), TokenRefusal> {
        Header::read(&URL_SAFE_NO_PAD.encode(text)).map(|header| (header.algorithm, header.kid))
    }

    #[test]
    fn good_headers() {
        let kid = || Some("k".to_owned());
        for (text, expected) in [
            (r#"{"alg":"EdDSA"}"#, (Algorithm::EdDsa, None)),
            (r#"{"alg":"ES256","kid":"k"}"#, (Algorithm::Es256, kid())),
            (r#"{"typ":"JWT","alg":"RS256","kid":"k"}"#, (Algorithm::Rs256, kid())),
            (r#"{"typ":"application/AT+jwt","alg":"RS256"}"#, (Algorithm::Rs256, None)),
            (r#"{"typ":"At+Jwt","alg":"RS256","b64":true}"#, (Algorithm::Rs256, None)),
            // Never used, so that what they hold does not matter.
            (r#"{"alg":"EdDSA","jku":"http://evil","jwk":{"kty":"oct"},"x5c":[1],"x5u":""}"#, (Algorithm::EdDsa, None)),
            (r#"{"alg":"EdDSA","cty":"x","x-own":null}"#, (Algorithm::EdDsa, None)),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bad_headers() {
        let malformed = TokenRefusal::Malformed(Part::Header);
        let unsupported = TokenRefusal::Unsupported;
        let long = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, "k".repeat(KID_BYTES_MAX + 1));
        for (text, expected) in [
            ("", malformed.clone()),
            ("[]", malformed.clone()),
            (r#"{"alg":"EdDSA"}x"#, malformed.clone()),
            ("{}", malformed.clone()),
            (r#"{"alg":null}"#, malformed.clone()),
            (r#"{"alg":["EdDSA"]}"#, malformed.clone()),
            (r#"{"alg":"EdDSA","alg":"EdDSA"}"#, malformed.clone()),
            (r#"{"alg":"EdDSA","kid":"a","kid":"b"}"#, malformed.clone()),
            (r#"{"alg":"EdDSA","x":1,"x":1}"#, malformed.clone()),
            (r#"{"alg":"EdDSA","kid":7}"#, malformed.clone()),
            (r#"{"alg":"EdDSA","kid":null}"#, malformed.clone()),
            (r#"{"alg":"EdDSA","kid":""}"#, malformed.clone()),
            (r#"{"alg":"EdDSA","typ":1}"#, malformed.clone()),
            (&long, malformed),
            (r#"{"alg":"none"}"#, unsupported(Member::Algorithm)),
            (r#"{"alg":"None"}"#, unsupported(Member::Algorithm)),
            (r#"{"alg":"HS256"}"#, unsupported(Member::Algorithm)),
            (r#"{"alg":"eddsa"}"#, unsupported(Member::Algorithm)),
            (r#"{"alg":"ES256K"}"#, unsupported(Member::Algorithm)),
            (r#"{"alg":"PS256"}"#, unsupported(Member::Algorithm)),
            (r#"{"alg":""}"#, unsupported(Member::Algorithm)),
            (r#"{"alg":"EdDSA","crit":["exp"],"exp":1}"#, unsupported(Member::Critical)),
            (r#"{"alg":"EdDSA","crit":[]}"#, unsupported(Member::Critical)),
            (r#"{"alg":"EdDSA","crit":null}"#, unsupported(Member::Critical)),
            (r#"{"alg":"EdDSA","b64":false}"#, unsupported(Member::Unencoded)),
            (r#"{"alg":"EdDSA","b64":0}"#, unsupported(Member::Unencoded)),
            (r#"{"alg":"EdDSA","typ":"dpop+jwt"}"#, unsupported(Member::Type)),
            (r#"{"alg":"EdDSA","typ":"application/application/jwt"}"#, unsupported(Member::Type)),
            (r#"{"alg":"EdDSA","typ":""}"#, unsupported(Member::Type)),
        ] {
            assert_eq!(read(text), Err(expected), "{text}");
        }
    }
}
