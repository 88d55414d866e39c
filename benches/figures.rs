//! Figures, their goals, medians; the JSON document and the table made of them. Pure.

use serde::Serialize;
use std::fmt::Write as _;

/// What a figure should reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) name: String,
    /// The median.
    pub(crate) value: f64,
    /// Its unit; `ratio` for a comparison with a peer.
    pub(crate) unit: &'static str,
    /// The single runs, in order, so that a reader sees the noise.
    pub(crate) runs: Vec<f64>,
    /// What it should reach, if anything was promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<Goal>,
    /// Whether it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reached: Option<bool>,
}

/// All figures of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// Sizes were too small for the figures to mean anything; goals are not judged.
    pub(crate) smoke: bool,
    pub(crate) figures: Vec<Figure>,
}

impl Figures {
    pub(crate) const fn new(smoke: bool) -> Self {
        Self { smoke, figures: Vec::new() }
    }

    /// Adds a figure without a goal.
    pub(crate) fn add(&mut self, name: impl Into<String>, unit: &'static str, runs: Vec<f64>) {
        self.push(name.into(), unit, runs, None);
    }

    /// Adds a figure with a goal.
    pub(crate) fn judge(&mut self, name: impl Into<String>, unit: &'static str, runs: Vec<f64>, goal: Goal) {
        self.push(name.into(), unit, runs, Some(goal));
    }

    fn push(&mut self, name: String, unit: &'static str, runs: Vec<f64>, goal: Option<Goal>) {
        let value = median(&runs);
        let reached = goal.filter(|_| !self.smoke).map(|goal| match goal {
            Goal::AtLeast(bound) => value >= bound,
            Goal::AtMost(bound) => value <= bound,
        });
        self.figures.push(Figure { name, value, unit, runs, goal, reached });
    }

    /// How many goals were missed.
    pub(crate) fn missed(&self) -> usize {
        self.figures.iter().filter(|figure| figure.reached == Some(false)).count()
    }

    /// One document, on one line.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from("| figure | median | unit | goal | |\n|---|---|---|---|---|\n");
        for figure in &self.figures {
            let goal = match figure.goal {
                Some(Goal::AtLeast(bound)) => format!("≥ {bound}"),
                Some(Goal::AtMost(bound)) => format!("≤ {bound}"),
                None => String::new(),
            };
            let verdict = match figure.reached {
                Some(true) => "reached",
                Some(false) => "MISSED",
                None => "",
            };
            let _ =
                writeln!(table, "| {} | {} | {} | {goal} | {verdict} |", figure.name, shown(figure.value), figure.unit);
        }
        table
    }
}

/// Three significant digits.
fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The middle value, or the mean of the two middle ones; not a number when there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// Ratios of runs that were made beside each other.
pub(crate) fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "figures are rounded to three digits anyway")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).is_nan());
        assert_eq!(ratios(&[2.0, 9.0], &[4.0, 3.0]), [0.5, 3.0]);
    }

    #[test]
    fn goals_are_judged_but_not_in_a_smoke_run() {
        let fill = |smoke| {
            let mut figures = Figures::new(smoke);
            figures.judge("fast", "GB/s", vec![2.0], Goal::AtLeast(1.5));
            figures.judge("small", "MiB", vec![70.0], Goal::AtMost(64.0));
            figures.add("plain", "s", vec![1.0]);
            figures
        };
        assert_eq!(fill(false).missed(), 1);
        assert_eq!(fill(true).missed(), 0);
        assert!(fill(false).table().contains("| small | 70.0 | MiB | ≤ 64 | MISSED |"));
    }

    #[test]
    fn a_figure_without_runs_misses_its_goal() {
        let mut figures = Figures::new(false);
        figures.judge("lost", "s", vec![], Goal::AtMost(1.0));
        assert_eq!(figures.missed(), 1);
    }
}
