//! Rollouts: what the signed head says at each turn, what edges are told and in which order, and that the brake works.

use crate::policy::Known;
use crate::support::{Build, Engine, NOW, World, believed, delegation, key};
use http::Method;
use penstock_control::{ChannelStanding, ReleaseChange};
use penstock_core::api::ChannelRow;
use penstock_core::catalog::{CatalogChange, Offer};
use penstock_core::desk::policy::{MinimumAnswer, RolloutRow, RolloutState, RolloutsAnswer};
use penstock_core::envelope::Purpose;
use penstock_core::id::{ChannelName, Platform};
use penstock_core::keys::TrustSet;
use penstock_core::limits::HEAD_RENEW_SECONDS;
use penstock_core::rollout::{Asker, Minimum, Motion, Rollout};
use penstock_core::sign::seal;
use penstock_core::statement::{Delegation, Pointer};
use penstock_core::time::UnixSeconds;
use serde_json::{Value, json};

crate::on_both_engines! {
    a_rollout_starts_with_nobody_and_the_head_points_at_both,
    a_finish_leaves_the_target_and_a_halt_the_fallback,
    a_channel_does_not_move_while_a_rollout_goes_on,
    a_step_in_force_only_rises,
    a_pause_stops_the_steps_and_a_resume_goes_on,
    impossible_rollouts_are_refused,
    withdrawing_the_target_halts_the_rollout,
    a_renewal_keeps_both_releases,
    the_brake_does_not_wait_for_the_publisher,
    a_minimum_is_told_and_no_channel_falls_below_it,
    one_rollout_of_many_at_once_is_started,
}

const PATH: &str = "/products/game/channels/stable/rollout";

/// Four releases, of which the channel offers the second.
async fn ready(engine: Engine) -> World {
    let world = World::new(engine);
    world.product("game", "open").await;
    for version in ["0", "1", "2", "3"] {
        world.register(&Build::new("game", version)).await.ok::<Value>();
    }
    world.offer("game", "stable", "1").await.ok::<Value>();
    world
}

async fn start(world: &World, more: Value) -> RolloutRow {
    let mut wanted = json!({ "platform": "any", "target": "2" });
    for (name, value) in more.as_object().into_iter().flatten() {
        wanted[name] = value.clone();
    }
    world.put(PATH, &wanted).await.ok()
}

async fn steer(world: &World, verb: &str) -> RolloutRow {
    world.post(&format!("{PATH}/{verb}"), &json!({ "platform": "any" })).await.ok()
}

fn stable() -> (ChannelName, Platform) {
    (ChannelName::new("stable").expect("name"), Platform::any())
}

fn rollout(world: &World) -> Option<Rollout> {
    Known::of(world).channels.remove(&stable()).and_then(|(rollout, _)| rollout)
}

/// The versions that a client believes that it may be given: target and fallback.
fn offered(offer: &Offer) -> (String, Option<String>) {
    let head = believed(offer, 1, NOW);
    let answer =
        Pointer { version: offer.version.clone(), manifest: offer.manifest, manifest_bytes: offer.manifest_bytes };
    assert_eq!(head.chosen(&answer), Ok(head.target()), "an answer names the head's target, to the byte");
    if let Some(fallback) = &offer.fallback {
        let (version, manifest, manifest_bytes) =
            (fallback.version.clone(), fallback.manifest, fallback.manifest_bytes);
        let pointer = Pointer { version, manifest, manifest_bytes };
        assert_eq!(head.chosen(&pointer).ok(), head.head().fallback.as_ref(), "and its fallback");
    }
    let fallback = head.head().fallback.as_ref().map(|pointer| pointer.version.to_string());
    assert_eq!(fallback, offer.fallback.as_ref().map(|fallback| fallback.version.to_string()));
    (head.target().version.to_string(), fallback)
}

fn both(target: &str, fallback: &str) -> (String, Option<String>) {
    (target.to_owned(), Some(fallback.to_owned()))
}

fn only(target: &str) -> (String, Option<String>) {
    (target.to_owned(), None)
}

