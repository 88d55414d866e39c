//! The tree is tidy: the same checks as `cargo xtask tidy`, so that a plain `cargo test` holds them too.

use penstock_xtask::tidy::{CHECKS, Tree};
use std::path::Path;

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the root");
    let tree = Tree::read(root).expect("a readable tree");
    let findings: Vec<String> = CHECKS
        .iter()
        .flat_map(|check| (check.run)(&tree).into_iter().map(|finding| format!("{}: {finding}", check.name)))
        .collect();
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}
