//! JSON that means one thing: every name in an object at most once, at every depth.
//!
//! RFC 7515, section 4, and RFC 7519, section 4, let a parser refuse duplicate names or take the last; two parsers that
//! differ see two tokens in one. Owns the value and its reading. The caller bounds the bytes; nesting is bounded by
//! `serde_json` (128 levels).

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// A JSON value. Has no `Debug`: what it holds may be a secret.
#[derive(Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Flag(bool),
    /// A whole number that `i64` holds.
    Whole(i64),
    /// Any other number.
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

/// The members of an object.
pub(super) type Object = BTreeMap<String, Json>;

impl Json {
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads one object and nothing behind it; `None` for anything else, a duplicate name included.
pub(super) fn object(bytes: &[u8]) -> Option<Object> {
    match serde_json::from_slice(bytes) {
        Ok(Json::Object(members)) => Some(members),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Strict)
    }
}

struct Strict;

impl<'de> Visitor<'de> for Strict {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON without duplicate names")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        // Larger ones are out of every bound of ours: only that they are large matters.
        #[expect(clippy::cast_precision_loss, reason = "only its size matters, and that is kept")]
        Ok(i64::try_from(value).map_or(Json::Number(value as f64), Json::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Object::new();
        while let Some((name, value)) = map.next_entry::<String, Json>()? {
            if members.insert(name, value).is_some() {
                return Err(de::Error::custom("a name twice"));
            }
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_whole_or_not_at_all() {
        let members = object(br#" {"a": [1, -2, 2.5, 1e3, null, true], "b": {"a": "\u0000"}} "#).expect("an object");
        let Some(Json::List(list)) = members.get("a") else { panic!("a list") };
        assert!(list[0] == Json::Whole(1) && list[1] == Json::Whole(-2) && list[2] == Json::Number(2.5));
        assert!(list[3] == Json::Number(1000.0) && list[4] == Json::Null && list[5] == Json::Flag(true));
        assert!(
            object(br#"{"n":18446744073709551615}"#).is_some_and(|m| matches!(m["n"], Json::Number(n) if n > 1e19))
        );
        for bad in [
            "",
            "[]",
            "1",
            "\"{}\"",
            "null",
            "{} ",
            "{}x",
            "{}{}",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"\\u0061\":2}",
            "{\"a\":{\"b\":1,\"b\":2}}",
            "{\"a\":[{\"b\":1,\"b\":2}]}",
            "{a:1}",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            "{\"a\":01}",
            "{\"a\":\"\\ud800\"}",
            "\u{feff}{}",
            "{\"a\":1,}",
            "{'a':1}",
            "// x\n{}",
        ] {
            assert_eq!(object(bad.as_bytes()).is_some(), bad == "{} ", "{bad:?}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_none(), "not UTF-8");
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(4000), "]".repeat(4000));
        assert!(object(deep.as_bytes()).is_none(), "nesting is bounded");
    }
}
