//! What is already published is not stored again, unless the audience forbids it.

use crate::common::*;
use penstock_core::blob::BlobId;
use penstock_core::id::{AccessGroup, ComponentName, Platform, Version};
use penstock_core::sign::SecretKey;
use penstock_publish::{ComponentRule, PublishError};
use std::collections::{BTreeMap, BTreeSet};

fn pak(content: Vec<u8>) -> Tree {
    tree([("data.pak", Node::File(content)), ("readme", Node::File(b"read me".to_vec()))])
}

#[test]
fn a_small_change_costs_little() {
    let node = node();
    let content = noise(1, 20_000_000);
    let first = publish_tree(&pak(content.clone()), "1", &node).expect("published");
    let mut changed = content;
    changed[10_000_000] ^= 1;
    let second = publish_tree(&pak(changed.clone()), "2", &node).expect("published");
    assert_eq!(install(&node, "2"), pak(changed));
    assert!(second.new_content_bytes <= 2 * 256 * 1024, "{}", second.new_content_bytes);
    assert!(second.chunks_reused >= first.chunks - 2);
    let fetched = changed_part_bytes(&node, "1", "2");
    assert!(fetched < 12_000, "a one-byte change costs {fetched} bytes of manifest");
}

/// What a client that has `from` reads of the manifest of `to`: the root and the parts it lacks.
fn changed_part_bytes(node: &penstock_publish::memory::MemoryRegistry, from: &str, to: &str) -> u64 {
    let old: BTreeSet<_> = root(node, from).parts().map(|part| part.blob).collect();
    let new = root(node, to);
    let parts: u64 =
        new.parts().filter(|part| !old.contains(&part.blob)).map(|part| u64::from(part.stored_bytes)).sum();
    parts + new.encode().len() as u64
}

#[test]
fn a_change_in_a_large_tree_touches_few_parts() {
    let node = node();
    let mut many: Tree =
        (0..20_000).map(|i| (format!("d{}/f{i}", i % 97), Node::File(i.to_string().into_bytes()))).collect();
    publish_tree(&many, "1", &node).expect("published");
    many.insert("d50/new".to_owned(), Node::File(b"new".to_vec()));
    many.insert("d50/f50".to_owned(), Node::File(b"changed".to_vec()));
    publish_tree(&many, "2", &node).expect("published");
    assert_eq!(install(&node, "2"), many);
    let all: u64 = root(&node, "2").parts().map(|part| u64::from(part.stored_bytes)).sum();
    let fetched = changed_part_bytes(&node, "1", "2");
    assert!(fetched * 8 < all, "{fetched} of {all} bytes of manifest");
}

#[test]
fn the_same_version_with_the_same_content_is_done_already() {
    let node = node();
    let build = pak(noise(1, 500_000));
    let first = publish_tree(&build, "1", &node).expect("published");
    let blobs = node.blobs();
    // Another time and another level: what counts is the content.
    let again = publish_with(&build, "1", &node, |request| {
        request.created = penstock_core::time::UnixSeconds(9999);
        request.level = 9;
    });
    let again = again.expect("the same");
    assert!(again.already_published);
    assert_eq!((again.manifest, again.blobs_uploaded), (first.manifest, 0));
    assert_eq!(node.blobs(), blobs);
}

#[test]
fn the_same_version_with_other_content_is_refused_by_file_name_and_uploads_nothing() {
    let node = node();
    let build = pak(noise(1, 500_000));
    publish_tree(&build, "1", &node).expect("published");
    let blobs = node.blobs();
    let mut other_bytes = build.clone();
    other_bytes.insert("data.pak".to_owned(), Node::File(noise(2, 500_000)));
    let mut one_more = build.clone();
    one_more.insert("extra".to_owned(), Node::File(Vec::new()));
    let mut one_less = build.clone();
    one_less.remove("readme");
    let mut other_mode = build;
    other_mode.insert("readme".to_owned(), Node::Program(b"read me".to_vec()));
    for (tree, name) in [(other_bytes, "data.pak"), (one_more, "extra"), (one_less, "readme"), (other_mode, "readme")] {
        let error = publish_tree(&tree, "1", &node).expect_err(name);
        assert!(error.is_conflict(), "{error:?}");
        let PublishError::Version { source, .. } = &error else { panic!("{error:?}") };
        assert!(source.to_string().contains(name), "{source}");
    }
    assert_eq!(node.blobs(), blobs);
}

