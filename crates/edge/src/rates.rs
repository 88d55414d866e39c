//! How fast a connection may be sent to: a rate for each segment, one for everybody else, and the socket that keeps it.
//!
//! The kernel keeps the pace (`SO_MAX_PACING_RATE`, TCP): nothing is counted or delayed here. A rate belongs to a
//! connection. Over HTTP/1 it is that of whoever asked last. Over HTTP/2 several callers may share one (behind a proxy):
//! then it is that of the fastest of them, because the slower ones could not be told apart on the wire, and a caller's
//! own next request sets it anew. It must not look at content, nor decide who is in a segment.

use crate::config::RatesConfig;
use crate::listen::Protocol;
use crate::policy::Segments;
use crate::turn::Names;
use arc_swap::ArcSwap;
use penstock_core::account::PseudonymKey;
use penstock_core::entitle::Passport;
use penstock_core::segment::Attributes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// No bound, as the kernel writes it.
pub(crate) const UNBOUNDED: u64 = u64::MAX;

/// The rates of a node.
#[derive(Debug, Default)]
pub struct Rates {
    config: ArcSwap<RatesConfig>,
    /// Whether there is any, so that a node without rates pays one look at it for a request.
    are_set: AtomicBool,
}

/// A connection's rate, shared by those who decide it and the socket that keeps it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Pacing(Arc<Wanted>);

/// Changed by the requests of one connection, which all run on one thread.
#[derive(Debug, Default)]
struct Wanted {
    /// In bytes a second; 0 until somebody decided, which is no bound either.
    rate: AtomicU64,
    /// Whose it is: a part of the account's pseudonym, 0 for nobody's.
    owner: AtomicU64,
}

impl Rates {
    /// Takes other rates. Connections are paced by them from their next request on.
    pub fn set(&self, config: RatesConfig) {
        let are_set = config.default.is_some() || !config.segments.is_empty();
        self.config.store(Arc::new(config));
        self.are_set.store(are_set, Ordering::Release);
    }

    /// Paces a connection for a caller.
    pub(crate) fn pace(
        &self,
        pacing: &Pacing,
        protocol: Protocol,
        passport: Option<&Passport>,
        segments: impl FnOnce() -> Arc<Segments>,
        pseudonyms: &PseudonymKey,
    ) {
        if !self.are_set.load(Ordering::Acquire) && !pacing.is_set() {
            return;
        }
        let config = self.config.load();
        let rate = match passport {
            Some(passport) if !config.segments.is_empty() => config.of(passport, &segments(), pseudonyms),
            _ => config.default.unwrap_or(UNBOUNDED),
        };
        pacing.want(rate, passport.map_or(NOBODY, owner), protocol);
    }
}

impl RatesConfig {
    /// The fastest of the segments that a caller is in; else the default. In bytes a second.
    fn of(&self, passport: &Passport, segments: &Segments, pseudonyms: &PseudonymKey) -> u64 {
        let names = Names::of(Some(passport), None, pseudonyms);
        let names = names.list();
        let none = Attributes::new();
        let extras = passport.facts.as_ref().and_then(|facts| facts.extras.as_ref());
        let attributes = extras.map_or(&none, |extras| &extras.attributes);
        let is_in = |name| segments.get(name).is_some_and(|segment| segment.holds(&names, attributes));
        let own = self.segments.iter().filter(|(name, _)| is_in(*name));
        own.map(|(_, rate)| rate.unwrap_or(UNBOUNDED)).max().unwrap_or(self.default.unwrap_or(UNBOUNDED))
    }
}

/// The owner of a rate that was decided for somebody unknown.
const NOBODY: u64 = 0;

/// Tells callers of one connection apart; that two are taken for one is harmless.
fn owner(passport: &Passport) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = passport.account.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) | 1
}

impl Pacing {
    /// The rate that the socket shall keep, in bytes a second; `None` until somebody decided.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        Some(self.0.rate.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    fn is_set(&self) -> bool {
        self.0.rate.load(Ordering::Relaxed) > 0
    }

    fn want(&self, rate: u64, owner: u64, protocol: Protocol) {
        let Wanted { rate: kept, owner: of } = &*self.0;
        // What anybody may read says nothing of who reads it: the rate of a caller who is known stays.
        if owner == NOBODY && protocol != Protocol::Http1 && of.load(Ordering::Relaxed) != NOBODY {
            return;
        }
        let is_anew = !self.is_set() || of.load(Ordering::Relaxed) == owner;
        if protocol == Protocol::Http1 || is_anew || rate > kept.load(Ordering::Relaxed) {
            kept.store(rate, Ordering::Relaxed);
            of.store(owner, Ordering::Relaxed);
        }
    }
}

