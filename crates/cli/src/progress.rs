//! Progress bars: drawn by indicatif on a terminal, silent in a pipe.
//!
//! Implements what `publish` and `client` tell whoever watches. Notes go to stderr in any case.

use crate::output::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One line that is a bar for one phase after the other.
pub(crate) struct Bar {
    /// The phase's bar: a new one each time, because one that is changed draws what is neither the old nor the new.
    bar: Mutex<ProgressBar>,
    /// What all of it is about, such as `publish 1.0: `.
    title: String,
    output: Output,
}

impl Bar {
    /// A bar, hidden when progress may not be drawn. Nothing is drawn before the first phase.
    pub(crate) fn new(output: Output) -> Self {
        Self { bar: Mutex::new(ProgressBar::hidden()), title: String::new(), output }
    }

    /// A bar of one of several steps.
    pub(crate) fn titled(output: Output, title: &str) -> Self {
        let mut bar = Self::new(output);
        bar.title = format!("{title}: ");
        bar
    }

    /// A phase begins; a total of 0 means that nobody knows.
    fn phase(&self, label: &'static str, unit: Unit, total: u64) {
        let mut bar = self.lock();
        bar.finish_and_clear();
        if self.output.draws_bars() {
            *bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
                .with_style(style(unit, total))
                .with_message(format!("{}{label}", self.title));
            bar.enable_steady_tick(Duration::from_millis(200));
        }
    }

    /// A phase that counts bytes begins.
    pub(crate) fn begin_bytes(&self, label: &'static str, total: u64) {
        self.phase(label, Unit::Bytes, total);
    }

    /// So much more is done.
    pub(crate) fn advance_by(&self, amount: u64) {
        self.lock().inc(amount);
    }

    fn say(&self, text: &str) {
        self.lock().suspend(|| self.output.note(text));
    }

    fn lock(&self) -> MutexGuard<'_, ProgressBar> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.lock().finish_and_clear();
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
            "{msg} [{bar:30}] {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left"
        }
        (Unit::Items, _) => "{msg} [{bar:30}] {pos} of {len}",
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
        self.lock().inc(amount);
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
        self.lock().inc(bytes);
    }

    fn note(&self, text: &str) {
        self.say(text);
    }
}
