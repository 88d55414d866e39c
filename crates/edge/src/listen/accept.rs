//! Accepting: from a listening socket to a connection that is admitted, known and protected, and then driven.
//!
//! Runs on a worker's own runtime. Every step before the first request is bounded in time and number.

use super::conn::{ConnInfo, CutMark, Door, Handler, Protocol, Wire};
use super::drive::{End, Ride, Uploads, drive};
use super::proxy;
use super::tls::{ALPN_HTTP2, TlsFront};
use crate::admit::{Admission, ConnectionPermit, Lane};
use crate::config::{Limits, Network};
use crate::deadline::{Counted, Pace, Progress};
use crate::drain::{Drain, Inside, Stage};
use crate::geo::PlaceMemo;
use crate::metrics::{CONNECTIONS_ACCEPTED, CONNECTIONS_CUT, CONNECTIONS_OPEN, CONNECTIONS_REJECTED};
use crate::passport::Memo;
use crate::rates::Pacing;
use crate::sending::Sending;
use crate::sockopt::unacknowledged_bytes;
use arc_swap::ArcSwap;
use metrics::{counter, gauge};
use penstock_core::reply::Problem;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

/// How long accepting rests when the process is out of descriptors or memory: trying again at once would spin.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Which half of the node a door belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plane {
    /// Players.
    Data,
    /// Operators and publishers.
    Admin,
}

/// What all connections of one plane share.
pub(crate) struct Gate<H> {
    pub(crate) plane: Plane,
    pub(crate) handler: Arc<H>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) drain: Drain,
    pub(crate) limits: Arc<ArcSwap<Limits>>,
    /// For https sockets, and for admin sockets that are not on loopback.
    pub(crate) tls: Option<Arc<TlsFront>>,
    pub(crate) proxy_from: Vec<Network>,
    pub(crate) unsent_bytes_max: Option<u32>,
    /// Bytes that one HTTP/2 stream may queue.
    pub(crate) stream_send_bytes: usize,
}

/// Accepts from one socket until the drain begins, then takes what the kernel has already queued and closes.
pub(crate) async fn accept_tcp<H: Handler>(gate: Arc<Gate<H>>, socket: TcpListener, door: Door, worker: usize) {
    let Ok(address) = socket.local_addr() else {
        // Without its address nobody knows whether it needs TLS.
        warn!(door = door.name(), "a listening socket has no address and is not served");
        return;
    };
    let entry = Entry { door, worker, wire: wire(door, address) };
    let inside = gate.drain.enter();
    let mut stage = gate.drain.watch();
    while *stage.borrow_and_update() == Stage::Serving {
        tokio::select! {
            _ = stage.changed() => {}
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => welcome(&gate, stream, peer, entry),
                Err(error) => rest_after(&error).await,
            },
        }
    }
    // Closing a socket resets what waits on it. Those clients were promised a connection.
    while let Some(Ok((stream, peer))) = now_or_never(socket.accept()).await {
        welcome(&gate, stream, peer, entry);
    }
    drop(inside);
}

/// As [`accept_tcp`], for the admin socket in the data directory.
pub(crate) async fn accept_unix<H: Handler>(gate: Arc<Gate<H>>, socket: UnixListener) {
    let inside = gate.drain.enter();
    let mut stage = gate.drain.watch();
    while *stage.borrow_and_update() == Stage::Serving {
        tokio::select! {
            _ = stage.changed() => {}
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(local_connection(Arc::clone(&gate), stream, gate.drain.enter()));
                }
                Err(error) => rest_after(&error).await,
            },
        }
    }
    drop(inside);
}

/// The socket that a connection came in by.
#[derive(Debug, Clone, Copy)]
struct Entry {
    door: Door,
    worker: usize,
    wire: Wire,
}

