//! The tree against `bao-tree`, against itself, and against an adversary's edits.

use bao_tree::io::outboard::PreOrderMemOutboard;
use bao_tree::io::sync::encode_ranges_validated;
use bao_tree::io::{round_up_to_chunks, round_up_to_chunks_groups};
use bao_tree::{BlockSize, ByteRanges};
use proptest::prelude::*;

use super::*;
use crate::blob::BlobId;

const BLOCK: BlockSize = BlockSize::from_chunk_log(4);

/// Sizes at which something changes: chunk, group and subtree boundaries, one less and one more.
const SIZES: [usize; 20] = [
    0, 1, 1023, 1024, 1025, 8192, 16383, 16384, 16385, 17408, 32767, 32768, 32769, 49152, 65536, 65537, 81920, 131072,
    131073, 200_000,
];

fn content(size: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(size).collect()
}

/// Hash and outboard by our builder, fed in pieces of `step` bytes.
fn build(content: &[u8], step: usize) -> (BlobId, Vec<u8>) {
    let mut builder = OutboardBuilder::new();
    let mut spilled = Vec::new();
    for piece in content.chunks(step) {
        builder.update(piece);
        spilled.extend_from_slice(builder.pairs());
        builder.clear_pairs();
    }
    let built = builder.finish();
    assert_eq!(built.size, BlobSize(content.len() as u64));
    spilled.extend_from_slice(&built.pairs);
    let mut outboard = Vec::new();
    write_pre_order::<()>(
        built.size,
        |at, into| {
            let at = usize::try_from(at).expect("fits");
            into.copy_from_slice(&spilled[at..at + into.len()]);
            Ok(())
        },
        |bytes| {
            outboard.extend_from_slice(bytes);
            Ok(())
        },
    )
    .expect("cannot fail");
    (built.blob, outboard)
}

fn encode(content: &[u8], outboard: &[u8], range: Option<ByteRange>) -> Vec<u8> {
    let encoder = RangeEncoder::new(BlobSize(content.len() as u64), range);
    let total = encoder.total_bytes();
    let cut = |from: &[u8], range: ByteRange| {
        from[usize::try_from(range.start()).expect("fits")..usize::try_from(range.end()).expect("fits")].to_vec()
    };
    let mut stream = Vec::new();
    for piece in encoder {
        let bytes = match piece {
            Piece::Size(bytes) => bytes.to_vec(),
            Piece::Pairs(range) => cut(outboard, range),
            Piece::Data(range) => cut(content, range),
        };
        assert_eq!(bytes.len() as u64, piece.len());
        stream.extend_from_slice(&bytes);
    }
    assert_eq!(stream.len() as u64, total);
    stream
}

/// Decodes a stream that arrives in pieces of `step` bytes; the bytes, their offset, and the decoder's last word.
fn decode(decoder: &mut RangeDecoder, stream: &[u8], step: usize) -> Result<(Option<u64>, Vec<u8>), DecodeError> {
    let (mut start, mut out) = (None, Vec::<u8>::new());
    for mut input in stream.chunks(step) {
        while let Some(verified) = decoder.feed(&mut input)? {
            let begin = *start.get_or_insert(verified.offset);
            assert_eq!(verified.offset, begin + out.len() as u64, "verified bytes come in order and without gaps");
            out.extend_from_slice(verified.bytes);
        }
    }
    decoder.finish()?;
    Ok((start, out))
}

fn reference(content: &[u8], range: Option<ByteRange>) -> (blake3::Hash, Vec<u8>, Vec<u8>) {
    let reference = PreOrderMemOutboard::create(content, BLOCK);
    let mut stream = (content.len() as u64).to_le_bytes().to_vec();
    let outboard = [stream.clone(), reference.data.clone()].concat();
    // Behind the end, bao-tree proves the size with the last chunk alone; we never send less than a group.
    let last_group = (content.len() as u64).saturating_sub(1) / GROUP_BYTES * GROUP_BYTES;
    let bytes = range.map_or(0..u64::MAX, |range| range.start().min(last_group)..range.end());
    let ranges = round_up_to_chunks_groups(round_up_to_chunks(&ByteRanges::from(bytes)), BLOCK);
    encode_ranges_validated(content, &reference, &ranges, &mut stream).expect("memory does not fail");
    (reference.root, outboard, stream)
}

