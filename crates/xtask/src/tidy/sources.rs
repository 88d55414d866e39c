//! What every source file must be like: documented, short, finished, safe, silent.

use super::lexer::{code, has_word, product_code};
use super::{File, Tree};

/// Longest source file in lines. Past it, a file holds a second idea.
const LINES_MAX: usize = 600;

/// Where `unsafe` may stand, each file with its contract.
const UNSAFE_FILES: [&str; 3] = ["crates/store/src/map.rs", "crates/store/src/sigbus.rs", "crates/edge/src/sockopt.rs"];

/// Where a program may print: the binary, and what is not the product.
const PRINTING: [&str; 5] =
    ["crates/store/examples/", "crates/cli/", "crates/testkit/", "crates/xtask/src/say.rs", "benches/say.rs"];

/// Source files that do not open with `//!`.
pub fn module_docs(tree: &Tree) -> Vec<String> {
    rust(tree)
        .filter(|file| !opens_with_docs(&file.text))
        .map(|file| format!("{} has no `//!` at its top", file.path))
        .collect()
}

fn opens_with_docs(text: &str) -> bool {
    text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > "//! ".len() + 10)
}

/// Source files that are too long.
pub fn lengths(tree: &Tree) -> Vec<String> {
    rust(tree)
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| {
            format!("{} has {lines} lines, more than {LINES_MAX}: which idea is the second one?", file.path)
        })
        .collect()
}

/// Files with words that promise to do something later.
pub fn nothing_for_later(tree: &Tree) -> Vec<String> {
    // Put together here, so that this file does not find itself.
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()];
    let lines =
        tree.files.iter().filter(|file| is_written_by_hand(&file.path)).flat_map(|file| {
            file.text.lines().enumerate().map(move |(index, line)| (file.path.as_str(), index + 1, line))
        });
    lines
        .filter_map(|(path, number, line)| {
            let word = words.iter().find(|word| has_word(line, word))?;
            Some(format!("{path}:{number} says {word}"))
        })
        .collect()
}

fn is_written_by_hand(path: &str) -> bool {
    ["rs", "toml", "md", "yml", "yaml", "service", "socket", "sh", "sql"]
        .iter()
        .any(|end| path.ends_with(&format!(".{end}")))
}

/// `unsafe` outside the files that may hold it.
pub fn unsafe_files(tree: &Tree) -> Vec<String> {
    rust(tree)
        .filter(|file| !UNSAFE_FILES.contains(&file.path.as_str()) && has_word(&code(&file.text), "unsafe"))
        .map(|file| format!("{} uses unsafe; only {} may", file.path, UNSAFE_FILES.join(", ")))
        .collect()
}

/// Product code of the client that mentions what only a publisher needs.
pub fn client_does_not_sign(tree: &Tree) -> Vec<String> {
    rust(tree)
        .filter(|file| file.path.starts_with("crates/client/src/"))
        .filter(|file| ["sign", "SecretKey"].iter().any(|word| has_word(&product_code(&file.text), word)))
        .map(|file| format!("{} mentions core::sign: a player's machine carries no signing code", file.path))
        .collect()
}

/// Product code of core that mentions what looks or acts. Its clippy file bans the functions that come to mind; this
/// bans the modules. Sharing what never changes is neither: `Arc` may be used.
pub fn core_decides(tree: &Tree) -> Vec<String> {
    const OUTSIDE: [&str; 9] = [
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "std::os",
        "std::io",
        "std::sync",
        "Instant",
        "SystemTime",
    ];
    rust(tree)
        .filter(|file| file.path.starts_with("crates/core/src/") && !is_test(&file.path))
        .filter_map(|file| {
            let code = product_code(&file.text).replace("std::sync::Arc", "");
            let sockets = ["TcpStream", "TcpListener", "UdpSocket", "UnixStream"];
            let found = OUTSIDE.iter().chain(&sockets).find(|word| has_word(&code, word))?;
            Some(format!("{} mentions {found}: core decides, others look and act", file.path))
        })
        .collect()
}

/// Printing macros in product code outside the crate that prints.
pub fn only_cli_prints(tree: &Tree) -> Vec<String> {
    rust(tree)
        .filter(|file| !PRINTING.iter().any(|place| file.path.starts_with(place)) && !is_test(&file.path))
        .filter(|file| prints(&product_code(&file.text)))
        .map(|file| format!("{} prints; only cli does", file.path))
        .collect()
}

