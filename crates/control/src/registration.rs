//! Is a release what its registration says? The checks that need no database: pure.

use penstock_core::api::RegisterRelease;
use penstock_core::blob::BlobId;
use penstock_core::catalog::BlobMember;
use penstock_core::id::{AccessGroup, ComponentName, ProductId};
use penstock_core::keys::{KeyError, TrustSet};
use penstock_core::manifest::{self, Expected, ManifestError, Root, VerifiedManifest};
use std::collections::{BTreeMap, BTreeSet};

/// Why a registration is refused, the record aside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// `publisher` is not a set of keys.
    #[error("publisher is not a set of public keys")]
    PublisherText(#[source] KeyError),
    /// The product belongs to another publisher.
    #[error(
        "the product is pinned to the publisher {pinned}, this release is by {given}: use that key, or post a rotation first"
    )]
    Publisher {
        /// In force since the first release or the last rotation.
        pinned: String,
        /// Named by the registration.
        given: String,
    },
    /// The manifest does not hold.
    #[error("the manifest {blob} is refused")]
    Manifest {
        /// Its blob.
        blob: BlobId,
        /// Why.
        source: ManifestError,
    },
    /// The manifest is not listed as one of the release's blobs.
    #[error("members must list the manifest {0} itself")]
    ManifestNotMember(BlobId),
    /// A part named by the root is not listed.
    #[error("members must list the part {blob} of component {component}")]
    PartNotMember {
        /// The part's blob.
        blob: BlobId,
        /// The component that needs it.
        component: ComponentName,
    },
    /// A member is listed for an audience that the signed root does not give its component.
    #[error("blob {blob} is listed under component {component} and access group {group}; the manifest says {expected}")]
    Group {
        /// The blob.
        blob: BlobId,
        /// Its component.
        component: ComponentName,
        /// The group listed.
        group: AccessGroup,
        /// The group of that component in the root.
        expected: AccessGroup,
    },
    /// A member is listed for a group that the root does not have.
    #[error("blob {blob} is listed under access group {group}, which the manifest does not have")]
    UnknownGroup {
        /// The blob.
        blob: BlobId,
        /// The group listed.
        group: AccessGroup,
    },
    /// One blob, two audiences.
    #[error("blob {blob} is listed under the access groups {one} and {other}: a blob belongs to one")]
    TwoGroups {
        /// The blob.
        blob: BlobId,
        /// The first group listed.
        one: AccessGroup,
        /// The second.
        other: AccessGroup,
    },
}

/// Reads the publisher's keys, and holds them against the pinned ones when there are any.
pub(crate) fn check_publisher(text: &str, pinned: Option<&TrustSet>) -> Result<TrustSet, RegistrationError> {
    let given: TrustSet = text.parse().map_err(RegistrationError::PublisherText)?;
    match pinned {
        Some(pinned) if *pinned != given => {
            Err(RegistrationError::Publisher { pinned: pinned.to_string(), given: given.to_string() })
        }
        _ => Ok(given),
    }
}

/// Checks the manifest's bytes against the publisher's keys and the registration's names.
pub(crate) fn check_manifest(
    product: &ProductId,
    request: &RegisterRelease,
    bytes: &[u8],
    trust: &TrustSet,
) -> Result<VerifiedManifest, RegistrationError> {
    let expected = Expected { id: request.manifest, product, platform: &request.platform, version: &request.version };
    manifest::verify(bytes, trust, &expected)
        .map_err(|source| RegistrationError::Manifest { blob: request.manifest, source })
}

/// Checks the list of blobs against the signed root; returns it sorted and without repetitions.
///
/// The root names its parts, so those must be listed under its own components and groups. Which
/// packs hold the content stands inside the parts, which control does not read; their audience is
/// at least held against the groups that the root knows.
pub(crate) fn check_members(
    root: &Root,
    manifest: BlobId,
    members: &[BlobMember],
) -> Result<Vec<BlobMember>, RegistrationError> {
    let groups: BTreeMap<&ComponentName, &AccessGroup> = root.components.iter().map(|c| (&c.name, &c.group)).collect();
    let base = AccessGroup::base();
    let mut known_groups: BTreeSet<&AccessGroup> = groups.values().copied().collect();
    known_groups.insert(&base);
    let mut group_of: BTreeMap<BlobId, &AccessGroup> = BTreeMap::new();
    for member in members {
        if member.blob != manifest {
            check_group(member, groups.get(&member.component).copied(), &known_groups)?;
        } else if !known_groups.contains(&member.group) {
            return Err(unknown_group(member));
        }
        let first = *group_of.entry(member.blob).or_insert(&member.group);
        if *first != member.group {
            let (one, other) = (first.clone(), member.group.clone());
            return Err(RegistrationError::TwoGroups { blob: member.blob, one, other });
        }
    }
    if !group_of.contains_key(&manifest) {
        return Err(RegistrationError::ManifestNotMember(manifest));
    }
    for component in &root.components {
        for part in component.tree.iter().chain(&component.chunks) {
            check_part(part.blob, &component.name, &component.group, &group_of)?;
        }
    }
    let mut sorted = members.to_vec();
    sorted.sort_by(|a, b| (&a.blob, &a.component).cmp(&(&b.blob, &b.component)));
    sorted.dedup();
    Ok(sorted)
}

