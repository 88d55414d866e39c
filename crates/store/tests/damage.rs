//! Files that somebody cut, changed or deleted behind the store's back: never served as good, never fatal.

mod common;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{MODES, blob_path, content, fast_dir, is_sound, open, outboard_path, put, range, reopen_for_mischief};
use penstock_core::blob::{BlobId, BlobSize, ByteRange};
use penstock_store::{
    BlobView, Damage, Found, Reading, ScrubControl, ScrubOptions, ScrubProgress, Store, StoreOptions, ViewError,
};

const SIZE: usize = 1_000_000;

fn cut(path: &Path, bytes: u64) {
    reopen_for_mischief(path).set_len(bytes).expect("cuts");
}

fn flip(path: &Path, at: u64) {
    let original = std::fs::read(path).expect("reads")[usize::try_from(at).expect("fits")];
    reopen_for_mischief(path).write_all_at(&[original ^ 1], at).expect("writes");
}

/// The blob is out of service, kept aside with a reason that says `why`, and can be imported again.
fn is_quarantined(dir: &Path, store: &Store, content: &[u8], why: &str) {
    let blob = BlobId::of(content);
    assert_eq!(store.size_of(&blob), None);
    assert!(store.cached_view(&blob).is_none());
    assert!(matches!(store.view(&blob), Err(ViewError::Unknown(_))));
    assert!(!blob_path(dir, &blob).exists() && !outboard_path(dir, &blob).exists());
    let reasons: Vec<String> = std::fs::read_dir(dir.join("quarantine"))
        .expect("lists")
        .map(|entry| entry.expect("lists").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "reason"))
        .filter(|path| path.to_string_lossy().contains(&blob.to_string()))
        .map(|path| std::fs::read_to_string(path).expect("reads"))
        .collect();
    assert!(reasons.iter().any(|reason| reason.contains(why)), "{reasons:?} lack {why:?}");
    put(store, content);
    assert!(is_sound(store, &blob, BlobSize(content.len() as u64)));
}

/// Cut lengths: to nothing, at a page, inside a page near the end, by one byte. And one byte too long.
const LENGTHS: [u64; 5] = [0, 4096, 999_000, 999_999, 1_000_001];

#[test]
fn a_blob_cut_while_no_view_is_open_is_noticed_before_it_is_served() {
    for reading in MODES {
        for length in LENGTHS {
            for restart in [false, true] {
                let dir = fast_dir();
                let mut store = open(dir.path(), reading);
                let content = content(1, SIZE);
                let blob = put(&store, &content);
                cut(&blob_path(dir.path(), &blob), length);
                if restart {
                    // The new catalogue knows only the new length; the outboard remembers the old one.
                    drop(store);
                    store = open(dir.path(), reading);
                }
                let view = store.view(&blob);
                assert!(matches!(view, Err(ViewError::Damaged { .. })), "{reading:?} {length} {restart}: {view:?}");
                is_quarantined(dir.path(), &store, &content, if restart { "changed" } else { "instead of" });
            }
        }
    }
}

#[test]
fn a_blob_cut_under_an_open_view_fails_the_next_window() {
    for reading in MODES {
        for length in LENGTHS {
            let dir = fast_dir();
            let store = open(dir.path(), reading);
            let content = content(1, SIZE);
            let view = store.view(&put(&store, &content)).expect("opens");
            let whole = range(0, SIZE as u64);
            assert!(view.load_window(whole).expect("loads") == content);
            cut(&blob_path(dir.path(), view.id()), length);
            assert!(view.try_window(range(SIZE as u64 - 10, SIZE as u64)).is_none(), "{reading:?} {length}");
            match view.load_window(whole) {
                Err(ViewError::Damaged { damage: Damage::Length { expected: 1_000_000, actual }, .. }) => {
                    assert_eq!(actual, length);
                }
                other => panic!("{reading:?} {length}: {other:?}"),
            }
            assert!(view.is_poisoned());
            is_quarantined(dir.path(), &store, &content, "instead of 1000000");
            assert!(view.load_window(whole).is_err(), "the old view stays poisoned");
            assert!(is_sound(&store, view.id(), BlobSize(SIZE as u64)), "and the new blob is not its business");
        }
    }
}