#[test]
fn another_platform_is_another_release_and_shares_content() {
    let node = node();
    let build = pak(noise(1, 2_000_000));
    publish_tree(&build, "1", &node).expect("published");
    let linux = Platform::new("linux-x86_64").expect("name");
    let report = publish_with(&build, "1", &node, |request| request.platform = linux).expect("published");
    assert_eq!((report.already_published, report.packs), (false, 0));
}

#[test]
fn a_lost_pack_is_stored_again() {
    let node = node();
    let build = pak(noise(1, 2_000_000));
    publish_tree(&build, "1", &node).expect("published");
    let (lost, _) = packs(&node)[0];
    node.lose(&lost);
    let report = publish_tree(&build, "2", &node).expect("published");
    assert_eq!(report.chunks_reused, 0);
    assert_eq!(install(&node, "2"), build);
}

#[test]
fn a_withdrawn_release_gives_nothing_and_its_version_stays_taken() {
    let node = node();
    let build = pak(noise(1, 500_000));
    publish_tree(&build, "1", &node).expect("published");
    node.withdraw(&product(), &version("1"));
    assert!(matches!(publish_tree(&build, "1", &node), Err(PublishError::Withdrawn { .. })));
    assert_eq!(publish_tree(&build, "2", &node).expect("published").chunks_reused, 0);
}

/// Calls to the node that one more publish of a growing product takes.
fn calls_of_the_next(node: &penstock_publish::memory::MemoryRegistry, number: usize) -> u64 {
    let build = tree([("stays", Node::File(noise(1, 200_000))), ("changes", Node::File(noise(number as u64, 3_000)))]);
    let before = node.calls();
    publish_tree(&build, &number.to_string(), node).expect("published");
    node.calls() - before
}

#[test]
fn a_long_history_costs_no_more_than_a_short_one() {
    let node = node();
    let calls: Vec<u64> = (100..150).map(|number| calls_of_the_next(&node, number)).collect();
    assert_eq!(calls[30], calls[49], "{calls:?}");
}

#[test]
fn what_a_channel_offers_is_reused_however_old_it_is() {
    let node = node();
    let offered = pak(noise(77, 500_000));
    let stable = penstock_core::id::ChannelName::new("stable").expect("name");
    publish_with(&offered, "1", &node, |request| request.channel = Some(stable)).expect("published");
    let forgotten = pak(noise(78, 500_000));
    publish_tree(&forgotten, "2", &node).expect("published");
    for number in 100..117 {
        calls_of_the_next(&node, number);
    }
    assert_eq!(publish_tree(&offered, "3", &node).expect("published").new_content_bytes, 0);
    // The other one is beyond what is read, and stored again: the same packs, so nothing is sent twice.
    let report = publish_tree(&forgotten, "4", &node).expect("published");
    assert_eq!((report.new_content_bytes, report.uploaded_bytes < 100_000), (500_000, true));
    assert_eq!(install(&node, "4"), forgotten);
}

#[test]
fn only_the_products_publisher_may_publish() {
    let node = node();
    publish_tree(&pak(Vec::new()), "1", &node).expect("published");
    let stranger = |request: &mut penstock_publish::PublishRequest| {
        request.keys = vec![SecretKey::from_seed(&[8; 32])];
    };
    assert!(matches!(publish_with(&pak(Vec::new()), "2", &node, stranger), Err(PublishError::Publisher { .. })));
    let nowhere = penstock_publish::memory::MemoryRegistry::with_product(
        &penstock_core::id::ProductId::new("other").expect("name"),
    );
    assert!(matches!(publish_tree(&pak(Vec::new()), "1", &nowhere), Err(PublishError::NoProduct(_))));
}