fn prints(code: &str) -> bool {
    ["println!", "eprintln!", "print!", "eprint!", "dbg!"].iter().any(|call| {
        code.match_indices(call).any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

fn rust(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.files.iter().filter(|file| file.path.ends_with(".rs"))
}

#[cfg(test)]
mod tests {
    use super::super::metadata;
    use super::*;
    use std::path::Path;
    use std::sync::LazyLock;

    static METADATA: LazyLock<cargo_metadata::Metadata> = LazyLock::new(|| {
        metadata(Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the root")).expect("cargo metadata")
    });

    fn tree(path: &str, text: &str) -> Tree {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        Tree { top: vec![], files: vec![file], metadata: METADATA.clone(), machine_paths: vec![] }
    }

    #[test]
    fn missing_docs_and_long_files_are_caught() {
        assert!(module_docs(&tree("crates/core/src/x.rs", "//! What this file owns, said plainly.\n")).is_empty());
        assert_eq!(module_docs(&tree("crates/core/src/x.rs", "use std::fmt;\n")).len(), 1);
        assert_eq!(module_docs(&tree("crates/core/src/x.rs", "//! stub\n")).len(), 1);
        assert_eq!(module_docs(&tree("crates/core/src/x.rs", "")).len(), 1);
        assert!(lengths(&tree("a.rs", &"\n".repeat(LINES_MAX))).is_empty());
        assert_eq!(lengths(&tree("a.rs", &"\n".repeat(LINES_MAX + 1))).len(), 1);
    }

    #[test]
    fn promises_are_caught() {
        let promise = format!("// {}{} later", "TO", "DO");
        assert_eq!(nothing_for_later(&tree("crates/core/src/x.rs", &promise)).len(), 1);
        assert_eq!(nothing_for_later(&tree("deploy/x.service", &promise)).len(), 1);
        assert!(nothing_for_later(&tree("crates/core/src/x.rs", "// done")).is_empty());
        assert!(nothing_for_later(&tree("crates/core/src/x.rs", "const METHODO: u8 = 1;")).is_empty());
    }

    #[test]
    fn unsafe_is_caught_outside_its_files() {
        let text = "fn f() { unsafe { g() } }";
        assert_eq!(unsafe_files(&tree("crates/core/src/x.rs", text)).len(), 1);
        assert!(unsafe_files(&tree("crates/store/src/map.rs", text)).is_empty());
        assert!(unsafe_files(&tree("crates/core/src/x.rs", "// unsafe\n#![deny(unsafe_code)]")).is_empty());
    }

    #[test]
    fn a_signing_client_is_caught_unless_it_is_a_test() {
        let path = "crates/client/src/session.rs";
        assert_eq!(client_does_not_sign(&tree(path, "use penstock_core::{blob, sign};")).len(), 1);
        assert_eq!(client_does_not_sign(&tree(path, "let key = SecretKey::from_seed(&seed);")).len(), 1);
        assert!(
            client_does_not_sign(&tree(path, "#[cfg(test)]\nmod tests { use penstock_core::sign::seal; }")).is_empty()
        );
        assert!(client_does_not_sign(&tree("crates/publish/src/sign.rs", "use penstock_core::sign::seal;")).is_empty());
    }

    #[test]
    fn a_core_that_looks_or_acts_is_caught() {
        let path = "crates/core/src/range.rs";
        for text in
            ["use std::fs::OpenOptions;", "let home = std::env::vars();", "fn f(at: &Path) { std::io::empty(); }"]
        {
            assert_eq!(core_decides(&tree(path, text)).len(), 1, "{text}");
        }
        assert!(core_decides(&tree(path, "use std::net::IpAddr;\n// std::fs is not for us\n")).is_empty());
        assert!(core_decides(&tree(path, "#[cfg(test)]\nmod tests { fn f() { std::env::vars(); } }")).is_empty());
        assert!(core_decides(&tree("crates/store/src/disk.rs", "use std::fs::File;")).is_empty());
    }

    #[test]
    fn printing_is_caught_outside_cli_and_tests() {
        let text = "fn f() { println!(\"x\"); }";
        assert_eq!(only_cli_prints(&tree("crates/edge/src/x.rs", text)).len(), 1);
        assert_eq!(only_cli_prints(&tree("crates/xtask/src/main.rs", text)).len(), 1);
        assert!(only_cli_prints(&tree("crates/cli/src/output.rs", text)).is_empty());
        assert!(only_cli_prints(&tree("crates/edge/tests/x.rs", text)).is_empty());
        assert!(only_cli_prints(&tree("crates/edge/src/x.rs", "fn f() { my_println!(1); } // println!()")).is_empty());
    }
}
