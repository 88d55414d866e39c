//! Whose turn it is: rollouts, segments, brakes and the oldest supported version, over real sockets.

use crate::from::From;
use crate::issuer::{Issuer, NOW};
use crate::rig::{Answer, Over, Rig, content, product, release};
use penstock_core::account::{AccountFacts, Extras};
use penstock_core::api::ChannelDocument;
use penstock_core::blob::BlobId;
use penstock_core::catalog::{AccessClass, CatalogChange, CatalogSink as _, Offer, OfferedRelease, ReleaseState};
use penstock_core::desk::{ExplainQuestion, Explainer as _};
use penstock_core::rollout::{Asker, Minimum, Motion, Rollout, Salt};
use penstock_core::segment::Segment;
use penstock_edge::config::{Config, Environment};
use penstock_edge::serve::PlainTokens;
use penstock_store::Reading;
use penstock_testkit::GeoFile;
use serde_json::{Value, json};

const PATH: &str = "/v1/products/game/channels/stable";

/// A product with releases 1 and 2, the second on its way.
struct World {
    rig: Rig,
    blobs: [BlobId; 2],
}

impl World {
    fn new(access: AccessClass) -> Self {
        let rig = Rig::with(Over::Plain, Reading::Map, PlainTokens::Accept);
        let blobs = [1, 2].map(|number| rig.put(&content(1000 + number)));
        rig.catalog.apply(product("game", access));
        for (version, blob) in ["1", "2"].iter().zip(blobs) {
            rig.catalog.apply(release("game", version, "any", ReleaseState::Live, &[blob]));
        }
        let world = Self { rig, blobs };
        world.offer("2", Some("1"));
        world
    }

    fn tell(&self, change: CatalogChange) {
        self.rig.copy().apply(1, change);
    }

    fn offer(&self, target: &str, fallback: Option<&str>) {
        let blob = |version: &str| self.blobs[usize::from(version == "2")];
        let fallback = fallback.map(|version| OfferedRelease {
            version: version.parse().expect("a version"),
            manifest: blob(version),
            manifest_bytes: 7,
        });
        self.tell(CatalogChange::Offer(Offer {
            product: "game".parse().expect("a name"),
            platform: "any".parse().expect("a name"),
            channel: "stable".parse().expect("a name"),
            sequence: 1,
            version: target.parse().expect("a version"),
            manifest: blob(target),
            manifest_bytes: 1,
            fallback,
            head: vec![1],
            delegation: vec![2],
            rotations: Vec::new(),
        }));
    }

    fn policy(&self, rollout: Option<Rollout>, minimum: Option<Minimum>) {
        self.tell(CatalogChange::ChannelPolicy {
            product: "game".parse().expect("a name"),
            platform: "any".parse().expect("a name"),
            channel: "stable".parse().expect("a name"),
            rollout,
            minimum,
        });
    }

    fn steps(&self, steps: &Value) {
        self.policy(Some(rollout(steps)), None);
    }

    fn segment(&self, name: &str, rule: &Value) {
        let segment: Segment =
            serde_json::from_value(json!({"name": name, "version": 4, "rule": rule})).expect("a segment");
        self.tell(CatalogChange::Segment(segment));
    }

    fn ask(&self, query: &str) -> ChannelDocument {
        read(&self.rig.get(&format!("{PATH}?{query}"), &[]))
    }

    fn version(&self, query: &str) -> String {
        self.ask(query).offer.version.to_string()
    }

    fn configure(&self, text: &str) {
        self.rig.policies.configure(&Config::parse(text, &Environment::default(), None).expect("good"));
    }
}

fn read(answer: &Answer) -> ChannelDocument {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    serde_json::from_slice(&answer.body).expect("a document")
}

fn rollout(steps: &Value) -> Rollout {
    let steps = serde_json::from_value(steps.clone()).expect("steps");
    Rollout {
        target: "2".parse().expect("a version"),
        fallback: "1".parse().expect("a version"),
        salt: Salt([7; 32]),
        motion: Motion::Running,
        steps,
        manual_check: serde_json::from_value(json!("waits")).expect("a word"),
    }
}

