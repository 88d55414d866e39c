//! Who may read content within one product: its component and its access group.
//!
//! Owns the one rule of sharing: content may lie in a blob of another audience only if that one covers its own. Publish
//! reuses by it, control holds registrations against it, and `account` decides who is in an audience; the three agree,
//! which a property here proves. Products never share: classes, export classes and releases of another product change
//! later, and nobody would take the content back.
//!
//! A channel, a platform, a region and a time are no part of it: they change while blobs stay. Terms choose releases by
//! them, and a blob that several releases share is given to those only who are owed a release that all of it is content
//! of (`entitle::decide_blob`).

use crate::catalog::BlobMember;
use crate::id::{AccessGroup, ComponentName};

/// Those who may read a component that is published for an access group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Audience<'a> {
    /// The component.
    pub component: &'a ComponentName,
    /// The access group.
    pub group: &'a AccessGroup,
}

impl Audience<'_> {
    /// Whether everyone in `narrower` may read what is published for this one.
    #[must_use]
    pub fn covers(&self, narrower: &Audience<'_>) -> bool {
        (self.component == narrower.component || *self.component == ComponentName::base())
            && (self.group == narrower.group || *self.group == AccessGroup::base())
    }
    /// Whether everyone who may read anything of the product may read this.
    #[must_use]
    pub fn is_base(&self) -> bool {
        *self.component == ComponentName::base() && *self.group == AccessGroup::base()
    }
}

impl BlobMember {
    /// Who may read it.
    #[must_use]
    pub const fn audience(&self) -> Audience<'_> {
        Audience { component: &self.component, group: &self.group }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{AccountFacts, Asking, Carries, Holding, Terms, Wanted};
    use crate::catalog::ReleaseState;
    use crate::id::{Platform, ProductId};
    use crate::place::Whereabouts;
    use crate::time::UnixSeconds;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    type Names = (ComponentName, AccessGroup);

    fn names() -> impl Strategy<Value = Names> {
        (prop_oneof![Just("base"), Just("dlc"), Just("lang")], prop_oneof![Just("base"), Just("x"), Just("y")])
            .prop_map(|(component, group)| {
                (ComponentName::new(component).expect("name"), AccessGroup::new(group).expect("name"))
            })
    }

    const fn audience((component, group): &Names) -> Audience<'_> {
        Audience { component, group }
    }

    fn subset<T: Clone>(all: &[T], bits: usize) -> Vec<T> {
        let chosen = all.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
        chosen.map(|(_, one)| one.clone()).collect()
    }

    /// Every set of terms over the names of [`names`].
    fn all_terms() -> Vec<Terms> {
        let components = ["dlc", "lang"].map(|name| ComponentName::new(name).expect("name"));
        let groups = ["x", "y"].map(|name| AccessGroup::new(name).expect("name"));
        let mut all = Vec::new();
        for bits in 0..16 {
            let mut terms = Terms::of(ProductId::new("game").expect("name"));
            terms.components = subset(&components, bits & 3).into_iter().collect::<BTreeSet<_>>();
            terms.groups = subset(&groups, bits >> 2).into_iter().collect::<BTreeSet<_>>();
            all.push(terms);
        }
        all
    }

    fn reads(terms: &Terms, (component, group): &Names) -> bool {
        let facts = AccountFacts::default();
        let holding = Holding { terms: Arc::new(terms.clone()), starts: UnixSeconds(0), ends: None };
        let platform = Platform::any();
        let wanted = Wanted {
            product: &terms.product,
            platform: &platform,
            component: Some(component),
            group: Some(group),
            channels: None,
            registered: None,
            state: ReleaseState::Live,
            carries: Carries::OwnContent,
        };
        let asking = Asking { now: UnixSeconds(1), place: Whereabouts::Known(None), device: None };
        facts.covers(&holding, &wanted, &asking).is_ok()
    }

    proptest! {
        /// The rule is the decision's, seen from the other side: no terms let somebody read the narrower alone.
        #[test]
        fn an_audience_covers_another_exactly_when_all_terms_for_that_one_allow_it(wide in names(), narrow in names()) {
            let all_do = all_terms().iter().filter(|terms| reads(terms, &narrow)).all(|terms| reads(terms, &wide));
            prop_assert_eq!(audience(&wide).covers(&audience(&narrow)), all_do);
        }

        #[test]
        fn covering_is_an_order(a in names(), b in names(), c in names()) {
            let covers = |x: &Names, y: &Names| audience(x).covers(&audience(y));
            prop_assert!(covers(&a, &a));
            prop_assert!(!(covers(&a, &b) && covers(&b, &c)) || covers(&a, &c));
            prop_assert!(!(covers(&a, &b) && covers(&b, &a)) || a == b);
            prop_assert_eq!(audience(&a).is_base(), a == base());
            prop_assert!(covers(&base(), &a));
        }
    }

    fn base() -> Names {
        (ComponentName::base(), AccessGroup::base())
    }
}
