//! Named groups of accounts or installs: who is in, decided from what is known of a caller.
//!
//! Owns the predicate over attributes, the explicit list and the score band, their bounds, and the answer. It must not
//! know where attributes come from. A segment has a version that rises with every change, so that a decision can say
//! which one it was made with.

mod why;

use crate::id::SegmentName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Conditions in one predicate, nested ones counted.
pub const CONDITIONS_MAX: usize = 256;
/// How deep predicates nest.
pub const DEPTH_MAX: usize = 8;
/// Values of one condition.
pub const VALUES_MAX: usize = 1000;

/// What is known of a caller under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Value {
    /// Such as `beta: true`.
    Flag(bool),
    /// Such as `tenure_days: 412`.
    Number(i64),
    /// Such as `country: "DE"`.
    Text(String),
}

/// Everything that is known of a caller, by name.
pub type Attributes = BTreeMap<String, Value>;

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Segment {
    /// Its name.
    pub name: SegmentName,
    /// Rises with every change.
    pub version: u64,
    /// Who is in.
    pub rule: Rule,
}

/// Who is in a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Whoever the predicate holds for.
    Where(Predicate),
    /// These accounts or installs, by id.
    List(BTreeSet<String>),
    /// Whoever has a score from `from` up to, but not including, `below`.
    Score {
        /// The attribute that holds the score.
        attribute: String,
        /// The lowest score that is in.
        from: i64,
        /// The lowest score that is not in any more; `None` for no upper end.
        below: Option<i64>,
    },
}

/// A condition on attributes. An attribute that is not known meets no condition but [`Predicate::Absent`]; and `not`
/// turns that around as it does everything, so that "not in DE" holds for those whose country nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Predicate {
    /// All of them hold; none at all holds.
    All(Vec<Predicate>),
    /// One of them holds; none at all does not hold.
    Any(Vec<Predicate>),
    /// It does not hold.
    Not(Box<Predicate>),
    /// The attribute is one of these values.
    Is {
        /// Name.
        attribute: String,
        /// Values.
        values: Vec<Value>,
    },
    /// The attribute is a number of at least this.
    AtLeast {
        /// Name.
        attribute: String,
        /// Smallest.
        number: i64,
    },
    /// The attribute is a number of at most this.
    AtMost {
        /// Name.
        attribute: String,
        /// Largest.
        number: i64,
    },
    /// Nothing is known under this name.
    Absent {
        /// Name.
        attribute: String,
    },
}

/// Why a segment is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Too many conditions.
    #[error("the predicate has more than {CONDITIONS_MAX} conditions")]
    Conditions,
    /// Nested too deep.
    #[error("the predicate nests deeper than {DEPTH_MAX}")]
    Depth,
    /// Too many values in one condition.
    #[error("the condition on {0:?} has more than {VALUES_MAX} values: use a list")]
    Values(String),
    /// No value at all, which would hold for nobody.
    #[error("the condition on {0:?} has no value")]
    NoValue(String),
    /// A band with nobody in it.
    #[error("the score band from {from} to below {below} is empty")]
    Band {
        /// Its lower end.
        from: i64,
        /// Its upper end.
        below: i64,
    },
}

impl Predicate {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, attributes: &Attributes) -> bool {
        let number = |name: &String| match attributes.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        };
        match self {
            Self::All(all) => all.iter().all(|one| one.holds(attributes)),
            Self::Any(any) => any.iter().any(|one| one.holds(attributes)),
            Self::Not(one) => !one.holds(attributes),
            Self::Is { attribute, values } => attributes.get(attribute).is_some_and(|known| values.contains(known)),
            Self::AtLeast { attribute, number: least } => number(attribute).is_some_and(|known| known >= *least),
            Self::AtMost { attribute, number: most } => number(attribute).is_some_and(|known| known <= *most),
            Self::Absent { attribute } => !attributes.contains_key(attribute),
        }
    }

    /// Whether it keeps the bounds. Called before it is stored, and before anything recurses into it.
    ///
    /// # Errors
    /// The first bound that is broken.
    pub fn check(&self) -> Result<(), SegmentError> {
        let mut open = vec![(self, 1)];
        let mut count = 0;
        while let Some((one, depth)) = open.pop() {
            count += 1;
            if count > CONDITIONS_MAX {
                return Err(SegmentError::Conditions);
            }
            if depth > DEPTH_MAX {
                return Err(SegmentError::Depth);
            }
            match one {
                Self::All(more) | Self::Any(more) => open.extend(more.iter().map(|inner| (inner, depth + 1))),
                Self::Not(inner) => open.push((inner, depth + 1)),
                Self::Is { attribute, values } if values.is_empty() => {
                    return Err(SegmentError::NoValue(attribute.clone()));
                }
                Self::Is { attribute, values } if values.len() > VALUES_MAX => {
                    return Err(SegmentError::Values(attribute.clone()));
                }
                Self::Is { .. } | Self::AtLeast { .. } | Self::AtMost { .. } | Self::Absent { .. } => {}
            }
        }
        Ok(())
    }
}

impl Segment {
    /// Whether a caller is in: `ids` are its account and its install.
    #[must_use]
    pub fn holds(&self, ids: &[&str], attributes: &Attributes) -> bool {
        match &self.rule {
            Rule::Where(predicate) => predicate.holds(attributes),
            Rule::List(listed) => ids.iter().any(|id| listed.contains(*id)),
            Rule::Score { attribute, from, below } => match attributes.get(attribute) {
                Some(Value::Number(score)) => score >= from && below.is_none_or(|below| *score < below),
                _ => false,
            },
        }
    }

