//! A scrub that is interrupted again and again comes round all the same.

mod common;

use std::os::unix::fs::FileExt;

use common::{MODES, blob_path, content, fast_dir, open, outboard_path, put, reopen_for_mischief};
use penstock_core::blob::BlobId;
use penstock_store::{Damage, Found, Reading, ScrubControl, ScrubOptions, ScrubReport, Store};

const PORTION: u64 = 1 << 20;

/// Scrubs until `portions` were read.
fn scrub(store: &Store, portions: u64) -> ScrubReport {
    let mut read = 0;
    store.scrub(&ScrubOptions { bytes_per_second: 0 }, &mut |_| {
        read += 1;
        if read == portions { ScrubControl::Stop } else { ScrubControl::Continue }
    })
}

fn flip(path: &std::path::Path, at: u64) {
    let mut byte = [0];
    let file = std::fs::File::open(path).expect("opens");
    file.read_exact_at(&mut byte, at).expect("reads");
    reopen_for_mischief(path).write_all_at(&[byte[0] ^ 1], at).expect("writes");
}

/// A node that is restarted every day reads less than it holds between two starts.
#[test]
fn a_scrub_goes_on_behind_the_last_blob_and_wraps_around_once() {
    for reading in MODES {
        let dir = fast_dir();
        let mut blobs: Vec<BlobId> = {
            let store = open(dir.path(), reading);
            (0..6).map(|seed| put(&store, &content(seed, 100_000))).collect()
        };
        blobs.sort_unstable();
        // Each blob that a scrub comes to leaves a finding.
        let spoil = || {
            for blob in &blobs {
                std::fs::remove_file(outboard_path(dir.path(), blob)).expect("deletes");
            }
        };
        let found = |report: &ScrubReport| -> Vec<BlobId> {
            assert!(report.findings.iter().all(|finding| matches!(finding.found, Found::OutboardRebuilt)));
            report.findings.iter().map(|finding| finding.blob).collect()
        };
        spoil();
        let first = scrub(&open(dir.path(), reading), 3);
        assert!(first.stopped);
        assert_eq!(found(&first), blobs[..2], "stopped in the third");
        let second = scrub(&open(dir.path(), reading), 2);
        assert_eq!(found(&second), blobs[3..4], "one that cannot be taken up does not hold up the others");
        let third = scrub(&open(dir.path(), reading), 0);
        assert!(!third.stopped);
        assert_eq!(third.progress.blobs_done, 6, "once around");
        assert_eq!(found(&third), [blobs[5], blobs[2], blobs[4]], "in the order of the names, around the end");
        spoil();
        let fourth = scrub(&open(dir.path(), reading), 0);
        assert_eq!(found(&fourth)[..2], [blobs[5], blobs[0]], "behind where the round ended");
        assert_eq!(fourth.findings.len(), 6);
    }
}

/// Nor may one blob be so large that its end is never reached.
#[test]
fn a_scrub_goes_on_in_the_middle_of_a_blob() {
    for reading in MODES {
        let dir = fast_dir();
        let size = 4 * PORTION + 12_345;
        let blob = put(&open(dir.path(), reading), &content(1, usize::try_from(size).expect("fits")));
        for (day, bytes_total) in [size, size - PORTION, size - 2 * PORTION].into_iter().enumerate() {
            let report = scrub(&open(dir.path(), reading), 1);
            assert!(report.stopped);
            assert_eq!((report.progress.bytes_total, report.progress.bytes_done), (bytes_total, PORTION), "day {day}");
        }
        flip(&blob_path(dir.path(), &blob), 3 * PORTION + 5);
        let last = scrub(&open(dir.path(), reading), 0);
        let expected = Damage::Altered { first_bad_group: Some(3 * PORTION / 16_384) };
        let found: Vec<_> = last.findings.iter().map(|finding| &finding.found).collect();
        assert!(matches!(found[..], [Found::Damaged(damage)] if *damage == expected), "{found:?}");
    }
}

#[test]
fn a_scrub_without_a_place_begins_at_the_first_blob() {
    let dir = fast_dir();
    let store = open(dir.path(), Reading::Map);
    let size = 2 * PORTION;
    put(&store, &content(1, usize::try_from(size).expect("fits")));
    assert!(scrub(&store, 1).stopped);
    let place = dir.path().join("scrub");
    assert!(place.exists());
    std::fs::write(&place, [0xff; 1000]).expect("writes");
    assert_eq!(scrub(&store, 1).progress.bytes_total, size);
    assert_eq!(scrub(&store, 0).progress.bytes_total, size - PORTION, "the nonsense was replaced");
    std::fs::remove_file(&place).expect("deletes");
    assert_eq!(scrub(&store, 0).progress.bytes_done, size);
    assert_eq!(scrub(&store, 0).progress.bytes_done, size, "a finished round is followed by a whole one");
}
