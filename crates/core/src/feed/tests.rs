//! Lines, their order, and states folded from changes against a slow model.

use super::*;
use crate::account::{AccountFacts, AccountKey, Standing, TokenKey};
use crate::blob::BlobId;
use crate::catalog::{AccessClass, Offer, OfferedRelease, Product, Release, ReleaseState, RevokedToken};
use crate::id::{ChannelName, Platform, ProductId, SegmentName, Version};
use crate::place::Embargo;
use crate::rollout::Minimum;
use crate::segment::{Rule, Segment};
use crate::sign::SecretKey;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn hello() -> Hello {
    Hello {
        format: FORMAT,
        channel_key: SecretKey::from_seed(&[1; 32]).public(),
        token_key: SecretKey::from_seed(&[2; 32]).public(),
        link_key: SecretKey::from_seed(&[4; 32]).public(),
        pseudonym_key: PseudonymKey::from_bytes([7; 32]),
        newest: 9,
        oldest: 4,
    }
}

fn loose(number: u8) -> CatalogChange {
    CatalogChange::LooseBlob { blob: BlobId::of(&[number]), open: true }
}

fn loose_gone(number: u8) -> CatalogChange {
    CatalogChange::LooseBlobGone { blob: BlobId::of(&[number]) }
}

fn account(number: u8, standing: Standing) -> CatalogChange {
    let facts = AccountFacts { standing, ..AccountFacts::default() };
    CatalogChange::Account { account: AccountKey([number; 16]), facts: Some(facts) }
}

fn snapshot(sequence: u64) -> CatalogChange {
    CatalogChange::AccountsSnapshot { blob: BlobId::of(b"s"), sequence, notice: Vec::new() }
}

fn product(title: &str) -> CatalogChange {
    let id = "game".parse().expect("a name");
    CatalogChange::Product(Product {
        id,
        title: title.to_owned(),
        access: AccessClass::Open,
        export_class: String::new(),
    })
}

fn lines() -> Vec<Line> {
    let mark = Mark::of_line(b"x");
    vec![
        Line::Hello(hello()),
        Line::State { sequence: 9 },
        Line::Part { sequence: 9, change: product("a\n\"b\"") },
        Line::Whole { sequence: 9, mark },
        Line::Change { sequence: 10, change: loose(1) },
        Line::Beat { newest: 10, at: UnixSeconds(5) },
    ]
}

#[test]
fn lines_round_trip_and_are_one_line_each() {
    for line in lines() {
        let text = line.encode();
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(Line::parse(&text), Ok(line));
    }
}

#[test]
fn the_line_of_a_logged_change_is_the_encoded_one() {
    for change in [product("a \u{e9}\u{2028}"), loose(1), account(2, Standing::Active), snapshot(3)] {
        let body = serde_json::to_string(&change).expect("JSON");
        let line = change_line(7, &body);
        assert_eq!(line, Line::Change { sequence: 7, change }.encode());
        assert_eq!(Mark::of_line(&line), Mark::of_line(&line[..line.len() - 1]));
    }
}

#[test]
fn what_is_no_line_is_refused_and_no_secret_is_quoted() {
    for text in ["", "{}", "{\"beat\":{\"newest\":1}}", "{\"later\":{}}", "[]", "{\"state\":{\"sequence\":-1}}"] {
        assert!(matches!(Line::parse(text.as_bytes()), Err(LineError::Malformed(_))), "{text}");
    }
    assert_eq!(Line::parse(&vec![b' '; FEED_LINE_BYTES_MAX + 1]), Err(LineError::TooLong));
    let text = String::from_utf8(Line::Hello(hello()).encode()).expect("text");
    let secret = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    assert!(text.contains(secret), "it is sent");
    assert!(!format!("{:?}", hello()).contains(secret), "and not printed");
    let broken = text.replace(secret, &secret[1..]);
    let complaint = Line::parse(broken.as_bytes()).expect_err("short").to_string();
    assert!(complaint.contains("32 bytes") && !complaint.contains(&secret[2..12]), "{complaint}");
}

