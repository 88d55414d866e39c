//! What a connection is sending from memory maps, so that its socket can refuse to send what turned out damaged.
//!
//! TLS reads the pages of a window when it encrypts them, after the body yielded it. If the file under the map was cut
//! in between, the store's guard gives TLS zeros and poisons the view. The socket under TLS therefore asks, before each
//! write, whether everything that the connection has under way is still sound: the ciphertext of a zero that the file
//! did not hold never leaves. (Over plain TCP the kernel reads the pages itself, and the write fails instead.)

use bytes::Bytes;
use penstock_store::BlobView;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The views that one connection is sending from. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Sending(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// One entry per body whose windows are not all consumed yet.
    views: Mutex<Vec<BlobView>>,
    /// A view was found poisoned: what the connection still buffers is not to be believed.
    is_tainted: AtomicBool,
}

/// Two connections are never sending the same thing.
impl PartialEq for Sending {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Sending {}

/// The blob that a connection was sending was damaged behind our back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a blob was damaged while it was being sent, the connection is cut")]
pub struct Damaged;

impl Sending {
    /// Whether what was handed over may be written. Asked before each write to the socket; costs a lock that nobody
    /// else wants and three loads for each body under way.
    ///
    /// # Errors
    /// [`Damaged`], for good.
    pub fn check(&self) -> io::Result<()> {
        let is_sound = !self.0.is_tainted.load(Ordering::Acquire) && !self.0.views().iter().any(BlobView::is_poisoned);
        if is_sound { Ok(()) } else { Err(io::Error::other(Damaged)) }
    }

    /// Begins to send from `view`.
    pub(crate) fn begin(&self, view: &BlobView) -> Arc<Sender> {
        self.0.views().push(view.clone());
        Arc::new(Sender { connection: Arc::clone(&self.0), view: view.clone() })
    }
}

impl Inner {
    fn views(&self) -> MutexGuard<'_, Vec<BlobView>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One body's share in a connection: ends when the body and all its windows are dropped.
#[derive(Debug)]
pub(crate) struct Sender {
    connection: Arc<Inner>,
    view: BlobView,
}

impl Sender {
    /// The same bytes; the connection answers for them until their last clone is dropped.
    pub(crate) fn track(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Tracked { bytes, _sender: Arc::clone(self) })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // The last window may be encrypted and still wait in a buffer: then the whole connection has to go.
        if self.view.is_poisoned() {
            self.connection.is_tainted.store(true, Ordering::Release);
        }
        let mut views = self.connection.views();
        if let Some(at) = views.iter().position(|view| view.id() == self.view.id()) {
            views.swap_remove(at);
        }
    }
}

struct Tracked {
    bytes: Bytes,
    _sender: Arc<Sender>,
}

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::blob::ByteRange;
    use penstock_store::{Store, StoreOptions};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_connection_is_sound_until_something_it_sends_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), StoreOptions::default()).expect("a store");
        let content = vec![7; 100_000];
        let blob = store.import_reader(&mut content.as_slice()).expect("sealed").blob;
        let view = store.view(&blob).expect("open");
        let range = ByteRange::new(0, 50_000).expect("a range");
        let (connection, bystander) = (Sending::default(), Sending::default());
        let window = {
            let sender = connection.begin(&view);
            sender.track(view.slice(range).expect("mapped"))
        };
        assert_eq!(connection.0.views().len(), 1, "the window outlives its body");
        assert!(connection.check().is_ok());
        let name = blob.to_string();
        let path = dir.path().join(&name[..2]).join(&name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("writable");
        std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(10)).expect("cut");
        assert!(!view.is_resident(range), "looking poisons it");
        assert!(connection.check().is_err());
        drop(window);
        assert!(connection.0.views().is_empty());
        assert!(connection.check().is_err(), "what is buffered is still not to be sent");
        assert!(bystander.check().is_ok());
    }
}
