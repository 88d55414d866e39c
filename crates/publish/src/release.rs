//! A release as signed statements: root, delegation, members. Pure but for nothing: all is given.

use penstock_core::api::SigningAnswer;
use penstock_core::blob::BlobId;
use penstock_core::catalog::BlobMember;
use penstock_core::envelope::Purpose;
use penstock_core::id::ProductId;
use penstock_core::keys::{KeyError, TrustSet};
use penstock_core::manifest::{self, Chunker, Component, Expected, ManifestError, Root, VerifiedManifest};
use penstock_core::sign::{SecretKey, seal};
use penstock_core::statement::Delegation;
use penstock_core::time::UnixSeconds;
use std::collections::{BTreeMap, BTreeSet};

use crate::request::{OtherKeys, PublishRequest};

/// A delegation that ends within this is signed anew: 30 days, twice the life of a head.
const DELEGATION_RENEW_SECONDS: u64 = 30 * 24 * 3600;

/// A component of the release and the packs its chunks lie in.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) component: Component,
    pub(crate) packs: BTreeSet<BlobId>,
}

/// The signed manifest, believed by the client's own function.
#[derive(Debug)]
pub(crate) struct SignedManifest {
    pub(crate) bytes: Vec<u8>,
    pub(crate) verified: VerifiedManifest,
}

/// Signs the root and verifies it at once, as a client would.
pub(crate) fn sign(
    request: &PublishRequest,
    publisher: &TrustSet,
    lines: &[Line],
    chunker: Chunker,
) -> Result<SignedManifest, ManifestError> {
    let root = Root {
        product: request.product.clone(),
        platform: request.platform.clone(),
        version: request.version.clone(),
        created: request.created,
        chunker,
        components: lines.iter().map(|line| line.component.clone()).collect(),
    };
    let keys: Vec<&SecretKey> = request.keys.iter().collect();
    let bytes = seal(Purpose::Manifest, root.encode(), &keys).encode();
    let expected = Expected {
        id: BlobId::of(&bytes),
        product: &request.product,
        platform: &request.platform,
        version: &request.version,
    };
    let verified = manifest::verify(&bytes, publisher, &expected)?;
    Ok(SignedManifest { bytes, verified })
}

/// Every blob of the release and the one audience that it is listed for.
///
/// The first component is the base: whoever may read anything may read the root. A part is its component's. A pack is
/// that of the only component whose chunks lie in it; one that several refer to is the base's, since no two others share.
///
/// `shared` are packs of earlier releases that this one uses a part of; whatever else it has was made of its own content.
pub(crate) fn members(manifest: BlobId, lines: &[Line], shared: &BTreeSet<BlobId>) -> Vec<BlobMember> {
    let mut owners: BTreeMap<BlobId, usize> = BTreeMap::new();
    for (index, line) in lines.iter().enumerate() {
        for pack in &line.packs {
            owners.entry(*pack).and_modify(|owner| *owner = 0).or_insert(index);
        }
        for part in line.component.tree.iter().chain(&line.component.chunks) {
            owners.insert(part.blob, index);
        }
    }
    owners.insert(manifest, 0);
    let member = |(blob, owner): (BlobId, usize)| {
        let Component { name, group, .. } = &lines[owner].component;
        BlobMember { blob, component: name.clone(), group: group.clone(), whole: !shared.contains(&blob) }
    };
    owners.into_iter().map(member).collect()
}

