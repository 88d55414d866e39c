//! Why somebody is in a segment or not, in words: for the desk. The answer itself is [`Segment::holds`]'s.

use super::{Attributes, Predicate, Rule, Segment, Value};

/// Longest stretch of an attribute's text that an answer repeats, in characters.
const TEXT_CHARS_SHOWN: usize = 64;

impl Segment {
    /// Whether a caller is in, as [`Segment::holds`] says, and on what grounds.
    #[must_use]
    pub fn explain(&self, ids: &[&str], attributes: &Attributes) -> (bool, String) {
        let is_in = self.holds(ids, attributes);
        let reason = match &self.rule {
            Rule::Where(predicate) => predicate.why(attributes),
            Rule::List(_) if is_in => "the list names it".to_owned(),
            Rule::List(listed) => format!("the list of {} does not name it", listed.len()),
            Rule::Score { attribute, from, below } => {
                let band = below.map_or_else(|| format!("{from} or more"), |below| format!("{from} to below {below}"));
                match attributes.get(attribute) {
                    Some(Value::Number(score)) => format!("its {attribute} is {score}, the band is {band}"),
                    Some(_) => format!("its {attribute} is no number, the band is {band}"),
                    None => format!("it has no {attribute}, the band is {band}"),
                }
            }
        };
        (is_in, reason)
    }
}

impl Predicate {
    /// The condition that decides, in words. Called on what [`Predicate::check`] passed: it recurses.
    fn why(&self, attributes: &Attributes) -> String {
        let known = |name: &String| match attributes.get(name) {
            None => format!("nothing is known of {name}"),
            Some(Value::Flag(flag)) => format!("{name} is {flag}"),
            Some(Value::Number(number)) => format!("{name} is {number}"),
            Some(Value::Text(text)) => {
                format!("{name} is {:?}", text.chars().take(TEXT_CHARS_SHOWN).collect::<String>())
            }
        };
        let holds = if self.holds(attributes) { "holds" } else { "does not hold" };
        match self {
            Self::All(all) => match all.iter().find(|one| !one.holds(attributes)) {
                Some(one) => one.why(attributes),
                None if all.is_empty() => "there is no condition".to_owned(),
                None => all.iter().map(|one| one.why(attributes)).collect::<Vec<_>>().join("; "),
            },
            Self::Any(any) => match any.iter().find(|one| one.holds(attributes)) {
                Some(one) => one.why(attributes),
                None if any.is_empty() => "no condition could hold".to_owned(),
                None => any.iter().map(|one| one.why(attributes)).collect::<Vec<_>>().join("; "),
            },
            Self::Not(one) => format!("not ({}) {holds}", one.why(attributes)),
            Self::Is { attribute, values } => {
                format!("{}, and that it is one of {} values {holds}", known(attribute), values.len())
            }
            Self::AtLeast { attribute, number } => {
                format!("{}, and that it is at least {number} {holds}", known(attribute))
            }
            Self::AtMost { attribute, number } => {
                format!("{}, and that it is at most {number} {holds}", known(attribute))
            }
            Self::Absent { attribute } => known(attribute),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(rule: &str, ids: &[&str], attributes: &str) -> (bool, String) {
        let rule = serde_json::from_str(rule).expect("a rule");
        let segment = Segment { name: "s".parse().expect("a name"), version: 1, rule };
        let attributes = serde_json::from_str(attributes).expect("attributes");
        let answer = segment.explain(ids, &attributes);
        assert_eq!(answer.0, segment.holds(ids, &attributes));
        answer
    }

    #[test]
    fn the_condition_that_decides_is_named() {
        let rule = r#"{"where": {"all": [
            {"is": {"attribute": "country", "values": ["DE", "AT"]}},
            {"any": [{"at_least": {"attribute": "tenure", "number": 100}}, {"absent": {"attribute": "tenure"}}]},
            {"not": {"is": {"attribute": "banned", "values": [true]}}}]}}"#;
        for (attributes, is_in, words) in [
            (r#"{"country": "DE", "tenure": 7}"#, false, "tenure is 7, and that it is at least 100 does not hold"),
            (r#"{"country": "FR", "tenure": 7}"#, false, "country is \"FR\""),
            (r#"{"tenure": 700}"#, false, "nothing is known of country"),
            (r#"{"country": "AT", "banned": true}"#, false, "not (banned is true"),
            (r#"{"country": "AT"}"#, true, "nothing is known of tenure"),
        ] {
            let (found, reason) = asked(rule, &[], attributes);
            assert!(found == is_in && reason.contains(words), "{attributes}: {found} {reason}");
        }
        assert_eq!(asked(r#"{"list": ["a"]}"#, &["a"], "{}"), (true, "the list names it".to_owned()));
        assert_eq!(asked(r#"{"list": ["a"]}"#, &["b"], "{}"), (false, "the list of 1 does not name it".to_owned()));
        let band = r#"{"score": {"attribute": "score", "from": 5, "below": 9}}"#;
        assert_eq!(asked(band, &[], r#"{"score": 5}"#), (true, "its score is 5, the band is 5 to below 9".to_owned()));
        assert!(!asked(band, &[], r#"{"score": "5"}"#).0 && !asked(band, &[], "{}").0);
    }
}
