//! Releases: register, list, withdraw, restore.

use crate::actor::Actor;
use crate::answers::ReleaseChange;
use crate::audience::{KnownUse, forbidding_use};
use crate::channels;
use crate::control::Node;
use crate::error::{BlobOwner, CallError};
use crate::heads::{DelegationError, InForce, check_delegation, check_follows};
use crate::log;
use crate::products::{Made, find, publisher_in_force};
use crate::record::audit::Deed;
use crate::record::products::ProductRow;
use crate::record::releases::{BlobUseRow, ReleaseRow};
use crate::record::{Batch, RecordError, blobs, products, releases};
use crate::registration::{check_manifest, check_members, check_publisher};
use crate::sql::Connection;
use bytes::Bytes;
use penstock_core::api::RegisterRelease;
use penstock_core::audience::Audience;
use penstock_core::blob::BlobId;
use penstock_core::catalog::{BlobMember, CatalogChange, Release, ReleaseState};
use penstock_core::desk::{ReleaseDetail, ReleasesQuery};
use penstock_core::id::{Platform, ProductId, Version};
use penstock_core::keys::TrustSet;
use penstock_core::limits::ENVELOPE_BYTES_MAX;
use penstock_core::manifest::Root;
use std::collections::{BTreeMap, BTreeSet};

/// After so many looks at a busy record the last check holds the writer's lock, so that it ends.
const LOOKS_MAX: u32 = 3;
/// Blobs that are remembered in one transaction: some 10 ms, between which other writers get their turn.
const REMEMBERED_AT_ONCE: usize = 1000;

/// A registration that held when it was looked at.
struct Checked {
    trust: TrustSet,
    members: Vec<BlobMember>,
    /// The release as it will be told; `None` when the very same one was registered before.
    new: Option<log::Entry>,
    /// The newest change that the look at audiences saw.
    seen: u64,
}

/// What to do when audiences may have changed since the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IfChanged {
    LookAgain,
    CheckLocked,
}

/// Whether an answer lists a release's blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Members {
    List,
    LeaveOut,
}

/// Registers a release whose blobs were all uploaded before.
///
/// A large release takes long to check, so that is done beside other changes and only the commit
/// holds the writer's lock. In it the publisher is held against the pinned one again; a blob that was
/// removed meanwhile is refused by the database; and if anything changed that decides who may read
/// what, the release is checked once more. The same registration again changes nothing, except that
/// it may bring a newer delegation.
pub(crate) fn register(
    node: &Node,
    actor: &Actor,
    product: &ProductId,
    request: &RegisterRelease,
) -> Result<(Release, Made), CallError> {
    let manifest = read_manifest(node, request.manifest)?;
    let mut looks = 1;
    loop {
        let checked = check(node, product, request, &manifest).map_err(|error| for_eyes_of(actor, error))?;
        if checked.new.is_some() {
            remember(node, &checked.members)?;
        }
        let if_changed = if looks < LOOKS_MAX { IfChanged::LookAgain } else { IfChanged::CheckLocked };
        let commit = |batch: &mut Batch<'_>| commit(node, batch, product, request, checked, if_changed);
        let done = node.record.write(actor, node.now(), commit).map_err(|error| for_eyes_of(actor, error))?;
        if let Some(done) = done {
            return Ok(done);
        }
        looks += 1;
    }
}

