//! Which bytes a `Range` header means: a bounded parser and the answer it leads to (RFC 9110, section 14).
//!
//! Owns the rules that turn header text and a blob's size into byte ranges, and the exact layout of
//! `multipart/byteranges` bodies. It must not read bytes: `edge::body` sends the ranges that are answered here.
//!
//! What is decided where the RFC leaves a choice:
//! - A malformed header is ignored: the answer is the whole blob (section 14.2).
//! - So is one with more than [`RANGES_MAX`] ranges or [`RANGE_HEADER_BYTES_MAX`] bytes, satisfiable or not: a whole
//!   representation is always right, and never larger than the blob.
//! - Positions beyond 64 bits saturate.
//! - Ranges that overlap or touch are merged; ranges with a gap never are, so no unwanted byte is sent.
//! - Parts keep the order in which they were asked for; a merged part stands where its first range stood.
//!
//! So an answer never carries a byte twice: its content is at most the blob, and around each of at most
//! [`RANGES_MAX`] parts there are at most [`PART_HEAD_BYTES_MAX`] bytes.

use crate::blob::{BlobId, BlobSize, ByteRange};
use crate::limits::{RANGE_HEADER_BYTES_MAX, RANGES_MAX};

/// Most bytes around one part of a multipart answer: delimiter, fields and line ends.
pub const PART_HEAD_BYTES_MAX: u64 = 192;

/// What a well-formed `Range` header asks for, before the blob's size is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSpec {
    first: Wanted,
    rest: Vec<Wanted>,
}

/// One range of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// `first-pos "-" [ last-pos ]`, both inclusive.
    From { first: u64, last: u64 },
    /// `"-" suffix-length`.
    Suffix { bytes: u64 },
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeAnswer {
    /// 200 with everything.
    Whole,
    /// 206 with these ranges.
    Parts(Parts),
    /// 416: no byte that was asked for exists.
    Unsatisfiable,
}

/// Ranges of one answer: at least one, none touching another, each inside the blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    first: ByteRange,
    rest: Vec<ByteRange>,
}

impl Parts {
    /// The only range, if there is just one: such an answer is not multipart.
    #[must_use]
    pub fn single(&self) -> Option<ByteRange> {
        self.rest.is_empty().then_some(self.first)
    }
    /// How many, at least 1.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.rest.len()
    }
    /// The ranges in the order in which they are sent.
    pub fn iter(&self) -> impl Iterator<Item = ByteRange> + '_ {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }
    /// The `index`th range in the order in which they are sent.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<ByteRange> {
        if index == 0 { Some(self.first) } else { self.rest.get(index - 1).copied() }
    }
    /// Bytes of content in all, without what surrounds the parts.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.iter().map(ByteRange::len).sum()
    }
}

impl RangeSpec {
    /// Reads a `Range` header's value. `None` means that the header is to be ignored.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > RANGE_HEADER_BYTES_MAX {
            return None;
        }
        let equals = value.iter().position(|&byte| byte == b'=')?;
        // Section 14.1: range unit names are case-insensitive; a unit that is not ours is ignored.
        if !value[..equals].eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let mut first = None;
        let mut rest = Vec::new();
        for element in value[equals + 1..].split(|&byte| byte == b',') {
            let element = trim(element);
            if element.is_empty() {
                continue; // Section 5.6.1.2: empty list elements are ignored; the length bound keeps them few.
            }
            let wanted = Wanted::parse(element)?;
            if first.is_none() {
                first = Some(wanted);
            } else if rest.len() + 2 > RANGES_MAX {
                return None;
            } else {
                rest.push(wanted);
            }
        }
        Some(Self { first: first?, rest })
    }

    /// Which bytes of a blob of `size` bytes are meant.
    #[must_use]
    pub fn answer(&self, size: BlobSize) -> RangeAnswer {
        if self.rest.is_empty() {
            return match self.first.within(size) {
                Some(range) => RangeAnswer::Parts(Parts { first: range, rest: Vec::new() }),
                None => self.nothing_left(size),
            };
        }
        let wanted = std::iter::once(&self.first).chain(&self.rest);
        let mut placed: Vec<_> = wanted.filter_map(|one| one.within(size)).enumerate().collect();
        placed.sort_unstable_by_key(|&(place, range)| (range.start(), range.end(), place));
        let mut merged: Vec<(usize, ByteRange)> = Vec::with_capacity(placed.len());
        for (place, range) in placed {
            match merged.last_mut() {
                Some((earliest, last)) if range.start() <= last.end() => {
                    *earliest = (*earliest).min(place);
                    *last = hull(*last, range);
                }
                _ => merged.push((place, range)),
            }
        }
        merged.sort_unstable_by_key(|&(place, _)| place);
        let mut ranges = merged.into_iter().map(|(_, range)| range);
        match ranges.next() {
            Some(first) => RangeAnswer::Parts(Parts { first, rest: ranges.collect() }),
            None => self.nothing_left(size),
        }
    }

    /// Section 14.1.2: a suffix of non-zero length is satisfiable, also of an empty representation. There it means the
    /// whole of nothing, which no `Content-Range` can say, so it is answered whole.
    fn nothing_left(&self, size: BlobSize) -> RangeAnswer {
        let any_suffix = std::iter::once(&self.first)
            .chain(&self.rest)
            .any(|wanted| matches!(wanted, Wanted::Suffix { bytes } if *bytes > 0));
        if size.0 == 0 && any_suffix { RangeAnswer::Whole } else { RangeAnswer::Unsatisfiable }
    }
}

