//! The configuration as checked: what the written values mean. A [`Checked`] is made by `check` only.

use super::check::{ConfigProblem, Place};
use super::env::Environment;
use super::follow::FollowConfig;
use super::network::Network;
use super::raw::Config;
use super::steer::{RatesConfig, RolloutsConfig};
use super::tokens::IssuerConfig;
use penstock_core::grace::Grace;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Control and edge in one process.
    All,
    /// The system of record and its admin listener.
    Control,
    /// The data plane, following a control node elsewhere.
    Edge,
}

/// How blobs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Through memory maps.
    Map,
    /// With `pread`, for file systems whose maps cannot be trusted.
    Pread,
}

/// The database of roles `all` and `control`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// PostgreSQL.
    Postgres(DatabaseUrl),
}

/// A database's URL. It may carry a password, so it prints as stars.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(pub(super) String);

impl DatabaseUrl {
    /// The URL, for whoever connects.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseUrl(****)")
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `[data]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataConfig {
    /// The node's directory.
    pub dir: PathBuf,
    /// How blobs are read.
    pub access: Access,
    /// Most blobs kept open at once.
    pub open_blobs_max: usize,
    /// Threads that wait for cold pages.
    pub io_threads: usize,
    /// Background re-hashing, bytes a second; `None` is off.
    pub scrub_bytes_per_second: Option<u64>,
}

/// `[listen]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// HTTPS addresses.
    pub https: Vec<SocketAddr>,
    /// Plain HTTP addresses.
    pub http: Vec<SocketAddr>,
    /// The admin address.
    pub admin: Option<SocketAddr>,
    /// Further host names of the admin listener, lowercase.
    pub admin_hosts: Vec<String>,
    /// Worker threads; `None` means one per core.
    pub workers: Option<usize>,
    /// Peers that send PROXY headers.
    pub proxy_from: Vec<Network>,
    /// Whether tokens are taken over plain HTTP.
    pub tokens_over_http: bool,
    /// TCP_NOTSENT_LOWAT in bytes; `None` leaves it to the kernel.
    pub unsent_bytes_max: Option<u32>,
}

/// `[tls]`, checked: the files, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM certificate chain.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// `[tokens]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensConfig {
    /// Issuers beside this node's own control.
    pub issuers: Vec<IssuerConfig>,
    /// Keys of others who sign links.
    pub link_keys: Option<PathBuf>,
    /// Memory for passports, in bytes.
    pub passport_bytes_max: usize,
}

/// `[geo]`, checked: the file, not yet read. Taken again on reload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeoConfig {
    /// The database of places.
    pub database: Option<PathBuf>,
}

/// `[control]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlConfig {
    /// What an edge follows; `None` for other roles.
    pub follow: Option<FollowConfig>,
    /// How long an edge gives out what it knows while control is silent. Taken again on reload.
    pub grace: Grace,
    /// The database.
    pub database: Database,
}

/// `[limits]`, checked. Swapped whole on reload; connections keep the limits they were accepted under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most data connections.
    pub connections_max: usize,
    /// Most data connections from one peer (IPv4 address or IPv6 /64).
    pub connections_per_address: usize,
    /// Networks which that does not bind.
    pub address_exempt: Vec<Network>,
    /// Most admin connections.
    pub admin_connections_max: usize,
    /// Most TLS handshakes in flight.
    pub handshakes_max: usize,
    /// For the PROXY header and for the handshake, each.
    pub handshake: Duration,
    /// From a request's first byte to the end of its head.
    pub header: Duration,
    /// Largest request head, bytes.
    pub header_bytes_max: u32,
    /// Between requests.
    pub keep_alive: Duration,
    /// Without a byte moved while a request is under way.
    pub stall: Duration,
    /// Least average rate in bytes a second; `None` is off.
    pub rate_bytes_per_second_min: Option<u64>,
    /// Time over which the rate is averaged.
    pub rate_window: Duration,
    /// Most concurrent HTTP/2 streams of a connection.
    pub streams_max: u32,
    /// Most HTTP/2 streams reset before they were looked at.
    pub reset_streams_max: usize,
    /// For bodies under way when the node stops.
    pub drain: Duration,
}

/// `[log]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Level or filter directives, each with a level that exists.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
    /// Whether each request is logged.
    pub access: bool,
}

/// A configuration without a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What this node is.
    pub role: Role,
    /// `[data]`.
    pub data: DataConfig,
    /// `[listen]`.
    pub listen: ListenConfig,
    /// `[tls]`, if given.
    pub tls: Option<TlsFiles>,
    /// `[tokens]`.
    pub tokens: TokensConfig,
    /// `[control]`.
    pub control: ControlConfig,
    /// `[origin] url`, if given.
    pub origin_url: Option<String>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[rates]`.
    pub rates: RatesConfig,
    /// `[rollouts]`.
    pub rollouts: RolloutsConfig,
    /// `[geo]`.
    pub geo: GeoConfig,
    /// `[log]`.
    pub log: LogConfig,
    pub(super) notes: Vec<ConfigProblem>,
    pub(super) places: BTreeMap<String, Place>,
    pub(super) source: Source,
}

/// Where a configuration came from, so that it can be read again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Source {
    path: Option<PathBuf>,
    env: Environment,
}

/// Why a correct configuration cannot be run by this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// An origin elsewhere.
    #[error("origin.url: origins beyond this node's own store come with a later version: leave it empty")]
    Origin,
}

impl Checked {
    /// What is worth saying though nothing is wrong: unknown keys, keys for later versions, files that are not there
    /// yet, log targets that are not ours. `check-config` treats those as errors for which
    /// [`ProblemKind::is_error_in_check`] holds.
    ///
    /// [`ProblemKind::is_error_in_check`]: super::ProblemKind::is_error_in_check
    #[must_use]
    pub fn notes(&self) -> &[ConfigProblem] {
        &self.notes
    }

    /// Where a key (`section.key`) was written.
    #[must_use]
    pub fn place(&self, key: &str) -> Place {
        self.places.get(key).cloned().unwrap_or(Place::Default)
    }

    /// The file this was read from, if any.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.source.path.as_deref()
    }

    /// Reads the same file under the same environment again; `None` if there is no file.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_again(&self) -> Option<Result<Self, Vec<ConfigProblem>>> {
        let path = self.source.path.as_deref()?;
        Some(Config::load(Some(path), &self.source.env))
    }

    /// Whether this version can run it.
    ///
    /// # Errors
    /// Names the first thing that comes with a later version.
    pub const fn runnable(&self) -> Result<(), NotYet> {
        if self.origin_url.is_some() {
            return Err(NotYet::Origin);
        }
        Ok(())
    }

    pub(super) fn remember(&mut self, path: Option<&Path>, env: &Environment) {
        self.source = Source { path: path.map(Path::to_path_buf), env: env.clone() };
    }
}
