//! The caller's place is asked for only where it matters.

use super::*;

#[test]
fn nobody_asks_where_a_caller_is_unless_something_turns_on_it() {
    let asked = std::cell::Cell::new(0);
    let find = || {
        asked.set(asked.get() + 1);
        Some(Place("DE".parse().expect("a region")))
    };
    let decide = |case: &Case| {
        asked.set(0);
        let channels = BTreeSet::new();
        let one = BlobUse {
            product: Some(&case.product),
            platform: &case.platform,
            component: &case.component,
            group: &case.group,
            channels: &channels,
            registered: case.registered,
            state: case.state,
            whole: true,
        };
        let Some(Ok(passport)) = &case.caller else { panic!("a known caller") };
        let scene =
            Scene { now: NOW, place: Whereabouts::Found(&find), embargo: &case.embargo, freshness: Freshness::CURRENT };
        let verdict = decide_blob(BlobId::of(b"x"), false, [one], Caller::Known(passport), &scene, &mut Silent);
        (matches!(verdict, Verdict::Allow(_)), asked.get())
    };
    let mut case = Case::holder();
    assert_eq!(decide(&case), (true, 0), "no policy and no regions");
    case.embargo = embargo(r#"{"regions": {"FR": "allow"}, "elsewhere": "allow", "unknown": "allow"}"#);
    assert_eq!(decide(&case), (true, 0), "a policy that allows everything");
    case.embargo = embargo(r#"{"regions": {"IR": "deny"}, "elsewhere": "allow", "unknown": "allow"}"#);
    assert_eq!(decide(&case), (true, 1), "a policy that does not");
    case.embargo = Embargo::default();
    case.facts().holdings = [holding(|terms| terms.regions = ["FR".parse().expect("a region")].into())].into();
    assert_eq!(decide(&case), (false, 1), "terms that name regions");
}