/// Who owns a blob is not said to somebody who may not know of that product: a blob's hash tells nobody where it belongs.
fn for_eyes_of(actor: &Actor, error: CallError) -> CallError {
    match error {
        CallError::Audience { blob, owner } if actor.require_product(&owner.product).is_err() => {
            CallError::AudienceElsewhere(blob)
        }
        other => other,
    }
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
pub(crate) fn list(node: &Node, product: &ProductId, wanted: &ReleasesQuery) -> Result<Vec<Release>, CallError> {
    node.record.read(|connection| {
        find(connection, product)?;
        Ok(releases::list(connection, product, wanted)?.into_iter().map(|row| row.release).collect())
    })
}

/// Takes a release back, or gives it out again. Channels that offer it keep doing so, and the answer
/// names them: their clients are told that it was withdrawn, until the channel moves. A rollout that brings it is halted.
pub(crate) fn set_state(
    node: &Node,
    actor: &Actor,
    product: &ProductId,
    platform: &Platform,
    version: &Version,
    state: ReleaseState,
) -> Result<ReleaseChange, CallError> {
    node.record.write(actor, node.now(), |batch| {
        let ReleaseRow { id, mut release } = find_release(batch.connection(), product, platform, version)?;
        let mut halted = Vec::new();
        if release.state != state {
            if state == ReleaseState::Withdrawn {
                halted = crate::rollouts::halt_all(node, batch, &release)?;
            }
            let before = release.state;
            release.state = state;
            releases::set_state(batch.connection(), id, state)?;
            batch.audit(&Deed::new("release.state", subject(&release)).before(&before)?.after(&state)?)?;
            let members = releases::members(batch.connection(), id)?;
            // Whoever keeps only the newest word on each release must not forget where it was offered.
            let channels = crate::record::channels::ever_offering(batch.connection(), &release)?;
            batch.tell(CatalogChange::Release { release: release.clone(), members, channels })?;
        }
        let offered_by = channels::offering(batch.connection(), &release)?;
        Ok(ReleaseChange { release, offered_by, halted })
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
/// An empty one leaves the one in force, which must then let this node sign.
pub(crate) fn adopt_delegation(
    node: &Node,
    batch: &mut Batch<'_>,
    row: &ProductRow,
    trust: &TrustSet,
    envelope: &[u8],
) -> Result<(), CallError> {
    let product = &row.product.id;
    let channel_key = node.keys.channel.public();
    let in_force = row.delegation.as_deref();
    let envelope = match in_force {
        Some(in_force) if envelope.is_empty() => in_force,
        None if envelope.is_empty() => return Err(DelegationError::Missing(channel_key).into()),
        _ => envelope,
    };
    let found = check_delegation(trust, envelope, product, channel_key, batch.now())?;
    if let Some(in_force) = in_force {
        check_follows(InForce { sequence: row.delegation_sequence, envelope: in_force }, &found, envelope)?;
    }
    if in_force == Some(envelope) {
        return Ok(());
    }
    products::delegate(batch.connection(), product, found.sequence, envelope)?;
    let keys = found.keys.to_string();
    let after = serde_json::json!({ "sequence": found.sequence, "keys": keys, "expires": found.expires });
    let before = serde_json::json!({ "sequence": row.delegation_sequence });
    batch.audit(&Deed::new("product.delegate", format!("product/{product}")).before(&before)?.after(&after)?)?;
    channels::refresh(node, batch, product, &found)
}

/// Everything about a registration that takes long; the record is only read.
fn check(node: &Node, product: &ProductId, request: &RegisterRelease, manifest: &[u8]) -> Result<Checked, CallError> {
    let pinned = node.record.read(|connection| publisher_in_force(connection, &find(connection, product)?))?;
    let trust = check_publisher(&request.publisher, pinned.as_ref())?;
    let verified = check_manifest(product, request, manifest, &trust)?;
    let mut members = check_members(verified.root(), request.manifest, &request.members)?;
    let (is_known, seen) = node.record.read(|connection| {
        let seen = log::newest(connection)?;
        let known = releases::get(connection, product, &request.platform, &request.version)?;
        match known {
            Some(known) => drop(same_again(connection, known, request.manifest, &members)?),
            None => {
                check_audiences(connection, product, &members)?;
                crate::walls::mark_whole(connection, &request.members, &mut members)?;
                return Ok::<_, CallError>((false, seen));
            }
        }
        Ok((true, seen))
    })?;
    check_stored(node, verified.root(), &members)?;
    let told = || {
        let release = describe(verified.root(), request.manifest, manifest.len() as u64, node);
        log::Entry::new(CatalogChange::Release { release, members: members.clone(), channels: BTreeSet::new() })
    };
    let new = if is_known { None } else { Some(told()?) };
    Ok(Checked { trust, members, new, seen })
}

/// Notes the blobs that the record does not know yet, some at a time.
fn remember(node: &Node, members: &[BlobMember]) -> Result<(), CallError> {
    let blobs = members.iter().map(|member| member.blob);
    let unknown = node.record.read(|connection| Ok::<_, CallError>(blobs::unknown(connection, blobs)?))?;
    for some in unknown.chunks(REMEMBERED_AT_ONCE) {
        node.record.keep_house(node.now(), |batch| {
            for blob in some {
                // Looked up again, because a removal may have come before this transaction.
                blobs::add(batch.connection(), *blob, node.stored_size(*blob)?, batch.now())?;
            }
            Ok::<_, CallError>(())
        })?;
    }
    Ok(())
}

/// The one transaction of a registration; `None` when it has to be checked again.
fn commit(
    node: &Node,
    batch: &mut Batch<'_>,
    product: &ProductId,
    request: &RegisterRelease,
    checked: Checked,
    if_changed: IfChanged,
) -> Result<Option<(Release, Made)>, CallError> {
    let Checked { trust, members, new, seen } = checked;
    let row = find(batch.connection(), product)?;
    let pinned = publisher_in_force(batch.connection(), &row)?;
    check_publisher(&request.publisher, pinned.as_ref())?;
    let known = releases::get(batch.connection(), product, &request.platform, &request.version)?;
    let done = match (known, new) {
        // What is registered never changes, but for its state.
        (Some(known), None) => (known.release, Made::Before),
        (Some(known), Some(_)) => (same_again(batch.connection(), known, request.manifest, &members)?, Made::Before),
        // A release never goes away; the next look will say so if one did.
        (None, None) => return Ok(None),
        (None, Some(mut new)) => {
            if log::changed_since(batch.connection(), seen)? {
                if if_changed == IfChanged::LookAgain {
                    return Ok(None);
                }
                check_audiences(batch.connection(), product, &members)?;
                let mut members = members;
                crate::walls::mark_whole(batch.connection(), &request.members, &mut members)?;
                new = log::Entry::new(with_members(new.into_change(), members))?;
            }
            (insert(batch, new)?, Made::New)
        }
    };
    if pinned.is_none() {
        products::pin(batch.connection(), product, &trust.to_string())?;
        batch.audit(&Deed::new("product.pin", format!("product/{product}")).after(&trust.to_string())?)?;
    }
    adopt_delegation(node, batch, &row, &trust, &request.delegation)?;
    Ok(Some(done))
}

fn read_manifest(node: &Node, blob: BlobId) -> Result<Bytes, CallError> {
    let size = node.stored_size(blob)?;
    if size.0 > ENVELOPE_BYTES_MAX as u64 {
        return Err(CallError::TooLarge { what: "the manifest's bytes", max: ENVELOPE_BYTES_MAX as u64 });
    }
    Ok(node.origin.read_all(&blob, ENVELOPE_BYTES_MAX as u64)?)
}

/// Checks that every blob of the release is stored, and every part with the signed length.
fn check_stored(node: &Node, root: &Root, members: &[BlobMember]) -> Result<(), CallError> {
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
    Ok(())
}

fn same_again(
    connection: &Connection,
    known: ReleaseRow,
    manifest: BlobId,
    members: &[BlobMember],
) -> Result<Release, CallError> {
    let what = if known.release.manifest != manifest {
        "manifest"
    } else if !releases::members(connection, known.id)?.iter().map(listing).eq(members.iter().map(listing)) {
        "list of blobs"
    } else {
        return Ok(known.release);
    };
    let Release { product, platform, version, .. } = known.release;
    Err(CallError::Registered { product, platform, version, what })
}

/// What a member is listed as. What a publisher finds to be its own depends on what was there when it looked.
const fn listing(member: &BlobMember) -> (&BlobId, Audience<'_>) {
    (&member.blob, member.audience())
}

/// Refuses a release that would let more people read a blob than were owed it.
fn check_audiences(connection: &Connection, product: &ProductId, members: &[BlobMember]) -> Result<(), CallError> {
    let mut by_audience: BTreeMap<Audience<'_>, Vec<BlobId>> = BTreeMap::new();
    for member in members {
        by_audience.entry(member.audience()).or_default().push(member.blob);
    }
    let mut doubtful = BTreeSet::new();
    for (audience, blobs) in by_audience {
        doubtful.extend(releases::used_otherwise(connection, product, &audience, &blobs)?);
    }
    for member in members.iter().filter(|member| doubtful.contains(&member.blob)) {
        let uses = releases::uses_of(connection, member.blob)?;
        let loose = blobs::loose_state(connection, member.blob)?;
        let forbidding = forbidding_use(loose, &uses, product, member.audience());
        if let Some(BlobUseRow { known, version }) = forbidding.cloned() {
            let KnownUse { product, component, group } = known;
            let owner = Box::new(BlobOwner { product, component, group, version });
            return Err(CallError::Audience { blob: member.blob, owner });
        }
    }
    Ok(())
}

fn describe(root: &Root, manifest: BlobId, manifest_bytes: u64, node: &Node) -> Release {
    Release {
        product: root.product.clone(),
        platform: root.platform.clone(),
        version: root.version.clone(),
        manifest,
        manifest_bytes,
        content_bytes: root.content_bytes(),
        entry_count: root.entry_count(),
        registered: node.now(),
        state: ReleaseState::Live,
    }
}

fn insert(batch: &mut Batch<'_>, new: log::Entry) -> Result<Release, CallError> {
    let CatalogChange::Release { release, members, .. } = new.change() else { unreachable!("made of a release") };
    releases::insert(batch.connection(), release, members).map_err(|error| match error {
        RecordError::NoBlob(blob) => CallError::NoBlob(blob),
        other => other.into(),
    })?;
    let release = release.clone();
    batch.audit(&Deed::new("release.register", subject(&release)).after(&release)?)?;
    batch.tell_entry(new)?;
    Ok(release)
}

fn with_members(change: CatalogChange, members: Vec<BlobMember>) -> CatalogChange {
    match change {
        CatalogChange::Release { release, channels, .. } => CatalogChange::Release { release, members, channels },
        other => other,
    }
}

fn subject(release: &Release) -> String {
    format!("product/{}/release/{}/{}", release.product, release.platform, release.version)
}
