//! Who could read a blob, and who could once a release refers to it: pure.
//!
//! A pack holds content of one audience, so a release may refer to a blob only if its whole
//! audience may read that blob already. Otherwise a beta's or an add-on's content could reach
//! owners of the base game through a shared pack.

use penstock_core::catalog::{AccessClass, ReleaseState};
use penstock_core::id::{AccessGroup, ProductId};

/// One use of a blob that the record knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownUse {
    pub(crate) product: ProductId,
    pub(crate) access: AccessClass,
    pub(crate) state: ReleaseState,
    pub(crate) group: AccessGroup,
}

impl AsRef<Self> for KnownUse {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// The audience of a use that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Audience<'a> {
    pub(crate) product: &'a ProductId,
    pub(crate) group: &'a AccessGroup,
}

/// Whether a blob outside any release was declared readable by anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LooseState {
    Open,
    Private,
}

/// Of a blob's known uses, the one that forbids `wanted`; `None` when nothing does.
///
/// Nothing does if nobody was owed the blob before, if anyone may read it, or if some known use
/// already lets all of `wanted` read it.
pub(crate) fn forbidding_use<'u, U: AsRef<KnownUse>>(
    loose: LooseState,
    uses: &'u [U],
    wanted: Audience<'_>,
) -> Option<&'u U> {
    if loose == LooseState::Open || uses.iter().any(|known| covers(known.as_ref(), wanted)) {
        return None;
    }
    uses.first()
}

/// Of a blob's known uses, the one that forbids showing it to everyone.
pub(crate) fn forbids_opening<U: AsRef<KnownUse>>(uses: &[U]) -> Option<&U> {
    if uses.iter().any(|known| is_for_everyone(known.as_ref())) { None } else { uses.first() }
}

/// Whether everyone in `wanted` may read what `known` may be read by.
fn covers(known: &KnownUse, wanted: Audience<'_>) -> bool {
    let same_product = known.product == *wanted.product;
    let wider_or_same_group = known.group == *wanted.group || known.group == AccessGroup::base();
    same_product && wider_or_same_group || is_for_everyone(known)
}

fn is_for_everyone(known: &KnownUse) -> bool {
    known.access == AccessClass::Open && known.state == ReleaseState::Live && known.group == AccessGroup::base()
}

#[cfg(test)]
mod tests {
    use super::*;
    use AccessClass::{Closed, Licensed, Open};
    use ReleaseState::{Live, Withdrawn};
    use proptest::prelude::*;

    fn known(product: &str, access: AccessClass, state: ReleaseState, group: &str) -> KnownUse {
        KnownUse {
            product: ProductId::new(product).expect("name"),
            access,
            state,
            group: AccessGroup::new(group).expect("name"),
        }
    }

    fn allowed(loose: LooseState, uses: &[KnownUse], product: &str, group: &str) -> bool {
        let (product, group) = (ProductId::new(product).expect("name"), AccessGroup::new(group).expect("name"));
        forbidding_use(loose, uses, Audience { product: &product, group: &group }).is_none()
    }

    #[test]
    fn a_new_audience_must_be_inside_the_old_one() {
        let private = LooseState::Private;
        let cases: [(&str, KnownUse, &str, &str, bool); 10] = [
            ("the same group again", known("game", Licensed, Live, "base"), "game", "base", true),
            ("an add-on reuses the base", known("game", Licensed, Live, "base"), "game", "dlc", true),
            ("the base reuses an add-on", known("game", Licensed, Live, "dlc"), "game", "base", false),
            ("one add-on reuses another", known("game", Licensed, Live, "dlc1"), "game", "dlc2", false),
            ("another product", known("game", Licensed, Live, "base"), "demo", "base", false),
            ("a closed product's content elsewhere", known("secret", Closed, Live, "base"), "game", "base", false),
            ("content of an open product", known("demo", Open, Live, "base"), "game", "base", true),
            ("an open product's restricted group", known("demo", Open, Live, "beta"), "game", "base", false),
            ("an open release that was withdrawn", known("demo", Open, Withdrawn, "base"), "game", "base", false),
            ("its own withdrawn release", known("game", Licensed, Withdrawn, "base"), "game", "base", true),
        ];
        for (name, one, product, group, expected) in cases {
            assert_eq!(allowed(private, &[one], product, group), expected, "{name}");
        }
        assert!(allowed(private, &[], "game", "base"), "nobody was owed it yet");
        let strict = known("secret", Closed, Live, "base");
        assert!(allowed(LooseState::Open, std::slice::from_ref(&strict), "game", "base"), "anyone may read it");
        assert!(allowed(private, &[strict, known("game", Licensed, Live, "base")], "game", "base"), "one use covers");
    }

    /// Somebody who owns products and groups of them; the slow, obvious reading of who may read what.
    #[derive(Debug, Clone)]
    struct Person {
        product: Option<ProductId>,
        groups: Vec<AccessGroup>,
    }

    impl Person {
        fn owns(&self, product: &ProductId, group: &AccessGroup) -> bool {
            self.product.as_ref() == Some(product) && (*group == AccessGroup::base() || self.groups.contains(group))
        }
        fn reads(&self, known: &KnownUse) -> bool {
            is_for_everyone(known) || self.owns(&known.product, &known.group)
        }
    }

    fn people() -> Vec<Person> {
        let groups = ["x", "y"].map(|name| AccessGroup::new(name).expect("name"));
        let mut people = vec![Person { product: None, groups: Vec::new() }];
        for product in ["game", "demo"] {
            for owned in [&groups[..0], &groups[..1], &groups[1..], &groups[..]] {
                let product = Some(ProductId::new(product).expect("name"));
                people.push(Person { product, groups: owned.to_vec() });
            }
        }
        people
    }

    fn any_use() -> impl Strategy<Value = KnownUse> {
        let access = prop_oneof![Just(Open), Just(Licensed), Just(Closed)];
        let state = prop_oneof![Just(Live), Just(Withdrawn)];
        (prop_oneof![Just("game"), Just("demo")], access, state, prop_oneof![Just("base"), Just("x"), Just("y")])
            .prop_map(|(product, access, state, group)| known(product, access, state, group))
    }

    proptest! {
        #[test]
        fn nobody_new_can_read_what_was_allowed(
            uses in proptest::collection::vec(any_use(), 1..4),
            product in prop_oneof![Just("game"), Just("demo")],
            group in prop_oneof![Just("base"), Just("x"), Just("y")],
        ) {
            let (product, group) = (ProductId::new(product).expect("name"), AccessGroup::new(group).expect("name"));
            let wanted = Audience { product: &product, group: &group };
            let allowed = forbidding_use(LooseState::Private, &uses, wanted).is_none();
            let owners: Vec<Person> = people().into_iter().filter(|one| one.owns(&product, &group)).collect();
            if allowed {
                prop_assert!(owners.iter().all(|one| uses.iter().any(|known| one.reads(known))));
            }
            if let [only] = &uses[..] {
                prop_assert_eq!(allowed, owners.iter().all(|one| one.reads(only)));
            }
        }
    }

    #[test]
    fn only_what_everyone_may_read_can_be_opened() {
        assert!(forbids_opening::<KnownUse>(&[]).is_none());
        assert!(forbids_opening(&[known("demo", Open, Live, "base")]).is_none());
        assert!(forbids_opening(&[known("game", Licensed, Live, "base")]).is_some());
        assert!(forbids_opening(&[known("demo", Open, Live, "beta")]).is_some());
    }
}
