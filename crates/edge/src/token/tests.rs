//! The whole walk of a token: which refusal for which fault, and every known trick.

use super::testing::*;
use super::*;
use penstock_core::sign::SecretKey;
use proptest::prelude::*;
use serde_json::json;

fn refused(ring: &KeyRing, token: &RawToken) -> TokenRefusal {
    verify(ring, token, NOW).expect_err("refused")
}

#[test]
fn a_good_token_of_each_algorithm() {
    let ring = ring(&[ED.jwk("ed"), EC.jwk("ec"), RSA.jwk("rsa")]);
    for (signer, kid) in [(&*ED, "ed"), (&*EC, "ec"), (&*RSA, "rsa")] {
        let claims = verify(&ring, &signer.token(kid, |_| {}), NOW).expect(kid);
        assert_eq!((&*claims.issuer, claims.subject.as_str(), &*claims.key_id), ("idp", "player-1", kid));
        assert_eq!((claims.expires, claims.refused_from), (NOW.plus(600), NOW.plus(630)));
        assert_eq!((claims.not_before, claims.issued_at), (Some(NOW), Some(NOW)));
        assert_eq!((claims.products, claims.components, claims.device), (None, None, None));
    }
}

/// Control mints as `crates/control/src/token.rs` says: its issuer, audience, key id and algorithm.
#[test]
fn a_token_of_control() {
    let secret = SecretKey::from_seed(&[7; 32]);
    let ring = KeyRing::new(vec![(Issuer::control(), JwksKeys::of_control(&secret.public()))]).expect("a ring");
    let kid = secret.public().id().to_string();
    let token = Signer::Ed(secret).token(&kid, |claims| {
        claims["iss"] = json!("penstock");
        claims["aud"] = json!("penstock");
        claims["products"] = json!(["game"]);
    });
    let claims = verify(&ring, &token, NOW).expect("good");
    assert_eq!((&*claims.issuer, &*claims.key_id), ("penstock", kid.as_str()));
    assert_eq!(claims.products.expect("narrowed")[0].as_str(), "game");
}

/// RFC 8725, section 2.1. The classic: an HMAC whose secret is the public key, which every client of the issuer has.
#[test]
fn a_public_key_is_no_secret() {
    let ring = ring(&[RSA.jwk("k")]);
    let public = URL_SAFE_NO_PAD.decode(RSA.jwk("k")["n"].as_str().expect("n")).expect("base64url");
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
    for alg in ["HS256", "RS256", "none", "nOnE"] {
        let signed = format!("{}.{}", b64(json!({"alg": alg, "kid": "k"}).to_string()), b64(claims().to_string()));
        let tag = aws_lc_rs::hmac::sign(&secret, signed.as_bytes());
        let token = RawToken::new(&format!("{signed}.{}", b64(tag))).expect("a token");
        let expected =
            if alg == "RS256" { TokenRefusal::Signature } else { TokenRefusal::Unsupported(Member::Algorithm) };
        assert_eq!(refused(&ring, &token), expected, "{alg}");
    }
}

