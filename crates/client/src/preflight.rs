//! The numbers that are known before the first payload byte, and what they decide. Pure.

use serde::Serialize;

/// How new files come into place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Everything is staged, then put in place at once: a crash leaves the old version or the new one.
    Whole,
    /// In batches, because the volume has no room for everything: a crash leaves an install that
    /// `pull` or `repair` finishes; until then it is marked unfinished.
    Lean,
}

/// Room that a plan takes on the install's volume, in bytes, in whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Space {
    /// Most bytes beyond today's use at any moment.
    pub peak_extra_bytes: u64,
    /// Free now, for this user. `u64::MAX` on Windows, where it is not known: there the disk itself refuses, in
    /// the middle of the download, and nothing of the installed version has changed by then.
    pub free_bytes: u64,
}

/// Everything a player wants to know before saying yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preflight {
    /// How files come into place.
    pub strategy: Strategy,
    /// Bytes to download: payload and manifest.
    pub download_bytes: u64,
    /// Of these, content ranges still to be fetched.
    pub payload_bytes: u64,
    /// Of these, manifest root and parts, already fetched to make this plan.
    pub manifest_bytes: u64,
    /// Requests for content.
    pub requests: u64,
    /// Bytes of files to be written. A moved file counts where it is copied: when the previous version is kept, and on
    /// disks that cannot give a file a second name.
    pub write_bytes: u64,
    /// Of these, content taken from files that are on disk.
    pub reuse_bytes: u64,
    /// Of these, already staged by an earlier run.
    pub resumed_bytes: u64,
    /// Files that stay as they are.
    pub kept_files: u64,
    /// Files to be written.
    pub written_files: u64,
    /// Files that only change their place.
    pub moved_files: u64,
    /// Files to be removed.
    pub removed_files: u64,
    /// Bytes of the release's files once installed, kept previous files not included.
    pub final_bytes: u64,
    /// Room on the volume.
    pub space: Space,
}

/// One file of a plan, as far as room is concerned: bytes it adds while it is staged, and bytes that
/// go away once it is in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) staged_bytes: u64,
    pub(crate) freed_bytes: u64,
}

/// Rounds up to whole blocks.
pub(crate) const fn in_blocks(bytes: u64, block_bytes: u64) -> u64 {
    bytes.div_ceil(block_bytes).saturating_mul(block_bytes)
}

/// Peak when everything is staged first.
pub(crate) fn whole_peak(claims: &[(usize, Claim)]) -> u64 {
    claims.iter().fold(0, |sum, (_, claim)| sum.saturating_add(claim.staged_bytes))
}

/// Splits claims into batches of at most `batch_bytes` (but at least one file) and gives the peak of
/// committing one batch after another, and the row each batch ends before.
pub(crate) fn lean_peak(claims: &[(usize, Claim)], batch_bytes: u64, rows: usize) -> (u64, Vec<usize>) {
    let (mut peak, mut base, mut staged, mut freed) = (0u64, 0u64, 0u64, 0u64);
    let mut ends = Vec::new();
    for (row, claim) in claims {
        if staged > 0 && staged + claim.staged_bytes > batch_bytes {
            base = (base + staged).saturating_sub(freed);
            (staged, freed) = (0, 0);
            ends.push(*row);
        }
        staged += claim.staged_bytes;
        freed += claim.freed_bytes;
        peak = peak.max(base + staged);
    }
    ends.push(rows);
    (peak, ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn claim(staged_bytes: u64, freed_bytes: u64) -> Claim {
        Claim { staged_bytes, freed_bytes }
    }

    #[test]
    fn the_lean_peak_is_the_largest_file_when_files_keep_their_size() {
        let claims: Vec<_> = [(3, claim(100, 100)), (5, claim(400, 400)), (9, claim(50, 50))].into();
        assert_eq!(whole_peak(&claims), 550);
        assert_eq!(lean_peak(&claims, 0, 10), (400, vec![5, 9, 10]));
        assert_eq!(lean_peak(&claims, 500, 10), (500, vec![9, 10]));
        assert_eq!(lean_peak(&[], 0, 10), (0, vec![10]));
    }

    proptest! {
        /// No batching needs more than staging everything, and never less than the largest file.
        #[test]
        fn lean_is_between_the_largest_file_and_everything(sizes in prop::collection::vec((1u64..1000, 0u64..1000), 1..50), batch in 0u64..3000) {
            let claims: Vec<_> = sizes.iter().enumerate().map(|(row, (s, f))| (row, claim(*s, *f))).collect();
            let (peak, ends) = lean_peak(&claims, batch, sizes.len());
            prop_assert!(peak <= whole_peak(&claims));
            prop_assert!(peak >= sizes.iter().map(|s| s.0).max().unwrap_or(0));
            prop_assert!(ends.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(ends.last(), Some(&sizes.len()));
        }
    }
}
