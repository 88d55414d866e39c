//! A blob that several releases have.

use super::*;

#[test]
fn of_several_uses_one_that_allows_is_enough_and_the_best_refusal_is_told() {
    let (open, licensed, closed) = (
        product("demo", AccessClass::Open),
        product("game", AccessClass::Licensed),
        product("secret", AccessClass::Closed),
    );
    let (platform, component, group, channels) =
        (Platform::any(), ComponentName::base(), AccessGroup::base(), BTreeSet::new());
    let one = |product, state| BlobUse {
        product: Some(product),
        platform: &platform,
        component: &component,
        group: &group,
        channels: &channels,
        registered: UnixSeconds(1),
        state,
        whole: true,
    };
    let scene = Scene { now: NOW, place: Whereabouts::Known(None), embargo: &Embargo::default() };
    let decide = |uses: &[BlobUse<'_>]| match decide_blob(
        BlobId::of(b"x"),
        false,
        uses.iter().copied(),
        Caller::Nobody,
        &scene,
        &mut Silent,
    ) {
        Verdict::Allow(_) => None,
        Verdict::Refuse(refusal) => Some(refusal),
    };
    use ReleaseState::{Live, Withdrawn};
    assert_eq!(decide(&[one(&closed, Live), one(&open, Live)]), None);
    assert_eq!(decide(&[one(&open, Withdrawn), one(&open, Live)]), None, "content shared with a live release stays");
    assert_eq!(decide(&[one(&open, Withdrawn), one(&licensed, Live)]), Some(Refusal::TokenRequired));
    assert_eq!(decide(&[one(&closed, Live), one(&open, Withdrawn)]), Some(Refusal::Withdrawn));
    assert_eq!(decide(&[one(&closed, Live)]), Some(Refusal::Unknown));
    assert_eq!(decide(&[BlobUse { product: None, ..one(&open, Live) }]), Some(Refusal::Unknown), "not told of yet");
    assert_eq!(decide(&[]), Some(Refusal::Unknown));
    let scene = Scene { now: NOW, place: Whereabouts::Known(None), embargo: &Embargo::default() };
    assert!(matches!(
        decide_blob(BlobId::of(b"x"), true, [], Caller::Nobody, &scene, &mut Silent),
        Verdict::Allow(grant) if grant.visibility() == Visibility::Public
    ));
    assert_eq!(decide_product(None, Caller::Nobody, &scene, &mut Silent), Verdict::Refuse(Refusal::Unknown));
}

/// A release that a blob is part of: its channel, its platform, when it was registered, whether it was withdrawn, and whether
/// all of the blob is its content.
type Use = (&'static str, &'static str, u64, ReleaseState, bool);

fn decide_uses(uses: &[Use], change: impl FnOnce(&mut Holding)) -> Option<Refusal> {
    let game = product("game", AccessClass::Licensed);
    let (component, group) = (ComponentName::base(), AccessGroup::base());
    let mut held = holding(|_| {});
    change(&mut held);
    let passport = passport(AccountFacts { holdings: [held].into(), ..AccountFacts::default() });
    let scene = Scene { now: NOW, place: Whereabouts::Known(None), embargo: &Embargo::default() };
    let names: Vec<(Platform, BTreeSet<ChannelName>)> = uses
        .iter()
        .map(|(channel, platform, ..)| (platform.parse().expect("a name"), [channel.parse().expect("a name")].into()))
        .collect();
    let uses = uses.iter().zip(&names).map(|((_, _, registered, state, whole), (platform, channels))| BlobUse {
        product: Some(&game),
        platform,
        component: &component,
        group: &group,
        channels,
        registered: UnixSeconds(*registered),
        state: *state,
        whole: *whole,
    });
    match decide_blob(BlobId::of(b"x"), false, uses, Caller::Known(&passport), &scene, &mut Silent) {
        Verdict::Allow(_) => None,
        Verdict::Refuse(refusal) => Some(refusal),
    }
}

#[test]
fn what_is_shared_is_given_to_those_only_who_are_owed_all_of_it() {
    use ReleaseState::{Live, Withdrawn};
    let beta: Use = ("beta", "any", 1, Live, true);
    let stable: Use = ("stable", "any", 2, Live, false);
    let content = Some(Refusal::ContentNotIncluded);
    let channels = |names: &[&str]| names.iter().map(|name| name.parse().expect("a name")).collect::<BTreeSet<_>>();
    let of = |names: &[&str]| {
        let channels = channels(names);
        move |held: &mut Holding| Arc::make_mut(&mut held.terms).channels = channels
    };
    assert_eq!(decide_uses(&[stable, beta], |_| {}), None, "nobody is limited");
    assert_eq!(decide_uses(&[stable, beta], of(&["stable"])), content);
    assert_eq!(decide_uses(&[stable, beta], of(&["beta"])), None);
    assert_eq!(decide_uses(&[stable, beta], of(&["beta", "stable"])), None);
    assert_eq!(decide_uses(&[stable, beta], of(&["nightly"])), Some(Refusal::ChannelNotIncluded));
    assert_eq!(decide_uses(&[stable], of(&["stable"])), content, "nobody knows what else is in it");
    let withdrawn = ("beta", "any", 1, Withdrawn, true);
    assert_eq!(decide_uses(&[stable, withdrawn], of(&["beta", "stable"])), None, "its content is owed all the same");
    assert_eq!(decide_uses(&[("beta", "any", 2, Live, false), withdrawn], of(&["beta"])), None);
    assert_eq!(decide_uses(&[withdrawn], of(&["beta"])), Some(Refusal::Withdrawn));
    let (windows, linux) = (("stable", "windows", 1, Live, true), ("stable", "linux", 2, Live, false));
    let platform = |held: &mut Holding| {
        Arc::make_mut(&mut held.terms).platforms = ["linux".parse().expect("a name")].into();
    };
    assert_eq!(decide_uses(&[linux, windows], platform), content);
    assert_eq!(decide_uses(&[linux, ("beta", "any", 1, Live, true)], platform), None);
    // Of two releases that all of it is content of, the one that came later gives nothing to whoever ended before.
    let later: Use = ("stable", "any", NOW.0 - 1, Live, true);
    let ended = |held: &mut Holding| {
        of(&["stable"])(held);
        held.ends = Some(UnixSeconds(NOW.0 - 10));
    };
    assert_eq!(decide_uses(&[later, stable, beta], ended), Some(Refusal::EntitlementEnded));
    assert_eq!(decide_uses(&[later, stable, beta], of(&["stable"])), None);
}
