//! RFC 9110 section 14, case by case, and the parser against a slow obvious reference.

#![expect(clippy::cast_possible_truncation, reason = "test sizes are small")]

use super::*;
use proptest::prelude::*;

const SIZE: BlobSize = BlobSize(10_000);

fn answer(header: &str, size: BlobSize) -> RangeAnswer {
    RangeSpec::parse(header.as_bytes()).map_or(RangeAnswer::Whole, |spec| spec.answer(size))
}

fn parts(header: &str, size: BlobSize) -> Vec<(u64, u64)> {
    match answer(header, size) {
        RangeAnswer::Parts(parts) => parts.iter().map(|range| (range.start(), range.end())).collect(),
        other => panic!("{header:?} gave {other:?}"),
    }
}

/// Section 14.1.2, the examples for a representation of 10,000 bytes.
#[test]
fn examples_of_section_14_1_2() {
    assert_eq!(parts("bytes=0-499", SIZE), [(0, 500)], "the first 500 bytes");
    assert_eq!(parts("bytes=500-999", SIZE), [(500, 1000)], "the second 500 bytes");
    assert_eq!(parts("bytes=-500", SIZE), [(9500, 10_000)], "the final 500 bytes");
    assert_eq!(parts("bytes=9500-", SIZE), [(9500, 10_000)], "the final 500 bytes, from a position");
    assert_eq!(parts("bytes=0-0,-1", SIZE), [(0, 1), (9999, 10_000)], "the first and last bytes only");
    assert_eq!(parts("bytes=0-999, 4500-5499, -1000", SIZE), [(0, 1000), (4500, 5500), (9000, 10_000)]);
    assert_eq!(parts("bytes=500-600,601-999", SIZE), [(500, 1000)], "adjacent ranges are merged");
    assert_eq!(parts("bytes=500-700,601-999", SIZE), [(500, 1000)], "overlapping ranges are merged");
}

/// Section 14.1.2: a last-pos at or behind the end, and a suffix longer than the representation, mean the rest of it.
#[test]
fn ranges_are_cut_at_the_end() {
    assert_eq!(parts("bytes=9999-20000", SIZE), [(9999, 10_000)]);
    assert_eq!(parts("bytes=0-9999", SIZE), [(0, 10_000)], "all of it was asked for as a range: 206, not 200");
    assert_eq!(parts("bytes=0-", SIZE), [(0, 10_000)]);
    assert_eq!(parts("bytes=-20000", SIZE), [(0, 10_000)]);
}

/// Section 14.1.2: satisfiable if one first-pos is inside or one suffix-length is not zero; else 416 (section 15.5.17).
#[test]
fn unsatisfiable_only_if_no_range_is_inside() {
    assert_eq!(answer("bytes=10000-", SIZE), RangeAnswer::Unsatisfiable);
    assert_eq!(answer("bytes=10000-10001,20000-", SIZE), RangeAnswer::Unsatisfiable);
    assert_eq!(answer("bytes=-0", SIZE), RangeAnswer::Unsatisfiable);
    assert_eq!(parts("bytes=10000-,5-5", SIZE), [(5, 6)]);
    assert_eq!(parts("bytes=-0,5-5", SIZE), [(5, 6)]);
}

/// Section 14.1.2 again: an empty representation has no first byte, but it does have a suffix.
#[test]
fn the_empty_blob() {
    let empty = BlobSize(0);
    assert_eq!(answer("bytes=0-", empty), RangeAnswer::Unsatisfiable);
    assert_eq!(answer("bytes=0-0", empty), RangeAnswer::Unsatisfiable);
    assert_eq!(answer("bytes=-0", empty), RangeAnswer::Unsatisfiable);
    assert_eq!(answer("bytes=-1", empty), RangeAnswer::Whole);
    assert_eq!(answer("bytes=0-,-1", empty), RangeAnswer::Whole);
}

/// Section 14.1: unit names are case-insensitive; section 14.2: an unknown unit is ignored.
#[test]
fn units() {
    assert_eq!(parts("Bytes=1-2", SIZE), [(1, 3)]);
    assert_eq!(parts("BYTES=1-2", SIZE), [(1, 3)]);
    for other in ["seconds=1-2", "byte=1-2", "bytes =1-2", " bytes=1-2", "=1-2", "1-2", "", "bytes", "bytes:1-2"] {
        assert_eq!(answer(other, SIZE), RangeAnswer::Whole, "{other:?}");
    }
}