impl Wanted {
    fn parse(text: &[u8]) -> Option<Self> {
        let dash = text.iter().position(|&byte| byte == b'-')?;
        let (before, after) = (&text[..dash], &text[dash + 1..]);
        if before.is_empty() {
            return Some(Self::Suffix { bytes: number(after)? });
        }
        let first = number(before)?;
        let last = if after.is_empty() { u64::MAX } else { number(after)? };
        // Section 14.1.1: an int-range whose last-pos is less than its first-pos is invalid.
        (first <= last).then_some(Self::From { first, last })
    }

    /// The bytes it means in a blob of `size` bytes, if there are any.
    fn within(self, size: BlobSize) -> Option<ByteRange> {
        match self {
            Self::From { first, last } => ByteRange::new(first, last.saturating_add(1).min(size.0)),
            Self::Suffix { bytes } => ByteRange::new(size.0.saturating_sub(bytes), size.0),
        }
    }
}

fn hull(a: ByteRange, b: ByteRange) -> ByteRange {
    ByteRange::new(a.start().min(b.start()), a.end().max(b.end())).unwrap_or(a)
}

/// `1*DIGIT`, saturating.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

/// Without optional whitespace around it (RFC 9110, section 5.6.3: space and tab).
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The layout of a `multipart/byteranges` answer (RFC 9110, section 14.6).
///
/// The boundary is made of the blob's own name, so that it needs no randomness and cannot occur in the blob: bytes
/// that contain half of their own hash cannot be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multipart {
    boundary: String,
    size: BlobSize,
    parts: Parts,
}

/// The next stretch of a multipart body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stretch {
    /// Delimiters and fields.
    Text(String),
    /// These bytes of the blob.
    Data(ByteRange),
}

impl Multipart {
    /// Lays out `parts` of `blob`, which has `size` bytes.
    #[must_use]
    pub fn new(blob: BlobId, size: BlobSize, parts: Parts) -> Self {
        let mut boundary = blob.to_string();
        boundary.truncate(32);
        Self { boundary, size, parts }
    }
    /// The `Content-Type` of the answer.
    #[must_use]
    pub fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }
    /// The exact length of the body in bytes; it saturates for sizes that no blob can have.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let total = BOUNDARY_LINE + PART_FIELDS + decimal_digits(self.size.0);
        let numbers = |range: ByteRange| decimal_digits(range.start()) + decimal_digits(range.end() - 1);
        // The first delimiter lacks the line end before it, the last one has two more dashes.
        let last = BOUNDARY_LINE;
        self.parts
            .iter()
            .fold(last, |sum, range| sum.saturating_add(total + numbers(range)).saturating_add(range.len()))
    }
    /// The `index`th stretch of the body; `None` behind the last.
    #[must_use]
    pub fn stretch(&self, index: usize) -> Option<Stretch> {
        if index % 2 == 1 {
            return self.parts.get(index / 2).map(Stretch::Data);
        }
        let before = if index == 0 { "" } else { "\r\n" };
        match self.parts.get(index / 2) {
            Some(range) => Some(Stretch::Text(format!(
                "{before}--{}\r\ncontent-type: application/octet-stream\r\ncontent-range: {}\r\n\r\n",
                self.boundary,
                content_range(range, self.size)
            ))),
            None if index / 2 == self.parts.count() => Some(Stretch::Text(format!("\r\n--{}--\r\n", self.boundary))),
            None => None,
        }
    }
}

/// `CRLF "--" boundary CRLF`.
const BOUNDARY_LINE: u64 = 2 + 2 + 32 + 2;
/// A part's fields and the empty line, without the three numbers of `Content-Range`.
const PART_FIELDS: u64 = "content-type: application/octet-stream\r\ncontent-range: bytes -/\r\n\r\n".len() as u64;
const _: () = assert!(BOUNDARY_LINE + PART_FIELDS + 3 * 20 <= PART_HEAD_BYTES_MAX);

/// The value of `Content-Range` for one range (RFC 9110, section 14.4).
#[must_use]
pub fn content_range(range: ByteRange, size: BlobSize) -> String {
    format!("bytes {}-{}/{}", range.start(), range.end() - 1, size.0)
}

/// The value of `Content-Range` of a 416.
#[must_use]
pub fn content_range_unsatisfied(size: BlobSize) -> String {
    format!("bytes */{}", size.0)
}

const fn decimal_digits(number: u64) -> u64 {
    match number.checked_ilog10() {
        Some(power) => power as u64 + 1,
        None => 1,
    }
}

#[cfg(test)]
mod tests;
