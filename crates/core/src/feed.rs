//! The feed: what control tells edges over the network, one JSON document a line.
//!
//! | line | when | content |
//! |---|---|---|
//! | `hello` | first, once | format, keys, newest and oldest number of the log |
//! | `state` | when what follows replaces all that was known | the number it is of |
//! | `part` | between `state` and `whole` | one part of the state |
//! | `whole` | after the last part | the number again, and its mark |
//! | `change` | after that, or at once for whoever named a place in the log | number and change, each one after the one before |
//! | `beat` | whenever nothing else was said for a while | the newest number: whoever has it is current |
//!
//! Owns the lines' layout, their bounds, the order that they must come in ([`Order`]), and the rule for who may go on where
//! ([`resume`]). It must not do IO. A follower names its place as number and [`Mark`], so that a log which was restored
//! from a backup and grew differently since is noticed, though its numbers fit.
//!
//! A line of a kind that is not known here is an error, never skipped: it may be a revocation. So edges are updated before
//! control is.

mod fold;
mod order;

pub use fold::{Fold, Key, gone, key};
pub use order::{Order, OrderError};

use crate::account::PseudonymKey;
use crate::catalog::CatalogChange;
use crate::keys::PublicKey;
use crate::limits::FEED_LINE_BYTES_MAX;
use crate::time::UnixSeconds;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The format that this program writes and reads.
pub const FORMAT: u32 = 2;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// Who speaks, and from where to where the log reaches.
    Hello(Hello),
    /// The whole state of this change follows; it replaces everything.
    State {
        /// Number of the last change in it.
        sequence: u64,
    },
    /// A part of the state.
    Part {
        /// The change that it is of: at most the state's.
        sequence: u64,
        /// What is so.
        change: CatalogChange,
    },
    /// That was all of the state.
    Whole {
        /// The state's number.
        sequence: u64,
        /// The mark of the change of this number.
        mark: Mark,
    },
    /// The next change.
    Change {
        /// Its number.
        sequence: u64,
        /// What changed.
        change: CatalogChange,
    },
    /// Nothing happened.
    Beat {
        /// The newest number.
        newest: u64,
        /// Control's clock.
        at: UnixSeconds,
    },
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// See [`FORMAT`].
    pub format: u32,
    /// The key that signs channel heads and snapshots.
    pub channel_key: PublicKey,
    /// The key that verifies control's own tokens.
    pub token_key: PublicKey,
    /// The key that verifies control's own links.
    pub link_key: PublicKey,
    /// What makes the fleet's pseudonyms. Secret.
    #[serde(with = "pseudonym_text")]
    pub pseudonym_key: PseudonymKey,
    /// Number of the newest change.
    pub newest: u64,
    /// Number of the oldest change that the log still has; one more than `newest` when it has none.
    pub oldest: u64,
}

/// Answer to `POST /v1/feed/snapshots/{blob}/damaged`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SnapshotAnswer {
    /// Control's own copy is as it should be: it can be fetched again. Otherwise another snapshot was made, and is told.
    pub sound: bool,
}

/// Why bytes are no line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Too long to be looked at.
    #[error("a line of the feed has more than {FEED_LINE_BYTES_MAX} bytes")]
    TooLong,
    /// Not a line that is known here.
    #[error("a line of the feed cannot be read: {0}")]
    Malformed(String),
}

/// Longest part of a parser's complaint that is passed on: it may quote the line.
const COMPLAINT_CHARS: usize = 120;

impl Line {
    /// Reads a line, with or without its end.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LineError> {
        if bytes.len() > FEED_LINE_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        serde_json::from_slice(bytes).map_err(|error| {
            // A number or a name of the line may stand in it; a secret cannot, because those are read by code of ours.
            LineError::Malformed(error.to_string().chars().take(COMPLAINT_CHARS).collect())
        })
    }

    /// The line with its end.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "every map in it has text keys, and no number is a fraction")]
        let mut line = serde_json::to_vec(self).expect("a line is JSON");
        line.push(b'\n');
        line
    }
}

/// The line of a change whose body is JSON already, as [`Line::Change`] is written: the log keeps bodies as text, and a
/// release's is large.
#[must_use]
pub fn change_line(sequence: u64, body: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(body.len() + 64);
    line.extend_from_slice(b"{\"change\":{\"sequence\":");
    line.extend_from_slice(sequence.to_string().as_bytes());
    line.extend_from_slice(b",\"change\":");
    line.extend_from_slice(body.as_bytes());
    line.extend_from_slice(b"}}\n");
    line
}

/// The first 64 bits of the BLAKE3 hash of a change's line: whether two logs hold the same at a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Mark([u8; 8]);

impl Mark {
    /// The mark of a change, by its line without the end.
    #[must_use]
    pub fn of_line(line: &[u8]) -> Self {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut mark = [0; 8];
        mark.copy_from_slice(&blake3::hash(line).as_bytes()[..8]);
        Self(mark)
    }
}

crate::text_schema::text_schema!(Mark, "Mark", "^[0-9a-f]{16}$", 16);

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text that is no mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mark is 16 lowercase hexadecimal digits")]
pub struct MarkError;

impl FromStr for Mark {
    type Err = MarkError;
    fn from_str(text: &str) -> Result<Self, MarkError> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(is_digit) {
            return Err(MarkError);
        }
        Ok(Self(u64::from_str_radix(text, 16).map_err(|_| MarkError)?.to_be_bytes()))
    }
}

impl Serialize for Mark {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mark {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A place in the log: the last change that somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number; 0 before the first.
    pub sequence: u64,
    /// Its mark.
    pub mark: Mark,
}

/// What somebody gets who comes to the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// The changes after this number.
    After(u64),
    /// The whole state first.
    Whole,
}

/// Where a follower may go on that has all up to `after`. `found` is the mark of that change in the log, when the log has
/// it; whoever names no mark is believed.
#[must_use]
pub fn resume(after: Option<u64>, mark: Option<Mark>, newest: u64, found: Option<Mark>) -> Resume {
    match (after, found) {
        // Nothing happened yet, and the follower knows that much.
        (Some(0), _) if newest == 0 => Resume::After(0),
        (Some(after), Some(found)) if after <= newest && mark.is_none_or(|mark| mark == found) => Resume::After(after),
        _ => Resume::Whole,
    }
}

mod pseudonym_text {
    use crate::account::PseudonymKey;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &PseudonymKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(key.reveal()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PseudonymKey, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        // The complaint must not quote it.
        bytes.map(PseudonymKey::from_bytes).ok_or_else(|| serde::de::Error::custom("a pseudonym key is 32 bytes"))
    }
}

#[cfg(test)]
mod tests;