async fn a_rollout_starts_with_nobody_and_the_head_points_at_both(engine: Engine) {
    let world = ready(engine).await;
    let before = world.sink.all().len();
    let row = start(&world, json!({})).await;
    assert_eq!((row.target.as_str(), row.fallback.as_str(), row.state), ("2", "1", RolloutState::Running));
    assert!(row.steps.is_empty() && row.in_force.is_empty());
    assert_eq!(offered(&world.sink.last_offer()), both("2", "1"));
    let told = rollout(&world).expect("edges know the rollout");
    let nobody = (0..2000).map(|number| format!("install-{number}")).all(|install| {
        let asker = Asker { install: Some(&install), segments: &[], regions: &[], by_hand: true };
        !told.turn(&asker, UnixSeconds(u64::MAX)).is_target()
    });
    assert!(nobody, "0 percent by construction");
    let order: Vec<&str> = world.sink.all()[before..]
        .iter()
        .map(|change| match change {
            CatalogChange::ChannelPolicy { .. } => "policy",
            CatalogChange::Offer(_) => "offer",
            _ => "other",
        })
        .collect();
    assert_eq!(order, ["policy", "offer"], "who waits is told before there is anything to wait for");

    let told = world.sink.all().len();
    let again = world.put(PATH, &json!({ "platform": "any", "target": "2" })).await;
    assert_eq!((again.status.as_u16(), again.ok::<RolloutRow>()), (200, row.clone()));
    assert_eq!(world.sink.all().len(), told, "the very same one again changes nothing");
    let other = world.put(PATH, &json!({ "platform": "any", "target": "3" })).await;
    assert!(other.refused(409, "rollout_in_force").contains("rolled out to 2"));
    assert_eq!(world.get(PATH).await.ok::<RolloutRow>(), row);
    let channel: ChannelStanding = world.get("/products/game/channels/stable").await.ok();
    assert_eq!((channel.row.version.as_str(), channel.fallback.as_ref().map(|v| v.as_str())), ("2", Some("1")));
    let known = Known::of(&world);
    let world = world.restarted();
    assert_eq!(Known::of(&world), known);
    // Each rollout has its own buckets.
    steer(&world, "halt").await;
    start(&world, json!({})).await;
    let salts = [&known, &Known::of(&world)].map(|known| known.channels[&stable()].0.as_ref().map(|one| one.salt));
    assert_ne!(salts[0], salts[1]);
}

async fn a_finish_leaves_the_target_and_a_halt_the_fallback(engine: Engine) {
    let world = ready(engine).await;
    let steps = json!([{ "from": 0, "share": "50" }]);
    for (verb, target, left, state) in
        [("halt", "2", "1", RolloutState::Halted), ("finish", "2", "2", RolloutState::Finished)]
    {
        start(&world, json!({ "steps": steps })).await;
        let sequence = world.sink.last_offer().sequence;
        let row = steer(&world, verb).await;
        assert_eq!((row.state, row.target.as_str(), row.ended), (state, target, Some(NOW)));
        let offer = world.sink.last_offer();
        assert_eq!((offer.sequence, offered(&offer)), (sequence + 1, only(left)), "{verb}");
        assert_eq!(rollout(&world), None);
        match &world.sink.all()[..] {
            [.., CatalogChange::Offer(_), CatalogChange::ChannelPolicy { rollout: None, .. }] => {}
            other => unreachable!("edges keep their choice until there is none: {:?}", other.last()),
        }
        let told = world.sink.all().len();
        assert_eq!(steer(&world, verb).await, row, "ending it twice is well");
        assert_eq!(world.sink.all().len(), told);
        for other in ["pause", "resume", if verb == "halt" { "finish" } else { "halt" }] {
            let reply = world.post(&format!("{PATH}/{other}"), &json!({ "platform": "any" })).await;
            reply.refused(404, "not_found");
        }
    }
    let rollouts: RolloutsAnswer = world.get("/products/game/rollouts").await.ok();
    let states: Vec<RolloutState> = rollouts.rollouts.iter().map(|row| row.state).collect();
    assert_eq!(states, [RolloutState::Finished, RolloutState::Halted], "newest first");
    let row: ChannelRow = world.get("/products/game/channels/stable").await.ok();
    assert_eq!((row.version.as_str(), row.previous.as_ref().map(|v| v.as_str())), ("2", Some("1")));
    world.get("/products/game/channels/beta/rollout").await.refused(404, "not_found");
}

