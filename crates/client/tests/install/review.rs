//! Findings of a hostile review of what happens to a player's files: each test tells one of them.

use crate::publisher::{Node, Tree, noise};
use crate::{Stage, assert_is, first, second};
use penstock_client::{Phase, Progress, PullError, PullRequest, Silent, inspect, pull};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

fn tree(entries: &[(&str, Node)]) -> Tree {
    entries.iter().map(|(path, node)| ((*path).to_owned(), node.clone())).collect()
}

fn file(seed: u64) -> Node {
    Node::File(noise(seed, 200_000))
}

/// A stage with version 1 updated to version 2, and version 1 kept.
fn updated(one: &Tree, two: &Tree) -> Stage {
    let mut stage = Stage::new();
    stage.offer("1", one);
    stage.pull().expect("pull");
    stage.offer("2", two);
    pull(&PullRequest { keep_previous: true, ..stage.request() }, &Silent).expect("update");
    assert_is(&stage.dir(), two, &[]);
    stage
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("there").ino()
}

/// Version 1 had `x.cfg`, version 2 dropped it, and the player made their own: a rollback renamed over it.
#[test]
fn a_rollback_moves_a_players_file_aside() {
    let (one, two) = (tree(&[("a", file(1)), ("x.cfg", file(2))]), tree(&[("a", file(3))]));
    let stage = updated(&one, &two);
    fs::write(stage.dir().join("x.cfg"), b"precious").expect("write");
    let report = stage.rollback().expect("rollback");
    assert_eq!(report.moved_aside, ["x.cfg.before-1"]);
    assert_eq!(fs::read(stage.dir().join("x.cfg.before-1")).expect("kept"), b"precious");
    assert_is(&stage.dir(), &one, &["x.cfg.before-1"]);
}

/// A player's file in a directory that version 1 needs as a file: the rollback failed after its removals.
#[test]
fn a_rollback_that_cannot_be_is_refused_before_anything_changes() {
    let one = tree(&[("a", file(1)), ("thing", file(2))]);
    let two = tree(&[("a", file(3)), ("thing/inner", file(4))]);
    let stage = updated(&one, &two);
    fs::write(stage.dir().join("thing/mine"), b"precious").expect("write");
    let error = stage.rollback().expect_err("the player's file is in the way");
    assert!(matches!(&error, PullError::DirectoryInTheWay(path) if path == "thing"), "{error:?}");
    assert_is(&stage.dir(), &two, &["thing/mine"]);
    assert!(!stage.dir().join(".penstock/journal").exists());
    fs::remove_file(stage.dir().join("thing/mine")).expect("remove");
    stage.rollback().expect("free now");
    assert_is(&stage.dir(), &one, &[]);
}

/// A file that the player damaged or removed and that is the same in both versions does not stop a rollback.
#[test]
fn a_rollback_leaves_what_is_the_same_in_both_versions() {
    let (one, two) = (tree(&[("a", file(1)), ("same", file(2))]), tree(&[("a", file(3)), ("same", file(2))]));
    let stage = updated(&one, &two);
    fs::remove_file(stage.dir().join("same")).expect("remove");
    stage.rollback().expect("rollback");
    assert_eq!(stage.verify().damaged_count, 1);
    stage.repair().expect("repair");
    assert_is(&stage.dir(), &one, &[]);
}

/// The release has an empty directory `saves`; the player has a link or file there. The commit failed after its removals,
/// and again at every start.
#[test]
fn a_link_or_file_in_place_of_an_empty_directory_is_moved_aside() {
    for by_link in [true, false] {
        let mut stage = Stage::new();
        stage.offer("1", &first());
        stage.pull().expect("pull");
        let saves = stage.dir().join("saves");
        fs::remove_dir(&saves).expect("remove");
        let elsewhere = stage.temp.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("mkdir");
        if by_link {
            std::os::unix::fs::symlink(&elsewhere, &saves).expect("link");
        } else {
            fs::write(&saves, b"precious").expect("write");
        }
        stage.offer("2", &second());
        let report = stage.pull().expect("update");
        assert_eq!(report.moved_aside, ["saves.before-2"]);
        assert_is(&stage.dir(), &second(), &["saves.before-2"]);
        let aside = stage.dir().join("saves.before-2");
        if by_link {
            assert_eq!(fs::read_link(aside).expect("link"), elsewhere);
        } else {
            assert_eq!(fs::read(aside).expect("kept"), b"precious");
        }
    }
}

/// A directory of ours that became the player's file, at a path where the new release has a file.
#[test]
fn a_players_file_is_not_taken_for_a_directory_of_ours() {
    let mut stage = Stage::new();
    stage.offer("1", &tree(&[("a", file(1)), ("mods", Node::Directory)]));
    stage.pull().expect("pull");
    fs::remove_dir(stage.dir().join("mods")).expect("remove");
    fs::write(stage.dir().join("mods"), b"precious").expect("write");
    let two = tree(&[("a", file(1)), ("mods", file(2))]);
    stage.offer("2", &two);
    stage.pull().expect("update");
    assert_eq!(fs::read(stage.dir().join("mods.before-2")).expect("kept"), b"precious");
    assert_is(&stage.dir(), &two, &["mods.before-2"]);
}

