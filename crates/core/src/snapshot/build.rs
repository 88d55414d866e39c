//! Making a snapshot: accounts in rising order, one after the other.

use super::{ACCOUNT_BYTES, HEAD_BYTES, HOLDING_BYTES, INDEX_BYTES, MAGIC, PREFIXES, SnapshotError, TERMS_MAX};
use crate::account::{AccountFacts, AccountKey, HOLDINGS_MAX, Standing, Terms};
use crate::time::UnixSeconds;
use std::collections::HashMap;
use std::sync::Arc;

/// A snapshot in the making. Holds its accounts and holdings in memory: 32 and 12 bytes each.
#[derive(Debug, Default)]
pub struct Builder {
    accounts: Vec<u8>,
    holdings: Vec<u8>,
    extras: Vec<u8>,
    terms: Vec<Arc<Terms>>,
    numbers: HashMap<Arc<Terms>, u32>,
    last: Option<AccountKey>,
    index: Vec<u32>,
}

impl Builder {
    /// Adds an account.
    ///
    /// # Errors
    /// It comes out of order, or there are too many.
    pub fn add(&mut self, account: AccountKey, facts: &AccountFacts) -> Result<(), SnapshotError> {
        if self.last.is_some_and(|last| last >= account) {
            return Err(SnapshotError::Order);
        }
        let number =
            u32::try_from(self.accounts.len() / ACCOUNT_BYTES).map_err(|_| SnapshotError::TooMany("accounts"))?;
        let first =
            u32::try_from(self.holdings.len() / HOLDING_BYTES).map_err(|_| SnapshotError::TooMany("holdings"))?;
        let count = u16::try_from(facts.holdings.len()).ok().filter(|count| usize::from(*count) <= HOLDINGS_MAX);
        let count = count.ok_or(SnapshotError::TooMany("holdings of one account"))?;
        for holding in &facts.holdings {
            let terms = self.number_of(&holding.terms)?;
            for number in [terms, seconds(Some(holding.starts)).unwrap_or(0), seconds(holding.ends).unwrap_or(0)] {
                self.holdings.extend_from_slice(&number.to_le_bytes());
            }
        }
        let mut extras = 0;
        if let Some(more) = &facts.extras {
            extras = u32::try_from(self.extras.len() + 1).map_err(|_| SnapshotError::TooMany("extras"))?;
            let json = serde_json::to_vec(more).map_err(|_| SnapshotError::Damaged("extras cannot be written"))?;
            let length = u32::try_from(json.len()).map_err(|_| SnapshotError::TooMany("extras of one account"))?;
            self.extras.extend_from_slice(&length.to_le_bytes());
            self.extras.extend_from_slice(&json);
        }
        let prefix = usize::from(u16::from_be_bytes([account.0[0], account.0[1]]));
        self.index.resize(prefix + 1, number);
        self.accounts.extend_from_slice(&account.0);
        self.accounts.extend_from_slice(&first.to_le_bytes());
        self.accounts.extend_from_slice(&count.to_le_bytes());
        self.accounts.extend_from_slice(&[standing(facts.standing), 0]);
        self.accounts.extend_from_slice(&seconds(facts.tokens_from).unwrap_or(0).to_le_bytes());
        self.accounts.extend_from_slice(&extras.to_le_bytes());
        self.last = Some(account);
        Ok(())
    }

    /// How many accounts there are so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        (self.accounts.len() / ACCOUNT_BYTES) as u64
    }

    /// Whether there is none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The parts of the file, in order: what they are together is the snapshot.
    ///
    /// # Errors
    /// The terms cannot be written.
    pub fn finish(mut self, sequence: u64) -> Result<[Vec<u8>; 5], SnapshotError> {
        let terms = serde_json::to_vec(&self.terms).map_err(|_| SnapshotError::Damaged("terms cannot be written"))?;
        let mut head = Vec::with_capacity(HEAD_BYTES + INDEX_BYTES);
        head.extend_from_slice(&MAGIC);
        let accounts = self.accounts.len() / ACCOUNT_BYTES;
        let holdings = self.holdings.len() / HOLDING_BYTES;
        for number in [sequence, accounts as u64, holdings as u64, terms.len() as u64, self.extras.len() as u64] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        head.resize(HEAD_BYTES, 0);
        let accounts = u32::try_from(accounts).map_err(|_| SnapshotError::TooMany("accounts"))?;
        self.index.resize(PREFIXES + 1, accounts);
        self.index.iter().for_each(|count| head.extend_from_slice(&count.to_le_bytes()));
        Ok([head, self.accounts, self.holdings, terms, self.extras])
    }

    fn number_of(&mut self, terms: &Arc<Terms>) -> Result<u32, SnapshotError> {
        if let Some(number) = self.numbers.get(terms) {
            return Ok(*number);
        }
        let number = u32::try_from(self.terms.len()).ok().filter(|_| self.terms.len() < TERMS_MAX);
        let number = number.ok_or(SnapshotError::TooMany("terms"))?;
        self.terms.push(Arc::clone(terms));
        self.numbers.insert(Arc::clone(terms), number);
        Ok(number)
    }
}

const fn standing(standing: Standing) -> u8 {
    match standing {
        Standing::Active => 0,
        Standing::Suspended => 1,
        Standing::OnHold => 2,
        Standing::Denied => 3,
    }
}

/// As the file counts: `None` stays none, and what is later than it can say is as late as it can say. The first second of
/// 1970 is its second one.
fn seconds(moment: Option<UnixSeconds>) -> Option<u32> {
    moment.map(|moment| u32::try_from(moment.0).unwrap_or(u32::MAX).max(1))
}
