//! Columns: packed protobuf varints, read with a bound and written for it.
//!
//! A packed repeated field and a `bytes` field are the same on the wire, so messages keep their
//! columns as bytes and this module reads them: nothing is expanded before its count is known to
//! be within bounds. Signed columns use zigzag, as protobuf's `sint64` does.

/// Why a column is not what its message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    /// A varint runs over the column's end or over 64 bits.
    #[error("column {0} holds a number that is cut off or too large")]
    Number(&'static str),
    /// Too few or too many numbers.
    #[error("column {column} should have {expected} numbers and has another count")]
    Count {
        /// Which column.
        column: &'static str,
        /// How many belong there.
        expected: usize,
    },
    /// A count is above its bound.
    #[error("column {column} has more than {max} items")]
    TooMany {
        /// Which column.
        column: &'static str,
        /// The bound.
        max: usize,
    },
    /// Fixed-width items do not fill the column.
    #[error("column {0} is not a whole number of items")]
    Width(&'static str),
}

/// Reads exactly `count` numbers, which must fill the column.
///
/// # Errors
/// [`ColumnError`].
pub fn numbers(column: &'static str, bytes: &[u8], count: usize) -> Result<Vec<u64>, ColumnError> {
    let wrong = ColumnError::Count { column, expected: count };
    // Each number takes at least one byte: a lie about the count is seen before anything is allocated.
    if bytes.len() < count {
        return Err(wrong);
    }
    let mut out = Vec::with_capacity(count);
    let mut rest = bytes;
    while !rest.is_empty() {
        if out.len() == count {
            return Err(wrong);
        }
        out.push(take(&mut rest).ok_or(ColumnError::Number(column))?);
    }
    if out.len() == count { Ok(out) } else { Err(wrong) }
}

/// As [`numbers`], for values that fit 32 bits.
///
/// # Errors
/// [`ColumnError`].
pub fn numbers_u32(column: &'static str, bytes: &[u8], count: usize) -> Result<Vec<u32>, ColumnError> {
    let wide = numbers(column, bytes, count)?;
    wide.into_iter().map(|n| u32::try_from(n).map_err(|_| ColumnError::Number(column))).collect()
}

/// As [`numbers`], for zigzag-coded signed values.
///
/// # Errors
/// [`ColumnError`].
pub fn signed(column: &'static str, bytes: &[u8], count: usize) -> Result<Vec<i64>, ColumnError> {
    Ok(numbers(column, bytes, count)?.into_iter().map(unzigzag).collect())
}

/// How many 32-byte hashes fill the column; at most `max`.
///
/// # Errors
/// [`ColumnError`].
pub fn hash_count(column: &'static str, bytes: &[u8], max: usize) -> Result<usize, ColumnError> {
    if !bytes.len().is_multiple_of(32) {
        return Err(ColumnError::Width(column));
    }
    let count = bytes.len() / 32;
    if count > max { Err(ColumnError::TooMany { column, max }) } else { Ok(count) }
}

/// The hashes of a column whose width was checked by [`hash_count`].
pub fn hashes(bytes: &[u8]) -> impl Iterator<Item = [u8; 32]> + '_ {
    bytes.as_chunks::<32>().0.iter().copied()
}

/// Appends a number.
pub fn put(column: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            column.push(low & 0x7f);
            return;
        }
        column.push(low | 0x80);
    }
}

/// Appends a signed number in zigzag form.
pub fn put_signed(column: &mut Vec<u8>, number: i64) {
    put(column, zigzag(number));
}

const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

pub(crate) const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (index, &byte) in rest.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if index == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_are_exact() {
        assert_eq!(numbers("c", &[1, 2], 2), Ok(vec![1, 2]));
        assert_eq!(numbers("c", &[1, 2], 1), Err(ColumnError::Count { column: "c", expected: 1 }));
        assert_eq!(numbers("c", &[1, 2], usize::MAX), Err(ColumnError::Count { column: "c", expected: usize::MAX }));
        assert_eq!(numbers("c", &[0x80], 1), Err(ColumnError::Number("c")));
        assert_eq!(numbers("c", &[0xff; 11], 1), Err(ColumnError::Number("c")));
        assert_eq!(hash_count("h", &[0; 33], 9), Err(ColumnError::Width("h")));
        assert_eq!(hash_count("h", &[0; 64], 1), Err(ColumnError::TooMany { column: "h", max: 1 }));
    }

    proptest! {
        #[test]
        fn numbers_round_trip(list in proptest::collection::vec(any::<u64>(), 0..50)) {
            let mut column = Vec::new();
            list.iter().for_each(|n| put(&mut column, *n));
            prop_assert_eq!(numbers("c", &column, list.len()), Ok(list));
        }

        #[test]
        fn signed_numbers_round_trip(list in proptest::collection::vec(any::<i64>(), 0..50)) {
            let mut column = Vec::new();
            list.iter().for_each(|n| put_signed(&mut column, *n));
            prop_assert_eq!(signed("c", &column, list.len()), Ok(list));
        }
    }
}