async fn a_channel_does_not_move_while_a_rollout_goes_on(engine: Engine) {
    let world = ready(engine).await;
    start(&world, json!({})).await;
    for version in ["0", "1", "2"] {
        world.offer("game", "stable", version).await.refused(409, "rollout_in_force");
    }
    assert_eq!(offered(&world.sink.last_offer()), both("2", "1"));
    world.offer("game", "beta", "2").await.ok::<Value>();
    steer(&world, "halt").await;
    world.offer("game", "stable", "0").await.ok::<Value>();
    assert_eq!(offered(&world.sink.last_offer()), only("0"));
}

async fn a_step_in_force_only_rises(engine: Engine) {
    let world = ready(engine).await;
    start(&world, json!({ "steps": [{ "from": 0, "share": "5" }, { "from": NOW.0 + 100, "share": "25" }] })).await;
    let step = |share: &str, from: u64| json!({ "platform": "any", "step": { "from": from, "share": share } });
    let detail = world.put(&format!("{PATH}/steps/0"), &step("4.99", 0)).await.refused(409, "conflict");
    assert!(detail.contains("its share would fall"), "{detail}");
    world.call(Method::DELETE, &format!("{PATH}/steps/0"), "").await.refused(409, "conflict");
    let row: RolloutRow = world.put(&format!("{PATH}/steps/0"), &step("12.5", 0)).await.ok();
    assert_eq!((row.steps[0].share.to_string(), row.in_force), ("12.5".to_owned(), vec![0]));
    let row: RolloutRow = world.put(&format!("{PATH}/steps/1"), &step("1", NOW.0 + 5)).await.ok();
    assert_eq!(row.steps[1].share.to_string(), "1", "one that is not in force may become anything");
    let row: RolloutRow = world.post(&format!("{PATH}/steps"), &step("100", NOW.0 + 900)).await.ok();
    assert_eq!(row.steps.len(), 3);
    let row: RolloutRow = world.call(Method::DELETE, &format!("{PATH}/steps/1"), "").await.ok();
    assert_eq!(row.steps.len(), 2);
    world.put(&format!("{PATH}/steps/7"), &step("1", 0)).await.refused(404, "not_found");
    let detail = world.post(&format!("{PATH}/steps"), &step("0.001", 0)).await.refused(400, "bad_request");
    assert!(detail.contains("step.share"), "{detail}");
    let told = rollout(&world).expect("edges know it");
    assert_eq!(told.steps, row.steps);
    let segment = json!({ "platform": "any", "step": { "from": 0, "share": "5", "segments": ["none"] } });
    world.post(&format!("{PATH}/steps"), &segment).await.refused(404, "not_found");
}

async fn a_pause_stops_the_steps_and_a_resume_goes_on(engine: Engine) {
    let world = ready(engine).await;
    let later = NOW.0 + 100;
    start(&world, json!({ "steps": [{ "from": 0, "share": "5" }, { "from": later, "share": "100" }] })).await;
    let row = steer(&world, "pause").await;
    assert_eq!((row.state, row.paused, row.in_force), (RolloutState::Paused, Some(NOW), vec![0]));
    assert_eq!(rollout(&world).map(|rollout| rollout.motion), Some(Motion::Paused { at: NOW }));
    let sequence = world.sink.last_offer().sequence;
    let step = json!({ "platform": "any", "step": { "from": 0, "share": "50" } });
    assert!(world.post(&format!("{PATH}/steps"), &step).await.refused(409, "conflict").contains("resume it first"));
    let world = world.restarted();
    let row = steer(&world, "resume").await;
    assert_eq!((row.state, row.paused, row.steps[1].from), (RolloutState::Running, None, UnixSeconds(later)));
    assert_eq!(world.sink.last_offer().sequence, sequence, "the head is about what is offered, not to whom");
    let reply = world.post(&format!("{PATH}/resume"), &json!({ "platform": "any" })).await;
    assert!(reply.refused(409, "conflict").contains("is not paused"));
    steer(&world, "pause").await;
    assert_eq!(steer(&world, "finish").await.state, RolloutState::Finished, "a person may end what a person paused");
}

