//! `verify`: compares an install with its manifest, offline. Changes nothing: a commit that a crash
//! interrupted is reported as unfinished, and `pull`, `repair` or `rollback` finish it.

use crate::error::PullError;
use crate::install::{OnDamage, Opened, kept_listing};
use crate::layout;
use crate::listing::Listing;
use crate::platform::{Found, Root};
use crate::pool::worker_count;
use crate::progress::{Phase, Progress};
use crate::report::VerifyReport;
use crate::request::VerifyRequest;
pub use crate::scan::LISTED_MAX;
use crate::scan::scan;
use crate::shelf::Shelf;
use penstock_core::path::CLIENT_DIR;
use std::time::Instant;

/// Compares an install with its manifest.
///
/// # Errors
/// [`PullError`] when there is no install, or its kept manifest is damaged. A damaged install is
/// not an error but a report.
pub fn verify(request: &VerifyRequest, progress: &dyn Progress) -> Result<VerifyReport, PullError> {
    compare(request, progress).map_err(|error| error.within(&request.dir))
}

fn compare(request: &VerifyRequest, progress: &dyn Progress) -> Result<VerifyReport, PullError> {
    let started = Instant::now();
    let missing = || PullError::NotAnInstall(request.dir.clone());
    let opened = Opened::unlocked(&request.dir, OnDamage::Refuse)?.ok_or_else(missing)?;
    let decided = opened.first_state()?;
    let state = opened.state.as_ref().or(decided.as_ref()).ok_or_else(|| opened.without_state(&request.dir))?;
    let shelf = Shelf::of(&opened.root);
    let lost = || PullError::KeptManifest(state.installed.version.clone());
    let listing = kept_listing(&shelf, &state.installed, None)?.ok_or_else(lost)?;
    progress.begin(Phase::Scan, listing.content_bytes());
    let workers = worker_count(request.tuning.workers);
    let found = scan(&listing, &shelf, &opened.root, workers, |_| true, progress)?;
    let (extra, extra_count) = extra_files(&opened.root, &listing)?;
    let damaged_count = found.damaged.count();
    let unfinished = state.unfinished.is_some() || opened.root.stat(layout::JOURNAL)?.is_some();
    Ok(VerifyReport {
        product: state.product.clone(),
        version: state.installed.version.clone(),
        intact: damaged_count == 0 && !unfinished,
        unfinished,
        entries: listing.len() as u64,
        bytes: found.bytes,
        damaged: found.listed,
        damaged_count,
        extra,
        extra_count,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Files that no release put there: the first [`LISTED_MAX`], and how many.
fn extra_files(root: &Root, listing: &Listing) -> Result<(Vec<String>, u64), PullError> {
    let (mut names, mut count) = (Vec::new(), 0);
    let mut open = vec![String::new()];
    while let Some(dir) = open.pop() {
        for name in root.list(&dir)? {
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            if path == CLIENT_DIR {
                continue;
            }
            match root.stat(&path)? {
                Some(Found::Directory) => open.push(path),
                Some(_) if listing.find(&path).is_none() => {
                    count += 1;
                    if names.len() < LISTED_MAX {
                        names.push(path);
                    }
                }
                _ => {}
            }
        }
    }
    names.sort_unstable();
    Ok((names, count))
}
