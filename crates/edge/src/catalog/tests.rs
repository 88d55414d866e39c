//! Tests of the catalogue: every change, every lookup.

use super::*;
use penstock_core::catalog::BlobMember;
use penstock_core::channel::Choice;
use penstock_core::entitle::{Caller, Scene, Silent, Verdict, decide_blob};
use penstock_core::grace::Freshness;
use penstock_core::id::{AccessGroup, ComponentName};
use penstock_core::place::{Embargo, Whereabouts};
use penstock_core::time::UnixSeconds;

fn product(id: &str, access: AccessClass) -> CatalogChange {
    let id = ProductId::new(id).expect("name");
    CatalogChange::Product(Product { title: id.to_string(), id, access, export_class: String::new() })
}

fn release(product: &str, version: &str, platform: &str, state: ReleaseState, blobs: &[BlobId]) -> CatalogChange {
    let member = |blob: &BlobId| BlobMember {
        blob: *blob,
        component: ComponentName::base(),
        group: AccessGroup::base(),
        whole: true,
    };
    CatalogChange::Release {
        release: Release {
            product: ProductId::new(product).expect("name"),
            platform: Platform::new(platform).expect("name"),
            version: Version::new(version).expect("name"),
            manifest: blobs[0],
            manifest_bytes: 1,
            content_bytes: 1,
            entry_count: 1,
            registered: UnixSeconds(1),
            state,
        },
        members: blobs.iter().map(member).collect(),
        channels: BTreeSet::new(),
    }
}

fn offer(product: &str, channel: &str, platform: &str, version: &str) -> CatalogChange {
    CatalogChange::Offer(Offer {
        product: ProductId::new(product).expect("name"),
        platform: Platform::new(platform).expect("name"),
        channel: ChannelName::new(channel).expect("name"),
        sequence: 1,
        version: Version::new(version).expect("name"),
        manifest: BlobId::of(b"m"),
        manifest_bytes: 1,
        fallback: None,
        head: vec![1],
        delegation: vec![2],
        rotations: Vec::new(),
    })
}

fn is_readable(catalog: &EdgeCatalog, blob: &BlobId) -> bool {
    let (embargo, place) = (Embargo::default(), Whereabouts::Known(None));
    let scene = Scene { now: UnixSeconds(1), place, embargo: &embargo, freshness: Freshness::CURRENT };
    let verdict =
        catalog.with_blob(blob, |open, uses| decide_blob(*blob, open, uses, Caller::Nobody, &scene, &mut Silent));
    matches!(verdict, Verdict::Allow(_))
}

/// Component, group and channels of each use, and whether the blob lies open.
fn uses(catalog: &EdgeCatalog, blob: &BlobId) -> (bool, Vec<String>) {
    catalog.with_blob(blob, |open, uses| {
        let told = |one: BlobUse<'_>| format!("{} {} {:?}", one.component, one.group, one.channels);
        (open, uses.map(told).collect())
    })
}

#[test]
fn a_blob_follows_its_releases() {
    let catalog = EdgeCatalog::default();
    let (one, two, shared) = (BlobId::of(b"1"), BlobId::of(b"2"), BlobId::of(b"s"));
    catalog.apply(release("game", "1", "any", ReleaseState::Live, &[one, shared]));
    assert!(!is_readable(&catalog, &shared), "its product is not known yet");
    catalog.apply(product("game", AccessClass::Open));
    catalog.apply(release("game", "2", "any", ReleaseState::Live, &[two, shared]));
    assert!([one, two, shared].iter().all(|blob| is_readable(&catalog, blob)));
    catalog.apply(release("game", "2", "any", ReleaseState::Withdrawn, &[two, shared]));
    catalog.apply(release("game", "2", "any", ReleaseState::Withdrawn, &[two, shared]));
    assert!(is_readable(&catalog, &shared) && !is_readable(&catalog, &two));
    catalog.apply(product("game", AccessClass::Closed));
    assert!(![one, two, shared].iter().any(|blob| is_readable(&catalog, blob)));
    assert_eq!(uses(&catalog, &BlobId::of(b"?")), (false, Vec::new()));
    assert_eq!(catalog.counts(), Counts { products: 1, releases: 2, offers: 0, blobs: 3 });
}

/// A client that was given the first key can only believe a later release when it is told of the rotations.
#[test]
fn releases_carry_the_rotations_that_an_offer_told_of() {
    let catalog = EdgeCatalog::default();
    let (game, one) = (ProductId::new("game").expect("name"), Version::new("1").expect("name"));
    let rotations = |version: &Version| {
        let Found::One(document) = catalog.release(&game, version, None) else { panic!("there is one") };
        serde_json::from_slice::<ReleaseAnswer>(&document.json).expect("an answer").rotations
    };
    catalog.apply(release("game", "1", "any", ReleaseState::Live, &[BlobId::of(b"1")]));
    assert_eq!(rotations(&one), Vec::<Vec<u8>>::new());
    let CatalogChange::Offer(mut told) = offer("game", "stable", "any", "1") else { panic!("an offer") };
    told.rotations = vec![b"first".to_vec()];
    catalog.apply(CatalogChange::Offer(told));
    assert_eq!(rotations(&one), [b"first".to_vec()]);
    catalog.apply(release("game", "2", "any", ReleaseState::Live, &[BlobId::of(b"2")]));
    assert_eq!(rotations(&Version::new("2").expect("name")), [b"first".to_vec()]);
    catalog.apply(offer("game", "beta", "any", "1"));
    assert_eq!(rotations(&one), [b"first".to_vec()], "an older offer takes nothing back");
}