    /// Whether it keeps the bounds.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn check(&self) -> Result<(), SegmentError> {
        match &self.rule {
            Rule::Where(predicate) => predicate.check(),
            Rule::Score { from, below: Some(below), .. } if from >= below => {
                Err(SegmentError::Band { from: *from, below: *below })
            }
            Rule::List(_) | Rule::Score { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known(json: &str) -> Attributes {
        serde_json::from_str(json).expect("attributes")
    }

    fn predicate(json: &str) -> Predicate {
        serde_json::from_str(json).expect("a predicate")
    }

    fn segment(rule: Rule) -> Segment {
        Segment { name: "s".parse().expect("a name"), version: 1, rule }
    }

    #[test]
    fn every_condition_in_one_table() {
        let veteran = known(r#"{"country": "DE", "tenure_days": 400, "press": true}"#);
        let unknown = known("{}");
        let is_german = r#"{"is": {"attribute": "country", "values": ["DE", "AT"]}}"#;
        for (json, for_veteran, for_unknown) in [
            (is_german, true, false),
            (r#"{"is": {"attribute": "press", "values": [true]}}"#, true, false),
            (r#"{"is": {"attribute": "tenure_days", "values": ["400"]}}"#, false, false),
            (r#"{"at_least": {"attribute": "tenure_days", "number": 400}}"#, true, false),
            (r#"{"at_least": {"attribute": "tenure_days", "number": 401}}"#, false, false),
            (r#"{"at_most": {"attribute": "tenure_days", "number": 400}}"#, true, false),
            (r#"{"at_most": {"attribute": "country", "number": 9}}"#, false, false),
            (r#"{"absent": {"attribute": "country"}}"#, false, true),
            (r#"{"all": []}"#, true, true),
            (r#"{"any": []}"#, false, false),
            (&format!(r#"{{"not": {is_german}}}"#), false, true),
            (&format!(r#"{{"all": [{is_german}, {{"absent": {{"attribute": "banned"}}}}]}}"#), true, false),
        ] {
            let predicate = predicate(json);
            assert_eq!((predicate.holds(&veteran), predicate.holds(&unknown)), (for_veteran, for_unknown), "{json}");
            predicate.check().expect("in bounds");
        }
    }

    #[test]
    fn lists_know_accounts_and_installs_and_bands_have_an_open_upper_end() {
        let list = segment(Rule::List(["alice".to_owned(), "install-7".to_owned()].into()));
        assert!(list.holds(&["alice", "install-1"], &known("{}")));
        assert!(list.holds(&["bob", "install-7"], &known("{}")));
        assert!(!list.holds(&["bob"], &known("{}")) && !list.holds(&[], &known("{}")));
        let band = |below| segment(Rule::Score { attribute: "score".to_owned(), from: 10, below });
        for (score, in_band, in_open) in [(9, false, false), (10, true, true), (19, true, true), (20, false, true)] {
            let of = known(&format!(r#"{{"score": {score}}}"#));
            assert_eq!((band(Some(20)).holds(&[], &of), band(None).holds(&[], &of)), (in_band, in_open), "{score}");
        }
        assert!(!band(None).holds(&[], &known(r#"{"score": "12"}"#)), "a text is no score");
        assert_eq!(band(Some(10)).check(), Err(SegmentError::Band { from: 10, below: 10 }));
        assert_eq!(band(Some(11)).check(), Ok(()));
    }

    #[test]
    fn bounds_hold() {
        let leaf = || Predicate::Absent { attribute: "x".to_owned() };
        let deep = |levels: usize| (1..levels).fold(leaf(), |inner, _| Predicate::Not(Box::new(inner)));
        assert_eq!(deep(DEPTH_MAX).check(), Ok(()));
        assert_eq!(deep(DEPTH_MAX + 1).check(), Err(SegmentError::Depth));
        assert_eq!(Predicate::All(vec![leaf(); CONDITIONS_MAX - 1]).check(), Ok(()));
        assert_eq!(Predicate::All(vec![leaf(); CONDITIONS_MAX]).check(), Err(SegmentError::Conditions));
        let is = |count: usize| Predicate::Is { attribute: "x".to_owned(), values: vec![Value::Flag(true); count] };
        assert_eq!(is(VALUES_MAX).check(), Ok(()));
        assert_eq!(is(VALUES_MAX + 1).check(), Err(SegmentError::Values("x".to_owned())));
        assert_eq!(is(0).check(), Err(SegmentError::NoValue("x".to_owned())));
    }

    proptest! {
        #[test]
        fn not_turns_everything_around(number in any::<i64>(), known_number in proptest::option::of(any::<i64>())) {
            let attributes: Attributes =
                known_number.map(|number| ("n".to_owned(), Value::Number(number))).into_iter().collect();
            let at_least = Predicate::AtLeast { attribute: "n".to_owned(), number };
            prop_assert_eq!(at_least.holds(&attributes), known_number.is_some_and(|known| known >= number));
            prop_assert_ne!(at_least.holds(&attributes), Predicate::Not(Box::new(at_least.clone())).holds(&attributes));
        }
    }
}
