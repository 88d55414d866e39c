//! Who may mint what for whom: a table of the refusals, and that nothing wider ever comes out.

use super::*;
use proptest::prelude::*;

fn account(text: &str) -> AccountId {
    text.parse().expect("a name")
}

fn product(text: &str) -> ProductId {
    ProductId::new(text).expect("a name")
}

fn wish(products: &[&str], ttl_seconds: u64) -> MintToken {
    MintToken {
        sub: "acme/jane".to_owned(),
        products: products.iter().map(|name| product(name)).collect(),
        ttl_seconds,
    }
}

fn facts(change: impl FnOnce(&mut Bearer)) -> Facts {
    let mut bearer = Bearer {
        standing: Standing::Active,
        company: Some(account("acme")),
        seller: Some(account("shop")),
        products: [product("game"), product("tools")].into(),
    };
    change(&mut bearer);
    Facts { party: Standing::Active, bearer: Some(bearer) }
}

#[test]
fn each_refusal_has_its_reason() {
    let company = Party::Company(account("acme"));
    let bearer = || "acme/jane".to_owned();
    let not_yours = |party: &str| MintRefusal::NotYours { party: account(party), bearer: bearer() };
    let suspended = |facts: Facts| Facts { party: Standing::Suspended, ..facts };
    let all = DELEGATED_LIFE_SECONDS_MAX;
    for (party, wish, facts, refusal) in [
        (&company, wish(&[], 60), suspended(facts(|_| ())), MintRefusal::PartyNotActive(account("acme"))),
        (&company, wish(&[], 60), Facts { party: Standing::Active, bearer: None }, not_yours("acme")),
        (&company, wish(&[], 60), facts(|bearer| bearer.company = None), not_yours("acme")),
        (&company, wish(&[], 60), facts(|bearer| bearer.company = Some(account("other"))), not_yours("acme")),
        (&Party::Reseller(account("acme")), wish(&[], 60), facts(|_| ()), not_yours("acme")),
        (&Party::Company(account("shop")), wish(&[], 60), facts(|_| ()), not_yours("shop")),
        (
            &company,
            wish(&[], 60),
            facts(|bearer| bearer.standing = Standing::OnHold),
            MintRefusal::BearerNotActive(bearer()),
        ),
        (&company, wish(&[], 0), facts(|_| ()), MintRefusal::Life(0)),
        (&company, wish(&[], all + 1), facts(|_| ()), MintRefusal::Life(all + 1)),
        (&company, wish(&[], 60), facts(|bearer| bearer.products.clear()), MintRefusal::HoldsNothing(bearer())),
        (
            &company,
            wish(&["game", "else"], 60),
            facts(|_| ()),
            MintRefusal::Product { bearer: bearer(), product: product("else") },
        ),
        (
            &company,
            wish(&[], 60),
            facts(|bearer| bearer.products = (0..=TOKEN_PRODUCTS_MAX).map(|n| product(&format!("p{n}"))).collect()),
            MintRefusal::TooMany(TOKEN_PRODUCTS_MAX + 1),
        ),
    ] {
        assert_eq!(delegated(party, &wish, &facts), Err(refusal), "{party:?} {wish:?}");
    }
}

#[test]
fn what_is_named_is_kept_and_nothing_named_is_all_that_was_given() {
    for party in [Party::Company(account("acme")), Party::Reseller(account("shop"))] {
        let minted = |products: &[&str]| {
            let narrowed = delegated(&party, &wish(products, DELEGATED_LIFE_SECONDS_MAX), &facts(|_| ()));
            narrowed.expect("minted").content().clone()
        };
        assert_eq!(minted(&["tools"]).products, [product("tools")]);
        assert_eq!(minted(&["tools", "tools"]).products, [product("tools")]);
        assert_eq!(minted(&[]).products, [product("game"), product("tools")]);
    }
    let wide = wish(&[], u64::MAX);
    let nobody = Facts { party: Standing::Active, bearer: None };
    assert_eq!(delegated(&Party::Studio, &wide, &nobody).expect("as wished").content(), &wide);
}

#[test]
fn a_party_takes_in_only_what_has_its_name_and_nothing_of_others() {
    let company = Party::Company(account("acme"));
    let name = |text: &str| NotYours::Name { party: account("acme"), name: account(text) };
    for other in ["jane", "acme", "acme/", "acmes/jane", "other/acme/jane", "/acme/jane"] {
        for holds_more in [false, true] {
            assert_eq!(company.takes_in(&account(other), holds_more), Err(name(other)));
        }
    }
    assert_eq!(company.takes_in(&account("acme/jane"), false), Ok(()));
    assert_eq!(company.takes_in(&account("acme/jane"), true), Err(NotYours::HoldsMore(account("acme/jane"))));
    assert_eq!(Party::Studio.takes_in(&account("jane"), true), Ok(()));
}

#[test]
fn each_party_acts_for_itself_only() {
    let (acme, shop) = (account("acme"), account("shop"));
    for (party, runs, sells) in [
        (Party::Studio, true, true),
        (Party::Company(acme.clone()), true, false),
        (Party::Reseller(acme.clone()), false, true),
        (Party::Company(shop.clone()), false, false),
        (Party::Reseller(shop), false, false),
    ] {
        assert_eq!((party.runs(&acme).is_ok(), party.sells(&acme).is_ok()), (runs, sells), "{party:?}");
    }
}

fn some_account() -> impl Strategy<Value = Option<AccountId>> {
    prop_oneof![Just(None), Just(Some(account("acme"))), Just(Some(account("shop")))]
}

fn some_products() -> impl Strategy<Value = Vec<ProductId>> {
    proptest::collection::vec((0..6_u8).prop_map(|n| product(&format!("p{n}"))), 0..5)
}

fn some_standing() -> impl Strategy<Value = Standing> {
    prop_oneof![4 => Just(Standing::Active), 1 => Just(Standing::Suspended), 1 => Just(Standing::Denied)]
}

proptest! {
    #[test]
    fn whatever_is_minted_is_within_what_its_maker_may_give(
        is_company: bool,
        own in prop_oneof![Just(account("acme")), Just(account("shop"))],
        wanted in some_products(),
        held in some_products(),
        ttl_seconds in 0..2 * DELEGATED_LIFE_SECONDS_MAX,
        (company, seller) in (some_account(), some_account()),
        (party_standing, standing) in (some_standing(), some_standing()),
        is_there: bool,
    ) {
        let party = if is_company { Party::Company(own.clone()) } else { Party::Reseller(own.clone()) };
        let held: BTreeSet<ProductId> = held.into_iter().collect();
        let bearer = Bearer { standing, company: company.clone(), seller: seller.clone(), products: held.clone() };
        let facts = Facts { party: party_standing, bearer: is_there.then_some(bearer) };
        let wish = MintToken { sub: "x".to_owned(), products: wanted.clone(), ttl_seconds };
        if let Ok(narrowed) = delegated(&party, &wish, &facts) {
            let minted = narrowed.content();
            prop_assert!(is_there && party_standing == Standing::Active && standing == Standing::Active);
            prop_assert_eq!(if is_company { company } else { seller }, Some(own));
            prop_assert_eq!(&minted.sub, &wish.sub);
            prop_assert!(!minted.products.is_empty(), "a token without products reaches everything");
            prop_assert!(minted.products.iter().all(|product| held.contains(product)));
            prop_assert!(wanted.is_empty() || minted.products.iter().all(|product| wanted.contains(product)));
            prop_assert!(minted.ttl_seconds == ttl_seconds && ttl_seconds <= DELEGATED_LIFE_SECONDS_MAX);
        }
    }
}
