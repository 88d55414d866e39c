//! Real input: two versions of real packages go through publish → pull → update → compare, byte for byte.
//!
//! The packages come from their registries by name and version, through pip and npm. Builds of our own
//! making do not show what real ones do. When one cannot be had, the step fails and says so.

use crate::node::{Node, step_dir};
use crate::run::{Context, Tally};
use crate::{say, shell};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registry {
    PyPi,
    Npm,
}

/// Two versions of one package.
#[derive(Debug, Clone, Copy)]
struct Pair {
    registry: Registry,
    package: &'static str,
    old: &'static str,
    new: &'static str,
}

const PYGAME: Pair = Pair { registry: Registry::PyPi, package: "pygame", old: "2.6.0", new: "2.6.1" };
const PHASER: Pair = Pair { registry: Registry::Npm, package: "phaser", old: "4.2.0", new: "4.2.1" };
const PLAYWRIGHT: Pair = Pair { registry: Registry::PyPi, package: "playwright", old: "1.65.1", new: "1.65.2" };
const PANDA3D: Pair = Pair { registry: Registry::PyPi, package: "panda3d", old: "1.10.15", new: "1.10.16" };
const CESIUM: Pair = Pair { registry: Registry::Npm, package: "cesium", old: "1.144.0", new: "1.145.0" };

/// Runs the pairs: two in CI, all of them in the full run.
///
/// # Errors
/// When a package cannot be had, a command fails, or a byte differs.
pub fn check(context: &Context) -> Result<Tally> {
    let dir = step_dir(context, "pairs")?;
    let downloads = context.target.join("xtask").join("downloads");
    fs::create_dir_all(&downloads)?;
    let node = Node::start(context, &dir)?;
    let mut tally = Tally::default();
    for pair in wanted(shell::has("npm"), context.pick(false, true)) {
        tally.notes.push(run_pair(context, &node, pair, &downloads, &dir).with_context(|| pair.package.to_owned())?);
        tally.passed += 1;
    }
    node.stop()?;
    fs::remove_dir_all(&dir)?;
    Ok(tally)
}

/// Without npm, PyPI alone carries enough pairs.
fn wanted(npm: bool, all: bool) -> Vec<Pair> {
    let mut pairs = vec![PYGAME, if npm { PHASER } else { PLAYWRIGHT }];
    if !npm {
        say::loud("npm is not installed: phaser is replaced by playwright from PyPI");
    }
    if all {
        let rest = [PLAYWRIGHT, PANDA3D, CESIUM].into_iter().filter(|pair| npm || pair.registry == Registry::PyPi);
        let missing: Vec<Pair> = rest.filter(|pair| !pairs.iter().any(|there| there.package == pair.package)).collect();
        pairs.extend(missing);
    }
    pairs
}

fn run_pair(context: &Context, node: &Node, pair: Pair, downloads: &Path, dir: &Path) -> Result<String> {
    say::line(&format!("{} {} → {}", pair.package, pair.old, pair.new));
    let old = unpack(pair, pair.old, &fetch(pair, pair.old, downloads)?, dir)?;
    let new = unpack(pair, pair.new, &fetch(pair, pair.new, downloads)?, dir)?;
    let install = dir.join(format!("{}-install", pair.package));
    let mut bytes = Vec::new();
    for (version, tree) in [(pair.old, &old), (pair.new, &new)] {
        publish(context, node, pair, version, tree)?;
        bytes.push(pull(context, node, pair, &install)?);
        compare(tree, &install)?;
    }
    let size = tree_bytes(&new)?;
    for place in [&old, &new, &install] {
        fs::remove_dir_all(place)?;
    }
    Ok(format!(
        "{} {} → {}: {:.1} MB; first install {:.2} MB, update {:.2} MB; every byte equal",
        pair.package,
        pair.old,
        pair.new,
        megabytes(size),
        megabytes(bytes[0]),
        megabytes(bytes[1])
    ))
}

/// Downloads one version's archive, or finds it where an earlier run left it.
fn fetch(pair: Pair, version: &str, downloads: &Path) -> Result<PathBuf> {
    let place = downloads.join(format!("{}-{version}", pair.package));
    if let Some(file) = only_file(&place)? {
        return Ok(file);
    }
    fs::create_dir_all(&place)?;
    let mut command = match pair.registry {
        Registry::PyPi => {
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
            pip.args(["--only-binary=:all:", "--platform=manylinux2014_x86_64", "--platform=manylinux1_x86_64"]);
            pip.args(["--python-version=311", "--implementation=cp", "--dest", "."]);
            pip.arg(format!("{}=={version}", pair.package));
            pip
        }
        Registry::Npm => {
            let mut npm = Command::new("npm");
            npm.args(["pack", "--silent", &format!("{}@{version}", pair.package)]);
            npm
        }
    };
    let got = shell::must(command.current_dir(&place));
    if let Err(error) = got {
        fs::remove_dir_all(&place)?;
        bail!("REAL INPUT MISSING: {} {version} could not be had from its registry: {error}", pair.package);
    }
    only_file(&place)?.with_context(|| format!("the registry's client left no file in {}", place.display()))
}

