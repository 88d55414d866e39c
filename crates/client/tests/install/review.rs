//! Findings of a hostile review of what happens to a player's files: each test tells one of them.

use crate::publisher::{Node, Tree, noise};
use crate::{Stage, assert_is, first, second};
use penstock_client::{PullError, PullRequest, Silent, pull};
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
