//! Store, control and edge become one running node. The order is the contract: lock, store, record, doors.

use super::api::ControlApi;
use super::chores::{Chores, renew};
use super::edge::{self, FollowError, NoApi};
use super::issuers::{Fetching, Issuers, IssuersError};
use super::lock::{DataDirLock, LockError};
use super::settings::{self, SettingsError};
use penstock_control::{Control, ControlError, ControlOptions, SecretText, pseudonym_key};
use penstock_core::account::PseudonymKey;
use penstock_edge::admin::{AdminParts, AdminService};
use penstock_edge::catalog::EdgeCatalog;
use penstock_edge::config::{Access, Checked, Database, Role};
use penstock_edge::copy::EdgeCopy;
use penstock_edge::drain::Readiness;
use penstock_edge::explain::EdgeExplainer;
use penstock_edge::feed::{Follower, Following, Standing};
use penstock_edge::geo::{Geo, GeoError};
use penstock_edge::listen::tcp::{BindError, Inherited};
use penstock_edge::metrics;
use penstock_edge::node::{Addresses, Node, NodeParts, StartError};
use penstock_edge::outcome::{AccessLog, Ledger};
use penstock_edge::passport::{Accounts, Passports, Revoked};
use penstock_edge::policy::Policies;
use penstock_edge::reload::OnReload;
use penstock_edge::serve::{PlainTokens, Server, ServerParts};
use penstock_origin::LocalOrigin;
use penstock_store::{OpenError, Reading, Store, StoreOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Which doors a node opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doors {
    /// Those of its config, and `node.sock`.
    Configured,
    /// One private admin socket, for a command that works on a directory where no node runs.
    Private(PathBuf),
}

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// Somebody else has the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The blobs cannot be opened.
    #[error("cannot open the blobs")]
    Store(#[from] OpenError),
    /// The record cannot be opened.
    #[error("cannot open the record")]
    Control(#[from] ControlError),
    /// No port, no certificate, no thread.
    #[error("the node cannot start")]
    Start(#[from] StartError),
    /// The sockets that systemd passed cannot be used.
    #[error("cannot use the sockets that the service manager passed")]
    Inherited(#[from] BindError),
    /// The directory cannot be written to.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No threads for what is done beside serving.
    #[error("the system gives no threads")]
    Threads(#[source] std::io::Error),
    /// The issuers of tokens.
    #[error("cannot use the issuers of tokens")]
    Issuers(#[from] IssuersError),
    /// The database of places.
    #[error("cannot use geo.database")]
    Geo(#[from] GeoError),
    /// An edge cannot follow.
    #[error("cannot follow control")]
    Follow(#[from] FollowError),
    /// The system gives no random bytes.
    #[error("the system gave no random bytes")]
    Random(#[source] getrandom::Error),
}

/// A running node and everything that must outlive it.
pub(crate) struct Assembled {
    node: Node,
    kept: Kept,
}

/// What a node stands on. Dropped after the node: chores end, then the record closes, then the lock goes.
pub(crate) struct Kept {
    _fetching: Option<Fetching>,
    _chores: Option<Chores>,
    _following: Option<Following>,
    control: Option<Control>,
    _lock: DataDirLock,
}

impl Assembled {
    /// Where it listens.
    pub(crate) const fn addresses(&self) -> &Addresses {
        self.node.addresses()
    }

    /// The system of record; an edge has none.
    pub(crate) const fn control(&self) -> Option<&Control> {
        self.kept.control.as_ref()
    }

    /// The node, to be run, and what must be kept until it has ended.
    pub(crate) fn split(self) -> (Node, Kept) {
        (self.node, self.kept)
    }

    /// Ends a private node: nobody but us is connected.
    pub(crate) fn stop(self) {
        self.node.drain(Duration::from_secs(1), || false);
        drop(self.kept);
    }
}

/// Takes the directory's lock and starts a node on it.
///
/// # Errors
/// [`NodeError`]; nothing listens then.
pub(crate) fn assemble(config: Checked, doors: Doors, on_reload: OnReload) -> Result<Assembled, NodeError> {
    let lock = DataDirLock::take(&config.data.dir)?;
    assemble_held(config, doors, on_reload, lock)
}

/// As [`assemble`], when the lock is held already.
pub(crate) fn assemble_held(
    config: Checked,
    doors: Doors,
    on_reload: OnReload,
    lock: DataDirLock,
) -> Result<Assembled, NodeError> {
    config.runnable().map_err(StartError::from)?;
    if doors == Doors::Configured {
        settings::keep(&config)?;
    }
    metrics::install();
    let geo = Arc::new(Geo::open(config.geo.database.as_deref())?);
    let store = open_store(&config)?;
    let catalog = Arc::new(EdgeCatalog::default());
    let pseudonyms = match config.role {
        // Control tells it; until then nobody's account is known under anything.
        Role::Edge => PseudonymKey::from_bytes(random()?),
        Role::All | Role::Control => pseudonym_key(&config.data.dir).map_err(ControlError::from)?,
    };
    let accounts = Arc::new(Accounts::new(pseudonyms));
    let revoked = Arc::new(Revoked::default());
    let policies = Arc::new(Policies::default());
    policies.configure(&config);
    let copy = EdgeCopy {
        catalog: Arc::clone(&catalog),
        accounts: Arc::clone(&accounts),
        revoked: Arc::clone(&revoked),
        policies: Arc::clone(&policies),
        store: store.clone(),
        standing: Standing::default(),
        clock: crate::commands::now,
    };
    let known = copy.standing.clone();
    let (control, issuers, follower) = match &config.control.follow {
        None => {
            let control = open_control(&config, &store, copy)?;
            renew(&control);
            let issuers = Issuers::open(&config, Some(&control))?;
            (Some(control), issuers, None)
        }
        Some(follow) => {
            let issuers = Issuers::open(&config, None)?;
            let follower = edge::follower(follow, &config.data.dir, copy, &issuers)?;
            (None, issuers, Some(follower))
        }
    };
    let standing = follower.as_ref().map(Follower::standing);
    // A database of one process has nothing to tell that this process does not know.
    let known = match (&follower, &config.control.database) {
        (Some(_), _) => Some(known),
        (None, Database::Postgres(_)) => {
            known.whole(0, crate::commands::now());
            Some(known)
        }
        (None, Database::Sqlite(_)) => None,
    };
    let secret = random()?;
    let passports =
        Arc::new(Passports::new(accounts, revoked, issuers.gate(), secret, config.tokens.passport_bytes_max));
    if let Some(control) = &control {
        control.explain_with(Arc::new(EdgeExplainer {
            catalog: Arc::clone(&catalog),
            passports: Arc::clone(&passports),
            policies: Arc::clone(&policies),
            geo: Arc::clone(&geo),
            standing: known.clone(),
            clock: crate::commands::now,
        }));
    }

    let ledger = Arc::new(Ledger::new(access_log(&config)));
    let readiness = Readiness::default();
    let server = Server::new(ServerParts {
        store: store.clone(),
        catalog: Arc::clone(&catalog),
        passports,
        policies,
        geo,
        standing: known,
        clock: crate::commands::now,
        io_threads: config.data.io_threads,
        plain_tokens: if config.listen.tokens_over_http { PlainTokens::Accept } else { PlainTokens::Refuse },
        outcomes: ledger.clone(),
    });
    let admin = Arc::new(AdminService::new(AdminParts {
        api: match &control {
            Some(control) => Arc::new(ControlApi::new(control, readiness.clone())),
            None => Arc::new(NoApi),
        },
        hosts: config.listen.admin_hosts.clone(),
        readiness: readiness.clone(),
        standing,
        clock: crate::commands::now,
        catalog,
        store: store.clone(),
        outcomes: ledger.clone(),
    }));
    let fetches = doors == Doors::Configured;
    let (admin_socket, inherited, scrub) = match doors {
        Doors::Configured => {
            let socket = config.data.dir.join("node.sock");
            (socket, Inherited::from_process()?, config.data.scrub_bytes_per_second)
        }
        Doors::Private(socket) => (socket, Inherited::default(), None),
    };
    let take_keys = issuers.reloader();
    let told = move |config: &Checked| {
        ledger.set_access_log(access_log(config));
        take_keys(config);
        on_reload(config);
    };
    let node = Node::start(NodeParts {
        config,
        data: Arc::new(server),
        admin,
        admin_socket: Some(admin_socket),
        inherited,
        readiness,
        on_reload: Box::new(told),
    })?;
    let chores = Chores::start(control.as_ref(), &store, scrub).map_err(NodeError::Threads)?;
    let fetching = if fetches { issuers.fetch()? } else { None };
    let following = follower.map(Follower::start).transpose().map_err(FollowError::Thread)?;
    let kept = Kept { _fetching: fetching, _chores: Some(chores), _following: following, control, _lock: lock };
    Ok(Assembled { node, kept })
}

fn random() -> Result<[u8; 32], NodeError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(NodeError::Random)?;
    Ok(bytes)
}

fn open_store(config: &Checked) -> Result<Store, OpenError> {
    let reading = match config.data.access {
        Access::Map => Reading::Map,
        Access::Pread => Reading::Pread,
    };
    let options = StoreOptions { reading, open_views_max: config.data.open_blobs_max };
    Store::open(&config.data.dir.join("blobs"), options)
}

fn open_control(config: &Checked, store: &Store, copy: EdgeCopy) -> Result<Control, NodeError> {
    let database = match &config.control.database {
        Database::Sqlite(path) => penstock_control::Database::Sqlite(path.clone()),
        Database::Postgres(url) => penstock_control::Database::Postgres(SecretText::new(url.reveal().to_owned())),
    };
    Ok(Control::open(ControlOptions {
        data_dir: config.data.dir.clone(),
        database,
        origin: Arc::new(LocalOrigin::new(store.clone())),
        sink: Arc::new(copy),
        now: crate::commands::now,
    })?)
}

const fn access_log(config: &Checked) -> AccessLog {
    if config.log.access { AccessLog::Write } else { AccessLog::Skip }
}
