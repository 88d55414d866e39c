//! The embargo policy: replaced as a whole by whoever read it, every version kept.

use crate::policy::Known;
use crate::support::{Engine, NOW, World};
use penstock_core::desk::policy::{EmbargoAnswer, EmbargoVersionsAnswer};
use penstock_core::place::{Embargo, RULES_MAX, Ruling};
use serde_json::{Value, json};

crate::on_both_engines! {
    the_policy_is_replaced_by_whoever_read_it,
    impossible_policies_are_refused,
    all_versions_are_kept,
}

fn policy(version: u64, class: &str, region: &str) -> Value {
    let rules = json!({ "regions": { region: "deny" }, "elsewhere": "allow", "unknown": "allow" });
    json!({ "version": version, "classes": { class: rules } })
}

async fn the_policy_is_replaced_by_whoever_read_it(engine: Engine) {
    let world = World::new(engine);
    assert_eq!(world.get("/embargo").await.ok::<Embargo>(), Embargo::default());
    world.post("/products", &json!({ "id": "game", "access": "open", "export_class": "5D002" })).await.ok::<Value>();
    let answer: EmbargoAnswer = world.put("/embargo", &policy(0, "5D002", "IR")).await.ok();
    assert_eq!((answer.embargo.version, answer.warnings.len()), (1, 0));
    assert_eq!(Known::of(&world).embargo, answer.embargo);
    assert_eq!(answer.embargo.classes["5D002"].regions[&"IR".parse().expect("a region")], Ruling::Deny);
    // Somebody who read the version before.
    let detail = world.put("/embargo", &policy(0, "5D002", "KP")).await.refused(409, "conflict");
    assert!(detail.contains("version 1 is"), "{detail}");
    world.put("/embargo", &policy(2, "5D002", "KP")).await.refused(409, "conflict");
    // Somebody who did not hear the answer, or changes nothing.
    let told = world.sink.all().len();
    assert_eq!(world.put("/embargo", &policy(0, "5D002", "IR")).await.ok::<EmbargoAnswer>().embargo.version, 1);
    assert_eq!(world.put("/embargo", &policy(1, "5D002", "IR")).await.ok::<EmbargoAnswer>().embargo.version, 1);
    assert_eq!(world.sink.all().len(), told);
    let answer: EmbargoAnswer = world.put("/embargo", &policy(1, "EAR99", "KP")).await.ok();
    assert_eq!(answer.embargo.version, 2);
    assert!(answer.warnings.len() == 1 && answer.warnings[0].contains("EAR99"), "{:?}", answer.warnings);
    let world = world.restarted();
    assert_eq!(Known::of(&world).embargo, answer.embargo);
    let order = |change: &penstock_core::catalog::CatalogChange| {
        matches!(change, penstock_core::catalog::CatalogChange::Embargo(_))
    };
    assert_eq!(world.sink.all().iter().position(order), Some(0), "what forbids is told first");
}

async fn impossible_policies_are_refused(engine: Engine) {
    let world = World::new(engine);
    let regions: serde_json::Map<String, Value> = (0..=RULES_MAX)
        .map(|number| {
            let letter = |number: usize| char::from(b'A' + u8::try_from(number % 26).expect("a letter"));
            (format!("{}{}-{}", letter(number / 26), letter(number), number / 676), json!("deny"))
        })
        .collect();
    let rules = json!({ "regions": regions, "elsewhere": "allow", "unknown": "allow" });
    for (classes, words) in [
        (json!({ "c": rules }), "classes.c: a class has at most"),
        (json!({ "c": { "regions": { "germany": "deny" }, "elsewhere": "allow", "unknown": "allow" } }), "region"),
        (json!({ "c": { "regions": {}, "elsewhere": "allow" } }), "missing field `unknown`"),
        (json!({ "c": { "regions": {}, "elsewhere": "forbid", "unknown": "allow" } }), "unknown variant `forbid`"),
        (json!({ "a\u{7}": { "regions": {}, "elsewhere": "allow", "unknown": "allow" } }), "control characters"),
    ] {
        let detail =
            world.put("/embargo", &json!({ "version": 0, "classes": classes })).await.refused(400, "bad_request");
        assert!(detail.contains(words), "{detail}");
    }
    assert_eq!(world.get("/embargo").await.ok::<Embargo>().version, 0);
    assert_eq!(world.sink.all().len(), 0);
}

async fn all_versions_are_kept(engine: Engine) {
    let world = World::new(engine);
    for (version, region) in (0..).zip(["IR", "KP", "CU", "SY", "RU"]) {
        world.put("/embargo", &policy(version, "", region)).await.ok::<EmbargoAnswer>();
    }
    let third: Embargo = world.get("/embargo?version=3").await.ok();
    assert!(third.classes[""].regions.contains_key(&"CU".parse().expect("a region")));
    assert_eq!(world.get("/embargo?version=0").await.ok::<Embargo>(), Embargo::default());
    world.get("/embargo?version=6").await.refused(404, "not_found");
    world.get(&format!("/embargo?version={}", u64::MAX)).await.refused(404, "not_found");
    let page: EmbargoVersionsAnswer = world.get("/embargo/versions?limit=2").await.ok();
    assert_eq!(page.versions.iter().map(|row| (row.version, row.changed)).collect::<Vec<_>>(), [(5, NOW), (4, NOW)]);
    let page: EmbargoVersionsAnswer =
        world.get(&format!("/embargo/versions?before={}", page.next.expect("more"))).await.ok();
    assert_eq!((page.versions.len(), page.next), (3, None));
}
