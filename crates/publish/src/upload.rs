//! Blobs on their way to the node: a few at once, in the background, each only if it is missing.

use crate::registry::{Content, Registry, RegistryError};
use crossbeam_channel::{Receiver, Sender, bounded};
use penstock_core::blob::BlobId;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Uploads at once: enough to fill a connection while the node syncs another blob.
const UPLOADS_AT_ONCE: usize = 4;
/// Parcels that wait; each may be a pack on disk.
const PARCELS_WAITING_MAX: usize = 4;

/// A blob to be sent.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// A temporary file, removed once it arrived.
    File { blob: BlobId, path: PathBuf, bytes: u64 },
    /// In memory.
    Memory { blob: BlobId, content: Vec<u8> },
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) uploaded: u64,
    pub(crate) uploaded_bytes: u64,
    pub(crate) present: u64,
}

/// Another upload failed; the failure itself is told by [`uploading`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped, because an upload failed")]
pub(crate) struct Stopped;

/// Where parcels are left.
#[derive(Debug)]
pub(crate) struct Outbox<'a> {
    sender: Sender<Parcel>,
    failed: &'a AtomicBool,
}

impl Outbox<'_> {
    /// Leaves a parcel; waits while too many are on their way.
    pub(crate) fn send(&self, parcel: Parcel) -> Result<(), Stopped> {
        if self.failed() {
            return Err(Stopped);
        }
        self.sender.send(parcel).map_err(|_| Stopped)
    }

    /// Whether going on makes no sense.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Runs `body` while what it leaves in the outbox is uploaded; returns once all of it arrived.
///
/// A failed upload is returned in place of whatever `body` returns.
pub(crate) fn uploading<T, E: From<RegistryError>>(
    registry: &dyn Registry,
    body: impl FnOnce(&Outbox<'_>) -> Result<T, E>,
) -> Result<(T, Tally), E> {
    let run = Run { registry, failed: AtomicBool::new(false), error: Mutex::new(None), counts: Counts::default() };
    let (sender, receiver) = bounded(PARCELS_WAITING_MAX);
    let result = std::thread::scope(|scope| {
        for _ in 0..UPLOADS_AT_ONCE {
            let receiver = receiver.clone();
            scope.spawn(|| run.work(receiver));
        }
        drop(receiver);
        body(&Outbox { sender, failed: &run.failed })
    });
    if let Some(error) = run.error.into_inner().expect("no upload panics with the lock") {
        return Err(error.into());
    }
    Ok((result?, run.counts.tally()))
}

#[derive(Default)]
struct Counts {
    uploaded: AtomicU64,
    uploaded_bytes: AtomicU64,
    present: AtomicU64,
}

impl Counts {
    fn tally(&self) -> Tally {
        Tally {
            uploaded: self.uploaded.load(Ordering::Relaxed),
            uploaded_bytes: self.uploaded_bytes.load(Ordering::Relaxed),
            present: self.present.load(Ordering::Relaxed),
        }
    }
}

struct Run<'a> {
    registry: &'a dyn Registry,
    failed: AtomicBool,
    error: Mutex<Option<RegistryError>>,
    counts: Counts,
}

impl Run<'_> {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "each worker drops its receiver, so that senders notice when all are gone"
    )]
    fn work(&self, receiver: Receiver<Parcel>) {
        for parcel in receiver.iter() {
            if self.failed.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = self.one(&parcel) {
                self.failed.store(true, Ordering::Relaxed);
                self.error.lock().expect("no upload panics with the lock").get_or_insert(error);
                return;
            }
        }
    }

    fn one(&self, parcel: &Parcel) -> Result<(), RegistryError> {
        let (blob, content) = match parcel {
            Parcel::File { blob, path, bytes } => (blob, Content::File { path, bytes: *bytes }),
            Parcel::Memory { blob, content } => (blob, Content::Memory(content)),
        };
        if self.registry.missing(&[*blob])?.is_empty() {
            self.counts.present.fetch_add(1, Ordering::Relaxed);
        } else {
            self.registry.put_blob(blob, content)?;
            self.counts.uploaded.fetch_add(1, Ordering::Relaxed);
            self.counts.uploaded_bytes.fetch_add(content.bytes(), Ordering::Relaxed);
        }
        if let Parcel::File { path, .. } = parcel {
            std::fs::remove_file(path).map_err(RegistryError::Content)?;
        }
        Ok(())
    }
}
