//! What an embargo policy may look like. Checked before it is stored; every edge keeps it.

use super::{Embargo, RULES_MAX};
use crate::limits::NAME_BYTES_MAX;

/// Export classes of one policy: the lists that studios follow have some dozens.
pub const CLASSES_MAX: usize = 256;

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbargoError {
    /// Too many classes.
    #[error("classes: a policy has rules for at most {CLASSES_MAX} export classes, this one for {0}")]
    Classes(usize),
    /// A name that no product's class can be.
    #[error("classes: the name of an export class has at most {NAME_BYTES_MAX} bytes and no control characters")]
    Name,
    /// Too many rules.
    #[error("classes.{class}: a class has at most {RULES_MAX} rules, this one {rules}")]
    Rules {
        /// The class.
        class: String,
        /// Rules found.
        rules: usize,
    },
}

impl Embargo {
    /// Whether it keeps the bounds.
    ///
    /// # Errors
    /// [`EmbargoError`], the first that applies.
    pub fn check(&self) -> Result<(), EmbargoError> {
        if self.classes.len() > CLASSES_MAX {
            return Err(EmbargoError::Classes(self.classes.len()));
        }
        for (class, rules) in &self.classes {
            if class.len() > NAME_BYTES_MAX || class.chars().any(char::is_control) {
                return Err(EmbargoError::Name);
            }
            if rules.regions.len() > RULES_MAX {
                return Err(EmbargoError::Rules { class: class.clone(), rules: rules.regions.len() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{ClassRules, Region, Ruling};

    fn with_rules(class: &str, rules: usize) -> Embargo {
        let code = |number: usize| {
            let letter = |number: usize| char::from(b'A' + u8::try_from(number % 26).expect("a letter"));
            let country: String = [letter(number / 26), letter(number)].iter().collect();
            format!("{country}-{}", number / 676).parse::<Region>().expect("a region")
        };
        let regions = (0..rules).map(|number| (code(number), Ruling::Deny)).collect();
        let rules = ClassRules { regions, ..ClassRules::default() };
        Embargo { version: 0, classes: [(class.to_owned(), rules)].into() }
    }

    #[test]
    fn each_bound_is_kept_and_named() {
        assert_eq!(Embargo::default().check(), Ok(()));
        assert_eq!(with_rules("5D002", RULES_MAX).check(), Ok(()));
        let rules = RULES_MAX + 1;
        assert_eq!(with_rules("5D002", rules).check(), Err(EmbargoError::Rules { class: "5D002".to_owned(), rules }));
        assert_eq!(with_rules(&"x".repeat(NAME_BYTES_MAX), 0).check(), Ok(()));
        assert_eq!(with_rules(&"x".repeat(NAME_BYTES_MAX + 1), 0).check(), Err(EmbargoError::Name));
        assert_eq!(with_rules("a\nb", 0).check(), Err(EmbargoError::Name));
        let many = |count: usize| {
            let classes = (0..count).map(|number| (number.to_string(), ClassRules::default()));
            Embargo { version: 0, classes: classes.collect() }
        };
        assert_eq!(many(CLASSES_MAX).check(), Ok(()));
        assert_eq!(many(CLASSES_MAX + 1).check(), Err(EmbargoError::Classes(CLASSES_MAX + 1)));
    }
}