/// Two connections never share one.
impl PartialEq for Pacing {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Pacing {}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::account::{AccountFacts, Extras};
    use penstock_core::segment::{Predicate, Rule, Segment, Value};
    use penstock_core::time::UnixSeconds;

    const FLEET: PseudonymKey = PseudonymKey::from_bytes([3; 32]);

    fn passport(account: &str, attributes: &[&str]) -> Passport {
        let attributes = attributes.iter().map(|name| ((*name).to_owned(), Value::Flag(true))).collect();
        let extras = Some(Box::new(Extras { attributes, ..Extras::default() }));
        Passport {
            account: FLEET.account(account),
            token: None,
            is_revoked: false,
            issued: None,
            expires: UnixSeconds(9),
            narrowing: None,
            device: None,
            facts: Some(Arc::new(AccountFacts { extras, ..AccountFacts::default() })),
        }
    }

    fn segments() -> Segments {
        let flag =
            |name: &str| Rule::Where(Predicate::Is { attribute: name.to_owned(), values: vec![Value::Flag(true)] });
        let listed = Rule::List([FLEET.account("carol").to_string()].into());
        [("slow", flag("slow")), ("fast", flag("fast")), ("free", listed)]
            .into_iter()
            .map(|(name, rule)| {
                let name: penstock_core::id::SegmentName = name.parse().expect("a name");
                (name.clone(), Arc::new(Segment { name, version: 1, rule }))
            })
            .collect()
    }

    fn config() -> RatesConfig {
        let rates = [("slow", Some(100)), ("fast", Some(1000)), ("free", None), ("gone", Some(5000))];
        let segments = rates.into_iter().map(|(name, rate)| (name.parse().expect("a name"), rate)).collect();
        RatesConfig { default: Some(500), segments }
    }

    fn pace(rates: &Rates, pacing: &Pacing, protocol: Protocol, passport: Option<&Passport>) -> Option<u64> {
        rates.pace(pacing, protocol, passport, || Arc::new(segments()), &FLEET);
        pacing.rate()
    }

    #[test]
    fn a_caller_has_the_fastest_rate_of_its_segments() {
        let rates = Rates::default();
        rates.set(config());
        for (account, attributes, expected) in [
            ("alice", &["slow"][..], 100),
            ("alice", &["slow", "fast"], 1000),
            ("alice", &[], 500),
            ("carol", &["slow"], UNBOUNDED),
        ] {
            let passport = passport(account, attributes);
            let found = pace(&rates, &Pacing::default(), Protocol::Http1, Some(&passport));
            assert_eq!(found, Some(expected), "{account} {attributes:?}");
        }
        assert_eq!(pace(&rates, &Pacing::default(), Protocol::Http1, None), Some(500), "nobody's is the default");
    }

    #[test]
    fn a_connection_follows_its_callers() {
        let rates = Rates::default();
        let (slow, fast) = (passport("alice", &["slow"]), passport("bob", &["fast"]));
        let [one, two] = [Pacing::default(), Pacing::default()];
        assert_eq!(pace(&rates, &one, Protocol::Http1, Some(&slow)), None, "without rates nobody is paced");
        rates.set(config());
        let ask = |who| pace(&rates, &one, Protocol::Http1, who);
        assert_eq!([ask(Some(&slow)), ask(Some(&fast)), ask(Some(&slow))], [Some(100), Some(1000), Some(100)]);
        let ask = |who| pace(&rates, &two, Protocol::Http2, who);
        assert_eq!([ask(Some(&slow)), ask(Some(&fast)), ask(Some(&slow))], [Some(100), Some(1000), Some(1000)]);
        assert_eq!(ask(Some(&passport("bob", &[]))), Some(500), "its own request sets it anew");
        rates.set(RatesConfig::default());
        assert_eq!(pace(&rates, &two, Protocol::Http2, Some(&slow)), Some(UNBOUNDED), "and freed when there are none");
        assert_eq!(pace(&rates, &one, Protocol::Http1, None), Some(UNBOUNDED));
    }
}
