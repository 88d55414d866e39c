//! Who could read a blob, and who could once a release refers to it: pure.
//!
//! A pack holds content of one audience, so a release may refer to a blob only if its whole audience may read that blob
//! already; [`penstock_core::audience`] says when that is so within one product. A blob of one product is never another's:
//! what everybody may read today is not what everybody may read for ever, because products change their access and export
//! class and releases are withdrawn, and none of that would reach those who read the blob through the other product. Only
//! what the desk opened to everyone, beyond any product, is shared.

use penstock_core::audience::Audience;
use penstock_core::id::{AccessGroup, ComponentName, ProductId};

/// One use of a blob that the record knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownUse {
    pub(crate) product: ProductId,
    pub(crate) component: ComponentName,
    pub(crate) group: AccessGroup,
}

impl KnownUse {
    const fn audience(&self) -> Audience<'_> {
        Audience { component: &self.component, group: &self.group }
    }
}

impl AsRef<Self> for KnownUse {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// Whether a blob outside any release was declared readable by anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LooseState {
    Open,
    Private,
}

/// Of a blob's known uses, the one that forbids a product to use it for `wanted`; `None` when nothing does.
///
/// Nothing does if nobody was owed the blob before, if anyone may read it, or if some known use of the same product
/// already lets all of `wanted` read it.
pub(crate) fn forbidding_use<'u, U: AsRef<KnownUse>>(
    loose: LooseState,
    uses: &'u [U],
    product: &ProductId,
    wanted: Audience<'_>,
) -> Option<&'u U> {
    let covers = |known: &KnownUse| known.product == *product && known.audience().covers(&wanted);
    if loose == LooseState::Open || uses.iter().any(|known| covers(known.as_ref())) {
        return None;
    }
    uses.first()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Place = (&'static str, &'static str, &'static str);

    fn known((product, component, group): Place) -> KnownUse {
        KnownUse {
            product: ProductId::new(product).expect("name"),
            component: ComponentName::new(component).expect("name"),
            group: AccessGroup::new(group).expect("name"),
        }
    }

    fn allowed(loose: LooseState, uses: &[Place], wanted: Place) -> bool {
        let uses: Vec<KnownUse> = uses.iter().map(|one| known(*one)).collect();
        let wanted = known(wanted);
        forbidding_use(loose, &uses, &wanted.product, wanted.audience()).is_none()
    }

    #[test]
    fn a_new_audience_must_be_inside_the_old_one() {
        let base = ("game", "base", "base");
        let cases: [(&str, Place, Place, bool); 13] = [
            ("the same again", base, base, true),
            ("an add-on reuses the base", base, ("game", "dlc", "owners"), true),
            ("the base reuses an add-on", ("game", "dlc", "owners"), base, false),
            ("the base reuses a component of its group", ("game", "lang.de", "base"), base, false),
            ("one add-on reuses another", ("game", "dlc1", "owners1"), ("game", "dlc2", "owners2"), false),
            ("another add-on of the same group", ("game", "dlc1", "owners"), ("game", "dlc2", "owners"), false),
            ("another component of the base group", ("game", "lang.de", "base"), ("game", "lang.fr", "base"), false),
            ("a component reuses itself", ("game", "lang.de", "base"), ("game", "lang.de", "base"), true),
            ("a component that is sold now reuses itself", ("game", "dlc", "base"), ("game", "dlc", "owners"), true),
            ("a component that is free now", ("game", "dlc", "owners"), ("game", "dlc", "base"), false),
            ("a component that changed hands", ("game", "dlc", "owners"), ("game", "dlc", "testers"), false),
            ("the base group of one, the component of another", ("game", "lang", "base"), ("game", "dlc", "x"), false),
            ("another product", base, ("demo", "base", "base"), false),
        ];
        for (name, one, wanted, expected) in cases {
            assert_eq!(allowed(LooseState::Private, &[one], wanted), expected, "{name}");
            assert!(allowed(LooseState::Open, &[one], wanted), "{name}, but anyone may read it");
        }
        assert!(allowed(LooseState::Private, &[], base), "nobody was owed it yet");
        assert!(allowed(LooseState::Private, &[("secret", "base", "base"), base], base), "one use covers");
    }

    /// Somebody who owns one product, all or some of its components and some of its groups; the slow, obvious reading of
    /// who may read what.
    #[derive(Debug, Clone)]
    struct Person {
        product: &'static str,
        components: Option<Vec<&'static str>>,
        groups: Vec<&'static str>,
    }

    impl Person {
        fn reads(&self, known: &KnownUse) -> bool {
            let component = known.component.as_str();
            let has_component = component == "base" || self.components.as_ref().is_none_or(|c| c.contains(&component));
            let has_group = known.group == AccessGroup::base() || self.groups.contains(&known.group.as_str());
            known.product.as_str() == self.product && has_component && has_group
        }
    }

    fn people() -> Vec<Person> {
        let mut people = Vec::new();
        for product in ["game", "demo"] {
            for components in [None, Some(vec![]), Some(vec!["c"]), Some(vec!["d"]), Some(vec!["c", "d"])] {
                for groups in [vec![], vec!["x"], vec!["y"], vec!["x", "y"]] {
                    people.push(Person { product, components: components.clone(), groups });
                }
            }
        }
        people
    }

    fn any_place() -> impl Strategy<Value = Place> {
        let product = prop_oneof![Just("game"), Just("demo")];
        (product, prop_oneof![Just("base"), Just("c"), Just("d")], prop_oneof![Just("base"), Just("x"), Just("y")])
    }

    proptest! {
        #[test]
        fn nobody_new_can_read_what_was_allowed(uses in proptest::collection::vec(any_place(), 1..4), wanted in any_place()) {
            let owners: Vec<Person> = people().into_iter().filter(|one| one.reads(&known(wanted))).collect();
            let all_read = |place: &Place| owners.iter().all(|one| one.reads(&known(*place)));
            prop_assert_eq!(allowed(LooseState::Private, &uses, wanted), uses.iter().any(all_read));
        }
    }
}
