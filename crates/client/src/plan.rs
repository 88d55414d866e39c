//! What becomes of each entry and where each missing chunk comes from. Looks at the disk (metadata
//! only) and at manifest parts; changes nothing. "Repair" and "resume" are the same plan with other
//! knowledge of what is on disk.

mod groups;
mod rows;
mod sources;

pub(crate) use groups::{Frame, Group, Want};

use crate::bits::Bits;
use crate::error::PullError;
use crate::index::ChunkIndex;
use crate::listing::{Listing, Visit};
use crate::platform::{Root, Volume};
use crate::preflight::{Claim, Preflight, Space, Strategy, in_blocks, lean_peak, whole_peak};
use crate::scan::Scan;
use crate::shelf::Shelf;
use crate::state::Release;
use std::collections::HashSet;
use std::path::Path;

/// Batch sizes that a lean plan tries, in bytes: larger ones cost fewer syncs.
const LEAN_BATCH_BYTES: [u64; 3] = [256 << 20, 32 << 20, 0];
/// Journal, state and directories: what a commit writes beside files, per changed entry and in all.
const COMMIT_BYTES_PER_ENTRY: u64 = 160;
const COMMIT_BYTES: u64 = 128 * 1024;

/// What becomes of an entry of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowAction {
    /// It is there.
    Keep,
    /// It is there with the wrong executable bit.
    Mode,
    /// A directory or link to make.
    Make,
    /// A file to assemble in staging.
    Assemble,
    /// A file whose content is that of this old row: a second name for it.
    Reuse(u32),
}

impl RowAction {
    /// Whether a file of this row goes through staging.
    pub(crate) const fn is_staged(self) -> bool {
        matches!(self, Self::Assemble | Self::Reuse(_))
    }
}

/// What is known to be on disk.
#[derive(Clone, Copy)]
pub(crate) struct Have<'a> {
    /// Entries that should be there.
    pub(crate) listing: &'a Listing,
    /// What a scan found of them; without one, file sizes are believed until content is used.
    pub(crate) scan: Option<&'a Scan>,
    /// Whose files these are.
    pub(crate) owner: Owner,
}

/// Whose files are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// An earlier pull put them there.
    Install,
    /// Nobody knows: what is not exactly as published is moved aside, never overwritten.
    Player,
}

/// What the caller wants of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Keep replaced files.
    pub(crate) keep_previous: bool,
    /// Manifest bytes already downloaded.
    pub(crate) manifest_bytes: u64,
}

/// See the module's words.
pub(crate) struct Plan {
    /// One per row of the target.
    pub(crate) actions: Vec<RowAction>,
    /// Chunks staged by an earlier run, and right.
    pub(crate) done: Bits,
    /// Chunks to take from old files.
    pub(crate) old: Bits,
    /// Chunks to take from another place of the new release.
    pub(crate) copies: Bits,
    /// Chunks to fetch.
    pub(crate) fetch: Bits,
    /// Rows before which each batch ends; one batch unless the plan is lean.
    pub(crate) batch_ends: Vec<usize>,
    /// Old rows whose files go away.
    pub(crate) removals: Vec<usize>,
    /// Paths of files that are nobody's and stand in the way.
    pub(crate) aside: Vec<String>,
    /// The numbers.
    pub(crate) preflight: Preflight,
    index: ChunkIndex,
    firsts: ChunkIndex,
    /// Old row → new row that replaces it, where that happens before the end.
    replaced_by: Vec<u32>,
}

/// Everything that planning looks at.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    /// The release to install.
    pub(crate) target: &'a Listing,
    /// What is there.
    pub(crate) have: Option<Have<'a>>,
    /// Where parts are.
    pub(crate) shelf: &'a Shelf<'a>,
    /// The install, if it exists.
    pub(crate) root: Option<&'a Root>,
    /// The volume it is or will be on.
    pub(crate) volume: Volume,
    /// The release that is there.
    pub(crate) from: Option<&'a Release>,
    /// What a scan of the target's own files found, where an interrupted update may have put them already.
    pub(crate) present: Option<&'a Scan>,
    /// What staging already holds.
    pub(crate) staged: &'a crate::stage::Resumed,
}