/// A slow stream has a file open that was cut; meanwhile another one found out and the blob was imported again. Whatever
/// the slow one does next, the good file under the blob's name stays.
#[test]
fn an_old_view_does_no_harm_to_a_blob_that_was_imported_again() {
    type FindOut = fn(&BlobView, ByteRange);
    let whole = range(0, SIZE as u64);
    let ways: [(&str, FindOut); 5] = [
        ("check", |view, _| drop(view.check())),
        ("is_sound, check", |view, _| assert!(!view.is_sound() && view.check().is_err())),
        ("load", |view, whole| assert!(view.load_window(whole).is_err())),
        ("try, check", |view, whole| assert!(view.try_window(whole).is_none() && view.check().is_err())),
        ("sha256", |view, _| assert!(view.sha256().is_err())),
    ];
    for reading in MODES {
        for (way, find_out) in ways {
            let dir = fast_dir();
            // One view at a time stays open: the slow stream's is not known to the store when the damage is found.
            let options = StoreOptions { reading, open_views_max: 1 };
            let store = Store::open(dir.path(), options).expect("opens");
            let content = content(1, SIZE);
            let blob = put(&store, &content);
            let slow = store.view(&blob).expect("opens");
            store.view(&put(&store, b"another blob")).expect("opens");
            cut(&blob_path(dir.path(), &blob), 999_000);
            assert!(store.view(&blob).is_err(), "the other stream finds out");
            put(&store, &content);
            let fresh = store.view(&blob).expect("opens");

            find_out(&slow, whole);
            assert_eq!(store.size_of(&blob), Some(BlobSize(SIZE as u64)), "{reading:?} {way}");
            assert!(!fresh.is_poisoned() && store.cached_view(&blob).is_some(), "{reading:?} {way}");
            assert!(fresh.load_window(whole).expect("loads") == content);
            assert!(is_sound(&store, &blob, BlobSize(SIZE as u64)), "{reading:?} {way}");
            let kept = std::fs::read_dir(dir.path().join("quarantine")).expect("lists").count();
            assert_eq!(kept, 2, "{reading:?} {way}: the cut file and its reason");
        }
    }
}

/// The store's own view may be the old one, when somebody else brought the file back.
#[test]
fn a_view_of_a_file_that_was_replaced_is_opened_anew() {
    for reading in MODES {
        let dir = fast_dir();
        let store = open(dir.path(), reading);
        let content = content(1, SIZE);
        let blob = put(&store, &content);
        let path = blob_path(dir.path(), &blob);
        let old = store.view(&blob).expect("opens");
        cut(&path, 999_999);
        assert!(!old.is_sound());
        let restored = dir.path().join("restored");
        std::fs::write(&restored, &content).expect("writes");
        std::fs::rename(&restored, &path).expect("brings it back");
        assert!(is_sound(&store, &blob, BlobSize(SIZE as u64)), "{reading:?}");
        assert!(old.check().is_err(), "the old view stays poisoned");
        assert!(is_sound(&store, &blob, BlobSize(SIZE as u64)), "{reading:?}");
    }
}

/// The kernel puts zeros behind the end of a file inside its last page, without any signal: bytes that were handed over
/// and not sent yet turn into zeros, and nothing poisons the view by itself.
#[test]
fn a_cut_inside_a_page_is_noticed_after_the_hand_over() {
    for reading in MODES {
        for length in [999_500, 999_999, 1_000_001] {
            let dir = fast_dir();
            let store = open(dir.path(), reading);
            let content = content(1, SIZE);
            let view = store.view(&put(&store, &content)).expect("opens");
            let handed_over = view.load_window(range(0, SIZE as u64)).expect("loads");
            assert!(view.is_sound());
            cut(&blob_path(dir.path(), view.id()), length);
            if reading == Reading::Map && length < SIZE as u64 {
                assert_eq!(handed_over[SIZE - 1], 0, "the byte is gone");
            }
            assert!(!view.is_poisoned(), "nobody looked yet");
            assert!(!view.is_sound(), "{reading:?} {length}");
            assert!(view.is_poisoned());
            assert!(matches!(view.check(), Err(ViewError::Damaged { damage: Damage::Length { .. }, .. })));
            is_quarantined(dir.path(), &store, &content, "instead of");
        }
    }
    let dir = fast_dir();
    let store = open(dir.path(), Reading::Map);
    assert!(store.view(&put(&store, b"held in memory")).expect("opens").is_sound());
}

