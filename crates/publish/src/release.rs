//! A release as signed statements: root, delegation, members. Pure but for nothing: all is given.

use crate::merge::Packs;
use penstock_core::api::SigningAnswer;
use penstock_core::blob::BlobId;
use penstock_core::catalog::BlobMember;
use penstock_core::envelope::Purpose;
use penstock_core::id::{AccessGroup, ProductId};
use penstock_core::keys::{KeyError, TrustSet};
use penstock_core::manifest::{self, Chunker, Component, Expected, ManifestError, Root, VerifiedManifest};
use penstock_core::sign::{SecretKey, seal};
use penstock_core::statement::Delegation;
use penstock_core::time::UnixSeconds;
use std::collections::{BTreeSet, HashSet};

use crate::request::PublishRequest;

/// A component of the release and the packs its chunks lie in.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) component: Component,
    pub(crate) packs: BTreeSet<u32>,
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

/// Every blob of the release and its audience, each once per component that needs it.
pub(crate) fn members(manifest: BlobId, lines: &[Line], packs: &Packs) -> Vec<BlobMember> {
    let mut seen = HashSet::new();
    let mut list = Vec::new();
    let mut add = |blob: BlobId, line: &Line| {
        let member = BlobMember { blob, component: line.component.name.clone(), group: line.component.group.clone() };
        if seen.insert(member.clone()) {
            list.push(member);
        }
    };
    // The first component is of the base's audience: whoever may read anything may read the root.
    if let Some(first) = lines.first() {
        add(manifest, first);
    }
    for line in lines {
        for part in line.component.tree.iter().chain(&line.component.chunks) {
            add(part.blob, line);
        }
        for pack in &line.packs {
            let (blob, group) = packs.get(*pack);
            add(blob, owner(line, group, lines));
        }
    }
    list
}

/// The component to list a pack under: the one that uses it, unless the pack is of a wider audience.
fn owner<'a>(user: &'a Line, group: &AccessGroup, lines: &'a [Line]) -> &'a Line {
    if user.component.group == *group {
        return user;
    }
    lines.iter().find(|line| line.component.group == *group).unwrap_or(user)
}

/// Whether the delegation in force lets the node's channel key alone sign heads.
pub(crate) fn is_delegated(signing: &SigningAnswer) -> bool {
    delegated_keys(signing).is_ok_and(|set| {
        set.is_some_and(|set| set.threshold() == 1 && set.find(signing.channel_key.id()) == Some(&signing.channel_key))
    })
}

/// Signs the delegation that the node needs, one number above the one in force.
///
/// Other nodes' keys in the delegation in force stay, if any one key of it suffices.
pub(crate) fn delegate(
    keys: &[SecretKey],
    product: &ProductId,
    signing: &SigningAnswer,
    issued: UnixSeconds,
) -> Result<Vec<u8>, KeyError> {
    let mut channel_keys = vec![signing.channel_key];
    if let Some(set) = delegated_keys(signing)?.filter(|set| set.threshold() == 1) {
        channel_keys.extend(set.keys().iter().filter(|key| **key != signing.channel_key));
    }
    let delegation = Delegation {
        product: product.clone(),
        keys: TrustSet::new(channel_keys, 1)?,
        sequence: signing.delegation_sequence + 1,
        issued,
        expires: None,
    };
    let keys: Vec<&SecretKey> = keys.iter().collect();
    Ok(seal(Purpose::Delegation, delegation.encode(), &keys).encode())
}

fn delegated_keys(signing: &SigningAnswer) -> Result<Option<TrustSet>, KeyError> {
    if signing.delegated.is_empty() { Ok(None) } else { signing.delegated.parse().map(Some) }
}
