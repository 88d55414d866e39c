//! The checks of the tree itself: what a reviewer would otherwise have to remember.
//!
//! Each check is a pure function from facts to findings, one line each, with a self-test over a doctored
//! input that it must catch. Reading the tree is done here and nowhere below.

pub mod arrows;
pub mod deps;
pub mod facts;
pub mod layout;
pub mod lexer;
pub mod metrics;
pub mod sources;

use crate::run::{Context, Tally};
use crate::{say, shell};
use anyhow::{Context as _, Result};
use cargo_metadata::{Metadata, MetadataCommand};
use std::path::Path;
use std::process::Command;

/// A file of the tree: path from the root with forward slashes, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path from the root.
    pub path: String,
    /// Content.
    pub text: String,
}

/// Everything the checks look at.
pub struct Tree {
    /// Entries of the top level that are not ignored.
    pub top: Vec<String>,
    /// Text files, tracked or new, without the ignored ones.
    pub files: Vec<File>,
    /// What cargo says about the members.
    pub metadata: Metadata,
    /// Path texts of this machine that must not be written down.
    pub machine_paths: Vec<String>,
}

impl Tree {
    /// Reads the tree.
    ///
    /// # Errors
    /// When git or cargo fails, or a file cannot be read.
    pub fn read(root: &Path) -> Result<Self> {
        let listing = shell::stdout_of(Command::new("git").current_dir(root).args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ]))?;
        let paths: Vec<&str> = listing.split('\0').filter(|path| !path.is_empty()).collect();
        let mut top: Vec<String> = paths.iter().filter_map(|path| path.split('/').next()).map(str::to_owned).collect();
        top.sort_unstable();
        top.dedup();
        let mut files = Vec::new();
        for path in paths {
            // A deleted file is still in git's index until it is committed; a binary file has no text to check.
            let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(File { path: path.to_owned(), text });
            }
        }
        let home = std::env::var("HOME").unwrap_or_default();
        Ok(Self { top, files, metadata: metadata(root)?, machine_paths: layout::machine_paths(root, &home) })
    }

    /// The text of one file.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }
}

/// What cargo says about the workspace and all it depends on.
///
/// # Errors
/// When `cargo metadata` fails.
pub fn metadata(root: &Path) -> Result<Metadata> {
    MetadataCommand::new().manifest_path(root.join("Cargo.toml")).exec().context("cargo metadata failed")
}

/// A named check.
pub struct Check {
    /// What it holds.
    pub name: &'static str,
    /// Findings, one line each; none when all is well.
    pub run: fn(&Tree) -> Vec<String>,
}

/// Every check.
pub const CHECKS: [Check; 14] = [
    Check { name: "the arrow diagram holds", run: arrows::check },
    Check { name: "the top level holds only what it may", run: layout::top_level },
    Check { name: "no path of this machine is written down", run: layout::no_machine_paths },
    Check { name: "every source file says what it owns", run: sources::module_docs },
    Check { name: "no source file is longer than 600 lines", run: sources::lengths },
    Check { name: "nothing is left for later", run: sources::nothing_for_later },
    Check { name: "unsafe is where it may be", run: sources::unsafe_files },
    Check { name: "the client carries no signing code", run: sources::client_does_not_sign },
    Check { name: "core only decides", run: sources::core_decides },
    Check { name: "only cli prints", run: sources::only_cli_prints },
    Check { name: "README facts equal Cargo.toml", run: facts::readme },
    Check { name: "every crate is on the architecture page", run: facts::architecture },
    Check { name: "the sample config is held against the defaults", run: facts::sample_config },
    Check { name: "metric names follow the pattern", run: metrics::check },
];

/// All checks as a step.
///
/// # Errors
/// When the tree cannot be read.
pub fn step(context: &Context) -> Result<Tally> {
    let tree = Tree::read(&context.root)?;
    let mut tally = Tally::default();
    for check in &CHECKS {
        let findings = (check.run)(&tree);
        if findings.is_empty() {
            tally.passed += 1;
            continue;
        }
        tally.failed += 1;
        say::loud(&format!("{}: not so", check.name));
        findings.iter().for_each(|finding| say::line(&format!("    {finding}")));
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_read_without_ignored_files() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the root");
        let tree = Tree::read(root).expect("a readable tree");
        assert!(tree.text("Cargo.toml").is_some_and(|text| text.contains("[workspace]")));
        assert!(tree.text("crates/xtask/src/tidy/mod.rs").is_some());
        assert!(!tree.top.iter().any(|entry| entry == "target"), "{:?}", tree.top);
    }
}
