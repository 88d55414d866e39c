//! The decision as a table, and its properties.

mod place;
mod several;
mod silent;
mod uses;

use super::*;
use crate::account::{Expiry, Holding, Terms};
use crate::place::{ClassRules, Place};
use proptest::prelude::*;

const NOW: UnixSeconds = UnixSeconds(1_000_000);

fn product(id: &str, access: AccessClass) -> Product {
    Product { id: id.parse().expect("a name"), title: String::new(), access, export_class: String::new() }
}

/// Everything that a question needs, so that a row of the table changes one thing.
#[derive(Debug)]
struct Case {
    product: Product,
    platform: Platform,
    component: ComponentName,
    group: AccessGroup,
    channels: BTreeSet<ChannelName>,
    registered: UnixSeconds,
    state: ReleaseState,
    caller: Option<Result<Passport, TokenFault>>,
    place: Option<Place>,
    embargo: Embargo,
    freshness: Freshness,
}

impl Case {
    /// A holder of a licensed product who asks for its base on Linux.
    fn holder() -> Self {
        let facts = AccountFacts { holdings: [holding(|_| {})].into(), ..AccountFacts::default() };
        Self {
            product: product("game", AccessClass::Licensed),
            platform: "linux".parse().expect("a name"),
            component: ComponentName::base(),
            group: AccessGroup::base(),
            channels: BTreeSet::from(["stable".parse().expect("a name")]),
            registered: UnixSeconds(500),
            state: ReleaseState::Live,
            caller: Some(Ok(passport(facts))),
            place: None,
            embargo: Embargo::default(),
            freshness: Freshness::CURRENT,
        }
    }

    fn passport(&mut self) -> &mut Passport {
        self.caller.as_mut().and_then(|caller| caller.as_mut().ok()).expect("a known caller")
    }

    fn facts(&mut self) -> &mut AccountFacts {
        Arc::make_mut(self.passport().facts.as_mut().expect("a known account"))
    }

    fn decide(&self, witness: &mut impl Witness) -> Verdict<Grant> {
        let one = BlobUse {
            product: Some(&self.product),
            platform: &self.platform,
            component: &self.component,
            group: &self.group,
            channels: &self.channels,
            registered: self.registered,
            state: self.state,
            whole: true,
        };
        let caller = match &self.caller {
            None => Caller::Nobody,
            Some(Err(fault)) => Caller::Faulty(*fault),
            Some(Ok(passport)) => Caller::Known(passport),
        };
        let scene = Scene {
            now: NOW,
            place: Whereabouts::Known(self.place),
            embargo: &self.embargo,
            freshness: self.freshness,
        };
        decide_blob(BlobId::of(b"x"), false, [one], caller, &scene, witness)
    }

    fn outcome(&self) -> Result<Visibility, Refusal> {
        match self.decide(&mut Silent) {
            Verdict::Allow(grant) => Ok(grant.visibility()),
            Verdict::Refuse(refusal) => Err(refusal),
        }
    }
}

fn passport(facts: AccountFacts) -> Passport {
    Passport {
        account: AccountKey([7; 16]),
        issued: Some(UnixSeconds(900_000)),
        expires: UnixSeconds(NOW.0 + 1),
        narrowing: None,
        device: None,
        token: None,
        is_revoked: false,
        facts: Some(Arc::new(facts)),
    }
}

fn holding(change: impl FnOnce(&mut Terms)) -> Holding {
    let mut terms = Terms::of("game".parse().expect("a name"));
    change(&mut terms);
    Holding { terms: Arc::new(terms), starts: UnixSeconds(0), ends: None }
}

fn place(text: &str) -> Option<Place> {
    Some(Place(text.parse().expect("a region")))
}

fn embargo(json: &str) -> Embargo {
    let rules: ClassRules = serde_json::from_str(json).expect("rules");
    Embargo { version: 1, classes: [(String::new(), rules)].into() }
}

