//! Policy as edges end up knowing it: what is told is folded into a state, and a restart tells exactly that state.

use crate::support::{Build, Engine, NOW, World, full};
use http::Method;
use penstock_core::account::{AccountKey, TokenKey};
use penstock_core::catalog::{CatalogChange, Offer};
use penstock_core::id::{ChannelName, Platform, SegmentName};
use penstock_core::place::Embargo;
use penstock_core::rollout::{Minimum, Rollout};
use penstock_core::segment::Segment;
use penstock_core::time::UnixSeconds;
use serde_json::{Value, json};
use std::collections::BTreeMap;

crate::on_both_engines! {
    a_restart_tells_exactly_what_edges_knew,
    writers_at_once_lose_nothing,
}

/// What an edge knows of policy.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) embargo: Embargo,
    pub(crate) segments: BTreeMap<SegmentName, Segment>,
    pub(crate) channels: BTreeMap<(ChannelName, Platform), (Option<Rollout>, Option<Minimum>)>,
    pub(crate) offers: BTreeMap<(ChannelName, Platform), Offer>,
    pub(crate) revoked: BTreeMap<TokenKey, UnixSeconds>,
}

impl Known {
    /// What all that was told comes to, for a system of one product.
    pub(crate) fn of(world: &World) -> Self {
        let mut known = Self::default();
        for change in world.sink.all() {
            match change {
                CatalogChange::Embargo(embargo) => known.embargo = embargo,
                CatalogChange::Segment(segment) => drop(known.segments.insert(segment.name.clone(), segment)),
                CatalogChange::SegmentGone { name } => drop(known.segments.remove(&name)),
                CatalogChange::ChannelPolicy { platform, channel, rollout, minimum, .. } => {
                    // A channel without either is one that nothing was told of.
                    match (&rollout, &minimum) {
                        (None, None) => known.channels.remove(&(channel, platform)),
                        _ => known.channels.insert((channel, platform), (rollout, minimum)),
                    };
                }
                CatalogChange::Offer(offer) => {
                    known.offers.insert((offer.channel.clone(), offer.platform.clone()), offer);
                }
                CatalogChange::TokensRevoked { tokens } => {
                    known.revoked.extend(tokens.into_iter().map(|token| (token.token, token.until)));
                }
                _ => {}
            }
        }
        known
    }
}

