//! All accounts in one file: sorted by pseudonym, read where it lies.
//!
//! An edge maps the file and looks accounts up in it; nothing is decoded at start but the terms, which are few. Owns the
//! format, version 1, and both directions. It must not do IO, and the reader believes no number in the file: whatever the
//! bytes are, a lookup ends in an answer or an error.
//!
//! | part | content |
//! |---|---|
//! | head, 64 bytes | `PSTKACC1`, then as little-endian numbers: sequence u64, accounts u64, holdings u64, bytes of terms u64, bytes of extras u64; zeros |
//! | index | 65,537 × u32: how many accounts have a pseudonym whose first two bytes, big-endian, are below this |
//! | accounts | 32 bytes each: pseudonym 16, first holding u32, holdings u16, standing u8, zero, tokens-from u32, extras u32 |
//! | holdings | 12 bytes each: terms u32, starts u32, ends u32 |
//! | terms | JSON, one list |
//! | extras | for each account that has some: length u32, JSON |
//!
//! Times are Unix seconds, 0 for none; later than 2106 is as late as that. `extras` is one more than the offset, 0 for
//! none. The file's name and signature vouch for it as a whole: it has no checksums inside.

mod build;

pub use build::Builder;

use crate::account::{AccountFacts, AccountKey, Extras, Holding, Standing, Terms};
use crate::time::UnixSeconds;
use std::ops::Range;
use std::sync::Arc;

/// What every file begins with.
const MAGIC: [u8; 8] = *b"PSTKACC1";
const HEAD_BYTES: usize = 64;
const PREFIXES: usize = 65_536;
const INDEX_BYTES: usize = (PREFIXES + 1) * 4;
const ACCOUNT_BYTES: usize = 32;
const HOLDING_BYTES: usize = 12;
/// Different terms in one file: each costs a few hundred bytes of memory at every edge.
pub const TERMS_MAX: usize = 1 << 20;

/// Why bytes are no snapshot, or one cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Another format, or none.
    #[error("this is no snapshot of accounts of version 1")]
    Magic,
    /// Its parts do not make up its length.
    #[error("the snapshot has {found} bytes where its head promises {promised}")]
    Length {
        /// Bytes there are.
        found: usize,
        /// Bytes there should be.
        promised: u64,
    },
    /// A number in it leads nowhere.
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
    /// Accounts must come in rising order of their pseudonyms.
    #[error("accounts must come in rising order")]
    Order,
    /// More than the format can count.
    #[error("a snapshot cannot hold more than {0}")]
    TooMany(&'static str),
}

/// A snapshot, over bytes that lie somewhere.
#[derive(Clone)]
pub struct Snapshot<B> {
    bytes: B,
    sequence: u64,
    accounts: usize,
    holdings: usize,
    terms: Vec<Arc<Terms>>,
    holdings_at: usize,
    extras: Range<usize>,
}

impl<B: AsRef<[u8]>> Snapshot<B> {
    /// Takes bytes that were verified as a whole.
    ///
    /// # Errors
    /// [`SnapshotError`]: they are no snapshot.
    pub fn new(bytes: B) -> Result<Self, SnapshotError> {
        let all = bytes.as_ref();
        let head = all.first_chunk::<HEAD_BYTES>().ok_or(SnapshotError::Magic)?;
        if head[..8] != MAGIC {
            return Err(SnapshotError::Magic);
        }
        let number = |at: usize| u64_at(head, 8 + at * 8).unwrap_or(u64::MAX);
        let [sequence, accounts, holdings, terms_bytes, extras_bytes] = [0, 1, 2, 3, 4].map(number);
        let promised = (HEAD_BYTES as u64 + INDEX_BYTES as u64)
            .checked_add(accounts.saturating_mul(ACCOUNT_BYTES as u64))
            .and_then(|sum| sum.checked_add(holdings.saturating_mul(HOLDING_BYTES as u64)))
            .and_then(|sum| sum.checked_add(terms_bytes))
            .and_then(|sum| sum.checked_add(extras_bytes))
            .unwrap_or(u64::MAX);
        if promised != all.len() as u64 {
            return Err(SnapshotError::Length { found: all.len(), promised });
        }
        // All of them are below the length, which is a usize.
        #[expect(clippy::cast_possible_truncation, reason = "their sum is the length of a slice")]
        let [accounts, holdings, terms_bytes, extras_bytes] =
            [accounts, holdings, terms_bytes, extras_bytes].map(|number| number as usize);
        let holdings_at = HEAD_BYTES + INDEX_BYTES + accounts * ACCOUNT_BYTES;
        let terms_at = holdings_at + holdings * HOLDING_BYTES;
        let extras_at = terms_at + terms_bytes;
        let terms: Vec<Arc<Terms>> = serde_json::from_slice(&all[terms_at..extras_at])
            .map_err(|_| SnapshotError::Damaged("its terms cannot be read"))?;
        if terms.len() > TERMS_MAX {
            return Err(SnapshotError::TooMany("terms"));
        }
        let extras = extras_at..extras_at + extras_bytes;
        Ok(Self { bytes, sequence, accounts, holdings, terms, holdings_at, extras })
    }

