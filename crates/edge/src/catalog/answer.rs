//! What a lookup in the catalogue yields: a rendered document, or why there is none.

use bytes::Bytes;
use http::HeaderValue;
use penstock_core::conditional::Tag;
use penstock_core::id::Platform;
use serde::Serialize;
use std::collections::BTreeMap;

/// A JSON answer, rendered once and shared by all who get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The text.
    pub json: Bytes,
    /// Its tag.
    pub tag: Tag,
    /// The tag as a header's value.
    pub etag: HeaderValue,
}

impl Document {
    /// Renders an answer.
    pub(crate) fn render<T: Serialize>(answer: &T) -> Self {
        let json = serde_json::to_vec(answer).expect("our documents have text keys and finite numbers only");
        let tag = Tag::of_document(&json);
        let etag = HeaderValue::try_from(tag.quoted()).expect("a quoted hash is a header value");
        Self { json: json.into(), tag, etag }
    }
}

/// What was found under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// This.
    One(T),
    /// Nothing.
    Unknown,
    /// It was taken back.
    Withdrawn,
    /// It exists for these platforms, and none was named.
    NamePlatform(Vec<Platform>),
}

impl<'a, T> Found<&'a T> {
    /// The entry of the platform asked for. Without one: that of `any`, else the only one.
    pub(super) fn choose(platforms: &'a BTreeMap<Platform, T>, asked: Option<&Platform>) -> Self {
        if let Some(asked) = asked {
            return platforms.get(asked).map_or(Self::Unknown, Self::One);
        }
        if let Some(one) = platforms.get(&Platform::any()) {
            return Self::One(one);
        }
        let mut all = platforms.values();
        match (all.next(), all.next()) {
            (Some(only), None) => Self::One(only),
            (None, _) => Self::Unknown,
            (Some(_), Some(_)) => Self::NamePlatform(platforms.keys().cloned().collect()),
        }
    }
}

impl<T> Found<T> {
    /// Goes on with what was found.
    pub(super) fn and_then<U>(self, next: impl FnOnce(T) -> Found<U>) -> Found<U> {
        match self {
            Self::One(one) => next(one),
            Self::Unknown => Found::Unknown,
            Self::Withdrawn => Found::Withdrawn,
            Self::NamePlatform(platforms) => Found::NamePlatform(platforms),
        }
    }
}