#[test]
fn interesting_sizes_agree_with_the_reference() {
    for size in SIZES {
        let content = content(size);
        let (root, outboard, stream) = reference(&content, None);
        for step in [1000, 16384, 70_000, 1 << 20] {
            assert_eq!(build(&content, step), (BlobId::from(root), outboard.clone()), "size {size}, step {step}");
        }
        assert_eq!(encode(&content, &outboard, None), stream, "size {size}");
        let shape = Shape::new(BlobSize(size as u64));
        assert_eq!(shape.outboard_bytes(), outboard.len() as u64);
        let checked = Outboard::check(root.into(), &outboard).expect("sound");
        for index in 0..shape.groups() {
            let group = shape.group(index);
            let group =
                &content[usize::try_from(group.start).expect("fits")..usize::try_from(group.end).expect("fits")];
            assert!(checked.holds(index, group));
            assert!(!checked.holds(index + 1, group));
        }
    }
}

#[test]
fn a_large_outboard_is_laid_out_across_several_turns() {
    // Three times the largest subtree that is turned around in memory, and a bit; the pairs stand in for themselves.
    let groups = 3 * 16_384 + 5;
    let size = BlobSize(groups * GROUP_BYTES - 7);
    let mut post = vec![0; usize::try_from((groups - 1) * PAIR_BYTES).expect("fits")];
    let mut expected = size.0.to_le_bytes().to_vec();
    // Each pair holds its own pre-order number; a plain recursion says where post-order puts it.
    fn place(node: Node, first: u64, post: &mut [u8]) {
        if !node.is_parent() {
            return;
        }
        let at = usize::try_from((first + node.groups - 2) * PAIR_BYTES).expect("fits");
        post[at..at + 8].copy_from_slice(&node.pair.to_le_bytes());
        let (left, right) = node.children();
        place(left, first, post);
        place(right, first + left.groups - 1, post);
    }
    place(Node::root(Shape::new(size)), 0, &mut post);
    for pair in 0..groups - 1 {
        expected.extend_from_slice(&pair.to_le_bytes());
        expected.extend_from_slice(&[0; 56]);
    }
    let mut laid = Vec::new();
    write_pre_order::<()>(
        size,
        |at, into| {
            assert!(into.len() <= 1 << 20, "one read stays below a mebibyte");
            let at = usize::try_from(at).expect("fits");
            into.copy_from_slice(&post[at..at + into.len()]);
            Ok(())
        },
        |bytes| {
            laid.extend_from_slice(bytes);
            Ok(())
        },
    )
    .expect("cannot fail");
    assert!(laid == expected);
}

#[test]
fn the_vectors_of_the_module_docs_hold() {
    let docs = include_str!("mod.rs");
    let mut table = String::from("//! size    root, outboard, stream\n");
    for size in [0, 1, 16384, 16385, 65537, 200_000] {
        let content = content(size);
        let (root, outboard) = build(&content, 4096);
        let stream = encode(&content, &outboard, None);
        table += &format!("//! {size:<7} {root}\n");
        for name in [BlobId::of(&outboard), BlobId::of(&stream)] {
            table += &format!("//!         {name}\n");
        }
    }
    assert!(docs.contains(&table), "the docs lack these vectors:\n{table}");
}

#[test]
fn size_is_proved_only_by_the_last_group() {
    let content = content(200_000);
    let (root, outboard) = build(&content, 1 << 20);
    let first = ByteRange::new(0, 10);
    let mut decoder = RangeDecoder::new(root, first, None);
    decode(&mut decoder, &encode(&content, &outboard, first), 1 << 20).expect("sound");
    assert_eq!((decoder.claimed_size(), decoder.proved_size()), (Some(BlobSize(200_000)), None));
    for range in [None, ByteRange::new(199_999, 200_000), ByteRange::new(u64::MAX - 1, u64::MAX)] {
        let mut decoder = RangeDecoder::new(root, range, None);
        decode(&mut decoder, &encode(&content, &outboard, range), 1 << 20).expect("sound");
        assert_eq!(decoder.proved_size(), Some(BlobSize(200_000)));
    }
}

#[test]
fn a_lie_about_the_size_proves_nothing_and_moves_nothing() {
    let content = content(5 * 16384);
    let (root, outboard) = build(&content, 1 << 20);
    let range = ByteRange::new(16384, 2 * 16384);
    let honest = encode(&content, &outboard, range);
    for claimed in (0..2_000u64).map(|step| step * 1024).chain([u64::MAX, 1 << 40, 5 * 16384 + 1]) {
        let mut stream = honest.clone();
        stream[..8].copy_from_slice(&claimed.to_le_bytes());
        let mut decoder = RangeDecoder::new(root, range, None);
        if let Ok((start, bytes)) = decode(&mut decoder, &stream, 1 << 20) {
            // The path above these bytes happens to be the same: then the bytes are right, and no size is proved.
            assert_eq!((start, bytes.as_slice()), (Some(16384), &content[16384..2 * 16384]), "claimed {claimed}");
            assert_eq!(decoder.proved_size(), None);
        }
        let mut strict = RangeDecoder::new(root, range, Some(BlobSize(5 * 16384)));
        let answer = decode(&mut strict, &stream, 1 << 20);
        assert_eq!(answer.is_ok(), claimed == 5 * 16384, "claimed {claimed}");
    }
}