fn check_group(
    member: &BlobMember,
    expected: Option<&AccessGroup>,
    known: &BTreeSet<&AccessGroup>,
) -> Result<(), RegistrationError> {
    match expected {
        // A pack of an earlier release may carry the name of a component that is no more.
        None if known.contains(&member.group) => Ok(()),
        None => Err(unknown_group(member)),
        Some(expected) if *expected == member.group => Ok(()),
        Some(expected) => Err(RegistrationError::Group {
            blob: member.blob,
            component: member.component.clone(),
            group: member.group.clone(),
            expected: expected.clone(),
        }),
    }
}

fn check_part(
    blob: BlobId,
    component: &ComponentName,
    group: &AccessGroup,
    group_of: &BTreeMap<BlobId, &AccessGroup>,
) -> Result<(), RegistrationError> {
    match group_of.get(&blob) {
        None => Err(RegistrationError::PartNotMember { blob, component: component.clone() }),
        Some(listed) if *listed == group => Ok(()),
        Some(listed) => Err(RegistrationError::Group {
            blob,
            component: component.clone(),
            group: (*listed).clone(),
            expected: group.clone(),
        }),
    }
}

fn unknown_group(member: &BlobMember) -> RegistrationError {
    RegistrationError::UnknownGroup { blob: member.blob, group: member.group.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::id::{Platform, Version};
    use penstock_core::manifest::{Chunker, Component, PartRef};
    use penstock_core::sign::SecretKey;
    use penstock_core::time::UnixSeconds;

    fn component(name: &str, group: &str) -> Component {
        let part = |kind: &str| PartRef {
            blob: BlobId::of(format!("{name} {kind}").as_bytes()),
            stored_bytes: 10,
            content_bytes: 20,
            items: 1,
        };
        Component {
            name: ComponentName::new(name).expect("name"),
            group: AccessGroup::new(group).expect("name"),
            optional: name != "base",
            tree: vec![part("tree")],
            chunks: vec![part("chunks")],
            entry_count: 1,
            content_bytes: 100,
            chunk_count: 1,
        }
    }

    fn root() -> Root {
        Root {
            product: ProductId::new("game").expect("name"),
            platform: Platform::any(),
            version: Version::new("1").expect("name"),
            created: UnixSeconds(5),
            chunker: Chunker::default(),
            components: vec![component("base", "base"), component("dlc", "owners")],
        }
    }

    fn member(name: &str, component: &str, group: &str) -> BlobMember {
        BlobMember {
            blob: BlobId::of(name.as_bytes()),
            component: ComponentName::new(component).expect("name"),
            group: AccessGroup::new(group).expect("name"),
        }
    }

    fn members() -> Vec<BlobMember> {
        vec![
            member("manifest", "base", "base"),
            member("base tree", "base", "base"),
            member("base chunks", "base", "base"),
            member("base pack", "base", "base"),
            member("dlc tree", "dlc", "owners"),
            member("dlc chunks", "dlc", "owners"),
            member("dlc pack", "dlc", "owners"),
        ]
    }

    fn check(members: &[BlobMember]) -> Result<Vec<BlobMember>, RegistrationError> {
        check_members(&root(), BlobId::of(b"manifest"), members)
    }

    #[test]
    fn a_good_list_is_sorted_and_loses_repetitions_only() {
        let mut list = members();
        list.push(list[3].clone());
        let checked = check(&list).expect("good");
        assert_eq!(checked.len(), members().len());
        assert!(checked.windows(2).all(|pair| pair[0].blob <= pair[1].blob));
        let mut old = members();
        old.push(member("old pack", "removed-component", "base"));
        assert!(check(&old).is_ok(), "a pack of an earlier release keeps its component's name");
    }

    #[test]
    fn each_wrong_list_has_its_own_refusal() {
        type Case = (&'static str, fn(&mut Vec<BlobMember>), fn(&RegistrationError) -> bool);
        let cases: [Case; 6] = [
            ("no manifest", |m| drop(m.remove(0)), |e| matches!(e, RegistrationError::ManifestNotMember(_))),
            ("no part", |m| drop(m.remove(5)), |e| matches!(e, RegistrationError::PartNotMember { .. })),
            (
                "pack of the add-on for all",
                |m| m[6] = member("dlc pack", "dlc", "base"),
                |e| matches!(e, RegistrationError::Group { .. }),
            ),
            (
                "part of the add-on for all",
                |m| m[4] = member("dlc tree", "base", "base"),
                |e| matches!(e, RegistrationError::Group { .. }),
            ),
            (
                "a group of nobody",
                |m| m.push(member("x", "other", "strangers")),
                |e| matches!(e, RegistrationError::UnknownGroup { .. }),
            ),
            (
                "two audiences",
                |m| m.push(member("base pack", "dlc", "owners")),
                |e| matches!(e, RegistrationError::TwoGroups { .. }),
            ),
        ];
        for (name, spoil, expected) in cases {
            let mut list = members();
            spoil(&mut list);
            let error = check(&list).expect_err(name);
            assert!(expected(&error), "{name}: {error:?}");
        }
    }

    #[test]
    fn a_pinned_publisher_is_not_replaced_by_a_release() {
        let (a, b) = (SecretKey::from_seed(&[1; 32]).public(), SecretKey::from_seed(&[2; 32]).public());
        let pinned = TrustSet::single(a);
        assert_eq!(check_publisher(&a.to_string(), None), Ok(pinned.clone()));
        assert_eq!(check_publisher(&a.to_string(), Some(&pinned)), Ok(pinned.clone()));
        assert!(matches!(check_publisher(&b.to_string(), Some(&pinned)), Err(RegistrationError::Publisher { .. })));
        assert!(matches!(check_publisher("rsa:x", None), Err(RegistrationError::PublisherText(_))));
    }
}
