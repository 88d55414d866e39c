//! Each claim at and beyond its bounds.

use super::super::testing::*;
use super::super::{TokenRefusal, verify};
use super::*;
use penstock_core::limits::NAME_BYTES_MAX;
use serde_json::{Value as JsonValue, json};

fn outcome(change: impl FnOnce(&mut JsonValue)) -> Result<Claims, TokenRefusal> {
    verify(&ring(&[ED.jwk("k")]), &ED.token("k", change), NOW)
}

fn set(name: &'static str, value: JsonValue) -> Result<Claims, TokenRefusal> {
    outcome(move |claims| claims[name] = value)
}

fn without(name: &str) -> Result<Claims, TokenRefusal> {
    outcome(|claims| {
        claims.as_object_mut().expect("an object").remove(name);
    })
}

fn code(result: Result<Claims, TokenRefusal>) -> &'static str {
    result.map_or_else(|refusal| refusal.code(), |_| "good")
}

#[test]
fn some_claims_must_be_there() {
    for name in ["iss", "aud", "sub", "exp"] {
        assert_eq!(without(name), Err(TokenRefusal::Claims(name)));
        assert_eq!(set(name, json!(null)), Err(TokenRefusal::Claims(name)));
    }
    for name in ["nbf", "iat"] {
        assert!(without(name).is_ok());
        assert_eq!(set(name, json!(null)), Err(TokenRefusal::Claims(name)));
    }
    for name in ["products", "components", "device", "jti"] {
        assert_eq!(set(name, json!(null)), Err(TokenRefusal::Claims(name)), "null is not absence");
    }
    assert!(set("country", json!({"ignored": [1]})).is_ok());
}

/// The issuer's leeway is 30 seconds. `exp` is the first moment at which a token does not hold (RFC 7519, section 4.1.4).
#[test]
fn the_edges_of_time() {
    let at = |name, offset: i64| code(set(name, json!(NOW.0.saturating_add_signed(offset))));
    assert_eq!((at("exp", 1), at("exp", 0), at("exp", -29)), ("good", "good", "good"));
    assert_eq!((at("exp", -30), at("exp", -31)), ("token_expired", "token_expired"));
    for name in ["nbf", "iat"] {
        assert_eq!((at(name, -1000), at(name, 30), at(name, 31)), ("good", "good", "token_not_yet_valid"), "{name}");
    }
    // Fractions: half a second more is more.
    let at = |name, offset: f64| code(set(name, json!(2_000_000_000.0 + offset)));
    assert_eq!((at("exp", -29.5), at("exp", -30.5)), ("good", "token_expired"));
    assert_eq!((at("nbf", 30.5), at("nbf", 29.5)), ("token_not_yet_valid", "good"));
    assert_eq!((at("iat", 30.5), at("iat", 31.0)), ("good", "token_not_yet_valid"));
    let claims = set("exp", json!(2_000_000_000.25)).expect("good");
    assert_eq!((claims.expires, claims.refused_from), (UnixSeconds(2_000_000_001), UnixSeconds(2_000_000_031)));
}

#[test]
fn dates_are_numbers_in_bounds() {
    for name in ["exp", "nbf", "iat"] {
        let max = DATE_SECONDS_MAX;
        for bad in [
            json!("2000000000"),
            json!(true),
            json!(-1),
            json!(-0.5),
            json!(max + 1),
            json!(u64::MAX),
            json!(1e300),
            json!([1]),
        ] {
            assert_eq!(set(name, bad.clone()), Err(TokenRefusal::Claims(name)), "{name} {bad}");
        }
    }
    assert_eq!(set("exp", json!(DATE_SECONDS_MAX)).expect("good").expires, UnixSeconds(DATE_SECONDS_MAX));
    // Milliseconds are the usual mistake: such a token would never expire.
    assert_eq!(set("exp", json!(NOW.0 * 1000)), Err(TokenRefusal::Claims("exp")));
    assert_eq!(code(set("nbf", json!(0))), "good");
}

#[test]
fn audiences() {
    for good in [json!("fleet"), json!("other"), json!(["fleet"]), json!(["x", "other"])] {
        assert!(set("aud", good.clone()).is_ok(), "{good}");
    }
    for wrong in [json!("fleet "), json!("Fleet"), json!(""), json!([]), json!(["x"])] {
        assert_eq!(set("aud", wrong.clone()), Err(TokenRefusal::Audience), "{wrong}");
    }
    for bad in [json!(1), json!({"fleet": 1}), json!(["fleet", 1]), json!([["fleet"]])] {
        assert_eq!(set("aud", bad.clone()), Err(TokenRefusal::Claims("aud")), "{bad}");
    }
}

#[test]
fn subjects_and_devices() {
    assert_eq!(set("sub", json!("ü".repeat(128))).expect("256 bytes").subject.len(), 256);
    assert!(set("device", json!("d".repeat(DEVICE_BYTES_MAX))).expect("good").device.is_some());
    for bad in
        [json!(""), json!("x".repeat(257)), json!("a\nb"), json!("a\u{0}"), json!("\u{85}"), json!(7), json!(["a"])]
    {
        assert_eq!(set("sub", bad.clone()), Err(TokenRefusal::Claims("sub")), "{bad}");
        assert_eq!(set("device", bad.clone()), Err(TokenRefusal::Claims("device")), "{bad}");
    }
    assert_eq!(set("device", json!("d".repeat(DEVICE_BYTES_MAX + 1))), Err(TokenRefusal::Claims("device")));
}

#[test]
fn products_and_components_narrow() {
    let claims = outcome(|claims| {
        claims["products"] = json!(["a", "b.c"]);
        claims["components"] = json!([]);
    });
    let claims = claims.expect("good");
    let names = |list: &[ProductId]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&claims.products.expect("narrowed")), ["a", "b.c"]);
    assert_eq!(claims.components, Some(Vec::new()), "an empty list allows nothing");
    let many = |count| json!((0..count).map(|number| format!("p{number}")).collect::<Vec<_>>());
    for name in ["products", "components"] {
        assert!(set(name, many(TOKEN_PRODUCTS_MAX)).is_ok());
        for bad in [
            many(TOKEN_PRODUCTS_MAX + 1),
            json!("a"),
            json!({"a": 1}),
            json!([1]),
            json!([""]),
            json!(["../x"]),
            json!(["a", null]),
        ] {
            assert_eq!(set(name, bad.clone()), Err(TokenRefusal::Claims(name)), "{bad}");
        }
    }
}

/// The largest token that control mints is good.
#[test]
fn the_largest_token() {
    let names: Vec<_> =
        (10..10 + TOKEN_PRODUCTS_MAX).map(|n| format!("{n}{}", "p".repeat(NAME_BYTES_MAX - 2))).collect();
    let claims = outcome(|claims| {
        claims["products"] = json!(names);
        claims["sub"] = json!("\"".repeat(SUBJECT_BYTES_MAX));
    });
    assert_eq!(claims.expect("good").products.expect("narrowed").len(), TOKEN_PRODUCTS_MAX);
}