/// Section 14.1.1: what is not a range-set of int-ranges and suffix-ranges is invalid; section 14.2: and ignored.
#[test]
fn malformed_headers_are_ignored() {
    for bad in [
        "bytes=",
        "bytes=,",
        "bytes= , ,",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=2-1",
        "bytes=1-2-3",
        "bytes=--1",
        "bytes=1--2",
        "bytes=+1-2",
        "bytes=1-+2",
        "bytes=0x1-2",
        "bytes=1.0-2",
        "bytes=1 -2",
        "bytes=1- 2",
        "bytes=1-2;3-4",
        "bytes=1-2,x",
        "bytes=5-4,0-1",
        "bytes=\u{663}-4",
        "bytes==1-2",
        "bytes=1-2\n",
        "bytes=*",
    ] {
        assert_eq!(answer(bad, SIZE), RangeAnswer::Whole, "{bad:?}");
    }
}

/// Section 5.6.1.2: empty list elements and optional whitespace around commas are accepted.
#[test]
fn lists_may_be_untidy() {
    assert_eq!(parts("bytes=,,1-2 ,\t, 5-6,", SIZE), [(1, 3), (5, 7)]);
    assert_eq!(parts("bytes= 1-2", SIZE), [(1, 3)]);
    assert_eq!(parts("bytes=1-2\t", SIZE), [(1, 3)]);
}

/// Section 14.2 lets us choose; FIELD-NOTES: others drop, truncate or fail on these.
#[test]
fn numbers_saturate() {
    assert_eq!(parts("bytes=0-18446744073709551615", SIZE), [(0, 10_000)]);
    assert_eq!(parts("bytes=0-18446744073709551616", SIZE), [(0, 10_000)]);
    assert_eq!(parts("bytes=-99999999999999999999999999", SIZE), [(0, 10_000)]);
    assert_eq!(answer("bytes=18446744073709551616-", SIZE), RangeAnswer::Unsatisfiable);
    assert_eq!(
        answer("bytes=99999999999999999999-99999999999999999999", BlobSize(u64::MAX)),
        RangeAnswer::Unsatisfiable
    );
    assert_eq!(parts("bytes=00000000000000000000000000001-2", SIZE), [(1, 3)]);
}

/// Section 15.3.7.2: parts in the order asked for; section 14.2: coalescing; and never over a gap.
#[test]
fn order_is_kept_and_gaps_are_never_merged() {
    assert_eq!(parts("bytes=900-999,0-99", SIZE), [(900, 1000), (0, 100)]);
    assert_eq!(parts("bytes=900-999,0-99,1000-1009", SIZE), [(900, 1010), (0, 100)], "stands where its first stood");
    assert_eq!(parts("bytes=0-0,2-2,4-4", SIZE), [(0, 1), (2, 3), (4, 5)], "a gap of one byte stays a gap");
    assert_eq!(parts("bytes=5-5,5-5,5-5", SIZE), [(5, 6)]);
    assert_eq!(parts("bytes=0-,-1,5-6", SIZE), [(0, 10_000)]);
}

#[test]
fn too_many_ranges_get_the_whole_blob() {
    let header = |count: u64| {
        let list: Vec<_> = (0..count).map(|i| format!("{}-{}", 2 * i, 2 * i)).collect();
        format!("bytes={}", list.join(","))
    };
    assert_eq!(parts(&header(RANGES_MAX as u64), SIZE).len(), RANGES_MAX);
    assert_eq!(answer(&header(RANGES_MAX as u64 + 1), SIZE), RangeAnswer::Whole);
    let long = format!("bytes={}1-2", ",".repeat(RANGE_HEADER_BYTES_MAX));
    assert_eq!(answer(&long, SIZE), RangeAnswer::Whole);
}

fn body(layout: &Multipart, content: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for index in 0.. {
        match layout.stretch(index) {
            Some(Stretch::Text(text)) => body.extend_from_slice(text.as_bytes()),
            Some(Stretch::Data(range)) => {
                body.extend_from_slice(&content[range.start() as usize..range.end() as usize]);
            }
            None => return body,
        }
    }
    body
}

/// Section 14.6, the shape of the example.
#[test]
fn multipart_layout() {
    let content = b"0123456789";
    let blob = BlobId::of(content);
    let RangeAnswer::Parts(parts) = answer("bytes=0-1,8-9", BlobSize(10)) else { panic!("two parts") };
    let layout = Multipart::new(blob, BlobSize(10), parts);
    let name = &blob.to_string()[..32];
    let expected = format!(
        "--{name}\r\ncontent-type: application/octet-stream\r\ncontent-range: bytes 0-1/10\r\n\r\n01\r\n\
         --{name}\r\ncontent-type: application/octet-stream\r\ncontent-range: bytes 8-9/10\r\n\r\n89\r\n\
         --{name}--\r\n"
    );
    assert_eq!(body(&layout, content), expected.as_bytes());
    assert_eq!(layout.total_bytes(), expected.len() as u64);
    assert_eq!(layout.content_type(), format!("multipart/byteranges; boundary={name}"));
    assert_eq!(layout.stretch(5), None);
}