/// Name, change of the holder's case, outcome.
type Row = (&'static str, fn(&mut Case), Result<Visibility, Refusal>);

const ALLOWED: Result<Visibility, Refusal> = Ok(Visibility::Private);

#[test]
fn the_whole_table() {
    let rows: &[Row] = &[
        ("a holder reads", |_| {}, ALLOWED),
        ("nobody reads what is licensed", |case| case.caller = None, Err(Refusal::TokenRequired)),
        (
            "a bad token",
            |case| case.caller = Some(Err(TokenFault::Signature)),
            Err(Refusal::Token(TokenFault::Signature)),
        ),
        ("its last second is over", |case| case.passport().expires = NOW, Err(Refusal::Token(TokenFault::Expired))),
        ("called back", |case| case.facts().tokens_from = Some(UnixSeconds(900_001)), Err(Refusal::TokenRevoked)),
        ("issued after the call", |case| case.facts().tokens_from = Some(UnixSeconds(900_000)), ALLOWED),
        (
            "called back, and nobody knows when it was issued",
            |case| {
                case.facts().tokens_from = Some(UnixSeconds(1));
                case.passport().issued = None;
            },
            Err(Refusal::TokenRevoked),
        ),
        ("revoked by its id", |case| case.passport().is_revoked = true, Err(Refusal::TokenRevoked)),
        ("no such account", |case| case.passport().facts = None, Err(Refusal::AccountUnknown)),
        ("suspended", |case| case.facts().standing = Standing::Suspended, Err(Refusal::AccountSuspended)),
        ("on hold", |case| case.facts().standing = Standing::OnHold, Err(Refusal::AccountOnHold)),
        ("denied", |case| case.facts().standing = Standing::Denied, Err(Refusal::AccountDenied)),
        ("holds nothing", |case| case.facts().holdings = Box::default(), Err(Refusal::NotEntitled)),
        (
            "registered asks for no holding",
            |case| {
                case.facts().holdings = Box::default();
                case.product.access = AccessClass::Registered;
            },
            ALLOWED,
        ),
        (
            "open asks for nothing",
            |case| {
                case.product.access = AccessClass::Open;
                case.caller = None;
            },
            Ok(Visibility::Public),
        ),
        (
            "open does not look at bad tokens",
            |case| {
                case.product.access = AccessClass::Open;
                case.caller = Some(Err(TokenFault::Malformed));
            },
            Ok(Visibility::Public),
        ),
        (
            "open under a policy is private",
            |case| {
                case.product.access = AccessClass::Open;
                case.embargo = embargo(r#"{"regions": {"IR": "deny"}, "elsewhere": "allow", "unknown": "allow"}"#);
                case.place = place("DE");
            },
            ALLOWED,
        ),
        (
            "embargo binds open content",
            |case| {
                case.product.access = AccessClass::Open;
                case.embargo = embargo(r#"{"regions": {"IR": "deny"}, "elsewhere": "allow", "unknown": "allow"}"#);
                case.place = place("IR");
            },
            Err(Refusal::Embargo),
        ),
        (
            "embargo goes before the holding",
            |case| {
                case.embargo = embargo(r#"{"regions": {}, "elsewhere": "hold", "unknown": "deny"}"#);
                case.place = place("FR");
                case.facts().holdings = Box::default();
            },
            Err(Refusal::EmbargoHold),
        ),
        (
            "an unknown place has its rule",
            |case| {
                case.embargo = embargo(r#"{"regions": {}, "elsewhere": "allow", "unknown": "deny"}"#);
            },
            Err(Refusal::Embargo),
        ),
        (
            "narrowed to others",
            |case| {
                case.passport().narrowing.get_or_insert_default().products =
                    Some(Box::new(["demo".parse().expect("a name")]));
            },
            Err(Refusal::TokenTooNarrow),
        ),
        (
            "narrowed to this",
            |case| {
                case.passport().narrowing.get_or_insert_default().products =
                    Some(Box::new(["game".parse().expect("a name")]));
            },
            ALLOWED,
        ),
        (
            "narrowed to components, the base is read",
            |case| case.passport().narrowing.get_or_insert_default().components = Some(Box::new([])),
            ALLOWED,
        ),
        (
            "narrowed to components",
            |case| {
                case.passport().narrowing.get_or_insert_default().components = Some(Box::new([]));
                case.component = "hires".parse().expect("a name");
            },
            Err(Refusal::TokenTooNarrow),
        ),
        ("another group", |case| case.group = "dlc".parse().expect("a name"), Err(Refusal::ComponentNotIncluded)),
        (
            "a group that it holds",
            |case| {
                case.group = "dlc".parse().expect("a name");
                case.facts().holdings =
                    [holding(|terms| terms.groups = ["dlc".parse().expect("a name")].into())].into();
            },
            ALLOWED,
        ),
        ("any component unless terms name some", |case| case.component = "hires".parse().expect("a name"), ALLOWED),
        (
            "another component",
            |case| {
                case.component = "hires".parse().expect("a name");
                case.facts().holdings =
                    [holding(|terms| terms.components = ["lang.de".parse().expect("a name")].into())].into();
            },
            Err(Refusal::ComponentNotIncluded),
        ),
        (
            "another platform",
            |case| {
                case.facts().holdings =
                    [holding(|terms| terms.platforms = ["mac".parse().expect("a name")].into())].into();
            },
            Err(Refusal::PlatformNotIncluded),
        ),
        (
            "what runs anywhere is for every platform",
            |case| {
                case.platform = Platform::any();
                case.facts().holdings =
                    [holding(|terms| terms.platforms = ["mac".parse().expect("a name")].into())].into();
            },
            ALLOWED,
        ),
        (
            "another channel",
            |case| {
                case.facts().holdings =
                    [holding(|terms| terms.channels = ["beta".parse().expect("a name")].into())].into();
            },
            Err(Refusal::ChannelNotIncluded),
        ),
        (
            "one of its channels",
            |case| {
                case.channels.insert("beta".parse().expect("a name"));
                case.facts().holdings =
                    [holding(|terms| terms.channels = ["beta".parse().expect("a name")].into())].into();
            },
            ALLOWED,
        ),
        (
            "a region, and no place",
            |case| {
                case.facts().holdings =
                    [holding(|terms| terms.regions = ["DE".parse().expect("a region")].into())].into();
            },
            Err(Refusal::RegionUnknown),
        ),
        (
            "another region",
            |case| {
                case.place = place("FR");
                case.facts().holdings =
                    [holding(|terms| terms.regions = ["DE".parse().expect("a region")].into())].into();
            },
            Err(Refusal::RegionNotIncluded),
        ),
        (
            "a part of its region",
            |case| {
                case.place = place("DE-BE");
                case.facts().holdings =
                    [holding(|terms| terms.regions = ["DE".parse().expect("a region")].into())].into();
            },
            ALLOWED,
        ),
        (
            "not yet",
            |case| case.facts().holdings[0].starts = UnixSeconds(NOW.0 + 1),
            Err(Refusal::EntitlementNotStarted),
        ),
        ("from this second on", |case| case.facts().holdings[0].starts = NOW, ALLOWED),
        ("ended, and what was there stays", |case| case.facts().holdings[0].ends = Some(UnixSeconds(500)), ALLOWED),
        (
            "ended before it was registered",
            |case| case.facts().holdings[0].ends = Some(UnixSeconds(499)),
            Err(Refusal::EntitlementEnded),
        ),
        (
            "in its grace",
            |case| {
                case.facts().holdings = [holding(|terms| terms.grace_seconds = NOW.0)].into();
                case.facts().holdings[0].ends = Some(UnixSeconds(499));
            },
            ALLOWED,
        ),
        (
            "ended and revoked",
            |case| {
                case.facts().holdings = [holding(|terms| terms.expiry = Expiry::Revoke)].into();
                case.facts().holdings[0].ends = Some(NOW);
            },
            Err(Refusal::EntitlementEnded),
        ),
        (
            "ended and maintained",
            |case| {
                case.facts().holdings = [holding(|terms| terms.expiry = Expiry::Maintain)].into();
                case.facts().holdings[0].ends = Some(UnixSeconds(1));
            },
            ALLOWED,
        ),
        (
            "an agreement is missing",
            |case| {
                case.facts().holdings = [holding(|terms| terms.agreement = Some("eula@3".to_owned()))].into();
                case.facts().extras.get_or_insert_default().agreements.insert("eula@2".to_owned());
            },
            Err(Refusal::AgreementRequired),
        ),
        (
            "the agreement was accepted",
            |case| {
                case.facts().holdings = [holding(|terms| terms.agreement = Some("eula@3".to_owned()))].into();
                case.facts().extras.get_or_insert_default().agreements.insert("eula@3".to_owned());
            },
            ALLOWED,
        ),
        (
            "no device",
            |case| {
                case.facts().holdings = [holding(|terms| terms.device_bound = true)].into();
            },
            Err(Refusal::DeviceRequired),
        ),
        (
            "its device",
            |case| {
                case.facts().holdings = [holding(|terms| terms.device_bound = true)].into();
                case.facts().extras.get_or_insert_default().devices.insert(DeviceKey([1; 8]));
                case.passport().device = Some(DeviceKey([1; 8]));
            },
            ALLOWED,
        ),
        (
            "the second holding covers it",
            |case| {
                let ended = Holding { ends: Some(UnixSeconds(1)), ..holding(|terms| terms.expiry = Expiry::Revoke) };
                case.facts().holdings = [ended, holding(|_| {})].into();
            },
            ALLOWED,
        ),
        ("withdrawn comes last", |case| case.state = ReleaseState::Withdrawn, Err(Refusal::Withdrawn)),
        ("closed, held", |case| case.product.access = AccessClass::Closed, ALLOWED),
        (
            "closed, to nobody",
            |case| {
                case.product.access = AccessClass::Closed;
                case.caller = None;
            },
            Err(Refusal::Unknown),
        ),
        (
            "closed, with a bad token",
            |case| {
                case.product.access = AccessClass::Closed;
                case.caller = Some(Err(TokenFault::Expired));
            },
            Err(Refusal::Unknown),
        ),
        (
            "closed, not held",
            |case| {
                case.product.access = AccessClass::Closed;
                case.facts().holdings = Box::default();
            },
            Err(Refusal::Unknown),
        ),
        (
            "closed, held and suspended",
            |case| {
                case.product.access = AccessClass::Closed;
                case.facts().standing = Standing::Suspended;
            },
            Err(Refusal::Unknown),
        ),
        (
            "closed, held, with a token that was called back",
            |case| {
                case.product.access = AccessClass::Closed;
                case.facts().tokens_from = Some(NOW);
            },
            Err(Refusal::Unknown),
        ),
        (
            "closed, held, with a token for something else",
            |case| {
                case.product.access = AccessClass::Closed;
                case.passport().narrowing.get_or_insert_default().products =
                    Some(Box::new(["demo".parse().expect("a name")]));
            },
            Err(Refusal::Unknown),
        ),
        (
            "closed, held and over",
            |case| {
                case.product.access = AccessClass::Closed;
                case.facts().holdings = [holding(|terms| terms.expiry = Expiry::Revoke)].into();
                case.facts().holdings[0].ends = Some(NOW);
            },
            Err(Refusal::EntitlementEnded),
        ),
        (
            "closed, under embargo, not held",
            |case| {
                case.product.access = AccessClass::Closed;
                case.embargo = embargo(r#"{"regions": {}, "elsewhere": "deny", "unknown": "deny"}"#);
                case.facts().holdings = Box::default();
            },
            Err(Refusal::Unknown),
        ),
        (
            "closed and withdrawn, held",
            |case| {
                case.product.access = AccessClass::Closed;
                case.state = ReleaseState::Withdrawn;
            },
            Err(Refusal::Withdrawn),
        ),
    ];
    for (name, change, expected) in rows {
        let mut case = Case::holder();
        change(&mut case);
        assert_eq!(case.outcome(), *expected, "{name}");
        let mut walk = Walk::default();
        let told = match case.decide(&mut walk) {
            Verdict::Allow(_) => None,
            Verdict::Refuse(refusal) => Some(refusal),
        };
        assert_eq!(told, expected.err(), "{name}: looking on changes nothing");
        assert_eq!(walk.0.last().and_then(|last| last.refusal), told, "{name}: the last step is the verdict");
    }
}

#[test]
fn codes_are_unique_and_faults_outrank_everything() {
    let all: Vec<Refusal> = Refusal::PLAIN.into_iter().chain(TokenFault::ALL.map(Refusal::Token)).collect();
    let codes: BTreeSet<&str> = all.iter().map(|refusal| refusal.code()).collect();
    assert_eq!(codes.len(), all.len());
    assert!(all.is_sorted(), "listed in their order");
}

fn any_case() -> impl Strategy<Value = Case> {
    let access = prop_oneof![
        Just(AccessClass::Open),
        Just(AccessClass::Registered),
        Just(AccessClass::Licensed),
        Just(AccessClass::Closed)
    ];
    let standing = prop_oneof![
        4 => Just(Standing::Active),
        1 => Just(Standing::Suspended),
        1 => Just(Standing::OnHold),
        1 => Just(Standing::Denied)
    ];
    let ends = proptest::option::of(0..2 * NOW.0);
    (access, standing, any::<bool>(), ends, 0..2 * NOW.0, any::<bool>(), 0u8..4).prop_map(
        |(access, standing, holds, ends, starts, withdrawn, caller)| {
            let mut case = Case::holder();
            case.product.access = access;
            case.facts().standing = standing;
            case.facts().holdings[0].ends = ends.map(UnixSeconds);
            case.facts().holdings[0].starts = UnixSeconds(starts);
            if !holds {
                case.facts().holdings = Box::default();
            }
            if withdrawn {
                case.state = ReleaseState::Withdrawn;
            }
            match caller {
                0 => case.caller = None,
                1 => case.caller = Some(Err(TokenFault::Claims)),
                2 => case.passport().facts = None,
                _ => {}
            }
            case
        },
    )
}

proptest! {
    /// Whoever gets a licensed or closed product has a good token, is active, and holds it now.
    #[test]
    fn nothing_is_read_that_is_not_owed(case in any_case()) {
        let owed = |case: &Case| match &case.caller {
            Some(Ok(passport)) => passport.facts.as_ref().is_some_and(|facts| {
                facts.standing == Standing::Active
                    && facts.holdings.iter().any(|one| one.starts <= NOW && one.ends.is_none_or(|ends| ends > NOW || ends >= case.registered))
            }),
            _ => false,
        };
        if case.outcome().is_ok() {
            prop_assert_eq!(case.state, ReleaseState::Live);
            if matches!(case.product.access, AccessClass::Licensed | AccessClass::Closed) {
                prop_assert!(owed(&case));
            }
        }
    }

    /// A closed product that is not held answers as one that is not there, whatever else is the matter.
    #[test]
    fn what_is_closed_looks_unknown(mut case in any_case()) {
        case.product.access = AccessClass::Closed;
        let holds = matches!(&case.caller, Some(Ok(passport)) if passport.facts.as_ref().is_some_and(|facts| !facts.holdings.is_empty()));
        if !holds {
            prop_assert_eq!(case.outcome(), Err(Refusal::Unknown));
        }
    }
}
