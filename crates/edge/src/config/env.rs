//! Overrides from the environment: `PENSTOCK__SECTION__KEY=value`.
//!
//! It reads the process's environment only in [`Environment::from_process`]; everything else takes it as an argument.

use std::collections::BTreeMap;

/// What every override's name starts with.
const PREFIX: &str = "PENSTOCK__";

/// The variables of an environment that are meant as overrides, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The overrides in this process's environment. A value that is not UTF-8 is read lossily and then refused by its key's check.
    #[must_use]
    pub fn from_process() -> Self {
        Self::from_pairs(
            std::env::vars_os()
                .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())),
        )
    }

    /// The overrides among `pairs`; others are left alone.
    #[must_use]
    pub fn from_pairs(pairs: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(pairs.filter(|(name, _)| name.starts_with(PREFIX)).collect())
    }

    /// Variable, key (`section.key`, or `key` at the top) and value of each override.
    pub(super) fn overrides(&self) -> impl Iterator<Item = (&str, String, &str)> {
        self.0.iter().map(|(name, value)| {
            let key = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
            (name.as_str(), key, value.as_str())
        })
    }
}