/// A property once found that the sum overflowed for a size that the parser takes and no store has.
#[test]
fn lengths_saturate() {
    let RangeAnswer::Parts(parts) = answer("bytes=0-", BlobSize(u64::MAX)) else { panic!("one part") };
    assert_eq!(Multipart::new(BlobId::of(b""), BlobSize(u64::MAX), parts).total_bytes(), u64::MAX);
}

/// The slow obvious version: mark every wanted byte, then read the runs off; the order is that of the first range
/// that wanted any byte of the run.
fn reference(list: &[(Option<u64>, Option<u64>)], size: u64) -> Option<Vec<(u64, u64)>> {
    let mut owner: Vec<Option<usize>> = vec![None; size as usize];
    for (place, &(first, last)) in list.iter().enumerate().rev() {
        let (start, end) = match (first, last) {
            (Some(first), Some(last)) => (u128::from(first), u128::from(last) + 1),
            (Some(first), None) => (u128::from(first), u128::from(size)),
            (None, Some(suffix)) => (u128::from(size.saturating_sub(suffix)), u128::from(size)),
            (None, None) => return None,
        };
        for position in start..end.min(u128::from(size)) {
            owner[position as usize] = Some(place);
        }
    }
    let mut runs: Vec<(usize, u64, u64)> = Vec::new();
    for (position, place) in owner.iter().enumerate() {
        let (position, Some(place)) = (position as u64, *place) else { continue };
        match runs.last_mut() {
            Some((earliest, _, end)) if *end == position => {
                *end += 1;
                *earliest = (*earliest).min(place);
            }
            _ => runs.push((place, position, position + 1)),
        }
    }
    runs.sort_unstable_by_key(|&(place, ..)| place);
    Some(runs.into_iter().map(|(_, start, end)| (start, end)).collect())
}

fn one_range() -> impl Strategy<Value = (Option<u64>, Option<u64>)> {
    let near = prop_oneof![0u64..80, 0u64..80, Just(u64::MAX)];
    let pair = (near.clone(), near.clone()).prop_map(|(a, b)| (Some(a.min(b)), Some(a.max(b))));
    prop_oneof![pair, near.clone().prop_map(|a| (Some(a), None)), near.prop_map(|n| (None, Some(n)))]
}

fn written(list: &[(Option<u64>, Option<u64>)]) -> String {
    let number = |n: Option<u64>| n.map_or(String::new(), |n| n.to_string());
    let list: Vec<_> = list.iter().map(|&(a, b)| format!("{}-{}", number(a), number(b))).collect();
    format!("bytes={}", list.join(","))
}

proptest! {
    #[test]
    fn equals_the_reference(list in proptest::collection::vec(one_range(), 1..12), size in 0u64..64) {
        let expected = reference(&list, size).expect("well-formed");
        match answer(&written(&list), BlobSize(size)) {
            RangeAnswer::Parts(parts) => {
                let got: Vec<_> = parts.iter().map(|range| (range.start(), range.end())).collect();
                prop_assert_eq!(got, expected);
            }
            RangeAnswer::Whole => prop_assert!(size == 0 && list.iter().any(|one| matches!(one, (None, Some(1..))))),
            RangeAnswer::Unsatisfiable => prop_assert!(expected.is_empty()),
        }
    }

    /// Whatever the text: parts are inside the blob, apart from each other, and their sum is at most the blob.
    #[test]
    fn any_text_gives_a_bounded_answer(
        text in prop_oneof![".{0,60}", "[bB]ytes=[0-9, \\-]{0,80}"],
        size in prop_oneof![Just(0u64), 1u64..1000, Just(u64::MAX)],
    ) {
        if let RangeAnswer::Parts(parts) = answer(&text, BlobSize(size)) {
            let mut sorted: Vec<_> = parts.iter().collect();
            sorted.sort();
            prop_assert!(sorted.iter().all(|range| range.end() <= size));
            prop_assert!(sorted.windows(2).all(|pair| pair[0].end() < pair[1].start()), "a gap between any two");
            prop_assert!(parts.content_bytes() <= size);
            prop_assert!(parts.count() <= RANGES_MAX);
            let total = Multipart::new(BlobId::of(b"x"), BlobSize(size), parts.clone()).total_bytes();
            let around = PART_HEAD_BYTES_MAX * (parts.count() as u64 + 1);
            prop_assert!(u128::from(total) <= u128::from(size) + u128::from(around));
        }
    }

    #[test]
    fn multipart_length_is_exact(list in proptest::collection::vec(one_range(), 1..12), size in 1u64..20_000) {
        let content: Vec<u8> = (0..size).map(|i| i.to_le_bytes()[0]).collect();
        if let RangeAnswer::Parts(parts) = answer(&written(&list), BlobSize(size)) {
            let layout = Multipart::new(BlobId::of(&content), BlobSize(size), parts);
            prop_assert_eq!(body(&layout, &content).len() as u64, layout.total_bytes());
        }
    }
}
