//! A blob that several releases have, and not all of which is content of each.

use super::*;

/// A release that a blob is part of: its channel, its platform, when it was registered, whether it was withdrawn, and whether
/// all of the blob is its content.
type Use = (&'static str, &'static str, u64, ReleaseState, bool);

fn decide_uses(uses: &[Use], change: impl FnOnce(&mut Holding)) -> Option<Refusal> {
    let game = product("game", AccessClass::Licensed);
    let (component, group) = (ComponentName::base(), AccessGroup::base());
    let mut held = holding(|_| {});
    change(&mut held);
    let passport = passport(AccountFacts { holdings: [held].into(), ..AccountFacts::default() });
    let (place, embargo) = (Whereabouts::Known(None), Embargo::default());
    let scene = Scene { now: NOW, place, embargo: &embargo, freshness: Freshness::CURRENT };
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
