//! What was put in is found, and nothing else; no bytes make the reader panic.

use super::*;
use crate::account::{DeviceKey, Expiry};
use crate::segment::Value;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn file(accounts: &BTreeMap<AccountKey, AccountFacts>, sequence: u64) -> Vec<u8> {
    let mut builder = Builder::default();
    for (key, facts) in accounts {
        builder.add(*key, facts).expect("in order");
    }
    builder.finish(sequence).expect("written").concat()
}

fn any_facts() -> impl Strategy<Value = AccountFacts> {
    let holding = ("[a-c]", any::<bool>(), 1..u64::from(u32::MAX), proptest::option::of(1..u64::from(u32::MAX)));
    let holding = holding.prop_map(|(product, revoke, starts, ends)| {
        let mut terms = Terms::of(product.parse().expect("a name"));
        terms.expiry = if revoke { Expiry::Revoke } else { Expiry::Restrict };
        Holding { terms: Arc::new(terms), starts: UnixSeconds(starts), ends: ends.map(UnixSeconds) }
    });
    let standing =
        prop_oneof![Just(Standing::Active), Just(Standing::Suspended), Just(Standing::OnHold), Just(Standing::Denied)];
    let extras =
        (proptest::collection::btree_set("[a-z]{1,8}@[0-9]", 0..3), any::<Option<[u8; 8]>>(), any::<Option<i64>>());
    let extras = extras.prop_map(|(agreements, device, number)| {
        let attributes = number.map(|number| ("score".to_owned(), Value::Number(number))).into_iter().collect();
        Box::new(Extras { agreements, devices: device.map(DeviceKey).into_iter().collect(), attributes })
    });
    let from = proptest::option::of(1..u64::from(u32::MAX));
    (standing, from, proptest::collection::vec(holding, 0..4), proptest::option::of(extras)).prop_map(
        |(standing, from, holdings, extras)| AccountFacts {
            standing,
            tokens_from: from.map(UnixSeconds),
            holdings: holdings.into(),
            extras,
        },
    )
}

/// Keys that meet in prefixes.
fn any_key() -> impl Strategy<Value = AccountKey> {
    (prop_oneof![Just([0, 0]), Just([0, 1]), Just([255, 255]), any::<[u8; 2]>()], 0u8..4).prop_map(|(prefix, last)| {
        let mut key = [0; 16];
        key[..2].copy_from_slice(&prefix);
        key[15] = last;
        AccountKey(key)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn what_was_put_in_is_found(
        accounts in proptest::collection::btree_map(any_key(), any_facts(), 0..12),
        others in proptest::collection::vec(any_key(), 8),
    ) {
        let snapshot = Snapshot::new(file(&accounts, 77)).expect("a snapshot");
        prop_assert_eq!((snapshot.sequence(), snapshot.len()), (77, accounts.len()));
        for key in accounts.keys().chain(&others) {
            prop_assert_eq!(snapshot.get(key).expect("sound"), accounts.get(key).cloned());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        accounts in proptest::collection::btree_map(any_key(), any_facts(), 1..4),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = file(&accounts, 1);
        // Not in the index, which is most of it: damage there is the next test's.
        let place = at.index(bytes.len() - INDEX_BYTES);
        let place = if place < HEAD_BYTES { place } else { place + INDEX_BYTES };
        bytes[place] ^= byte;
        if let Some(cut) = cut {
            let length = cut.index(bytes.len());
            bytes.truncate(length);
        }
        if let Ok(snapshot) = Snapshot::new(bytes) {
            for key in accounts.keys() {
                // An answer or an error: either is well.
                drop(snapshot.get(key));
            }
        }
    }
}

#[test]
fn a_damaged_index_is_an_error() {
    let key = AccountKey([9; 16]);
    let mut bytes = file(&[(key, AccountFacts::default())].into(), 1);
    let at = HEAD_BYTES + (usize::from(u16::from_be_bytes([9, 9])) + 1) * 4;
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let snapshot = Snapshot::new(bytes).expect("its parts are whole");
    assert_eq!(snapshot.get(&key), Err(SnapshotError::Damaged("its index leads outside")));
}

#[test]
fn order_and_form_are_checked() {
    let mut builder = Builder::default();
    builder.add(AccountKey([2; 16]), &AccountFacts::default()).expect("the first");
    for wrong in [2, 1] {
        assert_eq!(builder.add(AccountKey([wrong; 16]), &AccountFacts::default()), Err(SnapshotError::Order));
    }
    for wrong in [&b""[..], b"PSTKACC1", &[0; 64]] {
        assert_eq!(Snapshot::new(wrong).map(|_| ()), Err(SnapshotError::Magic), "{}", wrong.len());
    }
    let whole = file(&BTreeMap::new(), 1);
    let short = &whole[..whole.len() - 1];
    assert!(matches!(Snapshot::new(short).map(|_| ()), Err(SnapshotError::Length { .. })));
    assert!(Snapshot::new(whole).expect("empty").is_empty());
}

/// Times that the file cannot say are kept as near as it can, and never become "none".
#[test]
fn extreme_times_do_not_turn_around() {
    let terms = Arc::new(Terms::of("a".parse().expect("a name")));
    let holding = Holding { terms, starts: UnixSeconds(0), ends: Some(UnixSeconds(u64::MAX)) };
    let facts =
        AccountFacts { tokens_from: Some(UnixSeconds(0)), holdings: [holding].into(), ..AccountFacts::default() };
    let key = AccountKey([1; 16]);
    let read =
        Snapshot::new(file(&[(key, facts)].into(), 1)).expect("a snapshot").get(&key).expect("sound").expect("there");
    assert_eq!(read.tokens_from, Some(UnixSeconds(1)));
    assert_eq!((read.holdings[0].starts, read.holdings[0].ends), (UnixSeconds(1), Some(UnixSeconds(u32::MAX.into()))));
}
