//! The `Range` header: whatever the text and the blob's size, the answer stays inside the blob, repeats
//! no byte, and its multipart form has exactly the length it announces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_core::blob::{BlobId, BlobSize, ByteRange};
use penstock_core::limits::RANGES_MAX;
use penstock_core::range::{Multipart, PART_HEAD_BYTES_MAX, Parts, RangeAnswer, RangeSpec, Stretch};

fuzz_target!(|data: &[u8]| {
    let Some((size, header)) = data.split_first_chunk::<8>() else { return };
    let Some(spec) = RangeSpec::parse(header) else { return };
    // Small sizes are where ranges meet the end; the top bits choose between small and large.
    let size = u64::from_le_bytes(*size);
    let size = if size & 1 == 0 { size >> 1 & 0xFFFF } else { size >> 1 };
    if let RangeAnswer::Parts(parts) = spec.answer(BlobSize(size)) {
        check(size, &parts);
        check_multipart(BlobSize(size), parts);
    }
});

fn check(size: u64, parts: &Parts) {
    assert!((1..=RANGES_MAX).contains(&parts.count()));
    assert!(parts.content_bytes() <= size);
    let mut ranges: Vec<ByteRange> = parts.iter().collect();
    assert!(ranges.iter().all(|range| range.end() <= size));
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].end() < pair[1].start()), "ranges touch or overlap");
}

fn check_multipart(size: BlobSize, parts: Parts) {
    let (count, content) = (parts.count() as u64, parts.content_bytes());
    let multipart = Multipart::new(BlobId::of(b"fuzz"), size, parts);
    let stretches = (0..).map_while(|index| multipart.stretch(index));
    let total: u64 = stretches
        .map(|stretch| match stretch {
            Stretch::Text(text) => text.len() as u64,
            Stretch::Data(range) => range.len(),
        })
        .sum();
    assert_eq!(total, multipart.total_bytes());
    assert!(total <= content + (count + 1) * PART_HEAD_BYTES_MAX);
}