/// What a listening socket speaks. Each is judged by its own address: a door may have several (systemd passes as many as
/// it likes), and one on loopback says nothing about the next.
fn wire(door: Door, address: SocketAddr) -> Wire {
    match door {
        Door::Https => Wire::Tls,
        Door::Admin if !is_loopback(address) => Wire::Tls,
        Door::Admin | Door::Http => Wire::Plain,
        Door::AdminSocket => Wire::Local,
    }
}

/// Whether only this machine reaches an address.
pub(crate) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn welcome<H: Handler>(gate: &Arc<Gate<H>>, stream: TcpStream, peer: SocketAddr, entry: Entry) {
    tokio::spawn(connection(Arc::clone(gate), stream, peer, entry, gate.drain.enter()));
}

async fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}

async fn rest_after(error: &io::Error) {
    // The peer that gave up while it waited says nothing about us.
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        warn!(%error, "cannot accept connections for the moment");
        tokio::time::sleep(ACCEPT_REST).await;
    }
}

/// Why a connection ended before it could ask anything.
#[derive(Debug, thiserror::Error)]
enum Rejected {
    #[error("too many connections")]
    Connections,
    #[error("too many connections from this peer")]
    Peer,
    #[error("too many handshakes at once")]
    Handshakes,
    #[error("no PROXY header in time")]
    ProxyTime,
    #[error("bad PROXY header")]
    Proxy(#[source] proxy::ProxyError),
    #[error("no handshake in time")]
    HandshakeTime,
    #[error("handshake failed")]
    Handshake(#[source] io::Error),
    #[error("socket options cannot be set")]
    Options(#[source] io::Error),
    /// Never in practice: a node with such a socket does not start.
    #[error("no certificate for a socket that needs one")]
    NoCertificate,
}

impl Rejected {
    /// The name used in metrics.
    const fn name(&self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Peer => "peer",
            Self::Handshakes => "handshakes",
            Self::ProxyTime => "proxy_time",
            Self::Proxy(_) => "proxy",
            Self::HandshakeTime => "handshake_time",
            Self::Handshake(_) => "handshake",
            Self::Options(_) => "options",
            Self::NoCertificate => "no_certificate",
        }
    }
}

/// Counts a connection while it lives.
struct Counting(Door);

impl Counting {
    fn begin(door: Door) -> Self {
        counter!(CONNECTIONS_ACCEPTED, "door" => door.name()).increment(1);
        gauge!(CONNECTIONS_OPEN, "door" => door.name()).increment(1);
        Self(door)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        gauge!(CONNECTIONS_OPEN, "door" => self.0.name()).decrement(1);
    }
}

async fn connection<H: Handler>(gate: Arc<Gate<H>>, stream: TcpStream, peer: SocketAddr, entry: Entry, inside: Inside) {
    let door = entry.door;
    let counting = Counting::begin(door);
    match admitted(&gate, stream, peer, entry).await {
        Ok(end) => note_end(door, &end),
        Err(rejected) => {
            counter!(CONNECTIONS_REJECTED, "reason" => rejected.name()).increment(1);
            debug!(door = door.name(), error = &rejected as &dyn std::error::Error, "connection rejected");
        }
    }
    drop(counting);
    drop(inside);
}

async fn admitted<H: Handler>(
    gate: &Gate<H>,
    mut stream: TcpStream,
    peer: SocketAddr,
    entry: Entry,
) -> Result<End, Rejected> {
    let Entry { door, worker, wire } = entry;
    let limits = gate.limits.load_full();
    let max = match gate.plane {
        Plane::Data => limits.connections_max,
        Plane::Admin => limits.admin_connections_max,
    };
    let (total, place) = gate.admission.connection(max).ok_or(Rejected::Connections)?;
    set_options(&stream, gate.unsent_bytes_max, &limits).map_err(Rejected::Options)?;
    let mut client = peer;
    let mut local = stream.local_addr().ok();
    if gate.proxy_from.iter().any(|network| network.contains(peer.ip())) {
        let header = timeout(limits.handshake, proxy::read(&mut stream)).await;
        if let Some(proxied) = header.map_err(|_| Rejected::ProxyTime)?.map_err(Rejected::Proxy)? {
            (client, local) = (proxied.source, Some(proxied.destination));
        }
    }
    let (mine, _peer_place) = match gate.plane {
        Plane::Data => gate.admission.peer(client.ip(), &limits).ok_or(Rejected::Peer)?,
        Plane::Admin => gate.admission.admin_peer(client.ip(), &limits).ok_or(Rejected::Peer)?,
    };
    let progress = Arc::new(Progress::default());
    let sending = Sending::default();
    let pacing = Pacing::default();
    let counted = Counted::new(stream, Arc::clone(&progress), sending.clone()).paced_by(pacing.clone());
    let left = counted.left();
    let cut = CutMark::default();
    let place_memo = PlaceMemo::default();
    let conn = |protocol| ConnInfo {
        peer: Some(client),
        local,
        door,
        wire,
        protocol,
        worker,
        sending,
        cut,
        place: place_memo,
        pacing,
        memo: Memo::default(),
    };
    let ride = |conn| Ride {
        handler: Arc::clone(&gate.handler),
        conn: Arc::new(conn),
        progress: Arc::clone(&progress),
        pace: pace(gate.plane, &limits),
        limits: Arc::clone(&limits),
        lane: lane(total, mine),
        stage: gate.drain.watch(),
        uploads: uploads(gate.plane),
        stream_send_bytes: gate.stream_send_bytes,
    };
    let end = match wire {
        Wire::Plain | Wire::Local => drive(counted, ride(conn(Protocol::Http1))).await,
        Wire::Tls => {
            let tls = gate.tls.as_ref().ok_or(Rejected::NoCertificate)?;
            let stream = Box::pin(handshake(gate, tls, counted, &limits)).await?;
            let protocol = match stream.get_ref().1.alpn_protocol() {
                Some(ALPN_HTTP2) => Protocol::Http2,
                _ => Protocol::Http1,
            };
            drive(stream, ride(conn(protocol))).await
        }
    };
    let socket = left.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let (End::Finished, Some(socket)) = (&end, socket) {
        Box::pin(linger(socket, gate.drain.watch(), place)).await;
    }
    Ok(end)
}

/// Bytes thrown away at once while lingering.
const SCRAP_BYTES: usize = 4096;

/// How often a lingering connection is asked whether its peer has everything; the kernel does not tell by itself.
const LINGER_LOOK: Duration = Duration::from_millis(100);
/// How long a peer that has everything, our FIN included, may keep its side open without a word.
const LINGER_IDLE: Duration = Duration::from_secs(5);

/// Waits until the peer closes, or has had everything for a while, or the drain's time is up. A socket that is closed with
/// bytes unread (the window updates of an HTTP/2 peer that is still receiving) makes the kernel reset it and forget what
/// it had yet to send. Once nothing is left to send, the connection gives its `place` back: ending it cuts nothing.
async fn linger(mut socket: TcpStream, mut stage: watch::Receiver<Stage>, place: ConnectionPermit) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let lingering = async {
        while !matches!(unacknowledged_bytes(&socket), Ok(0)) {
            if timeout(LINGER_LOOK, read_on(&mut socket, Duration::MAX)).await.is_ok() {
                return;
            }
        }
        drop(place);
        read_on(&mut socket, LINGER_IDLE).await;
    };
    let cut = async { while *stage.borrow_and_update() != Stage::Cut && stage.changed().await.is_ok() {} };
    tokio::select! {
        () = lingering => {}
        () = cut => {}
    }
}

/// Reads and throws away, until the peer closes or nothing comes for as long as `quiet`.
async fn read_on(socket: &mut TcpStream, quiet: Duration) {
    let mut scrap = vec![0; SCRAP_BYTES];
    while timeout(quiet, socket.read(&mut scrap)).await.is_ok_and(|read| read.is_ok_and(|bytes| bytes > 0)) {}
}

async fn handshake<H: Handler>(
    gate: &Gate<H>,
    tls: &TlsFront,
    stream: Counted<TcpStream>,
    limits: &Limits,
) -> Result<tokio_rustls::server::TlsStream<Counted<TcpStream>>, Rejected> {
    let (time, _place) = gate.admission.handshake(limits).ok_or(Rejected::Handshakes)?;
    let accepting = TlsAcceptor::from(Arc::clone(tls.config())).accept(stream);
    timeout(time, accepting).await.map_err(|_| Rejected::HandshakeTime)?.map_err(Rejected::Handshake)
}

fn note_end(door: Door, end: &End) {
    match end {
        End::Closed | End::Finished => debug!(door = door.name(), "connection closed"),
        End::Left => debug!(door = door.name(), "connection left, its peer does not close it"),
        End::Failed(error) => {
            debug!(door = door.name(), %error, "connection failed");
        }
        End::Expired(expiry) => {
            counter!(CONNECTIONS_CUT, "reason" => expiry.name()).increment(1);
            debug!(door = door.name(), deadline = expiry.name(), "connection cut");
        }
        End::CutByDrain => {
            counter!(CONNECTIONS_CUT, "reason" => "drain").increment(1);
            debug!(door = door.name(), "connection cut by the drain");
        }
    }
}

async fn local_connection<H: Handler>(gate: Arc<Gate<H>>, stream: UnixStream, inside: Inside) {
    let counting = Counting::begin(Door::AdminSocket);
    let limits = gate.limits.load_full();
    if let Some((total, _place)) = gate.admission.connection(limits.admin_connections_max) {
        let progress = Arc::new(Progress::default());
        let conn = ConnInfo {
            peer: None,
            local: None,
            door: Door::AdminSocket,
            wire: Wire::Local,
            protocol: Protocol::Http1,
            worker: 0,
            sending: Sending::default(),
            cut: CutMark::default(),
            place: PlaceMemo::default(),
            pacing: Pacing::default(),
            memo: Memo::default(),
        };
        let sending = conn.sending.clone();
        let ride = Ride {
            handler: Arc::clone(&gate.handler),
            conn: Arc::new(conn),
            progress: Arc::clone(&progress),
            pace: pace(gate.plane, &limits),
            limits,
            lane: lane(total, Lane::Serve),
            stage: gate.drain.watch(),
            uploads: uploads(gate.plane),
            stream_send_bytes: gate.stream_send_bytes,
        };
        note_end(Door::AdminSocket, &drive(Counted::new(stream, progress, sending), ride).await);
    } else {
        counter!(CONNECTIONS_REJECTED, "reason" => Rejected::Connections.name()).increment(1);
    }
    drop(counting);
    drop(inside);
}

/// The node being full is 503, one peer taking too much is 429; the node comes first.
fn lane(total: Lane, mine: Lane) -> (Lane, Problem) {
    match (total, mine) {
        (Lane::Serve, Lane::Serve) => (Lane::Serve, Problem::Internal),
        (Lane::Serve, _) => (Lane::Refuse, Problem::TooManyRequests),
        _ => (Lane::Refuse, Problem::Unavailable),
    }
}

fn pace(plane: Plane, limits: &Limits) -> Pace {
    match plane {
        Plane::Data => Pace::data(limits),
        Plane::Admin => Pace::admin(limits),
    }
}

const fn uploads(plane: Plane) -> Uploads {
    match plane {
        Plane::Data => Uploads::Unusual,
        Plane::Admin => Uploads::Expected,
    }
}

fn set_options(stream: &TcpStream, unsent_bytes_max: Option<u32>, limits: &Limits) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    // Heads and bodies are written together, so Nagle would only delay the last packet.
    socket.set_tcp_nodelay(true)?;
    // The kernel's own end for a peer that is gone or reads nothing, after ours had its chance.
    socket.set_tcp_user_timeout(Some(limits.stall * 2))?;
    if let Some(bytes) = unsent_bytes_max {
        socket.set_tcp_notsent_lowat(bytes)?;
    }
    Ok(())
}
