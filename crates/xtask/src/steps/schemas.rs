//! The admin API against its own description: schemathesis asks a real node everything that `/openapi.json` says may be
//! asked, and much that it says may not.
//!
//! It fails on statuses that are not described, on answers that are not as described, and on every 5xx.

use crate::node::{Node, step_dir};
use crate::run::{Context, Tally};
use crate::{say, shell};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The version that is installed, so that a run means the same tomorrow.
const VERSION: &str = "4.32.5";
/// It and all that it needs, each with its version: what PyPI has today changes nothing.
const REQUIREMENTS: &str = include_str!("schemathesis.txt");
/// How long the installation may take.
const INSTALL_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// How long the questions may take, in CI and in the full run: some ten times what they do.
const TIME_MAX: (Duration, Duration) = (Duration::from_secs(15 * 60), Duration::from_secs(90 * 60));
/// Cases for each operation and phase, in CI and in the full run.
const EXAMPLES: (u32, u32) = (12, 200);
/// What an answer must be. Whether a body that the schema allows is accepted is not asked: names of things that are not
/// there are well formed.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// Runs it against a quickstart node.
///
/// # Errors
/// When schemathesis cannot be had, the node does not start, or an answer is not as described.
pub fn check(context: &Context) -> Result<Tally> {
    let program = installed(context)?;
    let dir = step_dir(context, "schemas")?;
    let node = Node::start(context, &dir)?;
    let token = std::fs::read_to_string(node.get("admin_token_file")?)?;
    let config = dir.join("schemathesis.toml");
    // The token stays out of the arguments, which every user of the machine can read.
    std::fs::write(&config, "headers = { Authorization = \"Bearer ${PENSTOCK_ADMIN_TOKEN}\" }\n")?;
    let examples = context.pick(EXAMPLES.0, EXAMPLES.1);
    let start = Instant::now();
    let limit = context.pick(TIME_MAX.0, TIME_MAX.1);
    let mut command = shell::within(limit, program);
    command.current_dir(&dir).env("PENSTOCK_ADMIN_TOKEN", token.trim());
    command.arg("--config-file").arg(&config).args(["--no-color", "run"]);
    command.arg(format!("{}/openapi.json", node.get("admin_url")?)).args(["--tls-verify", node.get("ca_cert")?]);
    command.args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--warnings", "off"]);
    command.args(["--max-examples", &examples.to_string(), "--generation-database", "none", "--seed", "1"]);
    // One worker: Python 3.11 counts the depth of its parser for all threads together, and two of them stumble over it.
    command.args(["--workers", "1", "--request-timeout", "20", "--no-shrink", "--continue-on-failure"]);
    command.args(["--suppress-health-check", "all"]);
    // An answer without an end.
    command.args(["--exclude-path", "/v1/feed"]);
    let said = shell::quiet(&mut command)?;
    if said.timed_out() {
        bail!(
            "schemathesis was not done after {} minutes: a request hangs, or the machine is far slower than what this \
             bound was made for",
            limit.as_secs() / 60
        );
    }
    if !said.success {
        bail!(
            "the admin API does not do what /openapi.json says; each failure above has the curl command that shows it"
        );
    }
    let took = start.elapsed().as_secs_f64();
    let figures = said.lines.iter().rev().find(|line| line.contains("passed") || line.contains("generated"));
    let figures = figures.map(|line| line.trim().to_owned()).unwrap_or_default();
    ensure!(!figures.is_empty(), "schemathesis does not say how many cases it tried");
    node.stop()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(Tally::one().note(format!("{figures} ({took:.0} s)")))
}

/// The program, in a virtual environment below the target directory, made when it is not there as it should be.
fn installed(context: &Context) -> Result<PathBuf> {
    let home = context.target.join("schemathesis").join(VERSION);
    let (program, done) = (home.join("bin").join("schemathesis"), home.join("installed"));
    // The mark is written last, so that an interrupted installation is done again.
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == REQUIREMENTS) {
        return Ok(program);
    }
    say::line(&format!("installing schemathesis {VERSION} from PyPI into {}", home.display()));
    make(&home).with_context(|| {
        format!(
            "schemathesis {VERSION} cannot be installed: it needs python3-venv (apt-get install python3-venv) and, once, PyPI; \
             or by hand: python3 -m venv {home} && {home}/bin/pip install --no-deps --requirement \
             crates/xtask/src/steps/schemathesis.txt && cp crates/xtask/src/steps/schemathesis.txt {done}",
            home = home.display(),
            done = done.display(),
        )
    })?;
    std::fs::write(done, REQUIREMENTS)?;
    Ok(program)
}

fn make(home: &Path) -> Result<()> {
    shell::must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(home))?;
    let list = home.join("requirements.txt");
    std::fs::write(&list, REQUIREMENTS)?;
    // Nothing comes that is not in the list.
    let mut install = shell::within(INSTALL_TIME_MAX, home.join("bin").join("pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"]).arg(&list);
    shell::must(&mut install)?;
    Ok(())
}
