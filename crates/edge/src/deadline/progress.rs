//! What moved on one connection and whose turn it is: kept by the IO wrapper, the service and the bodies.
//!
//! It only counts. A request is under way from its head until the last byte of its response was consumed (written to the
//! kernel or encrypted), which is later than the end of its body: HTTP/2 queues up to a few hundred KiB for each stream.

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

/// What moved on one connection.
#[derive(Debug, Default)]
pub struct Progress {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Of `bytes_in`, those that came while the body of some request was awaited.
    received: AtomicU64,
    /// Bytes of response bodies that were consumed.
    consumed: AtomicU64,
    /// Requests under way.
    requests: AtomicU32,
    /// Of those, the ones that wait for us and not for the peer.
    busy: AtomicU32,
    /// Of those, the ones whose body is awaited.
    receiving: AtomicU32,
    /// How often the last request under way ended.
    rests: AtomicU64,
    /// The last write had to wait for the peer.
    blocked: AtomicBool,
    /// The connection is being cut: do not linger over unsent bytes.
    abort: AtomicBool,
    /// Requests under way, oldest first.
    exchanges: Mutex<Vec<Weak<Exchange>>>,
    /// How many requests there ever were.
    asked: AtomicU64,
}

/// [`Progress`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes of bodies: consumed from responses, and received while a request's was awaited.
    pub bodies: u64,
    /// A request is under way, or bytes wait to be sent.
    pub working: bool,
    /// Some request waits for us.
    pub busy: bool,
    /// How often the connection came to rest.
    pub rests: u64,
}

/// One request under way at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSample {
    /// Its number on the connection; later requests have larger ones.
    pub number: u64,
    /// Bytes of its response that were consumed; while its own body is awaited, bytes that came.
    pub moved: u64,
    /// It waits for us.
    pub busy: bool,
}

impl Progress {
    /// This moment.
    #[must_use]
    pub fn sample(&self) -> Sample {
        let requests = self.requests.load(Ordering::Relaxed);
        Sample {
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            bodies: self.received.load(Ordering::Relaxed) + self.consumed.load(Ordering::Relaxed),
            working: requests > 0 || self.blocked.load(Ordering::Relaxed),
            busy: self.busy.load(Ordering::Relaxed) > 0,
            rests: self.rests.load(Ordering::Relaxed),
        }
    }

