//! Progress bars: drawn by indicatif on a terminal, silent in a pipe.
//!
//! Implements what `publish` and `client` tell whoever watches. Notes go to stderr in any case.

use crate::output::Output;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// One bar that changes its label from phase to phase.
pub(crate) struct Bar {
    bar: ProgressBar,
    output: Output,
}

impl Bar {
    /// A bar, hidden when progress may not be drawn.
    pub(crate) fn new(output: Output) -> Self {
        let bar = if output.draws_bars() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, output }
    }

    /// A phase begins; a total of 0 means that nobody knows.
    fn phase(&self, label: &'static str, unit: Unit, total: u64) {
        self.bar.reset();
        self.bar.set_length(total);
        self.bar.set_style(style(unit, total));
        self.bar.set_message(label);
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| self.output.note(text));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Items,
}

fn style(unit: Unit, total: u64) -> ProgressStyle {
    let template = match (unit, total) {
        (_, 0) => "{spinner} {msg}",
        (Unit::Bytes, _) => {
            "{msg:>10} [{bar:30}] {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left"
        }
        (Unit::Items, _) => "{msg:>10} [{bar:30}] {pos} of {len}",
    };
    ProgressStyle::with_template(template).expect("the templates above are well-formed").progress_chars("=> ")
}

impl penstock_client::Progress for Bar {
    fn begin(&self, phase: penstock_client::Phase, total: u64) {
        use penstock_client::Phase;
        let (label, unit) = match phase {
            Phase::Recover => ("recover", Unit::Items),
            Phase::Discover => ("discover", Unit::Items),
            Phase::Plan => ("plan", Unit::Bytes),
            Phase::Scan => ("check", Unit::Bytes),
            Phase::Reuse => ("reuse", Unit::Bytes),
            Phase::Fetch => ("fetch", Unit::Bytes),
            Phase::Sync => ("sync", Unit::Bytes),
            Phase::Commit => ("commit", Unit::Items),
        };
        self.phase(label, unit, total);
    }

    fn advance(&self, amount: u64) {
        self.bar.inc(amount);
    }

    fn note(&self, text: &str) {
        self.say(text);
    }
}

impl penstock_publish::Progress for Bar {
    fn begin(&self, phase: penstock_publish::Phase, total: u64) {
        use penstock_publish::Phase;
        let label = match phase {
            Phase::Scan => "scan",
            Phase::Chunk => "chunk",
            Phase::Reuse => "reuse",
            Phase::Pack => "pack",
            Phase::Manifest => "manifest",
            Phase::Register => "register",
        };
        self.phase(label, Unit::Bytes, total);
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn note(&self, text: &str) {
        self.say(text);
    }
}
