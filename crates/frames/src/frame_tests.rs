//! Frames: vectors, hostile input, round trips.

use super::*;
use proptest::prelude::*;
use zstd::zstd_safe::{CCtx, CParameter};

fn run(kind: FrameKind, stored: &[u8], content_bytes: u32, bases: &[&[u8]]) -> Result<Vec<u8>, FrameError> {
    let mut out = Vec::new();
    decode_frame(kind, stored, content_bytes, bases, &mut out).map(|()| out)
}

fn delta(content: &[u8], prefix: &[u8]) -> Vec<u8> {
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(9)).expect("level");
    context.set_parameter(CParameter::WindowLog(23)).expect("window");
    context.set_parameter(CParameter::ContentSizeFlag(true)).expect("size");
    context.ref_prefix(prefix).expect("prefix");
    let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(content.len()));
    context.compress2(&mut out, content).expect("compress");
    out
}

/// A zstd frame written by hand from RFC 8878: single segment, content size 4, one raw last block "abcd".
const VECTOR_ZSTD_ABCD: [u8; 13] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 4, 0x21, 0, 0, b'a', b'b', b'c', b'd'];
/// The same head, content size 1,000 as a 2-byte field (less 256), one run-length block of 1,000 times "z".
const VECTOR_ZSTD_RUN: [u8; 11] = [0x28, 0xb5, 0x2f, 0xfd, 0x60, 0xe8, 0x02, 0x43, 0x1f, 0, b'z'];

#[test]
fn vectors_decode() {
    assert_eq!(run(FrameKind::Raw, b"abcd", 4, &[]), Ok(b"abcd".to_vec()));
    assert_eq!(run(FrameKind::Raw, b"", 0, &[]), Ok(Vec::new()));
    assert_eq!(run(FrameKind::Zstd, &VECTOR_ZSTD_ABCD, 4, &[]), Ok(b"abcd".to_vec()));
    assert_eq!(run(FrameKind::Zstd, &VECTOR_ZSTD_RUN, 1000, &[]), Ok(vec![b'z'; 1000]));
}

#[test]
fn numbers_are_frozen() {
    for number in 0..100 {
        assert_eq!(FrameKind::from_number(number).number(), number);
        assert_eq!(FrameKind::from_number(number).is_known(), number <= 2);
    }
    assert_eq!(FrameKind::from_number(2), FrameKind::ZstdDelta);
    assert_eq!(FrameKind::from_number(5), FrameKind::Sealed);
}

#[test]
fn kinds_of_later_versions_ask_for_a_newer_launcher() {
    for number in [3, 4, 5, 6, u32::MAX] {
        let error = run(FrameKind::from_number(number), b"abcd", 4, &[]).expect_err("unknown kind");
        assert_eq!(error, FrameError::UpdateLauncher(number));
        assert!(error.to_string().contains("update the launcher"));
    }
}

#[test]
fn bombs_and_lies_are_refused() {
    let over = FRAME_CONTENT_BYTES_MAX + 1;
    assert!(matches!(run(FrameKind::Zstd, &VECTOR_ZSTD_ABCD, over, &[]), Err(FrameError::Limit { .. })));
    let huge = vec![0u8; FRAME_STORED_BYTES_MAX as usize + 1];
    assert!(matches!(run(FrameKind::Raw, &huge, 4, &[]), Err(FrameError::Limit { what: "stored size", .. })));
    assert!(matches!(run(FrameKind::Raw, b"abc", 4, &[]), Err(FrameError::RawLength { expected: 4, found: 3 })));
    // 200 MB of zeros in 20 KB: the head says so, so it is refused before a byte is decoded.
    let bomb = zstd::bulk::compress(&vec![0u8; 200 << 20], 1).expect("compress");
    assert!(matches!(
        run(FrameKind::Zstd, &bomb, 1000, &[]),
        Err(FrameError::Zstd(ZstdError::ContentSize { expected: 1000, .. }))
    ));
    // The run block says 1,001 bytes but the head 1,000.
    let mut lie = VECTOR_ZSTD_RUN;
    lie[7] = 0x4b;
    assert_eq!(run(FrameKind::Zstd, &lie, 1000, &[]), Err(FrameError::Zstd(ZstdError::Damaged)));
}

#[test]
fn bases_belong_to_delta_frames_only() {
    assert!(matches!(run(FrameKind::Raw, b"abcd", 4, &[b"x"]), Err(FrameError::Bases { kind: 0, found: 1 })));
    assert!(matches!(
        run(FrameKind::ZstdDelta, &VECTOR_ZSTD_ABCD, 4, &[]),
        Err(FrameError::Bases { kind: 2, found: 0 })
    ));
    let base = vec![0u8; FRAME_BASES_BYTES_MAX + 1];
    let error = run(FrameKind::ZstdDelta, &VECTOR_ZSTD_ABCD, 4, &[&base]);
    assert!(matches!(error, Err(FrameError::Limit { what: "bases", .. })));
}

#[test]
fn a_delta_against_the_wrong_base_never_passes_for_content() {
    let base: Vec<u8> = (0..50_000u32).map(|i| ((i * i) >> 3).to_le_bytes()[0]).collect();
    let mut content = base.clone();
    content[20_000] ^= 0xff;
    let stored = delta(&content, &base);
    assert!(stored.len() < 200, "a one-byte change costs {} bytes", stored.len());
    let size = u32::try_from(content.len()).expect("small");
    let (left, right) = base.split_at(30_000);
    assert_eq!(run(FrameKind::ZstdDelta, &stored, size, &[left, right]), Ok(content.clone()));
    if let Ok(wrong) = run(FrameKind::ZstdDelta, &stored, size, &[right, left]) {
        assert_ne!(wrong, content);
    }
}

proptest! {
    #[test]
    fn plain_frames_round_trip(content in proptest::collection::vec(any::<u8>(), 0..5000), level in 1..12) {
        let stored = zstd::bulk::compress(&content, level).expect("compress");
        let size = u32::try_from(content.len()).expect("small");
        prop_assert_eq!(run(FrameKind::Zstd, &stored, size, &[]), Ok(content));
    }

    #[test]
    fn hostile_bytes_never_panic(
        number in 0u32..8,
        stored in proptest::collection::vec(any::<u8>(), 0..200),
        size in 0u32..5000,
    ) {
        let base = [1u8, 2, 3];
        let bases: &[&[u8]] = if number == 2 { &[&base] } else { &[] };
        if let Ok(out) = run(FrameKind::from_number(number), &stored, size, bases) {
            prop_assert_eq!(out.len(), size as usize);
        }
    }
}
