//! Releases: register, list, withdraw, restore.

use crate::audience::{Audience, forbidding_use};
use crate::channels;
use crate::control::Node;
use crate::error::CallError;
use crate::heads::{InForce, check_delegation, check_follows};
use crate::products::{Made, find, publisher_in_force};
use crate::record::products::ProductRow;
use crate::record::releases::{BlobUseRow, ReleaseRow};
use crate::record::{Batch, blobs, products, releases};
use crate::registration::{check_manifest, check_members, check_publisher};
use bytes::Bytes;
use penstock_core::api::RegisterRelease;
use penstock_core::blob::{BlobId, BlobSize};
use penstock_core::catalog::{BlobMember, CatalogChange, Release, ReleaseState};
use penstock_core::desk::ReleaseDetail;
use penstock_core::id::{Platform, ProductId, Version};
use penstock_core::keys::TrustSet;
use penstock_core::limits::ENVELOPE_BYTES_MAX;
use penstock_core::manifest::Root;
use rusqlite::Connection;
use std::collections::BTreeMap;

/// Whether an answer lists a release's blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Members {
    List,
    LeaveOut,
}

/// Registers a release whose blobs were all uploaded before.
///
/// Everything is checked under the writer's lock: the publisher cannot be rotated, nor a blob be
/// removed, between a check and the commit. The same registration again changes nothing, except
/// that it may bring a newer delegation.
pub(crate) fn register(
    node: &Node,
    product: &ProductId,
    request: &RegisterRelease,
) -> Result<(Release, Made), CallError> {
    let manifest = read_manifest(node, request.manifest)?;
    node.record.write(node.now(), |batch| {
        let row = find(batch.connection(), product)?;
        let pinned = publisher_in_force(batch.connection(), &row)?;
        let trust = check_publisher(&request.publisher, pinned.as_ref())?;
        let verified = check_manifest(product, request, &manifest, &trust)?;
        let members = check_members(verified.root(), request.manifest, &request.members)?;
        let sizes = stored_sizes(node, verified.root(), &members)?;
        if pinned.is_none() {
            products::pin(batch.connection(), product, &trust.to_string())?;
        }
        let known = releases::get(batch.connection(), product, &request.platform, &request.version)?;
        let done = match known {
            Some(known) => (same_again(batch.connection(), known, request.manifest, &members)?, Made::Before),
            None => {
                check_audiences(batch.connection(), product, &members)?;
                let release = describe(verified.root(), request.manifest, manifest.len() as u64, batch);
                insert(batch, &release, members, &sizes)?;
                (release, Made::New)
            }
        };
        adopt_delegation(node, batch, &row, &trust, &request.delegation)?;
        Ok(done)
    })
}

/// One release.
pub(crate) fn get(
    node: &Node,
    product: &ProductId,
    platform: &Platform,
    version: &Version,
    members: Members,
) -> Result<ReleaseDetail, CallError> {
    node.record.read(|connection| {
        let row = find_release(connection, product, platform, version)?;
        let members = match members {
            Members::List => releases::members(connection, row.id)?,
            Members::LeaveOut => Vec::new(),
        };
        Ok(ReleaseDetail { release: row.release, members })
    })
}

/// A product's releases, newest first.
pub(crate) fn list(node: &Node, product: &ProductId) -> Result<Vec<Release>, CallError> {
    node.record.read(|connection| {
        find(connection, product)?;
        Ok(releases::list(connection, product)?.into_iter().map(|row| row.release).collect())
    })
}

/// Takes a release back, or gives it out again. Channels that offer it keep doing so: their
/// clients are told that it was withdrawn, until the channel moves.
pub(crate) fn set_state(
    node: &Node,
    product: &ProductId,
    platform: &Platform,
    version: &Version,
    state: ReleaseState,
) -> Result<Release, CallError> {
    node.record.write(node.now(), |batch| {
        let ReleaseRow { id, mut release } = find_release(batch.connection(), product, platform, version)?;
        if release.state != state {
            release.state = state;
            releases::set_state(batch.connection(), id, state)?;
            let members = releases::members(batch.connection(), id)?;
            batch.tell(CatalogChange::Release { release: release.clone(), members })?;
        }
        Ok(release)
    })
}

