//! Where each value comes from: a line of the file or a variable, and the reading of one value after another.
//!
//! It knows TOML and nothing about what keys mean. Every mistake becomes a [`ConfigProblem`] with its place; reading
//! always goes on, so that one run shows all of them.

use super::check::{ConfigProblem, Place, ProblemKind};
use super::env::Environment;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use toml::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// Where keys were written, and what went wrong so far.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// By `section.key`; what holds its default has none.
    pub(super) places: BTreeMap<String, Place>,
    /// Problems, in the order of the file.
    pub(super) problems: Vec<ConfigProblem>,
}

impl Written {
    /// Where a key was written; `None` if it holds its default.
    pub(super) fn place(&self, key: &str) -> Option<&Place> {
        self.places.get(key)
    }
}

/// Hands out values by key; what nobody asks for is unknown.
pub(super) struct Reader {
    values: BTreeMap<String, (Place, Vec<Value>)>,
    written: Written,
}

impl Reader {
    pub(super) fn new(text: &str, env: &Environment, sections: &[(&str, &[&str])]) -> Self {
        let mut reader = Self { values: BTreeMap::new(), written: Written::default() };
        let lines = Lines::of(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error.span().map_or(1, |span| lines.at(span.start));
            reader.problem(Place::Line(line), "", ProblemKind::Syntax, error.message().to_owned());
        }
        for (name, value) in table.get_ref() {
            let place = Place::Line(lines.at(name.span().start));
            let known = sections.iter().any(|(section, _)| *section == name.get_ref());
            match value.get_ref() {
                DeValue::Table(keys) if known => {
                    for (key, value) in keys {
                        let place = Place::Line(lines.at(key.span().start));
                        let path = format!("{}.{}", name.get_ref(), key.get_ref());
                        reader.insert(path, place, value.clone().into());
                    }
                }
                _ if known => reader.problem(
                    place,
                    name.get_ref(),
                    ProblemKind::Value,
                    format!("is a section: write [{}]", name.get_ref()),
                ),
                _ => reader.insert(name.get_ref().to_string(), place, value.clone().into()),
            }
        }
        for (variable, key, value) in env.overrides() {
            reader.override_with(variable, key, value);
        }
        reader
    }

    /// The value of a key, or its default if it is absent or wrong.
    pub(super) fn take<T: DeserializeOwned>(&mut self, section: &str, key: &str, default: T) -> T {
        let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
        let Some((place, readings)) = self.values.remove(&path) else { return default };
        self.written.places.insert(path.clone(), place.clone());
        let mut mistake = None;
        for value in readings {
            match OneOrMany::read(value) {
                Ok(value) => return value,
                Err(error) => mistake = mistake.or(Some(error)),
            }
        }
        if let Some(message) = mistake {
            self.problem(place, &path, ProblemKind::Value, message);
        }
        default
    }

    /// What is left is unknown.
    pub(super) fn finish(mut self) -> Written {
        for (path, (place, _)) in std::mem::take(&mut self.values) {
            self.problem(place, &path, ProblemKind::UnknownKey, "is not a key of this version".to_owned());
        }
        self.written.problems.sort_by(|a, b| a.place.cmp(&b.place));
        self.written
    }

    fn insert(&mut self, path: String, place: Place, value: ValueDeserializer<'_>) {
        match Value::deserialize(value) {
            Ok(value) => _ = self.values.insert(path, (place, vec![value])),
            Err(error) => self.problem(place, &path, ProblemKind::Value, error.message().to_owned()),
        }
    }

    /// A variable's text is tried as a TOML value (numbers, booleans, lists) and then as a plain text.
    fn override_with(&mut self, variable: &str, key: String, text: &str) {
        let place = Place::Variable(variable.to_owned());
        let parsed = ValueDeserializer::parse(text).and_then(Value::deserialize);
        if let Err(error) = &parsed
            && is_meant_as_list(text)
        {
            // As a plain text it would be refused with a word about its content, which is not what is wrong.
            self.values.remove(&key);
            let message = format!("is no valid TOML list: {}", error.message());
            return self.problem(place, &key, ProblemKind::Value, message);
        }
        let plain = Value::String(text.to_owned());
        let readings = parsed.into_iter().chain([plain]).collect();
        self.values.insert(key, (place, readings));
    }

    fn problem(&mut self, place: Place, key: &str, kind: ProblemKind, message: String) {
        self.written.problems.push(ConfigProblem { place, key: key.to_owned(), kind, message });
    }
}

/// Whether a text begins as a list does. `[::]:8443` is an address.
fn is_meant_as_list(text: &str) -> bool {
    let inside = text.trim_start().strip_prefix('[').map(str::trim_start);
    inside.is_some_and(|inside| inside.starts_with(['"', '\'', '{']))
}

/// A list may be written as its only element.
struct OneOrMany;

impl OneOrMany {
    fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
        let listed = matches!(value, Value::String(_)).then(|| Value::Array(vec![value.clone()]));
        match (value.try_into::<T>(), listed) {
            (Ok(value), _) => Ok(value),
            (Err(error), None) => Err(error.message().to_owned()),
            (Err(error), Some(list)) => list.try_into::<T>().map_err(|_| error.message().to_owned()),
        }
    }
}

/// Byte offsets to line numbers, counted from 1.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset) + 1
    }
}
