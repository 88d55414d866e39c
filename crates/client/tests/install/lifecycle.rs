//! Install, update, verify, repair, roll back: the honest road.

use crate::publisher::{Node, half_noise, noise};
use crate::{Stage, assert_is, first, second};
use penstock_client::{DamageKind, Intent, PullError, PullRequest, Silent, pull};
use std::fs;

#[test]
fn a_fresh_install_is_byte_for_byte_the_release() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    let report = stage.pull().expect("pull");
    assert_is(&stage.dir(), &first(), &[]);
    assert!(stage.verify().intact);
    assert_eq!((report.to.as_str(), report.from, report.changed), ("1", None, true));
    assert_eq!(report.downloaded_bytes, report.preflight.download_bytes, "exactly what was announced");
    let again = stage.pull().expect("pull again");
    assert!(!again.changed);
    assert_eq!((again.downloaded_bytes, again.preflight.download_bytes), (0, 0));
}

/// The manifest root is asked for as a whole, which the edge counts no bytes of.
fn manifest_only(stage: &Stage) -> usize {
    let world = stage.edge.world.lock().expect("lock");
    let offer = world.offer.as_ref().expect("offer");
    usize::try_from(offer.manifest_bytes).expect("small")
}

#[test]
fn an_update_fetches_what_is_new_and_moves_what_only_moved() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    fs::write(stage.dir().join("saves/mine.sav"), b"player").expect("write");
    fs::write(stage.dir().join("data/mod.pak"), b"player").expect("write");
    let kept = inode(&stage, "texts/000.txt");
    let moved = inode(&stage, "data/music.ogg");
    stage.offer("2", &second());
    stage.edge.take_blob_bytes();
    let report = stage.pull().expect("update");
    assert_is(&stage.dir(), &second(), &["saves/mine.sav", "data/mod.pak"]);
    assert_eq!(inode(&stage, "texts/000.txt"), kept, "an unchanged file is not rewritten");
    assert_eq!(inode(&stage, "media/theme.ogg"), moved, "a moved file is not rewritten");
    assert!(report.preflight.payload_bytes < 700_000, "{:?}", report.preflight);
    assert_eq!(report.downloaded_bytes, report.preflight.download_bytes);
    assert!(report.reused_bytes > 2_000_000);
    assert_eq!(report.preflight.moved_files, 1);
    assert_eq!(report.preflight.removed_files, 2);
    let parts = report.preflight.manifest_bytes - u64::try_from(manifest_only(&stage)).expect("small");
    assert_eq!(stage.edge.take_blob_bytes(), report.preflight.payload_bytes + parts, "exactly what was announced");
    let verified = stage.verify();
    assert!(verified.intact);
    assert_eq!(verified.extra, ["data/mod.pak", "saves/mine.sav"]);
}

fn inode(stage: &Stage, path: &str) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(stage.dir().join(path)).expect("there").ino()
}

#[test]
fn a_dry_run_announces_and_touches_nothing() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    let request = PullRequest { intent: Intent::DryRun, ..stage.request() };
    let planned = pull(&request, &Silent).expect("plan");
    assert!(!stage.dir().exists());
    assert_eq!(planned.preflight.write_bytes, planned.preflight.final_bytes);
    assert_eq!(planned.preflight.final_bytes, content(&first()));
    let done = stage.pull().expect("pull");
    assert_eq!(done.preflight.payload_bytes, planned.preflight.payload_bytes);
    stage.offer("2", &second());
    let before = snapshot(&stage);
    let planned = pull(&request, &Silent).expect("plan");
    assert!(planned.changed && planned.dry_run);
    assert_eq!(snapshot(&stage), before);
    assert_eq!(stage.pull().expect("pull").preflight.payload_bytes, planned.preflight.payload_bytes);
}

