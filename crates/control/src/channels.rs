//! Channels: move, list, renew. Each change is one new head, signed and kept for good.

use crate::RenewReport;
use crate::actor::Actor;
use crate::answers::ChannelStanding;
use crate::control::Node;
use crate::error::CallError;
use crate::heads::{NextHead, believable, check_delegation, is_due, sign_head};
use crate::products::{find, publisher_in_force};
use crate::record::audit::Deed;
use crate::record::channels::ChannelState;
use crate::record::products::ProductRow;
use crate::record::{Batch, channels, products, releases};
use crate::releases::find_release;
use crate::sql::Connection;
use penstock_core::api::{ChannelRow, MoveChannel};
use penstock_core::catalog::{CatalogChange, Offer, Release, ReleaseState};
use penstock_core::id::{ChannelName, Platform, ProductId, Version};
use penstock_core::statement::{Delegation, Pointer};
use penstock_core::time::UnixSeconds;
use penstock_core::trust::follows_revocation;

/// Offers a registered release in a channel: the single commit point of a publication.
///
/// Offering what is offered already changes nothing while the head is fresh, so that a
/// publication that was interrupted can simply be run again.
pub(crate) fn move_to(
    node: &Node,
    actor: &Actor,
    product: &ProductId,
    channel: &ChannelName,
    wanted: &MoveChannel,
) -> Result<ChannelStanding, CallError> {
    check_complete(node, product, &wanted.platform, &wanted.version)?;
    node.record.write(actor, node.now(), |batch| {
        let row = find(batch.connection(), product)?;
        let target = offerable(batch.connection(), product, &wanted.platform, &wanted.version)?;
        let delegation = delegation_to_sign(node, batch.connection(), &row, batch.now())?;
        let current = channels::get(batch.connection(), product, &wanted.platform, channel)?;
        let unchanged = current.as_ref().filter(|state| {
            state.target == target && !is_due(state.issued, batch.now()) && believable(&delegation, &state.envelope)
        });
        if let Some(state) = unchanged {
            return describe(batch.connection(), state.clone());
        }
        let next = Next {
            product,
            platform: &wanted.platform,
            channel,
            target: &target,
            sequence: current.as_ref().map_or(0, |state| state.sequence) + 1,
            previous: previous_version(current.as_ref(), &target),
        };
        let state = sign_and_store(node, batch, next)?;
        let deed = Deed::new("channel.move", subject(product, &state));
        batch.audit(&deed.change(current.as_ref().map(audited).as_ref(), &audited(&state))?)?;
        tell_offer(batch, product, &state)?;
        describe(batch.connection(), state)
    })
}

/// One channel.
pub(crate) fn get(
    node: &Node,
    product: &ProductId,
    platform: &Platform,
    channel: &ChannelName,
) -> Result<ChannelStanding, CallError> {
    node.record.read(|connection| {
        find(connection, product)?;
        let state = channels::get(connection, product, platform, channel)?;
        let state = state.ok_or_else(|| CallError::NoChannel {
            product: product.clone(),
            platform: platform.clone(),
            channel: channel.clone(),
        })?;
        describe(connection, state)
    })
}

/// A product's channels, by channel and platform.
pub(crate) fn list(node: &Node, product: &ProductId) -> Result<Vec<ChannelStanding>, CallError> {
    node.record.read(|connection| {
        find(connection, product)?;
        channels::list(connection, product)?.into_iter().map(|state| describe(connection, state)).collect()
    })
}

/// The channels that offer a release, by name.
pub(crate) fn offering(connection: &Connection, release: &Release) -> Result<Vec<ChannelName>, CallError> {
    let states = channels::list(connection, &release.product)?.into_iter();
    let offers =
        states.filter(|state| (&state.platform, &state.target.version) == (&release.platform, &release.version));
    Ok(offers.map(|state| state.channel).collect())
}

