//! The change log is kept short: what edges can learn from the state need not be in it.
//!
//! Everything but the changes of accounts can be told from the record's tables at any time, and those up to the newest
//! snapshot from that. So entries may go once they are so old that nobody is likely to come back for them: whoever does is
//! told the state. Numbers are never given again, and the newest entry always stays, so that a follower's place can be
//! compared with it.
//!
//! Each step is a transaction of its own that takes the oldest entries: after a crash in the middle the log is only longer
//! than it could be. It must not remove a change of an account that no stored snapshot holds.

use crate::control::Node;
use crate::error::CallError;
use crate::record::snapshots;
use crate::sql::Connection;
use crate::{log, snapshots as making};
use penstock_core::time::UnixSeconds;

/// How much of the log stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogTail {
    /// Entries younger than this stay, in seconds: a day, so that an edge whose site was cut off over night goes on where it
    /// was instead of reading everything again.
    pub seconds: u64,
    /// So many stay however old they are: a fleet that comes back to a quiet system asks for no state.
    pub entries_min: u64,
    /// More than so many never stay: 200,000 changes of accounts are 80 MB, which take an edge longer than a state does.
    pub entries_max: u64,
    /// Entries that one step removes, for which other changes wait: some tens of milliseconds. Fewer are not worth one.
    pub at_once: u64,
}

impl Default for LogTail {
    fn default() -> Self {
        Self { seconds: 24 * 3600, entries_min: 10_000, entries_max: 200_000, at_once: 1000 }
    }
}

/// What a step may remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Everything up to this entry, however young.
    Any(u64),
    /// Everything up to this entry, if all of it is old.
    IfOld(u64),
}

/// What the next step may remove of a log from `oldest` to `newest`.
fn cut(tail: LogTail, oldest: u64, newest: u64) -> Option<Cut> {
    let cut = oldest + tail.at_once.max(1) - 1;
    let stay = newest.checked_sub(cut)?;
    if stay < tail.entries_min.max(1) {
        return None;
    }
    Some(if stay >= tail.entries_max { Cut::Any(cut) } else { Cut::IfOld(cut) })
}

/// Does one step; says how many entries it removed, 0 when there is nothing to do for now.
pub(crate) fn compact(node: &Node, tail: LogTail, now: UnixSeconds) -> Result<u64, CallError> {
    let since = UnixSeconds(now.0.saturating_sub(tail.seconds));
    let found = node.record.read(|connection| {
        let (oldest, newest) = (log::oldest(connection)?, log::newest(connection)?);
        let cut = match cut(tail, oldest, newest) {
            Some(Cut::IfOld(cut)) if log::has_younger(connection, cut, since)? => None,
            Some(Cut::IfOld(cut) | Cut::Any(cut)) => Some(cut),
            None => None,
        };
        cut.map(|cut| Ok::<_, CallError>((oldest, cut, is_held(node, connection, cut)?))).transpose()
    })?;
    let Some((oldest, cut, is_held_already)) = found else { return Ok(0) };
    if !is_held_already {
        making::make(node, now)?;
    }
    let removed = node.record.keep_house(now, |batch| {
        let connection = batch.connection();
        // Another node may have done this step, or the snapshot been lost, since it was looked.
        if log::oldest(connection)? != oldest || !is_held(node, connection, cut)? {
            return Ok::<_, CallError>(0);
        }
        Ok(log::remove_up_to(connection, cut)?)
    })?;
    tracing::debug!(removed, oldest = cut + 1, "the change log was shortened");
    Ok(removed)
}

/// Whether a snapshot that is stored holds all changes of accounts up to an entry.
fn is_held(node: &Node, connection: &Connection, cut: u64) -> Result<bool, CallError> {
    let newest = snapshots::newest(connection)?;
    let stored = newest.map(|row| node.size_of(row.blob)).transpose()?.flatten();
    let covered = newest.filter(|_| stored.is_some()).map_or(0, |row| row.sequence);
    Ok(!log::has_accounts(connection, covered, cut)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAIL: LogTail = LogTail { seconds: 60, entries_min: 10, entries_max: 100, at_once: 5 };

    #[test]
    fn the_oldest_go_first_and_the_newest_stay() {
        assert_eq!(cut(TAIL, 1, 0), None, "nothing ever happened");
        assert_eq!(cut(TAIL, 1, 14), None, "nine would stay");
        assert_eq!(cut(TAIL, 1, 15), Some(Cut::IfOld(5)));
        assert_eq!(cut(TAIL, 37, 51), Some(Cut::IfOld(41)));
        assert_eq!(cut(TAIL, 1, 104), Some(Cut::IfOld(5)), "99 would stay");
        assert_eq!(cut(TAIL, 1, 105), Some(Cut::Any(5)), "a hundred stay");
        let none_stay = LogTail { entries_min: 0, entries_max: 0, at_once: 1, ..TAIL };
        assert_eq!(cut(none_stay, 7, 7), None, "but for the newest");
    }

    proptest! {
        #[test]
        fn step_by_step_the_log_comes_within_its_bounds(
            oldest in 1u64..1000, length in 0u64..2000, min in 0u64..50, at_once in 0u64..20
        ) {
            let tail = LogTail { entries_min: min, at_once, ..TAIL };
            let (mut first, newest) = (oldest, oldest + length);
            while let Some(Cut::Any(last)) = cut(tail, first, newest) {
                prop_assert!(last >= first && newest - last >= tail.entries_max.max(min));
                first = last + 1;
            }
            // From here on only old ones go, and it is within its bounds whether there are any or not.
            prop_assert!(newest - first + 1 < tail.entries_max + at_once.max(1));
            while let Some(Cut::IfOld(last)) = cut(tail, first, newest) {
                prop_assert!(last >= first && newest - last >= min.max(1));
                first = last + 1;
            }
            prop_assert!(newest - first + 1 < min.max(1) + at_once.max(1));
        }
    }
}
