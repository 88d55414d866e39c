//! The first promise of the README: one command publishes, serves, installs, updates and verifies.

use crate::node::step_dir;
use crate::run::{Context, Tally};
use crate::shell;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const TEXTS: [&str; 6] = ["https_url", "http_url", "admin_url", "trust", "product", "channel"];
const PLACES: [&str; 6] = ["ca_cert", "token_file", "admin_token_file", "publisher_key", "data_dir", "config"];

/// The contract: it serves within this time. Everything up to there and the update behind it are in what is timed.
const SERVES_WITHIN_SECONDS: f64 = 20.0;

/// Runs it once, holds its summary against the contract, and asks `verify` whether the install is intact.
///
/// # Errors
/// When it fails, or the summary lacks something.
pub fn check(context: &Context) -> Result<Tally> {
    let dir = step_dir(context, "quickstart")?;
    let home = dir.join("home");
    let start = Instant::now();
    let mut command = Command::new(context.penstock());
    let text = shell::stdout_of(command.args(["quickstart", "--once", "--json", "--port", "0", "--dir"]).arg(&home))?;
    let took = start.elapsed().as_secs_f64();
    let summary: Value = serde_json::from_str(&text).context("quickstart --json prints one JSON document")?;
    check_summary(&summary)?;
    ensure!(
        took < SERVES_WITHIN_SECONDS,
        "quickstart --once took {took:.1} s, it must serve within {SERVES_WITHIN_SECONDS} s"
    );
    ensure!(summary.get("verified") == Some(&Value::Bool(true)), "quickstart does not say that it verified every byte");
    shell::must(Command::new(context.penstock()).arg("verify").arg(home.join("install")))?;
    std::fs::remove_dir_all(&dir)?;
    Ok(Tally { passed: 2, ..Tally::default() }
        .note(format!("quickstart --once took {took:.1} s; {}", figures(&summary))))
}

/// Megabytes fetched by the install and by the update.
fn figures(summary: &Value) -> String {
    let fetched = |step: &str| {
        let bytes = summary.get(step).and_then(|report| report.get("downloaded_bytes")).and_then(Value::as_f64);
        bytes.map_or_else(|| "?".to_owned(), |bytes| format!("{:.1}", bytes / 1e6))
    };
    format!("install fetched {} MB, update {} MB", fetched("install"), fetched("update"))
}

fn check_summary(summary: &Value) -> Result<()> {
    for key in TEXTS {
        ensure!(summary.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty()), "no text {key}");
    }
    for key in PLACES {
        let place = summary.get(key).and_then(Value::as_str).with_context(|| format!("no path {key}"))?;
        ensure!(Path::new(place).is_absolute(), "{key} is not absolute: {place}");
        ensure!(Path::new(place).exists(), "{key} names {place}, which is not there");
    }
    let versions = summary.get("versions").and_then(Value::as_array).context("no list versions")?;
    ensure!(versions.len() == 2, "quickstart publishes two versions, the summary names {}", versions.len());
    ensure!(summary.get("pid").is_some_and(Value::is_u64), "no number pid");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn summary() -> Value {
        json!({
            "https_url": "https://127.0.0.1:1", "http_url": "http://127.0.0.1:2", "admin_url": "https://127.0.0.1:3",
            "trust": "k", "product": "p", "channel": "stable", "ca_cert": "/", "token_file": "/",
            "admin_token_file": "/", "publisher_key": "/", "data_dir": "/", "config": "/",
            "versions": ["1", "2"], "pid": 7,
        })
    }

    #[test]
    fn a_summary_needs_every_key() {
        check_summary(&summary()).expect("a whole summary");
        for key in TEXTS.into_iter().chain(PLACES).chain(["versions", "pid"]) {
            let mut doctored = summary();
            doctored.as_object_mut().expect("an object").remove(key);
            assert!(check_summary(&doctored).is_err(), "{key}");
        }
    }

    #[test]
    fn relative_and_lost_files_are_refused() {
        for place in ["here", "/penstock-no-such-place"] {
            let mut doctored = summary();
            doctored["config"] = json!(place);
            assert!(check_summary(&doctored).is_err(), "{place}");
        }
    }
}
