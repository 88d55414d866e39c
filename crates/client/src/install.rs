//! What all operations share: opening an install under its lock, finding out what is there, and
//! carrying a plan out. Decides nothing about content; the plan does.

use crate::assemble::{Assembled, Assembler};
use crate::change::Change;
use crate::commit;
use crate::drive::Network;
use crate::error::PullError;
use crate::journal::{self, Writer};
use crate::layout;
use crate::listing::Listing;
use crate::plan::{Owner, Plan, Scene};
use crate::platform::{Found, Lock, Root};
use crate::progress::{Phase, Progress};
use crate::request::{EdgeUrl, Token, Tuning};
use crate::shelf::Shelf;
use crate::stage::Staging;
use crate::state::{Release, State};
use crate::transport::client_config;
use crate::transport::http::HttpTransport;
use penstock_core::blob::BlobId;
use penstock_core::keys::TrustSet;
use penstock_core::manifest::{self, Expected, VerifiedManifest};
use penstock_core::path::CLIENT_DIR;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An install directory under its lock.
pub(crate) struct Opened {
    pub(crate) root: Root,
    pub(crate) state: Option<State>,
    lock: Option<Lock>,
    created: Vec<PathBuf>,
    created_client_dir: bool,
}

impl Opened {
    /// Opens an install that must be there, takes its lock and finishes what a crash interrupted.
    pub(crate) fn existing(dir: &Path, progress: &dyn Progress) -> Result<Self, PullError> {
        let mut opened = Self::unlocked(dir)?.ok_or_else(|| PullError::NotAnInstall(dir.to_owned()))?;
        if opened.root.stat(CLIENT_DIR)? != Some(Found::Directory) {
            return Err(PullError::NotAnInstall(dir.to_owned()));
        }
        opened.take_lock(dir, progress)?;
        if opened.state.is_none() {
            return Err(PullError::NotAnInstall(dir.to_owned()));
        }
        Ok(opened)
    }
    /// Opens a directory without touching it; `None` when it is not there.
    pub(crate) fn unlocked(dir: &Path) -> Result<Option<Self>, PullError> {
        match Root::open(dir) {
            Ok(root) => {
                let state = State::load(&root)?;
                Ok(Some(Self { root, state, lock: None, created: Vec::new(), created_client_dir: false }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PullError::Open { dir: dir.to_owned(), source }),
        }
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
        Ok(Self { root, state: None, lock: None, created: missing, created_client_dir: false })
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
        commit::recover(&self.root, progress)?;
        self.state = State::load(&self.root)?;
        Ok(())
    }
    /// Leaves a refused directory as it was found.
    pub(crate) fn undo(self) {
        if !self.created_client_dir && self.created.is_empty() {
            return;
        }
        let removed = self
            .root
            .remove_file(layout::LOCK)
            .and_then(|()| self.root.remove_dir(layout::BLOBS))
            .and_then(|_| self.root.remove_dir(CLIENT_DIR));
        if let Err(error) = removed {
            tracing::warn!(%error, "the client's directory stays behind");
        }
        for dir in &self.created {
            // A directory that somebody else uses by now is not empty and stays.
            std::fs::remove_dir(dir).ok();
        }
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

/// Reads and verifies a manifest that was kept in the install; `None` when it is gone or damaged.
pub(crate) fn kept_manifest(
    shelf: &Shelf<'_>,
    state: &State,
    release: &Release,
) -> Result<Option<(VerifiedManifest, Vec<u8>)>, PullError> {
    let Some(bytes) = shelf.read(&release.manifest)? else { return Ok(None) };
    if BlobId::of(&bytes) != release.manifest {
        return Ok(None);
    }
    Ok(Some((verify_manifest(&bytes, state, release)?, bytes)))
}

/// Verifies a manifest of this install against the keys in force.
pub(crate) fn verify_manifest(bytes: &[u8], state: &State, release: &Release) -> Result<VerifiedManifest, PullError> {
    let trust: TrustSet = state.trust.parse().map_err(|_| PullError::KeptManifest(release.version.clone()))?;
    let (product, platform, version) = (&state.product, &state.platform, &release.version);
    Ok(manifest::verify(bytes, &trust, &Expected { id: release.manifest, product, platform, version })?)
}

/// Reads an installed release from what is kept; `None` when that is gone or damaged.
pub(crate) fn kept_listing(shelf: &Shelf<'_>, state: &State, release: &Release) -> Result<Option<Listing>, PullError> {
    let Some((manifest, _)) = kept_manifest(shelf, state, release)? else { return Ok(None) };
    for part in manifest.root().parts() {
        if !shelf.has(&part.blob, u64::from(part.stored_bytes))? {
            return Ok(None);
        }
    }
    match Listing::read(&manifest, shelf) {
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
        let staging = Staging::begin(self.root, self.scene.target, &plan.actions)?;
        let assembler = Assembler {
            scene: self.scene,
            root: self.root,
            staging: &staging,
            workers: self.workers,
            progress: self.progress,
        };
        let aside = free_names(self.root, &plan.aside, self.state.installed.version.as_str())?;
        let mut total = Assembled::default();
        let ends = plan.batch_ends.clone();
        let mut start = 0;
        for (index, end) in ends.iter().copied().enumerate() {
            let last = index + 1 == ends.len();
            let done = assembler.batch(plan, &(start..end), network.as_deref_mut())?;
            total.written_bytes += done.written_bytes;
            total.reused_bytes += done.reused_bytes;
            total.mended_bytes += done.mended_bytes;
            self.commit(plan, start..end, last, &aside)?;
            start = end;
        }
        Ok((total, aside.into_iter().map(|(_, to)| to).collect()))
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
        for row in rows.clone().filter(|row| target.rows()[*row].kind == crate::listing::RowKind::Link) {
            if plan.actions[row] != crate::plan::RowAction::Keep {
                self.root.remove_file(&layout::staged(row))?;
                self.root.symlink(target.target(row), &layout::staged(row))?;
            }
        }
        self.progress.begin(Phase::Sync, 0);
        self.root.sync_all()?;
        let have = self.scene.have;
        let keep = self.keep_previous && have.is_some_and(|have| have.owner == Owner::Install);
        let keep_in = have.filter(|_| keep).map(|have| layout::previous_name(&have.listing.manifest()));
        let head = journal::Head { format: journal::FORMAT, state: self.state_after(last), keep_in, last };
        let mut writer = Writer::begin(self.root, &head)?;
        Change { target, have, plan, rows, last, aside, keep }.each(|op| writer.push(&op))?;
        writer.finish()?;
        commit::commit(self.root, self.progress)
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
fn free_names(root: &Root, paths: &[String], version: &str) -> Result<Vec<(String, String)>, PullError> {
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
