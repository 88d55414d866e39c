//! The only place of this crate that prints. Everything else hands text to it.
//!
//! Output goes to stdout, line by line, so that a log of a run reads in order.

#![expect(clippy::print_stdout, reason = "a build tool talks to the person who runs it")]

use std::io::Write as _;

/// Prints one line.
pub fn line(text: &str) {
    println!("{text}");
    // A pipe that was closed early must not hide the result of the run.
    let _ = std::io::stdout().flush();
}

/// Prints the opening line of a step.
pub fn step(name: &str, what: &str) {
    line(&format!("\n=== {name}: {what}"));
}

/// Prints a note that a reader must not miss.
pub fn loud(text: &str) {
    line(&format!("!!! {text}"));
}