fn only_file(dir: &Path) -> Result<Option<PathBuf>> {
    if !dir.is_dir() {
        return Ok(None);
    }
    Ok(fs::read_dir(dir)?.next().transpose()?.map(|entry| entry.path()))
}

fn unpack(pair: Pair, version: &str, archive: &Path, dir: &Path) -> Result<PathBuf> {
    let tree = dir.join(format!("{}-{version}", pair.package));
    fs::create_dir_all(&tree)?;
    match pair.registry {
        Registry::PyPi => {
            shell::must(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(archive).arg(&tree))?;
        }
        Registry::Npm => {
            shell::must(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&tree))?;
        }
    }
    ensure!(tree_bytes(&tree)? > 1_000_000, "{} {version} unpacked to almost nothing", pair.package);
    Ok(tree)
}

fn publish(context: &Context, node: &Node, pair: Pair, version: &str, tree: &Path) -> Result<()> {
    let tree = tree.to_str().context("a temporary path is text")?;
    let words = [
        "publish",
        tree,
        "--product",
        pair.package,
        "--version",
        version,
        "--channel",
        "stable",
        "--access",
        "open",
        "--key",
    ];
    let mut command = node.command(context, &words)?;
    command.args([node.get("publisher_key")?, "--to", node.get("data_dir")?, "--json"]);
    shell::must(&mut command)?;
    Ok(())
}

/// Installs or updates, and returns the bytes that were downloaded.
fn pull(context: &Context, node: &Node, pair: Pair, install: &Path) -> Result<u64> {
    let install = install.to_str().context("a temporary path is text")?;
    let words = ["pull", "--from", node.get("https_url")?, "--product", pair.package, "--into", install, "--json"];
    let mut command = node.command(context, &words)?;
    command.args([
        "--ca",
        node.get("ca_cert")?,
        "--trust",
        node.get("trust")?,
        "--token-file",
        node.get("token_file")?,
    ]);
    let report: Value = serde_json::from_str(&shell::stdout_of(&mut command)?).context("pull --json prints JSON")?;
    downloaded(&report).with_context(|| format!("pull --json does not say how much was downloaded: {report}"))
}

fn downloaded(report: &Value) -> Option<u64> {
    report.get("downloaded_bytes")?.as_u64()
}

/// Every file of `tree` is in `install` with the same bytes and executable bit, and nothing else is but the client's own
/// records.
fn compare(tree: &Path, install: &Path) -> Result<()> {
    let words = ["--recursive", "--no-dereference", "--exclude=.penstock*"];
    let said = shell::quiet(Command::new("diff").args(words).arg(tree).arg(install))?;
    ensure!(said.success, "the install differs from what was published");
    same_modes(tree, install)
}

fn same_modes(tree: &Path, install: &Path) -> Result<()> {
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        let (about, other) = (entry.metadata()?, install.join(entry.file_name()));
        if about.is_dir() {
            same_modes(&entry.path(), &other)?;
        } else if about.is_file() {
            let executable = |mode: u32| mode & 0o100 != 0;
            let installed = fs::symlink_metadata(&other)?.permissions().mode();
            ensure!(
                executable(about.permissions().mode()) == executable(installed),
                "{} has another executable bit than what was published",
                other.display()
            );
        }
    }
    Ok(())
}

fn tree_bytes(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        sum += if about.is_dir() { tree_bytes(&entry.path())? } else { about.len() };
    }
    Ok(sum)
}

#[expect(clippy::cast_precision_loss, reason = "for people; sizes here are far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_two_pairs_run_with_or_without_npm() {
        for npm in [true, false] {
            for all in [true, false] {
                let mut names: Vec<_> = wanted(npm, all).iter().map(|pair| pair.package).collect();
                assert!(names.len() >= 2 && (npm || !names.contains(&"phaser")));
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), wanted(npm, all).len());
            }
        }
    }

    #[test]
    fn a_changed_byte_a_lost_and_a_strange_file_are_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (tree, install) = (dir.path().join("tree"), dir.path().join("install"));
        for place in [&tree, &install] {
            fs::create_dir_all(place.join("sub")).expect("made");
            fs::write(place.join("sub/file"), "same").expect("written");
        }
        fs::create_dir(install.join(".penstock")).expect("made");
        compare(&tree, &install).expect("equal trees");
        fs::write(install.join("sub/file"), "sama").expect("written");
        assert!(compare(&tree, &install).is_err());
        fs::write(install.join("sub/file"), "same").expect("written");
        fs::set_permissions(install.join("sub/file"), fs::Permissions::from_mode(0o755)).expect("set");
        assert!(compare(&tree, &install).is_err(), "another executable bit");
        fs::set_permissions(install.join("sub/file"), fs::Permissions::from_mode(0o644)).expect("set");
        fs::write(install.join("strange"), "x").expect("written");
        assert!(compare(&tree, &install).is_err());
        fs::remove_file(install.join("strange")).expect("removed");
        fs::remove_file(install.join("sub/file")).expect("removed");
        assert!(compare(&tree, &install).is_err());
    }
}
