//! Taking a new configuration into a running node: check everything first, then swap, never dropping a connection.
//!
//! Certificates, JWKS files, keys of links, the database of places, `[limits]`, `[rates]`, `[rollouts]`, `log.level`,
//! `log.access` and `listen.admin_hosts` are swapped; what else changed is reported as waiting for the next start. Also
//! here: noticing that the files changed. It must not touch sockets.

use crate::config::{
    Checked, ConfigProblem, ControlConfig, DataConfig, Database, FollowConfig, KeysFrom, Limits, ListenConfig,
    TokensConfig,
};
use crate::descriptors::Shares;
use crate::listen::tls::{TlsError, TlsFront, read_certificate};
use arc_swap::ArcSwap;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file has problems.
    #[error("the configuration has {} error(s)", errors(.0))]
    Config(Vec<ConfigProblem>),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Notes come along with the errors, and would not have kept anything from being taken.
fn errors(problems: &[ConfigProblem]) -> usize {
    problems.iter().filter(|problem| problem.kind.is_error_in_serve()).count()
}

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys (`section.key`) that are not what the node was started with, and take effect at the next start.
    pub at_next_start: Vec<&'static str>,
    /// What is worth saying about the file, as at the start.
    pub notes: Vec<ConfigProblem>,
}

/// Told of each new configuration, for what the edge does not own (the log).
pub type OnReload = Box<dyn Fn(&Checked) + Send + Sync>;

/// Holds what runs and swaps it.
pub struct Reloader {
    started: Checked,
    running: Mutex<Checked>,
    tls: Option<Arc<TlsFront>>,
    limits: Arc<ArcSwap<Limits>>,
    shares: Shares,
    told: OnReload,
}

impl Reloader {
    /// Starts from what runs now. `shares` lowers limits to what the process may have.
    pub(crate) fn new(
        running: Checked,
        tls: Option<Arc<TlsFront>>,
        limits: Arc<ArcSwap<Limits>>,
        shares: Shares,
        told: OnReload,
    ) -> Self {
        Self { started: running.clone(), running: Mutex::new(running), tls, limits, shares, told }
    }

    /// Reads the file again (a node without one only reads its certificate again), checks all of it, then swaps.
    ///
    /// # Errors
    /// Everything that is wrong; the node then runs on as before.
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let next = running.load_again().unwrap_or_else(|| Ok(running.clone())).map_err(ReloadError::Config)?;
        let certificate = match (&self.tls, &next.tls) {
            (Some(_), Some(files)) => Some(read_certificate(files)?),
            _ => None,
        };
        // From here on nothing fails.
        if let (Some(front), Some(certificate)) = (&self.tls, certificate) {
            front.swap(certificate);
        }
        self.limits.store(Arc::new(self.shares.fit(next.limits.clone())));
        (self.told)(&next);
        let report = Reloaded { at_next_start: at_next_start(&self.started, &next), notes: next.notes().to_vec() };
        *running = next;
        Ok(report)
    }

    /// The files that a change of calls for a reload.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let tls = running.tls.iter().flat_map(|files| [files.cert.clone(), files.key.clone()]);
        let keys = running.tokens.issuers.iter().filter_map(|issuer| match &issuer.keys {
            KeysFrom::File(file) => Some(file.clone()),
            KeysFrom::Url { .. } => None,
        });
        let places = running.geo.database.clone();
        let more = running.tokens.link_keys.clone().into_iter().chain(places);
        running.path().map(Path::to_path_buf).into_iter().chain(tls).chain(keys).chain(more).collect()
    }
}

