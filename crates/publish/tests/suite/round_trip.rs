//! What is published is what is installed, for any tree.

use crate::common::*;
use penstock_core::id::ChannelName;
use proptest::prelude::*;

fn sample() -> Tree {
    tree([
        ("bin/game", Node::Program(noise(1, 700_000))),
        ("data/a.pak", Node::File(noise(2, 3_000_000))),
        ("data/text/one.txt", Node::File(b"one ".repeat(2000))),
        ("data/text/two.txt", Node::File(b"two ".repeat(5))),
        ("data/text/three.txt", Node::File(Vec::new())),
        ("data.txt", Node::File(b"sorts after data/".to_vec())),
        ("empty/inner", Node::Directory),
        ("latest", Node::Link("data/text/one.txt".to_owned())),
    ])
}

#[test]
fn a_release_installs_as_the_build_it_was_made_of() {
    let node = node();
    let stable = ChannelName::new("stable").expect("name");
    let report =
        publish_with(&sample(), "1.0", &node, |request| request.channel = Some(stable.clone())).expect("published");
    assert_eq!(install(&node, "1.0"), sample());
    assert_eq!(node.channel(&product(), &stable), Some(version("1.0")));
    assert_eq!((report.entries, report.files), (8, 6));
    assert_eq!(report.new_content_bytes, report.content_bytes);
    assert_eq!(report.blobs_uploaded, node.blobs().len() as u64);
    assert!(report.raw_frames > 0 && report.raw_frames < report.frames);
    assert!(!report.already_published);
}

#[test]
fn publishing_is_not_offering() {
    let node = node();
    publish_tree(&sample(), "1.0", &node).expect("published");
    assert_eq!(node.channel(&product(), &ChannelName::new("stable").expect("name")), None);
}

#[test]
fn the_same_inputs_make_the_same_blobs() {
    let (one, other) = (node(), node());
    publish_with(&sample(), "1.0", &one, |request| request.threads = 1).expect("published");
    publish_with(&sample(), "1.0", &other, |request| request.threads = 7).expect("published");
    assert_eq!(one.blobs(), other.blobs());
}

#[test]
fn small_files_share_frames_and_large_ones_do_not() {
    let node = node();
    let many: Tree = (0..100).map(|i| (format!("t/{i:03}.txt"), Node::File(noise(i, 3000)))).collect();
    publish_tree(&many, "1.0", &node).expect("published");
    assert_eq!(install(&node, "1.0"), many);
    let packs = packs(&node);
    let frames = &packs[0].1.frames;
    assert_eq!((packs.len(), frames.len()), (1, 3), "300 KB in frames of about 128 KiB");
    assert!(frames.iter().all(|frame| frame.content_bytes < 140_000));
}

#[test]
fn packs_are_closed_at_their_target_size() {
    let node = node();
    let big = tree([("a", Node::File(noise(1, 30_000_000)))]);
    publish_tree(&big, "1.0", &node).expect("published");
    assert_eq!(install(&node, "1.0"), big);
    let mut sizes: Vec<usize> = packs(&node).iter().map(|(blob, _)| node.blob(blob).expect("pack").len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes.len(), 4);
    assert!(sizes[1..].iter().all(|size| (8 << 20..9 << 20).contains(size)), "{sizes:?}");
}

#[test]
fn the_launch_set_is_marked() {
    let node = node();
    let launch = vec!["bin/".parse().expect("pattern")];
    publish_with(&sample(), "1.0", &node, |request| request.launch = launch).expect("published");
    let component = &root(&node, "1.0").components[0];
    let part = &component.tree[0];
    let tree = penstock_frames::part::TreePart::decode(part, &node.blob(&part.blob).expect("part")).expect("part");
    for entry in tree.entries {
        if let penstock_frames::part::EntryKind::File { launch, .. } = entry.kind {
            assert_eq!(launch, entry.path.as_str() == "bin/game", "{:?}", entry.path);
        }
    }
}

fn any_node() -> impl Strategy<Value = Node> {
    prop_oneof![
        (0u64..4, 0usize..200_000).prop_map(|(seed, length)| Node::File(noise(seed, length))),
        (any::<u8>(), 0usize..400_000).prop_map(|(byte, length)| Node::File(vec![byte; length])),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Node::Program),
        Just(Node::Directory),
        Just(Node::Link("x".to_owned())),
    ]
}

/// Names of lowercase letters only, directories of digits: nothing collides, no file is a directory.
fn any_tree() -> impl Strategy<Value = Tree> {
    proptest::collection::btree_map("([0-9]{1,2}/){0,3}[a-z]{1,8}", any_node(), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_tree_survives_and_so_does_any_next_one(first in any_tree(), second in any_tree()) {
        let node = node();
        publish_tree(&first, "1", &node).expect("published");
        publish_tree(&second, "2", &node).expect("published");
        prop_assert_eq!(install(&node, "1"), first);
        prop_assert_eq!(install(&node, "2"), second);
    }
}
