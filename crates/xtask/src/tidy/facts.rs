//! Facts that are written down twice and must agree: README and Cargo.toml, the architecture page and
//! the crates, the sample config and the defaults.

use super::Tree;

/// What the checks compare, taken from Cargo.toml.
#[derive(Debug, Clone, Default)]
struct Manifest {
    rust_version: String,
    license: String,
    crates: Vec<String>,
}

impl Manifest {
    fn of(tree: &Tree) -> Self {
        let table: toml::Table = tree.text("Cargo.toml").and_then(|text| text.parse().ok()).unwrap_or_default();
        let fact = |key: &str| {
            let package = table.get("workspace").and_then(|workspace| workspace.get("package"));
            package.and_then(|package| package.get(key)).and_then(toml::Value::as_str).unwrap_or_default().to_owned()
        };
        let mut crates: Vec<String> = tree
            .files
            .iter()
            .filter_map(|file| file.path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"))
            .map(str::to_owned)
            .collect();
        crates.sort_unstable();
        Self { rust_version: fact("rust-version"), license: fact("license"), crates }
    }
}

/// README facts that differ from Cargo.toml.
pub fn readme(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.text("README.md") else { return vec!["README.md is missing".to_owned()] };
    readme_findings(text, &Manifest::of(tree))
}

fn readme_findings(text: &str, manifest: &Manifest) -> Vec<String> {
    let mut findings = Vec::new();
    if !text.contains(&format!("Rust {}", manifest.rust_version)) {
        findings
            .push(format!("README.md does not say `Rust {}`, the rust-version of Cargo.toml", manifest.rust_version));
    }
    if !text.contains(&manifest.license) {
        findings.push(format!("README.md does not say `{}`, the license of Cargo.toml", manifest.license));
    }
    findings.extend(table_findings("README.md", text, &manifest.crates));
    findings
}

/// Crates that the architecture page lacks, and rows for crates that are not there.
pub fn architecture(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.text("crates/README.md") else { return vec!["crates/README.md is missing".to_owned()] };
    table_findings("crates/README.md", text, &Manifest::of(tree).crates)
}

/// The page's crate table has rows that begin with the crate's name as code: "| `core` | …".
fn table_findings(page: &str, text: &str, crates: &[String]) -> Vec<String> {
    let rows: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("| crate |"))
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let lost = crates.iter().filter(|name| !rows.contains(&name.as_str()));
    let lost = lost.map(|name| format!("{page} has no row for the crate {name}"));
    let strange = rows.iter().filter(|row| !crates.iter().any(|name| name == *row));
    let strange = strange.map(|row| format!("{page} has a row for {row}, which is no crate"));
    lost.chain(strange).collect()
}

/// Whether a test of `edge` reads the sample config; the comparison itself is that test's.
pub fn sample_config(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    if tree.text("config/penstock.toml").is_none() {
        findings.push("config/penstock.toml is missing".to_owned());
    }
    let tested = tree.files.iter().filter(|file| file.path.starts_with("crates/edge/") && file.path.ends_with(".rs"));
    if !tested.into_iter().any(|file| file.text.contains("config/penstock.toml") && file.text.contains("#[test]")) {
        findings.push("no test of crates/edge reads config/penstock.toml".to_owned());
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str =
        "Needs Rust 1.95. License: Apache-2.0 OR MIT.\n\n| crate | owns |\n|---|---|\n| `core` | x |\n| `edge` | y |\n";

    fn manifest() -> Manifest {
        Manifest {
            rust_version: "1.95".to_owned(),
            license: "Apache-2.0 OR MIT".to_owned(),
            crates: vec!["core".to_owned(), "edge".to_owned()],
        }
    }

    #[test]
    fn agreeing_facts_pass() {
        assert!(readme_findings(README, &manifest()).is_empty());
    }

    #[test]
    fn drifted_facts_are_caught() {
        assert_eq!(readme_findings(&README.replace("1.95", "1.80"), &manifest()).len(), 1);
        assert_eq!(readme_findings(&README.replace("OR MIT", ""), &manifest()).len(), 1);
    }

    #[test]
    fn lost_and_strange_rows_are_caught() {
        let doctored = README.replace("`edge`", "`utils`");
        let findings = table_findings("page", &doctored, &manifest().crates);
        assert_eq!(findings, ["page has no row for the crate edge", "page has a row for utils, which is no crate"]);
        assert_eq!(table_findings("page", "no table", &manifest().crates).len(), 2);
    }
}