#[test]
fn a_follower_goes_on_where_both_know_the_same() {
    let (mark, other) = (Mark::of_line(b"a"), Mark::of_line(b"b"));
    for (after, with, newest, found, expected) in [
        (None, None, 9, None, Resume::Whole),
        (Some(5), Some(mark), 9, Some(mark), Resume::After(5)),
        (Some(9), Some(mark), 9, Some(mark), Resume::After(9)),
        (Some(5), None, 9, Some(mark), Resume::After(5)),
        // Compacted away, set back, grown differently since.
        (Some(3), Some(mark), 9, None, Resume::Whole),
        (Some(10), Some(mark), 9, None, Resume::Whole),
        (Some(5), Some(other), 9, Some(mark), Resume::Whole),
        (Some(0), None, 0, None, Resume::After(0)),
        (Some(0), None, 9, None, Resume::Whole),
    ] {
        assert_eq!(resume(after, with, newest, found), expected, "{after:?} {with:?} {newest}");
    }
    assert_eq!(mark.to_string().parse(), Ok(mark));
    for wrong in ["", "0", "00000000000000zz", "ABCDEF0123456789", "00000000000000000", "+000000000000000"] {
        assert_eq!(wrong.parse::<Mark>(), Err(MarkError), "{wrong}");
    }
}

#[test]
fn a_good_feed_is_in_order_from_nothing_and_from_a_place() {
    let mut order = Order::new(None);
    for line in lines() {
        assert_eq!(order.take(&line), Ok(()), "{line:?}");
    }
    assert_eq!(order.last(), Some(10));
    // From a place: no state, or one all the same because the log does not reach so far.
    for skip in [1..4, 1..1] {
        let mut order = Order::new(Some(9));
        for (at, line) in lines().into_iter().enumerate().filter(|(at, _)| !skip.contains(at)) {
            assert_eq!(order.take(&line), Ok(()), "{at}");
        }
        assert_eq!(order.last(), Some(10));
    }
}

#[test]
fn gaps_repeats_and_lines_in_the_wrong_place_are_refused() {
    let after = |last: u64| {
        let mut order = Order::new(Some(last));
        assert_eq!(order.take(&Line::Hello(hello())), Ok(()));
        order
    };
    let change = |sequence| Line::Change { sequence, change: loose(1) };
    assert_eq!(after(9).take(&change(11)), Err(OrderError::Gap { last: 9, next: 11 }));
    assert_eq!(after(9).take(&change(9)), Err(OrderError::Gap { last: 9, next: 9 }));
    assert_eq!(after(u64::MAX).take(&change(0)), Err(OrderError::Gap { last: u64::MAX, next: 0 }));
    let beat = Line::Beat { newest: 8, at: UnixSeconds(1) };
    assert_eq!(after(9).take(&beat), Err(OrderError::Back { last: 9, newest: 8 }));
    assert_eq!(after(9).take(&Line::Hello(hello())), Err(OrderError::Misplaced));
    let later = Line::Hello(Hello { format: FORMAT + 1, ..hello() });
    assert_eq!(Order::new(None).take(&later), Err(OrderError::Format(FORMAT + 1)));
    assert_eq!(Order::new(Some(9)).take(&change(10)), Err(OrderError::Misplaced), "no hello");
    let mut nothing = Order::new(None);
    assert_eq!(nothing.take(&Line::Hello(hello())), Ok(()));
    assert_eq!(nothing.clone().take(&change(1)), Err(OrderError::Misplaced), "no state yet");
    assert_eq!(nothing.take(&Line::State { sequence: 5 }), Ok(()));
    let late = Line::Part { sequence: 6, change: loose(1) };
    assert_eq!(nothing.clone().take(&late), Err(OrderError::Misplaced), "a part from after the state");
    let whole = Line::Whole { sequence: 6, mark: Mark::default() };
    assert_eq!(nothing.clone().take(&whole), Err(OrderError::Misplaced));
    assert_eq!(nothing.take(&beat), Err(OrderError::Misplaced));
}