    /// Every request under way at this moment, oldest first.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamSample> {
        let received = self.received.load(Ordering::Relaxed);
        let exchanges: Vec<_> = self.exchanges().iter().filter_map(Weak::upgrade).collect();
        // Sampled outside the lock: whoever drops the last reference to an exchange takes it.
        exchanges
            .iter()
            .map(|exchange| {
                let turn = exchange.turn();
                let consumed = exchange.consumed.load(Ordering::Relaxed);
                let moved = if turn == Turn::Receiving { received } else { consumed };
                StreamSample { number: exchange.number, moved, busy: turn == Turn::Ours }
            })
            .collect()
    }

    /// From here on, closing the socket throws unsent bytes away.
    pub fn abort(&self) {
        self.abort.store(true, Ordering::Relaxed);
    }

    /// A request begins. While its body is still arriving, it is the peer's turn.
    #[must_use]
    pub fn request(self: &Arc<Self>, receiving: bool) -> Underway {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let exchange = Arc::new(Exchange {
            progress: Arc::clone(self),
            number: self.asked.fetch_add(1, Ordering::Relaxed),
            turn: AtomicU8::new(Turn::Peers as u8),
            consumed: AtomicU64::new(0),
        });
        exchange.set_turn(if receiving { Turn::Receiving } else { Turn::Ours });
        self.exchanges().push(Arc::downgrade(&exchange));
        Underway(exchange)
    }

    pub(super) fn read(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.receiving.load(Ordering::Relaxed) > 0 {
            self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// A write took some bytes, or has to wait for the peer.
    pub(super) fn wrote(&self, bytes: Option<usize>) {
        self.blocked.store(bytes.is_none(), Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes.unwrap_or(0) as u64, Ordering::Relaxed);
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.abort.load(Ordering::Relaxed)
    }

    fn exchanges(&self) -> MutexGuard<'_, Vec<Weak<Exchange>>> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Turn {
    /// The peer, to take what we send.
    Peers,
    /// Us.
    Ours,
    /// The peer, to send the request's body.
    Receiving,
}

/// One request, from its head to the last byte of its response.
#[derive(Debug)]
struct Exchange {
    progress: Arc<Progress>,
    number: u64,
    turn: AtomicU8,
    /// Bytes of the response's body.
    consumed: AtomicU64,
}

impl Exchange {
    fn turn(&self) -> Turn {
        match self.turn.load(Ordering::Relaxed) {
            turn if turn == Turn::Ours as u8 => Turn::Ours,
            turn if turn == Turn::Receiving as u8 => Turn::Receiving,
            _ => Turn::Peers,
        }
    }

    fn set_turn(&self, turn: Turn) {
        let before = self.turn();
        if turn == before {
            return;
        }
        self.turn.store(turn as u8, Ordering::Relaxed);
        for (counted, count) in [(Turn::Ours, &self.progress.busy), (Turn::Receiving, &self.progress.receiving)] {
            if turn == counted {
                count.fetch_add(1, Ordering::Relaxed);
            } else if before == counted {
                count.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn consume(&self, bytes: usize) {
        self.consumed.fetch_add(bytes as u64, Ordering::Relaxed);
        self.progress.consumed.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.set_turn(Turn::Peers);
        self.progress.exchanges().retain(|exchange| exchange.strong_count() > 0);
        if self.progress.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.progress.rests.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A request under way that has no response yet.
#[derive(Debug)]
pub struct Underway(Arc<Exchange>);

impl Underway {
    /// The response's body. The request ends when it and all that it yielded are dropped.
    #[must_use]
    pub fn answer<B>(self, body: B) -> Paced<B> {
        self.0.set_turn(Turn::Peers);
        Paced { body, exchange: self.0 }
    }
}

/// A response body that tells [`Progress`] whose turn it is: ours while it is pending, else the peer's.
#[derive(Debug)]
pub struct Paced<B> {
    body: B,
    exchange: Arc<Exchange>,
}

impl<B: Body + Unpin> Body for Paced<B> {
    type Data = Handed<B::Data>;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, B::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.exchange.set_turn(if polled.is_pending() { Turn::Ours } else { Turn::Peers });
        let handed = |data| Handed { data, exchange: Arc::clone(&this.exchange) };
        polled.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(handed))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of a response that are handed to the connection, and counted as it consumes them.
#[derive(Debug)]
pub struct Handed<D> {
    data: D,
    exchange: Arc<Exchange>,
}

impl<D: Buf> Buf for Handed<D> {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    // Without it hyper would write one slice at a time.
    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.data.chunks_vectored(slices)
    }

    fn advance(&mut self, bytes: usize) {
        self.exchange.consume(bytes);
        self.data.advance(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Full;

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
        assert_eq!(progress.streams(), []);
    }

    #[test]
    fn what_arrives_counts_while_a_body_is_awaited() {
        let progress = Arc::new(Progress::default());
        let body = progress.request(true);
        progress.read(100);
        assert_eq!(progress.streams(), [StreamSample { number: 0, moved: 100, busy: false }]);
        drop(body);
        progress.read(50);
        let sample = progress.sample();
        assert_eq!((sample.bytes_in, sample.bodies), (150, 100), "what comes later may be pings");
    }

    #[test]
    fn a_request_ends_with_its_last_byte_and_not_with_its_body() {
        let progress = Arc::new(Progress::default());
        let mut body = progress.request(false).answer(Full::new(Bytes::from_static(b"12345")));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) else { panic!("a frame") };
        drop(body);
        let mut queued = frame.into_data().expect("data");
        queued.advance(2);
        assert!(progress.sample().working);
        assert_eq!(progress.streams(), [StreamSample { number: 0, moved: 2, busy: false }]);
        queued.advance(3);
        drop(queued);
        assert_eq!(progress.sample(), Sample { bodies: 5, rests: 1, ..Sample::default() });
    }
}
