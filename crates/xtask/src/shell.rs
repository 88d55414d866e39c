//! Starts commands, passes their output on line by line, and counts test results in it.
//!
//! Must not decide what is run: that is the steps' business.

use crate::run::Tally;
use crate::say;
use anyhow::{Context as _, Result, bail};
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Lines of output in flight between the child's pipes and the log.
const LINES_IN_FLIGHT: usize = 256;
/// Lines of a failed quiet command that are worth reading.
const LINES_SHOWN: usize = 200;

/// What a command said.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Whether it ended with code 0.
    pub success: bool,
    /// Its exit code, if it was not killed.
    pub code: Option<i32>,
    /// Standard output and standard error, in order of arrival.
    pub lines: Vec<String>,
}

/// Commands of `timeout` (coreutils): it ends what still runs after `limit`, and what does not end then, ten seconds later.
#[must_use]
pub fn within(limit: Duration, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", &limit.as_secs().to_string()]).arg(program);
    command
}

/// Runs `command` and passes its output on.
///
/// # Errors
/// When it cannot be started.
pub fn stream(command: &mut Command) -> Result<Said> {
    watch(command, say::line)
}

/// Runs `command` quietly; the end of its output is printed when it fails.
///
/// # Errors
/// When it cannot be started.
pub fn quiet(command: &mut Command) -> Result<Said> {
    let said = watch(command, |_| ())?;
    if !said.success {
        let shown = &said.lines[said.lines.len().saturating_sub(LINES_SHOWN)..];
        shown.iter().for_each(|line| say::line(line));
    }
    Ok(said)
}

impl Said {
    /// Whether a command made by [`within`] was ended because its time was over.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        matches!(self.code, Some(124 | 137))
    }
}

/// Runs `command` and fails unless it ends with code 0.
///
/// # Errors
/// When it cannot be started or ends otherwise.
pub fn must(command: &mut Command) -> Result<Said> {
    let said = quiet(command)?;
    if !said.success {
        bail!("{} ended with {}", name_of(command), code_text(&said));
    }
    Ok(said)
}

/// Standard output of `command` alone, which must end with code 0.
///
/// # Errors
/// When it cannot be started, ends otherwise or prints no text.
pub fn stdout_of(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", name_of(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}: {}", name_of(command), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed something that is not text", name_of(command)))
}

/// Whether a program of this name is on the path.
#[must_use]
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(extra).any(|dir| dir.join(program).is_file())
}

/// Sums of the result lines that cargo test and nextest print.
#[must_use]
pub fn count_tests(lines: &[String]) -> Tally {
    let mut tally = Tally::default();
    let is_summary = |line: &str| line.starts_with("Summary [") && line.contains("tests run:");
    // nextest shows the output of a test that failed, with a result line of its own: only its summary counts.
    let nextest = lines.iter().any(|line| is_summary(line.trim_start()));
    for line in lines {
        let line = line.trim_start();
        if is_summary(line) || (!nextest && line.starts_with("test result:")) {
            tally.passed += number_before(line, "passed");
            tally.failed += number_before(line, "failed") + number_before(line, "timed out");
        }
    }
    tally
}

fn number_before(line: &str, word: &str) -> u64 {
    let Some((before, _)) = line.split_once(&format!(" {word}")) else { return 0 };
    before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn watch(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<Said> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", name_of(command)))?;
    let (sender, receiver) = sync_channel(LINES_IN_FLIGHT);
    let readers = [
        child.stdout.take().map(|pipe| reader(pipe, sender.clone())),
        child.stderr.take().map(|pipe| reader(pipe, sender)),
    ];
    let mut lines = Vec::new();
    for line in receiver {
        on_line(&line);
        lines.push(line);
    }
    for handle in readers.into_iter().flatten() {
        handle.join().map_err(|_| anyhow::anyhow!("the reader of a pipe panicked"))?;
    }
    let status = child.wait()?;
    Ok(Said { success: status.success(), code: status.code(), lines })
}

fn reader(pipe: impl Read + Send + 'static, sender: SyncSender<String>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        // A read error on a pipe means that the other end is gone, which is the end of the output.
        while pipe.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if sender.send(line).is_err() {
                return;
            }
        }
    })
}

fn name_of(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().take(3).map(|arg| arg.to_string_lossy().into_owned()));
    format!("`{}`", words.join(" "))
}

fn code_text(said: &Said) -> String {
    said.code.map_or_else(|| "a signal".to_owned(), |code| format!("code {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runners_results_are_counted() {
        let count = |lines: &[&str]| {
            let tally = count_tests(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
            (tally.passed, tally.failed)
        };
        let cargo = [
            "test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            "a line about 99 passed exams",
        ];
        assert_eq!(count(&cargo), (5, 1));
        // The output of the failed test is shown before the summary, and is not counted again.
        let nextest = [
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 12 filtered out",
            "     Summary [   3.052s] 12 tests run: 10 passed (1 slow), 1 failed, 1 timed out, 3 skipped",
        ];
        assert_eq!(count(&nextest), (10, 2));
    }

    #[test]
    fn output_and_code_are_seen() {
        let said = quiet(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).expect("sh starts");
        assert_eq!((said.success, said.code), (false, Some(3)));
        let mut lines = said.lines;
        lines.sort();
        assert_eq!(lines, ["err", "out"]);
    }

    #[test]
    fn what_takes_too_long_is_ended_and_said_to_be() {
        let said = quiet(within(Duration::from_secs(1), "sleep").arg("600")).expect("timeout starts");
        assert!(!said.success && said.timed_out());
        let said = quiet(within(Duration::from_secs(60), "sh").args(["-c", "exit 3"])).expect("timeout starts");
        assert!(!said.timed_out() && said.code == Some(3));
    }

    #[test]
    fn must_refuses_a_failing_command_and_an_absent_one() {
        let failing = must(Command::new("sh").args(["-c", "exit 1"])).expect_err("code 1");
        assert!(failing.to_string().contains("code 1"), "{failing}");
        assert!(must(&mut Command::new("penstock-no-such-program")).is_err());
        assert!(!has("penstock-no-such-program"));
        assert!(has("sh"));
    }
}