#[test]
fn a_snapshot_takes_the_place_of_the_accounts_it_holds() {
    let mut fold = Fold::default();
    assert_eq!(fold.take(4, &account(1, Standing::Active), 'a'), []);
    assert_eq!(fold.take(6, &account(2, Standing::Active), 'b'), []);
    assert_eq!(fold.take(7, &snapshot(5), 's'), ['a']);
    assert_eq!(fold.take(8, &snapshot(8), 't'), ['b', 's']);
    assert_eq!(fold.in_order(), [(8, &'t')]);
}

#[derive(Debug, Clone)]
enum Deed {
    Loose(u8),
    LooseGone(u8),
    Account(u8, bool),
    Product(u8),
    Snapshot,
    /// A release of this version, live or withdrawn.
    Release(u8, bool),
    /// A channel's offer: which channel, the version, and the version beside it.
    Offer(bool, u8, Option<u8>),
    Segment(u8, u64),
    SegmentGone(u8),
    /// A channel's policy: which channel, and from which version on.
    Policy(bool, Option<u8>),
    Embargo(u64),
    Revoke(u8),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        (0u8..6).prop_map(Deed::Loose),
        (0u8..6).prop_map(Deed::LooseGone),
        ((0u8..6), any::<bool>()).prop_map(|(number, active)| Deed::Account(number, active)),
        (0u8..3).prop_map(Deed::Product),
        Just(Deed::Snapshot),
        ((0u8..4), any::<bool>()).prop_map(|(version, live)| Deed::Release(version, live)),
        (any::<bool>(), 0u8..4, proptest::option::of(0u8..4))
            .prop_map(|(beta, to, beside)| Deed::Offer(beta, to, beside)),
        ((0u8..3), (0u64..5)).prop_map(|(name, version)| Deed::Segment(name, version)),
        (0u8..3).prop_map(Deed::SegmentGone),
        (any::<bool>(), proptest::option::of(0u8..4)).prop_map(|(beta, from)| Deed::Policy(beta, from)),
        (1u64..9).prop_map(Deed::Embargo),
        (0u8..6).prop_map(Deed::Revoke),
    ];
    proptest::collection::vec(deed, 0..60)
}

/// The obvious state: applies each change to sets.
#[derive(Debug, Default, PartialEq, Eq)]
struct Model {
    loose: BTreeSet<BlobId>,
    accounts: BTreeMap<AccountKey, Option<Standing>>,
    title: Option<String>,
    rests_on: Option<u64>,
    releases: BTreeMap<Version, ReleaseState>,
    /// What each channel offers now, and all that it ever did.
    offers: BTreeMap<ChannelName, u64>,
    offered: BTreeSet<(ChannelName, Version)>,
    segments: BTreeMap<SegmentName, u64>,
    /// A channel without a policy is as one that was never told of.
    policies: BTreeMap<ChannelName, Version>,
    embargo: u64,
    revoked: BTreeSet<[u8; 16]>,
}

