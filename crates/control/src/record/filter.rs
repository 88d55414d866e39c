//! `WHERE` clauses made of the filters that a caller named: conditions are ours, values are always bound.

use crate::sql::{Connection, Row, SqlError, Value};

/// A `SELECT` with conditions that were added one by one.
pub(crate) struct Select<'a> {
    sql: String,
    bound: Vec<Value<'a>>,
}

impl<'a> Select<'a> {
    /// Begins with everything up to the first condition: `SELECT … FROM … WHERE x > `, and its value.
    pub(crate) fn new(start: String, value: impl Into<Value<'a>>) -> Self {
        let mut select = Self { sql: start, bound: Vec::new() };
        select.bind(value.into());
        select
    }
    /// Adds a condition whose value comes last, such as `kind =`, when there is a value.
    pub(crate) fn and(&mut self, condition: &'static str, value: Option<impl Into<Value<'a>>>) {
        if let Some(value) = value {
            self.push(" AND ");
            self.push(condition);
            self.bind(value.into());
        }
    }
    /// Adds a piece of SQL of ours.
    pub(crate) fn push(&mut self, sql: &'static str) {
        self.sql.push_str(sql);
    }
    /// Adds a value where the statement stands now.
    pub(crate) fn bind(&mut self, value: Value<'a>) {
        self.bound.push(value);
        self.sql.push_str(&format!(" ${}", self.bound.len()));
    }
    /// Orders by a column and takes the first `limit` rows.
    pub(crate) fn rows<T, E: From<SqlError>>(
        mut self,
        connection: &Connection,
        order: &'static str,
        limit: i64,
        read: impl FnMut(&Row<'_>) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        self.push(" ORDER BY ");
        self.push(order);
        self.push(" LIMIT");
        self.bind(limit.into());
        connection.query(&self.sql, &self.bound, read)
    }
}

/// The first text, in the order of bytes, behind all that begin with `prefix`; `None` when there is none.
pub(crate) fn after_prefix(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // UTF-8 sorts as its code points do; between D7FF and E000 there are none.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_begins_with_a_prefix_if_it_lies_between(prefix in ".{1,4}", text in ".{0,6}", tail in ".{0,3}") {
            for text in [text, format!("{prefix}{tail}")] {
                let is_below = after_prefix(&prefix).is_none_or(|end| text < end);
                prop_assert_eq!(text >= prefix && is_below, text.starts_with(&prefix));
            }
        }
    }

    #[test]
    fn the_last_characters_of_all_have_nothing_behind_them() {
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
    }
}
