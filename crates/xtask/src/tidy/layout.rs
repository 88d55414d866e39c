//! What lies where: the top level's fixed list, and no path of the machine somebody worked on.

use super::Tree;
use std::path::Path;

/// The top level besides dotfiles.
const TOP: [&str; 8] = ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "benches", "config", "crates", "deploy"];

/// Entries of the top level that may not be there, and those that must.
pub fn top_level(tree: &Tree) -> Vec<String> {
    top_findings(&tree.top)
}

fn top_findings(top: &[String]) -> Vec<String> {
    let strange = top
        .iter()
        .filter(|entry| !entry.starts_with('.') && !TOP.contains(&entry.as_str()))
        .map(|entry| format!("{entry} does not belong to the top level"));
    let lost =
        TOP.iter().filter(|name| !top.iter().any(|entry| entry == *name)).map(|name| format!("{name} is missing"));
    strange.chain(lost).collect()
}

/// Lines that name a place on this machine.
pub fn no_machine_paths(tree: &Tree) -> Vec<String> {
    let lines = tree
        .files
        .iter()
        .flat_map(|file| file.text.lines().enumerate().map(move |(index, line)| (file.path.as_str(), index + 1, line)));
    lines
        .filter_map(|(path, number, line)| {
            let found = tree.machine_paths.iter().find(|text| line.contains(text.as_str()))?;
            Some(format!("{path}:{number} names {found}"))
        })
        .collect()
}

/// The texts to look for. A root or home of a few characters would match by accident.
pub fn machine_paths(root: &Path, home: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let root = root.to_string_lossy();
    if root.len() >= 5 {
        texts.push(format!("{root}/"));
    }
    if home.len() >= 5 {
        texts.push(format!("{home}/."));
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn strange_and_lost_entries_are_caught() {
        assert!(top_findings(&owned(&TOP)).is_empty());
        assert!(top_findings(&owned(&[&TOP[..], &[".ci", ".gitignore"]].concat())).is_empty());
        assert_eq!(
            top_findings(&owned(&[&TOP[..], &["notes.md"]].concat())),
            ["notes.md does not belong to the top level"]
        );
        assert_eq!(top_findings(&owned(&TOP[1..])), ["Cargo.lock is missing"]);
    }

    #[test]
    fn roots_and_homes_are_looked_for_unless_they_are_too_short() {
        assert_eq!(machine_paths(Path::new("/srv/build"), "/home/jo"), ["/srv/build/", "/home/jo/."]);
        assert!(machine_paths(Path::new("/x"), "/").is_empty());
    }
}
