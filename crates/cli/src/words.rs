//! Numbers as people read them. Pure.

use penstock_core::id::Platform;
use std::time::Duration;

/// Bytes in powers of ten, three significant digits: `1.24 GB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    let mut scale = 1u64;
    while unit + 1 < UNITS.len() && count / scale >= 1000 {
        scale *= 1000;
        unit += 1;
    }
    if unit == 0 {
        return format!("{count} B");
    }
    let hundredths = u128::from(count) * 100 / u128::from(scale);
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match whole {
        0..=9 => format!("{whole}.{rest:02} {}", UNITS[unit]),
        10..=99 => format!("{whole}.{} {}", rest / 10, UNITS[unit]),
        _ => format!("{whole} {}", UNITS[unit]),
    }
}

/// Bytes over a time: `310 MB/s`.
pub(crate) fn rate(count: u64, time: Duration) -> String {
    let micros = time.as_micros().max(1);
    let per_second = u128::from(count) * 1_000_000 / micros;
    format!("{}/s", bytes(u64::try_from(per_second).unwrap_or(u64::MAX)))
}

/// A time: `840 ms`, `12.3 s`, `7 h 12 m`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..=119 => format!("{}.{} s", seconds, time.subsec_millis() / 100),
        120..=7199 => format!("{} m {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A share in percent with one decimal: `4.2 %`.
pub(crate) fn share(part: u64, whole: u64) -> String {
    let permille = u128::from(part) * 1000 / u128::from(whole.max(1));
    format!("{}.{} %", permille / 10, permille % 10)
}

/// A count and its noun: `1 file`, `3 files`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Entries of a tree: files, directories and links.
pub(crate) fn counted(entries: u64) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}

/// A platform in a sentence.
pub(crate) fn platform(platform: &Platform) -> String {
    if *platform == Platform::any() { "any platform".to_owned() } else { platform.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (12_345, "12.3 kB"),
            (999_999, "999 kB"),
            (1_240_000_000, "1.24 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert!(bytes(u64::MAX).ends_with(" PB"));
        assert_eq!(rate(300_000_000, Duration::from_millis(500)), "600 MB/s");
        assert_eq!(rate(1, Duration::ZERO), "1.00 MB/s");
        assert_eq!(time(Duration::from_millis(840)), "840 ms");
        assert_eq!(time(Duration::from_millis(12_345)), "12.3 s");
        assert_eq!(time(Duration::from_secs(7 * 3600 + 720)), "7 h 12 m");
        assert_eq!(share(42, 1000), "4.2 %");
        assert_eq!(share(0, 0), "0.0 %");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!((counted(1), counted(2)), ("1 entry".to_owned(), "2 entries".to_owned()));
        assert_eq!(platform(&Platform::any()), "any platform");
    }
}
