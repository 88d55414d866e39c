//! Packs and frames: any index behind a right hash is refused or consistent; any frame decodes to exactly
//! the length that was promised, or not at all.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_frames::frame::{FrameKind, decode_frame};
use penstock_frames::pack::{PackIndex, Trailer};

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, low, high], rest)) = data.split_first_chunk::<3>() else { return };
    if choice & 1 == 0 {
        check_index(u16::from_le_bytes([low, high]), rest);
    } else {
        check_frame(choice, u32::from_le_bytes([low, high, choice >> 4, 0]), rest);
    }
});

/// The fuzzer cannot find hashes, so the trailer is made to fit.
fn check_index(frame_count: u16, index: &[u8]) {
    let Ok(index_bytes) = u32::try_from(index.len()) else { return };
    let trailer =
        Trailer { index_bytes, frame_count: u32::from(frame_count), index_hash: *blake3::hash(index).as_bytes() };
    for payload_bytes in [0, 1000] {
        let Ok(found) = PackIndex::decode(&trailer, payload_bytes, index) else { continue };
        assert_eq!(found.frames.len(), usize::from(frame_count));
        let mut at = 0;
        for frame in &found.frames {
            assert!(frame.offset >= at);
            at = frame.offset + u64::from(frame.stored_bytes);
        }
        assert!(at <= payload_bytes);
    }
    let _ = PackIndex::of(index);
}

fn check_frame(choice: u8, content_bytes: u32, stored: &[u8]) {
    let kind = match choice >> 1 & 3 {
        0 => FrameKind::Raw,
        1 | 2 => FrameKind::Zstd,
        _ => FrameKind::ZstdDelta,
    };
    let base: Vec<u8> = (0..10_000u32).map(|at| (at % 251) as u8).collect();
    let bases: &[&[u8]] = if kind == FrameKind::ZstdDelta { &[&base] } else { &[] };
    let mut out = vec![1, 2, 3];
    match decode_frame(kind, stored, content_bytes, bases, &mut out) {
        Ok(()) => assert_eq!(out.len(), 3 + content_bytes as usize),
        Err(_) => assert_eq!(out, [1, 2, 3], "a failed frame leaves the output as it was"),
    }
}
