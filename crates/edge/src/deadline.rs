//! Deadlines of one connection: slow heads, idle rest, stalled and slow peers. hyper has none of these but the first,
//! and its `header_read_timeout` also runs while a kept-alive connection rests, so that one is ours too.
//!
//! [`Progress`] counts what moved (kept by the IO wrapper, the service and the body), [`Pace`] says what is allowed,
//! and [`Watch`] decides, purely, with time as an argument. A connection costs one timer, re-armed when its phase
//! changes and every quarter of the stall time while a request is under way; no clock is read per write.

mod watch;

pub use watch::{Expiry, Framing, Next, Watch};

use crate::config::Limits;
use crate::sending::Sending;
use http_body::{Body, Frame, SizeHint};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
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
    /// Least average rate in bytes a second while a request is under way; `None` is off.
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

/// What moved on one connection.
#[derive(Debug, Default)]
pub struct Progress {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Requests whose body is not yet dropped.
    requests: AtomicU32,
    /// Of those, the ones that wait for us and not for the peer.
    busy: AtomicU32,
    /// How often the last request under way ended.
    rests: AtomicU64,
    /// The last write had to wait for the peer.
    blocked: AtomicBool,
    /// The connection is being cut: do not linger over unsent bytes.
    abort: AtomicBool,
}

/// [`Progress`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// A request is under way, or bytes wait to be sent.
    pub working: bool,
    /// Some request waits for us.
    pub busy: bool,
    /// How often the connection came to rest.
    pub rests: u64,
}

impl Progress {
    /// This moment.
    #[must_use]
    pub fn sample(&self) -> Sample {
        let requests = self.requests.load(Ordering::Relaxed);
        Sample {
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            working: requests > 0 || self.blocked.load(Ordering::Relaxed),
            busy: self.busy.load(Ordering::Relaxed) > 0,
            rests: self.rests.load(Ordering::Relaxed),
        }
    }

    /// From here on, closing the socket throws unsent bytes away.
    pub fn abort(&self) {
        self.abort.store(true, Ordering::Relaxed);
    }

    /// A request begins. While its body is still arriving, it is the peer's turn.
    #[must_use]
    pub fn request(self: &Arc<Self>, receiving: bool) -> Underway {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut underway = Underway { progress: Arc::clone(self), busy: false };
        underway.set_busy(!receiving);
        underway
    }
}

/// A request under way, from its head to the end of its response's body.
#[derive(Debug)]
pub struct Underway {
    progress: Arc<Progress>,
    busy: bool,
}

impl Underway {
    fn set_busy(&mut self, busy: bool) {
        if busy != self.busy {
            self.busy = busy;
            if busy {
                self.progress.busy.fetch_add(1, Ordering::Relaxed);
            } else {
                self.progress.busy.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// The response's body, which ends the request when it is dropped.
    #[must_use]
    pub fn answer<B>(mut self, body: B) -> Paced<B> {
        self.set_busy(false);
        Paced { body, underway: self }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.set_busy(false);
        if self.progress.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.progress.rests.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A response body that tells [`Progress`] whose turn it is: ours while it is pending, else the peer's.
#[derive(Debug)]
pub struct Paced<B> {
    body: B,
    underway: Underway,
}

impl<B: Body + Unpin> Body for Paced<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.underway.set_busy(polled.is_pending());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket that can be closed without waiting for the peer.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes the close that follows throw unsent bytes away.
    fn abort(&self);
}

impl Socket for TcpStream {
    fn abort(&self) {
        // Best effort: without it the kernel keeps trying to deliver, at its own expense.
        _ = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl Socket for UnixStream {
    fn abort(&self) {}
}

/// The socket under TLS and hyper: counts bytes and notes when a write has to wait.
#[derive(Debug)]
pub struct Counted<S: Socket> {
    socket: S,
    progress: Arc<Progress>,
    sending: Sending,
}

impl<S: Socket> Counted<S> {
    /// Counts `socket`'s bytes in `progress`, and writes nothing once `sending` is not sound.
    pub const fn new(socket: S, progress: Arc<Progress>, sending: Sending) -> Self {
        Self { socket, progress, sending }
    }

    fn wrote(&self, polled: &Poll<io::Result<usize>>) {
        self.progress.blocked.store(polled.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(bytes)) = polled {
            self.progress.bytes_out.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
    }
}

impl<S: Socket> Drop for Counted<S> {
    fn drop(&mut self) {
        if self.progress.abort.load(Ordering::Relaxed) {
            self.socket.abort();
        }
    }
}

impl<S: Socket> AsyncRead for Counted<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.socket).poll_read(cx, buf);
        this.progress.bytes_in.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl<S: Socket> AsyncWrite for Counted<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.sending.check()?;
        let polled = Pin::new(&mut this.socket).poll_write(cx, buf);
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
        let polled = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        this.wrote(&polled);
        polled
    }

    // hyper queues body slices only if this is true; a wrapper that forgets it copies every byte.
    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted() {
        let progress = Arc::new(Progress::default());
        let one = progress.request(true);
        assert!(progress.sample().working && !progress.sample().busy, "the peer is sending");
        let two = progress.request(false);
        assert!(progress.sample().busy, "we are thinking");
        let two = two.answer(());
        assert!(!progress.sample().busy, "the peer is reading");
        drop((one, two));
        assert_eq!(progress.sample(), Sample { rests: 1, ..Sample::default() });
    }
}
