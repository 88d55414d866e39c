//! In which order a body takes bytes from where: the three shapes of bodies as one list of pieces.

use bytes::Bytes;
use penstock_core::blob::{BlobSize, ByteRange};
use penstock_core::range::{Multipart, Stretch};
use penstock_core::tree::{Piece as TreePiece, RangeEncoder, SIZE_BYTES, Shape};

/// Which file bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The blob.
    Data,
    /// Its outboard.
    Tree,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// These bytes.
    Text(Bytes),
    /// A range of a file. Up to `horizon` its neighbours will be wanted too, so windows may reach that far.
    Span { source: Source, range: ByteRange, horizon: u64 },
}

/// The pieces of a body, in order.
#[derive(Debug)]
pub(crate) enum Plan {
    /// One range of one file.
    Single(Source, Option<ByteRange>),
    /// `multipart/byteranges`.
    Multipart { layout: Multipart, next: usize },
    /// A verified stream.
    Verified { encoder: RangeEncoder, data_end: u64, tree_end: u64 },
}

impl Plan {
    pub(crate) const fn data(range: Option<ByteRange>) -> Self {
        Self::Single(Source::Data, range)
    }

    pub(crate) const fn multipart(layout: Multipart) -> Self {
        Self::Multipart { layout, next: 0 }
    }

    /// The outboard of a blob of `size` bytes.
    pub(crate) fn outboard(size: BlobSize) -> Self {
        Self::Single(Source::Tree, ByteRange::new(0, Shape::new(size).outboard_bytes()))
    }

    /// The proof of `range`, `None` being the whole blob.
    pub(crate) fn verified(size: BlobSize, range: Option<ByteRange>) -> Self {
        let shape = Shape::new(size);
        let groups = shape.touched(range);
        Self::Verified {
            encoder: RangeEncoder::new(size, range),
            data_end: shape.group(groups.end - 1).end,
            tree_end: shape.outboard_bytes(),
        }
    }

    /// Bytes of all pieces. Only right before the first was taken.
    pub(crate) fn total_bytes(&self) -> u64 {
        match self {
            Self::Single(_, range) => range.map_or(0, ByteRange::len),
            Self::Multipart { layout, .. } => layout.total_bytes(),
            Self::Verified { encoder, .. } => encoder.total_bytes(),
        }
    }

    pub(crate) fn next(&mut self) -> Option<Piece> {
        match self {
            Self::Single(source, range) => {
                range.take().map(|range| Piece::Span { source: *source, range, horizon: range.end() })
            }
            Self::Multipart { layout, next } => {
                let stretch = layout.stretch(*next)?;
                *next += 1;
                Some(match stretch {
                    Stretch::Text(text) => Piece::Text(text.into()),
                    Stretch::Data(range) => Piece::Span { source: Source::Data, range, horizon: range.end() },
                })
            }
            Self::Verified { encoder, data_end, tree_end } => encoder.next().map(|piece| match piece {
                TreePiece::Size(bytes) => Piece::Text(Bytes::copy_from_slice(&bytes)),
                TreePiece::Data(range) => Piece::Span { source: Source::Data, range, horizon: *data_end },
                TreePiece::Pairs(range) => Piece::Span { source: Source::Tree, range, horizon: *tree_end },
            }),
        }
    }
}

const _: () = assert!(SIZE_BYTES == 8);

#[cfg(test)]
mod tests {
    use super::*;

    fn total(mut plan: Plan) -> u64 {
        std::iter::from_fn(|| plan.next())
            .map(|piece| match piece {
                Piece::Text(text) => text.len() as u64,
                Piece::Span { range, horizon, .. } => {
                    assert!(range.end() <= horizon);
                    range.len()
                }
            })
            .sum()
    }

    #[test]
    fn lengths_are_known_before_the_first_piece() {
        for size in [0, 1, 16_384, 16_385, 1_000_000] {
            let size = BlobSize(size);
            for range in [None, ByteRange::new(0, 1), ByteRange::new(20_000, 40_000), ByteRange::new(5, u64::MAX)] {
                assert_eq!(Plan::verified(size, range).total_bytes(), total(Plan::verified(size, range)));
            }
            assert_eq!(Plan::outboard(size).total_bytes(), Shape::new(size).outboard_bytes());
            assert_eq!(total(Plan::data(ByteRange::whole(size))), size.0);
        }
    }
}
