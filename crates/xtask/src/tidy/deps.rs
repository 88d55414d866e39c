//! Bans, licences and sources of every dependency, read from `.deny.toml`.
//!
//! Understands the part of cargo-deny's format that the file uses, and SPDX expressions with
//! `AND`, `OR`, `WITH`, parentheses and the old `/`.

use crate::shell;
use anyhow::{Context as _, Result};
use cargo_metadata::{Metadata, Package};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// What `.deny.toml` says.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Licences that may be linked, `X WITH Y` as one.
    pub licences: Vec<String>,
    /// Crates that may not, with the reason.
    pub banned: Vec<(String, String)>,
    /// Registries that crates may come from.
    pub registries: Vec<String>,
}

impl Rules {
    /// Reads the file's text.
    ///
    /// # Errors
    /// When a table or list that the check needs is not there.
    pub fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().context(".deny.toml is not TOML")?;
        let list = |section: &str, key: &str| {
            table
                .get(section)
                .and_then(|section| section.get(key))
                .and_then(toml::Value::as_array)
                .with_context(|| format!(".deny.toml has no list {section}.{key}"))
        };
        let texts = |values: &[toml::Value]| values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
        let banned = list("bans", "deny")?.iter().filter_map(|ban| {
            let text = |key| ban.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
            Some((text("name"), text("reason"))).filter(|(name, _)| !name.is_empty())
        });
        Ok(Self {
            licences: texts(list("licenses", "allow")?),
            banned: banned.collect(),
            registries: texts(list("sources", "allow-registry")?),
        })
    }
}

/// What cargo really builds, as `name vVERSION`: the lock file also names optional crates that nothing turns on.
///
/// # Errors
/// When `cargo tree` fails.
pub fn built(root: &Path) -> Result<BTreeSet<String>> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(["tree", "--workspace", "--target", "all", "--prefix", "none", "--format", "{p}"]);
    let text = shell::stdout_of(&mut command)?;
    Ok(text.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect())
}

/// One line for each broken rule among the crates that are built.
#[must_use]
pub fn check(metadata: &Metadata, built: &BTreeSet<String>, rules: &Rules) -> Vec<String> {
    let is_built = |package: &&Package| built.contains(&format!("{} v{}", package.name, package.version));
    metadata.packages.iter().filter(is_built).flat_map(|package| check_package(package, rules)).collect()
}

fn check_package(package: &Package, rules: &Rules) -> Vec<String> {
    let source = package.source.as_ref().map(|source| source.repr.as_str());
    check_facts(package.name.as_str(), package.license.as_deref(), source, rules)
}

fn check_facts(name: &str, licence: Option<&str>, source: Option<&str>, rules: &Rules) -> Vec<String> {
    let mut findings = Vec::new();
    if let Some((_, reason)) = rules.banned.iter().find(|(banned, _)| banned == name) {
        findings.push(format!("the crate {name} is banned: {reason}"));
    }
    match licence {
        None => findings.push(format!("the crate {name} names no licence")),
        Some(text) if !allowed(text, &rules.licences) => {
            findings.push(format!("the crate {name} is under {text}, which .deny.toml does not allow"));
        }
        Some(_) => (),
    }
    // A path dependency has no source; it is in this tree.
    if let Some(source) = source {
        let from_registry =
            source.strip_prefix("registry+").is_some_and(|url| rules.registries.iter().any(|r| r == url));
        if !from_registry {
            findings.push(format!("the crate {name} comes from {source}, which .deny.toml does not allow"));
        }
    }
    findings
}

/// Whether an SPDX expression can be met with the allowed licences alone. Malformed text cannot.
fn allowed(expression: &str, licences: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, licences };
    parser.any() == Some(true) && parser.words.is_empty()
}

struct Parser<'a> {
    words: &'a [&'a str],
    licences: &'a [String],
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Option<bool> {
        let mut met = self.all()?;
        while self.take("OR") {
            met |= self.all()?;
        }
        Some(met)
    }

    fn all(&mut self) -> Option<bool> {
        let mut met = self.term()?;
        while self.take("AND") {
            met &= self.term()?;
        }
        Some(met)
    }

    fn term(&mut self) -> Option<bool> {
        if self.take("(") {
            let met = self.any()?;
            return self.take(")").then_some(met);
        }
        let mut name = self.next()?.to_owned();
        if self.take("WITH") {
            name = format!("{name} WITH {}", self.next()?);
        }
        Some(self.licences.contains(&name))
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

    fn rules() -> Rules {
        let text = r#"
            [licenses]
            allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
            [bans]
            deny = [{ name = "openssl", reason = "TLS is rustls" }]
            [sources]
            allow-registry = ["https://github.com/rust-lang/crates.io-index"]
        "#;
        Rules::parse(text).expect("good rules")
    }

    #[test]
    fn licence_expressions_are_read_as_spdx_does() {
        let cases = [
            ("MIT", true),
            ("MIT OR GPL-3.0", true),
            ("MIT/GPL-3.0", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND Apache-2.0", true),
            ("(MIT AND GPL-3.0) OR LGPL-2.1", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH LLVM-exception", false),
            ("GPL-3.0", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("MIT )", false),
            ("", false),
        ];
        for (expression, expected) in cases {
            assert_eq!(allowed(expression, &rules().licences), expected, "{expression}");
        }
    }

    #[test]
    fn each_rule_catches_its_case() {
        let findings = |name, licence, source| check_facts(name, licence, source, &rules());
        assert!(findings("bytes", Some("MIT"), Some(CRATES_IO)).is_empty());
        assert!(findings("penstock-core", Some("Apache-2.0 OR MIT"), None).is_empty());
        assert!(findings("openssl", Some("MIT"), Some(CRATES_IO))[0].contains("banned: TLS is rustls"));
        assert!(findings("x", Some("AGPL-3.0"), Some(CRATES_IO))[0].contains("AGPL-3.0"));
        assert!(findings("x", None, Some(CRATES_IO))[0].contains("names no licence"));
        assert!(findings("x", Some("MIT"), Some("git+https://example.org/x"))[0].contains("comes from git+"));
        assert!(findings("x", Some("MIT"), Some("registry+https://example.org/index"))[0].contains("comes from"));
    }

    #[test]
    fn rules_without_a_list_are_refused() {
        assert!(Rules::parse("[licenses]\nallow = []").is_err());
        assert!(Rules::parse("not toml").is_err());
    }
}
