//! `repair`: the plan of a pull to the installed release, with what is there read from disk.

use crate::ask::{Query, ask};
use crate::commit;
use crate::discover::fetch_parts;
use crate::drive::Network;
use crate::error::PullError;
use crate::install::{Apply, KeptManifest, OnDamage, Opened, kept_listing, kept_manifest, network};
use crate::listing::Listing;
use crate::plan::{Have, Owner, Plan, Scene, Wishes};
use crate::pool::worker_count;
use crate::progress::{Phase, Progress};
use crate::report::RepairReport;
use crate::request::{Intent, RepairRequest};
use crate::scan::scan;
use crate::shelf::Shelf;
use crate::stage::Resumed;
use crate::state::{Release, State};
use penstock_core::limits::ENVELOPE_BYTES_MAX;
use std::time::Instant;

/// Mends an install, or ends an update that was interrupted between two versions.
///
/// # Errors
/// [`PullError`].
pub fn repair(request: &RepairRequest, progress: &dyn Progress) -> Result<RepairReport, PullError> {
    mend(request, progress).map_err(|error| error.within(&request.dir))
}

fn mend(request: &RepairRequest, progress: &dyn Progress) -> Result<RepairReport, PullError> {
    let started = Instant::now();
    let opened = Opened::existing(&request.dir, OnDamage::DropJournal, progress)?;
    let state = opened.state.as_ref().ok_or_else(|| opened.without_state(&request.dir))?;
    let edges = if request.edges.is_empty() { &state.edges } else { &request.edges };
    let ca_file = request.ca_file.as_deref().or(state.ca_file.as_deref());
    let mut network = network(edges, request.token.as_ref(), ca_file, &request.tuning)?;
    let shelf = match request.intent {
        Intent::Apply => Shelf::of(&opened.root),
        Intent::DryRun => Shelf::aside(Some(&opened.root)),
    };
    let release = state.unfinished.as_ref().unwrap_or(&state.installed).clone();
    let (manifest, fetched_bytes) = manifest(&network, &shelf, &release, progress)?;
    let manifest_bytes = fetched_bytes + fetch_parts(&mut network, &manifest.root, &shelf, progress)?;
    let target = Listing::read(manifest.id, &manifest.root, &shelf, None)?;
    let workers = worker_count(request.tuning.workers);
    progress.begin(Phase::Scan, target.content_bytes());
    let damage = scan(&target, &shelf, &opened.root, workers, |_| true, progress)?;
    let before = match &state.unfinished {
        Some(_) => kept_listing(&shelf, &state.installed, Some(&target))?,
        None => None,
    };
    let before_scan = match &before {
        Some(before) => Some(scan(before, &shelf, &opened.root, workers, |_| true, progress)?),
        None => None,
    };
    let have = match &before {
        Some(before) => Have { listing: before, scan: before_scan.as_ref(), owner: Owner::Install },
        None => Have { listing: &target, scan: Some(&damage), owner: Owner::Install },
    };
    let staged = Resumed::find(&opened.root, &target, &shelf, workers)?;
    let scene = Scene {
        target: &target,
        dir: &request.dir,
        have: Some(have),
        shelf: &shelf,
        root: Some(&opened.root),
        volume: opened.root.volume()?,
        from: Some(&state.installed),
        present: Some(&damage),
        staged: &staged,
    };
    let mut plan = Plan::make(&scene, Wishes { keep_previous: false, manifest_bytes })?;
    let preflight = plan.preflight.clone();
    let mut written_bytes = 0;
    let after = state_after(state, &release);
    if request.intent == Intent::Apply && plan.changes_anything() {
        let (root, keep_previous) = (&opened.root, false);
        let apply = Apply { scene: &scene, root, state: after, keep_previous, workers, progress };
        written_bytes = apply.run(&mut plan, Some(&mut network))?.0.written_bytes;
    } else if request.intent == Intent::Apply && after != *state {
        after.save(&opened.root)?;
        commit::tidy_up(&opened.root, &after)?;
    }
    Ok(RepairReport {
        product: state.product.clone(),
        version: release.version,
        dry_run: request.intent == Intent::DryRun,
        repaired_count: damage.damaged.count(),
        repaired: damage.listed,
        preflight,
        downloaded_bytes: fetched_bytes + network.received_bytes(),
        written_bytes,
        dropped_edges: network.dropped(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// The state once a release is mended. Files that were kept when another one came do not lead back from this one.
fn state_after(state: &State, release: &Release) -> State {
    let is_same = release.identity() == state.installed.identity();
    let leads_back = |previous: &Release| is_same && previous.identity() != release.identity();
    let previous = state.previous.clone().filter(leads_back);
    State { installed: release.clone(), unfinished: None, previous, ..state.clone() }
}

/// The release's root: the kept one, or fetched again. Gives the bytes fetched too.
fn manifest(
    network: &Network,
    shelf: &Shelf<'_>,
    release: &Release,
    progress: &dyn Progress,
) -> Result<(KeptManifest, u64), PullError> {
    if let Some(manifest) = kept_manifest(shelf, release)? {
        return Ok((manifest, 0));
    }
    let max = usize::try_from(release.manifest_bytes).unwrap_or(usize::MAX).min(ENVELOPE_BYTES_MAX);
    let target = format!("/v1/blobs/{}", release.manifest);
    let asked = format!("the manifest of version {}", release.version);
    let query = Query { target: &target, max, asked: &asked, answers: &[] };
    let (manifest, bytes) = ask(network, &query, progress, |bytes| {
        let believed = KeptManifest::read(bytes, release);
        let manifest = believed.ok_or_else(|| PullError::KeptManifest(release.version.clone()))?;
        Ok((manifest, bytes.to_vec()))
    })?;
    shelf.keep(&release.manifest, &bytes)?;
    Ok((manifest, bytes.len() as u64))
}
