//! A node's life: check everything, open the doors, run, reload, drain.
//!
//! Data connections live on one current-thread runtime per worker; the admin doors have a thread of their own, so that
//! a patch day cannot starve a health check. What requests mean is the handlers'.

use crate::admit::Admission;
use crate::config::{Access, Checked, Limits, NO_CERTIFICATE, NO_DOOR, NotYet, Role};
use crate::descriptors::{self, Shares, TooFew};
use crate::drain::{Drain, Readiness, Stage};
use crate::listen::tcp::{self, BindError, Bound, Inherited};
use crate::listen::tls::{TlsError, TlsFront};
use crate::listen::unix::{self, SocketError, SocketFile};
use crate::listen::{
    Door, Gate, Handler, Plane, STREAM_SEND_BYTES_COPIED, STREAM_SEND_BYTES_MAPPED, accept_tcp, accept_unix,
    is_loopback,
};
use crate::reload::{OnReload, ReloadError, Reloaded, Reloader};
use arc_swap::ArcSwap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime;
use tracing::{error, info, warn};

/// What a node is made of.
pub struct NodeParts<D, A> {
    /// Checked, and runnable by this version.
    pub config: Checked,
    /// Answers on the data doors.
    pub data: Arc<D>,
    /// Answers on the admin doors.
    pub admin: Arc<A>,
    /// Path of the admin socket, usually `node.sock` in the data directory.
    pub admin_socket: Option<PathBuf>,
    /// Sockets that systemd passed.
    pub inherited: Inherited,
    /// Set while the node should get traffic; the admin handler's `/readyz` reads it.
    pub readiness: Readiness,
    /// Told of each configuration that is taken while running.
    pub on_reload: OnReload,
}

/// Why a node does not start. No port is open then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is for a later version.
    #[error(transparent)]
    NotYet(#[from] NotYet),
    /// HTTPS addresses, and no certificate.
    #[error("tls.cert {NO_CERTIFICATE}")]
    NoCertificate,
    /// No address, and no socket from the service manager.
    #[error("listen.https {NO_DOOR}")]
    NoDoor,
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Too few descriptors.
    #[error(
        "the process may open {allowed} files, and {blobs} open blobs leave none for connections: raise LimitNOFILE"
    )]
    Descriptors {
        /// The process's limit.
        allowed: u64,
        /// What the cache of open blobs takes of it.
        blobs: usize,
    },
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The admin socket cannot be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A worker's thread or runtime cannot be made.
    #[error("a worker cannot be started")]
    Worker(#[source] io::Error),
}

impl From<TooFew> for StartError {
    fn from(TooFew { allowed, blobs }: TooFew) -> Self {
        Self::Descriptors { allowed, blobs }
    }
}

/// Where a node listens, with the ports that the kernel chose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// HTTPS.
    pub https: Vec<SocketAddr>,
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// The admin listener.
    pub admin: Option<SocketAddr>,
    /// The admin socket.
    pub admin_socket: Option<PathBuf>,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that did not finish in time and were cut, the admin doors' among them.
    pub cut: usize,
}

/// After a cut, how long the workers get to drop what they hold.
const CUT_GRACE: Duration = Duration::from_secs(5);
/// How long the admin doors may finish their answers when the data doors took all the time: whoever watches the drain
/// hears of its end.
const ADMIN_GRACE: Duration = Duration::from_secs(2);

/// A running node. Dropping it cuts everything; [`Node::drain`] is the polite way.
pub struct Node {
    addresses: Addresses,
    readiness: Readiness,
    reloader: Arc<Reloader>,
    admission: Arc<Admission>,
    admin_admission: Arc<Admission>,
    data: Drain,
    admin: Drain,
    threads: Vec<JoinHandle<()>>,
    beats: Vec<Arc<AtomicU64>>,
    limits: Arc<ArcSwap<Limits>>,
    _admin_socket: Option<SocketFile>,
}

