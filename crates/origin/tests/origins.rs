//! One test body over every origin, and what a failing one does to its callers.

use std::io::Read;
use std::sync::Arc;

use penstock_core::blob::{BlobId, BlobSize};
use penstock_origin::{FailingOrigin, Failure, LocalOrigin, Origin, OriginError};
use penstock_store::{Store, StoreOptions};

fn local(dir: &tempfile::TempDir) -> Arc<dyn Origin> {
    Arc::new(LocalOrigin::new(Store::open(dir.path(), StoreOptions::default()).expect("opens")))
}

fn put(origin: &dyn Origin, content: &[u8]) -> Result<BlobId, OriginError> {
    let blob = BlobId::of(content);
    let mut draft = origin.draft(blob, Some(content.len() as u64))?;
    for piece in content.chunks(70_000) {
        draft.write(piece)?;
    }
    assert_eq!(draft.seal()?, BlobSize(content.len() as u64));
    Ok(blob)
}

fn content(size: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(size).collect()
}

/// Empty; in memory; mapped, read in one window; read in several.
const SIZES: [usize; 4] = [0, 1000, 100_000, 3_000_000];

fn keeps_blobs(origin: &dyn Origin) {
    for size in SIZES {
        let content = content(size);
        let unknown = BlobId::of(&content);
        assert_eq!(origin.size_of(&unknown).expect("answers"), None);
        assert!(matches!(origin.read_all(&unknown, u64::MAX), Err(OriginError::Unknown(blob)) if blob == unknown));
        assert!(matches!(origin.reader(&unknown).map(drop), Err(OriginError::Unknown(_))));

        let blob = put(origin, &content).expect("seals");
        assert_eq!(put(origin, &content).expect("seals again"), blob);
        assert_eq!(origin.size_of(&blob).expect("answers"), Some(BlobSize(size as u64)));
        assert!(origin.read_all(&blob, size as u64).expect("reads") == content);
        let mut read = Vec::new();
        origin.reader(&blob).expect("opens").read_to_end(&mut read).expect("reads");
        assert!(read == content);
        if size > 0 {
            let small = origin.read_all(&blob, size as u64 - 1);
            assert!(matches!(small, Err(OriginError::TooLarge { max }) if max == size as u64 - 1));
        }
        assert!(origin.remove(&blob).expect("removes"));
        assert!(!origin.remove(&blob).expect("answers"));
        assert_eq!(origin.size_of(&blob).expect("answers"), None);
    }
    let mut draft = origin.draft(BlobId::of(b"promised"), None).expect("begins");
    draft.write(b"delivered").expect("writes");
    let sealed = draft.seal();
    assert!(matches!(sealed, Err(OriginError::Mismatch { actual, .. }) if actual == BlobId::of(b"delivered")));
    assert!(matches!(origin.draft(BlobId::of(b""), Some(u64::MAX)).map(drop), Err(OriginError::TooLarge { .. })));
}

#[test]
fn every_origin_keeps_blobs() {
    let dir = tempfile::tempdir().expect("a directory");
    let local = local(&dir);
    keeps_blobs(local.as_ref());
    keeps_blobs(&FailingOrigin::new(local));
}

#[test]
fn a_failing_origin_fails_as_told_and_recovers() {
    let dir = tempfile::tempdir().expect("a directory");
    let origin = FailingOrigin::new(local(&dir));
    let blob = put(&origin, &content(100_000)).expect("seals");

    origin.set(Failure::Always);
    assert!(matches!(origin.size_of(&blob), Err(OriginError::Unavailable(_))));
    assert!(matches!(origin.read_all(&blob, u64::MAX), Err(OriginError::Unavailable(_))));
    assert!(matches!(origin.remove(&blob), Err(OriginError::Unavailable(_))));

    origin.set(Failure::Full);
    assert!(matches!(put(&origin, b"more"), Err(OriginError::Full(_))));
    assert!(origin.read_all(&blob, u64::MAX).is_ok(), "reading needs no space");

    origin.set(Failure::After { bytes: 50_000 });
    let mut read = Vec::new();
    let mut reader = origin.reader(&blob).expect("opens");
    assert!(reader.by_ref().take(40_000).read_to_end(&mut read).is_ok());
    assert!(reader.read_to_end(&mut read).is_err(), "cut in the middle");
    origin.set(Failure::After { bytes: 100_000 });
    assert!(matches!(put(&origin, &content(200_000)), Err(OriginError::Unavailable(_))));

    origin.set(Failure::Never);
    assert_eq!(origin.size_of(&BlobId::of(&content(200_000))).expect("answers"), None, "nothing half-written");
    assert!(put(&origin, &content(200_000)).is_ok());
}
