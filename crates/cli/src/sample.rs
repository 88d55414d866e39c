//! The generated sample: about 200 MB that are shaped like a game, in two versions.
//!
//! Owns what is in it and what changes between the versions. The same seed gives the same bytes on
//! every machine. Must not know how a build is published.
//!
//! | part | bytes | changes in version 2 |
//! |---|---|---|
//! | paks: mixed records with an index at the end | 148 MB | three records inserted in the middle of one, one record of another patched |
//! | an executable: functions that call each other by relative address | 14 MB | two functions inserted, one changed: every later address shifts |
//! | already compressed media | 30 MB | two files move to another folder |
//! | small texts | 8 MB | forty change a line, a folder is renamed |
//! | single files | | one added, one removed |

mod content;
mod noise;
mod write;

use content::{Function, Record, RecordKind};
pub(crate) use write::write;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edition {
    /// What is installed first.
    First,
    /// What it is updated to.
    Second,
}

/// How large the sample is: the whole of it, or little enough for a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scale {
    /// Records in each pak.
    pub(crate) pak_records: u64,
    /// Functions in the executable.
    pub(crate) functions: u64,
    /// Small texts.
    pub(crate) texts: u64,
    /// Bytes of each media file.
    pub(crate) media_bytes: u64,
}

impl Scale {
    /// About 200 MB.
    pub(crate) const FULL: Self = Self { pak_records: 290, functions: 14_000, texts: 2_000, media_bytes: 5_000_000 };
}

/// One file of the sample, as a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SampleFile {
    /// Path inside the build, with `/`.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) body: Body,
}

/// What a file is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// Records one after another, then their index.
    Pak(Vec<Record>),
    /// Functions one after another; calls are relative, so an insertion moves addresses.
    Program(Vec<Function>),
    /// One record without an index.
    Plain(Record),
    /// Lines of words; `edited` replaces one line.
    Text {
        /// Chooses the words.
        seed: u64,
        /// Number of lines.
        lines: u64,
        /// The line that version 2 says differently.
        edited: Option<u64>,
    },
}

const PAKS: [&str; 4] = ["world", "characters", "textures", "audio"];
const MEDIA: [&str; 6] = ["intro", "trailer", "ending", "credits", "theme", "menu"];

