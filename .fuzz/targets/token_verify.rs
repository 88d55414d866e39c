//! Player tokens against a fixed ring: any text is refused, or was signed with the ring's key; signed claims of any kind
//! are refused with a stable code, or keep their bounds. The fuzzer cannot sign, so that half of its inputs are signed here.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use penstock_core::limits::{SUBJECT_BYTES_MAX, TOKEN_PRODUCTS_MAX};
use penstock_core::sign::SecretKey;
use penstock_core::time::UnixSeconds;
use penstock_core::token::RawToken;
use penstock_edge::token::{Claims, Issuer, JwksKeys, KeyRing, verify};
use std::sync::LazyLock;

const NOW: UnixSeconds = UnixSeconds(2_000_000_000);

static SECRET: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::from_seed(&[1; 32]));
static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    KeyRing::new(vec![(Issuer::control(), JwksKeys::of_control(&SECRET.public()))]).expect("one issuer")
});

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    let text = match choice & 3 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        // Claims of any kind below a good header.
        1 => signed(br#"{"alg":"EdDSA","typ":"JWT"}"#, rest),
        // A header of any kind above good claims.
        2 => signed(rest, br#"{"iss":"penstock","aud":"penstock","sub":"a","exp":2000000600}"#),
        // A key set of any kind, which is refused or has keys.
        _ => {
            assert!(JwksKeys::parse(rest).map_or(true, |keys| !keys.is_empty()));
            return;
        }
    };
    let Ok(token) = RawToken::new(&text) else { return };
    match verify(&RING, &token, NOW) {
        Ok(claims) => {
            check(&claims);
            let signature: [u8; 64] = URL_SAFE_NO_PAD
                .decode(token.signature())
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .expect("64 bytes of signature");
            assert!(SECRET.public().verifies(token.signed().as_bytes(), &signature), "accepted what nobody signed");
        }
        Err(refusal) => assert!(refusal.code().starts_with("token_") && !format!("{refusal} {refusal:?}").is_empty()),
    }
});

fn signed(header: &[u8], payload: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = SECRET.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn check(claims: &Claims) {
    assert!((1..=SUBJECT_BYTES_MAX).contains(&claims.subject.len()) && !claims.subject.contains(char::is_control));
    assert!(NOW < claims.refused_from && claims.expires <= claims.refused_from);
    assert!(claims.products.as_ref().is_none_or(|names| names.len() <= TOKEN_PRODUCTS_MAX));
    assert!(claims.components.as_ref().is_none_or(|names| names.len() <= TOKEN_PRODUCTS_MAX));
    assert!(claims.subject.len() < 12 || !format!("{claims:?}").contains(&claims.subject));
}
