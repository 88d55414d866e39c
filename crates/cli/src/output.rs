//! The only printing: one document or text on stdout, everything else on stderr.
//!
//! With `--json` stdout carries exactly one document, also when the result is bad news; errors go to
//! stderr as text. A reader that closes the pipe early is not an error.

use crate::failure::Failure;
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};

/// Where results and messages go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    bars: bool,
}

impl Output {
    /// Bars are drawn only when stderr is a terminal and nobody asked for quiet.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, bars: !quiet && std::io::stderr().is_terminal() }
    }

    /// Whether the result is to be one JSON document.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// Whether progress may be drawn.
    pub(crate) const fn draws_bars(self) -> bool {
        self.bars
    }

    /// Prints a command's result: the document with `--json`, else the text.
    ///
    /// # Errors
    /// When stdout cannot be written, but for a closed pipe.
    pub(crate) fn result<T: Serialize>(self, document: &T, text: &str) -> std::io::Result<()> {
        if self.json {
            let mut line = serde_json::to_vec(document)?;
            line.push(b'\n');
            return to_stdout(&line);
        }
        let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        to_stdout(format!("{text}{newline}").as_bytes())
    }

    /// Says something on stderr that is not a result.
    pub(crate) fn note(self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        // When even stderr is gone there is nobody left to tell.
        let _ = writeln!(stderr, "{text}");
    }

    /// Says why the command failed: the chain of causes, outermost first.
    pub(crate) fn failure(self, failure: &Failure) {
        self.note(&describe(failure));
    }
}

fn describe(failure: &Failure) -> String {
    let word = match failure {
        Failure::Failed(_) | Failure::Usage(_) => "error",
        Failure::Refused(_) => "refused",
    };
    let mut text = String::new();
    for cause in failure.error().chain() {
        let cause = cause.to_string();
        // A transparent wrapper says what its source says.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    format!("{word}{text}")
}

fn to_stdout(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_failure_names_every_cause_once() {
        let source = std::io::Error::other("disk on fire");
        let error = Err::<(), _>(source).context("cannot write x").expect_err("an error");
        assert_eq!(describe(&Failure::Failed(error)), "error: cannot write x: disk on fire");
        assert_eq!(describe(&Failure::Refused(anyhow::Error::msg("no"))), "refused: no");
    }
}
