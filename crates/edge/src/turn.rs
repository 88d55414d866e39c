//! Whose turn it is: what is known of a caller, in the words of `core::rollout` and `core::segment`.
//!
//! Segments and places are asked for only where a step names some. It must not decide, nor read a byte of content.

use crate::policy::Segments;
use penstock_core::account::PseudonymKey;
use penstock_core::entitle::Passport;
use penstock_core::id::{SegmentName, Version};
use penstock_core::place::Whereabouts;
use penstock_core::request::InstallId;
use penstock_core::rollout::{Asker, Rollout, Turn};
use penstock_core::segment::Attributes;
use penstock_core::time::UnixSeconds;
use std::collections::BTreeSet;

/// Somebody who wants to know what to install.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inquirer<'a> {
    pub(crate) install: Option<&'a InstallId>,
    pub(crate) by_hand: bool,
    /// What it has. Whoever got the target by hand keeps it: the launcher's next check must not take it away again.
    pub(crate) have: Option<&'a Version>,
    /// Whoever its token names, where it sent a good one.
    pub(crate) passport: Option<&'a Passport>,
    pub(crate) place: Whereabouts<'a>,
}

/// The names that lists hold of a caller: pseudonyms of its account and of its install.
pub(crate) struct Names {
    account: Option<String>,
    install: Option<String>,
}

impl Names {
    pub(crate) fn of(passport: Option<&Passport>, install: Option<&InstallId>, pseudonyms: &PseudonymKey) -> Self {
        Self {
            account: passport.map(|passport| passport.account.to_string()),
            install: install.map(|install| pseudonyms.account(install.expose()).to_string()),
        }
    }

    pub(crate) fn list(&self) -> Vec<&str> {
        self.account.iter().chain(&self.install).map(String::as_str).collect()
    }
}

impl Inquirer<'_> {
    /// Whose turn it is in a rollout.
    pub(crate) fn turn(
        &self,
        rollout: &Rollout,
        segments: &Segments,
        pseudonyms: &PseudonymKey,
        now: UnixSeconds,
    ) -> Turn {
        self.asks(rollout, segments, pseudonyms, |asker| rollout.turn(asker, now))
    }

    /// As [`Self::turn`], with the grounds.
    pub(crate) fn explain(
        &self,
        rollout: &Rollout,
        segments: &Segments,
        pseudonyms: &PseudonymKey,
        now: UnixSeconds,
    ) -> (Turn, Vec<String>) {
        self.asks(rollout, segments, pseudonyms, |asker| rollout.explain(asker, now))
    }

    fn asks<T>(
        &self,
        rollout: &Rollout,
        segments: &Segments,
        pseudonyms: &PseudonymKey,
        answer: impl FnOnce(&Asker<'_>) -> T,
    ) -> T {
        let named = named(rollout);
        let member: Vec<SegmentName> = if named.is_empty() {
            Vec::new()
        } else {
            let names = Names::of(self.passport, self.install, pseudonyms);
            let (names, attributes) = (names.list(), self.attributes());
            let is_in = |name: &&SegmentName| segments.get(*name).is_some_and(|one| one.holds(&names, attributes));
            named.into_iter().filter(is_in).cloned().collect()
        };
        let asks_where = rollout.steps.iter().any(|step| !step.regions.is_empty());
        let place = if asks_where { self.place.place() } else { None };
        let regions: BTreeSet<String> =
            place.iter().flat_map(|place| [place.0.country().to_string(), place.0.to_string()]).collect();
        let regions: Vec<&str> = regions.iter().map(String::as_str).collect();
        let install = self.install.map(InstallId::expose);
        let by_hand = self.by_hand || self.have == Some(&rollout.target);
        answer(&Asker { install, segments: &member, regions: &regions, by_hand })
    }

    /// What is known of its account.
    pub(crate) fn attributes(&self) -> &Attributes {
        static NONE: Attributes = Attributes::new();
        let facts = self.passport.and_then(|passport| passport.facts.as_ref());
        facts.and_then(|facts| facts.extras.as_ref()).map_or(&NONE, |extras| &extras.attributes)
    }
}

/// The segments that a rollout's steps name.
pub(crate) fn named(rollout: &Rollout) -> BTreeSet<&SegmentName> {
    rollout.steps.iter().flat_map(|step| &step.segments).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::rollout::{ManualCheck, Motion, Salt, Share, Step};
    use proptest::prelude::*;

    fn rollout(salt: [u8; 32], buckets: u16) -> Rollout {
        let share = Share::of_buckets(buckets);
        let step = Step { from: UnixSeconds(0), until: None, segments: Vec::new(), regions: Vec::new(), share };
        Rollout {
            target: "2".parse().expect("a version"),
            fallback: "1".parse().expect("a version"),
            salt: Salt(salt),
            motion: Motion::Running,
            steps: vec![step],
            manual_check: ManualCheck::Waits,
        }
    }

    fn is_target(rollout: &Rollout, install: &InstallId) -> bool {
        let place = Whereabouts::Known(None);
        let inquirer = Inquirer { install: Some(install), by_hand: false, have: None, passport: None, place };
        let pseudonyms = PseudonymKey::from_bytes([3; 32]);
        inquirer.turn(rollout, &Segments::new(), &pseudonyms, UnixSeconds(1)).is_target()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Of many installs about as many get the target as the percentage says, and a percentage that rises takes nobody
        /// out.
        #[test]
        fn the_share_of_targets_is_the_percentage(salt: [u8; 32], low in 0u16..=10_000, high in 0u16..=10_000, seed: u64) {
            const INSTALLS: u32 = 4000;
            let (low, high) = (low.min(high), low.max(high));
            let (before, after) = (rollout(salt, low), rollout(salt, high));
            let mut targets = 0u32;
            for number in 0..INSTALLS {
                let install = InstallId::new(&format!("{seed:x}-{number}")).expect("an id");
                let was = is_target(&before, &install);
                prop_assert!(!was || is_target(&after, &install));
                targets += u32::from(was);
            }
            let (share, installs) = (f64::from(low) / 10_000.0, f64::from(INSTALLS));
            // Six standard deviations: once in a billion runs by chance.
            let deviation = (installs * share * (1.0 - share)).sqrt();
            let off = (f64::from(targets) - installs * share).abs();
            prop_assert!(off <= 6.0 * deviation, "{targets} of {INSTALLS} at {low}");
        }
    }
}