async fn impossible_rollouts_are_refused(engine: Engine) {
    let world = ready(engine).await;
    let wanted = |target: &str, more: Value| {
        let mut wanted = json!({ "platform": "any", "target": target });
        more.as_object().into_iter().flatten().for_each(|(name, value)| wanted[name] = value.clone());
        wanted
    };
    for (wanted, status, code, words) in [
        (wanted("9", json!({})), 404, "not_found", "no release 9"),
        (wanted("2", json!({ "fallback": "9" })), 404, "not_found", "no release 9"),
        (wanted("1", json!({})), 409, "conflict", "offers 1 to everybody already"),
        (wanted("2", json!({ "fallback": "2" })), 409, "conflict", "offers 2 to everybody already"),
        (wanted("1", json!({ "fallback": "0" })), 409, "conflict", "offers 1 to everybody already"),
        (wanted("2", json!({ "steps": [{ "from": 5, "until": 5, "share": "1" }] })), 400, "bad_request", "end after"),
        (wanted("2", json!({ "steps": [{ "from": 5, "share": "101" }] })), 400, "bad_request", "more than 100"),
        (
            wanted("2", json!({ "steps": [{ "from": 5, "share": "1", "regions": ["germany"] }] })),
            400,
            "bad_request",
            "no region",
        ),
        (
            wanted("2", json!({ "steps": vec![json!({ "from": 5, "share": "1" }); 33] })),
            400,
            "bad_request",
            "at most 32",
        ),
    ] {
        let detail = world.put(PATH, &wanted).await.refused(status, code);
        assert!(detail.contains(words), "{wanted}: {detail}");
    }
    let empty = "/products/game/channels/empty/rollout";
    let detail = world.put(empty, &wanted("2", json!({}))).await.refused(409, "conflict");
    assert!(detail.contains("name a fallback"), "{detail}");
    world.post("/products/game/releases/0/withdraw", &()).await.ok::<Value>();
    world.put(PATH, &wanted("0", json!({}))).await.refused(409, "conflict");
    world.put(PATH, &wanted("2", json!({ "fallback": "0" }))).await.refused(409, "conflict");
    let lost = Build::new("game", "3").members[0].blob;
    world.origin.lose(lost);
    let detail = world.put(PATH, &wanted("3", json!({}))).await.refused(409, "conflict");
    assert!(detail.contains("lacks blob"), "{detail}");
    assert_eq!((offered(&world.sink.last_offer()), rollout(&world)), (only("1"), None), "nothing moved");
    // A channel that offers nothing yet may begin with a rollout when both are named.
    world.put(empty, &wanted("2", json!({ "fallback": "1" }))).await.ok::<RolloutRow>();
    assert_eq!(offered(&world.sink.last_offer()), both("2", "1"));
}

async fn withdrawing_the_target_halts_the_rollout(engine: Engine) {
    let world = ready(engine).await;
    start(&world, json!({ "steps": [{ "from": 0, "share": "100" }] })).await;
    let change: ReleaseChange = world.post("/products/game/releases/1/withdraw", &()).await.ok();
    assert_eq!((change.offered_by.len(), change.halted.len()), (1, 0), "some are offered the fallback");
    world.post("/products/game/releases/1/restore", &()).await.ok::<Value>();
    let change: ReleaseChange = world.post("/products/game/releases/2/withdraw", &()).await.ok();
    assert_eq!((change.offered_by.len(), change.halted.first()), (0, Some(&stable().0)));
    assert_eq!((offered(&world.sink.last_offer()), rollout(&world)), (only("1"), None));
    assert_eq!(world.get(PATH).await.ok::<RolloutRow>().state, RolloutState::Halted);
    let change: ReleaseChange = world.post("/products/game/releases/2/restore", &()).await.ok();
    assert!(change.halted.is_empty());
    assert_eq!(offered(&world.sink.last_offer()), only("1"), "giving it out again starts nothing");
}