impl fmt::Debug for Node {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Node").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Node {
    /// Checks everything, then opens the doors; returns when all workers accept.
    ///
    /// # Errors
    /// The first thing that stands in the way; no port is open then.
    pub fn start<D: Handler, A: Handler>(parts: NodeParts<D, A>) -> Result<Self, StartError> {
        let NodeParts { config, data, admin, admin_socket, mut inherited, readiness, on_reload } = parts;
        config.runnable()?;
        let workers = config.listen.workers.unwrap_or_else(cores);
        let tls = config.tls.as_ref().map(TlsFront::new).transpose()?.map(Arc::new);
        let shares = Shares::deal(descriptors::raise_limit(), &config)?;
        data.set_live_blobs_max(shares.live_blobs_max);
        let limits = Arc::new(ArcSwap::from_pointee(shares.fit(config.limits.clone())));
        let doors = Doors::open(&config, &mut inherited, workers, tls.is_some(), admin_socket.as_deref())?;

        let data_gate = Arc::new(Gate {
            plane: Plane::Data,
            handler: Arc::clone(&data),
            admission: Arc::new(Admission::default()),
            drain: Drain::default(),
            limits: Arc::clone(&limits),
            tls: tls.clone(),
            proxy_from: config.listen.proxy_from.clone(),
            unsent_bytes_max: config.listen.unsent_bytes_max,
            stream_send_bytes: match config.data.access {
                Access::Map => STREAM_SEND_BYTES_MAPPED,
                Access::Pread => STREAM_SEND_BYTES_COPIED,
            },
        });
        let admin_gate = Arc::new(Gate {
            plane: Plane::Admin,
            handler: Arc::clone(&admin),
            admission: Arc::new(Admission::default()),
            drain: Drain::default(),
            limits: Arc::clone(&limits),
            tls: tls.clone(),
            proxy_from: Vec::new(),
            unsent_bytes_max: None,
            stream_send_bytes: STREAM_SEND_BYTES_COPIED,
        });
        let told: OnReload = Box::new(move |config| {
            data.reloaded(config);
            admin.reloaded(config);
            on_reload(config);
        });

        let (ready, all_ready) = mpsc::sync_channel(workers + 1);
        let admin_runtime = runtime().map_err(StartError::Worker)?;
        let mut node = Self {
            addresses: doors.addresses,
            readiness,
            reloader: Arc::new(Reloader::new(config, tls, Arc::clone(&limits), shares, told)),
            admission: Arc::clone(&data_gate.admission),
            admin_admission: Arc::clone(&admin_gate.admission),
            data: data_gate.drain.clone(),
            admin: admin_gate.drain.clone(),
            threads: Vec::new(),
            beats: Vec::new(),
            limits,
            _admin_socket: doors.socket_file,
        };
        node.spawn_worker(
            "penstock-admin",
            Work {
                runtime: admin_runtime,
                gate: admin_gate,
                sockets: doors.admin,
                local: doors.local,
                worker: 0,
                ready: ready.clone(),
            },
        )?;
        for (worker, sockets) in doors.data.into_iter().enumerate() {
            let runtime = runtime().map_err(StartError::Worker)?;
            let gate = Arc::clone(&data_gate);
            let work = Work { runtime, gate, sockets, local: None, worker, ready: ready.clone() };
            node.spawn_worker(&format!("penstock-{worker}"), work)?;
        }
        drop(ready);
        for _ in 0..node.threads.len() {
            let started = all_ready.recv().unwrap_or_else(|_| Err(io::Error::other("the worker ended at once")));
            started.map_err(StartError::Worker)?;
        }
        node.readiness.set(true);
        info!(
            https = ?node.addresses.https, http = ?node.addresses.http, admin = ?node.addresses.admin, workers,
            "accepting connections"
        );
        Ok(node)
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Whether it accepts and is not draining.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.readiness.is_ready()
    }

