//! What a store promises when nothing goes wrong, over every way of reading and every disk.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use common::{MODES, SIZES, blob_path, content, fast_dir, is_sound, open, outboard_path, put, range, strays};
use penstock_core::blob::{BlobId, BlobSize, ByteRange};
use penstock_core::tree::Shape;
use penstock_store::disk::image::{ImageDisk, Plan};
use penstock_store::disk::{Disk, RealDisk};
use penstock_store::{
    DiskError, ImportError, OPEN_VIEWS_MAX, OpenError, Reading, Sealed, Store, StoreOptions, ViewError,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn lives(disk: Arc<dyn Disk>, dir: &std::path::Path, reading: Reading) {
    let options = StoreOptions { reading, ..StoreOptions::default() };
    let store = Store::open_on(Arc::clone(&disk), dir, options.clone()).expect("opens");
    let mut expected = Vec::new();
    for size in SIZES {
        let content = content(7, size);
        let blob = BlobId::of(&content);
        assert!(matches!(store.view(&blob), Err(ViewError::Unknown(unknown)) if unknown == blob));
        let sealed = store.import_reader(&mut content.as_slice()).expect("imports");
        let size = BlobSize(size as u64);
        assert_eq!(sealed, Sealed { blob, size, already_there: false });
        let again = store.import_reader(&mut content.as_slice()).expect("imports again");
        assert_eq!(again, Sealed { blob, size, already_there: true });
        assert_eq!(store.size_of(&blob), Some(size));
        assert_eq!(std::fs::read(blob_path(dir, &blob)).expect("is a plain file"), content);
        let mode = std::fs::metadata(blob_path(dir, &blob)).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o444);

        assert!(store.cached_view(&blob).is_none(), "nothing is open before the first view");
        let view = store.view(&blob).expect("opens");
        assert!(store.cached_view(&blob).is_some());
        assert_eq!((*view.id(), view.size(), view.is_poisoned()), (blob, size, false));
        assert_eq!(view.outboard().expect("reads").len() as u64, Shape::new(size).outboard_bytes());
        assert_eq!(store.sha256(&blob).expect("hashes"), <[u8; 32]>::from(Sha256::digest(&content)));
        assert_eq!(view.cached_sha256(), Some(<[u8; 32]>::from(Sha256::digest(&content))));
        let behind = view.load_window(range(0, size.0 + 1));
        assert!(matches!(behind, Err(ViewError::OutOfRange { .. })));
        assert!(view.try_window(range(size.0, size.0 + 1)).is_none());
        expected.push((blob, size));
    }
    expected.sort_unstable();
    assert_eq!(store.list(), expected);
    assert_eq!(strays(dir, &store), Vec::<std::path::PathBuf>::new());

    // A second start finds the same, digests included.
    drop(store);
    let store = Store::open_on(disk, dir, options).expect("opens again");
    assert_eq!(store.list(), expected);
    for (blob, size) in &expected {
        assert!(is_sound(&store, blob, *size));
        let kept = store.view(blob).expect("opens");
        assert!(store.remove(blob).expect("removes"));
        assert!(!store.remove(blob).expect("answers"));
        assert!(store.cached_view(blob).is_none());
        assert!(matches!(store.view(blob), Err(ViewError::Unknown(_))));
        if let Some(whole) = ByteRange::whole(*size) {
            assert_eq!(BlobId::of(&kept.read(whole).expect("an open view outlives its blob")), *blob);
        }
    }
    assert_eq!(strays(dir, &store), Vec::<std::path::PathBuf>::new());
}

#[test]
fn blobs_live_on_every_disk_in_every_mode() {
    for reading in MODES {
        let dir = tempfile::tempdir().expect("a directory");
        lives(Arc::new(RealDisk), dir.path(), reading);
        let dir = tempfile::tempdir().expect("a directory");
        lives(Arc::new(ImageDisk::new(dir.path(), Plan::Work)), dir.path(), reading);
    }
}

#[test]
fn a_directory_has_one_store_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), Reading::Map);
    let second = Store::open(dir.path(), StoreOptions::default());
    assert!(matches!(second, Err(OpenError::InUse(path)) if path == dir.path()));
    drop(store);
    open(dir.path(), Reading::Map);
}

