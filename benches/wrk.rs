//! The generator: wrk from its Debian package, asking for random ranges through a Lua script.
//!
//! An independent program, so that nobody has to trust our own generator when servers are compared.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// What one run brought.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Bytes received, heads included.
    pub(crate) bytes: u64,
    /// Requests that were answered whole.
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
}

/// Who asks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Callers<'a> {
    /// Nobody says who it is.
    #[default]
    Strangers,
    /// Each thread is one player, for as long as the run lasts: with as many threads as connections, each connection has a
    /// token of its own. The first thread takes the token of this number.
    OneEach {
        /// A file with a token on each line.
        tokens: &'a Path,
        /// The first one's.
        first: usize,
    },
    /// Each request shows another token, one after the other.
    AnotherEachTime {
        /// A file with a token on each line.
        tokens: &'a Path,
    },
}

/// One load.
#[derive(Debug, Clone)]
pub(crate) struct Load<'a> {
    pub(crate) url: &'a str,
    pub(crate) connections: u32,
    pub(crate) threads: u32,
    pub(crate) seconds: u32,
    pub(crate) object_bytes: u64,
    pub(crate) range_bytes: u64,
    pub(crate) callers: Callers<'a>,
}

/// Runs it; the Lua script is written to `dir`.
pub(crate) fn run(load: &Load<'_>, dir: &Path) -> Result<Run> {
    let script = dir.join("range.lua");
    std::fs::write(&script, lua(load))?;
    let output = Command::new("wrk")
        .args(["-t", &load.threads.to_string(), "-c", &load.connections.to_string()])
        .args(["-d", &format!("{}s", load.seconds), "--timeout", "30s", "-s"])
        .arg(&script)
        .arg(load.url)
        .output()
        .context("cannot start wrk: apt-get install wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk ended with {}: {text}", output.status);
    parse(&text, load.range_bytes)
}

/// Most answers that are under way when the time is over: one on each connection.
const IN_FLIGHT_MAX: u64 = 512;
/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: u64 = 2048;

fn parse(text: &str, range_bytes: u64) -> Result<Run> {
    let line = text.lines().find(|line| line.starts_with('{')).context("wrk's script printed no result")?;
    let value: Value = serde_json::from_str(line)?;
    let number = |key: &str| value.get(key).and_then(Value::as_u64).with_context(|| format!("wrk names no {key}"));
    ensure!(number("wrong")? == 0, "wrk saw {} refusals: {text}", number("wrong")?);
    ensure!(number("errors")? == 0, "wrk saw socket errors: {text}");
    let (requests, bytes) = (number("requests")?, number("bytes")?);
    ensure!(requests > 0, "wrk got no answer: {text}");
    // wrk counts requests that it has the whole answer to, and bytes of those under way too.
    let each = bytes / requests;
    ensure!(
        each >= range_bytes && bytes / (requests + IN_FLIGHT_MAX) <= range_bytes + HEAD_BYTES_MAX,
        "{each} bytes an answer are not a range of {range_bytes}: {text}"
    );
    Ok(Run { bytes, requests, seconds: super::figures::number(number("micros")?) / 1e6 })
}

/// Each thread has its own Lua state and its own seed; `done` sums up. There is no `response` function: with one, wrk
/// gathers every body and hands it to Lua, and measures itself. It counts statuses from 400 on; that the others are
/// 206 shows in the bytes for each request.
fn lua(load: &Load<'_>) -> String {
    let (read, next) = match load.callers {
        Callers::Strangers => (String::new(), ""),
        Callers::OneEach { tokens, first } => (
            read_tokens(tokens, &format!("{first} + seed - 1")),
            r#"headers["Authorization"] = tokens[at % #tokens + 1]"#,
        ),
        Callers::AnotherEachTime { tokens } => (
            read_tokens(tokens, "seed * 7919"),
            r#"at = at + 1
  headers["Authorization"] = tokens[at % #tokens + 1]"#,
        ),
    };
    format!(
        r#"
local threads = {{}}
local next_seed = 1
function setup(thread)
  thread:set("seed", next_seed)
  next_seed = next_seed + 1
  table.insert(threads, thread)
end
function init(args)
  math.randomseed(seed)
  {read}
end
function request()
  local start = math.floor(math.random() * ({object} - {range} + 1))
  local headers = {{ ["Host"] = "localhost", ["Range"] = "bytes=" .. string.format("%.0f-%.0f", start, start + {range} - 1) }}
  {next}
  return wrk.format("GET", nil, headers)
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{{"requests":%d,"bytes":%d,"micros":%d,"errors":%d,"wrong":%d}}\n',
    summary.requests, summary.bytes, summary.duration, e.connect + e.read + e.write + e.timeout, e.status))
end
"#,
        object = load.object_bytes,
        range = load.range_bytes,
    )
}

/// Reads the tokens once, and chooses where to begin.
fn read_tokens(file: &Path, at: &str) -> String {
    format!(
        "tokens = {{}}\n  for line in io.lines({:?}) do table.insert(tokens, \"Bearer \" .. line) end\n  at = {at}",
        file.to_string_lossy()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_and_bad_results() {
        let good = "Running 5s test\n{\"requests\":10,\"bytes\":1000,\"micros\":2000000,\"errors\":0,\"wrong\":0}\n";
        let run = parse(good, 90).expect("a good result");
        assert_eq!((run.bytes, run.requests), (1000, 10));
        assert!((run.seconds - 2.0).abs() < 1e-9);
        for bad in
            [good.replace("\"wrong\":0", "\"wrong\":3"), good.replace("\"errors\":0", "\"errors\":1"), String::new()]
        {
            assert!(parse(&bad, 90).is_err(), "{bad}");
        }
        assert!(parse(good, 101).is_err(), "less than was asked for");
        let whole = good.replace("\"bytes\":1000", "\"bytes\":100000000");
        assert!(parse(&whole, 90).is_err(), "whole blobs instead of ranges");
    }
}