    /// Takes a changed configuration: checked first, then swapped whole. Says in the log what happened.
    ///
    /// # Errors
    /// Everything that is wrong; the node runs on as before.
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        let reloaded = self.reloader.reload();
        match &reloaded {
            Ok(report) => {
                for note in &report.notes {
                    warn!(%note, "configuration");
                }
                if report.at_next_start.is_empty() {
                    info!("configuration reloaded");
                } else {
                    let keys = &report.at_next_start;
                    warn!(at_next_start = ?keys, "configuration reloaded, but for keys that are taken at the next start");
                }
            }
            Err(failure) => {
                if let ReloadError::Config(problems) = failure {
                    for problem in problems {
                        if problem.kind.is_error_in_serve() {
                            error!(%problem, "configuration");
                        } else {
                            warn!(note = %problem, "configuration");
                        }
                    }
                }
                error!(error = failure as &dyn std::error::Error, "configuration not reloaded, the running one stays");
            }
        }
        reloaded
    }

    /// How long bodies get when the node stops, by the configuration that runs now.
    #[must_use]
    pub fn drain_time(&self) -> Duration {
        self.limits.load().drain
    }

    /// Stops: no new connections, GOAWAY and `connection: close` on those open, bodies finish within `within`, then the
    /// rest is cut. Admin doors close last, so that the drain can be watched; what is under way there has what is left of
    /// the time. Blocks; `hurry` is asked now and then and ends the waiting when true.
    pub fn drain(mut self, within: Duration, mut hurry: impl FnMut() -> bool) -> Drained {
        self.readiness.set(false);
        let until = Instant::now() + within;
        let hurried = finish(&self.data, until, &mut hurry);
        let cut = self.admission.connections_open();
        if cut > 0 {
            warn!(connections = cut, "{}", why_cut(hurried));
        }
        self.data.advance(Stage::Cut);
        self.data.wait(CUT_GRACE);
        let hurried = finish(&self.admin, until.max(Instant::now() + ADMIN_GRACE), &mut hurry);
        let admin_cut = self.admin_admission.connections_open();
        if admin_cut > 0 {
            warn!(admin_connections = admin_cut, "{}", why_cut(hurried));
        }
        self.end();
        Drained { cut: cut + admin_cut }
    }

    pub(crate) fn reloader(&self) -> &Reloader {
        &self.reloader
    }

    /// One counter per worker that grows while its runtime turns.
    pub(crate) fn beats(&self) -> Vec<u64> {
        self.beats.iter().map(|beat| beat.load(Ordering::Relaxed)).collect()
    }

    fn spawn_worker<H: Handler>(&mut self, name: &str, work: Work<H>) -> Result<(), StartError> {
        let beat = Arc::new(AtomicU64::new(0));
        self.beats.push(Arc::clone(&beat));
        let thread = std::thread::Builder::new().name(name.to_owned());
        self.threads.push(thread.spawn(move || work.run(&beat)).map_err(StartError::Worker)?);
        Ok(())
    }

    fn end(&mut self) {
        self.readiness.set(false);
        self.data.advance(Stage::Cut);
        self.admin.advance(Stage::Cut);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a worker ended with a panic");
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

/// Lets a group of connections finish until it has, time is up or `hurry` says so. Returns whether it was hurried.
fn finish(group: &Drain, until: Instant, hurry: &mut impl FnMut() -> bool) -> bool {
    group.advance(Stage::Draining);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // Open is whoever must leave first: connections, and doors that still hand out what the kernel has queued.
        if group.wait(left.min(HURRY_CHECK)) == 0 {
            return false;
        }
        if hurry() {
            return true;
        }
        if left.is_zero() {
            return false;
        }
    }
}

const fn why_cut(hurried: bool) -> &'static str {
    if hurried { "asked again: cutting connections now" } else { "drain time is over, cutting connections" }
}

/// How often a drain asks whether it should hurry.
const HURRY_CHECK: Duration = Duration::from_millis(200);
/// How often a worker shows that its runtime turns.
const BEAT: Duration = Duration::from_secs(1);

/// What one thread runs.
struct Work<H> {
    runtime: runtime::Runtime,
    gate: Arc<Gate<H>>,
    sockets: Vec<(Door, TcpListener)>,
    local: Option<UnixListener>,
    worker: usize,
    ready: mpsc::SyncSender<io::Result<()>>,
}

