//! The journal on a real disk: what a crash leaves, what damage costs, and that it stays small.

use super::*;
use penstock_core::account::{AccountKey, PseudonymKey, TokenKey};
use penstock_core::catalog::{AccessClass, Product, RevokedToken};
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
fn revocations_that_ended_go_when_it_is_written_anew() {
    let dir = tempfile::tempdir().expect("dir");
    let mut journal = begun(dir.path());
    let revoked = |number: u8, until| CatalogChange::TokensRevoked {
        tokens: vec![RevokedToken { token: TokenKey([number; 16]), until: UnixSeconds(until) }],
    };
    let both = CatalogChange::TokensRevoked {
        tokens: [(3, 200), (4, 5000)]
            .map(|(number, until)| RevokedToken { token: TokenKey([number; 16]), until: UnixSeconds(until) })
            .into(),
    };
    let changes = [line(3, revoked(1, 200)), line(4, revoked(2, 5000)), line(5, both.clone())];
    journal.append(&changes).expect("durable");
    let products = [(2, product("a", "first")), (2, product("b", "first"))];
    let kept = |journal: &Journal| known(journal)[2..].to_vec();
    // Not before nobody can come with them: an issuer's tokens are taken for its leeway after their end.
    for (heard, expected) in [
        (200 + LEEWAY_SECONDS_MAX, vec![(3, revoked(1, 200)), (4, revoked(2, 5000)), (5, both.clone())]),
        (201 + LEEWAY_SECONDS_MAX, vec![(4, revoked(2, 5000)), (5, both.clone())]),
    ] {
        journal.beat(UnixSeconds(heard)).expect("written");
        journal.write_anew(None).expect("written anew");
        assert_eq!(kept(&journal), expected, "at {heard}");
        assert_eq!(journal.place().sequence, 5);
        journal = Journal::open(dir.path()).expect("opens").expect("whole");
        assert_eq!((kept(&journal), &known(&journal)[..2]), (expected, &products[..]));
    }
}

#[test]
fn a_snapshot_that_comes_late_takes_the_place_of_what_stood_for_it() {
    let dir = tempfile::tempdir().expect("dir");
    let mut journal = begun(dir.path());
    let account = |number: u8| CatalogChange::Account { account: AccountKey([number; 16]), facts: None };
    let snapshot =
        CatalogChange::AccountsSnapshot { blob: BlobId::of(b"snapshot"), sequence: 3, notice: b"signed".to_vec() };
    journal.append(&[line(3, account(1)), line(4, stand_in()), line(5, account(2))]).expect("durable");
    let reopened = || Journal::open(dir.path()).expect("opens").expect("whole");
    assert!(journal.lacks_snapshot() && reopened().lacks_snapshot());
    journal.write_anew(None).expect("written anew");
    assert!(journal.lacks_snapshot() && reopened().lacks_snapshot(), "it stands on");
    assert_eq!(journal.snapshot(), None);
    let place = journal.place();
    journal.rest_on(4, &snapshot).expect("written anew");
    for journal in [&journal, &reopened()] {
        assert!(!journal.lacks_snapshot());
        assert_eq!((journal.place(), journal.snapshot()), (place, Some(BlobId::of(b"snapshot"))));
        assert_eq!(known(journal)[2..], [(5, account(2)), (4, snapshot.clone())], "and the accounts in it are gone");
    }
    // One that is there at once does the same for one that never came.
    journal.append(&[line(6, stand_in()), line(7, snapshot)]).expect("durable");
    assert!(!journal.lacks_snapshot() && !reopened().lacks_snapshot());
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
