//! The format, its bounds, and what a prefix covers.

use super::*;
use proptest::prelude::*;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

fn prefix(text: &str) -> PathPrefix {
    text.parse().expect("a prefix")
}

fn terms() -> LinkTerms {
    LinkTerms {
        account: AccountKey([0xaa; 16]),
        issued: NOW,
        expires: NOW.plus(3600),
        product: Some("game".parse().expect("a name")),
        path: prefix("/v1/products/game"),
    }
}

fn verified(text: &str, now: UnixSeconds) -> Result<Link, TokenFault> {
    RawLink::read(text)?.verify(&key().public(), now)
}

/// The format is a contract: whoever signs elsewhere can hold an implementation against this.
#[test]
fn the_vector() {
    let text = sign(&terms(), &key()).expect("signed");
    assert_eq!(text, VECTOR);
    let link = verified(&text, NOW).expect("good");
    assert_eq!(link.terms(), &terms());
    assert_eq!(link.id(), "c28e1e5de0044fcba30b95edfc10cf74");
    let bytes = URL_SAFE_NO_PAD.decode(&text).expect("base64url");
    let (body, signature) = bytes.split_last_chunk::<64>().expect("a signature");
    let key_id = key().public().id();
    let written = [
        &[1][..],
        key_id.as_bytes(),
        &[0xaa; 16],
        &1_800_000_000u64.to_be_bytes(),
        &1_800_003_600u64.to_be_bytes(),
        b"\x04game",
        b"\x11/v1/products/game",
    ];
    assert_eq!(body, written.concat());
    assert!(key().public().verifies(&[b"penstock link v1\n", body].concat(), signature));
}

const VECTOR: &str = "AQhx86q8JuRYLFCK9cA4hOaqqqqqqqqqqqqqqqqqqqqqAAAAAGtJ0gAAAAAAa0ngEARnYW1lES92MS9wcm9kdWN0cy9nYW1lQbfdzmhdjdmCbgTchWUZrrj-PObtZqPrOnSxDxOZNs0AVPowTAtEPp5a_zAiQD_c9QEqssvIxykRsTyWaE2RAw";

#[test]
fn a_link_lives_as_long_as_it_says() {
    let text = sign(&terms(), &key()).expect("signed");
    assert_eq!(verified(&text, NOW.plus(3599)).map(|link| link.terms().expires), Ok(NOW.plus(3600)));
    assert_eq!(verified(&text, NOW.plus(3600)), Err(TokenFault::Expired));
    assert!(verified(&text, UnixSeconds(NOW.0 - LINK_LEEWAY_SECONDS)).is_ok());
    assert_eq!(verified(&text, UnixSeconds(NOW.0 - LINK_LEEWAY_SECONDS - 1)), Err(TokenFault::NotYetValid));
    for life in [0, LINK_LIFE_SECONDS_MAX + 1] {
        let wrong = LinkTerms { expires: NOW.plus(life), ..terms() };
        assert_eq!(sign(&wrong, &key()), Err(LinkLifeError(life)));
        // Nor is one believed that somebody signed all the same.
        let mut bytes = body(&wrong, key().public().id());
        bytes.extend_from_slice(&key().sign(&[DOMAIN, &bytes].concat()));
        assert_eq!(verified(&URL_SAFE_NO_PAD.encode(bytes), NOW), Err(TokenFault::Claims));
    }
}

#[test]
fn other_keys_prove_nothing() {
    let text = sign(&terms(), &key()).expect("signed");
    let other = SecretKey::from_seed(&[8; 32]);
    let raw = RawLink::read(&text).expect("readable");
    assert_eq!(raw.verify(&other.public(), NOW), Err(TokenFault::KeyUnknown));
    // The same key for something else: without the domain, nothing.
    let mut bytes = body(&terms(), key().public().id());
    bytes.extend_from_slice(&key().sign(&bytes));
    assert_eq!(verified(&URL_SAFE_NO_PAD.encode(bytes), NOW), Err(TokenFault::Signature));
}

#[test]
fn what_a_prefix_covers() {
    for (of, path, covered) in [
        ("/v1/blobs/ab", "/v1/blobs/ab", true),
        ("/v1/blobs/ab", "/v1/blobs/ab/outboard", true),
        ("/v1/blobs/ab", "/v1/blobs/abc", false),
        ("/v1/blobs/ab", "/v1/blobs/a", false),
        ("/v1/blobs/ab", "/v1/blobs", false),
        ("/v1/blobs/ab", "/V1/blobs/ab", false),
        ("/v1/blobs/ab", "//v1/blobs/ab", false),
        ("/v1/blobs/ab", "/v1/blobs/%61b", false),
        ("/v1/blobs/ab", "/v1/blobs/ab/", false),
        ("/v1/products/game", "/v1/products/game/releases/1.0%2B2", true),
        ("/v1/products/game", "/v1/products/game//releases/1", false),
        ("/v1/products/game", "/v1/products/game/../other/releases/1", false),
        ("/v1/products/game", "/v1/products/game/./releases/1", false),
        ("/v1/products/game", "/v1/products/game/%2e%2E/other", false),
        ("/v1/products/game", "/v1/products/game/.%2e/other", false),
        ("/v1/products/game", "/v1/products/game%2f..%2fother", false),
        ("/v1/products/game", "/v1/products/game/x%2F..%2Fother", false),
        ("/v1/products/game", "/v1/products/game/%252e%252e/other", false),
        ("/v1/products/game", "/v1/products/game/..\\other", false),
        ("/v1/products/game", "/v1/products/game/%5c..", false),
        ("/v1/blobs", "/v1/blobs/ab", true),
        ("/v1/blobs", "/v1/products/game", false),
    ] {
        assert_eq!(prefix(of).covers(path), covered, "{of} {path}");
    }
    for (text, error) in [
        ("", PathPrefixError::Start),
        ("/v1", PathPrefixError::Start),
        ("/v1/", PathPrefixError::Start),
        ("/admin/v1/tokens", PathPrefixError::Start),
        ("v1/blobs", PathPrefixError::Start),
        ("/v1/blobs/", PathPrefixError::Part),
        ("/v1//blobs", PathPrefixError::Part),
        ("/v1/blobs/../x", PathPrefixError::Part),
        ("/v1/./blobs", PathPrefixError::Part),
        ("/v1/blobs/%61", PathPrefixError::Byte(10)),
        ("/v1/blobs?x", PathPrefixError::Byte(9)),
        ("/v1/bl\u{f6}bs", PathPrefixError::Byte(6)),
    ] {
        assert_eq!(text.parse::<PathPrefix>(), Err(error), "{text}");
    }
    let long = format!("/v1/{}", "a".repeat(LINK_PATH_BYTES_MAX - 4));
    assert!(long.parse::<PathPrefix>().is_ok());
    assert_eq!(format!("{long}a").parse::<PathPrefix>(), Err(PathPrefixError::TooLong(LINK_PATH_BYTES_MAX + 1)));
}