/// Keys that differ and are not swapped while running.
fn at_next_start(started: &Checked, next: &Checked) -> Vec<&'static str> {
    // Taken apart, so that a new key cannot be forgotten here.
    let DataConfig { dir, access, open_blobs_max, io_threads, scrub_bytes_per_second } = &started.data;
    let ListenConfig { https, http, admin, admin_hosts: _, workers, proxy_from, tokens_over_http, unsent_bytes_max } =
        &started.listen;
    // Grace is taken by a reload.
    let ControlConfig { follow, grace: _, database } = &started.control;
    let TokensConfig { issuers, link_keys: _, passport_bytes_max } = &started.tokens;
    [
        ("role", started.role != next.role),
        ("data.dir", *dir != next.data.dir),
        ("data.access", *access != next.data.access),
        ("data.open_blobs_max", *open_blobs_max != next.data.open_blobs_max),
        ("data.io_threads", *io_threads != next.data.io_threads),
        ("data.scrub_bytes_per_second", *scrub_bytes_per_second != next.data.scrub_bytes_per_second),
        ("listen.https", *https != next.listen.https),
        ("listen.http", *http != next.listen.http),
        ("listen.admin", *admin != next.listen.admin),
        ("listen.workers", *workers != next.listen.workers),
        ("listen.proxy_from", *proxy_from != next.listen.proxy_from),
        ("listen.tokens_over_http", *tokens_over_http != next.listen.tokens_over_http),
        ("listen.unsent_bytes_max", *unsent_bytes_max != next.listen.unsent_bytes_max),
        ("tls.cert", started.tls.is_some() != next.tls.is_some()),
        ("tls.key", started.tls.is_some() != next.tls.is_some()),
        ("tokens.issuers", *issuers != next.tokens.issuers),
        ("tokens.passport_bytes_max", *passport_bytes_max != next.tokens.passport_bytes_max),
        ("control.url", differ(follow, &next.control.follow, |one| &one.url)),
        ("control.credential", differ(follow, &next.control.follow, |one| &one.credential)),
        ("control.key", differ(follow, &next.control.follow, |one| &one.key)),
        ("control.ca", differ(follow, &next.control.follow, |one| &one.ca)),
        ("control.database", !is_same(database, dir, &next.control.database, &next.data.dir)),
        ("origin.url", started.origin_url != next.origin_url),
        ("log.format", started.log.format != next.log.format),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

/// Whether one part of what is followed is another one.
fn differ<T: PartialEq>(
    started: &Option<FollowConfig>,
    next: &Option<FollowConfig>,
    part: impl Fn(&FollowConfig) -> &T,
) -> bool {
    started.as_ref().map(&part) != next.as_ref().map(&part)
}

/// Whether a database is written down as it was: its file may be named from the data directory, which may have moved.
fn is_same(database: &Database, dir: &Path, next: &Database, next_dir: &Path) -> bool {
    match (database, next) {
        (Database::Sqlite(file), Database::Sqlite(next)) => {
            file == next || file.strip_prefix(dir).is_ok_and(|name| next_dir.join(name) == *next)
        }
        _ => database == next,
    }
}

/// What a set of files held when it was last looked at, by hash: one may be a database of hundreds of megabytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents(Vec<Option<blake3::Hash>>);

impl Contents {
    /// Reads the files; one that cannot be read counts as absent.
    pub(crate) fn of(files: &[PathBuf]) -> Self {
        let hash = |file: &PathBuf| {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(std::fs::File::open(file).ok()?).ok()?;
            Some(hasher.finalize())
        };
        Self(files.iter().map(hash).collect())
    }
}

/// Watches the directories of some files and calls `changed` when one of them may have changed.
///
/// Directories, because editors and Kubernetes replace files and links instead of writing into them. `changed` runs on
/// the watcher's thread and must return at once.
///
/// # Errors
/// The kernel's refusal, such as too many watches.
pub(crate) fn watch_files(
    files: &[PathBuf],
    changed: impl Fn() + Send + 'static,
) -> Result<RecommendedWatcher, notify::Error> {
    let names: BTreeSet<OsString> = files.iter().filter_map(|file| file.file_name().map(Into::into)).collect();
    let mut watcher = notify::recommended_watcher(move |event: Result<notify::Event, notify::Error>| match event {
        Ok(event) if concerns(&event, &names) => changed(),
        Ok(_) => {}
        // Events were lost: looking once too often is harmless.
        Err(_) => changed(),
    })?;
    let directories: BTreeSet<&Path> = files.iter().map(|file| directory_of(file)).collect();
    for directory in directories {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn concerns(event: &notify::Event, names: &BTreeSet<OsString>) -> bool {
    // Our own reading of the files is an event too.
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    event.paths.iter().filter_map(|path| path.file_name()).any(|name| {
        // Kubernetes turns all files of a volume at once by replacing the link `..data`.
        names.contains(name) || name.as_encoded_bytes().starts_with(b"..")
    })
}
