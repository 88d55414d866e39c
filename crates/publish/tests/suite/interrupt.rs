//! Interrupted at any call to the node, before or after it took effect, a publish is run again and
//! comes to the same end.

use crate::common::*;
use penstock_core::id::ChannelName;
use penstock_publish::memory::FailWhen;

#[test]
fn a_publish_that_fails_anywhere_is_simply_run_again() {
    let stable = ChannelName::new("stable").expect("name");
    let old = tree([("a", Node::File(noise(1, 900_000))), ("b", Node::File(b"small".to_vec()))]);
    let mut new = old.clone();
    new.insert("c".to_owned(), Node::File(noise(2, 9_000_000)));
    let offer = |request: &mut penstock_publish::PublishRequest| request.channel = Some(stable.clone());

    let undisturbed = node();
    publish_tree(&old, "1", &undisturbed).expect("published");
    let before = undisturbed.calls();
    publish_with(&new, "2", &undisturbed, offer).expect("published");
    let calls = undisturbed.calls() - before;
    assert!(calls > 10, "only {calls} calls to fail");

    for nth in 1..=calls {
        for when in [FailWhen::Before, FailWhen::After] {
            let node = node();
            publish_tree(&old, "1", &node).expect("published");
            node.fail_at(nth, when);
            let failed = publish_with(&new, "2", &node, offer);
            assert!(failed.is_err(), "call {nth} {when:?} was told to fail");
            let offered = node.channel(&product(), &stable);
            let last = nth == calls && when == FailWhen::After;
            assert_eq!(offered.is_some(), last, "offered too early at call {nth} {when:?}");
            // In the full matrix the second run is interrupted as well, around the same place and early.
            for again in if full() { vec![1, nth / 2 + 1, nth] } else { vec![] } {
                node.fail_at(again, when);
                // It may need fewer calls than that, and then comes through.
                let _ = publish_with(&new, "2", &node, offer);
                node.fail_at(u64::MAX / 2, when);
            }
            publish_with(&new, "2", &node, offer).expect("the second run succeeds");
            assert_eq!(node.blobs(), undisturbed.blobs(), "call {nth} {when:?}");
            assert_eq!(node.channel(&product(), &stable), Some(version("2")));
            assert_eq!(install(&node, "2"), new);
        }
    }
}

#[test]
fn nothing_is_left_in_the_temporary_directory() {
    let spool = tempfile::tempdir().expect("dir");
    let build = tree([("c", Node::File(noise(2, 10_000_000)))]);
    for fail in [Some(4), Some(6), None] {
        let node = node();
        if let Some(nth) = fail {
            node.fail_at(nth, FailWhen::Before);
        }
        let result = publish_with(&build, "1", &node, |request| request.spool = Some(spool.path().to_owned()));
        assert_eq!(result.is_err(), fail.is_some());
        assert_eq!(std::fs::read_dir(spool.path()).expect("list").count(), 0);
    }
}
