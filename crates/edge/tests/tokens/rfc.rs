//! The RFCs' own tokens through the whole of `verify`. Their payloads are not those of player tokens, so that the refusal
//! says how far each got: past its signature, when its text is whole.

use penstock_core::time::UnixSeconds;
use penstock_core::token::RawToken;
use penstock_edge::token::{Issuer, JwksKeys, KeyRing, Part, TokenRefusal, UnknownKey, verify};

/// Before the examples of RFC 7515 expired, in 2011.
const NOW: UnixSeconds = UnixSeconds(1_300_819_000);

fn examples() -> Vec<(String, KeyRing, RawToken)> {
    let examples: Vec<serde_json::Value> = serde_json::from_str(include_str!("rfc.json")).expect("JSON");
    let read = |example: &serde_json::Value| {
        let document = serde_json::json!({"keys": [example["jwk"]]}).to_string();
        let keys = JwksKeys::parse(document.as_bytes()).expect("a set");
        let issuer = Issuer::new("joe", "joe", &["nobody"], 0).expect("an issuer");
        let ring = KeyRing::new(vec![(issuer, keys)]).expect("a ring");
        let token = RawToken::new(example["jws"].as_str().expect("a JWS")).expect("the shape of a token");
        (example["source"].as_str().expect("a source").to_owned(), ring, token)
    };
    examples.iter().map(read).collect()
}

#[test]
fn examples_get_as_far_as_their_claims_let_them() {
    for (source, ring, token) in examples() {
        let expected = if source.starts_with("RFC 7515") {
            TokenRefusal::Claims("aud")
        } else {
            TokenRefusal::Malformed(Part::Payload)
        };
        assert_eq!(verify(&ring, &token, NOW), Err(expected), "{source}");
    }
}

#[test]
fn examples_with_another_signature_are_refused_for_it() {
    let examples = examples();
    let tokens: Vec<_> = examples.iter().filter(|(source, ..)| source.starts_with("RFC 7515")).collect();
    assert_eq!(tokens.len(), 2);
    for (source, ring, token) in &tokens {
        let first = if token.signature().starts_with('A') { "B" } else { "A" };
        let changed = format!("{}.{first}{}", token.signed(), &token.signature()[1..]);
        let changed = RawToken::new(&changed).expect("the shape");
        assert_eq!(verify(ring, &changed, NOW), Err(TokenRefusal::Signature), "{source}");
    }
    // RS256 with a ring of an ES256 key, and the other way round.
    for (one, other) in [(0, 1), (1, 0)] {
        let outcome = verify(&tokens[one].1, &tokens[other].2, NOW);
        assert!(matches!(outcome, Err(TokenRefusal::KeyUnknown(key)) if key_is_nameless(&key)));
    }
}

fn key_is_nameless(key: &UnknownKey) -> bool {
    key.issuer() == "joe" && key.kid().is_none()
}

/// RFC 7515, appendix A.1 (HS256) and A.5 (none, with an empty signature), and appendix E (an unknown `crit`).
#[test]
fn examples_that_must_not_be_accepted() {
    let (_, ring, _) = examples().swap_remove(0);
    let hs256 = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let outcome = verify(&ring, &RawToken::new(hs256).expect("the shape"), NOW).expect_err("refused");
    assert_eq!(outcome.code(), "token_unsupported");
    let none = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";
    assert!(RawToken::new(none).is_err());
    let with_signature = format!("{none}AAAA");
    let outcome = verify(&ring, &RawToken::new(&with_signature).expect("the shape"), NOW).expect_err("refused");
    assert_eq!(outcome.code(), "token_unsupported");
    // {"alg":"none", "crit":["http://example.invalid/UNDEFINED"], "http://example.invalid/UNDEFINED":true}
    let critical = "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.AAAA";
    let outcome = verify(&ring, &RawToken::new(critical).expect("the shape"), NOW).expect_err("refused");
    assert_eq!(outcome.to_string(), "the token's header has an unsupported crit");
}
