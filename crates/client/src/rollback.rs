//! `rollback`: back to the version kept on disk, offline. What is replaced now is kept in turn, so a
//! second rollback goes forward again.

use crate::error::{DiskError, PullError};
use crate::install::{Apply, OnDamage, Opened, free_names, kept_listing};
use crate::layout;
use crate::listing::Listing;
use crate::plan::{Have, Owner, Plan, RowAction, Scene};
use crate::platform::{Found, Root};
use crate::pool::worker_count;
use crate::progress::{Phase, Progress};
use crate::report::RollbackReport;
use crate::request::RollbackRequest;
use crate::scan::chunk_is_good;
use crate::shelf::Shelf;
use crate::stage::{Resumed, Staging};
use crate::state::{Release, State};
use penstock_core::blob::BlobId;
use std::collections::HashMap;
use std::time::Instant;

/// Brings the kept previous version back.
///
/// # Errors
/// [`PullError::NoPrevious`], [`PullError::PreviousDamaged`], [`PullError::Unfinished`] when an update to a third
/// version was interrupted between two of its commits, and errors of the disk.
pub fn rollback(request: &RollbackRequest, progress: &dyn Progress) -> Result<RollbackReport, PullError> {
    go_back(request, progress).map_err(|error| error.within(&request.dir))
}

fn go_back(request: &RollbackRequest, progress: &dyn Progress) -> Result<RollbackReport, PullError> {
    let started = Instant::now();
    let opened = Opened::existing(&request.dir, OnDamage::Refuse, progress)?;
    let state = opened.state.as_ref().ok_or_else(|| opened.without_state(&request.dir))?;
    let is_other = |previous: &Release| previous.identity() != state.installed.identity();
    let previous = state.previous.clone().filter(is_other).ok_or(PullError::NoPrevious)?;
    if let Some(unfinished) = &state.unfinished {
        // What the versions before have in common was not kept, and another release may have replaced it by now. The
        // installed one itself, half mended, is no worse to leave than one that is damaged.
        if unfinished.identity() != state.installed.identity() {
            return Err(PullError::Unfinished(unfinished.version.clone()));
        }
        progress.note("files were being mended here: verify afterwards, for those that both versions have");
    }
    let shelf = Shelf::of(&opened.root);
    let lost = |release: &Release| PullError::KeptManifest(release.version.clone());
    let target = kept_listing(&shelf, &previous, None)?.ok_or_else(|| lost(&previous))?;
    let current = kept_listing(&shelf, &state.installed, Some(&target))?.ok_or_else(|| lost(&state.installed))?;
    let staged = Resumed::nothing(&target);
    let scene = Scene {
        target: &target,
        dir: &request.dir,
        have: Some(Have { listing: &current, scan: None, owner: Owner::Install }),
        shelf: &shelf,
        root: Some(&opened.root),
        volume: opened.root.volume()?,
        from: Some(&state.installed),
        present: None,
        staged: &staged,
    };
    let plan = Plan::going_back(&scene)?;
    let aside = free_names(&opened.root, &plan.aside, previous.version.as_str())?;
    let workers = worker_count(request.tuning.workers);
    check_kept(&opened.root, &target, &shelf, &plan, workers, progress)?;
    // Nothing of an interrupted pull may be taken for a kept file.
    crate::stage::clear(&opened.root)?;
    drop(Staging::begin(&opened.root, &target, &plan.actions)?);
    let mut restored_files = 0;
    for row in (0..target.len()).filter(|row| plan.actions[*row] == RowAction::Assemble) {
        bring_back(&opened.root, &target, row)?;
        restored_files += 1;
    }
    let kept = Some(state.installed.clone());
    let after = State { installed: previous.clone(), unfinished: None, previous: kept, ..state.clone() };
    let apply = Apply { scene: &scene, root: &opened.root, state: after, keep_previous: true, workers, progress };
    apply.commit(&plan, 0..target.len(), true, &aside)?;
    Ok(RollbackReport {
        product: state.product.clone(),
        from: state.installed.version.clone(),
        to: previous.version,
        restored_files,
        moved_aside: aside.into_iter().map(|(_, to)| to).collect(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Hashes every kept file that will be brought back, before anything changes.
fn check_kept(
    root: &Root,
    target: &Listing,
    shelf: &Shelf<'_>,
    plan: &Plan,
    workers: usize,
    progress: &dyn Progress,
) -> Result<(), PullError> {
    let manifest = target.manifest();
    let wanted = |row: usize| plan.actions[row] == RowAction::Assemble;
    for row in (0..target.len()).filter(|row| wanted(*row)) {
        let found = root.stat(&layout::previous(&manifest, row))?;
        if !matches!(found, Some(Found::File { bytes, .. }) if bytes == target.row(row).bytes) {
            return Err(PullError::PreviousDamaged(target.path(row).to_owned()));
        }
    }
    progress.begin(Phase::Scan, 0);
    let check = || {
        let mut buffer = Vec::new();
        let mut open = HashMap::new();
        move |(row, offset, id, bytes)| {
            if !open.contains_key(&row) {
                open.clear();
                open.insert(row, root.open_read(&layout::previous(&manifest, row))?);
            }
            if open.get(&row).is_some_and(|file| chunk_is_good(file, offset, &id, bytes, &mut buffer)) {
                progress.advance(u64::from(bytes));
                return Ok(());
            }
            Err(PullError::PreviousDamaged(target.path(row).to_owned()))
        }
    };
    crate::pool::run(workers, check, |feed| {
        for part in 0..target.part_count() {
            if !target.rows_of_part(part).any(wanted) {
                continue;
            }
            let chunks = target.load(part, shelf)?;
            for visit in target.visit(part, &chunks).filter(|visit| wanted(visit.row)) {
                if feed.push((visit.row, visit.offset, visit.chunk.id, visit.chunk.bytes)).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    })
}

/// Stages a kept file: by a second name, so that a crash before the commit loses nothing; where the
/// disk has no second names, by a copy.
fn bring_back(root: &Root, target: &Listing, row: usize) -> Result<(), PullError> {
    let manifest: BlobId = target.manifest();
    let (from, to) = (layout::previous(&manifest, row), layout::staged(row));
    if root.hard_link(&from, &to)? {
        return Ok(());
    }
    let mut source = root.open_read(&from)?;
    let mut copy = root.create(&to, target.row(row).is_executable())?;
    std::io::copy(&mut source, &mut copy).map_err(|source| DiskError::new("copy", &from, source))?;
    Ok(())
}
