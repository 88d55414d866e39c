//! Rollouts as a client sees them: an edge answers the target or the fallback of a signed head, and nothing else.

use crate::publisher::Published;
use crate::server::Fault;
use crate::{Stage, assert_is, first, second};
use penstock_client::{Check, Intent, Phase, Progress, PullError, PullRequest, Silent, pull};
use penstock_core::api::ChannelAnswer;
use penstock_core::blob::BlobId;
use penstock_core::id::Version;
use penstock_core::statement::Pointer;
use penstock_core::trust::TrustError;
use serde_json::{Value, json};
use std::fs;
use std::sync::Mutex;

fn pointer(published: &Published) -> Pointer {
    Pointer {
        version: published.root.version.clone(),
        manifest: published.manifest,
        manifest_bytes: published.manifest_bytes,
    }
}

/// A head on its way from `fallback` to `target`.
fn rolling(stage: &mut Stage, target: &Published, fallback: &Published) -> ChannelAnswer {
    let fallback = pointer(fallback);
    stage.publisher.offer(target, |head, _| head.fallback = Some(fallback))
}

/// The same signed head, with another release chosen.
fn choosing(answer: &ChannelAnswer, chosen: &Pointer) -> ChannelAnswer {
    let Pointer { version, manifest, manifest_bytes } = chosen.clone();
    ChannelAnswer { version, manifest, manifest_bytes, ..answer.clone() }
}

fn answer(stage: &Stage, answer: ChannelAnswer) {
    stage.edge.load(&stage.publisher);
    stage.edge.world.lock().expect("lock").offer = Some(answer);
}

/// What an install was offered on its way, and that the brake takes it back to where it came from.
#[test]
fn target_and_fallback_are_installed_as_the_edge_chooses() {
    let mut stage = Stage::new();
    let old = stage.publisher.publish("1", &first());
    let new = stage.publisher.publish("2", &second());
    let head = rolling(&mut stage, &new, &old);
    answer(&stage, choosing(&head, &pointer(&old)));
    assert_eq!(stage.pull().expect("not its turn").to.as_str(), "1");
    answer(&stage, head.clone());
    assert_eq!(stage.pull().expect("its turn").to.as_str(), "2");
    assert_is(&stage.dir(), &second(), &[]);
    // A brake of the edge's own: the head is the same.
    answer(&stage, choosing(&head, &pointer(&old)));
    assert_eq!(stage.pull().expect("halted").to.as_str(), "1");
    assert_is(&stage.dir(), &first(), &[]);
    // Control's: a newer head that points at the fallback only.
    let halted = stage.publisher.offer(&old, |_, _| ());
    answer(&stage, halted);
    assert!(!stage.pull().expect("stays").changed);
    // And whoever kept the head from before may not go on with it.
    answer(&stage, head);
    let error = stage.pull().expect_err("an old head");
    assert!(matches!(error, PullError::Trust(TrustError::OlderSequence { .. })), "{error:?}");
}

#[test]
fn an_edge_that_names_another_release_is_refused() {
    let mut stage = Stage::new();
    let ancient = stage.publisher.publish("0", &first());
    let old = stage.publisher.publish("1", &first());
    let new = stage.publisher.publish("2", &second());
    let head = rolling(&mut stage, &new, &old);
    let whole = stage.publisher.offer(&new, |_, _| ());
    let lies = [
        ("an older release that the publisher signed, too", choosing(&head, &pointer(&ancient))),
        ("the target's version with another manifest", {
            choosing(&head, &Pointer { manifest: BlobId::of(b"x"), ..pointer(&new) })
        }),
        ("the fallback's version with the target's manifest", {
            choosing(&head, &Pointer { version: old.root.version.clone(), ..pointer(&new) })
        }),
        ("the target with another length", choosing(&head, &Pointer { manifest_bytes: 1, ..pointer(&new) })),
        ("a fallback that this head has not", {
            let fallback = Some(penstock_core::catalog::OfferedRelease {
                version: old.root.version.clone(),
                manifest: old.manifest,
                manifest_bytes: old.manifest_bytes,
            });
            ChannelAnswer { fallback, ..choosing(&whole, &pointer(&old)) }
        }),
    ];
    for (lie, lying) in lies {
        answer(&stage, lying);
        let error = stage.pull().expect_err(lie);
        assert!(matches!(&error, PullError::Trust(TrustError::NotOffered { .. })), "{lie}: {error:?}");
        assert_eq!(error.class(), penstock_client::ErrorClass::Refused, "{lie}");
        assert!(!stage.dir().exists(), "{lie}: nothing is left behind");
    }
}

/// Queries of the channel questions so far.
fn questions(stage: &Stage) -> Vec<String> {
    let seen = stage.edge.seen().into_iter().filter(|seen| seen.path.contains("/channels/"));
    seen.map(|seen| seen.query).collect()
}

fn value(query: &str, key: &str) -> Option<String> {
    query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
}