fn rule(name: &str, group: &str) -> ComponentRule {
    ComponentRule {
        name: ComponentName::new(name).expect("name"),
        pattern: format!("{name}/").parse().expect("pattern"),
        group: AccessGroup::new(group).expect("group"),
        optional: true,
    }
}

/// Component and group of every pack, as registered: one each.
fn pack_owners(node: &penstock_publish::memory::MemoryRegistry, text: &str) -> BTreeMap<BlobId, String> {
    let packs: BTreeSet<_> = packs(node).into_iter().map(|(blob, _)| blob).collect();
    let release = node.registration(&product(), &Version::new(text).expect("name")).expect("registered");
    let mut owners = BTreeMap::new();
    for member in release.members.iter().filter(|member| packs.contains(&member.blob)) {
        let before = owners.insert(member.blob, format!("{} {}", member.component, member.group));
        assert_eq!(before, None, "pack {} is listed twice", member.blob);
    }
    owners
}

#[test]
fn content_of_different_audiences_never_shares_a_pack_and_the_base_is_everyones() {
    let node = node();
    let secret = noise(5, 300_000);
    let shared = noise(6, 300_000);
    let first = tree([
        ("common", Node::File(shared.clone())),
        ("dlc/secret", Node::File(secret.clone())),
        ("dlc/common", Node::File(shared.clone())),
        ("beta/common", Node::File(shared.clone())),
        ("beta/secret", Node::File(secret.clone())),
        ("lang/common", Node::File(shared.clone())),
        ("lang/secret", Node::File(secret.clone())),
        ("hires/secret", Node::File(secret.clone())),
    ]);
    let rules = || vec![rule("dlc", "owners"), rule("beta", "testers"), rule("lang", "base"), rule("hires", "owners")];
    publish_with(&first, "1", &node, |request| request.components = rules()).expect("published");
    assert_eq!(install(&node, "1"), first);
    let indexes = packs(&node);
    let stored = |component: &str, group: &str| -> u64 {
        let mine = indexes.iter().map(|(_, index)| index);
        let mine = mine.filter(|index| index.component.as_str() == component && index.group.as_str() == group);
        mine.flat_map(|index| &index.frames).map(|frame| u64::from(frame.content_bytes)).sum()
    };
    let audiences = [("base", "base"), ("dlc", "owners"), ("beta", "testers"), ("lang", "base"), ("hires", "owners")];
    for (component, group) in audiences {
        assert_eq!(stored(component, group), 300_000, "{component} {group} has what is its own, and no more");
    }
    assert_eq!(BTreeSet::from_iter(pack_owners(&node, "1").into_values()).len(), audiences.len());
    // The secret becomes everyone's: it must be stored for everyone, not read out of the owners' pack.
    let second = tree([("now-public", Node::File(secret.clone())), ("dlc/common", Node::File(shared.clone()))]);
    let report = publish_with(&second, "2", &node, |request| request.components = vec![rule("dlc", "owners")])
        .expect("published");
    assert_eq!(install(&node, "2"), second);
    assert_eq!(report.new_content_bytes, 300_000);
    let owners = BTreeSet::from_iter(pack_owners(&node, "2").into_values());
    assert_eq!(owners, BTreeSet::from(["base base".to_owned(), "dlc owners".to_owned()]));
    // What two components have of a base that lacks it now is still the base's.
    let third = tree([
        ("other", Node::File(b"other".to_vec())),
        ("dlc/common", Node::File(shared.clone())),
        ("lang/common", Node::File(shared)),
        ("lang/secret", Node::File(secret)),
    ]);
    let rules = || vec![rule("dlc", "owners"), rule("lang", "base")];
    let report = publish_with(&third, "3", &node, |request| request.components = rules()).expect("published");
    assert_eq!(install(&node, "3"), third);
    assert_eq!(report.new_content_bytes, 5, "the base's pack serves both");
    assert!(pack_owners(&node, "3").into_values().all(|owner| owner != "dlc owners"));
}