impl Plan {
    /// Makes the plan.
    ///
    /// # Errors
    /// [`PullError::NoSpace`] when not even the lean plan fits; [`PullError::DirectoryInTheWay`] and
    /// symbolic links in the way; errors of the disk.
    pub(crate) fn make(scene: &Scene<'_>, wishes: Wishes, dir: &Path) -> Result<Self, PullError> {
        let rows = rows::decide(scene)?;
        let claims = claims(scene, &rows.actions, wishes);
        let overhead = COMMIT_BYTES + COMMIT_BYTES_PER_ENTRY * claims.len() as u64;
        let whole = whole_peak(&claims).saturating_add(overhead);
        let free_bytes = scene.volume.free_bytes;
        let mut chosen = (Strategy::Whole, whole, vec![rows.actions.len()]);
        if whole > free_bytes {
            let mut needed = whole;
            let mut lean = None;
            if rows.lean_is_possible && !wishes.keep_previous {
                for batch_bytes in LEAN_BATCH_BYTES {
                    let (peak, ends) = lean_peak(&claims, batch_bytes, rows.actions.len());
                    needed = needed.min(peak.saturating_add(overhead));
                    if peak.saturating_add(overhead) <= free_bytes {
                        lean = Some((Strategy::Lean, peak.saturating_add(overhead), ends));
                        break;
                    }
                }
            }
            chosen = lean.ok_or(PullError::NoSpace { dir: dir.to_owned(), needed_bytes: needed, free_bytes })?;
        }
        let (strategy, peak_extra_bytes, batch_ends) = chosen;
        let mut plan = Self::blank(scene, rows, batch_ends);
        let sums = plan.find_sources(scene)?;
        let files = |wanted: fn(RowAction) -> bool| {
            let rows = scene.target.rows().iter().zip(&plan.actions);
            rows.filter(|(row, action)| row.is_file() && wanted(**action)).count() as u64
        };
        plan.preflight = Preflight {
            strategy,
            download_bytes: sums.payload_bytes + wishes.manifest_bytes,
            payload_bytes: sums.payload_bytes,
            manifest_bytes: wishes.manifest_bytes,
            requests: sums.requests,
            write_bytes: sums.write_bytes,
            reuse_bytes: sums.reuse_bytes,
            resumed_bytes: sums.resumed_bytes,
            kept_files: files(|action| matches!(action, RowAction::Keep | RowAction::Mode)),
            written_files: files(|action| action == RowAction::Assemble),
            moved_files: files(|action| matches!(action, RowAction::Reuse(_))),
            removed_files: plan.removals.len() as u64,
            final_bytes: scene.target.content_bytes(),
            space: Space { peak_extra_bytes, free_bytes },
        };
        Ok(plan)
    }
    /// Whether anything on disk has to change.
    pub(crate) fn changes_anything(&self) -> bool {
        !self.removals.is_empty() || !self.aside.is_empty() || self.actions.iter().any(|a| *a != RowAction::Keep)
    }
    /// Where in the old files a chunk probably is: old row and offset.
    pub(crate) fn old_source(&self, have: &Have<'_>, visit: &Visit<'_>) -> Option<(usize, u64)> {
        let batch_start = self.batch_start(visit.row);
        self.index.find(&visit.chunk.id).find_map(|position| {
            let row = have.listing.row_at(position)?;
            // A file that an earlier batch replaced is gone by now.
            let gone = self.replaced_by.get(row).is_some_and(|by| (*by as usize) < batch_start);
            (!gone).then(|| (row, position - have.listing.rows()[row].position))
        })
    }
    /// The first place of a chunk in the target: row and offset.
    pub(crate) fn first_place(&self, target: &Listing, visit: &Visit<'_>) -> Option<(usize, u64)> {
        let position = self.firsts.find(&visit.chunk.id).next()?;
        let row = target.row_at(position)?;
        Some((row, position - target.rows()[row].position))
    }
    /// First row of the batch that a row is in.
    pub(crate) fn batch_start(&self, row: usize) -> usize {
        let batch = self.batch_ends.partition_point(|end| *end <= row);
        batch.checked_sub(1).map_or(0, |before| self.batch_ends[before])
    }

    /// A plan that fetches and copies nothing: its files are staged by somebody else.
    pub(crate) fn staged_already(scene: &Scene<'_>, actions: Vec<RowAction>, removals: Vec<usize>) -> Self {
        let rows = actions.len();
        let decided = rows::Decided { actions, removals, aside: Vec::new(), lean_is_possible: false };
        Self::blank(scene, decided, vec![rows])
    }

    fn blank(scene: &Scene<'_>, rows: rows::Decided, batch_ends: Vec<usize>) -> Self {
        let bits = || Bits::new(scene.target.chunk_count());
        let mut replaced_by = Vec::new();
        if let Some(have) = scene.have.filter(|_| batch_ends.len() > 1) {
            let by = |at| scene.target.find(have.listing.path(at)).filter(|row| rows.actions[*row].is_staged());
            replaced_by = (0..have.listing.rows().len())
                .map(|at| by(at).and_then(|row| u32::try_from(row).ok()).unwrap_or(u32::MAX))
                .collect();
        }
        Self {
            actions: rows.actions,
            done: scene.staged.done.clone(),
            old: bits(),
            copies: bits(),
            fetch: bits(),
            batch_ends,
            removals: rows.removals,
            aside: rows.aside,
            preflight: Preflight {
                strategy: Strategy::Whole,
                download_bytes: 0,
                payload_bytes: 0,
                manifest_bytes: 0,
                requests: 0,
                write_bytes: 0,
                reuse_bytes: 0,
                resumed_bytes: 0,
                kept_files: 0,
                written_files: 0,
                moved_files: 0,
                removed_files: 0,
                final_bytes: 0,
                space: Space { peak_extra_bytes: 0, free_bytes: 0 },
            },
            index: ChunkIndex::default(),
            firsts: ChunkIndex::default(),
            replaced_by,
        }
    }
}

/// Room that each staged file takes and frees.
fn claims(scene: &Scene<'_>, actions: &[RowAction], wishes: Wishes) -> Vec<(usize, Claim)> {
    let block_bytes = scene.volume.block_bytes;
    // A file that lives on under another name frees nothing when its old name is replaced.
    let reused: HashSet<u32> = actions
        .iter()
        .filter_map(|action| if let RowAction::Reuse(from) = action { Some(*from) } else { None })
        .collect();
    let freed = |row: usize| {
        let have = scene.have.filter(|have| have.owner == Owner::Install && !wishes.keep_previous)?;
        let old = have.listing.find(scene.target.path(row))?;
        let lives_on = u32::try_from(old).is_ok_and(|old| reused.contains(&old));
        (!lives_on).then(|| in_blocks(have.listing.rows()[old].bytes, block_bytes))
    };
    let mut claims = Vec::new();
    for (row, _) in actions.iter().enumerate().filter(|(_, action)| **action == RowAction::Assemble) {
        let wanted = in_blocks(scene.target.rows()[row].bytes, block_bytes);
        let there = scene.staged.allocated_bytes.get(&row).copied().unwrap_or(0);
        let freed_bytes = freed(row).unwrap_or(0);
        claims.push((row, Claim { staged_bytes: wanted.saturating_sub(there), freed_bytes }));
    }
    claims
}