/// A moved file kept its old executable bit, because only its content was compared.
#[test]
fn a_moved_file_gets_the_executable_bit_of_its_new_place() {
    let mut stage = Stage::new();
    let (content, other) = (noise(1, 300_000), noise(2, 300_000));
    stage.offer("1", &tree(&[("a", Node::File(content.clone())), ("b", Node::Program(other.clone()))]));
    stage.pull().expect("pull");
    let two = tree(&[("c", Node::Program(content)), ("d", Node::File(other))]);
    stage.offer("2", &two);
    stage.edge.take_blob_bytes();
    stage.pull().expect("update");
    assert_is(&stage.dir(), &two, &[]);
    assert!(stage.verify().intact);
    assert!(stage.edge.take_blob_bytes() < 10_000, "content on disk is copied, not fetched");
}

/// Two targets of one moved file shared its bytes: whoever changed one changed both.
#[test]
fn files_that_were_one_file_do_not_share_its_bytes() {
    let mut stage = Stage::new();
    stage.offer("1", &tree(&[("a", file(1))]));
    stage.pull().expect("pull");
    let two = tree(&[("b", file(1)), ("c", file(1))]);
    stage.offer("2", &two);
    stage.pull().expect("update");
    assert_is(&stage.dir(), &two, &[]);
    assert_ne!(inode(&stage.dir().join("b")), inode(&stage.dir().join("c")));
}

/// A moved file shared its bytes with the kept previous one: a game that wrote to it spoiled the way back.
#[test]
fn a_kept_file_does_not_share_its_bytes_with_a_live_one() {
    use std::io::{Seek as _, Write as _};
    let (one, two) = (tree(&[("old/music", file(1)), ("a", file(2))]), tree(&[("new/music", file(1)), ("a", file(3))]));
    let stage = updated(&one, &two);
    let mut live = fs::OpenOptions::new().write(true).open(stage.dir().join("new/music")).expect("open");
    live.seek(std::io::SeekFrom::Start(1000)).expect("seek");
    live.write_all(b"a saved setting").expect("write");
    drop(live);
    stage.rollback().expect("rollback");
    assert_is(&stage.dir(), &one, &[]);
}

/// The room that a kept copy of a moved file takes was not announced.
#[test]
fn the_preflight_counts_copies_of_moved_files() {
    let mut peaks = Vec::new();
    for keep_previous in [false, true] {
        let mut stage = Stage::new();
        stage.offer("1", &tree(&[("old/music", Node::File(noise(1, 900_000)))]));
        stage.pull().expect("pull");
        stage.offer("2", &tree(&[("new/music", Node::File(noise(1, 900_000)))]));
        let report = pull(&PullRequest { keep_previous, ..stage.request() }, &Silent).expect("update");
        assert_eq!(report.preflight.payload_bytes, 0);
        peaks.push(report.preflight.space.peak_extra_bytes);
    }
    assert!(peaks[1] >= peaks[0] + 900_000, "{peaks:?}");
}

/// A damaged state said "pull again", and a pull failed on it.
#[test]
fn a_damaged_state_is_renewed_by_a_pull() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    fs::write(stage.dir().join(".penstock/state.json"), b"{ not json").expect("write");
    let error = stage.repair().expect_err("repair needs the state");
    assert!(error.to_string().contains("pull again"), "{error}");
    stage.edge.take_blob_bytes();
    stage.pull().expect("as advised");
    assert!(stage.edge.take_blob_bytes() < 10_000, "what is there is used");
    assert_is(&stage.dir(), &first(), &[]);
    assert!(stage.verify().intact);
}

/// A damaged journal said "run repair", and repair failed on it.
#[test]
fn a_damaged_journal_is_dropped_by_a_repair() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    fs::write(stage.dir().join(".penstock/journal"), b"rot\n").expect("write");
    // As if the commit had come half way.
    fs::write(stage.dir().join("texts/007.txt"), b"of another version").expect("write");
    stage.offer("2", &second());
    let error = stage.pull().expect_err("the journal is damaged");
    assert!(error.to_string().contains("run repair"), "{error}");
    stage.repair().expect("as advised");
    assert_is(&stage.dir(), &first(), &[]);
    stage.pull().expect("and on");
    assert_is(&stage.dir(), &second(), &[]);
}

/// A part that rotted on the shelf was found by its length, never fetched again, and refused every time.
#[test]
fn a_damaged_manifest_part_is_fetched_again() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    for entry in fs::read_dir(stage.dir().join(".penstock/blobs")).expect("list") {
        let path = entry.expect("entry").path();
        let mut bytes = fs::read(&path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("write");
    }
    stage.pull().expect("pull again");
    assert!(stage.verify().intact);
}

