//! Blob identity, sizes and byte ranges: the numbers every other room passes around.
//!
//! Owns the textual form of a blob's name and the rule that a `ByteRange` is never empty.

use std::fmt;
use std::str::FromStr;

/// A blob's name: the BLAKE3-256 hash of its bytes. Text form: 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId([u8; 32]);

/// A chunk's name: the BLAKE3-256 hash of the chunk's plain content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId([u8; 32]);

/// Why a text is not a hash name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseHashError {
    /// The text is not 64 characters long.
    #[error("a blob name has 64 hexadecimal digits, this text has {0} characters")]
    Length(usize),
    /// A character is not a lowercase hexadecimal digit.
    #[error("a blob name is lowercase hexadecimal; the character at position {0} is not")]
    Digit(usize),
}

macro_rules! hash_name {
    ($name:ident) => {
        impl $name {
            /// Wraps a computed hash.
            #[must_use]
            pub const fn from_bytes(hash: [u8; 32]) -> Self {
                Self(hash)
            }
            /// The raw 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
            /// Hashes `content` that is already in memory.
            #[must_use]
            pub fn of(content: &[u8]) -> Self {
                Self(*blake3::hash(content).as_bytes())
            }
            /// Reads a name from a protobuf `bytes` field; `None` unless it is 32 bytes long.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }
        crate::text_schema::text_schema!($name, stringify!($name), "^[0-9a-f]{64}$", 64);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in self.0 {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
        impl FromStr for $name {
            type Err = ParseHashError;
            fn from_str(text: &str) -> Result<Self, ParseHashError> {
                parse_hex(text).map(Self)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hash_name!(BlobId);
hash_name!(ChunkId);

impl From<blake3::Hash> for BlobId {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl From<blake3::Hash> for ChunkId {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

fn parse_hex(text: &str) -> Result<[u8; 32], ParseHashError> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(ParseHashError::Length(text.chars().count()));
    }
    let mut hash = [0u8; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        let high = nibble(digits[2 * index]).ok_or(ParseHashError::Digit(2 * index))?;
        let low = nibble(digits[2 * index + 1]).ok_or(ParseHashError::Digit(2 * index + 1))?;
        *byte = high << 4 | low;
    }
    Ok(hash)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// A blob's length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobSize(pub u64);

/// A non-empty half-open range of byte offsets: `start < end` by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

impl ByteRange {
    /// `None` unless `start < end`.
    #[must_use]
    pub const fn new(start: u64, end: u64) -> Option<Self> {
        if start < end { Some(Self { start, end }) } else { None }
    }
    /// The whole of a blob; `None` for the empty blob, which has no bytes to range over.
    #[must_use]
    pub const fn whole(size: BlobSize) -> Option<Self> {
        Self::new(0, size.0)
    }
    /// First byte offset.
    #[must_use]
    pub const fn start(self) -> u64 {
        self.start
    }
    /// Offset one past the last byte.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.end
    }
    /// Length in bytes, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(self) -> u64 {
        self.end - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_refuses_other_spellings() {
        let id = BlobId::of(b"penstock");
        assert_eq!(id.to_string().parse::<BlobId>(), Ok(id));
        assert_eq!(id.to_string().len(), 64);
        let upper = id.to_string().to_uppercase();
        assert!(matches!(upper.parse::<BlobId>(), Err(ParseHashError::Digit(_))));
        assert_eq!("ab".parse::<BlobId>(), Err(ParseHashError::Length(2)));
        assert_eq!(format!("{id}0").parse::<BlobId>(), Err(ParseHashError::Length(65)));
    }

    #[test]
    fn ranges_are_never_empty() {
        assert_eq!(ByteRange::new(4, 4), None);
        assert_eq!(ByteRange::new(5, 4), None);
        assert_eq!(ByteRange::whole(BlobSize(0)), None);
        assert_eq!(ByteRange::new(4, 6).map(ByteRange::len), Some(2));
    }
}
