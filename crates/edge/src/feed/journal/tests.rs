//! The journal on a real disk: what a crash leaves, what damage costs, and that it stays small.

use super::*;
use penstock_core::account::PseudonymKey;
use penstock_core::catalog::{AccessClass, Product};
use penstock_core::feed::FORMAT;
use penstock_core::sign::SecretKey;
use proptest::prelude::*;

fn hello() -> Hello {
    Hello {
        format: FORMAT,
        channel_key: SecretKey::from_seed(&[1; 32]).public(),
        token_key: SecretKey::from_seed(&[2; 32]).public(),
        link_key: SecretKey::from_seed(&[4; 32]).public(),
        pseudonym_key: PseudonymKey::from_bytes([7; 32]),
        newest: 2,
        oldest: 1,
    }
}

fn product(name: &str, title: &str) -> CatalogChange {
    CatalogChange::Product(Product {
        id: name.parse().expect("a name"),
        title: title.to_owned(),
        access: AccessClass::Open,
        export_class: String::new(),
    })
}

fn line(sequence: u64, change: CatalogChange) -> (Vec<u8>, u64, CatalogChange) {
    (Line::Change { sequence, change: change.clone() }.encode(), sequence, change)
}

/// A journal of a state of two products at change 2.
fn begun(dir: &Path) -> Journal {
    let mut draft = Draft::begin(dir, hello(), 2).expect("begun");
    for name in ["a", "b"] {
        let change = product(name, "first");
        draft.part(&Line::Part { sequence: 2, change: change.clone() }.encode(), 2, &change).expect("taken");
    }
    let place = Place { sequence: 2, mark: Mark::of_line(b"two") };
    draft.finish(place, UnixSeconds(100)).expect("whole").publish().expect("in place")
}

fn known(journal: &Journal) -> Vec<(u64, CatalogChange)> {
    let mut all = Vec::new();
    journal.show(|sequence, change| all.push((sequence, change))).expect("readable");
    all
}

#[test]
fn what_was_known_is_known_again() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(Journal::open(&dir.path().join("feed")).expect("made").is_none());
    let mut journal = begun(dir.path());
    journal.append(&[line(3, product("a", "second")), line(4, product("c", "first"))]).expect("durable");
    journal.beat(UnixSeconds(160)).expect("written");
    let (place, all) = (journal.place(), known(&journal));
    assert_eq!(all, [(2, product("b", "first")), (3, product("a", "second")), (4, product("c", "first"))]);
    drop(journal);
    let again = Journal::open(dir.path()).expect("opens").expect("something is known");
    assert_eq!((again.place(), known(&again)), (place, all));
    assert_eq!((again.hello(), again.heard()), (&hello(), UnixSeconds(160)));
    assert_eq!(again.place().mark, Mark::of_line(&line(4, product("c", "first")).0));
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(dir.path().join("journal")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds a secret");
}

#[test]
fn half_a_state_is_never_known() {
    let dir = tempfile::tempdir().expect("dir");
    let old = known(&begun(dir.path()));
    let mut draft = Draft::begin(dir.path(), hello(), 9).expect("begun");
    let change = product("new", "first");
    draft.part(&Line::Part { sequence: 9, change: change.clone() }.encode(), 9, &change).expect("taken");
    drop(draft);
    assert_eq!(known(&Journal::open(dir.path()).expect("opens").expect("known")), old);
    // Not even when a rename of somebody else put it in place.
    fs::rename(dir.path().join("journal.new"), dir.path().join("journal")).expect("renamed");
    assert!(Journal::open(dir.path()).expect("opens").is_none());
}

#[test]
fn a_journal_stays_small_and_whole() {
    let dir = tempfile::tempdir().expect("dir");
    let mut journal = begun(dir.path());
    let title = "x".repeat(200_000);
    for sequence in 3..200 {
        journal.append(&[line(sequence, product("a", &title))]).expect("durable");
    }
    let bytes = fs::metadata(dir.path().join("journal")).expect("there").len();
    assert!(bytes <= SLACK_BYTES + 1_000_000, "{bytes}");
    let (place, all) = (journal.place(), known(&journal));
    assert_eq!(place.sequence, 199);
    drop(journal);
    let again = Journal::open(dir.path()).expect("opens").expect("known");
    assert_eq!((again.place(), known(&again)), (place, all));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever the file is cut or a bit of it flips: what is known is a state that was, or nothing.
    #[test]
    fn damage_costs_what_follows_it_and_no_more(at in any::<prop::sample::Index>(), flip in any::<Option<u8>>()) {
        let dir = tempfile::tempdir().expect("dir");
        let mut journal = begun(dir.path());
        let mut states = vec![(journal.place(), known(&journal))];
        for sequence in 3..8 {
            journal.append(&[line(sequence, product("a", &sequence.to_string()))]).expect("durable");
            states.push((journal.place(), known(&journal)));
        }
        drop(journal);
        let path = dir.path().join("journal");
        let mut bytes = fs::read(&path).expect("read");
        let at = at.index(bytes.len());
        match flip {
            Some(bit) => bytes[at] ^= 1 << (bit % 8),
            None => bytes.truncate(at),
        }
        fs::write(&path, &bytes).expect("written");
        if let Some(mut again) = Journal::open(dir.path()).expect("opens") {
            let found = (again.place(), known(&again));
            let number = states.iter().position(|state| *state == found);
            prop_assert!(number.is_some(), "not a state that was: {:?}", found);
            // And it goes on from there.
            let next = found.0.sequence + 1;
            again.append(&[line(next, product("z", "after"))]).expect("durable");
            let expected = known(&again);
            drop(again);
            let again = Journal::open(dir.path()).expect("opens").expect("known");
            prop_assert_eq!((again.place().sequence, known(&again)), (next, expected));
        }
    }
}