impl Model {
    fn apply(&mut self, told_at: &mut BTreeMap<AccountKey, u64>, sequence: u64, change: &CatalogChange) {
        match change {
            CatalogChange::LooseBlob { blob, .. } => drop(self.loose.insert(*blob)),
            CatalogChange::LooseBlobGone { blob } => drop(self.loose.remove(blob)),
            CatalogChange::Account { account, facts } => {
                self.accounts.insert(*account, facts.as_ref().map(|facts| facts.standing));
                told_at.insert(*account, sequence);
            }
            CatalogChange::AccountsSnapshot { sequence: covered, .. } => {
                self.accounts.retain(|account, _| told_at.get(account).is_some_and(|told| told > covered));
                self.rests_on = Some(*covered);
            }
            CatalogChange::Product(product) => self.title = Some(product.title.clone()),
            CatalogChange::Release { release, .. } => {
                self.releases.insert(release.version.clone(), release.state);
            }
            CatalogChange::Offer(offer) => {
                let newest = self.offers.entry(offer.channel.clone()).or_default();
                *newest = offer.sequence.max(*newest);
                let beside = offer.fallback.as_ref().map(|fallback| fallback.version.clone());
                let versions = [Some(offer.version.clone()), beside].into_iter().flatten();
                self.offered.extend(versions.map(|version| (offer.channel.clone(), version)));
            }
            CatalogChange::Segment(segment) => {
                self.segments.insert(segment.name.clone(), segment.version);
            }
            CatalogChange::SegmentGone { name } => {
                self.segments.remove(name);
            }
            CatalogChange::ChannelPolicy { channel, minimum: Some(minimum), .. } => {
                self.policies.insert(channel.clone(), minimum.version.clone());
            }
            CatalogChange::ChannelPolicy { channel, .. } => drop(self.policies.remove(channel)),
            CatalogChange::Embargo(embargo) => self.embargo = embargo.version,
            CatalogChange::TokensRevoked { tokens } => {
                self.revoked.extend(tokens.iter().map(|revoked| revoked.token.0))
            }
        }
    }
}

fn game() -> ProductId {
    "game".parse().expect("a name")
}

fn version(number: u8) -> Version {
    number.to_string().parse().expect("a version")
}

fn channel(is_beta: bool) -> ChannelName {
    if is_beta { "beta" } else { "stable" }.parse().expect("a name")
}

fn segment(number: u8) -> SegmentName {
    format!("s{number}").parse().expect("a name")
}

fn change(deed: &Deed, sequence: u64) -> CatalogChange {
    match deed {
        Deed::Loose(number) => loose(*number),
        Deed::LooseGone(number) => loose_gone(*number),
        Deed::Account(number, true) => account(*number, Standing::Active),
        Deed::Account(number, false) => account(*number, Standing::Suspended),
        Deed::Product(title) => product(&title.to_string()),
        Deed::Snapshot => snapshot(sequence.saturating_sub(2)),
        Deed::Release(number, live) => CatalogChange::Release {
            release: Release {
                product: game(),
                platform: Platform::any(),
                version: version(*number),
                manifest: BlobId::of(&[*number]),
                manifest_bytes: 1,
                content_bytes: 1,
                entry_count: 1,
                registered: UnixSeconds(1),
                state: if *live { ReleaseState::Live } else { ReleaseState::Withdrawn },
            },
            members: Vec::new(),
            channels: BTreeSet::new(),
        },
        Deed::Offer(beta, to, beside) => CatalogChange::Offer(Offer {
            product: game(),
            platform: Platform::any(),
            channel: channel(*beta),
            sequence,
            version: version(*to),
            manifest: BlobId::of(&[*to]),
            manifest_bytes: 1,
            fallback: beside.map(|number| OfferedRelease {
                version: version(number),
                manifest: BlobId::of(&[number]),
                manifest_bytes: 1,
            }),
            head: Vec::new(),
            delegation: Vec::new(),
            rotations: Vec::new(),
        }),
        Deed::Segment(number, version) => CatalogChange::Segment(Segment {
            name: segment(*number),
            version: *version,
            rule: Rule::List(BTreeSet::new()),
        }),
        Deed::SegmentGone(number) => CatalogChange::SegmentGone { name: segment(*number) },
        Deed::Policy(beta, from) => CatalogChange::ChannelPolicy {
            product: game(),
            platform: Platform::any(),
            channel: channel(*beta),
            rollout: None,
            minimum: from.map(|number| Minimum { version: version(number), message: String::new() }),
        },
        Deed::Embargo(version) => CatalogChange::Embargo(Embargo { version: *version, ..Embargo::default() }),
        Deed::Revoke(number) => CatalogChange::TokensRevoked {
            tokens: vec![RevokedToken { token: TokenKey([*number; 16]), until: UnixSeconds(9) }],
        },
    }
}

