//! Names given by people: products, channels, versions, platforms, components, access groups, segments,
//! credentials.
//!
//! Owns their alphabets and lengths, so that every later room may put them in a path, a log line
//! or a metric without thinking. Nothing here is case-folded: names are compared byte by byte.

use crate::limits;
use std::fmt;

/// Why a text is not a name of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("a {kind} must not be empty")]
    Empty {
        /// Which kind of name.
        kind: &'static str,
    },
    /// Too many bytes.
    #[error("a {kind} has at most {max} characters, this one has {len}")]
    TooLong {
        /// Which kind of name.
        kind: &'static str,
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A character outside the alphabet, or a leading dot or dash.
    #[error("a {kind} is made of {alphabet} and starts with a letter or digit; {text:?} is not")]
    Alphabet {
        /// Which kind of name.
        kind: &'static str,
        /// What would be accepted.
        alphabet: &'static str,
        /// What was found.
        text: String,
    },
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:expr, $extra:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Checks a text and wraps it.
            ///
            /// # Errors
            /// [`NameError`] when the text is empty, too long or outside the alphabet.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text, $kind, $max, $extra)?;
                Ok(Self(text.to_owned()))
            }
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        crate::text_schema::text_schema!($name, stringify!($name), pattern($extra), $max);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type!(
    /// What is sold or given, such as `wesnoth` or `acme.racer`.
    ProductId, "product", limits::NAME_BYTES_MAX, "._-"
);
name_type!(
    /// A product's named stream of releases, such as `stable`.
    ChannelName, "channel", limits::NAME_BYTES_MAX, "._-"
);
name_type!(
    /// A release's version, such as `1.18.8` or `2026.11+hotfix.2`.
    Version, "version", limits::VERSION_BYTES_MAX, "._-+~"
);
name_type!(
    /// What a release runs on, such as `windows-x86_64`; `any` when it does not matter.
    Platform, "platform", limits::NAME_BYTES_MAX, "._-"
);
name_type!(
    /// An optional part of a release, such as `base`, `lang.de` or `hires`.
    ComponentName, "component", limits::NAME_BYTES_MAX, "._-"
);
name_type!(
    /// The audience of a pack: content of one group is never stored with another's.
    AccessGroup, "access group", limits::NAME_BYTES_MAX, "._-"
);
name_type!(
    /// A named group of accounts or installs, such as `beta` or `veterans`.
    SegmentName, "segment", limits::NAME_BYTES_MAX, "._-"
);

name_type!(
    /// The name of an API credential, such as `ci` or `desk.anna`.
    CredentialName, "credential", limits::NAME_BYTES_MAX, "._-"
);

name_type!(
    /// A named list of what is given together, such as `studio-suite`.
    PackageId, "package", limits::NAME_BYTES_MAX, "._-"
);

impl Platform {
    /// The platform of releases that run anywhere, and the one assumed when none is named.
    #[must_use]
    pub fn any() -> Self {
        Self("any".to_owned())
    }
}

impl ComponentName {
    /// The component every install has.
    #[must_use]
    pub fn base() -> Self {
        Self("base".to_owned())
    }
}

impl AccessGroup {
    /// The group of content owed to whoever may read the product at all.
    #[must_use]
    pub fn base() -> Self {
        Self("base".to_owned())
    }
}

/// The alphabet as a regular expression.
fn pattern(extra: &str) -> String {
    format!("^[A-Za-z0-9][A-Za-z0-9{}]*$", extra.replace('-', r"\-"))
}

fn check(text: &str, kind: &'static str, max: usize, extra: &'static str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > max {
        return Err(NameError::TooLong { kind, len: text.len(), max });
    }
    let first_ok = text.as_bytes()[0].is_ascii_alphanumeric();
    let all_ok = text.bytes().all(|b| b.is_ascii_alphanumeric() || extra.as_bytes().contains(&b));
    if first_ok && all_ok {
        return Ok(());
    }
    Err(NameError::Alphabet { kind, alphabet: alphabet(extra), text: text.to_owned() })
}

fn alphabet(extra: &str) -> &'static str {
    if extra.contains('+') { "letters, digits and ._-+~" } else { "letters, digits and ._-" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_carry_path_or_header_syntax() {
        for bad in ["", ".", "..", "../x", "a/b", "a b", "-x", "a\n", "ä", "a%2f"] {
            assert!(ProductId::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "wesnoth", "acme.racer-2", "0ad"] {
            assert!(ProductId::new(good).is_ok(), "{good:?}");
        }
        assert!(Version::new("1.0+hotfix~2").is_ok());
        assert!(ProductId::new("1.0+hotfix").is_err());
        assert!(ProductId::new(&"a".repeat(limits::NAME_BYTES_MAX + 1)).is_err());
    }
}