/// What a component was once read by everybody for stays readable to its buyers; not the other way round.
#[test]
fn a_component_that_changes_its_group_reuses_only_what_its_new_audience_may_read() {
    let node = node();
    let build = tree([("dlc/data", Node::File(noise(5, 300_000))), ("common", Node::File(b"common".to_vec()))]);
    let publish = |version: &str, group: &str| {
        publish_with(&build, version, &node, |request| request.components = vec![rule("dlc", group)])
            .expect("published")
    };
    publish("1", "base");
    assert_eq!(publish("2", "owners").new_content_bytes, 0, "who buys it may read what was free");
    assert_eq!(publish("3", "base").new_content_bytes, 0, "the free pack is still there");
    assert_eq!(publish("4", "testers").new_content_bytes, 0);
    for version in ["1", "2", "3", "4"] {
        assert_eq!(install(&node, version), build, "{version}");
    }
    node.withdraw(&product(), &version("1"));
    node.withdraw(&product(), &version("3"));
    assert_eq!(publish("5", "base").new_content_bytes, 300_000, "only buyers' releases are left to reuse");
}

/// The same release once more lists the same blobs, or control would call it another one.
#[test]
fn a_release_lists_the_same_blobs_when_it_is_published_again() {
    let node = node();
    let content = noise(5, 300_000);
    let dlc = |path: &str| tree([(path, Node::File(content.clone())), ("a", Node::File(b"a".to_vec()))]);
    let rules = |request: &mut penstock_publish::PublishRequest| request.components = vec![rule("dlc", "owners")];
    publish_tree(&dlc("data"), "1", &node).expect("published");
    publish_with(&dlc("dlc/data"), "2", &node, rules).expect("published");
    let before = node.registration(&product(), &version("2")).expect("registered").members;
    node.renew_channel_key(9);
    assert!(publish_with(&dlc("dlc/data"), "2", &node, rules).expect("the same").already_published);
    assert_eq!(node.registration(&product(), &version("2")).expect("registered").members, before);
}

#[test]
fn alike_components_of_different_audiences_have_parts_of_their_own() {
    let node = node();
    let same = noise(6, 100_000);
    let files = [("a", Node::File(same.clone())), ("dlc/a", Node::File(same.clone())), ("lang/a", Node::File(same))];
    let build = tree(files);
    let rules = || vec![rule("dlc", "owners"), rule("lang", "base")];
    publish_with(&build, "1", &node, |request| request.components = rules()).expect("published");
    assert_eq!(install(&node, "1"), build);
    let parts: BTreeSet<BlobId> =
        root(&node, "1").components.iter().map(|component| component.chunks[0].blob).collect();
    assert_eq!(parts.len(), 3);
    // A folder that becomes another component has another tree part, though its list of files is the same.
    let moved = [ComponentRule { name: ComponentName::new("texts").expect("name"), ..rule("lang", "base") }];
    let moved = || [vec![rule("dlc", "owners")], moved.to_vec()].concat();
    publish_with(&build, "2", &node, |request| request.components = moved()).expect("published");
    let tree_of = |text, name: &str| -> BlobId {
        let components = root(&node, text).components;
        components.iter().find(|component| component.name.as_str() == name).expect("there").tree[0].blob
    };
    assert_ne!(tree_of("1", "lang"), tree_of("2", "texts"));
    assert_eq!(tree_of("1", "dlc"), tree_of("2", "dlc"));
}
