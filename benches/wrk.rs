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
    pub(crate) seconds: f64,
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
    Ok(Run { bytes: number("bytes")?, seconds: super::figures::number(number("micros")?) / 1e6 })
}

/// Each thread has its own Lua state and its own seed; `done` sums up. There is no `response` function: with one, wrk
/// gathers every body and hands it to Lua, and measures itself. It counts statuses from 400 on; that the others are
/// 206 shows in the bytes for each request.
fn lua(load: &Load<'_>) -> String {
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
end
function request()
  local start = math.floor(math.random() * ({object} - {range} + 1))
  return wrk.format("GET", nil, {{ ["Host"] = "localhost", ["Range"] = "bytes=" .. string.format("%.0f-%.0f", start, start + {range} - 1) }})
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_and_bad_results() {
        let good = "Running 5s test\n{\"requests\":10,\"bytes\":1000,\"micros\":2000000,\"errors\":0,\"wrong\":0}\n";
        let run = parse(good, 90).expect("a good result");
        assert_eq!(run.bytes, 1000);
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
