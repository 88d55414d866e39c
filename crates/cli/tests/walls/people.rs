//! Everybody who may ask: nobody, somebody who owns nothing, and owners of every kind.

use penstock_core::account::{AccountFacts, AccountKey, Expiry, Holding, Terms};
use penstock_core::entitle::Passport;
use penstock_core::id::{AccessGroup, ChannelName, ComponentName, Platform, ProductId};
use penstock_core::time::UnixSeconds;
use std::sync::Arc;

/// What somebody bought.
#[derive(Debug, Clone)]
pub(crate) struct Deal {
    pub(crate) product: &'static str,
    /// None is all.
    pub(crate) components: Vec<&'static str>,
    pub(crate) groups: Vec<&'static str>,
    /// None is all.
    pub(crate) channels: Vec<&'static str>,
    /// None is all.
    pub(crate) platforms: Vec<&'static str>,
    /// Updates end here, and what was registered by then stays.
    pub(crate) ends: Option<UnixSeconds>,
}

/// Somebody.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) is_known: bool,
    pub(crate) is_in_germany: bool,
    pub(crate) deals: Vec<Deal>,
    /// What an edge knows of them.
    pub(crate) passport: Option<Passport>,
}

/// All of them, who ask `now` about a history that began at `begin`.
pub(crate) fn people(begin: UnixSeconds, now: UnixSeconds) -> Vec<Person> {
    let mut people = vec![person(false, Vec::new()), person(true, Vec::new())];
    let mut deals = Vec::new();
    for components in [vec![], vec!["base"], vec!["dlc"], vec!["lang"], vec!["dlc", "lang"]] {
        for groups in [vec![], vec!["x"], vec!["y"], vec!["x", "y"]] {
            deals.push(Deal { components: components.clone(), groups, ..plain("game") });
        }
    }
    // Half of the history is theirs.
    let ends = Some(UnixSeconds(begin.0 + (now.0 - begin.0) / 2));
    deals.push(plain("demo"));
    deals.extend(limited());
    deals.push(Deal { ends, groups: vec!["x"], ..plain("game") });
    deals.push(Deal { ends, components: vec!["lang"], ..plain("game") });
    for deal in &deals {
        people.push(person(true, vec![deal.clone()]));
    }
    // Two deals do not add up to what neither gives.
    let split = [
        Deal { components: vec!["dlc"], ..plain("game") },
        Deal { components: vec!["lang"], groups: vec!["x", "y"], ..plain("game") },
    ];
    people.push(person(true, split.to_vec()));
    people
        .push(person(true, vec![plain("demo"), Deal { components: vec!["base"], groups: vec!["y"], ..plain("game") }]));
    let abroad: Vec<Person> = people.iter().map(|one| Person { is_in_germany: true, ..one.clone() }).collect();
    people.extend(abroad);
    people
}

/// What was sold for some channels or platforms only.
pub(crate) fn limited() -> Vec<Deal> {
    vec![
        Deal { channels: vec!["stable"], ..plain("game") },
        Deal { channels: vec!["beta"], groups: vec!["x"], ..plain("game") },
        Deal { channels: vec!["beta", "stable"], components: vec!["lang"], ..plain("game") },
        Deal { platforms: vec!["linux"], components: vec!["dlc"], ..plain("game") },
        Deal { platforms: vec!["windows"], channels: vec!["stable"], groups: vec!["x", "y"], ..plain("game") },
        Deal { channels: vec!["stable"], ..plain("demo") },
    ]
}

fn plain(product: &'static str) -> Deal {
    Deal { product, components: vec![], groups: vec![], channels: vec![], platforms: vec![], ends: None }
}

fn person(is_known: bool, deals: Vec<Deal>) -> Person {
    let facts = AccountFacts { holdings: deals.iter().map(holding).collect(), ..AccountFacts::default() };
    let passport = Passport {
        account: AccountKey([1; 16]),
        issued: None,
        expires: UnixSeconds(u64::MAX),
        narrowing: None,
        device: None,
        token: None,
        is_revoked: false,
        facts: Some(Arc::new(facts)),
    };
    Person { is_known, is_in_germany: false, deals, passport: is_known.then_some(passport) }
}

fn holding(deal: &Deal) -> Holding {
    Holding { terms: Arc::new(deal.terms()), starts: UnixSeconds(0), ends: deal.ends }
}

impl Deal {
    /// Whether it leaves out releases by channel or platform.
    pub(crate) fn is_limited(&self) -> bool {
        !self.channels.is_empty() || !self.platforms.is_empty()
    }

    /// The deal as control and edges know it.
    pub(crate) fn terms(&self) -> Terms {
        let deal = self;
        let mut terms = Terms::of(ProductId::new(deal.product).expect("name"));
        terms.expiry = Expiry::Restrict;
        terms.components = deal.components.iter().map(|name| ComponentName::new(name).expect("name")).collect();
        terms.groups = deal.groups.iter().map(|name| AccessGroup::new(name).expect("name")).collect();
        terms.channels = deal.channels.iter().map(|name| ChannelName::new(name).expect("name")).collect();
        terms.platforms = deal.platforms.iter().map(|name| Platform::new(name).expect("name")).collect();
        terms
    }
}
