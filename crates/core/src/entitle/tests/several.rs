//! Content that several releases share.

use super::*;

#[test]
fn of_several_uses_one_that_allows_is_enough_and_the_best_refusal_is_told() {
    let (open, licensed, closed) = (
        product("demo", AccessClass::Open),
        product("game", AccessClass::Licensed),
        product("secret", AccessClass::Closed),
    );
    let (platform, component, group, channels) =
        (Platform::any(), ComponentName::base(), AccessGroup::base(), BTreeSet::new());
    let one = |product, state| BlobUse {
        product: Some(product),
        platform: &platform,
        component: &component,
        group: &group,
        channels: &channels,
        registered: UnixSeconds(1),
        state,
        whole: true,
    };
    let embargo = Embargo::default();
    let place = Whereabouts::Known(None);
    let scene = Scene { now: NOW, place, embargo: &embargo, freshness: Freshness::CURRENT };
    let decide = |uses: &[BlobUse<'_>]| match decide_blob(
        BlobId::of(b"x"),
        false,
        uses.iter().copied(),
        Caller::Nobody,
        &scene,
        &mut Silent,
    ) {
        Verdict::Allow(_) => None,
        Verdict::Refuse(refusal) => Some(refusal),
    };
    use ReleaseState::{Live, Withdrawn};
    assert_eq!(decide(&[one(&closed, Live), one(&open, Live)]), None);
    assert_eq!(decide(&[one(&open, Withdrawn), one(&open, Live)]), None, "content shared with a live release stays");
    assert_eq!(decide(&[one(&open, Withdrawn), one(&licensed, Live)]), Some(Refusal::TokenRequired));
    assert_eq!(decide(&[one(&closed, Live), one(&open, Withdrawn)]), Some(Refusal::Withdrawn));
    assert_eq!(decide(&[one(&closed, Live)]), Some(Refusal::Unknown));
    assert_eq!(decide(&[BlobUse { product: None, ..one(&open, Live) }]), Some(Refusal::Unknown), "not told of yet");
    assert_eq!(decide(&[]), Some(Refusal::Unknown));
    assert!(matches!(
        decide_blob(BlobId::of(b"x"), true, [], Caller::Nobody, &scene, &mut Silent),
        Verdict::Allow(grant) if grant.visibility() == Visibility::Public
    ));
    assert_eq!(decide_product(None, Caller::Nobody, &scene, &mut Silent), Verdict::Refuse(Refusal::Unknown));
}