/// The publisher who sends a blob again, because clients complain, must heal it: also when nobody here noticed.
#[test]
fn an_import_heals_what_nobody_noticed() {
    for reading in MODES {
        for size in [10_000, SIZE] {
            for left in [None, Some(0), Some(size as u64 - 1), Some(size as u64 + 1)] {
                for restart in [false, true] {
                    let dir = fast_dir();
                    let mut store = open(dir.path(), reading);
                    let content = content(1, size);
                    let blob = put(&store, &content);
                    let view = store.view(&blob).expect("opens");
                    let path = blob_path(dir.path(), &blob);
                    match left {
                        Some(bytes) => cut(&path, bytes),
                        None => std::fs::remove_file(&path).expect("deletes"),
                    }
                    if restart {
                        drop(store);
                        store = open(dir.path(), reading);
                    }
                    let case = format!("{reading:?} {size} {left:?} {restart}");
                    // Twice in one batch: the second draft finds what the first one wrote.
                    let draft = || {
                        let mut draft = store.draft(Some(blob), None).expect("begins");
                        draft.write(&content).expect("writes");
                        draft
                    };
                    let sealed = store.seal_all(vec![draft(), draft()]);
                    let already_there: Vec<bool> =
                        sealed.into_iter().map(|sealed| sealed.expect("seals").already_there).collect();
                    assert_eq!(already_there, [false, true], "{case}");
                    assert!(std::fs::read(&path).expect("is there") == content, "{case}");
                    assert!(is_sound(&store, &blob, BlobSize(size as u64)), "{case}");
                    if left.is_some() && !restart && size == SIZE {
                        assert!(view.is_poisoned(), "{case}: a response that is under way is cut off");
                    }
                    drop(view);
                    let again = store.import_reader(&mut content.as_slice()).expect("imports");
                    assert!(again.already_there, "{case}: what is whole is not written again");
                }
            }
        }
    }
}

#[test]
fn a_map_cut_under_load_poisons_the_view_and_not_the_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), Reading::Map);
    let size = 16 << 20;
    let content = content(4, size);
    let view = store.view(&put(&store, &content)).expect("opens");
    let bytes = view.slice(range(0, size as u64)).expect("is mapped");
    let stop = AtomicBool::new(false);
    let passes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // Touches every page, as a socket write would, until the guard has put zeros under one.
                    let sum: u64 = bytes.iter().step_by(4096).map(|byte| u64::from(*byte)).sum();
                    std::hint::black_box(sum);
                    passes.fetch_add(1, Ordering::Relaxed);
                    if view.is_poisoned() {
                        return;
                    }
                }
            });
        }
        while passes.load(Ordering::Relaxed) < 8 {
            std::thread::yield_now();
        }
        assert!(!view.is_poisoned());
        cut(&blob_path(dir.path(), view.id()), 5 << 20);
        while !view.is_poisoned() {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(bytes[..5 << 20] == content[..5 << 20], "what is left of the file is still there");
    assert!(bytes[5 << 20..].iter().all(|byte| *byte == 0), "zeros lie under what vanished");
    assert!(store.cached_view(view.id()).is_none(), "a poisoned view is not handed out");
    let next = store.view(view.id());
    assert!(matches!(next, Err(ViewError::Damaged { damage: Damage::Length { .. }, .. })), "{next:?}");
    drop(bytes);
    is_quarantined(dir.path(), &store, &content, "instead of");
}

