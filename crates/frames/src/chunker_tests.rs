//! Cuts: frozen vectors, a slow reference, and independence of how the file is read.

use super::*;
use fastcdc::v2020::get_gear_with_seed;
use proptest::prelude::*;

/// BLAKE3's output stream for the empty input: bytes that any language can make.
fn stream(length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

fn cut_all(cutter: &Cutter, mut content: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let Some(length) = cutter.next(content, Tail::End) {
        lengths.push(length);
        content = &content[length..];
    }
    lengths
}

fn small() -> Chunker {
    Chunker { min_bytes: 64, target_bytes: 256, max_bytes: 1024, ..Chunker::default() }
}

/// FastCDC byte by byte, as the paper's first listing: no pairs, no shifted tables.
fn slow_cut(chunker: &Chunker, content: &[u8]) -> usize {
    let (gear, _) = get_gear_with_seed(0);
    let (mask_small, mask_large) = select_masks(chunker.target_bytes as usize, Normalization::Level1);
    let length = content.len().min(chunker.max_bytes as usize);
    let mut hash = 0u64;
    for (index, byte) in content.iter().enumerate().take(length & !1).skip(chunker.min_bytes as usize) {
        hash = (hash << 1).wrapping_add(gear[usize::from(*byte)]);
        let center = (chunker.target_bytes as usize).min(length) & !1;
        let mask = if index < center { mask_small } else { mask_large };
        if hash & mask == 0 {
            return index;
        }
    }
    length
}

#[test]
fn the_default_cuts_are_frozen() {
    let cutter = Cutter::new(&Chunker::default()).expect("default");
    assert_eq!(cut_all(&cutter, &stream(1 << 20)), VECTOR_DEFAULT_1_MIB);
    assert_eq!(cut_all(&cutter, &vec![0; 600_000]), [262_144, 262_144, 75_712], "zeros are cut at the largest size");
    assert_eq!(cut_all(&cutter, &stream(16 * 1024)), [16 * 1024], "the smallest size is never cut");
    assert_eq!(cut_all(&cutter, b""), [0usize; 0]);
}

/// 16/64/256 KiB over the first mebibyte of the stream.
const VECTOR_DEFAULT_1_MIB: [usize; 14] =
    [32_798, 100_912, 40_249, 68_411, 152_004, 75_528, 61_313, 86_054, 69_684, 80_169, 58_517, 51_479, 153_692, 17_766];

#[test]
fn the_published_vector_of_the_algorithm_holds() {
    // fastcdc crate, v2020, test_cut_all_zeros: 64/256/1024 over 10,240 zeros.
    let cutter = Cutter::new(&small()).expect("small");
    assert_eq!(cut_all(&cutter, &[0; 10_240]), [1024; 10]);
}

#[test]
fn parameters_that_the_algorithm_does_not_take_are_refused() {
    let with = |change: fn(&mut Chunker)| {
        let mut chunker = Chunker::default();
        change(&mut chunker);
        Cutter::new(&chunker).expect_err("bad parameters")
    };
    assert_eq!(with(|c| c.algorithm = 2), ChunkerError::Algorithm(2));
    assert!(matches!(with(|c| c.min_bytes = 16_385), ChunkerError::Sizes { .. }), "odd");
    assert!(matches!(with(|c| c.min_bytes = 0), ChunkerError::Sizes { .. }));
    assert!(matches!(with(|c| c.max_bytes = 32 << 20), ChunkerError::Sizes { .. }));
    assert!(matches!(with(|c| c.target_bytes = 512 * 1024), ChunkerError::Sizes { .. }));
}

proptest! {
    #[test]
    fn cuts_are_those_of_the_slow_reference(content in proptest::collection::vec(0u8..8, 0..6000)) {
        let cutter = Cutter::new(&small()).expect("small");
        let mut rest = content.as_slice();
        while let Some(length) = cutter.next(rest, Tail::End) {
            prop_assert_eq!(length, slow_cut(&small(), rest));
            rest = &rest[length..];
        }
    }

    #[test]
    fn cuts_do_not_depend_on_how_much_is_at_hand(
        content in proptest::collection::vec(any::<u8>(), 0..6000),
        window in 1024usize..3000,
    ) {
        let cutter = Cutter::new(&small()).expect("small");
        let (mut lengths, mut start) = (Vec::new(), 0);
        while start < content.len() {
            let end = (start + window).min(content.len());
            let tail = if end == content.len() { Tail::End } else { Tail::More };
            let length = cutter.next(&content[start..end], tail).expect("the window holds a largest chunk");
            lengths.push(length);
            start += length;
        }
        prop_assert_eq!(lengths, cut_all(&cutter, &content));
    }
}
