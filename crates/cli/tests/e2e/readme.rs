//! Every command of README.md that is marked as tested is run.
//!
//! A block fenced as ```` ```sh test ```` is a shell script: it runs in an empty directory with
//! `penstock` on the path, and must end with 0. `cargo run … --` stands for the binary under test.

use crate::world::{BINARY, said};
use std::path::Path;
use std::process::Command;

/// The blocks marked as tested, in order.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match &mut open {
            None if line.trim() == "```sh test" => open = Some(String::new()),
            None => {}
            Some(_) if line.trim() == "```" => blocks.extend(open.take()),
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a block marked as tested is not closed");
    blocks
}

/// The command that a reader of a checkout types, as the binary that this test has.
fn with_binary(block: &str) -> String {
    ["cargo run --release --quiet -- ", "cargo run --release -- ", "cargo run -- "]
        .iter()
        .fold(block.to_owned(), |block, typed| block.replace(typed, "penstock "))
}

#[test]
fn the_commands_of_the_readme_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("README.md")).expect("README.md is there");
    let blocks = blocks(&text);
    assert!(!blocks.is_empty(), "README.md has no block fenced as ```sh test");
    let scratch = tempfile::tempdir().expect("a directory");
    let bin = Path::new(BINARY).parent().expect("a file's directory");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    // One shell for all blocks: a later one uses what an earlier one made.
    let script: String = blocks.iter().map(|block| with_binary(block)).collect();
    assert!(!script.contains("cargo "), "cannot stand in for a cargo command of:\n{script}");
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(scratch.path())
        .env("PATH", path)
        .output()
        .expect("bash starts");
    assert!(output.status.success(), "{}\nscript:\n{script}", said(&output));
}

#[test]
fn blocks_are_found_and_others_left_alone() {
    let text = "a\n```sh\nrm -rf /\n```\n```sh test\ncargo run --release -- plan\n```\n";
    assert_eq!(blocks(text), ["cargo run --release -- plan\n"]);
    assert_eq!(with_binary(&blocks(text)[0]), "penstock plan\n");
}
