//! Links against a fixed key: any text is refused, or was signed with it; what is signed is refused, or keeps its bounds and
//! has one text; a query has one link or none; a prefix covers nothing outside it. The fuzzer cannot sign, so that some of
//! its inputs are signed here.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use penstock_core::entitle::TokenFault;
use penstock_core::limits::{LINK_LIFE_SECONDS_MAX, LINK_PATH_BYTES_MAX};
use penstock_core::link::{LINK_LEEWAY_SECONDS, LINK_PARAMETER, PathPrefix, RawLink, of_query, sign};
use penstock_core::sign::SecretKey;
use penstock_core::time::UnixSeconds;
use std::sync::LazyLock;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const DOMAIN: &[u8] = b"penstock link v1\n";

static SECRET: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::from_seed(&[7; 32]));

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    match choice & 3 {
        0 => {
            let text = String::from_utf8_lossy(rest);
            if read(&text).is_ok() {
                let bytes = URL_SAFE_NO_PAD.decode(&*text).expect("what was read is base64url");
                let (body, signature) = bytes.split_last_chunk::<64>().expect("64 bytes of signature");
                assert!(SECRET.public().verifies(&[DOMAIN, body].concat(), signature), "accepted what nobody signed");
            }
        }
        1 => signed(rest),
        2 => query(&String::from_utf8_lossy(rest)),
        _ => prefix(&String::from_utf8_lossy(rest)),
    }
});

/// Reads and verifies; what is good keeps its bounds.
fn read(text: &str) -> Result<(), TokenFault> {
    let raw = RawLink::read(text)?;
    assert_eq!(format!("{raw:?}"), "RawLink(****)");
    let link = raw.verify(&SECRET.public(), NOW)?;
    let terms = link.terms();
    assert!(terms.issued < terms.expires && terms.expires.0 - terms.issued.0 <= LINK_LIFE_SECONDS_MAX);
    assert!(NOW < terms.expires && terms.issued <= NOW.plus(LINK_LEEWAY_SECONDS));
    assert!(terms.path.as_str().len() <= LINK_PATH_BYTES_MAX && terms.path.covers(terms.path.as_str()));
    assert_eq!(sign(terms, &SECRET).as_deref(), Ok(text), "one link has one text");
    Ok(())
}

/// Whatever stands behind the format and the key's id, signed.
fn signed(rest: &[u8]) {
    let body = [&[1][..], SECRET.public().id().as_bytes(), rest].concat();
    let signature = SECRET.sign(&[DOMAIN, &body].concat());
    let text = URL_SAFE_NO_PAD.encode([&body[..], &signature].concat());
    match read(&text) {
        Ok(()) => {}
        Err(fault) => assert!(
            !matches!(fault, TokenFault::KeyUnknown | TokenFault::Signature),
            "what was signed is read as it was signed, or not at all"
        ),
    }
}

fn query(text: &str) {
    let marked = format!("{LINK_PARAMETER}=");
    match of_query(text) {
        Ok(None) => assert!(!text.starts_with(&marked) && !text.contains(&format!("&{marked}"))),
        Ok(Some(link)) => {
            assert!(!link.contains('&') && text.contains(link));
            assert_eq!(of_query(&format!("{text}&{marked}x")), Err(TokenFault::Malformed), "two links");
        }
        Err(fault) => assert_eq!(fault, TokenFault::Malformed),
    }
}

fn prefix(text: &str) {
    let (prefix, path) = text.split_once('\n').unwrap_or((text, text));
    let Ok(prefix) = prefix.parse::<PathPrefix>() else { return };
    assert_eq!(prefix.as_str().parse().as_ref(), Ok(&prefix));
    if prefix.covers(path) {
        let below = path.strip_prefix(prefix.as_str()).expect("a covered path begins with the prefix");
        assert!(below.is_empty() || below.starts_with('/'));
        assert!(!below.split('/').any(|part| part == ".." || part == "."), "nothing climbs");
    }
}
