//! Is a release what its registration says? The checks that need no database: pure.

use penstock_core::api::RegisterRelease;
use penstock_core::blob::BlobId;
use penstock_core::catalog::BlobMember;
use penstock_core::id::{AccessGroup, ComponentName, ProductId};
use penstock_core::keys::{KeyError, TrustSet};
use penstock_core::manifest::{self, Expected, ManifestError, Root, VerifiedManifest};
use std::collections::BTreeMap;

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
    /// A member is listed for a component that the root does not have.
    #[error("blob {blob} is listed under component {component}, which the manifest does not have")]
    UnknownComponent {
        /// The blob.
        blob: BlobId,
        /// The component listed.
        component: ComponentName,
    },
    /// A part is listed under another component than the one that it is a part of.
    #[error("part {blob} is listed under component {listed}; the manifest has it in {component}")]
    PartElsewhere {
        /// The part's blob.
        blob: BlobId,
        /// The component listed.
        listed: ComponentName,
        /// The component that needs it.
        component: ComponentName,
    },
    /// One blob, two audiences.
    #[error("blob {blob} is listed under the components {one} and {other}: a blob belongs to one")]
    TwoComponents {
        /// The blob.
        blob: BlobId,
        /// The first component listed.
        one: ComponentName,
        /// The second.
        other: ComponentName,
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
/// Each blob is listed once, under a component of the root and that one's group. The root names its parts, so those must
/// be listed where it has them. Which packs hold the content stands inside the parts, which control does not read: a list
/// that claims too much is held against the record by [`crate::audience`], and one that claims too little is a release
/// whose own clients cannot install it. The publisher proves before it uploads that each component's parts refer to its
/// own packs and the base's.
pub(crate) fn check_members(
    root: &Root,
    manifest: BlobId,
    members: &[BlobMember],
) -> Result<Vec<BlobMember>, RegistrationError> {
    let mut groups: BTreeMap<&ComponentName, &AccessGroup> =
        root.components.iter().map(|component| (&component.name, &component.group)).collect();
    // A root may leave its base out when that is empty; the manifest itself is listed under it all the same.
    let (base, base_group) = (ComponentName::base(), AccessGroup::base());
    groups.entry(&base).or_insert(&base_group);
    let mut component_of: BTreeMap<BlobId, &ComponentName> = BTreeMap::new();
    for member in members {
        check_group(member, groups.get(&member.component).copied())?;
        let first = *component_of.entry(member.blob).or_insert(&member.component);
        if *first != member.component {
            let (one, other) = (first.clone(), member.component.clone());
            return Err(RegistrationError::TwoComponents { blob: member.blob, one, other });
        }
    }
    if !component_of.contains_key(&manifest) {
        return Err(RegistrationError::ManifestNotMember(manifest));
    }
    for component in &root.components {
        for part in component.tree.iter().chain(&component.chunks) {
            check_part(part.blob, &component.name, component_of.get(&part.blob).copied())?;
        }
    }
    let mut sorted = members.to_vec();
    sorted.sort_by_key(|member| member.blob);
    sorted.dedup_by_key(|member| member.blob);
    Ok(sorted)
}

fn check_group(member: &BlobMember, expected: Option<&AccessGroup>) -> Result<(), RegistrationError> {
    let BlobMember { blob, component, group, .. } = member.clone();
    match expected {
        None => Err(RegistrationError::UnknownComponent { blob, component }),
        Some(expected) if *expected == group => Ok(()),
        Some(expected) => Err(RegistrationError::Group { blob, component, group, expected: expected.clone() }),
    }
}

fn check_part(
    blob: BlobId,
    component: &ComponentName,
    listed: Option<&ComponentName>,
) -> Result<(), RegistrationError> {
    let component = component.clone();
    match listed {
        None => Err(RegistrationError::PartNotMember { blob, component }),
        Some(listed) if *listed == component => Ok(()),
        Some(listed) => Err(RegistrationError::PartElsewhere { blob, listed: listed.clone(), component }),
    }
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
            whole: true,
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
        let mut baseless = root();
        baseless.components.remove(0);
        let rest = [&members()[..1], &members()[4..]].concat();
        assert!(check_members(&baseless, BlobId::of(b"manifest"), &rest).is_ok(), "the manifest is the base's");
    }

    #[test]
    fn each_wrong_list_has_its_own_refusal() {
        type Case = (&'static str, fn(&mut Vec<BlobMember>), fn(&RegistrationError) -> bool);
        let cases: [Case; 8] = [
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
                |e| matches!(e, RegistrationError::PartElsewhere { .. }),
            ),
            (
                "a component of nobody",
                |m| m.push(member("x", "other", "base")),
                |e| matches!(e, RegistrationError::UnknownComponent { .. }),
            ),
            (
                "the manifest for some",
                |m| m[0] = member("manifest", "base", "owners"),
                |e| matches!(e, RegistrationError::Group { .. }),
            ),
            (
                "two components",
                |m| m.push(member("base pack", "dlc", "owners")),
                |e| matches!(e, RegistrationError::TwoComponents { .. }),
            ),
            (
                "two groups",
                |m| m.push(member("base pack", "base", "owners")),
                |e| matches!(e, RegistrationError::Group { .. }),
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
