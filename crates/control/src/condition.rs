//! Optimistic concurrency: `If-Match` and `If-None-Match` of calls that change something (RFC 9110, section 13.1).
//!
//! A tag is a hash of the document that `GET` answers, so whatever a reader saw of a resource is what it can insist on.
//! The check is made inside the transaction that changes it.

use crate::error::CallError;
use http::HeaderMap;
use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use penstock_core::limits::ETAGS_MAX;
use serde::Serialize;

/// Longest header of this kind, in bytes.
const HEADER_BYTES_MAX: usize = 4096;

/// What must be so for a change to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Condition {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`: whatever is there.
    Any,
    /// Quoted, as they were sent.
    Listed(Vec<String>),
}

/// The entity tag of a document.
pub(crate) fn tag(document: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(document).unwrap_or_default();
    let hash = blake3::hash(&bytes).to_hex();
    format!("\"{}\"", &hash[..32])
}

impl Condition {
    /// Reads the headers.
    ///
    /// # Errors
    /// A header that is not a list of tags, or too long.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, CallError> {
        Ok(Self { if_match: tags(headers, &IF_MATCH)?, if_none_match: tags(headers, &IF_NONE_MATCH)? })
    }

    /// Holds it against what is there now.
    ///
    /// # Errors
    /// [`CallError::Condition`] where it does not hold.
    pub(crate) fn check(&self, current: Option<&impl Serialize>) -> Result<(), CallError> {
        if *self == Self::default() {
            return Ok(());
        }
        let current = current.map(tag);
        let names = |tags: &Tags| match (tags, &current) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::Listed(tags), Some(current)) => tags.contains(current),
        };
        let holds = self.if_match.as_ref().is_none_or(names) && !self.if_none_match.as_ref().is_some_and(names);
        if holds { Ok(()) } else { Err(CallError::Condition) }
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, CallError> {
    let malformed = || CallError::Malformed(format!("{name}: * or a list of at most {ETAGS_MAX} entity tags"));
    let mut list = Vec::new();
    let mut bytes = 0;
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| malformed())?;
        bytes += text.len();
        if bytes > HEADER_BYTES_MAX {
            return Err(malformed());
        }
        // Tags of ours have no comma in them; one that has is nobody's.
        list.extend(text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned));
    }
    if list.len() > ETAGS_MAX {
        return Err(malformed());
    }
    match list.as_slice() {
        [] if headers.contains_key(name) => Err(malformed()),
        [] => Ok(None),
        [one] if one == "*" => Ok(Some(Tags::Any)),
        all if all.iter().all(|one| is_tag(one)) => Ok(Some(Tags::Listed(list))),
        _ => Err(malformed()),
    }
}

/// `"…"`, or `W/"…"`, which never matches here: ours are all strong.
fn is_tag(text: &str) -> bool {
    let quoted = text.strip_prefix("W/").unwrap_or(text);
    quoted.len() >= 2 && quoted.starts_with('"') && quoted.ends_with('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn condition(headers: &[(HeaderName, &str)]) -> Result<Condition, CallError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.clone(), HeaderValue::from_str(value).expect("a value"));
        }
        Condition::of(&map)
    }

    #[test]
    fn conditions_hold_or_not() {
        let (mine, other) = (tag(&"mine"), tag(&"other"));
        for (headers, when_there, when_absent) in [
            (vec![], true, true),
            (vec![(IF_MATCH, mine.as_str())], true, false),
            (vec![(IF_MATCH, other.as_str())], false, false),
            (vec![(IF_MATCH, other.as_str()), (IF_MATCH, mine.as_str())], true, false),
            (vec![(IF_MATCH, "*")], true, false),
            (vec![(IF_NONE_MATCH, "*")], false, true),
            (vec![(IF_NONE_MATCH, mine.as_str())], false, true),
            (vec![(IF_NONE_MATCH, other.as_str())], true, true),
        ] {
            let condition = condition(&headers).expect("readable");
            assert_eq!(condition.check(Some(&"mine")).is_ok(), when_there, "{headers:?}");
            assert_eq!(condition.check(None::<&str>.as_ref()).is_ok(), when_absent, "{headers:?}");
        }
        let weak = condition(&[(IF_MATCH, &format!("W/{mine}"))]).expect("readable");
        assert!(weak.check(Some(&"mine")).is_err());
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        let many = vec!["\"a\""; ETAGS_MAX + 1].join(",");
        for wrong in ["", "abc", "\"", "*, \"a\"", many.as_str(), &format!("\"{}\"", "x".repeat(HEADER_BYTES_MAX))] {
            assert!(condition(&[(IF_MATCH, wrong)]).is_err(), "{wrong}");
        }
    }
}
