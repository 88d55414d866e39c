//! Control is silent: what was known is given out for a while, and what was forbidden stays so, over real sockets.

use crate::issuer::{Issuer, NOW};
use crate::rig::{Rig, release};
use penstock_core::account::{AccountFacts, Expiry, Holding, Standing, Terms};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{AccessClass, CatalogChange, Product, ReleaseState};
use penstock_core::desk::{ExplainQuestion, Explainer as _};
use penstock_core::place::Embargo;
use penstock_core::time::UnixSeconds;
use penstock_edge::config::{Config, Environment};
use penstock_edge::feed::Standing as Heard;
use serde_json::json;
use std::sync::Arc;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// An edge that heard from control so long ago, with the grace of a config that says nothing of it, and what control told it
/// last: three products, and an embargo on sending what is of class `X` where this peer is.
struct Away {
    rig: Rig,
    registered: BlobId,
    licensed: BlobId,
    closed: BlobId,
    embargoed: BlobId,
}

impl Away {
    fn since(seconds: u64) -> Self {
        let rig = Rig::silent_for(seconds);
        rig.policies.configure(&Config::parse("", &Environment::default(), None).expect("the defaults"));
        let embargo = json!({"version": 1, "classes": {
            "X": {"regions": {"IR": "deny"}, "elsewhere": "allow", "unknown": "deny"},
        }});
        rig.policies.set_embargo(serde_json::from_value::<Embargo>(embargo).expect("a policy"));
        let game = |id: &str, access, class: &str| {
            let blob = rig.put(id.as_bytes());
            rig.catalog.apply(CatalogChange::Product(Product {
                id: id.parse().expect("a name"),
                title: id.to_owned(),
                access,
                export_class: class.to_owned(),
            }));
            rig.catalog.apply(release(id, "1", "any", ReleaseState::Live, &[blob]));
            blob
        };
        let (registered, licensed) =
            (game("demo", AccessClass::Registered, ""), game("game", AccessClass::Licensed, ""));
        let (closed, embargoed) = (game("secret", AccessClass::Closed, ""), game("crypto", AccessClass::Licensed, "X"));
        let facts = |standing, ends| {
            let holding = |id: &str| {
                let terms = Terms { expiry: Expiry::Revoke, ..Terms::of(id.parse().expect("a name")) };
                Holding { terms: Arc::new(terms), starts: UnixSeconds(0), ends }
            };
            let holdings = ["game", "secret", "crypto"].iter().map(|id| holding(id)).collect();
            Some(AccountFacts { standing, holdings, ..AccountFacts::default() })
        };
        for (name, facts) in [
            ("alice", facts(Standing::Active, None)),
            ("newcomer", facts(Standing::Active, None)),
            ("suspended", facts(Standing::Suspended, None)),
            ("held", facts(Standing::OnHold, None)),
            ("ended", facts(Standing::Active, Some(UnixSeconds(NOW.0 - 1)))),
            ("demo-player", Some(AccountFacts::default())),
        ] {
            rig.accounts.set(1, rig.accounts.pseudonyms().account(name), facts);
        }
        Self { rig, registered, licensed, closed, embargoed }
    }

    /// Status, and the code of a refusal.
    fn ask(&self, name: &str, blob: BlobId) -> (u16, String) {
        let bearer = Issuer::bearer(name, &json!({}));
        let answer = self.rig.get(&format!("/v1/blobs/{blob}"), &[("authorization", &bearer)]);
        if answer.status == 503 {
            assert_eq!(answer.header("retry-after"), Some("60"), "another edge may know more, or this one later");
        }
        let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        (answer.status, document["code"].as_str().unwrap_or_default().to_owned())
    }

    /// What is refused whatever the age.
    #[track_caller]
    fn assert_forbidden(&self) {
        for (name, blob, status, code) in [
            ("alice", self.embargoed, 451, "embargo"),
            ("suspended", self.licensed, 403, "account_suspended"),
            ("held", self.licensed, 451, "account_on_hold"),
            ("ended", self.licensed, 403, "entitlement_ended"),
            ("stranger", self.licensed, 403, "account_unknown"),
            ("stranger", self.closed, 404, "unknown"),
            ("suspended", self.closed, 404, "unknown"),
        ] {
            assert_eq!(self.ask(name, blob), (status, code.to_owned()), "{name}");
        }
    }
}

fn good() -> (u16, String) {
    (200, String::new())
}

fn silent() -> (u16, String) {
    (503, "control_silent".to_owned())
}

#[test]
fn an_hour_without_control_keeps_nobody_from_what_is_theirs_and_lets_nobody_in() {
    for age in [0, HOUR] {
        let away = Away::since(age);
        for round in 0..2 {
            // The second time the token is known.
            assert_eq!(away.ask("alice", away.licensed), good(), "{age} {round}");
            assert_eq!(away.ask("alice", away.closed), good(), "{age} {round}");
            assert_eq!(away.ask("demo-player", away.registered), good(), "{age} {round}");
        }
        assert_eq!(away.ask("newcomer", away.licensed), good(), "whoever never came here is known as well");
        away.assert_forbidden();
    }
}

#[test]
fn each_class_ends_at_its_bound_and_what_forbids_never_does() {
    let away = Away::since(DAY + 1);
    assert_eq!(away.ask("alice", away.closed), silent());
    assert_eq!(away.ask("alice", away.licensed), good());
    away.assert_forbidden();
    let away = Away::since(7 * DAY + 1);
    assert_eq!(away.ask("alice", away.licensed), silent());
    assert_eq!(away.ask("newcomer", away.licensed), silent());
    assert_eq!(away.ask("demo-player", away.registered), good());
    away.assert_forbidden();
    let away = Away::since(30 * DAY + 1);
    assert_eq!(away.ask("demo-player", away.registered), silent());
    let open = away.rig.put_open(b"open");
    assert_eq!(away.ask("alice", open), good());
    away.assert_forbidden();
}

#[test]
fn explain_shows_how_old_it_is_and_how_long_it_would_do() {
    let away = Away::since(8 * DAY);
    let (rig, standing) = (&away.rig, Heard::default());
    standing.whole(1, UnixSeconds(NOW.0 - 8 * DAY));
    let explainer = rig.explainer(Some(standing));
    let question: ExplainQuestion =
        serde_json::from_value(json!({ "product": "game", "account": "alice" })).expect("a question");
    let answer = explainer.explain(&question);
    assert_eq!((answer.allowed, answer.status, answer.code.as_deref()), (false, 503, Some("control_silent")));
    let last = answer.steps.last().expect("steps");
    assert_eq!((last.step.as_str(), last.code.as_deref()), ("freshness", Some("control_silent")));
    assert!(last.finding.contains("691200 s ago") && last.finding.contains("for 604800 s"), "{}", last.finding);
}
