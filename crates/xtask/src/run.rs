//! Runs the steps of a plan in order, times them, adds up what passed and failed, prints the table.
//!
//! Owns no step: what they do is in `steps/`.

use crate::say;
use anyhow::Result;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How much a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What CI has time for.
    Short,
    /// What is run before an issue is closed.
    Full,
}

/// What every step may know.
#[derive(Debug, Clone)]
pub struct Context {
    /// The workspace root.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
    /// How much to do.
    pub depth: Depth,
}

impl Context {
    /// The release binary that the steps drive.
    #[must_use]
    pub fn penstock(&self) -> PathBuf {
        self.target.join("release").join("penstock")
    }

    /// `short` or `full`, whichever the depth asks for.
    #[must_use]
    pub fn pick<T>(&self, short: T, full: T) -> T {
        match self.depth {
            Depth::Short => short,
            Depth::Full => full,
        }
    }
}

/// What a step found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Checks that held.
    pub passed: u64,
    /// Checks that did not.
    pub failed: u64,
    /// Figures and notes for the table at the end.
    pub notes: Vec<String>,
}

impl Tally {
    /// A step that is one check, and it held.
    #[must_use]
    pub fn one() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Takes over another tally's counts and notes.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.notes.extend(other.notes);
    }
}

/// One step of a plan.
pub struct Step {
    /// Short name, for `--only`.
    pub name: &'static str,
    /// What it shows, in a few words.
    pub what: &'static str,
    /// Does it. An error counts as one failed check.
    pub run: fn(&Context) -> Result<Tally>,
}

struct Row {
    name: &'static str,
    took: Duration,
    tally: Tally,
}

/// Runs `steps`, all of them even when one fails, and prints the table.
///
/// Returns the sums; the last line printed is `N passed, N failed`.
pub fn run(context: &Context, steps: &[Step]) -> Tally {
    let rows: Vec<Row> = steps.iter().map(|step| run_one(context, step)).collect();
    let mut sum = Tally::default();
    say::line("\n=== summary");
    for row in &rows {
        say::line(&table_line(row));
        for note in &row.tally.notes {
            say::line(&format!("        {note}"));
        }
    }
    for row in rows {
        sum.add(row.tally);
    }
    say::line(&format!("{} passed, {} failed", sum.passed, sum.failed));
    sum
}

fn run_one(context: &Context, step: &Step) -> Row {
    say::step(step.name, step.what);
    let start = Instant::now();
    let tally = (step.run)(context).unwrap_or_else(|error| {
        say::loud(&format!("{} failed: {error:#}", step.name));
        Tally { failed: 1, ..Tally::default() }
    });
    let row = Row { name: step.name, took: start.elapsed(), tally };
    say::line(&table_line(&row));
    row
}

fn table_line(row: &Row) -> String {
    let verdict = if row.tally.failed == 0 { "ok" } else { "FAILED" };
    format!(
        "{verdict:<6} {:<12} {:>7.1} s  {:>5} passed  {:>3} failed",
        row.name,
        row.took.as_secs_f64(),
        row.tally.passed,
        row.tally.failed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context { root: PathBuf::new(), target: PathBuf::new(), depth: Depth::Short }
    }

    #[test]
    fn a_failing_step_is_counted_and_does_not_stop_the_rest() {
        let steps = [
            Step { name: "good", what: "", run: |_| Ok(Tally { passed: 3, failed: 0, notes: vec![] }) },
            Step { name: "bad", what: "", run: |_| anyhow::bail!("broken") },
            Step { name: "later", what: "", run: |_| Ok(Tally::one().note("a figure")) },
        ];
        let sum = run(&context(), &steps);
        assert_eq!((sum.passed, sum.failed), (4, 1));
        assert_eq!(sum.notes, ["a figure"]);
    }

    #[test]
    fn depth_picks() {
        assert_eq!(context().pick(1, 2), 1);
        assert_eq!(Context { depth: Depth::Full, ..context() }.pick(1, 2), 2);
    }
}