fn content(tree: &crate::publisher::Tree) -> u64 {
    let bytes = |node: &Node| match node {
        Node::File(bytes) | Node::Program(bytes) => bytes.len() as u64,
        _ => 0,
    };
    tree.values().map(bytes).sum()
}

fn snapshot(stage: &Stage) -> Vec<(String, Vec<u8>)> {
    crate::attacks::snapshot(&stage.dir())
}

#[test]
fn damage_is_found_named_and_mended() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    let dir = stage.dir();
    let mut pak = fs::read(dir.join("data/world.pak")).expect("read");
    pak[2_000_000] ^= 0xff;
    fs::write(dir.join("data/world.pak"), &pak).expect("write");
    fs::remove_file(dir.join("texts/010.txt")).expect("remove");
    fs::write(dir.join("texts/011.txt"), b"short").expect("write");
    fs::remove_file(dir.join("latest")).expect("remove");
    set_mode(&dir.join("bin/game"), 0o644);
    let verified = stage.verify();
    assert!(!verified.intact);
    let kind = |path: &str| verified.damaged.iter().find(|damage| damage.path == path).map(|damage| damage.kind);
    assert_eq!(kind("data/world.pak"), Some(DamageKind::Damaged));
    assert_eq!(kind("texts/010.txt"), Some(DamageKind::Missing));
    assert_eq!(kind("texts/011.txt"), Some(DamageKind::Damaged));
    assert_eq!(kind("latest"), Some(DamageKind::Missing));
    assert_eq!(kind("bin/game"), Some(DamageKind::Mode));
    assert_eq!(verified.damaged_count, 5);
    let repaired = stage.repair().expect("repair");
    assert_eq!(repaired.repaired_count, 5);
    assert_eq!(repaired.downloaded_bytes, repaired.preflight.download_bytes);
    assert!(repaired.downloaded_bytes < 300_000, "one chunk and two texts, not {}", repaired.downloaded_bytes);
    assert_is(&dir, &first(), &[]);
    assert!(stage.verify().intact);
    assert_eq!(stage.repair().expect("again").downloaded_bytes, 0);
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

#[test]
fn a_modified_source_is_fetched_instead_of_trusted() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    // Same size, other bytes: only hashing at the moment of use can tell.
    let dir = stage.dir();
    fs::write(dir.join("data/world.pak"), half_noise(777, 3_000_000)).expect("write");
    fs::write(dir.join("data/music.ogg"), noise(778, 700_000)).expect("write");
    stage.offer("2", &second());
    let report = stage.pull().expect("update");
    assert!(report.mended_bytes > 2_000_000);
    assert_is(&dir, &second(), &[]);
}

#[test]
fn the_previous_version_comes_back_offline_and_goes_again() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    assert!(matches!(stage.rollback(), Err(PullError::NoPrevious)));
    stage.offer("2", &second());
    pull(&PullRequest { keep_previous: true, ..stage.request() }, &Silent).expect("update");
    assert_is(&stage.dir(), &second(), &[]);
    let asked = stage.edge.seen().len();
    let report = stage.rollback().expect("rollback");
    assert_eq!((report.from.as_str(), report.to.as_str()), ("2", "1"));
    assert_is(&stage.dir(), &first(), &[]);
    assert!(stage.verify().intact);
    stage.rollback().expect("forward");
    assert_is(&stage.dir(), &second(), &[]);
    assert!(stage.verify().intact);
    assert_eq!(stage.edge.seen().len(), asked, "no edge was asked");
    stage.offer("3", &first());
    stage.pull().expect("update");
    assert!(matches!(stage.rollback(), Err(PullError::NoPrevious)), "kept files of another version are gone");
}