/// The bytes of moved files that are copied, because their old ones are kept, were not announced.
#[test]
fn an_update_that_keeps_the_previous_version_costs_what_was_announced() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    stage.offer("2", &second());
    let report = pull(&PullRequest { keep_previous: true, ..stage.request() }, &Silent).expect("update");
    let planned = &report.preflight;
    assert_eq!(planned.moved_files, 1);
    assert!(planned.space.peak_extra_bytes >= planned.write_bytes, "{planned:?}");
    let announced = (planned.download_bytes, planned.write_bytes, planned.reuse_bytes);
    assert_eq!((report.downloaded_bytes, report.written_bytes, report.reused_bytes), announced);
}

/// Takes all content away when it is asked for.
struct Cut<'a>(&'a Stage);

impl Progress for Cut<'_> {
    fn begin(&self, phase: Phase, _: u64) {
        if phase == Phase::Fetch {
            self.0.edge.world.lock().expect("lock").blobs.clear();
        }
    }
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
}

/// A moved file that an interrupted update had copied counted as staged after its copy was removed, and was missing in
/// the end.
#[test]
fn a_moved_file_survives_an_interrupted_update_that_keeps_the_previous_version() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    stage.offer("2", &second());
    let request = PullRequest { keep_previous: true, ..stage.request() };
    let error = pull(&request, &Cut(&stage)).expect_err("nothing can be fetched");
    assert!(matches!(error, PullError::Session(_)), "{error:?}");
    assert!(stage.dir().join(".penstock/staging").exists());
    stage.edge.load(&stage.publisher);
    pull(&request, &Silent).expect("goes on");
    assert_is(&stage.dir(), &second(), &[]);
    stage.rollback().expect("rollback");
    assert_is(&stage.dir(), &first(), &[]);
}

/// Changes what the install remembers.
fn change_state(stage: &Stage, change: impl FnOnce(&mut serde_json::Value)) {
    let path = stage.dir().join(".penstock/state.json");
    let mut state = serde_json::from_slice(&fs::read(&path).expect("read")).expect("state");
    change(&mut state);
    fs::write(path, serde_json::to_vec(&state).expect("json")).expect("write");
}

/// A rollback from a release that was being mended file by file left it marked as unfinished: the next repair went forward
/// again, and the next rollback led from a version to itself.
#[test]
fn a_rollback_ends_the_mending_of_the_release_it_leaves() {
    let (one, two) = (tree(&[("a", file(1)), ("same", file(2))]), tree(&[("a", file(3)), ("same", file(2))]));
    let stage = updated(&one, &two);
    fs::write(stage.dir().join("same"), noise(9, 200_000)).expect("write");
    // As between two commits of a repair that has no room for all at once.
    change_state(&stage, |state| state["unfinished"] = state["installed"].clone());
    assert!(stage.verify().unfinished);
    assert_eq!(stage.rollback().expect("rollback").to.as_str(), "1");
    let found = inspect(&stage.dir()).expect("inspect");
    assert_eq!((found.version.as_str(), found.unfinished), ("1", None));
    assert_eq!(found.previous.expect("kept").as_str(), "2");
    let verified = stage.verify();
    assert_eq!((verified.unfinished, verified.damaged_count), (false, 1), "{verified:?}");
    assert_eq!(stage.repair().expect("repair").version.as_str(), "1");
    assert_is(&stage.dir(), &one, &[]);
    assert_eq!(stage.rollback().expect("forward").to.as_str(), "2");
    assert_is(&stage.dir(), &two, &[]);
}

/// Files of a third version may have replaced what the two have in common, which was not kept.
#[test]
fn a_rollback_from_between_two_versions_is_refused_and_a_repair_leads_out() {
    let (one, two) = (tree(&[("a", file(1)), ("b", file(2))]), tree(&[("a", file(3)), ("b", file(4))]));
    let stage = updated(&one, &two);
    change_state(&stage, |state| state["unfinished"] = state["previous"].clone());
    let error = stage.rollback().expect_err("a mix");
    assert!(matches!(&error, PullError::Unfinished(version) if version.as_str() == "1"), "{error:?}");
    assert!(error.to_string().contains("run pull or repair first"), "{error}");
    assert_is(&stage.dir(), &two, &[]);
    stage.repair().expect("as advised");
    assert_is(&stage.dir(), &one, &[]);
    let found = inspect(&stage.dir()).expect("inspect");
    assert_eq!((found.version.as_str(), found.unfinished, found.previous), ("1", None, None));
    assert!(matches!(stage.rollback(), Err(PullError::NoPrevious)));
    change_state(&stage, |state| state["previous"] = state["installed"].clone());
    assert!(matches!(stage.rollback(), Err(PullError::NoPrevious)), "a version does not lead back to itself");
}

/// Everything was in place already, and the mark stayed.
#[test]
fn a_repair_that_finds_nothing_left_to_do_says_that_it_is_done() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    stage.pull().expect("pull");
    change_state(&stage, |state| state["unfinished"] = state["installed"].clone());
    assert!(stage.verify().unfinished);
    stage.repair().expect("repair");
    let verified = stage.verify();
    assert!(verified.intact && !verified.unfinished);
}