/// The release, or the error that names what was asked for.
pub(crate) fn find_release(
    connection: &Connection,
    product: &ProductId,
    platform: &Platform,
    version: &Version,
) -> Result<ReleaseRow, CallError> {
    find(connection, product)?;
    releases::get(connection, product, platform, version)?.ok_or_else(|| CallError::NoRelease {
        product: product.clone(),
        platform: platform.clone(),
        version: version.clone(),
    })
}

/// Puts the delegation in force if it is a newer one, and tells every offer that now travels with it.
pub(crate) fn adopt_delegation(
    node: &Node,
    batch: &mut Batch<'_>,
    row: &ProductRow,
    trust: &TrustSet,
    envelope: &[u8],
) -> Result<(), CallError> {
    let product = &row.product.id;
    let found = check_delegation(trust, envelope, product, node.keys.channel.public(), batch.now())?;
    let in_force = row.delegation.as_deref();
    if let Some(in_force) = in_force {
        check_follows(InForce { sequence: row.delegation_sequence, envelope: in_force }, &found, envelope)?;
    }
    if in_force == Some(envelope) {
        return Ok(());
    }
    products::delegate(batch.connection(), product, found.sequence, envelope)?;
    channels::refresh(node, batch, product, &found)
}

fn read_manifest(node: &Node, blob: BlobId) -> Result<Bytes, CallError> {
    let size = node.stored_size(blob)?;
    if size.0 > ENVELOPE_BYTES_MAX as u64 {
        return Err(CallError::TooLarge { what: "the manifest's bytes", max: ENVELOPE_BYTES_MAX as u64 });
    }
    Ok(node.origin.read_all(&blob, ENVELOPE_BYTES_MAX as u64)?)
}

/// Checks that every blob of the release is stored, and every part with the signed length.
fn stored_sizes(node: &Node, root: &Root, members: &[BlobMember]) -> Result<BTreeMap<BlobId, BlobSize>, CallError> {
    let mut sizes = BTreeMap::new();
    for member in members {
        let size = node.stored_size(member.blob)?;
        sizes.insert(member.blob, size);
    }
    for part in root.parts() {
        let stored = sizes.get(&part.blob).map_or(0, |size| size.0);
        let signed = u64::from(part.stored_bytes);
        if stored != signed {
            return Err(CallError::PartSize { blob: part.blob, stored, signed });
        }
    }
    Ok(sizes)
}

fn same_again(
    connection: &Connection,
    known: ReleaseRow,
    manifest: BlobId,
    members: &[BlobMember],
) -> Result<Release, CallError> {
    let what = if known.release.manifest != manifest {
        "manifest"
    } else if releases::members(connection, known.id)? != members {
        "list of blobs"
    } else {
        return Ok(known.release);
    };
    let Release { product, platform, version, .. } = known.release;
    Err(CallError::Registered { product, platform, version, what })
}

/// Refuses a release that would let more people read a blob than were owed it.
fn check_audiences(connection: &Connection, product: &ProductId, members: &[BlobMember]) -> Result<(), CallError> {
    for member in members {
        let uses = releases::uses_of(connection, member.blob)?;
        if uses.is_empty() {
            continue;
        }
        let loose = blobs::loose_state(connection, member.blob)?;
        let wanted = Audience { product, group: &member.group };
        if let Some(BlobUseRow { known, version }) = forbidding_use(loose, &uses, wanted) {
            let (product, group) = (known.product.clone(), known.group.clone());
            return Err(CallError::Audience { blob: member.blob, product, group, version: version.clone() });
        }
    }
    Ok(())
}

fn describe(root: &Root, manifest: BlobId, manifest_bytes: u64, batch: &Batch<'_>) -> Release {
    Release {
        product: root.product.clone(),
        platform: root.platform.clone(),
        version: root.version.clone(),
        manifest,
        manifest_bytes,
        content_bytes: root.content_bytes(),
        entry_count: root.entry_count(),
        registered: batch.now(),
        state: ReleaseState::Live,
    }
}

fn insert(
    batch: &mut Batch<'_>,
    release: &Release,
    members: Vec<BlobMember>,
    sizes: &BTreeMap<BlobId, BlobSize>,
) -> Result<(), CallError> {
    for (blob, size) in sizes {
        blobs::add(batch.connection(), *blob, *size, batch.now())?;
    }
    releases::insert(batch.connection(), release, &members)?;
    batch.tell(CatalogChange::Release { release: release.clone(), members })?;
    Ok(())
}
