//! Metric names: one prefix, base units last, `_total` for counters and for nothing else.
//!
//! Reads `edge/src/metrics.rs`, where all names are constants and each is described by its kind.

use super::Tree;
use super::lexer::has_word;

const FILE: &str = "crates/edge/src/metrics.rs";

/// Units that are not base units, or are spelled otherwise than the base unit.
const WRONG_UNITS: [&str; 11] = ["ms", "us", "ns", "millis", "micros", "kb", "mb", "kib", "mib", "minutes", "percent"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Names that break the pattern, and constants of unknown kind.
pub fn check(tree: &Tree) -> Vec<String> {
    tree.text(FILE).map_or_else(|| vec![format!("{FILE} is missing")], findings)
}

fn findings(text: &str) -> Vec<String> {
    let names = constants(text);
    if names.is_empty() {
        return vec![format!("{FILE} has no `const NAME: &str = \"penstock_…\"`")];
    }
    let mut findings = Vec::new();
    for (constant, name) in &names {
        match kind_of(text, constant) {
            Some(kind) => findings.extend(fault(name, kind)),
            None => findings.push(format!("{name}: {constant} is described neither as counter, gauge nor histogram")),
        }
    }
    findings
}

/// `const NAME: &str = "text"` pairs whose text looks like a metric's name.
fn constants(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter_map(|line| {
            let (head, value) = line.split_once(": &str = \"")?;
            let constant = head.split_whitespace().next_back()?;
            let name = value.split('"').next()?;
            head.contains("const ").then_some((constant, name))
        })
        .filter(|(_, name)| name.contains('_'))
        .collect()
}

/// The kind comes from the first `describe_KIND!(CONSTANT` or `KIND!(CONSTANT`.
fn kind_of(text: &str, constant: &str) -> Option<Kind> {
    let kinds = [("counter!(", Kind::Counter), ("gauge!(", Kind::Gauge), ("histogram!(", Kind::Histogram)];
    kinds.into_iter().find_map(|(call, kind)| {
        let mut calls = text.match_indices(call).map(|(at, _)| &text[at + call.len()..]);
        let first_argument =
            |rest: &str| rest.split([',', ')']).next().is_some_and(|argument| has_word(argument, constant));
        calls.any(first_argument).then_some(kind)
    })
}

fn fault(name: &str, kind: Kind) -> Option<String> {
    let words: Vec<&str> = name.split('_').collect();
    let last = words.last().copied().unwrap_or_default();
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !plain || words.iter().any(|word| word.is_empty()) || words[0] != "penstock" {
        return Some(format!("{name}: a metric is penstock_ and lowercase words with single underscores"));
    }
    if let Some(unit) = words.iter().find(|word| WRONG_UNITS.contains(word)) {
        return Some(format!("{name}: {unit} is not a base unit; use seconds, bytes or ratio"));
    }
    if (kind == Kind::Counter) != (last == "total") {
        return Some(format!("{name}: counters end in _total, and nothing else does"));
    }
    let unit_at = words.iter().position(|word| ["seconds", "bytes", "ratio"].contains(word));
    let end = words.len() - usize::from(kind == Kind::Counter);
    if unit_at.is_some_and(|at| at + 1 != end) {
        return Some(format!("{name}: the unit comes last, before _total only"));
    }
    (kind == Kind::Histogram && unit_at.is_none()).then(|| format!("{name}: a histogram has a unit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_pattern_pass() {
        let good = [
            ("penstock_requests_total", Kind::Counter),
            ("penstock_sent_bytes_total", Kind::Counter),
            ("penstock_request_duration_seconds", Kind::Histogram),
            ("penstock_connections", Kind::Gauge),
            ("penstock_store_bytes", Kind::Gauge),
        ];
        for (name, kind) in good {
            assert_eq!(fault(name, kind), None);
        }
    }

    #[test]
    fn names_off_the_pattern_are_caught() {
        let bad = [
            ("penstock_requests", Kind::Counter),
            ("penstock_connections_total", Kind::Gauge),
            ("penstock_latency_ms", Kind::Histogram),
            ("penstock_bytes_sent_total", Kind::Counter),
            ("penstock_request_duration", Kind::Histogram),
            ("requests_total", Kind::Counter),
            ("penstock_Requests_total", Kind::Counter),
            ("penstock__requests_total", Kind::Counter),
        ];
        for (name, kind) in bad {
            assert!(fault(name, kind).is_some(), "{name}");
        }
    }

    #[test]
    fn constants_and_kinds_are_read_from_source() {
        let text = "pub const REQUESTS: &str = \"penstock_requests_total\";\nconst OPEN: &str = \"penstock_open\";\n\
                    const LOST: &str = \"penstock_lost\";\nfn f() { describe_counter!(REQUESTS, \"x\"); metrics::gauge!(OPEN).set(1.0); }";
        assert_eq!(findings(text), ["penstock_lost: LOST is described neither as counter, gauge nor histogram"]);
        assert_eq!(findings("nothing").len(), 1);
    }
}
