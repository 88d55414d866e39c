//! The verified stream: whatever happens to it on the way, no byte comes out that is not the blob's, at its
//! place; and a stream that nobody touched comes out whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_core::blob::{BlobId, BlobSize, ByteRange};
use penstock_core::tree::{OutboardBuilder, Piece, RangeDecoder, RangeEncoder, write_pre_order};

/// Six groups and a bit: trees of every shape up to seven groups.
const BLOB_BYTES_MAX: usize = 100_000;

fuzz_target!(|data: &[u8]| {
    let Some((head, edits)) = data.split_first_chunk::<8>() else { return };
    let number = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let content: Vec<u8> = (0..number(0) * 2 % BLOB_BYTES_MAX).map(|at| (at * 31 % 253) as u8).collect();
    let start = number(2) as u64 * 2;
    let range = ByteRange::new(start, start + number(4) as u64);
    let step = 1 + usize::from(head[6]) * 97;
    let (blob, stream) = encode(&content, range);
    let spoilt = spoil(stream.clone(), edits);
    let expected_size = (head[7] & 1 == 1).then_some(BlobSize(content.len() as u64));
    let touched = spoilt != stream;
    let mut decoder = RangeDecoder::new(blob, range, expected_size);
    let mut proved = 0;
    for mut piece in spoilt.chunks(step) {
        loop {
            match decoder.feed(&mut piece) {
                Ok(Some(verified)) => {
                    let at = usize::try_from(verified.offset).expect("a small blob");
                    assert_eq!(verified.bytes, &content[at..at + verified.bytes.len()]);
                    proved += verified.bytes.len();
                }
                Ok(None) => break,
                Err(_) => {
                    assert!(touched, "an honest stream was refused");
                    return;
                }
            }
        }
    }
    assert_eq!(decoder.finish().is_ok(), decoder.is_complete());
    if !touched {
        let wanted = range
            .map_or(content.len() as u64, |range| range.end().min(content.len() as u64).saturating_sub(range.start()));
        assert!(decoder.is_complete() && proved as u64 == wanted, "{proved} of {wanted} bytes came out");
        assert!(decoder.proved_size().is_none_or(|size| size.0 == content.len() as u64));
    }
});

fn encode(content: &[u8], range: Option<ByteRange>) -> (BlobId, Vec<u8>) {
    let mut builder = OutboardBuilder::new();
    builder.update(content);
    let built = builder.finish();
    let mut outboard = Vec::new();
    let read = |at: u64, buffer: &mut [u8]| {
        let at = usize::try_from(at).expect("a small blob");
        buffer.copy_from_slice(&built.pairs[at..at + buffer.len()]);
        Ok::<(), std::convert::Infallible>(())
    };
    let Ok(()) = write_pre_order(built.size, read, |bytes| {
        outboard.extend_from_slice(bytes);
        Ok(())
    });
    let slice = |of: &[u8], range: ByteRange| of[range.start() as usize..range.end() as usize].to_vec();
    let encoder = RangeEncoder::new(built.size, range);
    let total = encoder.total_bytes();
    let stream: Vec<u8> = encoder
        .flat_map(|piece| match piece {
            Piece::Size(bytes) => bytes.to_vec(),
            Piece::Pairs(range) => slice(&outboard, range),
            Piece::Data(range) => slice(content, range),
        })
        .collect();
    assert_eq!(stream.len() as u64, total);
    (built.blob, stream)
}

/// Each five bytes are an edit: flip a byte, cut the end off, double a stretch, take one out, add some behind.
fn spoil(mut stream: Vec<u8>, edits: &[u8]) -> Vec<u8> {
    for edit in edits.chunks_exact(5).take(8) {
        let at = usize::from(u16::from_le_bytes([edit[1], edit[2]])) * (1 + usize::from(edit[4])) % stream.len().max(1);
        let length = usize::from(edit[3]).min(stream.len().saturating_sub(at));
        match edit[0] % 5 {
            0 => stream.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= edit[3]),
            1 => stream.truncate(at),
            2 => {
                let doubled = stream[at..at + length].to_vec();
                stream.splice(at..at, doubled);
            }
            3 => drop(stream.drain(at..at + length)),
            _ => stream.extend(std::iter::repeat_n(edit[4], length)),
        }
    }
    stream
}
