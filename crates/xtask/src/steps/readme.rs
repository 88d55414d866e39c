//! Every command in README.md, run as it stands there.
//!
//! A fence tagged "sh test" is run; one tagged "sh test serves" is started, and the rest waits until it
//! serves. Fences with shell commands and no tag are a finding: a reader cannot tell which ones work.

use crate::node::step_dir;
use crate::run::{Context, Tally};
use crate::{say, shell};
use anyhow::{Context as _, Result, bail, ensure};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// A tagged fence of the README.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fence {
    /// Line of its first command, counted from 1.
    line: usize,
    /// Whether it keeps running.
    serves: bool,
    /// The commands.
    text: String,
}

/// Runs the fences in order, in an empty directory, as one script.
///
/// # Errors
/// When a fence fails, or none is tagged.
pub fn check(context: &Context) -> Result<Tally> {
    let text = std::fs::read_to_string(context.root.join("README.md")).context("there is no README.md")?;
    let fences = fences(&text)?;
    ensure!(fences.iter().any(|fence| fence.serves), "no fence of README.md is tagged \"sh test serves\"");
    let dir = step_dir(context, "readme")?;
    write_cargo_shim(context, &dir.join("bin"))?;
    std::fs::create_dir(dir.join("work"))?;
    let script = dir.join("script.sh");
    std::fs::write(&script, script_text(&fences))?;
    let path = format!("{}:{}", dir.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    // The README's ports are fixed ones; a network of its own keeps them free.
    let mut command = if own_network() { unshared(&script) } else { plain(&script) };
    let said = shell::stream(command.current_dir(dir.join("work")).env("PATH", path).env("CARGO_NET_OFFLINE", "true"))?;
    let done = said.lines.iter().filter(|line| line.starts_with("fence at line ") && line.ends_with(" ok")).count();
    if !said.success || done != fences.len() {
        bail!("{done} of {} fences of README.md ran well", fences.len());
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(Tally { passed: u64::try_from(done)?, ..Tally::default() })
}

fn fences(text: &str) -> Result<Vec<Fence>> {
    let mut fences = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(tag) = line.strip_prefix("```").filter(|tag| !tag.is_empty()) else { continue };
        let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        match tag {
            "sh test" | "sh test serves" => {
                fences.push(Fence { line: number + 2, serves: tag.ends_with("serves"), text: body.join("\n") })
            }
            "sh" | "bash" | "console" | "shell" => {
                bail!(
                    "the fence at line {} of README.md holds commands that no test runs: tag it \"sh test\"",
                    number + 1
                )
            }
            _ => (),
        }
    }
    Ok(fences)
}

fn script_text(fences: &[Fence]) -> String {
    let mut script =
        String::from("set -eu\nSERVES=\ntrap 'for pid in $SERVES; do kill -TERM $pid || true; done' EXIT\n");
    for Fence { line, serves, text } in fences {
        if *serves {
            let _ = write!(
                script,
                "sh -euc 'trap \"kill -TERM \\$!; wait \\$!\" TERM; {{ {} ; }} & wait $!' > serves-{line}.log 2>&1 &\n\
                 SERVES=\"$SERVES $!\"\n\
                 for i in $(seq 1200); do ls */quickstart.json >/dev/null 2>&1 && break; sleep 0.1; done\n\
                 ls */quickstart.json >/dev/null || {{ cat serves-{line}.log; exit 1; }}\n",
                text.trim()
            );
        } else {
            let _ = writeln!(script, "( set -eux\n{text}\n)");
        }
        // Some commands end their output without a newline.
        let _ = writeln!(script, "printf '\\nfence at line {line} ok\\n'");
    }
    script
}

/// `cargo run` in the README stands for a run in a clone; here the directory is another.
fn write_cargo_shim(context: &Context, bin: &Path) -> Result<()> {
    std::fs::create_dir_all(bin)?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let manifest = context.root.join("Cargo.toml");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = run ] && shift\nexec '{cargo}' run --manifest-path '{}' \"$@\"\n",
        manifest.display()
    );
    let shim = bin.join("cargo");
    std::fs::write(&shim, text)?;
    shell::must(Command::new("chmod").arg("755").arg(&shim))?;
    Ok(())
}

fn own_network() -> bool {
    let works = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
    let works = works.is_ok_and(|output| output.status.success());
    if !works {
        say::line("no network namespace of its own: the README's ports must be free");
    }
    works
}

fn unshared(script: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "ip link set lo up && exec sh \"$0\""]).arg(script);
    command
}

fn plain(script: &Path) -> Command {
    let mut command = Command::new("sh");
    command.arg(script);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tagged_fences_are_found_with_their_lines() {
        let text = "# x\n```sh test serves\nserve it\n```\ntext\n```text\nnot run\n```\n```sh test\na\nb\n```\n";
        let found = fences(text).expect("good fences");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].line, found[0].serves, found[0].text.as_str()), (3, true, "serve it"));
        assert_eq!((found[1].line, found[1].serves, found[1].text.as_str()), (10, false, "a\nb"));
    }

    #[test]
    fn commands_that_no_test_runs_are_refused() {
        for tag in ["sh", "bash", "console", "shell"] {
            assert!(fences(&format!("```{tag}\nrm x\n```\n")).is_err(), "{tag}");
        }
    }

    #[test]
    fn the_script_starts_servers_and_stops_at_a_failure() {
        let dir = tempfile::tempdir().expect("a directory");
        let fence = |line, serves, text: &str| Fence { line, serves, text: text.to_owned() };
        let run = |fences: &[Fence]| {
            let script = dir.path().join("script.sh");
            std::fs::write(&script, script_text(fences)).expect("written");
            shell::quiet(plain(&script).current_dir(dir.path())).expect("sh starts")
        };
        let serving = fence(1, true, "mkdir -p q; echo {} > q/quickstart.json; sleep 600");
        let good = run(&[serving.clone(), fence(2, false, "cat q/quickstart.json")]);
        assert!(good.success, "{:?}", good.lines);
        assert_eq!(good.lines.iter().filter(|line| line.ends_with(" ok")).count(), 2);
        let bad = run(&[serving, fence(2, false, "false\ntrue"), fence(3, false, "true")]);
        assert!(!bad.success && !bad.lines.contains(&"fence at line 3 ok".to_owned()), "{:?}", bad.lines);
    }
}
