//! The audit, read: page by page, and walked from its first entry to see whether the chain holds.

use crate::control::Node;
use crate::error::CallError;
use crate::page::{cut_page, page_rows};
use crate::record::RecordError;
use crate::record::audit::{self, Filter, StoredEntry};
use penstock_core::audit::{AuditAnswer, AuditBreak, AuditVerified, ChainHash};

/// Entries that are looked at in one transaction: between two of them the reader's view may move on.
const STRETCH_ENTRIES: u64 = 10_000;

/// Longest filter in bytes: no subject is longer, an account's name in it has 256.
const FILTER_BYTES_MAX: usize = 1024;

/// A page of entries, oldest first.
pub(crate) fn page(node: &Node, filter: &Filter, limit: Option<u64>) -> Result<AuditAnswer, CallError> {
    for text in filter.subject.iter().chain(&filter.actor) {
        if text.len() > FILTER_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(CallError::Malformed(format!("a filter has at most {FILTER_BYTES_MAX} printable bytes")));
        }
    }
    let limit = page_rows(limit);
    node.record.read(|connection| {
        let mut entries = audit::page(connection, filter, limit as u64 + 1)?;
        let next = cut_page(&mut entries, limit, |entry| entry.sequence);
        Ok(AuditAnswer { entries, next })
    })
}

/// Walks the chain from its first entry. One entry at a time is in memory.
pub(crate) fn verify(node: &Node) -> Result<AuditVerified, CallError> {
    let newest = node.record.read(audit::newest)?;
    let mut walk = Walk { entries: 0, hash: ChainHash::START, broken: None };
    loop {
        let before = walk.entries;
        let stretch =
            node.record.read(|connection| audit::each(connection, before, STRETCH_ENTRIES, |entry| walk.step(&entry)));
        match stretch {
            Ok(()) => {}
            Err(RecordError::Damaged { what }) => walk.stop(format!("it holds a {what} that is not one")),
            Err(error) => return Err(error.into()),
        }
        if walk.broken.is_some() || walk.entries == before {
            break;
        }
    }
    if walk.broken.is_none() && walk.entries < newest {
        walk.stop(format!("it is missing: {newest} entries were written"));
    }
    let Walk { entries, hash, broken } = walk;
    Ok(AuditVerified { whole: broken.is_none(), entries, hash: hash.to_string(), broken })
}

/// How far a chain holds.
struct Walk {
    entries: u64,
    hash: ChainHash,
    broken: Option<AuditBreak>,
}

impl Walk {
    fn step(&mut self, entry: &StoredEntry) {
        if self.broken.is_some() {
            return;
        }
        if entry.sequence != self.entries + 1 {
            return self.stop("it is missing".to_owned());
        }
        let expected = entry.expected_hash(&self.hash);
        if entry.hash != expected {
            return self.stop("its hash is not that of what it says and of the entries before it".to_owned());
        }
        (self.entries, self.hash) = (entry.sequence, expected);
    }

    fn stop(&mut self, reason: String) {
        if self.broken.is_none() {
            self.broken = Some(AuditBreak { sequence: self.entries + 1, reason });
        }
    }
}