#[test]
fn a_deleted_blob_is_forgotten() {
    for reading in MODES {
        for size in [100, SIZE] {
            let dir = fast_dir();
            let store = open(dir.path(), reading);
            let content = content(1, size);
            let blob = put(&store, &content);
            std::fs::remove_file(blob_path(dir.path(), &blob)).expect("deletes");
            assert!(matches!(store.view(&blob), Err(ViewError::Deleted(deleted)) if deleted == blob));
            assert_eq!(store.size_of(&blob), None);
            assert!(matches!(store.view(&blob), Err(ViewError::Unknown(_))));
            assert!(!outboard_path(dir.path(), &blob).exists());
            put(&store, &content);
            assert!(is_sound(&store, &blob, BlobSize(size as u64)));
        }
    }
}

#[test]
fn a_small_blob_that_was_altered_is_never_served() {
    for reading in MODES {
        let dir = fast_dir();
        let store = open(dir.path(), reading);
        let content = content(1, 10_000);
        let blob = put(&store, &content);
        flip(&blob_path(dir.path(), &blob), 5_000);
        assert!(matches!(store.view(&blob), Err(ViewError::Damaged { damage: Damage::Altered { .. }, .. })));
        is_quarantined(dir.path(), &store, &content, "the bytes changed");
    }
}

#[test]
fn a_digest_is_never_made_of_altered_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), Reading::Map);
    let content = content(1, SIZE);
    let blob = put(&store, &content);
    flip(&blob_path(dir.path(), &blob), 777_777);
    assert!(matches!(store.sha256(&blob), Err(ViewError::Damaged { damage: Damage::Altered { .. }, .. })));
    is_quarantined(dir.path(), &store, &content, "the bytes changed");
}

#[test]
fn a_spoiled_outboard_is_rebuilt() {
    type Mischief = fn(&Path);
    let mischiefs: [(&str, Mischief); 5] = [
        ("deleted", |path| std::fs::remove_file(path).expect("deletes")),
        ("emptied, as a crash does", |path| cut(path, 0)),
        ("cut", |path| cut(path, 1000)),
        ("of another size", |path| flip(path, 0)),
        ("altered", |path| flip(path, 2000)),
    ];
    for reading in MODES {
        for (name, mischief) in mischiefs {
            let dir = fast_dir();
            let store = open(dir.path(), reading);
            let blob = put(&store, &content(1, SIZE));
            mischief(&outboard_path(dir.path(), &blob));
            assert!(is_sound(&store, &blob, BlobSize(SIZE as u64)), "{reading:?}: an outboard that was {name}");
            assert_eq!(store.list().len(), 1);
        }
    }
}

#[test]
fn an_outboard_cut_under_an_open_view_is_rebuilt_at_the_next() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), Reading::Map);
    let size = 8 << 20;
    let blob = put(&store, &content(1, size));
    let view = store.view(&blob).expect("opens");
    let outboard = view.outboard().expect("reads");
    cut(&outboard_path(dir.path(), &blob), 0);
    assert_eq!(outboard.last(), Some(&0), "the touch is survived");
    assert!(view.is_poisoned());
    assert!(store.cached_view(&blob).is_none());
    assert!(is_sound(&store, &blob, BlobSize(size as u64)), "the blob itself was sound");
    assert!(store.cached_view(&blob).is_some_and(|view| !view.is_poisoned()));
}

/// Read piece by piece, it used to take the sound blob to quarantine with it.
#[test]
fn an_outboard_cut_while_it_is_read_leaves_the_blob_alone() {
    let dir = fast_dir();
    let store = open(dir.path(), Reading::Pread);
    let blob = put(&store, &content(1, SIZE));
    let view = store.view(&blob).expect("opens");
    let end = view.outboard().expect("reads").len() as u64;
    let path = outboard_path(dir.path(), &blob);
    let kept = std::fs::read(&path).expect("reads");
    assert!(view.outboard_window(range(72, end - 64)).expect("reads")[..] == kept[72..kept.len() - 64]);
    cut(&path, end - 64);
    assert!(view.outboard_window(range(0, end - 64)).is_ok(), "what is there can be read");
    let read = view.outboard_window(range(end - 64, end));
    assert!(matches!(read, Err(ViewError::Damaged { damage: Damage::Outboard, .. })), "{read:?}");
    assert!(view.is_poisoned() && store.cached_view(&blob).is_none());
    assert!(is_sound(&store, &blob, BlobSize(SIZE as u64)), "the blob itself was sound");
}

