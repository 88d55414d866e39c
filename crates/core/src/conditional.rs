//! Preconditions: `If-Match`, `If-None-Match` and `If-Range` in the order of RFC 9110, section 13.2.2.
//!
//! Tags here are strong and come from hashes, and nothing has a modification date, so the two date conditions are
//! ignored as sections 13.1.3 and 13.1.4 demand, and a date in `If-Range` is false (section 13.1.5). It must not know
//! header maps: the caller passes the field lines.

use crate::blob::BlobId;
use crate::limits::ETAGS_MAX;

/// A strong entity tag without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// The tag of a blob's bytes.
    #[must_use]
    pub fn of_blob(blob: BlobId) -> Self {
        Self(blob.to_string())
    }
    /// The tag of something derived from a blob, such as its outboard. `part` is made of letters, digits, dots and dashes.
    #[must_use]
    pub fn of_part(blob: BlobId, part: &str) -> Self {
        Self(format!("{blob}.{part}"))
    }
    /// The tag of a small document: its hash.
    #[must_use]
    pub fn of_document(document: &[u8]) -> Self {
        Self(BlobId::of(document).to_string())
    }
    /// The value of the `ETag` field.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

/// The field lines of a request that state conditions; empty iterators where a field is absent.
#[derive(Debug, Clone)]
pub struct Conditions<M, N, R> {
    /// Lines of `If-Match`.
    pub if_match: M,
    /// Lines of `If-None-Match`.
    pub if_none_match: N,
    /// Lines of `If-Range`.
    pub if_range: R,
}

/// Whether a `Range` header counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeUse {
    /// It does.
    Honour,
    /// `If-Range` named other bytes: the whole is sent.
    Ignore,
}

/// What the conditions of a GET or HEAD lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// Go on.
    Proceed(RangeUse),
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates the conditions of a GET or HEAD against the representation's tag.
#[must_use]
pub fn evaluate<'a, M, N, R>(tag: &Tag, conditions: Conditions<M, N, R>) -> Precondition
where
    M: IntoIterator<Item = &'a [u8]>,
    N: IntoIterator<Item = &'a [u8]>,
    R: IntoIterator<Item = &'a [u8]>,
{
    // Section 13.2.2, step 1. Section 13.1.1: strong comparison.
    if matches(tag, Comparison::Strong, conditions.if_match) == Some(false) {
        return Precondition::Failed;
    }
    // Step 3. Section 13.1.2: weak comparison; on GET and HEAD a match is 304.
    if matches(tag, Comparison::Weak, conditions.if_none_match) == Some(true) {
        return Precondition::NotModified;
    }
    // Step 5. Section 13.1.5: strong comparison; anything else, dates included, makes Range ignored.
    let mut lines = conditions.if_range.into_iter();
    let (first, second) = (lines.next(), lines.next());
    let honoured = match (first, second) {
        (None, _) => true,
        (Some(line), None) => Tags::new(line).next().is_some_and(|found| !found.weak && found.is_all && found.is(tag)),
        (Some(_), Some(_)) => false,
    };
    Precondition::Proceed(if honoured { RangeUse::Honour } else { RangeUse::Ignore })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of tags, or `*`, holds `tag`; `None` without a field line. Only the first [`ETAGS_MAX`] are looked at.
fn matches<'a>(tag: &Tag, how: Comparison, lines: impl IntoIterator<Item = &'a [u8]>) -> Option<bool> {
    let mut present = false;
    let mut left = ETAGS_MAX;
    for line in lines {
        present = true;
        if line.trim_ascii() == b"*" {
            return Some(true);
        }
        for found in Tags::new(line) {
            if left == 0 {
                return Some(false);
            }
            left -= 1;
            if found.is(tag) && (how == Comparison::Weak || !found.weak) {
                return Some(true);
            }
        }
    }
    present.then_some(false)
}

/// One tag of a field line.
struct Found<'a> {
    weak: bool,
    opaque: &'a [u8],
    /// Nothing stands before or after it.
    is_all: bool,
}

impl Found<'_> {
    fn is(&self, tag: &Tag) -> bool {
        self.opaque == tag.0.as_bytes()
    }
}

/// Reads tags (`[ "W/" ] DQUOTE *etagc DQUOTE`) until something is not one. Commas may stand inside the quotes.
struct Tags<'a> {
    rest: &'a [u8],
    begun: bool,
}