proptest! {
    /// Telling the folded state comes to the same as telling every change.
    #[test]
    fn a_fold_is_the_state_of_its_changes(deeds in deeds()) {
        let (mut fold, mut model, mut told) = (Fold::default(), Model::default(), BTreeMap::new());
        for (sequence, deed) in (1..).zip(&deeds) {
            let change = change(deed, sequence);
            model.apply(&mut told, sequence, &change);
            fold.take(sequence, &change, change.clone());
        }
        let (mut again, mut told) = (Model::default(), BTreeMap::new());
        for (sequence, change) in fold.in_order() {
            again.apply(&mut told, sequence, change);
        }
        prop_assert_eq!(again, model);
    }

    /// Whoever knew one state and is told what another lacks, and then the other, knows the other and nothing else.
    #[test]
    fn a_new_state_leaves_nothing_of_the_old_one(old in deeds(), new in deeds()) {
        let fold_of = |deeds: &[Deed]| {
            let mut fold = Fold::default();
            for (sequence, deed) in (1..).zip(deeds) {
                let change = change(deed, sequence);
                fold.take(sequence, &change, change.clone());
            }
            fold
        };
        let (old, new) = (fold_of(&old), fold_of(&new));
        let (mut mine, mut theirs) = (Model::default(), Model::default());
        let (mut told, mut told_there) = (BTreeMap::new(), BTreeMap::new());
        for (sequence, change) in old.in_order() {
            mine.apply(&mut told, sequence, change);
        }
        let lacking: Vec<_> = new.lacks(&old).collect();
        for (sequence, change) in new.in_order() {
            mine.apply(&mut told, sequence, change);
            theirs.apply(&mut told_there, sequence, change);
        }
        for change in &lacking {
            mine.apply(&mut told, 100, change);
        }
        // Products, releases and offers are never removed, and no revocation is forgotten; an embargo is in every state
        // once there was one; accounts are replaced as a whole.
        theirs.title = theirs.title.or_else(|| mine.title.clone());
        for (version, state) in &mine.releases {
            theirs.releases.entry(version.clone()).or_insert(*state);
        }
        for (channel, sequence) in &mine.offers {
            let newest = theirs.offers.entry(channel.clone()).or_default();
            *newest = (*newest).max(*sequence);
        }
        theirs.offered.extend(mine.offered.iter().cloned());
        theirs.revoked.extend(&mine.revoked);
        if theirs.embargo == 0 {
            theirs.embargo = mine.embargo;
        }
        (mine.accounts, mine.rests_on) = (theirs.accounts.clone(), theirs.rests_on);
        prop_assert_eq!(mine, theirs);
    }

    #[test]
    fn any_bytes_are_refused_or_a_line_that_is_written_back(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        // Nothing that begins like no line of ours is one.
        let is_document = bytes.trim_ascii_start().first() == Some(&b'{');
        match Line::parse(&bytes) {
            Ok(line) => prop_assert!(is_document && Line::parse(&line.encode()) == Ok(line)),
            Err(error) => prop_assert!(error.to_string().chars().count() < 2 * COMPLAINT_CHARS),
        }
    }

    /// A line that was damaged is refused, or says something else that is written back as it is: never half of both.
    #[test]
    fn a_damaged_line_is_refused_or_another_one(
        which in 0usize..6, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()
    ) {
        let line = lines().swap_remove(which);
        let mut text = line.encode();
        let at = at.index(text.len() - 1);
        if cut {
            text.truncate(at);
            prop_assert!(Line::parse(&text).is_err(), "the start of a line is no line");
        } else {
            let before = std::mem::replace(&mut text[at], byte);
            match Line::parse(&text) {
                Ok(found) => prop_assert_eq!(Line::parse(&found.encode()), Ok(found)),
                Err(error) => prop_assert!(byte != before, "{error}"),
            }
        }
    }
}
