//! Work that costs a pass over the whole blob is done once for all who ask at the same time.

mod common;

use std::path::Path;
use std::sync::{Arc, Barrier};

use common::{MODES, content, fast_dir, is_sound, outboard_path, put};
use penstock_core::blob::{BlobId, BlobSize};
use penstock_store::disk::image::{ImageDisk, Plan};
use penstock_store::{BlobView, Reading, Store, StoreOptions, ViewError};

const SIZE: usize = 8 << 20;
const THREADS: usize = 16;

/// A blob on a disk that counts what is written to it: a pass over a blob ends with a file that is written.
struct Rig {
    dir: tempfile::TempDir,
    disk: ImageDisk,
    store: Store,
    blob: BlobId,
}

impl Rig {
    fn new(reading: Reading) -> Self {
        let dir = fast_dir();
        let disk = ImageDisk::new(dir.path(), Plan::Work);
        let options = StoreOptions { reading, ..StoreOptions::default() };
        let store = Store::open_on(Arc::new(disk.clone()), dir.path(), options).expect("opens");
        let blob = put(&store, &content(1, SIZE));
        Self { dir, disk, store, blob }
    }

    fn outboard(&self) -> std::path::PathBuf {
        outboard_path(self.dir.path(), &self.blob)
    }

    /// Does `work` in many threads at once; the answers, and the changes that it made to the disk.
    fn at_once<T: Send>(&self, threads: usize, work: impl Fn() -> T + Sync) -> (Vec<T>, u64) {
        let before = self.disk.operations();
        let barrier = Barrier::new(threads);
        let answers = std::thread::scope(|scope| {
            let working = || {
                barrier.wait();
                work()
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(working)).collect();
            threads.into_iter().map(|thread| thread.join().expect("does not panic")).collect()
        });
        (answers, self.disk.operations() - before)
    }
}

fn spoil(path: &Path) {
    let len = std::fs::metadata(path).expect("is there").len();
    let mut bytes = vec![7; usize::try_from(len).expect("fits")];
    bytes[..8].copy_from_slice(&(SIZE as u64).to_le_bytes());
    std::fs::remove_file(path).expect("removes");
    std::fs::write(path, bytes).expect("writes");
}

/// After a power loss outboards are gone, and the first requests for a blob come together.
#[test]
fn a_blob_without_its_outboard_is_hashed_by_the_first_of_many_requests() {
    for reading in MODES {
        let rig = Rig::new(reading);
        let open = || rig.store.view(&rig.blob).expect("opens");
        std::fs::remove_file(rig.outboard()).expect("deletes");
        let (_, alone) = rig.at_once(1, open);
        assert!(alone > 0, "an outboard was written");

        let rig = Rig::new(reading);
        let open = || rig.store.view(&rig.blob).expect("opens");
        std::fs::remove_file(rig.outboard()).expect("deletes");
        let (views, together) = rig.at_once(THREADS, open);
        assert_eq!(together, alone, "{reading:?}: one of them hashed");
        assert!(views.iter().all(BlobView::is_sound));
        assert!(is_sound(&rig.store, &rig.blob, BlobSize(SIZE as u64)));
    }
}

#[test]
fn a_spoiled_outboard_is_rebuilt_by_the_first_of_many_requests() {
    for reading in MODES {
        let (mut alone, mut together) = (0, 0);
        for (threads, changes) in [(1, &mut alone), (THREADS, &mut together)] {
            let rig = Rig::new(reading);
            let view = rig.store.view(&rig.blob).expect("opens");
            spoil(&rig.outboard());
            let (answers, made) = rig.at_once(threads, || view.outboard().expect("rebuilds"));
            assert!(answers.iter().all(|outboard| outboard == &answers[0]));
            assert!(is_sound(&rig.store, &rig.blob, BlobSize(SIZE as u64)));
            *changes = made;
        }
        assert!(alone > 0 && together == alone, "{reading:?}: {together} changes instead of {alone}");
    }
}

#[test]
fn a_digest_is_computed_by_the_first_of_many_requests() {
    for reading in MODES {
        let (mut alone, mut together) = (0, 0);
        for (threads, changes) in [(1, &mut alone), (THREADS, &mut together)] {
            let rig = Rig::new(reading);
            let (answers, made) = rig.at_once(threads, || rig.store.sha256(&rig.blob).expect("hashes"));
            assert!(answers.iter().all(|digest| *digest == answers[0]));
            *changes = made;
        }
        assert!(alone > 0 && together == alone, "{reading:?}: {together} changes instead of {alone}");
    }
}

/// The ones who waited learn the same, and the damaged file goes to quarantine once.
#[test]
fn a_damaged_blob_is_found_out_once() {
    let rig = Rig::new(Reading::Map);
    let path = common::blob_path(rig.dir.path(), &rig.blob);
    let altered = content(2, SIZE);
    std::fs::remove_file(&path).expect("removes");
    std::fs::write(&path, altered).expect("writes");
    std::fs::remove_file(rig.outboard()).expect("deletes");
    let (answers, _) = rig.at_once(THREADS, || rig.store.view(&rig.blob));
    for answer in answers {
        assert!(matches!(answer, Err(ViewError::Damaged { .. } | ViewError::Unknown(_))), "{answer:?}");
    }
    let kept = std::fs::read_dir(rig.dir.path().join("quarantine")).expect("lists").count();
    assert_eq!(kept, 2, "the file and its reason");
}
