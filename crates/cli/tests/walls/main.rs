//! Whatever is published, withdrawn and claimed: nobody reads content that they are not owed, and everybody can install
//! what they are owed.
//!
//! The real publisher talks to the real control, which tells the real catalogue of an edge; the edge's own decision is
//! asked for every person and every blob, and held against a slow and obvious model of who is owed what. Contents are
//! few and small, so that components, groups, channels, platforms and products overlap in nearly all of them.

#![expect(clippy::panic, reason = "helpers of tests, where clippy does not see that they are")]

mod model;
mod people;
mod world;

use model::{Claim, Part, Step};
use people::people;
use proptest::prelude::*;
use world::{Hole, Sold, World, now};

fn part(component: &'static str) -> impl Strategy<Value = Part> {
    let group = prop_oneof![3 => Just("base"), 1 => Just("x"), 1 => Just("y")];
    let files = proptest::collection::btree_set(0..model::CONTENTS, 1..5);
    (group, files).prop_map(move |(group, files)| {
        let group = if component == "base" { "base" } else { group };
        Part { component, group, files }
    })
}

fn product() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just("game"), 1 => Just("demo")]
}

fn publish() -> impl Strategy<Value = Step> {
    let platform = prop_oneof![4 => Just("any"), 2 => Just("linux"), 1 => Just("windows")];
    let channel = prop_oneof![2 => Just(None), 2 => Just(Some("stable")), 1 => Just(Some("beta"))];
    let optional = |component| proptest::option::weighted(0.7, part(component));
    let claim = proptest::option::weighted(0.3, (any::<proptest::sample::Index>(), any::<proptest::sample::Index>()));
    (product(), platform, channel, part("base"), optional("dlc"), optional("lang"), claim).prop_map(
        |(product, platform, channel, base, dlc, lang, claim)| Step::Publish {
            product,
            platform,
            channel,
            parts: [Some(base), dlc, lang].into_iter().flatten().collect(),
            claim: claim.map(|(blob, component)| Claim { blob, component }),
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let access = prop_oneof![Just("open"), Just("registered"), Just("licensed"), Just("closed")];
    prop_oneof![
        8 => publish(),
        1 => any::<proptest::sample::Index>().prop_map(Step::PublishAgain),
        3 => (any::<proptest::sample::Index>(), prop_oneof![Just("stable"), Just("beta")])
            .prop_map(|(release, channel)| Step::Move { release, channel }),
        1 => any::<proptest::sample::Index>().prop_map(Step::Withdraw),
        1 => any::<proptest::sample::Index>().prop_map(Step::Restore),
        1 => any::<proptest::sample::Index>().prop_map(Step::Open),
        1 => (product(), access).prop_map(|(product, access)| Step::Access { product, access }),
    ]
}

/// Histories that are tried: a dozen seconds here; `cargo xtask full` tries ten times as many.
fn cases() -> u32 {
    if std::env::var_os("PENSTOCK_FULL").is_some_and(|value| value == "1") { 240 } else { 24 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn nobody_reads_what_they_are_not_owed_and_everybody_installs_what_they_are(
        sold in prop_oneof![2 => Just(Sold::FromTheBegin), 1 => Just(Sold::Later)],
        steps in proptest::collection::vec(step(), 3..10),
    ) {
        let mut world = World::new(sold);
        for step in &steps {
            world.take(step);
        }
        for person in people(world.begin(), now()) {
            world.reads_only_what_is_owed(&person)?;
            world.installs_what_is_owed(&person)?;
        }
    }
}

/// The story behind it, told once by hand: one folder of content, in the base of a closed beta, in an add-on, in a
/// language and in a demo.
#[test]
fn the_same_content_for_four_audiences_lies_four_times() {
    let mut world = World::new(Sold::Later);
    let files = |list: &[usize]| list.iter().copied().collect();
    let publish = |product, channel, parts| Step::Publish { product, platform: "any", channel, parts, claim: None };
    world.take(&publish(
        "game",
        Some("beta"),
        vec![
            Part { component: "base", group: "base", files: files(&[0]) },
            Part { component: "dlc", group: "x", files: files(&[1, 2]) },
            Part { component: "lang", group: "base", files: files(&[1, 2]) },
        ],
    ));
    world.take(&publish("demo", None, vec![Part { component: "base", group: "base", files: files(&[1, 2]) }]));
    world.take(&publish(
        "game",
        Some("stable"),
        vec![Part { component: "base", group: "base", files: files(&[0, 1]) }],
    ));
    assert_eq!(world.copies_of(1), 4, "add-on, language, demo, and the base that has it now");
    assert_eq!(world.copies_of(2), 3);
    assert_eq!(world.copies_of(0), 1);
    for person in people(world.begin(), now()) {
        world.reads_only_what_is_owed(&person).expect("walls hold");
        world.installs_what_is_owed(&person).expect("installs");
    }
}

/// A control that let one product list a blob of another, or one add-on that of another, would be found out.
#[test]
fn a_wall_with_a_hole_is_noticed() {
    for (product, component, group) in [("demo", "base", "base"), ("game", "lang", "base"), ("game", "base", "base")] {
        let mut world = World::new(Sold::FromTheBegin);
        let secret = Part { component: "dlc", group: "x", files: [3].into_iter().collect() };
        let base = || Part { component: "base", group: "base", files: [0].into_iter().collect() };
        let lang = Part { component: "lang", group: "base", files: [1].into_iter().collect() };
        let publish =
            |product, parts| Step::Publish { product, platform: "any", channel: Some("stable"), parts, claim: None };
        world.take(&publish("game", vec![base(), secret, lang]));
        world.take(&publish("demo", vec![base()]));
        let everybody = || people(world.begin(), now());
        assert!(everybody().iter().all(|person| world.reads_only_what_is_owed(person).is_ok()));
        world.tell_of_a_hole(product, component, group, 3);
        let noticed = everybody().iter().filter(|person| world.reads_only_what_is_owed(person).is_err()).count();
        assert!(noticed > 0, "{product} {component} {group}");
    }
}

/// A beta has content that stable never gets, in one pack with what it gets. Whoever has stable only reads nothing of it,
/// whenever that was sold; and an edge that broke any of the rules would be found out by the same story.
#[test]
fn a_betas_content_stays_in_the_beta_and_each_rule_is_missed_when_it_is_broken() {
    let files = |list: &[usize]| list.iter().copied().collect();
    let story = |world: &mut World| {
        let base = |list: &[usize]| Part { component: "base", group: "base", files: files(list) };
        let publish = |channel, parts| Step::Publish { product: "game", platform: "any", channel, parts, claim: None };
        let add_on = Part { component: "dlc", group: "x", files: files(&[4]) };
        let language = Part { component: "lang", group: "base", files: files(&[5]) };
        world.take(&publish(Some("beta"), vec![base(&[0, 1, 2]), add_on, language]));
        world.take(&publish(Some("stable"), vec![base(&[0, 3])]));
    };
    for (sold, copies) in [(Sold::FromTheBegin, 2), (Sold::Later, 1)] {
        let mut world = World::new(sold);
        story(&mut world);
        assert_eq!(world.copies_of(0), copies, "{sold:?}: packed anew where somebody has stable only");
        for person in people(world.begin(), now()) {
            world.reads_only_what_is_owed(&person).expect("walls hold");
            world.installs_what_is_owed(&person).expect("installs");
        }
    }
    for hole in [Hole::Shared, Hole::Components, Hole::Groups, Hole::Channels] {
        let mut world = World::with_hole(Sold::Later, hole);
        story(&mut world);
        let noticed = people(world.begin(), now()).iter().any(|one| world.reads_only_what_is_owed(one).is_err());
        assert!(noticed, "{hole:?}");
    }
}