/// Numbers that are the same each time: what fails once fails again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
    /// One of these.
    fn pick<const N: usize>(&mut self, from: [&'static str; N]) -> &'static str {
        from[usize::try_from(self.below(N as u64)).expect("a small number")]
    }
}

/// One change, perhaps one that is refused: either leaves a state that can be told.
async fn change(world: &World, dice: &mut Dice) {
    let channel = dice.pick(["stable", "beta"]);
    let path = format!("/products/game/channels/{channel}");
    let version = dice.below(4).to_string();
    let segment = format!("/segments/s{}", dice.below(3));
    let moment = NOW.0 + dice.below(100_000);
    let reply = match dice.below(14) {
        0 => {
            let known: Embargo = world.get("/embargo").await.ok();
            let rules = json!({ "regions": { "IR": "deny" }, "elsewhere": "allow", "unknown": "hold" });
            let classes = json!({ format!("c{}", dice.below(3)): rules });
            world.put("/embargo", &json!({ "version": known.version, "classes": classes })).await
        }
        1 => world.put(&segment, &json!({ "rule": { "list": [format!("p{}", dice.below(9)), "q"] } })).await,
        2 => {
            let rule = json!({ "score": { "attribute": "score", "from": dice.below(5), "below": null } });
            world.put(&segment, &json!({ "rule": rule })).await
        }
        3 => world.call(Method::DELETE, &segment, "").await,
        4 | 5 => {
            let steps = json!([{ "from": moment, "share": "5", "segments": ["s0"] }, { "from": 0, "share": "12.5" }]);
            let steps = if dice.below(2) == 0 { steps } else { json!([]) };
            let wanted = json!({ "platform": "any", "target": version, "steps": steps });
            world.put(&format!("{path}/rollout"), &wanted).await
        }
        6..=9 => {
            let verb = dice.pick(["pause", "resume", "halt", "finish"]);
            world.post(&format!("{path}/rollout/{verb}"), &json!({ "platform": "any" })).await
        }
        10 => {
            let step = json!({ "from": moment, "share": dice.below(100).to_string() });
            world.post(&format!("{path}/rollout/steps"), &json!({ "platform": "any", "step": step })).await
        }
        11 => {
            let minimum = json!({ "version": version, "message": "please update" });
            let minimum = if dice.below(3) == 0 { Value::Null } else { minimum };
            world.put(&format!("{path}/minimum"), &json!({ "platform": "any", "minimum": minimum })).await
        }
        12 => {
            let verb = dice.pick(["withdraw", "restore"]);
            world.post(&format!("/products/game/releases/{version}/{verb}"), &()).await
        }
        _ => {
            let token = json!({ "id": format!("t{}", dice.below(20)), "until": moment });
            world.post("/revocations", &json!({ "tokens": [token] })).await
        }
    };
    assert!(!reply.status.is_server_error(), "{} {}", reply.status, String::from_utf8_lossy(&reply.body));
}

async fn a_restart_tells_exactly_what_edges_knew(engine: Engine) {
    for seed in 0..if full() { 20 } else { 2 } {
        let mut world = World::new(engine);
        world.product("game", "open").await;
        for version in 0..4 {
            world.register(&Build::new("game", &version.to_string())).await.ok::<Value>();
        }
        world.offer("game", "stable", "0").await.ok::<Value>();
        let mut dice = Dice(seed);
        for round in 0..4 {
            for _ in 0..40 {
                change(&world, &mut dice).await;
            }
            let mut before = Known::of(&world);
            // What ended by itself need not be told again.
            before.revoked.retain(|_, until| *until > NOW);
            world = world.restarted();
            assert_eq!(Known::of(&world), before, "seed {seed}, round {round}");
        }
    }
}

async fn writers_at_once_lose_nothing(engine: Engine) {
    let world = World::new(engine);
    let policy = json!({ "version": 0, "classes": { "": { "regions": {}, "elsewhere": "allow", "unknown": "hold" } } });
    let other = json!({ "version": 0, "classes": {} });
    let list = |number: usize| json!({ "rule": { "list": [format!("player-{number}")] } });
    let tokens: Vec<Value> = (0..100).map(|number| json!({ "id": format!("t{number}") })).collect();
    let revoke = json!({ "tokens": tokens });
    let (first, second) = (world.put("/embargo", &policy), world.put("/embargo", &policy));
    let (third, fourth) = (world.post("/revocations", &revoke), world.post("/revocations", &revoke));
    let (list_1, list_2) = (list(1), list(2));
    let (fifth, sixth) = (world.put("/segments/s", &list_1), world.put("/segments/s", &list_2));
    let (first, second, third, fourth, fifth, sixth) = tokio::join!(first, second, third, fourth, fifth, sixth);
    // Two who replace one version with the same rules are one who did it twice.
    assert_eq!((first.ok::<Value>()["version"].as_u64(), second.ok::<Value>()["version"].as_u64()), (Some(1), Some(1)));
    world.put("/embargo", &other).await.refused(409, "conflict");
    let sums = [third.ok::<Value>(), fourth.ok::<Value>()].map(|taken| taken["revoked"].as_u64());
    assert_eq!(sums.into_iter().flatten().sum::<u64>(), 100, "each is revoked once");
    let page: Value = world.get("/revocations?limit=1").await.ok();
    assert_eq!(page["total"], 100);
    let versions = [fifth.ok::<Value>(), sixth.ok::<Value>()].map(|segment| segment["version"].as_u64());
    assert!(versions.contains(&Some(1)) && versions.contains(&Some(2)), "{versions:?}");
    let known = Known::of(&world);
    let detail: Value = world.get("/segments/s").await.ok();
    let told = &known.segments[&"s".parse::<SegmentName>().expect("a name")];
    assert_eq!(Some(told.version), detail["version"].as_u64(), "the last one is the one that is kept");
    assert_eq!(known.revoked.len(), 100);
    assert!(known.revoked.keys().all(|token| *token != TokenKey([0; 16])));
    let _: AccountKey = serde_json::from_value(match &told.rule {
        penstock_core::segment::Rule::List(ids) => json!(ids.first()),
        _ => Value::Null,
    })
    .expect("a pseudonym");
}
