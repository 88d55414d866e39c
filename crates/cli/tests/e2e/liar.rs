//! A lying edge in front of an honest one: the client notices, says so, and is served by the other.

use crate::world::{World, assert_same, document, said, text};
use penstock_testkit::{Lie, LyingEdge, Tree};
use std::path::Path;

/// What the client says of the liar.
#[derive(Debug, Clone, Copy)]
enum Blame {
    Nobody,
    IfSeen(&'static str),
    For(&'static str),
}

/// The client is served by the other edge, takes in next to no lies, and drops the liar where it can be blamed.
fn survives(lie: Lie, blame: Blame) {
    let world = World::awake();
    let tree = Tree::small_game(31, 1_500_000);
    world.publish(&tree, "1.0");
    let honest = world.url("http_url");
    let upstream = honest.trim_start_matches("http://").parse().expect("an address");
    let liar = LyingEdge::start(lie, upstream).expect("starts");
    let into = world.path("install");
    let output = world.pull_from(&format!("{},{honest}", liar.url()), &into).output().expect("starts");
    assert!(output.status.success(), "{lie:?}: {}", said(&output));
    assert!(liar.lies_told() > 0, "{lie:?}: the liar was never asked");
    assert_same(&tree, &into);
    let report = document(&output);
    let fetched = report["downloaded_bytes"].as_u64().expect("a number");
    assert!(fetched < tree.bytes() + 100_000, "{lie:?}: took in {fetched} bytes, lies among them");
    let dropped = report["dropped_edges"].as_array().expect("a list");
    match blame {
        // It may be a bad network: the edge is asked less, and not accused.
        Blame::Nobody => assert!(dropped.is_empty(), "{lie:?}: {dropped:?}"),
        // Everything may be there before more than that comes.
        Blame::IfSeen(_) if dropped.is_empty() => {}
        Blame::For(reason) | Blame::IfSeen(reason) => {
            assert_eq!(dropped.len(), 1, "{lie:?}: {dropped:?}");
            let words = dropped[0].as_str().expect("a text");
            assert!(words.starts_with(&liar.url()) && words.contains(reason), "{lie:?}: {words}");
        }
    }
}

#[test]
fn wrong_bytes() {
    survives(Lie::WrongBytes, Blame::For("do not match their hash"));
}

#[test]
fn a_body_that_ends_early() {
    survives(Lie::ShortBody, Blame::Nobody);
}

#[test]
fn a_length_that_is_wrong() {
    survives(Lie::WrongLength, Blame::Nobody);
}

#[test]
fn a_body_without_end() {
    survives(Lie::EndlessBody, Blame::IfSeen("more bytes than asked for"));
}

#[test]
fn silence_in_the_middle() {
    survives(Lie::Stall, Blame::Nobody);
}

#[test]
fn a_redirect() {
    survives(Lie::Redirect, Blame::For("redirects"));
}

#[test]
fn a_blob_that_is_said_not_to_be_there() {
    survives(Lie::NotFound, Blame::For("nothing under this name"));
}

#[test]
fn alone_it_gets_nothing_past_the_client() {
    let world = World::awake();
    let tree = Tree::small_game(32, 400_000);
    world.publish(&tree, "1.0");
    let upstream = world.url("http_url").trim_start_matches("http://").parse().expect("an address");
    let liar = LyingEdge::start(Lie::WrongBytes, upstream).expect("starts");
    let into = world.path("install");
    let output = world.pull_from(&liar.url(), &into).output().expect("starts");
    assert!(!output.status.success(), "{}", said(&output));
    assert!(liar.lies_told() > 0, "the liar was never asked");
    assert_nothing_installed(&into);
}

#[test]
fn a_token_is_never_sent_in_the_clear() {
    let world = World::awake();
    world.publish(&Tree::small_game(33, 100_000), "1.0");
    let upstream = world.url("http_url").trim_start_matches("http://").parse().expect("an address");
    let eavesdropper = LyingEdge::start(Lie::NotFound, upstream).expect("starts");
    let into = world.path("install");
    let token = world.path("token");
    std::fs::write(&token, "a-secret-that-must-not-travel-in-the-clear").expect("written");
    let mut pull = world.pull_from(&eavesdropper.url(), &into);
    let output = pull.args(["--token-file", text(&token)]).output().expect("starts");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(eavesdropper.heads(), Vec::<String>::new(), "something was asked over plain HTTP");
    assert_nothing_installed(&into);
    // The same without a token is asked, so the empty list above means something.
    let output = world.pull_from(&eavesdropper.url(), &into).output().expect("starts");
    assert!(!output.status.success() && !eavesdropper.heads().is_empty(), "{}", said(&output));
}

fn assert_nothing_installed(into: &Path) {
    let installed = into.exists().then(|| Tree::read(into).expect("readable").nodes);
    assert!(installed.is_none_or(|nodes| nodes.is_empty()), "bytes of a liar were installed");
}