    /// The last change that it holds.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many accounts there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.accounts
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.accounts == 0
    }

    /// An account; `None` when there is none of this pseudonym.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`].
    pub fn get(&self, account: &AccountKey) -> Result<Option<AccountFacts>, SnapshotError> {
        let prefix = usize::from(u16::from_be_bytes([account.0[0], account.0[1]]));
        let (mut low, mut high) = (self.index(prefix)?, self.index(prefix + 1)?);
        while low < high {
            let middle = low + (high - low) / 2;
            let row = self.row(middle)?;
            match row[..16].cmp(&account.0[..]) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.facts(row).map(Some),
            }
        }
        Ok(None)
    }

    fn all(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// How many accounts come before a prefix.
    fn index(&self, prefix: usize) -> Result<usize, SnapshotError> {
        let count = u32_at(self.all(), HEAD_BYTES + prefix * 4).map(|count| count as usize);
        count.filter(|count| *count <= self.accounts).ok_or(SnapshotError::Damaged("its index leads outside"))
    }

    fn row(&self, at: usize) -> Result<&[u8; ACCOUNT_BYTES], SnapshotError> {
        let start = HEAD_BYTES + INDEX_BYTES + at * ACCOUNT_BYTES;
        let row = self.all().get(start..).and_then(|rest| rest.first_chunk());
        row.filter(|_| at < self.accounts).ok_or(SnapshotError::Damaged("its index leads outside"))
    }

    fn facts(&self, row: &[u8; ACCOUNT_BYTES]) -> Result<AccountFacts, SnapshotError> {
        const OUTSIDE: SnapshotError = SnapshotError::Damaged("an account leads outside");
        let first = u32_at(row, 16).ok_or(OUTSIDE)? as usize;
        let count = usize::from(u16::from_le_bytes([row[20], row[21]]));
        if first.checked_add(count).is_none_or(|end| end > self.holdings) {
            return Err(OUTSIDE);
        }
        let holdings = (first..first + count).map(|at| self.holding(at)).collect::<Result<_, _>>()?;
        let standing = match row[22] {
            0 => Standing::Active,
            1 => Standing::Suspended,
            2 => Standing::OnHold,
            3 => Standing::Denied,
            _ => return Err(SnapshotError::Damaged("an account has no standing that we know")),
        };
        let tokens_from = moment(u32_at(row, 24).ok_or(OUTSIDE)?);
        let extras = match u32_at(row, 28).ok_or(OUTSIDE)? {
            0 => None,
            at => Some(Box::new(self.extras(at as usize - 1)?)),
        };
        Ok(AccountFacts { standing, tokens_from, holdings, extras })
    }

    fn holding(&self, at: usize) -> Result<Holding, SnapshotError> {
        const OUTSIDE: SnapshotError = SnapshotError::Damaged("a holding leads outside");
        let start = self.holdings_at + at * HOLDING_BYTES;
        let number = |place: usize| u32_at(self.all(), start + place * 4).ok_or(OUTSIDE);
        let terms = self.terms.get(number(0)? as usize).ok_or(OUTSIDE)?;
        Ok(Holding { terms: Arc::clone(terms), starts: UnixSeconds(number(1)?.into()), ends: moment(number(2)?) })
    }

    fn extras(&self, at: usize) -> Result<Extras, SnapshotError> {
        const OUTSIDE: SnapshotError = SnapshotError::Damaged("extras lead outside");
        let all = self.all().get(self.extras.clone()).ok_or(OUTSIDE)?;
        let length = u32_at(all, at).ok_or(OUTSIDE)? as usize;
        let json = all.get(at + 4..).and_then(|rest| rest.get(..length)).ok_or(OUTSIDE)?;
        serde_json::from_slice(json).map_err(|_| SnapshotError::Damaged("extras cannot be read"))
    }
}

impl<B> std::fmt::Debug for Snapshot<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("sequence", &self.sequence)
            .field("accounts", &self.accounts)
            .finish_non_exhaustive()
    }
}

fn moment(seconds: u32) -> Option<UnixSeconds> {
    (seconds != 0).then_some(UnixSeconds(seconds.into()))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|number| u32::from_le_bytes(*number))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|number| u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests;