async fn a_renewal_keeps_both_releases(engine: Engine) {
    let world = ready(engine).await;
    start(&world, json!({ "steps": [{ "from": 0, "share": "5" }] })).await;
    let sequence = world.sink.last_offer().sequence;
    assert_eq!(world.renew(NOW.plus(HEAD_RENEW_SECONDS)).renewed, 1);
    let offer = world.sink.last_offer();
    let head = believed(&offer, 1, NOW.plus(HEAD_RENEW_SECONDS));
    assert_eq!(head.head().sequence, sequence + 1);
    assert_eq!(head.head().fallback.as_ref().map(|pointer| pointer.version.as_str()), Some("1"));
    let known = Known::of(&world);
    assert_eq!(Known::of(&world.restarted()), known);
}

/// A delegation that ends, so that no head can be signed when it matters.
async fn the_brake_does_not_wait_for_the_publisher(engine: Engine) {
    let world = World::new(engine);
    world.product("game", "open").await;
    let delegate = |sequence, expires| {
        let product = Build::new("game", "1").root.product;
        let keys = TrustSet::single(world.control.channel_key());
        let delegation = Delegation { product, keys, sequence, issued: NOW, expires };
        seal(Purpose::Delegation, delegation.encode(), &[&key(1)]).encode()
    };
    for version in ["1", "2"] {
        let mut request = Build::new("game", version).request(&world);
        request.delegation = delegate(1, Some(NOW.plus(5)));
        world.post("/products/game/releases", &request).await.ok::<Value>();
    }
    world.offer("game", "stable", "1").await.ok::<Value>();
    start(&world, json!({ "steps": [{ "from": 0, "share": "100" }] })).await;
    // The node's clock stands still, so the delegation that ended is put into the record behind its back.
    let expired = Delegation {
        product: Build::new("game", "1").root.product,
        keys: TrustSet::single(world.control.channel_key()),
        sequence: 2,
        issued: UnixSeconds(NOW.0 - 9),
        expires: Some(UnixSeconds(NOW.0 - 1)),
    };
    let expired = seal(Purpose::Delegation, expired.encode(), &[&key(1)]).encode();
    let hex: String = expired.iter().map(|byte| format!("{byte:02x}")).collect();
    let sql = format!("UPDATE products SET delegation = x'{hex}', delegation_sequence = 2");
    assert_eq!(crate::behind::execute(&world.database, &sql), 1);

    let offers =
        |world: &World| world.sink.all().iter().filter(|change| matches!(change, CatalogChange::Offer(_))).count();
    let before = offers(&world);
    let row = steer(&world, "halt").await;
    assert_eq!((row.state, row.ended), (RolloutState::Halting, None));
    assert_eq!(rollout(&world).map(|rollout| rollout.motion), Some(Motion::Halted), "edges give the fallback at once");
    assert_eq!(offers(&world), before);
    assert_eq!(steer(&world, "halt").await.state, RolloutState::Halting);
    let reply = world.post(&format!("{PATH}/finish"), &json!({ "platform": "any" })).await;
    assert!(reply.refused(409, "conflict").contains("is halted"));
    let world = world.restarted();
    assert_eq!(rollout(&world).map(|rollout| rollout.motion), Some(Motion::Halted), "and after a restart");
    // The publisher delegates anew: the head follows by itself.
    let mut request = Build::new("game", "1").request(&world);
    request.delegation = delegation(1, "game", world.control.channel_key(), 3);
    world.post("/products/game/releases", &request).await.ok::<Value>();
    assert_eq!((offered(&world.sink.last_offer()), rollout(&world)), (only("1"), None));
    assert_eq!(world.get(PATH).await.ok::<RolloutRow>().state, RolloutState::Halted);
}