#[test]
fn a_key_verifies_its_own_algorithm_only() {
    let ring = ring(&[RSA.jwk("k"), ED.jwk("ed")]);
    // The attacker has a P-256 key and the name of an RSA key.
    assert_eq!(refused(&ring, &EC.token("k", |_| {})), TokenRefusal::Unsupported(Member::Algorithm));
    let claims = claims().to_string();
    assert_eq!(refused(&ring, &EC.token_of(r#"{"alg":"RS256","kid":"k"}"#, &claims)), TokenRefusal::Signature);
    assert_eq!(refused(&ring, &EC.token_of(r#"{"alg":"EdDSA","kid":"ed"}"#, &claims)), TokenRefusal::Signature);
    // The right key under the name of another algorithm.
    let other = refused(&ring, &RSA.token_of(r#"{"alg":"ES256","kid":"k"}"#, &claims));
    assert_eq!(other, TokenRefusal::Unsupported(Member::Algorithm));
}

#[test]
fn a_key_in_the_header_is_not_used() {
    let ring = ring(&[ED.jwk("k")]);
    let stranger = ed(9);
    let header = json!({"alg": "EdDSA", "kid": "k", "jwk": stranger.jwk("k"), "jku": "https://evil.example/keys"});
    assert_eq!(refused(&ring, &stranger.token_of(&header.to_string(), &claims().to_string())), TokenRefusal::Signature);
    assert!(verify(&ring, &ED.token_of(&header.to_string(), &claims().to_string()), NOW).is_ok());
}

#[test]
fn keys_are_chosen_by_their_name() {
    let ring = ring(&[ED.jwk("a"), ed(2).jwk("b")]);
    assert!(verify(&ring, &ed(2).token("b", |_| {}), NOW).is_ok());
    assert_eq!(refused(&ring, &ed(2).token("a", |_| {})), TokenRefusal::Signature);
    let TokenRefusal::KeyUnknown(key) = refused(&ring, &ed(2).token("c", |_| {})) else { panic!("unknown") };
    assert_eq!((key.issuer(), key.kid()), ("idp", Some("c")));
    // Names are compared byte by byte.
    assert!(matches!(refused(&ring, &ED.token("A", |_| {})), TokenRefusal::KeyUnknown(_)));
}

#[test]
fn a_token_without_a_key_id_is_tried_with_a_few_keys() {
    let header = r#"{"alg":"EdDSA"}"#;
    let published: Vec<_> = (1..=6).map(|seed| ed(seed).jwk(&format!("k{seed}"))).chain([EC.jwk("ec")]).collect();
    let ring = ring(&published);
    let outcome =
        |seed| verify(&ring, &ed(seed).token_of(header, &claims().to_string()), NOW).map(|claims| claims.key_id);
    for seed in 1..=4 {
        assert_eq!(outcome(seed).as_deref(), Ok(&*format!("k{seed}")));
    }
    assert_eq!(outcome(5), Err(TokenRefusal::Signature), "more than {KEYS_TRIED_MAX} are not tried");
    let TokenRefusal::KeyUnknown(key) = refused(&ring, &RSA.token_of(r#"{"alg":"RS256"}"#, &claims().to_string()))
    else {
        panic!("no RSA key at all");
    };
    assert_eq!(key.kid(), None);
}

#[test]
fn an_issuer_proves_its_own_tokens_only() {
    let other = Issuer::new("other", "https://other.example", &["fleet"], 0).expect("an issuer");
    let issuers = vec![(issuer(), keys(&[ED.jwk("k")])), (other, keys(&[ed(2).jwk("k")]))];
    let ring = KeyRing::new(issuers).expect("a ring");
    assert!(verify(&ring, &ED.token("k", |_| {}), NOW).is_ok());
    let as_other = |claims: &mut serde_json::Value| claims["iss"] = json!("https://other.example");
    assert_eq!(&*verify(&ring, &ed(2).token("k", as_other), NOW).expect("good").issuer, "other");
    assert_eq!(refused(&ring, &ED.token("k", as_other)), TokenRefusal::Signature);
    assert_eq!(refused(&ring, &ed(2).token("k", |_| {})), TokenRefusal::Signature);
    for iss in ["https://idp.example", "HTTPS://idp.example/", "idp", ""] {
        assert_eq!(refused(&ring, &ED.token("k", |claims| claims["iss"] = json!(iss))), TokenRefusal::Issuer, "{iss}");
    }
    let list = |claims: &mut serde_json::Value| claims["iss"] = json!([ISS]);
    assert_eq!(refused(&ring, &ED.token("k", list)), TokenRefusal::Claims("iss"));
}

#[test]
fn two_issuers_of_one_name_are_refused() {
    let same_iss = Issuer::new("second", ISS, &["a"], 0).expect("an issuer");
    let error = KeyRing::new(vec![(issuer(), JwksKeys::default()), (same_iss, JwksKeys::default())]);
    assert_eq!(error.expect_err("refused"), KeyRingError::Duplicate("second".to_owned()));
    let many = (0..=ISSUERS_MAX)
        .map(|n| (Issuer::new(&n.to_string(), &n.to_string(), &["a"], 0).expect("an issuer"), JwksKeys::default()));
    assert_eq!(KeyRing::new(many.collect()).expect_err("refused"), KeyRingError::TooMany(ISSUERS_MAX + 1));
}

#[test]
fn parts_that_are_not_what_they_should_be() {
    let ring = ring(&[ED.jwk("k")]);
    let header = r#"{"alg":"EdDSA","kid":"k"}"#;
    let payload = TokenRefusal::Malformed(Part::Payload);
    for text in ["[]", "1", "\"x\"", "null", "{}{}", "{", "{\"iss\":1,\"iss\":1}", "\u{feff}{}"] {
        assert_eq!(refused(&ring, &ED.token_of(header, text)), payload, "{text}");
    }
    let twice = claims().to_string().replacen('{', r#"{"sub":"admin","#, 1);
    assert_eq!(refused(&ring, &ED.token_of(header, &twice)), payload, "a claim twice");
    let behind = format!("{}x", claims());
    assert_eq!(refused(&ring, &ED.token_of(header, &behind)), payload, "trailing bytes");
    assert_eq!(refused(&ring, &ED.token_of(header, "{}")), TokenRefusal::Claims("iss"));
    let twice = ED.token_of(r#"{"alg":"EdDSA","kid":"k","kid":"k"}"#, &claims().to_string());
    assert_eq!(refused(&ring, &twice), TokenRefusal::Malformed(Part::Header));
    let critical = ED.token_of(r#"{"alg":"EdDSA","kid":"k","crit":["x"],"x":1}"#, &claims().to_string());
    assert_eq!(refused(&ring, &critical), TokenRefusal::Unsupported(Member::Critical));
    let unencoded = ED.token_of(r#"{"alg":"EdDSA","kid":"k","b64":false}"#, &claims().to_string());
    assert_eq!(refused(&ring, &unencoded), TokenRefusal::Unsupported(Member::Unencoded));
}

/// Base64url's last digit may hold bits that belong to no byte. If they could be set, one token would have several texts,
/// and a list of revoked tokens would miss some of them.
#[test]
fn a_token_has_one_text() {
    let ring = ring(&[ED.jwk("k")]);
    let token = ED.token("k", |_| {});
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (part, encoded) in [token.header(), token.payload(), token.signature()].into_iter().enumerate() {
        // A signature has 64 bytes, so that its last digit has four bits to spare.
        for digit in digits {
            let changed = format!("{}{}", &encoded[..encoded.len() - 1], char::from(*digit));
            let mut parts = [token.header(), token.payload(), token.signature()];
            parts[part] = &changed;
            let text = parts.join(".");
            let outcome = verify(&ring, &RawToken::new(&text).expect("the shape"), NOW);
            assert_eq!(outcome.is_ok(), text == token.reveal(), "part {part}, digit {digit}");
        }
    }
}

#[test]
fn nothing_prints_what_a_token_says() {
    let ring = ring(&[ED.jwk("k-public")]);
    let token = ED.token("k-public", |claims| {
        claims["sub"] = json!("secret-player");
        claims["device"] = json!("secret-device");
    });
    let printed = format!("{:?}", verify(&ring, &token, NOW).expect("good"));
    assert!(printed.contains("idp") && printed.contains("k-public") && !printed.contains("secret"), "{printed}");
    let texts = [
        ED.token("secret-kid", |_| {}),
        ED.token("k-public", |claims| claims["iss"] = json!("secret-iss")),
        ED.token("k-public", |claims| claims["aud"] = json!("secret-aud")),
        ED.token("k-public", |claims| claims["products"] = json!(["secret/name"])),
        ED.token_of(r#"{"alg":"secret-alg"}"#, "{}"),
        ED.token_of(r#"{"alg":"EdDSA","typ":"secret-typ"}"#, "{}"),
        ED.token_of(r#"{"alg":"EdDSA","crit":["secret"]}"#, "{}"),
        ED.token_of("secret", "secret"),
    ];
    for token in &texts {
        let refusal = refused(&ring, token);
        for printed in [refusal.to_string(), format!("{refusal:?}"), refusal.code().to_owned()] {
            assert!(!printed.contains("secret"), "{printed}");
        }
        assert!(refusal.code().starts_with("token_"));
    }
}

/// The library that mints for control and for many issuers makes tokens that are good here.
#[test]
fn another_library_agrees() {
    let ring = ring(&[ED.jwk("k")]);
    let pkcs8_head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let key = jsonwebtoken::EncodingKey::from_ed_der(&[&pkcs8_head[..], &[1; 32]].concat());
    let mut head = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
    head.kid = Some("k".to_owned());
    let token = jsonwebtoken::encode(&head, &claims(), &key).expect("signed");
    assert!(verify(&ring, &RawToken::new(&token).expect("a token"), NOW).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// One byte changed anywhere: refused. (A changed digit in front of nothing but ignored bits does not exist.)
    #[test]
    fn no_byte_can_change(at: prop::sample::Index, digit in "[A-Za-z0-9_-]") {
        let ring = ring(&[ED.jwk("k")]);
        let token = ED.token("k", |_| {});
        let at = at.index(token.reveal().len());
        let mut text = token.reveal().to_owned();
        text.replace_range(at..=at, &digit);
        let same = text == token.reveal();
        if let Ok(changed) = RawToken::new(&text) {
            prop_assert_eq!(verify(&ring, &changed, NOW).is_ok(), same);
        }
    }

    /// Signed nonsense is refused with a claim's name, or was no nonsense.
    #[test]
    fn any_claims_are_read_or_refused(name in "(iss|aud|sub|exp|nbf|iat|products|components|device)", value in any_json()) {
        let ring = ring(&[ED.jwk("k")]);
        let token = ED.token("k", |claims| claims[name.as_str()] = value);
        match verify(&ring, &token, NOW) {
            Ok(claims) => {
                prop_assert!(NOW < claims.refused_from && !claims.subject.is_empty());
            }
            Err(TokenRefusal::Claims(wrong)) => prop_assert_eq!(wrong, name),
            Err(refusal) => prop_assert!(matches!(
                refusal,
                TokenRefusal::Issuer | TokenRefusal::Audience | TokenRefusal::Expired | TokenRefusal::NotYetValid
            )),
        }
    }

    #[test]
    fn any_text_is_refused(text in "[A-Za-z0-9_-]{1,60}\\.[A-Za-z0-9_-]{1,60}\\.[A-Za-z0-9_-]{1,60}") {
        let ring = ring(&[ED.jwk("k")]);
        if let Ok(token) = RawToken::new(&text) {
            prop_assert!(verify(&ring, &token, NOW).is_err());
        }
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|flag| json!(flag)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<u64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        (NOW.0 - 700..NOW.0 + 700).prop_map(|number| json!(number)),
        "\\PC{0,12}".prop_map(|text| json!(text)),
        "(fleet|game|de|a\u{0}b)".prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(2, 12, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|list| json!(list)),
            prop::collection::btree_map("[a-z]{0,3}", inner, 0..6).prop_map(|members| json!(members)),
        ]
    })
}