/// The recipe of one edition, in path order.
pub(crate) fn files(edition: Edition, scale: Scale) -> Vec<SampleFile> {
    let mut files = Vec::new();
    for (number, name) in (0u64..).zip(PAKS) {
        let records = pak(number, name, edition, scale);
        files.push(SampleFile { path: format!("data/{name}.pak"), body: Body::Pak(records) });
    }
    files.push(SampleFile { path: "bin/racer".to_owned(), body: Body::Program(program(edition, scale)) });
    for (number, name) in (0u64..).zip(MEDIA) {
        let moved = edition == Edition::Second && number < 2;
        let folder = if moved { "media/cinema" } else { "media" };
        let record = Record { kind: RecordKind::Noise, seed: 5_000 + number, bytes: scale.media_bytes };
        files.push(SampleFile { path: format!("{folder}/{name}.ogv"), body: Body::Plain(record) });
    }
    files.extend((0..scale.texts).map(|number| text(number, edition, scale)));
    let (name, seed) = match edition {
        Edition::First => ("docs/KNOWN-ISSUES.txt", 9_001),
        Edition::Second => ("docs/CHANGES.txt", 9_002),
    };
    files.push(SampleFile { path: name.to_owned(), body: Body::Text { seed, lines: 120, edited: None } });
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn pak(number: u64, name: &str, edition: Edition, scale: Scale) -> Vec<Record> {
    let mut records: Vec<Record> = (0..scale.pak_records).map(|at| record(name, number * 100_000 + at)).collect();
    if edition == Edition::Second {
        let middle = records.len() / 2;
        match number {
            0 => records.splice(middle..middle, (0..3).map(|at| record(name, 900_000 + at))).for_each(drop),
            1 => records[middle].seed ^= 1,
            _ => {}
        }
    }
    records
}

/// Sizes from 4 KiB to 252 KiB; kinds in the proportion of the pak's theme.
fn record(pak: &str, seed: u64) -> Record {
    let dice = noise::mix(seed);
    let bytes = 4096 + (dice >> 8) % (248 * 1024);
    let roll = dice % 100;
    let kind = match pak {
        "audio" if roll < 85 => RecordKind::Noise,
        "textures" if roll < 70 => RecordKind::Texture,
        _ if roll < 55 => RecordKind::Mesh,
        _ if roll < 80 => RecordKind::Texture,
        _ => RecordKind::Noise,
    };
    Record { kind, seed, bytes }
}

fn program(edition: Edition, scale: Scale) -> Vec<Function> {
    let mut functions: Vec<Function> = (0..scale.functions).map(|at| Function { seed: 700_000 + at }).collect();
    if edition == Edition::Second {
        let third = functions.len() / 3;
        functions[third / 2].seed ^= 1 << 40;
        functions.insert(third, Function { seed: 800_001 });
        functions.insert(2 * third, Function { seed: 800_002 });
    }
    functions
}

fn text(number: u64, edition: Edition, scale: Scale) -> SampleFile {
    let second = edition == Edition::Second;
    let folder = match number % 5 {
        0 => "scripts/ai",
        1 => "scripts/quests",
        2 => "lang/en",
        3 if second => "lang/de-DE",
        3 => "lang/de",
        _ => "shaders",
    };
    let every = (scale.texts / 40).max(1);
    let edited = (second && number.is_multiple_of(every)).then_some(7);
    let lines = 20 + noise::mix(number) % 130;
    SampleFile { path: format!("{folder}/{number:04}.txt"), body: Body::Text { seed: number, lines, edited } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const TINY: Scale = Scale { pak_records: 6, functions: 60, texts: 50, media_bytes: 20_000 };

    fn by_path(edition: Edition) -> BTreeMap<String, Body> {
        files(edition, TINY).into_iter().map(|file| (file.path, file.body)).collect()
    }

    #[test]
    fn versions_differ_as_the_table_says() {
        let (first, second) = (by_path(Edition::First), by_path(Edition::Second));
        let gone = |path: &str| first.contains_key(path) && !second.contains_key(path);
        let new = |path: &str| second.contains_key(path) && !first.contains_key(path);
        assert!(gone("docs/KNOWN-ISSUES.txt") && new("docs/CHANGES.txt"));
        assert!(gone("media/intro.ogv") && new("media/cinema/intro.ogv"));
        assert_eq!(first["media/intro.ogv"], second["media/cinema/intro.ogv"]);
        assert!(gone("lang/de/0003.txt") && new("lang/de-DE/0003.txt"));
        let Body::Pak(before) = &first["data/world.pak"] else { panic!("a pak") };
        let Body::Pak(after) = &second["data/world.pak"] else { panic!("a pak") };
        assert_eq!(after.len(), before.len() + 3);
        assert_eq!((&after[..3], &after[6..]), (&before[..3], &before[3..]));
        assert_eq!(first["data/audio.pak"], second["data/audio.pak"]);
    }

    #[test]
    fn a_written_edition_is_the_same_every_time() {
        let (a, b) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        let bytes = write(a.path(), Edition::Second, TINY).expect("written");
        assert_eq!(write(b.path(), Edition::Second, TINY).expect("written"), bytes);
        assert_eq!(crate::compare::trees(a.path(), b.path()).expect("read").differences, Vec::<String>::new());
        let other = tempfile::tempdir().expect("dir");
        write(other.path(), Edition::First, TINY).expect("written");
        assert_ne!(crate::compare::trees(a.path(), other.path()).expect("read").differences, Vec::<String>::new());
    }

    #[test]
    fn an_insertion_moves_every_later_call() {
        let dir = tempfile::tempdir().expect("dir");
        write(&dir.path().join("1"), Edition::First, TINY).expect("written");
        write(&dir.path().join("2"), Edition::Second, TINY).expect("written");
        let read = |version: &str| std::fs::read(dir.path().join(version).join("bin/racer")).expect("program");
        let (first, second) = (read("1"), read("2"));
        assert!(second.len() > first.len());
        let grown = second.len() - first.len();
        let same = (first.len() - 1000..first.len()).filter(|at| first[*at] == second[at + grown]).count();
        assert!(same > 500 && same < 1000, "the last function is the same but for its addresses: {same} of 1000");
    }

    #[test]
    fn the_full_sample_is_about_two_hundred_megabytes() {
        let bytes: u64 = files(Edition::First, Scale::FULL).iter().map(write::size_of).sum();
        assert!((190_000_000..215_000_000).contains(&bytes), "{bytes}");
    }
}