/// The delegation to register with: signed anew only if the one in force does not do, else empty,
/// which leaves it. So publishes that run beside each other need not sign, and cannot collide.
///
/// One that does lets the node's present key alone sign, names no key that is to be dropped, and
/// does not end within [`DELEGATION_RENEW_SECONDS`] of `now`.
pub(crate) fn delegate(
    keys: &[SecretKey],
    product: &ProductId,
    signing: &SigningAnswer,
    others: OtherKeys,
    now: UnixSeconds,
) -> Result<Vec<u8>, KeyError> {
    let in_force = delegated_keys(signing)?;
    let mut wanted = vec![signing.channel_key];
    if let (OtherKeys::Keep, Some(set)) = (others, in_force.as_ref().filter(|set| set.threshold() == 1)) {
        wanted.extend(set.keys().iter().filter(|key| **key != signing.channel_key));
    }
    let wanted = TrustSet::new(wanted, 1)?;
    let lasts = signing.delegation_expires.is_none_or(|at| at > now.plus(DELEGATION_RENEW_SECONDS));
    if lasts && in_force.as_ref() == Some(&wanted) {
        return Ok(Vec::new());
    }
    let delegation = Delegation {
        product: product.clone(),
        keys: wanted,
        // A number past the last is refused by the node, in words.
        sequence: signing.delegation_sequence.saturating_add(1),
        issued: now,
        expires: None,
    };
    let keys: Vec<&SecretKey> = keys.iter().collect();
    Ok(seal(Purpose::Delegation, delegation.encode(), &keys).encode())
}

fn delegated_keys(signing: &SigningAnswer) -> Result<Option<TrustSet>, KeyError> {
    if signing.delegated.is_empty() { Ok(None) } else { signing.delegated.parse().map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_000_000);

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    /// What a node with channel key 2 says when these keys are delegated.
    fn signing(delegated: &[u8], expires: Option<UnixSeconds>) -> SigningAnswer {
        let keys: Vec<_> = delegated.iter().map(|seed| key(*seed).public()).collect();
        let set = (!keys.is_empty()).then(|| TrustSet::new(keys, 1).expect("set").to_string());
        SigningAnswer {
            channel_key: key(2).public(),
            delegation_sequence: 5,
            delegated: set.unwrap_or_default(),
            delegation_expires: expires,
            publisher: String::new(),
        }
    }

    /// The keys of the delegation that a publish signs; `None` when it leaves the one in force.
    fn signed(signing: &SigningAnswer, others: OtherKeys) -> Option<TrustSet> {
        let product = ProductId::new("game").expect("name");
        let envelope = delegate(&[key(1)], &product, signing, others, NOW).expect("keys");
        if envelope.is_empty() {
            return None;
        }
        let trust = TrustSet::single(key(1).public());
        let delegation = penstock_core::trust::verify_delegation(&trust, &envelope, &product).expect("signed");
        assert_eq!(delegation.sequence, 6);
        Some(delegation.keys)
    }

    fn set(seeds: &[u8]) -> Option<TrustSet> {
        Some(TrustSet::new(seeds.iter().map(|seed| key(*seed).public()).collect(), 1).expect("set"))
    }

    #[test]
    fn a_key_that_the_node_no_longer_has_leaves_unless_it_is_to_be_kept() {
        assert_eq!(signed(&signing(&[], None), OtherKeys::Drop), set(&[2]));
        assert_eq!(signed(&signing(&[9], None), OtherKeys::Drop), set(&[2]), "the node's key is new");
        assert_eq!(signed(&signing(&[2, 9], None), OtherKeys::Drop), set(&[2]), "nobody said what key 9 is");
        assert_eq!(signed(&signing(&[9], None), OtherKeys::Keep), set(&[2, 9]));
        assert_eq!(signed(&signing(&[2, 9], None), OtherKeys::Keep), None);
    }

    #[test]
    fn a_delegation_that_does_is_left_alone() {
        assert_eq!(signed(&signing(&[2], None), OtherKeys::Drop), None);
        let soon = NOW.plus(DELEGATION_RENEW_SECONDS);
        assert_eq!(signed(&signing(&[2], Some(soon)), OtherKeys::Drop), set(&[2]), "it ends soon");
        assert_eq!(signed(&signing(&[2], Some(soon.plus(1))), OtherKeys::Drop), None);
        let mut two = signing(&[2, 9], None);
        two.delegated = two.delegated.replace("1-of", "2-of");
        assert_eq!(signed(&two, OtherKeys::Keep), set(&[2]), "the node could not sign alone");
    }
}
