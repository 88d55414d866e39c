//! The systemd units of deploy/: accepted by `systemd-analyze verify`, exposure at most 1.5.

use crate::node::step_dir;
use crate::run::{Context, Tally};
use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Highest exposure, in tenths, that `systemd-analyze security` may find.
const EXPOSURE_TENTHS: u32 = 15;

/// Verifies every unit below deploy/.
///
/// # Errors
/// When there is no unit, or one is refused.
pub fn check(context: &Context) -> Result<Tally> {
    let dir = step_dir(context, "units")?;
    let units = copy_units(context, &dir)?;
    if !units.iter().any(|unit| is_service(unit)) {
        bail!("deploy/ has no service unit");
    }
    let mut tally = Tally::default();
    let path = format!("{}:", dir.display());
    let said = shell::must(
        Command::new("systemd-analyze").env("SYSTEMD_UNIT_PATH", &path).args(["verify", "--man=no"]).args(&units),
    )?;
    // verify warns about what it ignores and still ends with 0.
    let warnings: Vec<&String> = said.lines.iter().filter(|line| line.contains(&*dir.to_string_lossy())).collect();
    if !warnings.is_empty() {
        bail!("systemd-analyze verify warns: {warnings:?}");
    }
    tally.passed += u64::try_from(units.len())?;
    for unit in units.iter().filter(|unit| is_service(unit)) {
        let said = shell::must(
            Command::new("systemd-analyze")
                .args(["security", "--offline=yes", "--no-pager"])
                .arg(format!("--threshold={EXPOSURE_TENTHS}"))
                .arg(unit),
        )?;
        tally.passed += 1;
        tally.notes.extend(said.lines.last().cloned());
    }
    Ok(tally)
}

fn is_service(unit: &Path) -> bool {
    unit.extension().is_some_and(|extension| extension == "service")
}

/// Copies the units beside each other and points them at the built binary, since `verify` looks for it.
fn copy_units(context: &Context, to: &Path) -> Result<Vec<PathBuf>> {
    let binary = context.penstock();
    let binary = binary.to_str().context("the target directory is text")?;
    let mut units = Vec::new();
    for path in files_below(&context.root.join("deploy"))? {
        let is_unit = ["service", "socket", "timer"].iter().any(|end| path.extension().is_some_and(|e| e == *end));
        let Some(name) = path.file_name().filter(|_| is_unit) else { continue };
        let text = std::fs::read_to_string(&path)?;
        let text = text.replace("/usr/local/bin/penstock", binary).replace("/usr/bin/penstock", binary);
        let copy = to.join(name);
        std::fs::write(&copy, text)?;
        units.push(copy);
    }
    Ok(units)
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
