//! What becomes of each entry and where each missing chunk comes from. Looks at the disk (metadata
//! only) and at manifest parts; changes nothing. "Repair" and "resume" are the same plan with other
//! knowledge of what is on disk.

mod entries;
mod groups;
mod rows;
mod sources;

pub(crate) use groups::{Frame, Group, Want};

use crate::bits::Bits;
use crate::error::PullError;
use crate::index::Places;
use crate::listing::Listing;
use crate::platform::{Links, Root, Volume};
use crate::preflight::{Claim, Preflight, Space, Strategy, in_blocks, lean_peak, whole_peak};
use crate::scan::Scan;
use crate::shelf::Shelf;
use crate::state::Release;
use std::path::Path;

/// Batch sizes that a lean plan tries, in bytes: larger ones cost fewer syncs.
const LEAN_BATCH_BYTES: [u64; 3] = [256 << 20, 32 << 20, 0];
/// Journal, state and directories: what a commit writes beside files, per changed entry and in all.
const COMMIT_BYTES_PER_ENTRY: u64 = 160;
pub(crate) const COMMIT_BYTES: u64 = 128 * 1024;

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

impl Wishes {
    /// Whether moved files are copied. A second name takes no room; but a kept previous file must not share its bytes with
    /// a live one, and some disks have no second names.
    fn copy_moves(self, scene: &Scene<'_>) -> bool {
        self.keep_previous || scene.volume.links == Links::None
    }
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
    /// Where the chunks of `old` and `copies` are, as positions in the old release's content and in the new one's.
    places: Places,
    /// Old row → new row that replaces it, where that happens before the end.
    replaced_by: Vec<u32>,
}

/// Everything that planning looks at.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    /// The release to install.
    pub(crate) target: &'a Listing,
    /// Where, for messages.
    pub(crate) dir: &'a Path,
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
    /// [`PullError::NoSpace`] or [`PullError::NoFiles`] when not even the lean plan fits; [`PullError::DirectoryInTheWay`] and
    /// symbolic links in the way; errors of the disk.
    pub(crate) fn make(scene: &Scene<'_>, wishes: Wishes) -> Result<Self, PullError> {
        let mut rows = rows::decide(scene)?;
        let (strategy, peak_extra_bytes, batch_ends) = choose(scene, wishes, &mut rows)?;
        let mut plan = Self::blank(scene, rows, batch_ends);
        let sums = plan.find_sources(scene, wishes)?;
        let files = |wanted: fn(RowAction) -> bool| {
            scene.target.files().filter(|row| wanted(plan.actions[*row])).count() as u64
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
            space: Space { peak_extra_bytes, free_bytes: scene.volume.free_bytes },
        };
        Ok(plan)
    }
    /// Whether anything on disk has to change.
    pub(crate) fn changes_anything(&self) -> bool {
        !self.removals.is_empty() || !self.aside.is_empty() || self.actions.iter().any(|a| *a != RowAction::Keep)
    }
    /// Where a chunk of `old` (in the old release) or of `copies` (in the new one) is: row and offset.
    pub(crate) fn source(&self, listing: &Listing, ordinal: usize) -> Option<(usize, u64)> {
        let position = self.places.get(ordinal)?;
        let row = listing.row_at(position)?;
        Some((row, position - listing.row(row).position))
    }
    /// Moved files that get no second name after all: their content is copied from the old ones.
    pub(crate) fn copy_instead(
        &mut self,
        scene: &Scene<'_>,
        have: &Have<'_>,
        moved: &[(usize, usize)],
    ) -> Result<(), PullError> {
        let target = scene.target;
        let old_of = |row: usize| moved.binary_search_by_key(&row, |pair| pair.0).ok().map(|at| moved[at].1);
        for part in 0..target.part_count() {
            if !target.rows_of_part(part).any(|row| old_of(row).is_some()) {
                continue;
            }
            let chunks = target.load(part, scene.shelf)?;
            for visit in target.visit(part, &chunks) {
                let Some(old) = old_of(visit.row) else { continue };
                let position = have.listing.row(old).position + visit.offset;
                // Whatever an earlier run staged of it is gone: it was to have a second name.
                self.done.clear(visit.ordinal);
                if self.places.set(visit.ordinal, target.chunk_count(), position) {
                    self.old.set(visit.ordinal);
                } else {
                    self.fetch.set(visit.ordinal);
                }
            }
        }
        for (row, _) in moved {
            self.actions[*row] = RowAction::Assemble;
        }
        Ok(())
    }
    /// First row of the batch that a row is in.
    pub(crate) fn batch_start(&self, row: usize) -> usize {
        let batch = self.batch_ends.partition_point(|end| *end <= row);
        batch.checked_sub(1).map_or(0, |before| self.batch_ends[before])
    }

    /// A plan that fetches and copies nothing: its files are staged by somebody else, from what was kept when
    /// the other release came. What becomes of each entry is decided as for any other plan.
    pub(crate) fn going_back(scene: &Scene<'_>) -> Result<Self, PullError> {
        let mut rows = rows::decide(scene)?;
        for (row, action) in rows.actions.iter_mut().enumerate().filter(|(_, action)| action.is_staged()) {
            // A file that is the same in both releases was not kept: damage to it is for `repair` to mend.
            let is_same = scene.have.is_some_and(|have| {
                let old = have.listing.find(scene.target.path(row)).map(|old| have.listing.row(old));
                old.is_some_and(|old| old.is_file() && old.digest == scene.target.row(row).digest)
            });
            *action = if is_same { RowAction::Keep } else { RowAction::Assemble };
        }
        let end = rows.actions.len();
        Ok(Self::blank(scene, rows, vec![end]))
    }

    /// A plan with these decisions and nothing to fetch.
    #[cfg(test)]
    pub(crate) fn sample(
        scene: &Scene<'_>,
        actions: Vec<RowAction>,
        removals: Vec<usize>,
        batch_ends: Vec<usize>,
    ) -> Self {
        Self::blank(scene, rows::Decided { actions, removals, aside: Vec::new(), lean_is_possible: true }, batch_ends)
    }

    fn blank(scene: &Scene<'_>, rows: rows::Decided, batch_ends: Vec<usize>) -> Self {
        let bits = || Bits::new(scene.target.chunk_count());
        let mut replaced_by = Vec::new();
        if let Some(have) = scene.have.filter(|_| batch_ends.len() > 1) {
            let by = |at| scene.target.find(have.listing.path(at)).filter(|row| rows.actions[*row].is_staged());
            replaced_by = (0..have.listing.len())
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
            places: Places::default(),
            replaced_by,
        }
    }
}

