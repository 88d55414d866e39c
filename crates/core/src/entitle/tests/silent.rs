//! Control is silent: what is given out for how long, and what is refused however old the knowledge.

use super::*;
use crate::grace::Grace;

const HOUR: u64 = 3600;

const GRACE: Grace = Grace {
    open: Bound::Unlimited,
    registered: Bound::Seconds(30 * 24 * HOUR),
    licensed: Bound::Seconds(24 * HOUR),
    closed: Bound::Seconds(2 * HOUR),
};

fn after(hours: u64, change: impl FnOnce(&mut Case)) -> Result<Visibility, Refusal> {
    let mut case = Case::holder();
    case.freshness = Freshness { age_seconds: hours * HOUR, grace: GRACE };
    change(&mut case);
    case.outcome()
}

fn of(access: AccessClass) -> impl Fn(&mut Case) {
    move |case| case.product.access = access
}

#[test]
fn an_hour_of_silence_keeps_nobody_from_what_is_theirs() {
    for access in [AccessClass::Registered, AccessClass::Licensed, AccessClass::Closed] {
        assert_eq!(after(1, of(access)), ALLOWED, "{access:?}");
    }
    assert_eq!(after(1, of(AccessClass::Open)), Ok(Visibility::Public));
}

#[test]
fn each_class_ends_at_its_bound() {
    for (access, hours) in [(AccessClass::Closed, 2), (AccessClass::Licensed, 24), (AccessClass::Registered, 720)] {
        assert_eq!(after(hours, of(access)), ALLOWED, "{access:?}");
        assert_eq!(after(hours + 1, of(access)), Err(Refusal::ControlSilent), "{access:?}");
    }
    let someone = |case: &mut Case| {
        case.caller = None;
        case.product.access = AccessClass::Open;
    };
    assert_eq!(after(100_000, someone), Ok(Visibility::Public), "what is open stays so");
}

#[test]
fn what_forbids_is_told_as_such_however_old_it_is() {
    let rows: &[Row] = &[
        (
            "embargo",
            |case| {
                case.embargo = embargo(r#"{"regions": {"IR": "deny"}, "elsewhere": "allow", "unknown": "allow"}"#);
                case.place = place("IR");
            },
            Err(Refusal::Embargo),
        ),
        ("suspended", |case| case.facts().standing = Standing::Suspended, Err(Refusal::AccountSuspended)),
        ("on hold", |case| case.facts().standing = Standing::OnHold, Err(Refusal::AccountOnHold)),
        ("denied", |case| case.facts().standing = Standing::Denied, Err(Refusal::AccountDenied)),
        ("revoked", |case| case.passport().is_revoked = true, Err(Refusal::TokenRevoked)),
        (
            "ended",
            |case| {
                let mut ended = holding(|terms| terms.expiry = Expiry::Revoke);
                ended.ends = Some(UnixSeconds(NOW.0 - 1));
                case.facts().holdings = [ended].into();
            },
            Err(Refusal::EntitlementEnded),
        ),
        ("withdrawn", |case| case.state = ReleaseState::Withdrawn, Err(Refusal::Withdrawn)),
        ("unknown", |case| case.passport().facts = None, Err(Refusal::AccountUnknown)),
    ];
    for (name, change, outcome) in rows {
        for hours in [0, 1, 25, 100_000] {
            assert_eq!(after(hours, change), *outcome, "{name} after {hours} h");
        }
    }
}

#[test]
fn a_closed_product_shows_its_silence_to_holders_only() {
    let closed = of(AccessClass::Closed);
    assert_eq!(after(3, &closed), Err(Refusal::ControlSilent));
    for stranger in [|case: &mut Case| case.caller = None, |case: &mut Case| case.facts().holdings = Box::default()] {
        let both = |case: &mut Case| {
            closed(case);
            stranger(case);
        };
        assert_eq!((after(0, both), after(3, both)), (Err(Refusal::Unknown), Err(Refusal::Unknown)));
    }
}

#[test]
fn the_walk_says_how_old_and_how_long() {
    let mut case = Case::holder();
    case.freshness = Freshness { age_seconds: 90_000, grace: GRACE };
    let mut walk = Walk::default();
    assert_eq!(case.decide(&mut walk), Verdict::Refuse(Refusal::ControlSilent));
    let last = walk.0.last().expect("steps");
    assert_eq!((last.step, last.refusal), (Step::Freshness, Some(Refusal::ControlSilent)));
    assert_eq!(last.grounds, "control was heard 90000 s ago, and Licensed content is given out for 86400 s without it");
}

proptest! {
    #[test]
    fn growing_old_only_ever_takes(age in any::<u64>(), access in 0usize..4, is_holder in any::<bool>()) {
        let access = [AccessClass::Open, AccessClass::Registered, AccessClass::Licensed, AccessClass::Closed][access];
        let mut case = Case::holder();
        case.product.access = access;
        if !is_holder {
            case.facts().holdings = Box::default();
        }
        let fresh = case.outcome();
        case.freshness = Freshness { age_seconds: age, grace: GRACE };
        let old = case.outcome();
        prop_assert!(old == fresh || (fresh.is_ok() && old == Err(Refusal::ControlSilent)));
    }
}