#[test]
fn a_release_registered_anew_lets_go_of_its_old_blobs() {
    let catalog = EdgeCatalog::default();
    let (old, new) = (BlobId::of(b"old"), BlobId::of(b"new"));
    catalog.apply(product("game", AccessClass::Open));
    catalog.apply(release("game", "1", "any", ReleaseState::Live, &[old]));
    catalog.apply(release("game", "1", "any", ReleaseState::Live, &[new]));
    assert_eq!(uses(&catalog, &old), (false, Vec::new()));
    assert!(is_readable(&catalog, &new));
}

#[test]
fn loose_blobs_come_and_go() {
    let catalog = EdgeCatalog::default();
    let blob = BlobId::of(b"x");
    catalog.apply(CatalogChange::LooseBlob { blob, open: false });
    assert!(!is_readable(&catalog, &blob) && catalog.counts().blobs == 1);
    catalog.apply(CatalogChange::LooseBlob { blob, open: true });
    assert!(is_readable(&catalog, &blob));
    catalog.apply(CatalogChange::LooseBlobGone { blob });
    assert_eq!(uses(&catalog, &blob), (false, Vec::new()));
    assert_eq!(catalog.counts().blobs, 0);
}

#[test]
fn platforms_are_chosen() {
    let catalog = EdgeCatalog::default();
    let (game, stable) = (ProductId::new("game").expect("name"), ChannelName::new("stable").expect("name"));
    let version = |found: Found<Document>| match found {
        Found::One(document) => {
            let offer: Offer = serde_json::from_slice(&document.json).expect("an offer");
            offer.version.to_string()
        }
        other => format!("{other:?}"),
    };
    let linux = Platform::new("linux").expect("name");
    let asked = |platform: Option<&Platform>| match catalog.offered(&game, &stable, platform, None) {
        Found::One(offered) => version(offered.answer(Choice::Everybody)),
        Found::Unknown => version(Found::Unknown),
        Found::Withdrawn => version(Found::Withdrawn),
        Found::NamePlatform(platforms) => version(Found::NamePlatform(platforms)),
    };
    assert_eq!(asked(None), "Unknown");
    catalog.apply(product("game", AccessClass::Open));
    catalog.apply(offer("game", "stable", "windows", "1-windows"));
    assert_eq!(asked(None), "1-windows", "the only one there is");
    assert_eq!(asked(Some(&linux)), "Unknown", "never another than the one asked for");
    catalog.apply(offer("game", "stable", "linux", "1-linux"));
    assert_eq!(asked(None), "NamePlatform([\"linux\", \"windows\"])");
    assert_eq!(asked(Some(&linux)), "1-linux");
    catalog.apply(offer("game", "stable", "any", "1-any"));
    assert_eq!(asked(None), "1-any");
    catalog.apply(release("game", "1-linux", "linux", ReleaseState::Withdrawn, &[BlobId::of(b"m")]));
    assert_eq!(asked(Some(&linux)), "Withdrawn");
}

#[test]
fn the_listing_holds_open_products_by_name() {
    let catalog = EdgeCatalog::default();
    assert_eq!(catalog.listing().json, r#"{"products":[]}"#);
    catalog.apply(product("b", AccessClass::Open));
    catalog.apply(product("a", AccessClass::Open));
    catalog.apply(product("c", AccessClass::Licensed));
    let listing: CatalogAnswer = serde_json::from_slice(&catalog.listing().json).expect("a listing");
    let ids: Vec<_> = listing.products.iter().map(|product| product.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    catalog.apply(product("a", AccessClass::Closed));
    assert!(!String::from_utf8_lossy(&catalog.listing().json).contains("\"a\""));
}

#[test]
fn a_use_knows_its_component_its_group_and_every_channel_that_ever_offered_it() {
    let catalog = EdgeCatalog::default();
    let (one, two) = (BlobId::of(b"1"), BlobId::of(b"2"));
    let with = |state| {
        let CatalogChange::Release { release, mut members, channels } = release("game", "1", "any", state, &[one, two])
        else {
            panic!("a release")
        };
        members[1].component = ComponentName::new("hires").expect("name");
        members[1].group = AccessGroup::new("dlc").expect("name");
        CatalogChange::Release { release, members, channels }
    };
    // The offer may come before or after the release, and a later offer takes nothing back.
    catalog.apply(offer("game", "beta", "any", "1"));
    catalog.apply(with(ReleaseState::Live));
    catalog.apply(offer("game", "stable", "any", "1"));
    catalog.apply(offer("game", "beta", "any", "2"));
    for state in [ReleaseState::Live, ReleaseState::Withdrawn] {
        catalog.apply(with(state));
        assert_eq!(uses(&catalog, &one), (false, vec!["base base {\"beta\", \"stable\"}".to_owned()]));
        assert_eq!(uses(&catalog, &two), (false, vec!["hires dlc {\"beta\", \"stable\"}".to_owned()]));
    }
}