async fn a_minimum_is_told_and_no_channel_falls_below_it(engine: Engine) {
    let world = ready(engine).await;
    let path = "/products/game/channels/stable/minimum";
    assert_eq!(world.get(path).await.ok::<MinimumAnswer>().minimum, None);
    let minimum = |version: &str| json!({ "platform": "any", "minimum": { "version": version, "message": "Please!" } });
    let set: MinimumAnswer = world.put(path, &minimum("1")).await.ok();
    assert_eq!(set.minimum.as_ref().map(|minimum| minimum.message.as_str()), Some("Please!"));
    let told = |world: &World| Known::of(world).channels.remove(&stable()).and_then(|(_, minimum)| minimum);
    assert_eq!(told(&world), set.minimum);
    let count = world.sink.all().len();
    world.put(path, &minimum("1")).await.ok::<MinimumAnswer>();
    assert_eq!(world.sink.all().len(), count, "the same again is no change");
    start(&world, json!({})).await;
    let known = Known::of(&world);
    assert_eq!(known.channels[&stable()].1, set.minimum, "beside a rollout");
    let world = world.restarted();
    assert_eq!(Known::of(&world), known);
    steer(&world, "finish").await;
    assert_eq!(told(&world), set.minimum, "and after it");
    for (wrong, status, code) in [
        (json!({ "platform": "any", "minimum": { "version": "9" } }), 404, "not_found"),
        (json!({ "platform": "any", "minimum": { "version": "1", "message": "x".repeat(501) } }), 400, "bad_request"),
        (json!({ "platform": "any", "minimum": { "version": "1", "message": "a\nb" } }), 400, "bad_request"),
    ] {
        world.put(path, &wrong).await.refused(status, code);
    }
    world.put("/products/game/channels/none/minimum", &minimum("1")).await.refused(404, "not_found");
    world.get("/products/game/channels/none/minimum").await.refused(404, "not_found");
    // All releases of these tests are registered in one second; one is made older behind the node's back.
    let older = "UPDATE releases SET registered = registered - 1000 WHERE version = '0'";
    assert_eq!(crate::behind::execute(&world.database, older), 1);
    let detail = world.offer("game", "stable", "0").await.refused(409, "conflict");
    assert!(detail.contains("the oldest that the channel supports"), "{detail}");
    let wanted = json!({ "platform": "any", "target": "3", "fallback": "0" });
    world.put(PATH, &wanted).await.refused(409, "conflict");
    let none: MinimumAnswer = world.put(path, &json!({ "platform": "any", "minimum": null })).await.ok();
    assert_eq!((none.minimum, told(&world)), (None, None));
    world.offer("game", "stable", "0").await.ok::<Value>();
    world.put(path, &minimum("1")).await.refused(409, "conflict");
    assert_eq!(world.get(path).await.ok::<MinimumAnswer>().minimum, None::<Minimum>);
}

async fn one_rollout_of_many_at_once_is_started(engine: Engine) {
    let world = ready(engine).await;
    let [two, three] = ["2", "3"].map(|target| json!({ "platform": "any", "target": target }));
    let race = (world.put(PATH, &two), world.put(PATH, &three), world.offer("game", "stable", "0"));
    let (two, three, moved) = tokio::join!(race.0, race.1, race.2);
    let started = [&two, &three].into_iter().filter(|reply| reply.status == 201).count();
    assert_eq!(started, 1, "{} {} {}", two.status, three.status, moved.status);
    let row: RolloutRow = world.get(PATH).await.ok();
    assert_eq!(offered(&world.sink.last_offer()), both(row.target.as_str(), row.fallback.as_str()));
    // Whoever moved the channel did so before, and is what everybody else gets.
    assert_eq!(row.fallback.as_str() == "0", moved.status == 200, "{}", moved.status);
}
