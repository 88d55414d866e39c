//! What a connection is sending from memory maps, so that its socket can refuse to send what turned out damaged.
//!
//! The pages of a slice are read long after the body yielded it: by TLS when it encrypts them, by the kernel when it
//! copies them. If the file under the map was cut in between, zeros are read in their place: the kernel's own behind the
//! end of the last page, the store's guard's from the next page on. The socket therefore asks, before each write, whether
//! every file that the bytes in flight came from is still sound. Over TLS nothing that was read after a cut ever leaves;
//! over plain TCP the same holds but for a cut between the question and the kernel's copy, some microseconds.

use crate::shelf::Live;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The files that one connection is sending from. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Sending(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Files whose bytes were looked at since they were last found sound. Hardly ever more than two: a connection looks
    /// at the slices that it is writing, however many wait.
    exposed: Mutex<Vec<Exposed>>,
    /// A file was found damaged: what the connection still buffers is not to be believed.
    is_tainted: AtomicBool,
}

#[derive(Debug)]
struct Exposed {
    live: Arc<Live>,
    /// Slices that were looked at and are not consumed yet.
    slices: usize,
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
    /// else wants and one `fstat` for each file in flight.
    ///
    /// # Errors
    /// [`Damaged`], for good.
    pub fn check(&self) -> io::Result<()> {
        let mut exposed = self.0.exposed();
        if !exposed.iter().all(|one| one.live.is_sound()) {
            self.0.taint();
        }
        // What was consumed before this look is known to be good now, wherever it is buffered.
        exposed.retain(|one| one.slices > 0);
        drop(exposed);
        if self.0.is_tainted.load(Ordering::Acquire) { Err(io::Error::other(Damaged)) } else { Ok(()) }
    }

    /// Begins to send from `live`.
    pub(crate) fn begin(&self, live: &Arc<Live>) -> Arc<Sender> {
        Arc::new(Sender { connection: Arc::clone(&self.0), live: Arc::clone(live) })
    }
}

impl Inner {
    fn exposed(&self) -> MutexGuard<'_, Vec<Exposed>> {
        self.exposed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taint(&self) {
        self.is_tainted.store(true, Ordering::Release);
    }
}

/// One body's share in a connection: ends when the body and all its slices are dropped.
#[derive(Debug)]
pub(crate) struct Sender {
    connection: Arc<Inner>,
    live: Arc<Live>,
}

impl Sender {
    /// A slice is being looked at for the first time.
    pub(crate) fn expose(&self) {
        let mut exposed = self.connection.exposed();
        match exposed.iter_mut().find(|one| Arc::ptr_eq(&one.live, &self.live)) {
            Some(one) => one.slices += 1,
            None => exposed.push(Exposed { live: Arc::clone(&self.live), slices: 1 }),
        }
    }

    /// That slice was consumed. It may be encrypted and wait in a buffer, so the file is looked at once more.
    pub(crate) fn conceal(&self) {
        let mut exposed = self.connection.exposed();
        if let Some(one) = exposed.iter_mut().find(|one| Arc::ptr_eq(&one.live, &self.live)) {
            one.slices = one.slices.saturating_sub(1);
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // The connection may rest from here on, and must not keep the file open for a look at its next write.
        let mut exposed = self.connection.exposed();
        let Some(at) = exposed.iter().position(|one| one.slices == 0 && Arc::ptr_eq(&one.live, &self.live)) else {
            return;
        };
        let one = exposed.swap_remove(at);
        drop(exposed);
        if !one.live.is_sound() {
            self.connection.taint();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Slice;
    use crate::shelf::LiveBlobs;
    use bytes::Buf as _;
    use penstock_core::blob::{BlobId, ByteRange};
    use penstock_store::{Store, StoreOptions};
    use std::os::unix::fs::PermissionsExt as _;
    use tempfile::TempDir;

    struct Sealed {
        dir: TempDir,
        store: Store,
        blob: BlobId,
    }

    impl Sealed {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let store = Store::open(dir.path(), StoreOptions::default()).expect("a store");
            let blob = store.import_reader(&mut vec![7; 100_000].as_slice()).expect("sealed").blob;
            Self { dir, store, blob }
        }

        fn live(&self) -> Arc<Live> {
            LiveBlobs::new().share(self.store.view(&self.blob).expect("open"), None)
        }

        fn cut(&self, len: u64) {
            let name = self.blob.to_string();
            let path = self.dir.path().join(&name[..2]).join(&name);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("writable");
            std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(len)).expect("cut");
        }
    }

    fn slice(sender: &Arc<Sender>, live: &Live) -> Slice {
        let range = ByteRange::new(0, 50_000).expect("a range");
        Slice::new(live.slice(range).expect("mapped"), Some(sender))
    }

    #[test]
    fn a_cut_inside_the_last_page_stops_what_is_in_flight_and_nobody_else() {
        let sealed = Sealed::new();
        let live = sealed.live();
        let (connection, waiting) = (Sending::default(), Sending::default());
        let sender = connection.begin(&live);
        let in_flight = slice(&sender, &live);
        let other = waiting.begin(&live);
        let not_looked_at = slice(&other, &live);
        assert_eq!(in_flight.chunk().len(), 50_000);
        assert!(connection.check().is_ok());
        sealed.cut(99_990);
        assert!(connection.check().is_err());
        assert!(live.is_poisoned(), "so that it goes to quarantine");
        drop((in_flight, sender));
        assert!(connection.check().is_err(), "what is buffered is still not to be sent");
        assert!(waiting.check().is_ok(), "nothing of it was read");
        drop((not_looked_at, other));
    }

    /// The last slice is encrypted and waits for the socket; then the file is cut, or was cut while it was encrypted.
    #[test]
    fn consumed_bytes_are_answered_for_until_the_next_write() {
        let sealed = Sealed::new();
        let live = sealed.live();
        let connection = Sending::default();
        let sender = connection.begin(&live);
        let window = slice(&sender, &live);
        _ = window.chunk();
        drop(window);
        assert_eq!(connection.0.exposed().len(), 1, "nobody has looked at the file since");
        assert!(connection.check().is_ok());
        assert!(connection.0.exposed().is_empty(), "one look is enough");

        let window = slice(&sender, &live);
        _ = window.chunk();
        sealed.cut(99_990);
        drop((window, sender));
        assert!(connection.0.exposed().is_empty(), "a resting connection keeps no file open");
        assert!(connection.check().is_err());
    }
}
