//! What all operations share: opening an install under its lock, finding out what is there, and
//! carrying a plan out. Decides nothing about content; the plan does.

use crate::assemble::{Assembled, Assembler, Moves};
use crate::change::Change;
use crate::commit;
use crate::drive::Network;
use crate::error::{DiskError, PullError};
use crate::journal::{self, Op, Writer};
use crate::layout;
use crate::listing::{Listing, RowKind};
use crate::plan::{COMMIT_BYTES, Owner, Plan, RowAction, Scene};
use crate::platform::{Found, Lock, Root};
use crate::preflight::in_blocks;
use crate::progress::{Phase, Progress};
use crate::ready::Lookahead;
use crate::request::{EdgeUrl, Token, Tuning};
use crate::shelf::Shelf;
use crate::stage::{self, Staging};
use crate::state::{Release, State};
use crate::transport::client_config;
use crate::transport::http::HttpTransport;
use penstock_core::blob::BlobId;
use penstock_core::envelope::Envelope;
use penstock_core::manifest::Root as ManifestRoot;
use penstock_core::path::CLIENT_DIR;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An install directory under its lock.
pub(crate) struct Opened {
    pub(crate) root: Root,
    pub(crate) state: Option<State>,
    damage: OnDamage,
    lock: Option<Lock>,
    created: Vec<PathBuf>,
    created_client_dir: bool,
}

/// What to do about state or a journal of ours that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDamage {
    /// Say so, and what helps.
    Refuse,
    /// Go on as if there were no state: a pull makes it anew, and hashes all files.
    RenewState,
    /// Go on as if there were no journal: a repair hashes all files and mends them.
    DropJournal,
}

