//! Where each chunk of a file to be assembled comes from, and what that costs.

use super::{Plan, RowAction, Scene, Wishes};
use crate::error::PullError;
use crate::index::ChunkIndex;
use crate::listing::Listing;

/// What the chunks cost together.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) payload_bytes: u64,
    pub(super) requests: u64,
    pub(super) write_bytes: u64,
    pub(super) reuse_bytes: u64,
    pub(super) resumed_bytes: u64,
}

impl Plan {
    /// Fills in `old`, `copies` and `fetch`.
    pub(super) fn find_sources(&mut self, scene: &Scene<'_>, wishes: Wishes) -> Result<Sums, PullError> {
        let target = scene.target;
        if !self.actions.iter().any(|action| action.is_staged()) {
            return Ok(Sums::default());
        }
        self.find_old(scene)?;
        self.find_copies(scene)?;
        let mut sums = Sums::default();
        if wishes.copy_moves(scene) {
            let moved = |row: &usize| matches!(self.actions[*row], RowAction::Reuse(_));
            let bytes = target.files().filter(moved).map(|row| target.row(row).bytes).sum();
            (sums.write_bytes, sums.reuse_bytes) = (bytes, bytes);
        }
        for part in self.parts_to_assemble(scene) {
            let chunks = target.load(part, scene.shelf)?;
            for visit in target.visit(part, &chunks).filter(|visit| self.actions[visit.row] == RowAction::Assemble) {
                let bytes = u64::from(visit.chunk.bytes);
                sums.write_bytes += bytes;
                if self.done.has(visit.ordinal) {
                    sums.resumed_bytes += bytes;
                } else if self.old.has(visit.ordinal) || self.copies.has(visit.ordinal) {
                    sums.reuse_bytes += bytes;
                } else {
                    self.fetch.set(visit.ordinal);
                }
            }
        }
        // Batches fetch by themselves, so that a frame which two of them need comes twice.
        let mut start = 0;
        for end in self.batch_ends.clone() {
            self.each_group(target, scene.shelf, &(start..end), |group| {
                for (_, range) in group.ranges() {
                    sums.payload_bytes += range.len();
                    sums.requests += 1;
                }
                Ok(())
            })?;
            start = end;
        }
        Ok(sums)
    }

    /// Looks for wanted chunks, as many at a time as the index takes; `look` gets each full index.
    fn in_passes(
        &mut self,
        scene: &Scene<'_>,
        mut look: impl FnMut(&mut Self, &ChunkIndex) -> Result<(), PullError>,
    ) -> Result<(), PullError> {
        let target = scene.target;
        let mut index = ChunkIndex::default();
        for part in self.parts_to_assemble(scene) {
            let chunks = target.load(part, scene.shelf)?;
            for visit in target.visit(part, &chunks) {
                let is_open = !self.done.has(visit.ordinal) && !self.old.has(visit.ordinal);
                if self.actions[visit.row] == RowAction::Assemble && is_open {
                    index.push(&visit.chunk.id, visit.ordinal);
                }
                if index.is_full() {
                    index.sort();
                    look(self, &index)?;
                    index.clear();
                }
            }
        }
        index.sort();
        if index.is_empty() { Ok(()) } else { look(self, &index) }
    }

    /// Chunks that old files hold. Files that change or go come first: their content is what moves.
    fn find_old(&mut self, scene: &Scene<'_>) -> Result<(), PullError> {
        let Some(have) = scene.have else { return Ok(()) };
        let (listing, target) = (have.listing, scene.target);
        let there = rows_there(scene, &have)?;
        self.in_passes(scene, |plan, index| {
            for staying in [false, true] {
                for part in 0..listing.part_count() {
                    let picked = |plan: &Self, row: usize| there.has(row) && plan.stays(scene, listing, row) == staying;
                    if !listing.rows_of_part(part).any(|row| picked(plan, row)) {
                        continue;
                    }
                    let chunks = listing.load(part, scene.shelf)?;
                    let mut last = (usize::MAX, false);
                    for visit in listing.visit(part, &chunks) {
                        if last.0 != visit.row {
                            last = (visit.row, picked(plan, visit.row));
                        }
                        if !last.1 || have.scan.is_some_and(|scan| scan.bad_chunks.has(visit.ordinal)) {
                            continue;
                        }
                        for ordinal in index.find(&visit.chunk.id) {
                            plan.take_old(target, ordinal, visit.row, visit.position);
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// Chunks that stand at an earlier place of the target, too.
    fn find_copies(&mut self, scene: &Scene<'_>) -> Result<(), PullError> {
        let target = scene.target;
        self.in_passes(scene, |plan, index| {
            for part in plan.parts_to_assemble(scene) {
                let chunks = target.load(part, scene.shelf)?;
                for visit in target.visit(part, &chunks) {
                    // What is taken from old files may turn out to be damaged: it is nobody's source.
                    if plan.actions[visit.row] != RowAction::Assemble || plan.old.has(visit.ordinal) {
                        continue;
                    }
                    for ordinal in index.find(&visit.chunk.id).filter(|ordinal| *ordinal > visit.ordinal) {
                        // The walk goes forward, so the first place found is the first there is.
                        if !plan.copies.has(ordinal) && plan.places.set(ordinal, target.chunk_count(), visit.position) {
                            plan.copies.set(ordinal);
                        }
                    }
                }
            }
            Ok(())
        })
    }

    fn take_old(&mut self, target: &Listing, ordinal: usize, old_row: usize, position: u64) {
        if self.old.has(ordinal) {
            return;
        }
        // A file that an earlier batch replaced is gone by then.
        let batch_start = target.row_of_chunk(ordinal).map_or(0, |row| self.batch_start(row));
        let is_gone = self.replaced_by.get(old_row).is_some_and(|by| (*by as usize) < batch_start);
        if !is_gone && self.places.set(ordinal, target.chunk_count(), position) {
            self.old.set(ordinal);
        }
    }

    /// Whether an old file stays at its place as it is.
    fn stays(&self, scene: &Scene<'_>, old: &Listing, row: usize) -> bool {
        let new = scene.target.find(old.path(row));
        new.is_some_and(|new| matches!(self.actions[new], RowAction::Keep | RowAction::Mode))
    }

    fn parts_to_assemble(&self, scene: &Scene<'_>) -> Vec<usize> {
        let wanted =
            |part: &usize| scene.target.rows_of_part(*part).any(|row| self.actions[row] == RowAction::Assemble);
        (0..scene.target.part_count()).filter(wanted).collect()
    }
}

/// Old files that can be read: there, and of the right length unless a scan looked at each chunk.
fn rows_there(scene: &Scene<'_>, have: &super::Have<'_>) -> Result<crate::bits::Bits, PullError> {
    let mut there = crate::bits::Bits::new(have.listing.len());
    let Some(root) = scene.root else { return Ok(there) };
    for (at, row) in have.listing.each().filter(|(_, row)| row.is_file() && row.bytes > 0) {
        match root.stat(have.listing.path(at)) {
            Ok(Some(crate::platform::Found::File { bytes, .. })) if bytes == row.bytes || have.scan.is_some() => {
                there.set(at);
            }
            Ok(_) | Err(crate::error::DiskError::Symlink { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(there)
}
