//! When neighbouring items share one request. Pure, and used by the plan too, so that the bytes it
//! announces are the bytes the session asks for.

use penstock_core::blob::{BlobId, ByteRange};

/// Unwanted bytes between two wanted items that cost less than a request of their own.
pub const COALESCE_GAP_BYTES: u64 = 16 * 1024;
/// Longest range of one request. Longer ones leave the last connection working alone at the end.
pub const REQUEST_BYTES_MAX: u64 = 8 << 20;

/// Whether an item at `start..end` joins a request that so far asks for `from..to` of the same blob.
pub(super) const fn joins(from: u64, to: u64, start: u64, end: u64) -> bool {
    start >= to && start - to <= COALESCE_GAP_BYTES && end - from <= REQUEST_BYTES_MAX
}

/// The ranges that requests for these items ask for when nothing fails.
pub fn coalesced(items: impl IntoIterator<Item = (BlobId, ByteRange)>) -> impl Iterator<Item = (BlobId, ByteRange)> {
    let mut items = items.into_iter().peekable();
    std::iter::from_fn(move || {
        let (blob, mut span) = items.next()?;
        while let Some((_, next)) =
            items.next_if(|(other, next)| *other == blob && joins(span.start(), span.end(), next.start(), next.end()))
        {
            span = ByteRange::new(span.start(), next.end())?;
        }
        Some((blob, span))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_items_share_a_request_and_far_ones_do_not() {
        let blob = BlobId::of(b"pack");
        let other = BlobId::of(b"other");
        let range = |start, end| ByteRange::new(start, end).expect("range");
        let list = [
            (blob, range(0, 10)),
            (blob, range(10, 20)),
            (blob, range(20 + COALESCE_GAP_BYTES, 50_000)),
            (blob, range(50_001 + COALESCE_GAP_BYTES, 100_000)),
            (other, range(100_000, 100_001)),
            (other, range(5, 6)),
            (other, range(6, 6 + REQUEST_BYTES_MAX)),
        ];
        let spans: Vec<_> = coalesced(list).collect();
        assert_eq!(
            spans,
            [
                (blob, range(0, 50_000)),
                (blob, range(50_001 + COALESCE_GAP_BYTES, 100_000)),
                (other, range(100_000, 100_001)),
                (other, range(5, 6)),
                (other, range(6, 6 + REQUEST_BYTES_MAX)),
            ]
        );
    }
}