fn attributes(world: &World, account: &str, attributes: &Value) -> String {
    let attributes = serde_json::from_value(attributes.clone()).expect("attributes");
    let extras = Some(Box::new(Extras { attributes, ..Extras::default() }));
    let key = world.rig.accounts.pseudonyms().account(account);
    world.rig.accounts.set(1, key, Some(AccountFacts { extras, ..AccountFacts::default() }));
    Issuer::bearer(account, &json!({}))
}

#[test]
fn each_install_has_its_turn_on_every_node_and_after_every_start() {
    let (one, other) = (World::new(AccessClass::Open), World::new(AccessClass::Open));
    let steps = json!([{"from": 0, "share": "40"}]);
    let expected = rollout(&steps);
    let mut targets = 0;
    for world in [&one, &other] {
        world.steps(&steps);
        for number in 0..60 {
            let install = format!("install-{number}");
            let asker = Asker { install: Some(&install), segments: &[], regions: &[], by_hand: false };
            let is_target = expected.turn(&asker, NOW).is_target();
            targets += usize::from(is_target);
            let document = world.ask(&format!("install={install}"));
            let wanted = if is_target { ("2", world.blobs[1], 1) } else { ("1", world.blobs[0], 7) };
            let offer = &document.offer;
            assert_eq!((offer.version.as_str(), offer.manifest, offer.manifest_bytes), wanted, "{install}");
            assert_eq!((document.required, &document.minimum), (false, &None));
        }
    }
    assert!((20..80).contains(&targets), "{targets} of 120");
    assert_eq!(one.version(""), "1", "who does not say which install it is comes last");
    one.steps(&json!([{"from": 0, "share": "100"}]));
    assert_eq!(one.version(""), "2");
}

#[test]
fn a_channel_that_moves_nowhere_answers_everybody_alike() {
    let world = World::new(AccessClass::Open);
    assert_eq!(world.version("install=a"), "1", "nobody's turn before the rollout is told");
    world.policy(None, None);
    assert_eq!(world.version("install=a"), "2", "everybody's turn");
    world.offer("2", None);
    world.steps(&json!([]));
    assert_eq!(world.version("install=a"), "2", "there is nothing else");
    world.offer("1", None);
    assert_eq!(world.version("install=a"), "1");
}

#[test]
fn a_rollout_is_paused_halted_and_asked_by_hand_on_an_open_connection() {
    let world = World::new(AccessClass::Open);
    let mut from = From::new(&world.rig, "198.51.100.9");
    let mut ask = |query: &str| read(&from.get(&format!("{PATH}?{query}"), None)).offer.version.to_string();
    let mut moving = rollout(&json!([{"from": NOW.0 - 10, "share": "100"}]));
    world.policy(Some(moving.clone()), None);
    assert_eq!(ask("install=a"), "2");
    moving.motion = Motion::Paused { at: penstock_core::time::UnixSeconds(NOW.0 - 20) };
    world.policy(Some(moving.clone()), None);
    assert_eq!(ask("install=a"), "1", "the step had not come when it was paused");
    assert_eq!(ask("install=a&check=manual"), "1");
    moving.manual_check = serde_json::from_value(json!("bypasses")).expect("a word");
    world.policy(Some(moving.clone()), None);
    assert_eq!((ask("install=a&check=manual"), ask("install=a")), ("2".to_owned(), "1".to_owned()));
    moving.motion = Motion::Halted;
    world.policy(Some(moving), None);
    assert_eq!((ask("install=a&check=manual"), ask("install=a")), ("1".to_owned(), "1".to_owned()));
}

