//! Key sets as issuers publish them, and as they should not.

use super::super::testing::*;
use super::*;
use serde_json::{Value, json};

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().expect("an object").remove(name);
    jwk
}

/// Why the first key of two is skipped; the second is good.
fn reason(jwk: Value) -> Option<SkipReason> {
    let keys = keys(&[jwk, ed(99).jwk("good")]);
    keys.skipped().first().map(|skipped| {
        assert_eq!((skipped.index, keys.len()), (0, 1));
        skipped.reason
    })
}

#[test]
fn keys_that_are_used() {
    let keys = keys(&[ED.jwk("ed"), EC.jwk("ec"), RSA.jwk("rsa")]);
    assert_eq!((keys.len(), keys.skipped()), (3, &[][..]));
    assert!(keys.has("ec") && !keys.has("EC") && !keys.has(""));
    assert_eq!(reason(without(ED.jwk("x"), "kid")), None, "a key may be nameless");
    assert_eq!(reason(with(ED.jwk("x"), "key_ops", json!(["sign", "verify"]))), None);
    assert_eq!(reason(with(ED.jwk("x"), "x5c", json!(["ignored"]))), None);
    assert_eq!(reason(with(ED.jwk("x"), "alg", json!("EdDSA"))), None);
}

#[test]
fn keys_that_are_skipped() {
    let off_curve = with(EC.jwk("x"), "y", EC.jwk("x")["x"].clone());
    let weak = b64([&[1u8][..], &[0; 31]].concat());
    let rsa = |bits: usize| {
        let mut n = vec![0xff; bits / 8];
        n[0] = 0x80;
        with(RSA.jwk("x"), "n", json!(b64(n)))
    };
    let with_zero = decode(RSA.jwk("x")["n"].as_str().expect("n")).expect("base64url");
    for (jwk, expected) in [
        (json!(7), SkipReason::Shape),
        (json!({"kid": "x"}), SkipReason::Shape),
        (json!({"kty": 1}), SkipReason::Shape),
        (with(ED.jwk("x"), "kty", json!("AKP")), SkipReason::Kind),
        (with(ED.jwk("x"), "crv", json!("Ed448")), SkipReason::Kind),
        (with(ED.jwk("x"), "crv", json!("X25519")), SkipReason::Kind),
        (without(ED.jwk("x"), "crv"), SkipReason::Kind),
        (with(EC.jwk("x"), "crv", json!("P-384")), SkipReason::Kind),
        (with(EC.jwk("x"), "crv", json!("secp256k1")), SkipReason::Kind),
        (with(ED.jwk("x"), "use", json!("enc")), SkipReason::Use),
        (with(ED.jwk("x"), "use", json!(["sig"])), SkipReason::Use),
        (with(ED.jwk("x"), "key_ops", json!(["sign"])), SkipReason::Operations),
        (with(ED.jwk("x"), "key_ops", json!("verify")), SkipReason::Operations),
        (with(EC.jwk("x"), "alg", json!("ES384")), SkipReason::Algorithm),
        (with(EC.jwk("x"), "alg", json!("RS256")), SkipReason::Algorithm),
        (with(RSA.jwk("x"), "alg", json!("PS256")), SkipReason::Algorithm),
        (with(RSA.jwk("x"), "alg", json!("HS256")), SkipReason::Algorithm),
        (with(RSA.jwk("x"), "alg", json!(null)), SkipReason::Algorithm),
        (with(ED.jwk("x"), "kid", json!("")), SkipReason::Kid),
        (with(ED.jwk("x"), "kid", json!(1)), SkipReason::Kid),
        (with(ED.jwk("x"), "kid", json!("k".repeat(KID_BYTES_MAX + 1))), SkipReason::Kid),
        (with(ED.jwk("x"), "x", json!(b64([1; 31]))), SkipReason::Key),
        (with(ED.jwk("x"), "x", json!(weak)), SkipReason::Key),
        (with(ED.jwk("x"), "x", json!("=")), SkipReason::Key),
        (without(ED.jwk("x"), "x"), SkipReason::Key),
        (off_curve, SkipReason::Key),
        (with(EC.jwk("x"), "x", json!(b64([7; 31]))), SkipReason::Key),
        (without(EC.jwk("x"), "y"), SkipReason::Key),
        (rsa(1024), SkipReason::Key),
        (rsa(2040), SkipReason::Key),
        (rsa(4104), SkipReason::Key),
        (rsa(8192), SkipReason::Key),
        (with(RSA.jwk("x"), "n", json!(b64([&[0], &with_zero[..]].concat()))), SkipReason::Key),
        (with(RSA.jwk("x"), "n", json!(b64([&with_zero[..255], &[2]].concat()))), SkipReason::Key),
        (with(RSA.jwk("x"), "e", json!(b64([1]))), SkipReason::Key),
        (with(RSA.jwk("x"), "e", json!(b64([2]))), SkipReason::Key),
        (with(RSA.jwk("x"), "e", json!(b64([0, 3]))), SkipReason::Key),
        (with(RSA.jwk("x"), "e", json!(b64([1, 0, 0, 0, 1]))), SkipReason::Key),
        (with(RSA.jwk("x"), "e", json!("")), SkipReason::Key),
    ] {
        assert_eq!(reason(jwk.clone()), Some(expected), "{jwk}");
    }
    for bits in [2048, 3072, 4096] {
        assert_eq!(reason(rsa(bits)), None, "{bits}");
    }
}