#[test]
fn a_damaged_kept_file_stops_a_rollback_before_it_starts() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    stage.offer("2", &second());
    pull(&PullRequest { keep_previous: true, ..stage.request() }, &Silent).expect("update");
    let client = stage.dir().join(".penstock");
    let kept = fs::read_dir(&client).expect("list").map(|e| e.expect("entry").path());
    let kept =
        kept.into_iter().find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("previous-")));
    for file in fs::read_dir(kept.expect("kept")).expect("list") {
        let path = file.expect("entry").path();
        if !path.is_symlink() {
            // A moved file shares its bytes with the kept one: replace the name, not the bytes.
            fs::remove_file(&path).expect("remove");
            fs::write(path, b"damaged").expect("write");
        }
    }
    assert!(matches!(stage.rollback(), Err(PullError::PreviousDamaged(_))));
    assert_is(&stage.dir(), &second(), &[]);
}

#[test]
fn a_given_version_can_be_pulled_and_an_older_one_too() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.offer("2", &second());
    stage.pull().expect("pull");
    stage.pull_version("1").expect("back");
    assert_is(&stage.dir(), &first(), &[]);
    let unknown = stage.pull_version("9").expect_err("there is no 9");
    assert!(matches!(&unknown, PullError::Unknown { asked, .. } if asked.contains("version 9")), "{unknown:?}");
    assert_is(&stage.dir(), &first(), &[]);
}

#[test]
fn files_become_directories_and_back() {
    let mut stage = Stage::new();
    let mut one = first();
    one.insert("thing".into(), Node::File(noise(1, 100)));
    one.insert("other/a".into(), Node::File(noise(2, 100)));
    one.insert("link".into(), Node::Link("data".into()));
    let mut two = first();
    two.insert("thing/inner".into(), Node::File(noise(3, 100)));
    two.insert("other".into(), Node::File(noise(4, 100)));
    two.insert("link/inner".into(), Node::File(noise(5, 100)));
    stage.offer("1", &one);
    stage.pull().expect("pull");
    assert_is(&stage.dir(), &one, &[]);
    stage.offer("2", &two);
    stage.pull().expect("update");
    assert_is(&stage.dir(), &two, &[]);
    fs::write(stage.dir().join("thing/mine"), b"player").expect("write");
    stage.offer("3", &one);
    let refused = stage.pull().expect_err("the player's file is in the way");
    assert!(matches!(&refused, PullError::DirectoryInTheWay(path) if path == "thing"), "{refused:?}");
    assert_is(&stage.dir(), &two, &["thing/mine"]);
    fs::remove_file(stage.dir().join("thing/mine")).expect("remove");
    stage.pull().expect("update");
    assert_is(&stage.dir(), &one, &[]);
}

#[test]
fn files_that_are_nobodys_are_adopted_or_moved_aside() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    let dir = stage.dir();
    fs::remove_dir_all(dir.join(".penstock")).expect("forget");
    fs::write(dir.join("texts/020.txt"), b"mine").expect("write");
    stage.edge.take_blob_bytes();
    let report = stage.pull().expect("adopt");
    assert_eq!(report.moved_aside, ["texts/020.txt.before-1"]);
    assert_eq!(fs::read(dir.join("texts/020.txt.before-1")).expect("kept"), b"mine");
    assert_is(&dir, &first(), &["texts/020.txt.before-1"]);
    assert!(report.preflight.payload_bytes < 10_000, "what was there was used");
}

#[test]
fn a_second_client_is_told() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    let lock = fs::File::open(stage.dir().join(".penstock/lock")).expect("lock file");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("lock");
    assert!(matches!(stage.pull(), Err(PullError::Busy(_))));
    drop(lock);
    stage.pull().expect("free again");
}

#[test]
fn the_rate_is_limited() {
    let mut stage = Stage::new();
    let mut tree = crate::publisher::Tree::new();
    tree.insert("a".into(), Node::File(noise(1, 600_000)));
    stage.offer("1", &tree);
    let mut request = stage.request();
    request.tuning.limit_rate = Some(600_000);
    let report = pull(&request, &Silent).expect("pull");
    assert!(report.seconds > 0.6, "{}", report.seconds);
}