#[test]
fn segments_are_told_by_attributes_accounts_and_installs() {
    for access in [AccessClass::Open, AccessClass::Registered] {
        let world = World::new(access);
        let alice = attributes(&world, "alice", &json!({"press": true, "score": 12}));
        let bob = attributes(&world, "bob", &json!({"press": false, "score": 99}));
        let pseudonym = |id: &str| world.rig.accounts.pseudonyms().account(id).to_string();
        let is_press = json!({"where": {"is": {"attribute": "press", "values": [true]}}});
        let band = json!({"score": {"attribute": "score", "from": 50, "below": null}});
        let ask = |query: &str, token: &str| {
            let answer = world.rig.get(&format!("{PATH}?{query}"), &[("authorization", token)]);
            read(&answer).offer.version.to_string()
        };
        let both = |query: &str| [ask(query, &alice), ask(query, &bob)].concat();
        world.steps(&json!([{"from": 0, "share": "100", "segments": ["first", "vip"]}]));
        assert_eq!(both("install=a"), "11", "a segment that is not there holds nobody");
        for (rule, install, expected) in [
            (&is_press, "a", "21"),
            (&band, "a", "12"),
            (&json!({"list": [pseudonym("bob")]}), "a", "12"),
            (&json!({"list": [pseudonym("install-7")]}), "install-7", "22"),
            (&json!({"list": [pseudonym("install-7")]}), "install-8", "11"),
            (&json!({"list": ["bob", "install-7"]}), "install-7", "11"),
        ] {
            world.segment("vip", rule);
            assert_eq!(both(&format!("install={install}")), expected, "{rule} {install}");
        }
        world.segment("vip", &is_press);
        world.tell(CatalogChange::SegmentGone { name: "vip".parse().expect("a name") });
        assert_eq!(both("install=a"), "11");
        if access == AccessClass::Open {
            world.segment("vip", &is_press);
            assert_eq!(ask("install=a", "Bearer nonsense"), "1", "an open product asks for no good token");
            assert_eq!(world.version("install=a"), "1");
        }
    }
}

#[test]
fn regions_are_where_the_peer_is() {
    let world = World::new(AccessClass::Open);
    let dir = tempfile::tempdir().expect("a directory");
    let file = GeoFile::new("GeoLite2-City", 1).with("198.51.100.0/24", "US-CA").with("192.0.2.0/24", "US-TX");
    std::fs::write(dir.path().join("places.mmdb"), file.bytes()).expect("written");
    world.rig.geo.reload(Some(&dir.path().join("places.mmdb")));
    let ask = |address: &str| read(&From::new(&world.rig, address).get(PATH, None)).offer.version.to_string();
    let all = || ["198.51.100.1", "192.0.2.1", "8.8.8.8"].map(ask).concat();
    for (regions, expected) in [(json!(["US"]), "221"), (json!(["US-CA"]), "211"), (json!(["DE"]), "111")] {
        world.steps(&json!([{"from": 0, "share": "100", "regions": regions}]));
        assert_eq!(all(), expected, "{regions}");
    }
}

#[test]
fn the_brake_of_a_node_holds_its_rollouts_back() {
    let world = World::new(AccessClass::Open);
    world.steps(&json!([{"from": 0, "share": "100"}]));
    for (text, expected) in [
        ("", "2"),
        ("[rollouts]\nbrake = [\"game/stable\"]\n", "1"),
        ("[rollouts]\nbrake = [\"game/beta\", \"other/stable\"]\n", "2"),
        ("[rollouts]\nbrake = \"*\"\n", "1"),
        ("", "2"),
    ] {
        world.configure(text);
        assert_eq!(world.version("install=a&check=manual"), expected, "{text}");
    }
    world.configure("[rollouts]\nbrake = \"*\"\n");
    world.offer("2", None);
    assert_eq!(world.version("install=a"), "2", "there is nothing to go back to");
}

#[test]
fn a_rollout_decides_no_bytes_and_a_withdrawn_target_nobodys_turn() {
    let world = World::new(AccessClass::Open);
    world.steps(&json!([]));
    assert_eq!(world.version("install=a"), "1");
    for blob in world.blobs {
        assert_eq!(world.rig.get(&format!("/v1/blobs/{blob}"), &[]).status, 200);
    }
    assert_eq!(world.rig.get("/v1/products/game/releases/2", &[]).status, 200);
    world.steps(&json!([{"from": 0, "share": "100"}]));
    let withdraw = |version: &str, blob| world.tell(release("game", version, "any", ReleaseState::Withdrawn, &[blob]));
    withdraw("2", world.blobs[1]);
    assert_eq!(world.version("install=a"), "1");
    withdraw("1", world.blobs[0]);
    world.rig.get(PATH, &[]).assert_problem(410, "withdrawn");
}