impl Opened {
    /// Opens an install that must be there, takes its lock and finishes what a crash interrupted.
    pub(crate) fn existing(dir: &Path, damage: OnDamage, progress: &dyn Progress) -> Result<Self, PullError> {
        let mut opened = Self::unlocked(dir, damage)?.ok_or_else(|| PullError::NotAnInstall(dir.to_owned()))?;
        if opened.root.stat(CLIENT_DIR)? != Some(Found::Directory) {
            return Err(PullError::NotAnInstall(dir.to_owned()));
        }
        opened.take_lock(dir, progress)?;
        if opened.state.is_none() {
            return Err(opened.without_state(dir));
        }
        Ok(opened)
    }
    /// What it means that there is no state.
    pub(crate) fn without_state(&self, dir: &Path) -> PullError {
        match self.root.stat(CLIENT_DIR) {
            Ok(Some(Found::Directory)) => PullError::Begun(dir.to_owned()),
            Ok(_) => PullError::NotAnInstall(dir.to_owned()),
            Err(error) => error.into(),
        }
    }
    /// Opens a directory without touching it; `None` when it is not there.
    pub(crate) fn unlocked(dir: &Path, damage: OnDamage) -> Result<Option<Self>, PullError> {
        match Root::open(dir) {
            Ok(root) => {
                let state = load_state(&root, damage)?;
                Ok(Some(Self { root, state, damage, lock: None, created: Vec::new(), created_client_dir: false }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PullError::Open { dir: dir.to_owned(), source }),
        }
    }
    /// Whether a commit was interrupted here.
    pub(crate) fn has_journal(&self) -> Result<bool, PullError> {
        Ok(self.root.stat(layout::JOURNAL)?.is_some())
    }
    /// The state that an interrupted commit ends in, if there is one: it remembers the latest offer.
    pub(crate) fn decided_state(&self) -> Result<Option<State>, PullError> {
        Ok(journal::Reader::open(&self.root)?.map(|journal| journal.head.state))
    }
    /// Where there is no state yet: the one that a first install ends in, if its files were being put in place.
    pub(crate) fn first_state(&self) -> Result<Option<State>, PullError> {
        if self.state.is_some() { Ok(None) } else { self.decided_state() }
    }
    /// Creates the directory and its parents.
    pub(crate) fn create(dir: &Path) -> Result<Self, PullError> {
        let mut missing: Vec<PathBuf> = Vec::new();
        for ancestor in dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()) {
            missing.push(ancestor.to_owned());
        }
        let failed = |source| PullError::Open { dir: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let root = Root::open(dir).map_err(failed)?;
        let damage = OnDamage::RenewState;
        Ok(Self { root, state: None, damage, lock: None, created: missing, created_client_dir: false })
    }
    /// Takes the lock, finishes an interrupted commit and reads the state anew.
    pub(crate) fn take_lock(&mut self, dir: &Path, progress: &dyn Progress) -> Result<(), PullError> {
        if self.lock.is_some() {
            return Ok(());
        }
        self.created_client_dir = self.root.stat(CLIENT_DIR)?.is_none();
        self.root.make_dir(CLIENT_DIR)?;
        self.root.make_dir(layout::BLOBS)?;
        let lock = self.root.lock(layout::LOCK)?.ok_or_else(|| PullError::Busy(dir.to_owned()))?;
        self.lock = Some(lock);
        match commit::recover(&self.root, progress) {
            Err(PullError::Journal(_)) if self.damage == OnDamage::DropJournal => {
                progress.note("the journal of an interrupted update is damaged: all files are looked at");
                self.root.remove_file(layout::JOURNAL)?;
            }
            other => drop(other?),
        }
        self.state = load_state(&self.root, self.damage)?;
        if let Some(state) = &self.state {
            commit::drop_stale_kept(&self.root, state)?;
        }
        Ok(())
    }
    /// Leaves a refused directory as it was found.
    pub(crate) fn undo(self) {
        if !self.created_client_dir && self.created.is_empty() {
            return;
        }
        if self.created_client_dir
            && let Err(error) = self.remove_client_dir()
        {
            tracing::warn!(%error, "the client's directory stays behind");
        }
        for dir in &self.created {
            // A directory that somebody else uses by now is not empty and stays.
            std::fs::remove_dir(dir).ok();
        }
    }

    /// Removes a client's directory in which nothing is of use.
    fn remove_client_dir(&self) -> Result<(), PullError> {
        stage::clear(&self.root)?;
        Shelf::retain(&self.root, &HashSet::new())?;
        self.root.remove_dir(layout::BLOBS)?;
        self.root.remove_file(layout::INSTALL)?;
        self.root.remove_file(layout::LOCK)?;
        self.root.remove_dir(CLIENT_DIR)?;
        Ok(())
    }
}

fn load_state(root: &Root, damage: OnDamage) -> Result<Option<State>, PullError> {
    match State::load(root) {
        Err(PullError::State { file, source }) if damage == OnDamage::RenewState => {
            tracing::warn!(file, error = &source as &dyn std::error::Error, "the state is damaged and is made anew");
            Ok(None)
        }
        other => other,
    }
}

/// Sets up the network. Refuses to send a token in the clear.
pub(crate) fn network(
    edges: &[EdgeUrl],
    token: Option<&Token>,
    ca_file: Option<&Path>,
    tuning: &Tuning,
) -> Result<Network, PullError> {
    if let Some(plain) = edges.iter().find(|edge| token.is_some() && !edge.is_secure()) {
        return Err(PullError::TokenOverPlainHttp(plain.to_string()));
    }
    let secure = edges.iter().any(EdgeUrl::is_secure);
    let tls = if secure { Some(client_config(ca_file, tuning.offer_http2)?) } else { None };
    Network::new(edges, Arc::new(HttpTransport::new(edges, tls.as_ref(), token)?), tuning)
}

/// A release of this install without the components that are left out, believed because the state names its hash. Whoever signed it was trusted
/// when it was put there; keys that are in force today may be others.
pub(crate) struct KeptManifest {
    /// See [`Release::identity`].
    pub(crate) id: BlobId,
    pub(crate) root: ManifestRoot,
}

impl KeptManifest {
    /// Reads the bytes of a release that the state names; `None` when they are others or damaged.
    pub(crate) fn read(bytes: &[u8], release: &Release) -> Option<Self> {
        if BlobId::of(bytes) != release.manifest {
            return None;
        }
        let envelope = Envelope::decode(bytes).ok()?;
        let mut root = ManifestRoot::decode(envelope.unverified_payload()).ok()?;
        root.components.retain(|component| !release.left_out.contains(&component.name));
        Some(Self { id: release.identity(), root })
    }
}

/// Reads a manifest that was kept in the install; `None` when it is gone or damaged.
pub(crate) fn kept_manifest(shelf: &Shelf<'_>, release: &Release) -> Result<Option<KeptManifest>, PullError> {
    Ok(shelf.read(&release.manifest)?.and_then(|bytes| KeptManifest::read(&bytes, release)))
}

/// Reads an installed release from what is kept; `None` when that is gone or damaged.
pub(crate) fn kept_listing(
    shelf: &Shelf<'_>,
    release: &Release,
    alike: Option<&Listing>,
) -> Result<Option<Listing>, PullError> {
    let Some(manifest) = kept_manifest(shelf, release)? else { return Ok(None) };
    for part in manifest.root.parts() {
        if !shelf.has(&part.blob, u64::from(part.stored_bytes))? {
            return Ok(None);
        }
    }
    match Listing::read(manifest.id, &manifest.root, shelf, alike) {
        Ok(listing) => Ok(Some(listing)),
        Err(PullError::Part(error)) => {
            tracing::warn!(%error, "a kept manifest part is damaged");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// How a plan is carried out.
pub(crate) struct Apply<'a> {
    pub(crate) scene: &'a Scene<'a>,
    pub(crate) root: &'a Root,
    /// The state once all is done.
    pub(crate) state: State,
    /// Keep what is replaced.
    pub(crate) keep_previous: bool,
    pub(crate) workers: usize,
    pub(crate) progress: &'a dyn Progress,
}

impl Apply<'_> {
    /// Assembles and commits, batch by batch. Gives what was assembled and the files moved aside.
    pub(crate) fn run(
        &self,
        plan: &mut Plan,
        mut network: Option<&mut Network>,
    ) -> Result<(Assembled, Vec<String>), PullError> {
        let aside = free_names(self.root, &plan.aside, self.state.installed.version.as_str())?;
        // Refused before anything is fetched, if it is known by now.
        self.look_ahead(plan, 0..plan.actions.len(), true, &aside)?;
        let staging = Staging::begin(self.root, self.scene.target, &plan.actions)?;
        let total = staging.with_writeback(|staging| {
            let assembler = Assembler {
                scene: self.scene,
                root: self.root,
                staging,
                moves: if self.keep_previous { Moves::Copy } else { Moves::Link },
                workers: self.workers,
                progress: self.progress,
            };
            let mut total = Assembled::default();
            let ends = plan.batch_ends.clone();
            let mut start = 0;
            for (index, end) in ends.iter().copied().enumerate() {
                let last = index + 1 == ends.len();
                let rows = start..end;
                let done = assembler.batch(plan, &rows, network.as_deref_mut());
                let done = done.map_err(|error| self.when_full(error, plan, &rows))?;
                total.written_bytes += done.written_bytes;
                total.reused_bytes += done.reused_bytes;
                total.mended_bytes += done.mended_bytes;
                self.commit(plan, rows, last, &aside)?;
                start = end;
            }
            Ok::<_, PullError>(total)
        })?;
        Ok((total, aside.into_iter().map(|(_, to)| to).collect()))
    }

    /// What a full volume means for the rest of some rows: what is staged stays, and the next run goes on from there.
    fn when_full(&self, error: PullError, plan: &Plan, rows: &std::ops::Range<usize>) -> PullError {
        let PullError::Disk(source @ DiskError::Full { .. }) = error else { return error };
        let (target, dir) = (self.scene.target, self.scene.dir.to_owned());
        let block_bytes = self.scene.volume.block_bytes;
        let open_bytes = |row: usize| {
            let there = match self.root.stat(&layout::staged(row)) {
                Ok(Some(Found::File { allocated_bytes, .. })) => allocated_bytes,
                _ => 0,
            };
            in_blocks(target.row(row).bytes, block_bytes).saturating_sub(there)
        };
        let staged = rows.clone().filter(|row| plan.actions[*row] == RowAction::Assemble);
        let needed_bytes = staged.map(open_bytes).fold(COMMIT_BYTES, u64::saturating_add);
        let free_bytes = self.root.volume().map_or(u64::MAX, |volume| volume.free_bytes);
        PullError::Full { dir, missing_bytes: needed_bytes.saturating_sub(free_bytes), source }
    }

    /// Finds out whether a commit of some rows can be carried out.
    fn look_ahead(
        &self,
        plan: &Plan,
        rows: std::ops::Range<usize>,
        last: bool,
        aside: &[(String, String)],
    ) -> Result<(), PullError> {
        let mut ahead = Lookahead::new(self.root);
        let (target, have, keep) = (self.scene.target, self.scene.have, self.keep_previous);
        Change { target, have, plan, rows, last, aside, keep }.each(|op| ahead.step(&op))
    }

    /// Journals and carries out the steps of some rows whose files are staged.
    pub(crate) fn commit(
        &self,
        plan: &Plan,
        rows: std::ops::Range<usize>,
        last: bool,
        aside: &[(String, String)],
    ) -> Result<(), PullError> {
        let target = self.scene.target;
        // What was true before the download may not be so any more.
        self.look_ahead(plan, rows.clone(), last, aside)?;
        for row in rows.clone().filter(|row| target.row(*row).kind == RowKind::Link) {
            if plan.actions[row] != RowAction::Keep {
                self.root.remove_file(&layout::staged(row))?;
                self.root.symlink(target.target(row), &layout::staged(row))?;
            }
        }
        self.progress.begin(Phase::Sync, 0);
        for row in rows.clone().filter(|row| plan.actions[*row] == RowAction::Assemble) {
            self.root.flush(&layout::staged(row))?;
        }
        self.root.sync_all()?;
        let have = self.scene.have;
        let keep = self.keep_previous && have.is_some_and(|have| have.owner == Owner::Install);
        let keep_in = have.filter(|_| keep).map(|have| layout::previous_name(&have.listing.manifest()));
        let head = journal::Head { format: journal::FORMAT, state: self.state_after(last), keep_in, last };
        let mut writer = Writer::begin(self.root, &head)?;
        Change { target, have, plan, rows, last, aside, keep }.each(|op| {
            if let Op::Place { staged, path, .. } = &op {
                self.must_be_staged(*staged, path)?;
            }
            writer.push(&op)
        })?;
        writer.finish()?;
        commit::commit(self.root, self.progress)
    }

    /// Carrying out a journal takes a staged entry that is gone for one that is in place already; so all of them are
    /// there, with their length, when the journal is written.
    fn must_be_staged(&self, row: usize, path: &str) -> Result<(), PullError> {
        let wanted = self.scene.target.row(row);
        match self.root.stat(&layout::staged(row))? {
            Some(Found::File { bytes, .. }) if wanted.is_file() && bytes == wanted.bytes => Ok(()),
            Some(Found::Link(_)) if wanted.kind == RowKind::Link => Ok(()),
            _ => {
                let source = std::io::Error::other("it is gone from .penstock/staging, or has another length there");
                Err(DiskError::new("put in place", path, source).into())
            }
        }
    }

    fn state_after(&self, last: bool) -> State {
        if last {
            return self.state.clone();
        }
        // Between two versions: the old one is still called installed, the new one is on its way.
        let mut state = self.state.clone();
        state.unfinished = Some(self.state.installed.clone());
        if let Some(from) = self.scene.from {
            state.installed = from.clone();
        }
        state
    }
}

/// Names beside the files in the way that nothing has yet.
pub(crate) fn free_names(root: &Root, paths: &[String], version: &str) -> Result<Vec<(String, String)>, PullError> {
    let mut names = Vec::new();
    for path in paths {
        let mut name = format!("{path}.before-{version}");
        let mut number = 1;
        while root.stat(&name)?.is_some() {
            number += 1;
            name = format!("{path}.before-{version}-{number}");
        }
        names.push((path.clone(), name));
    }
    Ok(names)
}