#[test]
fn a_draft_keeps_its_promises_or_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), Reading::Map);
    let (promised, delivered) = (BlobId::of(b"promised"), content(1, 100_000));
    let mut draft = store.draft(Some(promised), None).expect("begins");
    draft.write(&delivered).expect("writes");
    assert_eq!(draft.size(), BlobSize(100_000));
    match draft.seal() {
        Err(ImportError::Mismatch { expected, actual }) => {
            assert_eq!((expected, actual), (promised, BlobId::of(&delivered)));
        }
        other => panic!("{other:?}"),
    }
    let mut dropped = store.draft(None, Some(10)).expect("begins");
    dropped.write(&delivered).expect("writes");
    drop(dropped);
    assert!(matches!(store.draft(None, Some(u64::MAX)), Err(ImportError::TooLarge { .. })));
    assert_eq!(store.list(), []);
    assert_eq!(strays(dir.path(), &store), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_cannot_fit_is_refused_before_it_comes() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = ImageDisk::new(dir.path(), Plan::Work);
    disk.set_free_bytes(1000);
    let store = Store::open_on(Arc::new(disk), dir.path(), StoreOptions::default()).expect("opens");
    assert_eq!(store.free_bytes().expect("answers"), 1000);
    let refused = store.draft(None, Some(1001));
    assert!(matches!(refused, Err(ImportError::Disk(DiskError::Full { .. }))), "{refused:?}");
    assert_eq!(strays(dir.path(), &store), Vec::<std::path::PathBuf>::new());
    assert!(store.draft(None, Some(1000)).is_ok() && store.draft(None, None).is_ok());
}

#[test]
fn sixteen_threads_import_one_blob() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), Reading::Map);
    let content = content(2, 2_000_000);
    let barrier = Barrier::new(16);
    let sealed: Vec<Sealed> = std::thread::scope(|scope| {
        let import = || {
            let mut draft = store.draft(None, None).expect("begins");
            draft.write(&content).expect("writes");
            barrier.wait();
            draft.seal().expect("seals")
        };
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(import)).collect();
        threads.into_iter().map(|thread| thread.join().expect("does not panic")).collect()
    });
    assert_eq!(sealed.iter().filter(|sealed| !sealed.already_there).count(), 1, "one of them wrote it");
    assert_eq!(store.list(), [(BlobId::of(&content), BlobSize(2_000_000))]);
    assert!(is_sound(&store, &BlobId::of(&content), BlobSize(2_000_000)));
    assert_eq!(strays(dir.path(), &store), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_batch_answers_for_each_draft() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), Reading::Map);
    let old = content(0, 50_000);
    put(&store, &old);
    let new: Vec<Vec<u8>> = (1..=40).map(|seed| content(seed, 20_000)).collect();
    let draft = |content: &[u8], expected| {
        let mut draft = store.draft(expected, None).expect("begins");
        draft.write(content).expect("writes");
        draft
    };
    let mut drafts: Vec<_> = new.iter().map(|content| draft(content, None)).collect();
    drafts.push(draft(&new[3], None));
    drafts.push(draft(&old, None));
    drafts.push(draft(b"wrong", Some(BlobId::of(b"right"))));
    let answers = store.seal_all(drafts);
    assert_eq!(answers.len(), 43);
    for (content, answer) in new.iter().zip(&answers) {
        let expected = Sealed { blob: BlobId::of(content), size: BlobSize(20_000), already_there: false };
        assert_eq!(*answer.as_ref().expect("seals"), expected);
        assert!(is_sound(&store, &expected.blob, expected.size));
    }
    assert!(answers[40].as_ref().is_ok_and(|twice| twice.already_there));
    assert!(answers[41].as_ref().is_ok_and(|old| old.already_there));
    assert!(matches!(answers[42], Err(ImportError::Mismatch { .. })));
    assert_eq!(store.list().len(), 41);
    assert_eq!(strays(dir.path(), &store), Vec::<std::path::PathBuf>::new());
}