/// How the plan comes into place: the strategy, the bytes that it takes at its peak, and where its batches end.
fn choose(
    scene: &Scene<'_>,
    wishes: Wishes,
    rows: &mut rows::Decided,
) -> Result<(Strategy, u64, Vec<usize>), PullError> {
    let (free_bytes, free_files) = (scene.volume.free_bytes, scene.volume.free_files);
    let ends = vec![rows.actions.len()];
    if !rows.change_anything() {
        return Ok((Strategy::Whole, 0, ends));
    }
    let overhead = |claims: &[(usize, Claim)]| COMMIT_BYTES + COMMIT_BYTES_PER_ENTRY * claims.len() as u64;
    let peak_files = |actions: &[RowAction], ends: &[usize]| match free_files {
        Some(_) => entries::peak(scene, actions, wishes, ends),
        None => 0,
    };
    let free_files = free_files.unwrap_or(u64::MAX);
    let all = claims(scene, &rows.actions, wishes);
    let mut needed_bytes = whole_peak(&all).saturating_add(overhead(&all));
    let mut needed_files = peak_files(&rows.actions, &ends);
    if needed_bytes <= free_bytes && needed_files <= free_files {
        return Ok((Strategy::Whole, needed_bytes, ends));
    }
    if rows.lean_is_possible && !wishes.keep_previous {
        rows::copy_what_is_replaced(scene, &mut rows.actions);
        let all = claims(scene, &rows.actions, wishes);
        for batch_bytes in LEAN_BATCH_BYTES {
            let (peak, ends) = lean_peak(&all, batch_bytes, rows.actions.len());
            let peak = peak.saturating_add(overhead(&all));
            let files = peak_files(&rows.actions, &ends);
            if peak <= free_bytes && files <= free_files {
                return Ok((Strategy::Lean, peak, ends));
            }
            (needed_bytes, needed_files) = (needed_bytes.min(peak), needed_files.min(files));
        }
    }
    let dir = scene.dir.to_owned();
    if needed_bytes <= free_bytes {
        return Err(PullError::NoFiles { dir, needed_files, free_files });
    }
    Err(PullError::NoSpace { dir, needed_bytes, free_bytes })
}

/// Room that each staged file takes and frees.
fn claims(scene: &Scene<'_>, actions: &[RowAction], wishes: Wishes) -> Vec<(usize, Claim)> {
    let block_bytes = scene.volume.block_bytes;
    let moves_cost = wishes.copy_moves(scene);
    let mut lives_on = Bits::new(scene.have.map_or(0, |have| have.listing.len()));
    if !moves_cost {
        // A file that lives on under another name frees nothing when its old name is replaced.
        actions.iter().for_each(|action| {
            if let RowAction::Reuse(from) = action {
                lives_on.set(*from as usize)
            }
        });
    }
    let freed = |row: usize| {
        let have = scene.have.filter(|have| have.owner == Owner::Install && !wishes.keep_previous)?;
        let old = have.listing.find(scene.target.path(row))?;
        (!lives_on.has(old)).then(|| in_blocks(have.listing.row(old).bytes, block_bytes))
    };
    let mut claims = Vec::new();
    for (row, action) in actions.iter().enumerate() {
        if *action != RowAction::Assemble && !(moves_cost && action.is_staged()) {
            continue;
        }
        let wanted = in_blocks(scene.target.row(row).bytes, block_bytes);
        let there = scene.staged.allocated_bytes.get(&row).copied().unwrap_or(0);
        let freed_bytes = freed(row).unwrap_or(0);
        claims.push((row, Claim { staged_bytes: wanted.saturating_sub(there), freed_bytes }));
    }
    claims
}
