//! Where each chunk of a file to be assembled comes from, and what that costs.

use super::{Plan, RowAction, Scene};
use crate::error::PullError;
use crate::index::{ChunkIndex, INDEX_CHUNKS_MAX};

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
    pub(super) fn find_sources(&mut self, scene: &Scene<'_>) -> Result<Sums, PullError> {
        let target = scene.target;
        if !self.actions.iter().any(|action| action.is_staged()) {
            return Ok(Sums::default());
        }
        self.index_old(scene)?;
        let wanted: usize = (0..target.rows().len())
            .filter(|row| self.actions[*row] == RowAction::Assemble)
            .map(|row| target.rows()[row].chunks as usize)
            .sum();
        let mut firsts = ChunkIndex::with_capacity(wanted);
        let mut sums = Sums::default();
        for part in self.parts_to_assemble(scene) {
            let chunks = target.load(part, scene.shelf)?;
            for visit in target.visit(part, &chunks).filter(|visit| self.actions[visit.row] == RowAction::Assemble) {
                let bytes = u64::from(visit.chunk.bytes);
                if self.done.has(visit.ordinal) {
                    sums.resumed_bytes += bytes;
                    firsts.push(&visit.chunk.id, visit.position);
                } else if scene.have.is_some_and(|have| self.old_source(&have, &visit).is_some()) {
                    sums.reuse_bytes += bytes;
                    self.old.set(visit.ordinal);
                } else {
                    firsts.push(&visit.chunk.id, visit.position);
                }
                sums.write_bytes += bytes;
            }
        }
        firsts.sort();
        self.firsts = firsts;
        for part in self.parts_to_assemble(scene) {
            let chunks = target.load(part, scene.shelf)?;
            let visits = target.visit(part, &chunks);
            for visit in visits.filter(|visit| self.actions[visit.row] == RowAction::Assemble) {
                if self.done.has(visit.ordinal) || self.old.has(visit.ordinal) {
                    continue;
                }
                if self.firsts.find(&visit.chunk.id).next().is_some_and(|first| first < visit.position) {
                    sums.reuse_bytes += u64::from(visit.chunk.bytes);
                    self.copies.set(visit.ordinal);
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

    fn parts_to_assemble(&self, scene: &Scene<'_>) -> Vec<usize> {
        let wanted =
            |part: &usize| scene.target.rows_of_part(*part).any(|row| self.actions[row] == RowAction::Assemble);
        (0..scene.target.part_count()).filter(wanted).collect()
    }

    /// Files that change or go are indexed first: their content is what moves between files, and the
    /// index is bounded.
    fn index_old(&mut self, scene: &Scene<'_>) -> Result<(), PullError> {
        let Some(have) = scene.have else { return Ok(()) };
        let listing = have.listing;
        let there = rows_there(scene, &have)?;
        let stays = |row: usize| {
            let path = listing.path(row);
            scene.target.find(path).is_some_and(|new| matches!(self.actions[new], RowAction::Keep | RowAction::Mode))
        };
        let mut index = ChunkIndex::with_capacity(listing.chunk_count());
        for staying in [false, true] {
            for part in 0..listing.part_count() {
                let picked = |row: usize| there.has(row) && stays(row) == staying;
                if !listing.rows_of_part(part).any(picked) {
                    continue;
                }
                let chunks = listing.load(part, scene.shelf)?;
                let mut last = (usize::MAX, false);
                for visit in listing.visit(part, &chunks) {
                    if last.0 != visit.row {
                        last = (visit.row, picked(visit.row));
                    }
                    let bad = have.scan.is_some_and(|scan| scan.bad_chunks.has(visit.ordinal));
                    if last.1 && !bad {
                        index.push(&visit.chunk.id, visit.position);
                    }
                }
            }
            if listing.chunk_count() >= INDEX_CHUNKS_MAX {
                tracing::debug!("the chunk index is full: some content on disk will be fetched");
            }
        }
        index.sort();
        self.index = index;
        Ok(())
    }
}

/// Old files that can be read: there, and of the right length unless a scan looked at each chunk.
fn rows_there(scene: &Scene<'_>, have: &super::Have<'_>) -> Result<crate::bits::Bits, PullError> {
    let mut there = crate::bits::Bits::new(have.listing.rows().len());
    let Some(root) = scene.root else { return Ok(there) };
    for (at, row) in have.listing.rows().iter().enumerate().filter(|(_, row)| row.is_file() && row.bytes > 0) {
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