/// Signs every head anew that is due at `now`, product by product, each in one transaction. What
/// fails for one product is logged and reported, and the next one has its turn.
pub(crate) fn renew(node: &Node, now: UnixSeconds) -> Result<RenewReport, CallError> {
    let mut report = RenewReport::default();
    for product in node.record.read(|connection| Ok::<_, CallError>(products::ids(connection)?))? {
        match renew_product(node, &product, now) {
            Ok(renewed) => report.renewed += renewed,
            Err(CallError::Delegation(error)) => {
                let error = crate::error::chain(&error);
                tracing::error!(%product, error, "cannot renew channel heads: the publisher must delegate anew");
                report.refused.push(product);
            }
            Err(error) => {
                let error = crate::error::chain(&error);
                tracing::error!(%product, error, "cannot renew channel heads: clients will refuse them when they expire");
                report.failed.push(product);
            }
        }
    }
    Ok(report)
}

/// Tells the product's offers, which travel with a new delegation or rotation from now on. Heads
/// that clients would no longer believe under it are signed anew: those by other keys, and those
/// from before a delegation that may have taken other keys back (see `core::trust`).
pub(crate) fn refresh(
    node: &Node,
    batch: &mut Batch<'_>,
    product: &ProductId,
    delegation: &Delegation,
) -> Result<(), CallError> {
    for state in channels::list(batch.connection(), product)? {
        let holds = believable(delegation, &state.envelope) && follows_revocation(state.issued, delegation.issued);
        let state = if holds { state } else { sign_again(node, batch, &state)? };
        tell_offer(batch, product, &state)?;
    }
    Ok(())
}

/// The product's offers as edges see them.
pub(crate) fn offers(connection: &Connection, row: &ProductRow) -> Result<Vec<Offer>, CallError> {
    let states = channels::list(connection, &row.product.id)?;
    if states.is_empty() {
        return Ok(Vec::new());
    }
    let rotations = products::rotations(connection, &row.product.id)?;
    Ok(states.iter().filter_map(|state| offer(row, &rotations, state)).collect())
}

/// A head that is about to be signed.
struct Next<'a> {
    product: &'a ProductId,
    platform: &'a Platform,
    channel: &'a ChannelName,
    target: &'a Pointer,
    sequence: u64,
    previous: Option<Version>,
}

fn renew_product(node: &Node, product: &ProductId, now: UnixSeconds) -> Result<u64, CallError> {
    let states = node.record.read(|connection| Ok::<_, CallError>(channels::list(connection, product)?))?;
    if !states.iter().any(|state| is_due(state.issued, now)) {
        return Ok(0);
    }
    node.record.write(&Actor::node(), now, |batch| {
        let row = find(batch.connection(), product)?;
        delegation_to_sign(node, batch.connection(), &row, now)?;
        let mut renewed = 0;
        for state in channels::list(batch.connection(), product)? {
            if is_due(state.issued, now) {
                let before = audited(&state);
                let state = sign_again(node, batch, &state)?;
                let deed = Deed::new("channel.renew", subject(product, &state));
                batch.audit(&deed.before(&before)?.after(&audited(&state))?)?;
                tell_offer(batch, product, &state)?;
                renewed += 1;
            }
        }
        Ok(renewed)
    })
}

fn subject(product: &ProductId, state: &ChannelState) -> String {
    format!("product/{product}/channel/{}/{}", state.channel, state.platform)
}

/// What the audit says of a head.
fn audited(state: &ChannelState) -> serde_json::Value {
    serde_json::json!({ "version": state.target.version, "sequence": state.sequence })
}

/// Checks that the store has all of a release. Done before the transaction, because it takes long for
/// a large release and stays true: the members of a release never change, and none can be removed.
fn check_complete(node: &Node, product: &ProductId, platform: &Platform, version: &Version) -> Result<(), CallError> {
    let members = node.record.read(|connection| {
        offerable(connection, product, platform, version)?;
        let row = find_release(connection, product, platform, version)?;
        Ok::<_, CallError>(releases::members(connection, row.id)?)
    })?;
    for member in members {
        if node.size_of(member.blob)?.is_none() {
            return Err(CallError::OffersIncomplete { version: version.clone(), example: member.blob });
        }
    }
    Ok(())
}