#[test]
fn what_is_too_old_is_told_so() {
    let world = World::new(AccessClass::Open);
    let minimum =
        || Some(Minimum { version: "2".parse().expect("a version"), message: "the old one loses saves".to_owned() });
    world.offer("2", None);
    world.policy(None, minimum());
    for (query, required) in [("have=1", true), ("have=2", false), ("have=0.9", false), ("", false)] {
        let document = world.ask(query);
        assert_eq!((document.required, document.minimum), (required, minimum()), "{query}");
    }
    let text = String::from_utf8(world.rig.get(&format!("{PATH}?have=2"), &[]).body).expect("text");
    assert!(!text.contains("required"), "{text}");
    // Its own fallback is not refused to whoever has it: there is nothing to go on to.
    world.offer("2", Some("1"));
    world.policy(Some(rollout(&json!([]))), minimum());
    assert_eq!((world.version("have=1"), world.ask("have=1").required), ("1".to_owned(), false));
    world.tell(release("game", "2", "any", ReleaseState::Withdrawn, &[world.blobs[1]]));
    assert!(world.ask("have=2").required, "what was withdrawn");
    world.policy(None, None);
    assert!(!world.ask("have=2").required, "a channel that says nothing of it");
}

#[test]
fn support_is_told_whose_turn_it_is_and_why() {
    let world = World::new(AccessClass::Registered);
    let alice = attributes(&world, "alice", &json!({"press": true}));
    world.segment("press", &json!({"where": {"is": {"attribute": "press", "values": [true]}}}));
    let steps = json!([{"from": 0, "share": "5"}, {"from": 0, "share": "36.16", "segments": ["press", "gone"]}]);
    world.policy(
        Some(rollout(&steps)),
        Some(Minimum { version: "2".parse().expect("a version"), message: String::new() }),
    );
    let rig = &world.rig;
    let explainer = rig.explainer(None);
    let explain = |account: &str| {
        let question: ExplainQuestion = serde_json::from_value(json!({
            "product": "game", "channel": "stable", "account": account, "install": "install-1", "have": "1",
        }))
        .expect("a question");
        let answer = explainer.explain(&question);
        let told = answer.steps.iter().map(|step| format!("{}: {}", step.step, step.finding));
        (answer.allowed, told.collect::<Vec<_>>())
    };
    let (allowed, told) = explain("alice");
    let expected = [
        "segment: there is no segment gone, so nobody is in it",
        "segment: the caller is in press, version 4",
        "rollout: the install has bucket 3615 of 10000",
        "rollout: step 0: its share is 5 percent, and bucket 3615 is not below 500",
        "rollout: step 1: its share is 36.16 percent, and bucket 3615 is below 3616",
        "channel: it is answered the target, 2",
        "minimum: 2 is the oldest supported version: 1 is older or was withdrawn, and must not go on",
    ];
    assert!(allowed && told.ends_with(&expected.map(str::to_owned)), "{told:#?}");
    let answer = rig.get(&format!("{PATH}?install=install-1&have=1"), &[("authorization", &alice)]);
    assert_eq!((read(&answer).offer.version.as_str(), read(&answer).required), ("2", true), "and so it is answered");
    attributes(&world, "bob", &json!({}));
    let (_, told) = explain("bob");
    assert!(told.contains(&"rollout: step 1: the caller is in none of its segments: press, gone".to_owned()));
    assert!(told.contains(&"channel: it is answered the fallback, 1".to_owned()), "{told:#?}");
    world.configure("[rollouts]\nbrake = \"game/stable\"\n");
    let (_, told) = explain("alice");
    assert!(told.contains(&"channel: this node's brake is pulled (rollouts.brake): the fallback, 1".to_owned()));
    let (allowed, told) = explain("nobody");
    assert!(!allowed && !told.iter().any(|step| step.starts_with("rollout")), "who is refused has no turn: {told:#?}");
}
