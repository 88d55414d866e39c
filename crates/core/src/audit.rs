//! The audit: who changed what, chained by hashes so that no entry can be altered, removed or put in between unnoticed.
//!
//! # The chain
//! The hash of an entry is BLAKE3 over the hash of the entry before it (32 zero bytes before the first) and then, each
//! number as 8 bytes little-endian and each text as its length in bytes and its UTF-8: `sequence`, `at`, `actor`,
//! `role`, `verb`, `subject`, `before`, `after`. The last two are compact JSON as stored; nothing is the empty text.
//! Whoever keeps one hash elsewhere can prove that everything up to it is as it was.

use crate::time::UnixSeconds;
use serde::{Deserialize, Serialize};

/// The hash of an entry and of all before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// What the first entry follows.
    pub const START: Self = Self([0; 32]);

    /// Wraps 32 bytes; `None` for any other number.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for ChainHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// An entry as it is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainEntry<'a> {
    /// Its number: 1, 2, 3, … without gaps.
    pub sequence: u64,
    /// When.
    pub at: UnixSeconds,
    /// Who: a credential's name, or one that begins with `@`: the socket, the admin token, the node itself.
    pub actor: &'a str,
    /// In which role.
    pub role: &'a str,
    /// What was done, such as `account.put`.
    pub verb: &'a str,
    /// To what, such as `account/alice`.
    pub subject: &'a str,
    /// How it was, as JSON; empty for what was not there.
    pub before: &'a str,
    /// How it is, as JSON; empty for what is no more.
    pub after: &'a str,
}

impl ChainEntry<'_> {
    /// The hash of this entry behind `previous`.
    #[must_use]
    pub fn hash(&self, previous: &ChainHash) -> ChainHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&previous.0);
        hasher.update(&self.sequence.to_le_bytes());
        hasher.update(&self.at.0.to_le_bytes());
        for text in [self.actor, self.role, self.verb, self.subject, self.before, self.after] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        ChainHash(*hasher.finalize().as_bytes())
    }
}

/// One entry of `GET /admin/v1/audit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditEntry {
    /// Its number: 1, 2, 3, … without gaps.
    pub sequence: u64,
    /// When.
    pub at: UnixSeconds,
    /// Who: a credential's name, or one that begins with `@`: the socket, the admin token, the node itself.
    pub actor: String,
    /// In which role.
    pub role: String,
    /// What was done, such as `account.put`.
    pub verb: String,
    /// To what, such as `account/alice`.
    pub subject: String,
    /// How it was; null for what was not there.
    pub before: serde_json::Value,
    /// How it is; null for what is no more.
    pub after: serde_json::Value,
    /// The entry's hash, 64 hexadecimal digits.
    pub hash: String,
}

/// `GET /admin/v1/audit?after=&limit=&subject=&actor=`: a page, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditAnswer {
    /// At most [`crate::limits::PAGE_ROWS_MAX`].
    pub entries: Vec<AuditEntry>,
    /// `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// `GET /admin/v1/audit/verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditVerified {
    /// Whether the whole chain holds.
    pub whole: bool,
    /// How many entries hold, from the first on.
    pub entries: u64,
    /// The hash of the last of them: worth keeping elsewhere.
    pub hash: String,
    /// Where the chain breaks first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<AuditBreak>,
}

/// Where an audit chain breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AuditBreak {
    /// The number of the entry that does not hold, or is not there.
    pub sequence: u64,
    /// What is wrong with it.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: ChainEntry<'_> = ChainEntry {
        sequence: 1,
        at: UnixSeconds(1_800_000_000),
        actor: "@socket",
        role: "owner",
        verb: "account.put",
        subject: "account/alice",
        before: "",
        after: "{\"id\":\"alice\"}",
    };

    #[test]
    fn every_field_and_every_border_between_fields_counts() {
        let hash = ENTRY.hash(&ChainHash::START);
        let others = [
            ChainEntry { sequence: 2, ..ENTRY },
            ChainEntry { at: UnixSeconds(1), ..ENTRY },
            ChainEntry { actor: "@socke", role: "towner", ..ENTRY },
            ChainEntry { verb: "account.pu", subject: "taccount/alice", ..ENTRY },
            ChainEntry { before: ENTRY.after, after: "", ..ENTRY },
        ];
        assert!(others.iter().all(|other| other.hash(&ChainHash::START) != hash));
        assert_ne!(ENTRY.hash(&hash), hash);
    }

    /// The format is a contract: auditors check it with programs of their own.
    #[test]
    fn the_hash_is_the_one_that_is_written_down() {
        let mut bytes = vec![0u8; 32];
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(1_800_000_000u64.to_le_bytes());
        for text in ["@socket", "owner", "account.put", "account/alice", "", "{\"id\":\"alice\"}"] {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        let expected = blake3::hash(&bytes);
        assert_eq!(ENTRY.hash(&ChainHash::START).as_bytes(), expected.as_bytes());
    }
}
