//! Who may depend on whom: the arrow diagram of the architecture, held against `cargo metadata`.

use super::Tree;
use cargo_metadata::{DependencyKind, Metadata};

/// Each member with the members it may depend on. `testkit` is for tests and measurements only, whoever it is.
const ARROWS: [(&str, &[&str]); 13] = [
    ("core", &[]),
    ("frames", &["core"]),
    ("store", &["core"]),
    ("origin", &["core", "store"]),
    ("edge", &["core", "store", "origin"]),
    ("control", &["core", "origin"]),
    ("publish", &["core", "frames", "origin"]),
    ("client", &["core", "frames"]),
    ("load", &["core"]),
    ("cli", &["core", "frames", "store", "origin", "edge", "control", "publish", "client", "load"]),
    ("testkit", &["core", "frames", "store", "origin", "edge", "control", "publish", "client", "load"]),
    ("xtask", &[]),
    ("benches", &["core", "frames", "store", "edge", "load", "testkit"]),
];

/// What `core` may use: no runtime, no IO, no randomness.
const CORE_MAY_USE: [&str; 10] = [
    "base64",
    "blake3",
    "bytes",
    "ed25519-dalek",
    "prost",
    "schemars",
    "serde",
    "serde_json",
    "thiserror",
    "unicode-normalization",
];

/// A dependency between packages, by their names without the `penstock-` in front.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Arrow {
    from: String,
    to: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Linked into the product.
    Product,
    /// For tests, examples and benches.
    Tests,
}

/// Every arrow that the diagram does not have.
pub fn check(tree: &Tree) -> Vec<String> {
    let (members, arrows) = read(&tree.metadata);
    findings(&members, &arrows)
}

fn read(metadata: &Metadata) -> (Vec<String>, Vec<Arrow>) {
    let packages = metadata.workspace_packages();
    let members: Vec<String> = packages.iter().map(|package| short(package.name.as_str())).collect();
    let arrows = packages.iter().flat_map(|package| {
        package.dependencies.iter().map(|dependency| Arrow {
            from: short(package.name.as_str()),
            to: short(&dependency.name),
            kind: if dependency.kind == DependencyKind::Development { Kind::Tests } else { Kind::Product },
        })
    });
    let arrows = arrows.collect();
    (members, arrows)
}

fn short(package: &str) -> String {
    package.strip_prefix("penstock-").unwrap_or(package).to_owned()
}

fn findings(members: &[String], arrows: &[Arrow]) -> Vec<String> {
    let mut findings: Vec<String> = members
        .iter()
        .filter(|member| !ARROWS.iter().any(|(name, _)| name == member))
        .map(|member| format!("the package {member} is not in the arrow diagram of xtask's tidy/arrows.rs"))
        .collect();
    for (name, _) in ARROWS.iter().filter(|(name, _)| !members.iter().any(|member| member == name)) {
        findings.push(format!("the arrow diagram names {name}, which is no package of the workspace"));
    }
    findings.extend(arrows.iter().filter_map(|arrow| fault(members, arrow)));
    findings
}

fn fault(members: &[String], arrow: &Arrow) -> Option<String> {
    let Arrow { from, to, kind } = arrow;
    if !members.contains(to) {
        let impure = from == "core" && *kind == Kind::Product && !CORE_MAY_USE.contains(&to.as_str());
        return impure.then(|| format!("core uses {to}: core is pure, and its list of crates is in tidy/arrows.rs"));
    }
    let (_, allowed) = ARROWS.iter().find(|(name, _)| name == from)?;
    match kind {
        _ if allowed.contains(&to.as_str()) => None,
        // Tests may build what the crate sees only through a seam: anything below it, at any depth.
        Kind::Tests if to == "testkit" || is_below(to, from) => None,
        Kind::Product if to == "testkit" => Some(format!("{from} links testkit: it is a dev-dependency only")),
        Kind::Product => Some(format!("{from} depends on {to}: the diagram has no such arrow")),
        Kind::Tests => Some(format!("{from}'s tests depend on {to}: the diagram has no such arrow")),
    }
}

fn is_below(lower: &str, upper: &str) -> bool {
    ARROWS
        .iter()
        .filter(|(name, _)| *name == upper)
        .any(|(_, allowed)| allowed.contains(&lower) || allowed.iter().any(|next| is_below(lower, next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<String> {
        ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn arrow(from: &str, to: &str, kind: Kind) -> Arrow {
        Arrow { from: from.to_owned(), to: to.to_owned(), kind }
    }

    fn fault_of(from: &str, to: &str, kind: Kind) -> Option<String> {
        findings(&members(), &[arrow(from, to, kind)]).pop()
    }

    #[test]
    fn allowed_arrows_pass() {
        assert_eq!(fault_of("edge", "store", Kind::Product), None);
        assert_eq!(fault_of("client", "tokio", Kind::Product), None);
        assert_eq!(fault_of("edge", "testkit", Kind::Tests), None);
        assert_eq!(fault_of("control", "store", Kind::Tests), None);
        assert_eq!(fault_of("core", "proptest", Kind::Tests), None);
        assert_eq!(fault_of("core", "blake3", Kind::Product), None);
    }

    #[test]
    fn doctored_arrows_are_caught() {
        assert!(
            fault_of("client", "store", Kind::Product).is_some_and(|text| text.contains("client depends on store"))
        );
        assert!(fault_of("client", "publish", Kind::Tests).is_some_and(|text| text.contains("tests depend")));
        assert!(fault_of("edge", "control", Kind::Product).is_some());
        assert!(fault_of("control", "store", Kind::Product).is_some());
        assert!(fault_of("core", "tokio", Kind::Product).is_some_and(|text| text.contains("pure")));
        assert!(fault_of("cli", "testkit", Kind::Product).is_some_and(|text| text.contains("dev-dependency only")));
        assert!(fault_of("xtask", "core", Kind::Product).is_some());
    }

    #[test]
    fn unknown_and_lost_packages_are_caught() {
        let mut more = members();
        more.push("utils".to_owned());
        assert!(findings(&more, &[]).pop().is_some_and(|text| text.contains("utils")));
        let fewer: Vec<String> = members().into_iter().filter(|name| name != "load").collect();
        assert!(findings(&fewer, &[]).pop().is_some_and(|text| text.contains("load")));
    }

    #[test]
    fn no_arrow_of_the_diagram_points_upwards() {
        for (index, (name, allowed)) in ARROWS.iter().enumerate() {
            for target in *allowed {
                let below = ARROWS[..index].iter().any(|(lower, _)| lower == target);
                assert!(below, "{name} → {target} does not point to a line above");
            }
        }
    }
}
