//! The only place of this package that prints: results to stdout, everything else to stderr.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a measuring tool talks to the person who runs it")]

/// A result: the JSON document or the table.
pub(crate) fn result(text: &str) {
    println!("{text}");
}

/// What is going on.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}