#[test]
fn an_install_names_itself_once_and_for_good() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    let dry = PullRequest { intent: Intent::DryRun, ..stage.request() };
    pull(&dry, &Silent).expect("plan");
    assert_eq!(value(&questions(&stage)[0], "install"), None, "a name that nobody keeps is not sent");
    // The first pull breaks off before there is any state: its rollout bucket must not change for that.
    stage.edge.fault(Fault::NotFound);
    stage.pull().expect_err("nothing is there");
    stage.edge.fault(Fault::None);
    stage.pull().expect("pull");
    fs::write(stage.dir().join(".penstock/state.json"), b"{ not json").expect("write");
    stage.pull().expect("the state is made anew");
    pull(&dry, &Silent).expect("plan");
    let asked = questions(&stage);
    let id = value(&asked[1], "install").expect("an id");
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert!(asked[1..].iter().all(|query| value(query, "install").as_deref() == Some(&id)), "{asked:?}");
    let other = PullRequest { into: stage.temp.path().join("other"), ..stage.request() };
    pull(&other, &Silent).expect("another install");
    assert_ne!(value(questions(&stage).last().expect("asked"), "install").as_ref(), Some(&id));
    // Rot in the file costs the name and nothing else.
    fs::write(stage.dir().join(".penstock/install"), b"?").expect("write");
    stage.pull().expect("pull");
    stage.pull().expect("pull");
    let asked = questions(&stage);
    let [.., first, second] = &asked[..] else { unreachable!("two pulls") };
    assert_eq!(value(first, "install"), value(second, "install"));
    assert_ne!(value(first, "install"), Some(id));
}

#[test]
fn a_question_says_what_is_installed_and_whether_a_player_asks() {
    let mut stage = Stage::new();
    stage.offer("1+2", &first());
    stage.pull().expect("pull");
    pull(&PullRequest { check: Check::ByHand, ..stage.request() }, &Silent).expect("by hand");
    let asked = questions(&stage);
    assert_eq!((value(&asked[0], "have"), value(&asked[0], "check")), (None, None));
    assert_eq!(value(&asked[1], "have").as_deref(), Some("1%2B2"));
    assert_eq!(value(&asked[1], "check").as_deref(), Some("manual"));
    let read = penstock_core::request::Target::parse("/v1/products/game/channels/stable", Some(&asked[1]));
    let Ok(penstock_core::request::Target::Channel { install, have, by_hand, .. }) = read else { unreachable!() };
    assert!(install.is_some() && by_hand, "an edge reads what a client asks");
    assert_eq!(have, Version::new("1+2").ok());
}

/// Keeps what is told to the player.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn begin(&self, _phase: Phase, _total: u64) {}
    fn advance(&self, _amount: u64) {}
    fn note(&self, text: &str) {
        self.0.lock().expect("lock").push(text.to_owned());
    }
}

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("lock"))
    }
}

#[test]
fn a_version_that_is_not_supported_any_more_is_named_with_the_studios_word() {
    let mut stage = Stage::new();
    stage.offer("1", &first());
    let notes = Notes::default();
    let report = pull(&stage.request(), &notes).expect("pull");
    assert_eq!((report.required, report.minimum, notes.take().len()), (false, None, 0));
    stage.offer("2", &second());
    let beside = |minimum: Value| {
        let beside = [("minimum".to_owned(), minimum), ("required".to_owned(), json!(true))];
        stage.edge.world.lock().expect("lock").beside = beside.into_iter().collect();
    };
    let dry = PullRequest { intent: Intent::DryRun, ..stage.request() };
    // What an edge says is shown, if it can be: it is nobody's signed word, and keeps nobody from the update.
    for (minimum, version, message) in [
        (
            json!({ "version": "2", "message": "The servers speak another language now." }),
            Some("2"),
            "another language",
        ),
        (json!({ "version": "2" }), Some("2"), ""),
        (json!({ "version": "2", "message": "\u{1b}[2J" }), Some("2"), ""),
        (json!({ "version": "2", "message": "x".repeat(501) }), Some("2"), ""),
        (json!({ "version": "2", "colour": "red" }), None, ""),
        (json!(7), None, ""),
        (Value::Null, None, ""),
    ] {
        beside(minimum.clone());
        let report = pull(&dry, &notes).expect("plan");
        assert!(report.required && report.dry_run, "{minimum}");
        assert_eq!(report.minimum.as_ref().map(|minimum| minimum.version.as_str()), version, "{minimum}");
        let shown = report.minimum.map(|minimum| minimum.message).unwrap_or_default();
        assert!(shown.contains(message) && shown.is_empty() == message.is_empty(), "{minimum}: {shown}");
        let said = notes.take();
        assert!(said.len() == 1 && said[0].contains("game 1 is not supported any more"), "{minimum}: {said:?}");
        assert!(said[0].contains(message) && !said[0].contains('\u{1b}'), "{minimum}: {said:?}");
    }
    // It is said before anything can fail.
    stage.edge.fault(Fault::NotFound);
    pull(&stage.request(), &notes).expect_err("no content");
    assert!(notes.take().iter().any(|note| note.contains("not supported any more")));
    stage.edge.fault(Fault::None);
    assert_eq!(stage.pull().expect("update").to.as_str(), "2");
    assert_is(&stage.dir(), &second(), &[]);
}