#[test]
fn the_empty_blob_is_verified_too() {
    let empty = BlobId::of(b"");
    let mut decoder = RangeDecoder::new(empty, None, None);
    assert_eq!(decode(&mut decoder, &[0; 8], 3), Ok((None, Vec::new())));
    assert_eq!(decoder.proved_size(), Some(BlobSize(0)));
    let mut other = RangeDecoder::new(BlobId::of(b"not empty"), None, None);
    assert_eq!(decode(&mut other, &[0; 8], 3), Err(DecodeError::Group { index: 0, offset: 0 }));
}

#[test]
fn errors_name_the_group_and_stay() {
    let content = content(100_000);
    let (root, outboard) = build(&content, 1 << 20);
    let stream = encode(&content, &outboard, None);
    let mut bad = stream.clone();
    let at = bad.len() - 1;
    bad[at] ^= 1;
    let mut decoder = RangeDecoder::new(root, None, None);
    let expected = DecodeError::Group { index: 6, offset: 6 * 16384 };
    assert_eq!(decode(&mut decoder, &bad, 999), Err(expected));
    assert_eq!(decoder.feed(&mut &stream[..]), Err(expected), "a decoder that failed stays failed");
    assert!(!decoder.is_complete());

    let mut decoder = RangeDecoder::new(root, None, None);
    assert_eq!(decode(&mut decoder, &stream[..at], 999), Err(DecodeError::Truncated { group: 6 }));
    let mut decoder = RangeDecoder::new(root, None, None);
    let long = [stream.as_slice(), b"x"].concat();
    assert_eq!(decode(&mut decoder, &long, 999), Err(DecodeError::Trailing));

    let mut bad = outboard.clone();
    bad[8 + 64 + 3] ^= 1;
    assert_eq!(Outboard::check(root, &bad).map(drop), Err(OutboardError::Pair { first: 0, last: 3 }));
    bad.pop();
    let (expected, actual) = (outboard.len() as u64, outboard.len() as u64 - 1);
    assert_eq!(Outboard::check(root, &bad).map(drop), Err(OutboardError::Length { expected, actual }));
    assert_eq!(Outboard::check(root, &bad[..7]).map(drop), Err(OutboardError::Size));
    assert_eq!(Outboard::check(root, &[0xff; 8]).map(drop), Err(OutboardError::Size));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn ranges_agree_with_the_reference_and_round_trip(
        size in prop_oneof![0usize..300_000, proptest::sample::select(SIZES.to_vec())],
        a in 0u64..330_000, b in 0u64..330_000, step in 1usize..50_000,
    ) {
        let content = content(size);
        let range = ByteRange::new(a.min(b), a.max(b));
        let (root, outboard, stream) = reference(&content, range);
        let ours = encode(&content, &outboard, range);
        prop_assert!(ours == stream, "stream differs from the reference");
        let mut decoder = RangeDecoder::new(root.into(), range, Some(BlobSize(size as u64)));
        let (start, bytes) = decode(&mut decoder, &ours, step).expect("sound");
        let from = usize::try_from(range.map_or(0, ByteRange::start)).expect("fits").min(size);
        let to = usize::try_from(range.map_or(u64::MAX, ByteRange::end)).expect("fits").min(size);
        prop_assert!(bytes == content[from..to]);
        prop_assert!(start.is_none_or(|start| start == from as u64));
    }

    #[test]
    fn any_flipped_bit_is_noticed(size in 1usize..150_000, at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let content = content(size);
        let (root, outboard) = build(&content, 1 << 20);
        let mut stream = encode(&content, &outboard, None);
        let at = at.index(stream.len());
        stream[at] ^= 1 << bit;
        let mut decoder = RangeDecoder::new(root, None, None);
        prop_assert!(decode(&mut decoder, &stream, 4096).is_err());
    }

    #[test]
    fn no_input_makes_the_decoder_panic_or_answer(bytes in proptest::collection::vec(any::<u8>(), 0..600), step in 1usize..99) {
        let mut decoder = RangeDecoder::new(BlobId::of(b"something else"), None, None);
        prop_assert!(decode(&mut decoder, &bytes, step).is_err());
    }
}
