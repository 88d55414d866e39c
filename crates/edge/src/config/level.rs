//! `[log] level`: a level, or filter directives, judged strictly. The log's own reader takes a word that it does not
//! know for a target and then writes nothing else, so a slip of the pen would silence a node.

/// What a directive may end in.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// First parts of the targets of our own events: the crates that a process of ours is made of.
const OURS: [&str; 11] = [
    "penstock",
    "penstock_cli",
    "penstock_client",
    "penstock_control",
    "penstock_core",
    "penstock_edge",
    "penstock_frames",
    "penstock_load",
    "penstock_origin",
    "penstock_publish",
    "penstock_store",
];

/// A value as read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    /// The directives without spaces around them, as the log takes them.
    pub(super) text: String,
    /// What is wrong.
    pub(super) mistakes: Vec<String>,
    /// Targets that are not ours: another library's, or misspelt.
    pub(super) strangers: Vec<String>,
}

/// Reads a value; every directive is judged.
pub(super) fn read(text: &str) -> Level {
    let mut level = Level::default();
    if text.trim().is_empty() {
        level.mistakes.push("must be a level such as \"info\" or filter directives".to_owned());
        return level;
    }
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    for directive in &directives {
        match directive.split_once('=') {
            None if directive.is_empty() => level.mistakes.push("has a comma with no directive beside it".to_owned()),
            None if is_level(directive) => {}
            None => level.mistakes.push(format!("\"{directive}\" is no level: {SHAPE}")),
            Some((target, _)) if !is_target(target) => {
                level.mistakes.push(format!("\"{target}\" in \"{directive}\" is no target: {SHAPE}"));
            }
            Some((target, word)) => {
                if !is_level(word) {
                    level.mistakes.push(format!("\"{word}\" in \"{directive}\" is no level: {SHAPE}"));
                }
                if !is_ours(target) {
                    level.strangers.push(target.to_owned());
                }
            }
        }
    }
    level.text = directives.join(",");
    level
}

const SHAPE: &str = "write off, error, warn, info, debug or trace, alone or as TARGET=LEVEL (penstock_edge=debug)";

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level))
}

fn is_target(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte))
}

/// Targets hold for all whose names begin so.
fn is_ours(target: &str) -> bool {
    let first = target.split("::").next().unwrap_or(target);
    OURS.iter().any(|name| name.starts_with(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn levels_and_directives_pass() {
        for good in [
            "info",
            "OFF",
            "info,penstock_edge=debug",
            "warn,penstock::access=off",
            "penstock=trace",
            "penstock_edge::listen=debug,error",
        ] {
            assert_eq!(read(good), Level { text: good.to_owned(), ..Level::default() });
        }
        assert_eq!(read(" info , penstock_edge=debug ").text, "info,penstock_edge=debug");
    }

    #[test]
    fn what_the_log_would_misread_is_refused() {
        for (bad, named) in [
            ("inof", "\"inof\""),
            ("info,debgu", "\"debgu\""),
            ("penstock_edge", "\"penstock_edge\""),
            ("3", "\"3\""),
            ("info,penstock_edge=debgu", "\"debgu\" in \"penstock_edge=debgu\""),
            ("penstock_edge=", "\"\" in \"penstock_edge=\""),
            ("penstock_edge=debug=trace", "\"debug=trace\""),
            ("penstock_edge = debug", "\"penstock_edge \""),
            ("=debug", "\"\" in \"=debug\""),
            ("penstock_edge[span]=debug", "\"penstock_edge[span]\""),
            ("info,", "comma"),
            ("info,,warn", "comma"),
            (" ", "must be a level"),
        ] {
            let mistakes = read(bad).mistakes;
            assert!(mistakes.len() == 1 && mistakes[0].contains(named), "{bad}: {mistakes:?}");
        }
        let both = read("info,penstok_edge=debgu");
        assert_eq!((both.mistakes.len(), both.strangers.as_slice()), (1, &["penstok_edge".to_owned()][..]));
    }

    #[test]
    fn other_targets_are_named_and_not_refused() {
        let level = read("info,h2=debug,penstock_egde::listen=trace");
        assert_eq!(
            (level.mistakes.len(), level.strangers),
            (0, vec!["h2".to_owned(), "penstock_egde::listen".to_owned()])
        );
    }

    #[test]
    fn every_crate_of_ours_is_known() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the directory of crates");
        for entry in std::fs::read_dir(crates).expect("readable") {
            let entry = entry.expect("readable");
            let name = format!("penstock_{}", entry.file_name().to_string_lossy());
            let is_served = !["penstock_testkit", "penstock_xtask"].contains(&name.as_str());
            if is_served && entry.path().join("Cargo.toml").exists() {
                assert!(OURS.contains(&name.as_str()), "{name}");
            }
        }
    }
}