#[test]
fn a_query_carries_one_link() {
    assert_eq!(of_query(""), Ok(None));
    assert_eq!(of_query("start=1&end=2"), Ok(None));
    assert_eq!(of_query("start=1&link=abc&end=2"), Ok(Some("abc")));
    assert_eq!(of_query("link=a=b"), Ok(Some("a=b")));
    assert_eq!(of_query("link"), Ok(Some("")));
    assert_eq!(of_query("links=a&xlink=b"), Ok(None));
    assert_eq!(of_query("link=a&link=a"), Err(TokenFault::Malformed));
    assert_eq!(of_query("link&link=a"), Err(TokenFault::Malformed));
}

#[test]
fn nothing_prints_a_link() {
    let answer = LinkAnswer::sign(&terms(), &key()).expect("signed");
    let text = answer.target.split_once("link=").expect("a link").1;
    let raw = RawLink::read(text).expect("readable");
    let link = raw.clone().verify(&key().public(), NOW).expect("good");
    assert_eq!(link.id(), answer.id);
    assert!(answer.target.starts_with("/v1/products/game?link="));
    assert!(!format!("{answer:?} {raw:?} {link:?}").contains(&text[text.len() - 40..]));
}

fn any_terms() -> impl Strategy<Value = LinkTerms> {
    let product = proptest::option::of("[a-z][a-z0-9.-]{0,20}[a-z0-9]");
    let path = "/v1/[a-z0-9]{1,20}(/[a-z0-9]{1,20}){0,3}";
    (any::<[u8; 16]>(), 0..u64::MAX / 2, 1..=LINK_LIFE_SECONDS_MAX, product, path).prop_map(
        |(account, issued, life, product, path)| LinkTerms {
            account: AccountKey(account),
            issued: UnixSeconds(issued),
            expires: UnixSeconds(issued + life),
            product: product.and_then(|name| name.parse().ok()),
            path: prefix(&path),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_was_signed_is_what_is_read(terms in any_terms()) {
        let text = sign(&terms, &key()).expect("signed");
        prop_assert!(text.len() <= TEXT_BYTES_MAX);
        let link = verified(&text, terms.issued);
        prop_assert_eq!(link.map(|link| link.terms().clone()), Ok(terms));
    }

    /// Any change of any bit of any part: it cannot be read, names another key, or its signature is wrong.
    #[test]
    fn any_change_breaks_it(terms in any_terms(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let text = sign(&terms, &key()).expect("signed");
        let mut bytes = URL_SAFE_NO_PAD.decode(&text).expect("base64url");
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(verified(&URL_SAFE_NO_PAD.encode(&bytes), terms.issued).is_err());
    }

    /// The same link has no second text.
    #[test]
    fn any_change_of_the_text_breaks_it(terms in any_terms(), at in any::<prop::sample::Index>(), to in "[ -~]") {
        let text = sign(&terms, &key()).expect("signed");
        let at = at.index(text.len());
        let changed = format!("{}{to}{}", &text[..at], &text[at + 1..]);
        prop_assert_eq!(verified(&changed, terms.issued).is_ok(), changed == text);
        for other in [format!("{text}="), format!("{text}A"), format!(" {text}"), text[..at].to_owned()] {
            prop_assert!(verified(&other, terms.issued).is_err());
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..500), text in ".{0,700}") {
        prop_assert!(verified(&URL_SAFE_NO_PAD.encode(bytes), NOW).is_err());
        prop_assert!(verified(&text, NOW).is_err());
        let _ = of_query(&text);
    }

    /// What a prefix covers is, part by part, what it says, and then more parts.
    #[test]
    fn a_prefix_is_of_whole_parts(path in "(/v1)?(/[a-c.%2eF]{0,4}){0,5}", of in "/v1(/[a-c]{1,2}){1,2}") {
        if prefix(&of).covers(&path) {
            let (said, asked): (Vec<_>, Vec<_>) = (of.split('/').collect(), path.split('/').collect());
            prop_assert_eq!(&asked[..said.len()], &said[..]);
            prop_assert!(asked[said.len()..].iter().all(|part| !matches!(*part, "" | "." | "..")));
        }
    }
}
