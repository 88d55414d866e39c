//! What a connection is to the rest of the edge: [`ConnInfo`], and the [`Handler`] that answers its requests.
//!
//! It must not touch a socket: listeners make a `ConnInfo`, handlers read it.

use crate::config::Checked;
use crate::geo::PlaceMemo;
use crate::passport::Memo;
use crate::rates::Pacing;
use crate::sending::Sending;
use bytes::Buf;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use penstock_core::reply::Problem;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which of the node's doors a connection came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// `[listen] https`: TLS, HTTP/1.1 and HTTP/2.
    Https,
    /// `[listen] http`: plain HTTP/1.1.
    Http,
    /// `[listen] admin`: the admin listener, plain on loopback and TLS elsewhere.
    Admin,
    /// The admin socket in the data directory: whoever can open it is the operator.
    AdminSocket,
}

impl Door {
    /// The name used in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Admin => "admin",
            Self::AdminSocket => "admin_socket",
        }
    }
}

/// The HTTP version a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 (and 1.0).
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// The name used in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "http/2",
        }
    }
}

/// Whether the bytes on the wire can be read by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// Anyone on the path reads along.
    Plain,
    /// Inside TLS.
    Tls,
    /// A Unix socket: never leaves the machine.
    Local,
}

/// One connection, as its requests see it. Shared by all requests of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnInfo {
    /// The client: from the PROXY header where one is trusted, else the socket's peer. `None` on Unix sockets.
    pub peer: Option<SocketAddr>,
    /// The address the client connected to. `None` on Unix sockets.
    pub local: Option<SocketAddr>,
    /// The door it came through.
    pub door: Door,
    /// Whether it is protected.
    pub wire: Wire,
    /// HTTP version.
    pub protocol: Protocol,
    /// The worker (0-based) that owns the connection.
    pub worker: usize,
    /// What it is sending from maps; its socket asks before each write whether that is still sound.
    pub sending: Sending,
    /// Whether we cut it; the outcomes of its requests ask.
    pub cut: CutMark,
    /// Where the peer is, once somebody asked.
    pub place: PlaceMemo,
    /// How fast it may be sent to; its socket keeps it.
    pub pacing: Pacing,
    /// Who asked last.
    pub memo: Memo,
}

/// Set when the node cuts a connection, before what it carries is dropped. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct CutMark(Arc<AtomicBool>);

impl CutMark {
    /// From here on, what ends early was ended by us and not by the peer.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Two connections never share one.
impl PartialEq for CutMark {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CutMark {}

/// Somebody who answers requests: the data plane's pipeline, the admin service, or a test.
///
/// Callers may assume that a handler answers every request, that it never blocks the thread, and
/// that dropping its future or its body at any time is safe (the peer went away).
pub trait Handler: Send + Sync + 'static {
    /// The body of its responses.
    type Body: Body<Data: Buf + Send, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + Send + 'static;

    /// Answers one request.
    fn handle(&self, request: Request<Incoming>, conn: &ConnInfo) -> impl Future<Output = Response<Self::Body>> + Send;

    /// The answer to a request that admission refuses (too many connections): a problem document with `Retry-After`.
    fn refuse(&self, problem: Problem, conn: &ConnInfo) -> Response<Self::Body>;

    /// A head was no request or too large, and was answered with `status` and nothing else: for the outcome.
    fn bad_head(&self, _status: u16, _conn: &ConnInfo) {}

    /// How many blobs it may have under way at once, so that their files fit beside the connections. Told once, before
    /// the first request. A handler that opens no blobs has nothing to do.
    fn set_live_blobs_max(&self, _max: usize) {}

    /// A new configuration was taken while running: what the handler can change is changed here.
    fn reloaded(&self, _config: &Checked) {}
}