#[test]
fn open_views_are_bounded() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), StoreOptions { open_views_max: 4, ..StoreOptions::default() }).expect("opens");
    let blobs: Vec<BlobId> = (0..20).map(|seed| put(&store, &content(seed, 20_000))).collect();
    for blob in &blobs {
        assert!(is_sound(&store, blob, BlobSize(20_000)));
    }
    assert_eq!(blobs.iter().filter(|blob| store.cached_view(blob).is_some()).count(), 4);
    assert_eq!(store.open_views_max(), 4);
    assert!(blobs.iter().all(|blob| is_sound(&store, blob, BlobSize(20_000))), "evicted ones open again");
}

#[test]
fn a_store_says_how_many_views_it_keeps_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let asked = StoreOptions { open_views_max: usize::MAX, ..StoreOptions::default() };
    let effective = Store::open(dir.path(), asked).expect("opens").open_views_max();
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let expected = usize::try_from(files / 4).map_or(OPEN_VIEWS_MAX, |quarter| quarter.min(OPEN_VIEWS_MAX));
    assert_eq!(effective, expected.max(1));
}

#[test]
fn cold_pages_are_not_served_at_once() {
    for reading in MODES {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path(), reading);
        let content = content(3, 4 << 20);
        let view = store.view(&put(&store, &content)).expect("opens");
        let file = view.file().expect("has a file");
        let window = range(2 << 20, 3 << 20);
        common::drop_pages(file, || view.try_window(window).is_none());
        assert!(view.load_window(window).expect("loads")[..] == content[2 << 20..3 << 20]);
        assert_eq!(view.try_window(window), Some(Bytes::from(content[2 << 20..3 << 20].to_vec())));
    }
}

#[test]
fn a_store_of_100_000_blobs_starts_in_two_seconds() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path(), Reading::Map));
    // Sealed files as an import leaves them; their content does not matter to a start.
    for number in 0..100_000_u64 {
        let blob = BlobId::of(&number.to_le_bytes());
        std::fs::File::create(blob_path(dir.path(), &blob)).expect("creates");
    }
    let begin = std::time::Instant::now();
    let store = open(dir.path(), Reading::Map);
    let took = begin.elapsed();
    assert_eq!(store.list().len(), 100_000);
    assert!(took.as_secs_f64() < 2.0, "took {took:?}");
}

#[test]
fn foreign_files_are_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), Reading::Map);
    let blob = put(&store, &content(0, 20_000));
    drop(store);
    let foreign = dir.path().join("00").join("README");
    std::fs::write(&foreign, "not ours").expect("writes");
    let orphan = BlobId::of(b"no such blob");
    std::fs::write(outboard_path(dir.path(), &orphan), "an orphan").expect("writes");
    let store = open(dir.path(), Reading::Map);
    assert_eq!(store.list(), [(blob, BlobSize(20_000))]);
    assert_eq!(strays(dir.path(), &store), [foreign], "the orphan is gone, the foreign file stays");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_window_of_any_blob_reads_the_same_in_every_way(
        size in 1_usize..700_000, pieces in proptest::collection::vec(1_usize..300_000, 1..6),
        cuts in proptest::collection::vec((any::<u64>(), any::<u64>()), 1..8),
    ) {
        let content = content(9, size);
        for reading in MODES {
            let dir = fast_dir();
            let store = open(dir.path(), reading);
            let mut draft = store.draft(None, Some(size as u64)).expect("begins");
            let (mut rest, mut next) = (content.as_slice(), pieces.iter().cycle());
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(rest.len().min(*next.next().expect("a cycle")));
                draft.write(piece).expect("writes");
                rest = more;
            }
            let view = store.view(&draft.seal().expect("seals").blob).expect("opens");
            for (a, b) in &cuts {
                let (a, b) = (a % size as u64, b % size as u64);
                let window = range(a.min(b), a.max(b) + 1);
                let expected = &content[usize::try_from(window.start()).expect("fits")..usize::try_from(window.end()).expect("fits")];
                view.populate(window).expect("populates");
                prop_assert!(view.load_window(window).expect("loads") == expected);
                prop_assert!(view.try_window(window).is_none_or(|bytes| bytes == expected));
                prop_assert!(view.slice(window).is_none_or(|bytes| bytes == expected));
                prop_assert!(view.slice(window).is_some() || reading == Reading::Pread);
            }
        }
    }
}