/// The release as a head's target, if it may be offered.
fn offerable(
    connection: &Connection,
    product: &ProductId,
    platform: &Platform,
    version: &Version,
) -> Result<Pointer, CallError> {
    let row = find_release(connection, product, platform, version)?;
    if row.release.state == ReleaseState::Withdrawn {
        return Err(CallError::OffersWithdrawn(version.clone()));
    }
    let (manifest, manifest_bytes) = (row.release.manifest, row.release.manifest_bytes);
    Ok(Pointer { version: row.release.version, manifest, manifest_bytes })
}

/// The delegation in force, if it lets this node sign at `now`.
fn delegation_to_sign(
    node: &Node,
    connection: &Connection,
    row: &ProductRow,
    now: UnixSeconds,
) -> Result<Delegation, CallError> {
    let product = &row.product.id;
    let trust = publisher_in_force(connection, row)?;
    let (Some(trust), Some(envelope)) = (trust, row.delegation.as_deref()) else {
        return Err(CallError::NoPublisher(product.clone()));
    };
    Ok(check_delegation(&trust, envelope, product, node.keys.channel.public(), now)?)
}

fn sign_again(node: &Node, batch: &Batch<'_>, state: &ChannelState) -> Result<ChannelState, CallError> {
    let next = Next {
        product: &state.product,
        platform: &state.platform,
        channel: &state.channel,
        target: &state.target,
        sequence: state.sequence + 1,
        previous: state.previous.clone(),
    };
    sign_and_store(node, batch, next)
}

fn sign_and_store(node: &Node, batch: &Batch<'_>, next: Next<'_>) -> Result<ChannelState, CallError> {
    let Next { product, platform, channel, target, sequence, previous } = next;
    let what = NextHead { product, platform, channel, sequence, target };
    let (head, envelope) = sign_head(&node.keys.channel, what, batch.now());
    channels::put(batch.connection(), &head, previous.as_ref(), &envelope)?;
    Ok(ChannelState {
        product: head.product,
        platform: head.platform,
        channel: head.channel,
        sequence: head.sequence,
        target: head.target,
        previous,
        issued: head.issued,
        expires: head.expires,
        envelope,
    })
}

fn previous_version(current: Option<&ChannelState>, target: &Pointer) -> Option<Version> {
    let current = current?;
    if current.target.version == target.version {
        current.previous.clone()
    } else {
        Some(current.target.version.clone())
    }
}

fn tell_offer(batch: &mut Batch<'_>, product: &ProductId, state: &ChannelState) -> Result<(), CallError> {
    // Read again, because this transaction may have changed the delegation or the rotations.
    let row = find(batch.connection(), product)?;
    let rotations = products::rotations(batch.connection(), product)?;
    let offer = offer(&row, &rotations, state).ok_or_else(|| CallError::NoPublisher(product.clone()))?;
    batch.tell(CatalogChange::Offer(offer))?;
    Ok(())
}

fn offer(row: &ProductRow, rotations: &[Vec<u8>], state: &ChannelState) -> Option<Offer> {
    Some(Offer {
        product: state.product.clone(),
        platform: state.platform.clone(),
        channel: state.channel.clone(),
        sequence: state.sequence,
        version: state.target.version.clone(),
        manifest: state.target.manifest,
        manifest_bytes: state.target.manifest_bytes,
        fallback: None,
        head: state.envelope.clone(),
        delegation: row.delegation.clone()?,
        rotations: rotations.to_vec(),
    })
}

fn describe(connection: &Connection, state: ChannelState) -> Result<ChannelStanding, CallError> {
    let is_withdrawn = |version: &Version| {
        let row = releases::get(connection, &state.product, &state.platform, version)?;
        Ok::<_, CallError>(row.is_some_and(|row| row.release.state == ReleaseState::Withdrawn))
    };
    let withdrawn = is_withdrawn(&state.target.version)?;
    let previous_withdrawn = state.previous.as_ref().map_or(Ok(false), is_withdrawn)?;
    let row = ChannelRow {
        channel: state.channel,
        platform: state.platform,
        version: state.target.version,
        previous: state.previous,
        sequence: state.sequence,
        expires: state.expires,
    };
    Ok(ChannelStanding { row, withdrawn, previous_withdrawn })
}
