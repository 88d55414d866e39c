//! `pull`: install or update. Reads top to bottom as the operation runs.

use crate::assemble::Assembled;
use crate::choose::{Picked, pick};
use crate::discover::{self, Found, Question};
use crate::drive::Network;
use crate::error::{DiskError, PullError};
use crate::identity;
use crate::install::{Apply, OnDamage, Opened, kept_listing, kept_manifest, network};
use crate::listing::Listing;
use crate::plan::{Have, Owner, Plan, Scene, Wishes};
use crate::platform::{Root, Volume};
use crate::pool::worker_count;
use crate::progress::{Phase, Progress};
use crate::report::PullReport;
use crate::request::{Intent, PullRequest, Target};
use crate::scan::{Scan, scan};
use crate::shelf::Shelf;
use crate::stage::{self, Resumed};
use crate::state::{Release, State};
use penstock_core::request::InstallId;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Installs or updates.
///
/// Blocks until it is done. Safe to interrupt at any instant and to run again.
///
/// # Errors
/// [`PullError`]; nothing in the install has changed when its class is
/// [`crate::ErrorClass::Refused`], but for finishing an update that was already being put in place.
pub fn pull(request: &PullRequest, progress: &dyn Progress) -> Result<PullReport, PullError> {
    install(request, progress).map_err(|error| error.within(&request.into))
}

fn install(request: &PullRequest, progress: &dyn Progress) -> Result<PullReport, PullError> {
    let started = Instant::now();
    if request.edges.is_empty() {
        return Err(PullError::NoEdges);
    }
    let mut network = network(&request.edges, request.token.as_ref(), request.ca_file.as_deref(), &request.tuning)?;
    let mut opened = Opened::unlocked(&request.into, OnDamage::RenewState)?;
    // An interrupted commit is finished before anything is asked: it remembers the latest offer seen, and without
    // that memory an edge could offer an older one. On a first install there is a journal and no state.
    let mut decided = None;
    if let Some(opened) = &mut opened
        && (opened.state.is_some() || opened.has_journal()?)
    {
        match request.intent {
            Intent::Apply => opened.take_lock(&request.into, progress)?,
            Intent::DryRun => decided = opened.decided_state()?,
        }
    }
    if let Some(state) = opened.as_ref().and_then(|opened| opened.state.as_ref()) {
        check_same_product(request, state)?;
    }
    progress.begin(Phase::Discover, 0);
    let state = decided.as_ref().or_else(|| opened.as_ref().and_then(|opened| opened.state.as_ref()));
    let known = opened.as_ref().map(|opened| identity::kept(&opened.root)).transpose()?.flatten();
    let install = match request.intent {
        Intent::Apply => known.or_else(identity::fresh),
        // Nothing is written, so the next run would not have this name.
        Intent::DryRun => known,
    };
    let question = Question {
        product: &request.product,
        platform: &request.platform,
        target: &request.target,
        given: &request.trust,
        state,
        install: install.as_ref(),
        check: request.check,
        now: request.now,
    };
    let kept = opened.as_ref().map(|opened| Shelf::of(&opened.root));
    let found = discover::discover(&network, &question, kept.as_ref(), progress)?;
    // Everything that can be refused by signature was; only now the directory may be touched.
    let mut report = match request.intent {
        Intent::DryRun => {
            let opened = opened.as_ref();
            let shelf = Shelf::aside(opened.map(|opened| &opened.root));
            let state = opened.and_then(|opened| opened.state.clone());
            let scope = Scope { request, found: &found, shelf: &shelf, state: state.as_ref(), progress };
            scope.run(&mut network, opened.map(|opened| &opened.root))
        }
        Intent::Apply => apply(request, &found, opened, install.as_ref(), &mut network, progress),
    }?;
    report.dropped_edges = network.dropped();
    report.downloaded_bytes += found.fetched_bytes + network.received_bytes();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

fn apply(
    request: &PullRequest,
    found: &Found,
    opened: Option<Opened>,
    install: Option<&InstallId>,
    network: &mut Network,
    progress: &dyn Progress,
) -> Result<PullReport, PullError> {
    let mut opened = match opened {
        Some(opened) => opened,
        None => Opened::create(&request.into)?,
    };
    if let Err(error) = opened.take_lock(&request.into, progress) {
        if !matches!(error, PullError::Busy(_)) {
            opened.undo();
        }
        return Err(error);
    }
    let state = opened.state.clone();
    if let Some(install) = install {
        identity::keep(&opened.root, install);
    }
    let result = (|| {
        if let Some(state) = &state {
            check_same_product(request, state)?;
        }
        let shelf = Shelf::of(&opened.root);
        let scope = Scope { request, found, shelf: &shelf, state: state.as_ref(), progress };
        let result = scope.run(network, Some(&opened.root));
        if result.as_ref().is_err_and(|error| !resumes(error, &opened.root)) {
            shelf.undo();
        }
        result
    })();
    if result.as_ref().is_err_and(|error| !resumes(error, &opened.root)) && state.is_none() {
        opened.undo();
    }
    result
}

/// Whether what was fetched so far is worth keeping for the next attempt. A disk that refuses before any content came
/// leaves nothing of use: the directory may be one that was never meant to be an install.
fn resumes(error: &PullError, root: &Root) -> bool {
    match error {
        PullError::Session(_) | PullError::NoAnswer { .. } => true,
        PullError::Disk(_) | PullError::Full { .. } | PullError::NotNoted { .. } => stage::is_begun(root),
        _ => false,
    }
}

fn check_same_product(request: &PullRequest, state: &State) -> Result<(), PullError> {
    if state.product == request.product && state.platform == request.platform {
        return Ok(());
    }
    Err(PullError::OtherProduct {
        dir: request.into.clone(),
        found_product: state.product.clone(),
        found_platform: state.platform.clone(),
        product: request.product.clone(),
        platform: request.platform.clone(),
    })
}

/// One pull, once it is known what to install.
struct Scope<'a> {
    request: &'a PullRequest,
    found: &'a Found,
    shelf: &'a Shelf<'a>,
    state: Option<&'a State>,
    progress: &'a dyn Progress,
}

