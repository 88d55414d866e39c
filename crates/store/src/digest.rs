//! A blob's SHA-256, for `Repr-Digest`: computed once, kept beside the blob.
//!
//! The file holds 32 bytes of SHA-256 and 32 bytes of BLAKE3 over (blob name, SHA-256). It is not synced; a torn or
//! foreign one fails that check and is computed again. The content is checked against the blob's name on the same pass,
//! so that a digest of altered bytes is never kept.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use penstock_core::blob::{BlobId, BlobSize};
use sha2::{Digest, Sha256};

use crate::error::{Damage, DiskError, ViewError};
use crate::outboard::HASH_WINDOW_BYTES;
use crate::store::Shared;
use crate::view::BlobView;

const FILE_BYTES: usize = 64;

/// The caller sees to it that one thread at a time does this for a blob.
pub(crate) fn load_or_compute(view: &BlobView) -> Result<[u8; 32], ViewError> {
    let store = view.store();
    if let Some(store) = &store
        && let Some(digest) = load(store, view.id())
    {
        return Ok(digest);
    }
    let digest = compute(view)?;
    if let Some(store) = &store {
        keep(store, view.id(), view.size(), &digest);
    }
    Ok(digest)
}

fn compute(view: &BlobView) -> Result<[u8; 32], ViewError> {
    let mut sha256 = Sha256::new();
    let mut blake3 = blake3::Hasher::new();
    let mut window = vec![0; HASH_WINDOW_BYTES];
    let mut at = 0;
    while at < view.size().0 {
        let part = usize::try_from(view.size().0 - at).unwrap_or(usize::MAX).min(window.len());
        view.read_into(at, &mut window[..part])?;
        sha256.update(&window[..part]);
        blake3.update(&window[..part]);
        at += part as u64;
    }
    if BlobId::from(blake3.finalize()) != *view.id() {
        return Err(view.damaged(Damage::Altered { first_bad_group: None }));
    }
    Ok(sha256.finalize().into())
}

fn load(store: &Arc<Shared>, blob: &BlobId) -> Option<[u8; 32]> {
    let mut bytes = [0; FILE_BYTES];
    store.disk.open(&store.layout.sha256(blob)).ok()?.read_exact_at(&mut bytes, 0).ok()?;
    let digest: [u8; 32] = bytes[..32].try_into().ok()?;
    (seal(blob, &digest) == bytes[32..]).then_some(digest)
}

/// Keeps the digest for the next start. Failing costs a computation then, so it is only logged.
fn keep(store: &Arc<Shared>, blob: &BlobId, size: BlobSize, digest: &[u8; 32]) {
    let _claim = store.claims.take([*blob]);
    if store.catalog.get(blob) != Some(size) {
        return;
    }
    if let Err(error) = write(store, blob, digest) {
        tracing::warn!(%blob, %error, "the blob's sha-256 could not be kept");
    }
}

fn write(store: &Arc<Shared>, blob: &BlobId, digest: &[u8; 32]) -> Result<(), DiskError> {
    let (temp, path) = (store.temp_path(), store.layout.sha256(blob));
    let written = store.disk.create(&temp).and_then(|mut file| {
        file.append(digest)?;
        file.append(&seal(blob, digest))?;
        file.make_read_only()?;
        store.disk.rename(&temp, &path)
    });
    written.map_err(|error: io::Error| {
        // The temporary file may not exist; what is left is found at the next start.
        drop(store.disk.remove(&temp));
        DiskError::new("write", &path, error)
    })
}

fn seal(blob: &BlobId, digest: &[u8; 32]) -> [u8; 32] {
    *blake3::Hasher::new().update(blob.as_bytes()).update(digest).finalize().as_bytes()
}
