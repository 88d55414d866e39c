//! `/outboard` and `/verified`, held against `core::tree` (which is held against `bao-tree`).

use crate::rig::{Over, Rig, content, read_head, send};
use penstock_core::blob::{BlobId, BlobSize, ByteRange};
use penstock_core::catalog::CatalogChange;
use penstock_core::limits::VERIFIED_BYTES_MAX;
use penstock_core::tree::{Outboard, OutboardBuilder, RangeDecoder};
use penstock_edge::serve::PlainTokens;
use penstock_store::Reading;
use std::io::Read as _;

const SIZES: [usize; 7] = [0, 1, 16_384, 16_385, 65_537, 700_001, 3_000_000];

/// What a client makes of a verified stream: every offset with its verified bytes.
fn decode(blob: BlobId, range: Option<ByteRange>, size: usize, mut stream: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut decoder = RangeDecoder::new(blob, range, Some(BlobSize(size as u64)));
    let mut pieces = Vec::new();
    while let Some(verified) = decoder.feed(&mut stream).expect("verified") {
        pieces.push((verified.offset, verified.bytes.to_vec()));
    }
    decoder.finish().expect("complete");
    assert!(stream.is_empty(), "{} bytes too many", stream.len());
    pieces
}

#[test]
fn outboards_prove_their_blobs() {
    for reading in [Reading::Map, Reading::Pread] {
        let rig = Rig::with(Over::Tls, reading, PlainTokens::Refuse);
        for size in SIZES {
            let content = content(size);
            let blob = rig.put_open(&content);
            let path = format!("/v1/blobs/{blob}/outboard");
            let answer = rig.get(&path, &[]);
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
            assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
            let etag = answer.header("etag").expect("a tag").to_owned();
            assert_ne!(etag, format!("\"{blob}\""), "other bytes have another tag");
            assert_eq!(rig.get(&path, &[("if-none-match", &etag)]).status, 304);
            let outboard = Outboard::check(blob, &answer.body).expect("it leads up to the name");
            assert_eq!(outboard.shape().size(), BlobSize(size as u64));
            let mut builder = OutboardBuilder::new();
            builder.update(&content);
            assert_eq!(builder.finish().blob, blob);
            assert!(content.chunks(16_384).enumerate().all(|(index, group)| outboard.holds(index as u64, group)));
        }
    }
}

#[test]
fn verified_streams_verify() {
    for (over, reading) in [(Over::Plain, Reading::Map), (Over::Tls, Reading::Map), (Over::Plain, Reading::Pread)] {
        let rig = Rig::with(over, reading, PlainTokens::Refuse);
        for size in SIZES {
            let content = content(size);
            let blob = rig.put_open(&content);
            for (query, start, end) in [
                ("", 0, u64::MAX),
                ("?start=0&end=1", 0, 1),
                ("?start=16383&end=16385", 16_383, 16_385),
                ("?start=40000&end=600000", 40_000, 600_000),
                ("?start=650000", 650_000, u64::MAX),
                ("?start=99999999999&end=99999999999999999999999", 99_999_999_999, u64::MAX),
            ] {
                let answer = rig.get(&format!("/v1/blobs/{blob}/verified{query}"), &[]);
                assert_eq!(answer.status, 200, "{size} {query}");
                let range = if query.is_empty() { None } else { ByteRange::new(start, end) };
                let pieces = decode(blob, range, size, &answer.body);
                for (offset, bytes) in &pieces {
                    let offset = usize::try_from(*offset).expect("small");
                    assert!(content[offset..offset + bytes.len()] == bytes[..], "{size} {query}");
                }
                let got: u64 = pieces.iter().map(|(_, bytes)| bytes.len() as u64).sum();
                let wanted = end.min(size as u64).saturating_sub(start.min(size as u64));
                assert!(got >= wanted, "{size} {query}: {got} of {wanted} bytes");
            }
        }
    }
}

/// A stream is as long as what was asked for: there is no bound but the blob's own.
#[test]
fn more_than_a_clients_stretch_is_proved_at_once() {
    let rig = Rig::new();
    let size = VERIFIED_BYTES_MAX + 20_000;
    let zeros = &mut std::io::repeat(0).take(size);
    let blob = rig.store.import_reader(zeros).expect("sealed").blob;
    rig.catalog.apply(CatalogChange::LooseBlob { blob, open: true });
    for query in ["", "?start=0", "?start=1&end=99999999999"] {
        let mut socket = rig.connect();
        send(&mut socket, "GET", &format!("/v1/blobs/{blob}/verified{query}"), &[]);
        let head = read_head(&mut socket).expect("a head");
        assert_eq!(head.status, 200, "{query}");
        let length: u64 = head.header("content-length").expect("a length").parse().expect("a number");
        assert!(length > size);
    }
}

#[test]
fn stretches_that_are_refused() {
    let rig = Rig::new();
    let blob = rig.put_open(b"x");
    for query in ["start=2&end=1", "start=1&end=1", "start=a", "end=-1", "start=1&start=2"] {
        rig.get(&format!("/v1/blobs/{blob}/verified?{query}"), &[]).assert_problem(400, "bad_request");
    }
}