impl<'a> Tags<'a> {
    const fn new(line: &'a [u8]) -> Self {
        Self { rest: line, begun: false }
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let mut rest = std::mem::take(&mut self.rest).trim_ascii();
        let mut alone = !self.begun;
        self.begun = true;
        while let [b',', after @ ..] = rest {
            alone = false;
            rest = after.trim_ascii_start();
        }
        let (weak, rest) = match rest {
            [b'W', b'/', b'"', rest @ ..] => (true, rest),
            [b'"', rest @ ..] => (false, rest),
            _ => return None,
        };
        let end = rest.iter().position(|&byte| byte == b'"')?;
        let (opaque, after) = (&rest[..end], rest[end + 1..].trim_ascii_start());
        // Section 8.8.3: etagc is %x21 / %x23-7E / obs-text.
        if !opaque.iter().all(|&byte| byte == 0x21 || (0x23..=0x7e).contains(&byte) || byte >= 0x80) {
            return None;
        }
        // Tags are separated by commas; what follows without one ends the list.
        self.rest = if after.first() == Some(&b',') { after } else { b"" };
        Some(Found { weak, opaque, is_all: alone && after.is_empty() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tag() -> Tag {
        Tag::of_blob(BlobId::of(b"x"))
    }

    fn run(if_match: &[&str], if_none_match: &[&str], if_range: &[&str]) -> Precondition {
        let lines = |list: &[&str]| list.iter().map(|line| line.to_string().into_bytes()).collect::<Vec<_>>();
        let (m, n, r) = (lines(if_match), lines(if_none_match), lines(if_range));
        let conditions = Conditions {
            if_match: m.iter().map(Vec::as_slice),
            if_none_match: n.iter().map(Vec::as_slice),
            if_range: r.iter().map(Vec::as_slice),
        };
        evaluate(&tag(), conditions)
    }

    const GO: Precondition = Precondition::Proceed(RangeUse::Honour);
    const GO_WHOLE: Precondition = Precondition::Proceed(RangeUse::Ignore);

    #[test]
    fn if_match_is_strong() {
        let ours = tag().quoted();
        assert_eq!(run(&[], &[], &[]), GO);
        assert_eq!(run(&[&ours], &[], &[]), GO);
        assert_eq!(run(&["*"], &[], &[]), GO, "section 13.1.1: any current representation");
        assert_eq!(run(&[&format!("\"a,b\" , {ours}")], &[], &[]), GO, "a comma inside quotes separates nothing");
        assert_eq!(run(&["\"a\"", &ours], &[], &[]), GO, "field lines are one list");
        assert_eq!(run(&[&format!("W/{ours}")], &[], &[]), Precondition::Failed, "section 8.8.3.2");
        assert_eq!(run(&["\"other\""], &[], &[]), Precondition::Failed);
        assert_eq!(run(&["unquoted"], &[], &[]), Precondition::Failed);
        assert_eq!(run(&[""], &[], &[]), Precondition::Failed);
    }

    #[test]
    fn if_none_match_is_weak() {
        let ours = tag().quoted();
        assert_eq!(run(&[], &[&ours], &[]), Precondition::NotModified);
        assert_eq!(run(&[], &[&format!("W/{ours}")], &[]), Precondition::NotModified);
        assert_eq!(run(&[], &["*"], &[]), Precondition::NotModified);
        assert_eq!(run(&[], &[&format!(", ,\"b\",{ours}")], &[]), Precondition::NotModified);
        assert_eq!(run(&[], &["\"other\""], &[]), GO);
        assert_eq!(run(&[], &[&ours.replace('"', "")], &[]), GO);
    }

    #[test]
    fn precedence_of_section_13_2_2() {
        let ours = tag().quoted();
        assert_eq!(run(&["\"other\""], &[&ours], &[]), Precondition::Failed, "if-match comes first");
        assert_eq!(run(&[&ours], &[&ours], &["\"other\""]), Precondition::NotModified, "304 before any range");
        assert_eq!(run(&[&ours], &["\"other\""], &["\"other\""]), GO_WHOLE);
    }

    #[test]
    fn if_range_is_one_strong_tag() {
        let ours = tag().quoted();
        assert_eq!(run(&[], &[], &[&ours]), GO);
        assert_eq!(run(&[], &[], &[&format!("W/{ours}")]), GO_WHOLE, "section 13.1.5: strong comparison");
        assert_eq!(run(&[], &[], &["\"other\""]), GO_WHOLE);
        assert_eq!(run(&[], &[], &["Sat, 29 Oct 1994 19:43:31 GMT"]), GO_WHOLE, "no modification date here");
        assert_eq!(run(&[], &[], &["*"]), GO_WHOLE);
        assert_eq!(run(&[], &[], &[&format!("{ours}, \"b\"")]), GO_WHOLE, "not a list");
        assert_eq!(run(&[], &[], &[&ours, &ours]), GO_WHOLE);
    }

    #[test]
    fn only_so_many_tags_are_looked_at() {
        let ours = tag().quoted();
        let list = |others: usize| format!("{}{ours}", "\"x\",".repeat(others));
        assert_eq!(run(&[], &[&list(ETAGS_MAX - 1)], &[]), Precondition::NotModified);
        assert_eq!(run(&[], &[&list(ETAGS_MAX)], &[]), GO);
        assert_eq!(run(&[&list(ETAGS_MAX)], &[], &[]), Precondition::Failed);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(a in ".{0,40}", b in "[W/\", *a]{0,40}") {
            let _ = run(&[&a], &[&b], &[&b]);
            let _ = run(&[&b], &[&a], &[&a]);
        }

        /// A list that was written properly is read properly.
        #[test]
        fn finds_the_tag_wherever_it_stands(
            before in proptest::collection::vec("[a-z,]{0,5}", 0..6),
            after in proptest::collection::vec("[a-z,]{0,5}", 0..6),
        ) {
            let quoted = |list: &[String]| list.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>();
            let mut list = quoted(&before);
            list.push(tag().quoted());
            list.extend(quoted(&after));
            prop_assert_eq!(run(&[], &[&list.join(" ,")], &[]), Precondition::NotModified);
        }
    }
}