#[test]
fn the_first_key_of_a_name_counts() {
    let keys = keys(&[ED.jwk("k"), EC.jwk("k"), without(ed(2).jwk(""), "kid"), without(ed(3).jwk(""), "kid")]);
    assert_eq!(keys.skipped(), [Skipped { index: 1, reason: SkipReason::Duplicate }]);
    assert_eq!(keys.len(), 3, "nameless keys are no duplicates");
}

/// Whoever serves a private key as public has lost it: no key of that document is used, and the operator is told.
#[test]
fn a_published_secret_spoils_the_set() {
    let secret = with(ED.jwk("x"), "d", json!(b64([1; 32])));
    let symmetric = json!({"kty": "oct", "kid": "x", "k": b64([1; 32])});
    let nearly = json!({"kty": "oct"});
    let other_use = with(with(RSA.jwk("x"), "use", json!("enc")), "dp", json!("AA"));
    for jwk in [secret, symmetric, nearly, other_use] {
        let error = JwksKeys::parse(&set(&[ED.jwk("good"), jwk])).expect_err("refused");
        assert!(matches!(error, JwksError::Secret(1)), "{error}");
        assert!(!format!("{error} {error:?}").contains(&b64([1; 32])));
    }
}

#[test]
fn documents_that_are_no_set() {
    for bad in
        ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[],\"keys\":[]}", "<html>", "{\"keys\":[{\"kty\":1,\"kty\":1}]}"]
    {
        assert!(matches!(JwksKeys::parse(bad.as_bytes()), Err(JwksError::Shape)), "{bad}");
    }
    assert!(matches!(JwksKeys::parse(b"{\"keys\":[]}"), Err(JwksError::Empty(0))));
    assert!(matches!(JwksKeys::parse(b"{\"keys\":[1,2]}"), Err(JwksError::Empty(2))));
    let many: Vec<_> = (0..=JWKS_KEYS_MAX).map(|number| ED.jwk(&number.to_string())).collect();
    assert!(matches!(JwksKeys::parse(&set(&many)), Err(JwksError::TooMany(101))));
    assert_eq!(keys(&many[1..]).len(), JWKS_KEYS_MAX);
    let large = vec![b' '; JWKS_BYTES_MAX + 1];
    assert!(matches!(JwksKeys::parse(&large), Err(JwksError::TooLarge)));
}

#[test]
fn files_are_read_within_bounds() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys.json");
    assert!(matches!(load(&path), Err(JwksError::Read(_))));
    std::fs::write(&path, set(&[ED.jwk("k")])).expect("written");
    assert_eq!(load(&path).expect("a set").len(), 1);
    std::fs::write(&path, vec![b' '; 10 * JWKS_BYTES_MAX]).expect("written");
    assert!(matches!(load(&path), Err(JwksError::TooLarge)));
}

/// The shape of the sets of large identity providers: several RSA keys with certificates, keys for encryption between.
#[test]
fn a_usual_set() {
    let chain = json!(["MIIC".repeat(300)]);
    let rsa = with(with(RSA.jwk("2026-01"), "x5c", chain), "x5t", json!("AAAA"));
    let keys =
        keys(&[with(rsa, "issuer", json!("https://x")), with(RSA.jwk("enc"), "use", json!("enc")), EC.jwk("ec")]);
    assert_eq!((keys.len(), keys.skipped().len()), (2, 1));
}
