//! Knowing when the connection has consumed what a body yielded.
//!
//! TLS reads the pages of a window when it encrypts them, after the body yielded it. If the file under the map was cut
//! in between, the guard gives TLS zeros and poisons the blob. The end of such a body is therefore held back until
//! everything before it was encrypted and the blob is still sound: a response that arrives whole never carries a zero
//! that the file did not. (Over plain TCP the kernel reads the pages itself and fails the write instead.)

use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Windows of one body that are not consumed yet.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    count: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl InFlight {
    /// The same bytes, counted until their last clone is dropped.
    pub(super) fn track(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        self.count.fetch_add(1, Ordering::AcqRel);
        Bytes::from_owner(Tracked { bytes, inflight: Arc::clone(self) })
    }

    /// Windows out there.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Ready once nothing is out there. Woken whenever something was consumed.
    pub(super) fn poll_empty(&self, cx: &Context<'_>) -> Poll<()> {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        if self.count() == 0 { Poll::Ready(()) } else { Poll::Pending }
    }
}

struct Tracked {
    bytes: Bytes,
    inflight: Arc<InFlight>,
}

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.inflight.count.fetch_sub(1, Ordering::AcqRel);
        // The lock is released before waking: a waker may poll at once.
        let waker = self.inflight.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