#[test]
fn scrub_finds_what_nobody_noticed() {
    for reading in MODES {
        let dir = fast_dir();
        let store = open(dir.path(), reading);
        let contents: Vec<Vec<u8>> = (0..7).map(|seed| content(seed, SIZE)).collect();
        let blobs: Vec<BlobId> = contents.iter().map(|content| put(&store, content)).collect();
        let sound = put(&store, &content(99, 5000));
        let open_view = store.view(&blobs[0]).expect("opens");
        flip(&blob_path(dir.path(), &blobs[0]), 20_000);
        flip(&blob_path(dir.path(), &blobs[1]), 999_999);
        cut(&blob_path(dir.path(), &blobs[2]), 50);
        std::fs::remove_file(blob_path(dir.path(), &blobs[3])).expect("deletes");
        flip(&outboard_path(dir.path(), &blobs[4]), 100);

        let mut steps: Vec<ScrubProgress> = Vec::new();
        let report = store.scrub(&ScrubOptions { bytes_per_second: 1 << 20 }, &mut |progress| {
            steps.push(*progress);
            ScrubControl::Continue
        });
        assert!(!report.stopped);
        assert_eq!((report.progress.blobs_done, report.progress.blobs_total), (8, 8));
        assert_eq!((report.progress.bytes_total, report.progress.findings), (7_005_000, 5));
        assert!(steps.iter().any(|step| step.rest.as_millis() == 953), "a million bytes rest for 953 ms at 1 MiB/s");
        let found = |blob: &BlobId| report.findings.iter().find(|f| f.blob == *blob).map(|f| &f.found);
        let altered = |group| Found::Damaged(Damage::Altered { first_bad_group: Some(group) });
        assert_eq!(format!("{:?}", found(&blobs[0])), format!("{:?}", Some(altered(1))));
        assert_eq!(format!("{:?}", found(&blobs[1])), format!("{:?}", Some(altered(61))));
        let length = Damage::Length { expected: SIZE as u64, actual: 50 };
        assert!(matches!(found(&blobs[2]), Some(Found::Damaged(damage)) if *damage == length));
        assert!(matches!(found(&blobs[3]), Some(Found::Deleted)));
        assert!(matches!(found(&blobs[4]), Some(Found::OutboardRebuilt)));
        assert!(open_view.is_poisoned(), "a response that is under way is cut off");
        is_quarantined(dir.path(), &store, &contents[0], "first in group 1");
        for blob in [&blobs[4], &blobs[5], &blobs[6]] {
            assert!(is_sound(&store, blob, BlobSize(SIZE as u64)));
        }
        assert!(is_sound(&store, &sound, BlobSize(5000)));
        let clean = store.scrub(&ScrubOptions { bytes_per_second: 0 }, &mut |_| ScrubControl::Continue);
        assert!(clean.findings.is_empty(), "{:?}", clean.findings);
        let stopped = store.scrub(&ScrubOptions::default(), &mut |_| ScrubControl::Stop);
        assert!(stopped.stopped && stopped.progress.blobs_done == 0);
    }
}

#[test]
fn quarantine_is_bounded_and_keeps_the_newest() {
    let dir = fast_dir();
    let store = open(dir.path(), Reading::Map);
    let total = penstock_store::QUARANTINED_MAX as u64 + 5;
    for number in 0..total {
        let blob = put(&store, &content(number, 100));
        assert!(store.quarantine(&blob, "a drill").expect("moves"));
        assert!(!store.quarantine(&blob, "a drill").expect("answers"));
    }
    let kept: Vec<String> = std::fs::read_dir(dir.path().join("quarantine"))
        .expect("lists")
        .map(|entry| entry.expect("lists").file_name().into_string().expect("is text"))
        .collect();
    assert_eq!(kept.len(), 2 * penstock_store::QUARANTINED_MAX);
    let has = |number| kept.iter().any(|name| name.starts_with(&BlobId::of(&content(number, 100)).to_string()));
    assert!(!has(0) && !has(4) && has(5) && has(total - 1));
}
