//! Where parts end: sizes, bounds, and how little a change moves.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn hash(number: u64) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

/// Splits items as `component` does.
fn split(items: &[u64], before: Option<u32>) -> Vec<Vec<u64>> {
    let splitter = Splitter::new(items.len() as u64, before);
    let mut parts = vec![Vec::new()];
    for item in items {
        let part = parts.last_mut().expect("never empty");
        part.push(*item);
        if splitter.ends_here(part.len(), &hash(*item)) {
            parts.push(Vec::new());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[test]
fn part_sizes_follow_the_square_root() {
    for (items, target) in [(1, 64), (2_600, 64), (10_000, 128), (160_000, 512), (1_600_000, 1024), (100_000_000, 1024)]
    {
        assert_eq!(Splitter::new(items, None).target, target, "{items}");
    }
    // The size of the release before stays while it is near.
    assert_eq!(Splitter::new(17_000, Some(160)).target, 128);
    assert_eq!(Splitter::new(16_000, Some(320)).target, 256);
    assert_eq!(Splitter::new(16_000, Some(3000)).target, 128);
}

#[test]
fn parts_average_about_their_target() {
    let items: Vec<u64> = (0..200_000).collect();
    let parts = split(&items, None);
    let average = items.len() / parts.len();
    assert!((512..=768).contains(&average), "{average}");
    assert!(parts.iter().all(|part| part.len() <= 4 * 512));
}

#[test]
fn a_hundred_gigabyte_build_with_one_changed_byte_costs_about_a_hundred_kilobytes_of_manifest() {
    // 100 GB in chunks of 75 KB; 48 bytes a part in the root, 37 bytes a chunk in its part.
    let chunks = 1_340_000u64;
    let average = Splitter::new(chunks, None).target * 5 / 4;
    let cost = chunks / average * 48 + average * 37;
    assert!(cost < 110_000, "{cost}");
}

proptest! {
    #[test]
    fn an_edit_moves_few_parts(at in 0usize..9_000, remove in 0usize..20, insert in 0u64..20) {
        let old: Vec<u64> = (0..10_000).collect();
        let mut new = old.clone();
        new.splice(at..at + remove, (0..insert).map(|number| 1_000_000 + number));
        let old_parts: HashSet<Vec<u64>> = split(&old, None).into_iter().collect();
        let changed = split(&new, Some(160)).into_iter().filter(|part| !old_parts.contains(part)).count();
        // The part of the edit, and those after it until a boundary is hit again.
        prop_assert!(changed <= 6, "{} parts changed", changed);
    }
}