impl Scope<'_> {
    fn run(&self, network: &mut Network, root: Option<&Root>) -> Result<PullReport, PullError> {
        let manifest = &self.found.manifest;
        let workers = worker_count(self.request.tuning.workers);
        self.shelf.keep(&manifest.id(), &self.found.manifest_bytes)?;
        let wish = (&self.request.components, self.state);
        let picked = pick(network, manifest.root(), wish, self.shelf, self.progress)?;
        let parts_bytes = discover::fetch_parts(network, &picked.root, self.shelf, self.progress)?;
        let installed = self.release(&picked);
        let target = Listing::read(installed.identity(), &picked.root, self.shelf, None)?;
        let old = self.old_listing(network, &target)?;
        let known = self.known(root, &target, old.as_ref(), workers)?;
        let have = match (&old, self.state) {
            (Some(listing), _) => Some(Have { listing, scan: known.old.as_ref(), owner: Owner::Install }),
            // The state is there but its manifest is lost: files at the target's paths are ours.
            (None, Some(_)) => Some(Have { listing: &target, scan: known.present.as_ref(), owner: Owner::Install }),
            (None, None) => {
                known.present.as_ref().map(|scan| Have { listing: &target, scan: Some(scan), owner: Owner::Player })
            }
        };
        let mut volume = volume(root, &self.request.into)?;
        let mut staged = Resumed::nothing(&target);
        if let Some(root) = root {
            if self.request.intent == Intent::Apply {
                stage::drop_foreign(root, &target)?;
                volume = root.volume()?;
            } else {
                // Room that the real run makes before it measures.
                let freed_bytes = stage::foreign_bytes(root, &target)?;
                volume.free_bytes = volume.free_bytes.saturating_add(freed_bytes);
            }
            staged = Resumed::find(root, &target, self.shelf, workers)?;
        }
        let scene = Scene {
            target: &target,
            dir: &self.request.into,
            have,
            shelf: self.shelf,
            root,
            volume,
            from: self.state.map(|state| &state.installed),
            present: known.present.as_ref().filter(|_| self.state.is_some()),
            staged: &staged,
        };
        let manifest_bytes = parts_bytes + picked.fetched_bytes + self.found.fetched_bytes;
        let wishes = Wishes { keep_previous: self.keeps_previous(&installed), manifest_bytes };
        let mut plan = Plan::make(&scene, wishes)?;
        let preflight = plan.preflight.clone();
        let changed = plan.changes_anything() || self.is_other(&installed);
        let mut done = (Assembled::default(), Vec::new());
        if let Some(root) = root.filter(|_| self.request.intent == Intent::Apply) {
            let state = self.state_after(installed, &picked);
            if plan.changes_anything() {
                let keep_previous = wishes.keep_previous;
                let apply = Apply { scene: &scene, root, state, keep_previous, workers, progress: self.progress };
                done = apply.run(&mut plan, Some(network))?;
            } else {
                stage::clear(root)?;
                root.sync_all()?;
                self.note_state(root, &state)?;
                crate::commit::tidy_up(root, &state)?;
            }
        }
        Ok(self.report(&picked, preflight, changed, done))
    }

    /// Renews the state where no file changes. A state that says nothing new is not written, so that an install that is
    /// up to date stays so on a full volume.
    fn note_state(&self, root: &Root, state: &State) -> Result<(), PullError> {
        if self.state == Some(state) {
            return Ok(());
        }
        match state.save(root) {
            Err(PullError::Disk(source @ DiskError::Full { .. })) => {
                if self.state.is_some_and(|old| state.differs_in_edges_only(old)) {
                    self.progress.note("the volume is full: the edges of this pull are not remembered");
                    return Ok(());
                }
                // Without the newest sequence an edge could offer an older release later.
                Err(PullError::NotNoted { dir: self.request.into.clone(), source })
            }
            other => other,
        }
    }

    /// The installed release's entries. Parts that got lost are fetched again, if an edge still has them.
    fn old_listing(&self, network: &mut Network, target: &Listing) -> Result<Option<Listing>, PullError> {
        let Some(state) = self.state else { return Ok(None) };
        if let Some(listing) = kept_listing(self.shelf, &state.installed, Some(target))? {
            return Ok(Some(listing));
        }
        let Some(manifest) = kept_manifest(self.shelf, &state.installed)? else { return Ok(None) };
        self.progress.note("a part of the installed version's manifest is missing and is fetched again");
        match discover::fetch_parts(network, &manifest.root, self.shelf, self.progress) {
            Ok(_) => kept_listing(self.shelf, &state.installed, Some(target)),
            Err(error) => {
                tracing::warn!(%error, "the installed version's manifest cannot be completed");
                Ok(None)
            }
        }
    }

    /// Hashes what cannot be taken on trust: an interrupted update, or files that nobody vouches for.
    fn known(
        &self,
        root: Option<&Root>,
        target: &Listing,
        old: Option<&Listing>,
        workers: usize,
    ) -> Result<Known, PullError> {
        let mut known = Known { old: None, present: None };
        let Some(root) = root else { return Ok(known) };
        // A journal is there in a dry run only, which must not finish what was interrupted.
        let unfinished =
            self.state.is_some_and(|state| state.unfinished.is_some()) || root.stat(crate::layout::JOURNAL)?.is_some();
        if let Some(old) = old {
            if !unfinished {
                return Ok(known);
            }
            self.progress.begin(Phase::Scan, old.content_bytes());
            known.old = Some(scan(old, self.shelf, root, workers, |_| true, self.progress)?);
        }
        let mut any = false;
        for row in target.files() {
            any |= matches!(root.stat(target.path(row)), Ok(Some(_)));
            if any {
                break;
            }
        }
        if any || unfinished || self.state.is_some() {
            self.progress.begin(Phase::Scan, target.content_bytes());
            known.present = Some(scan(target, self.shelf, root, workers, |_| true, self.progress)?);
        }
        Ok(known)
    }

    fn release(&self, picked: &Picked) -> Release {
        let manifest = &self.found.manifest;
        Release {
            version: manifest.root().version.clone(),
            manifest: manifest.id(),
            manifest_bytes: self.found.manifest_bytes.len() as u64,
            left_out: picked.left_out.clone(),
        }
    }

    fn is_other(&self, release: &Release) -> bool {
        self.state.is_none_or(|state| state.installed.identity() != release.identity())
    }

    fn keeps_previous(&self, release: &Release) -> bool {
        self.request.keep_previous
            && self.is_other(release)
            && self.state.is_some_and(|state| state.unfinished.is_none())
    }

    fn state_after(&self, installed: Release, picked: &Picked) -> State {
        let (product, platform) = (self.request.product.clone(), self.request.platform.clone());
        let mut state = self.state.cloned().unwrap_or_else(|| State::new(product, platform, installed.clone()));
        if self.keeps_previous(&installed) {
            state.previous = Some(state.installed.clone());
        } else if self.is_other(&installed) {
            state.previous = None;
        }
        state.installed = installed;
        state.unfinished = None;
        state.chosen.clone_from(&picked.chosen);
        state.given_trust = self.request.trust.to_string();
        state.trust = self.found.trust.to_string();
        state.edges.clone_from(&self.request.edges);
        // Later commands may run elsewhere.
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        state.ca_file = self.request.ca_file.as_ref().map(absolute);
        if let Some((channel, memory)) = &self.found.seen {
            state.channel = Some(channel.clone());
            state.memory.insert(channel.clone(), memory.clone());
        }
        state
    }

    fn report(
        &self,
        picked: &Picked,
        preflight: crate::preflight::Preflight,
        changed: bool,
        (assembled, moved_aside): (Assembled, Vec<String>),
    ) -> PullReport {
        PullReport {
            product: self.request.product.clone(),
            platform: self.request.platform.clone(),
            channel: match &self.request.target {
                Target::Channel(channel) => Some(channel.clone()),
                Target::Version(_) => None,
            },
            from: self.state.map(|state| state.installed.version.clone()),
            to: self.found.manifest.root().version.clone(),
            manifest: self.found.manifest.id(),
            left_out: picked.left_out.clone(),
            dry_run: self.request.intent == Intent::DryRun,
            changed,
            required: self.found.support.required,
            minimum: self.found.support.minimum.clone(),
            preflight,
            downloaded_bytes: picked.fetched_bytes,
            written_bytes: assembled.written_bytes,
            reused_bytes: assembled.reused_bytes,
            mended_bytes: assembled.mended_bytes,
            moved_aside,
            dropped_edges: Vec::new(),
            seconds: 0.0,
        }
    }
}

/// What was hashed before planning.
struct Known {
    old: Option<Scan>,
    present: Option<Scan>,
}

/// The volume that the install is or will be on: that of its nearest directory that exists.
pub(crate) fn volume(root: Option<&Root>, dir: &Path) -> Result<Volume, PullError> {
    if let Some(root) = root {
        return Ok(root.volume()?);
    }
    let there = dir.ancestors().find(|path| path.is_dir()).unwrap_or_else(|| Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let root = Root::open(there).map_err(|source| PullError::Open { dir: there.to_owned(), source })?;
    Ok(root.volume()?)
}
