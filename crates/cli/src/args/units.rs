//! Sizes, rates and durations as people write them.
//!
//! Pure. Powers of ten with `K M G T`, powers of two with `Ki Mi Gi Ti`; a bare number is bytes or
//! seconds. Nothing is rounded silently: a text that is not exactly a number with a unit is refused.

use std::time::Duration;

/// A number of bytes, such as `50MB`, `64MiB` or `1048576`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

/// A length of time, such as `90s`, `15m`, `6h` or `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    /// No digits, or something else around them.
    #[error("{0:?} is not a number with a unit")]
    Number(String),
    /// A unit nobody knows.
    #[error("the unit {found:?} is not known here; use {known}")]
    Unit {
        /// What was typed.
        found: String,
        /// What would be accepted.
        known: &'static str,
    },
    /// More than fits.
    #[error("{0:?} is too large")]
    TooLarge(String),
    /// Zero where nothing would ever happen.
    #[error("{0:?} is zero")]
    Zero(String),
}

impl std::str::FromStr for Bytes {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text)?;
        let unit = unit.trim_end_matches("/s");
        let scale: u64 = match unit.trim_end_matches('B') {
            "" => 1,
            "K" | "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "T" => 1_000_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            _ => {
                return Err(UnitError::Unit { found: unit.to_owned(), known: "B, KB, MB, GB, TB, KiB, MiB, GiB, TiB" });
            }
        };
        let bytes = number.checked_mul(scale).ok_or_else(|| UnitError::TooLarge(text.to_owned()))?;
        if bytes == 0 { Err(UnitError::Zero(text.to_owned())) } else { Ok(Self(bytes)) }
    }
}

impl std::str::FromStr for Span {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text)?;
        let scale: u64 = match unit {
            "ms" => return nonzero(text, Duration::from_millis(number)),
            "" | "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(UnitError::Unit { found: unit.to_owned(), known: "ms, s, m, h, d" }),
        };
        let seconds = number.checked_mul(scale).ok_or_else(|| UnitError::TooLarge(text.to_owned()))?;
        nonzero(text, Duration::from_secs(seconds))
    }
}

fn nonzero(text: &str, span: Duration) -> Result<Span, UnitError> {
    if span.is_zero() { Err(UnitError::Zero(text.to_owned())) } else { Ok(Span(span)) }
}

fn split(text: &str) -> Result<(u64, &str), UnitError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(UnitError::Number(text.to_owned()));
    }
    let (number, unit) = text.split_at(digits);
    let number = number.parse().map_err(|_| UnitError::TooLarge(text.to_owned()))?;
    Ok((number, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1", 1),
            ("50MB", 50_000_000),
            ("50M", 50_000_000),
            ("64MiB", 64 << 20),
            ("2Ki", 2048),
            ("10MB/s", 10_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for bad in ["", "MB", "-1", "1.5M", "1 MB", "1XB", "0", "99999999T", "99999999999999999999"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn spans() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("15m", 900), ("6h", 21_600), ("2d", 172_800)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_secs(seconds))), "{text}");
        }
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
        for bad in ["", "h", "0s", "1w", "1.5h", "-3s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
    }
}
