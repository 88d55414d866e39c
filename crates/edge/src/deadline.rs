//! Deadlines of one connection: slow heads, idle rest, stalled and slow peers. hyper has none of these but the first,
//! and its `header_read_timeout` also runs while a kept-alive connection rests, so that one is ours too.
//!
//! [`Progress`] counts what moved (kept by the IO wrapper, the service and the body), [`Pace`] says what is allowed,
//! [`Watch`] decides for the connection and [`Streams`] for each of its HTTP/2 streams, purely, with time as an argument.
//! A connection costs one timer, re-armed when its phase changes and every quarter of the stall time while a request is
//! under way; no clock is read per write.
//!
//! What counts as moved: HTTP/1 has nothing on its wire but requests and responses, so every byte does. HTTP/2 also has
//! pings and window updates, which cost the peer nothing, so only bytes of bodies do.

mod progress;
mod streams;
mod watch;

pub use progress::{Handed, Paced, Progress, Sample, StreamSample, Underway};
pub use streams::Streams;
pub use watch::{Expiry, Framing, Next, Watch};

use crate::config::Limits;
use crate::rates::{Pacing, UNBOUNDED};
use crate::sending::Sending;
use crate::sockopt::set_max_pacing_rate;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// What a connection is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From a request's first byte to the end of its head.
    pub header: Duration,
    /// Between requests.
    pub keep_alive: Duration,
    /// Without a byte moved while a request is under way.
    pub stall: Duration,
    /// Least average rate in bytes a second of each request under way; `None` is off.
    pub rate_bytes_per_second_min: Option<u64>,
    /// Time over which it is averaged.
    pub rate_window: Duration,
}

/// How long an admin request may go without a byte: sealing a large upload syncs it to disk first.
const ADMIN_STALL_MIN: Duration = Duration::from_secs(300);

impl Pace {
    /// For players.
    #[must_use]
    pub const fn data(limits: &Limits) -> Self {
        Self {
            header: limits.header,
            keep_alive: limits.keep_alive,
            stall: limits.stall,
            rate_bytes_per_second_min: limits.rate_bytes_per_second_min,
            rate_window: limits.rate_window,
        }
    }

    /// For operators and publishers: no least rate, and patience for the disk.
    #[must_use]
    pub fn admin(limits: &Limits) -> Self {
        Self { stall: limits.stall.max(ADMIN_STALL_MIN), rate_bytes_per_second_min: None, ..Self::data(limits) }
    }
}

/// A socket that can be closed without waiting for the peer.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes the close that follows throw unsent bytes away.
    fn abort(&self);
    /// Makes the kernel send at most so many bytes a second, where it can.
    fn pace(&self, bytes_per_second: u64);
}

impl Socket for TcpStream {
    fn abort(&self) {
        // Best effort: without it the kernel keeps trying to deliver, at its own expense.
        _ = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }

    fn pace(&self, bytes_per_second: u64) {
        if let Err(error) = set_max_pacing_rate(self, bytes_per_second) {
            tracing::warn!(%error, bytes_per_second, "the kernel does not keep a connection's rate");
        }
    }
}

impl Socket for UnixStream {
    fn abort(&self) {}
    fn pace(&self, _: u64) {}
}

/// The socket under TLS and hyper: counts bytes and notes when a write has to wait.
#[derive(Debug)]
pub struct Counted<S: Socket> {
    /// There until it is dropped.
    socket: Option<S>,
    progress: Arc<Progress>,
    sending: Sending,
    pacing: Pacing,
    /// The rate that the socket keeps.
    paced: u64,
    left: Left<S>,
}

/// Where a connection's socket is found once whoever drove it is done, unless it was aborted.
pub type Left<S> = Arc<Mutex<Option<S>>>;

impl<S: Socket> Counted<S> {
    /// Counts `socket`'s bytes in `progress`, and writes nothing once `sending` is not sound.
    pub fn new(socket: S, progress: Arc<Progress>, sending: Sending) -> Self {
        let (pacing, left) = (Pacing::default(), Left::default());
        Self { socket: Some(socket), progress, sending, pacing, paced: UNBOUNDED, left }
    }

    /// Keeps the rate that those want who share `pacing`.
    #[must_use]
    pub fn paced_by(mut self, pacing: Pacing) -> Self {
        self.pacing = pacing;
        self
    }

    /// Where the socket will be left.
    pub fn left(&self) -> Left<S> {
        Arc::clone(&self.left)
    }

    /// Before each write: one look at a number, and a system call when it has changed.
    fn keep_pace(&mut self) {
        if let Some(rate) = self.pacing.rate()
            && rate != self.paced
            && let Some(socket) = &self.socket
        {
            socket.pace(rate);
            self.paced = rate;
        }
    }

    fn socket(&mut self) -> io::Result<&mut S> {
        self.socket.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn wrote(&self, polled: &Poll<io::Result<usize>>) {
        self.progress.wrote(match polled {
            Poll::Pending => None,
            Poll::Ready(written) => Some(*written.as_ref().unwrap_or(&0)),
        });
    }
}

impl<S: Socket> Drop for Counted<S> {
    fn drop(&mut self) {
        let Some(socket) = self.socket.take() else { return };
        if self.progress.is_aborted() {
            socket.abort();
        } else {
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
        }
    }
}

impl<S: Socket> AsyncRead for Counted<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(this.socket()?).poll_read(cx, buf);
        this.progress.read(buf.filled().len() - before);
        polled
    }
}

impl<S: Socket> AsyncWrite for Counted<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.sending.check()?;
        this.keep_pace();
        let polled = Pin::new(this.socket()?).poll_write(cx, buf);
        this.wrote(&polled);
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.sending.check()?;
        this.keep_pace();
        let polled = Pin::new(this.socket()?).poll_write_vectored(cx, bufs);
        this.wrote(&polled);
        polled
    }

    // hyper queues body slices only if this is true; a wrapper that forgets it copies every byte.
    fn is_write_vectored(&self) -> bool {
        self.socket.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().socket()?).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().socket()?).poll_shutdown(cx)
    }
}