impl<H: Handler> Work<H> {
    fn run(self, beat: &AtomicU64) {
        let Self { runtime, gate, sockets, local, worker, ready } = self;
        runtime.block_on(async {
            let registered = register(&gate, sockets, local, worker);
            let failed = registered.is_err();
            // The starter is waiting for this; if it has given up, the drain below ends the thread.
            _ = ready.send(registered);
            drop(ready);
            if failed {
                return;
            }
            let mut stage = gate.drain.watch();
            let mut beats = tokio::time::interval(BEAT);
            while *stage.borrow_and_update() != Stage::Cut {
                tokio::select! {
                    _ = stage.changed() => {}
                    _ = beats.tick() => { beat.fetch_add(1, Ordering::Relaxed); }
                }
            }
            // Connections see the cut too, and reset their sockets: a runtime that goes first would end them like whole.
            let until = tokio::time::Instant::now() + CUT_GRACE;
            while gate.drain.open() > 0 && tokio::time::Instant::now() < until {
                tokio::time::sleep(CUT_CHECK).await;
            }
        });
        // Handlers may have blocking work under way; it is not worth waiting for any more.
        runtime.shutdown_background();
    }
}

/// How often a worker looks whether its connections are gone after a cut.
const CUT_CHECK: Duration = Duration::from_millis(2);

fn register<H: Handler>(
    gate: &Arc<Gate<H>>,
    sockets: Vec<(Door, TcpListener)>,
    local: Option<UnixListener>,
    worker: usize,
) -> io::Result<()> {
    for (door, socket) in sockets {
        let socket = tokio::net::TcpListener::from_std(socket)?;
        tokio::spawn(accept_tcp(Arc::clone(gate), socket, door, worker));
    }
    if let Some(local) = local {
        tokio::spawn(accept_unix(Arc::clone(gate), tokio::net::UnixListener::from_std(local)?));
    }
    Ok(())
}

/// All sockets, bound and dealt.
struct Doors {
    addresses: Addresses,
    /// One list per worker.
    data: Vec<Vec<(Door, TcpListener)>>,
    admin: Vec<(Door, TcpListener)>,
    local: Option<UnixListener>,
    socket_file: Option<SocketFile>,
}

impl Doors {
    /// Inherited sockets take the place of the configured addresses of their door.
    fn open(
        config: &Checked,
        inherited: &mut Inherited,
        workers: usize,
        has_certificate: bool,
        admin_socket: Option<&Path>,
    ) -> Result<Self, StartError> {
        let serves = config.role != Role::Control;
        let https = if serves { bound(inherited, Door::Https, &config.listen.https, workers)? } else { Vec::new() };
        let http = if serves { bound(inherited, Door::Http, &config.listen.http, workers)? } else { Vec::new() };
        if serves && https.is_empty() && http.is_empty() {
            return Err(StartError::NoDoor);
        }
        let admin = bound(inherited, Door::Admin, config.listen.admin.as_slice(), 1)?;
        let admin_is_remote = admin.iter().any(|door| !is_loopback(door.address));
        if !has_certificate && (!https.is_empty() || admin_is_remote) {
            return Err(StartError::NoCertificate);
        }
        let (local, socket_file) = admin_socket.map(unix::listen).transpose()?.unzip();
        let addresses = Addresses {
            https: https.iter().map(|door| door.address).collect(),
            http: http.iter().map(|door| door.address).collect(),
            admin: admin.first().map(|door| door.address),
            admin_socket: admin_socket.map(Path::to_path_buf),
        };
        let mut data: Vec<Vec<(Door, TcpListener)>> = (0..workers).map(|_| Vec::new()).collect();
        for door in https.into_iter().chain(http) {
            for (index, socket) in door.sockets.into_iter().enumerate() {
                data[index % workers].push((door.door, socket));
            }
        }
        let admin = admin.into_iter().flat_map(|door| door.sockets).map(|socket| (Door::Admin, socket)).collect();
        Ok(Self { addresses, data, admin, local, socket_file })
    }
}

fn bound(
    inherited: &mut Inherited,
    door: Door,
    addresses: &[SocketAddr],
    workers: usize,
) -> Result<Vec<Bound>, BindError> {
    let passed = inherited.take(door, workers)?;
    if !passed.is_empty() {
        return Ok(passed);
    }
    addresses.iter().map(|address| tcp::bind(door, *address, workers)).collect()
}

fn runtime() -> io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
