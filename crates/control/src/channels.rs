//! Channels: move, list, renew. Each change is one new head, signed and kept for good.

use crate::RenewReport;
use crate::actor::Actor;
use crate::answers::ChannelStanding;
use crate::condition::Condition;
use crate::control::Node;
use crate::error::CallError;
use crate::heads::{NextHead, believable, check_delegation, is_due, sign_head};
use crate::products::{find, publisher_in_force};
use crate::record::audit::Deed;
use crate::record::channels::ChannelState;
use crate::record::products::ProductRow;
use crate::record::rollouts::Place;
use crate::record::{Batch, channels, products, releases, rollouts};
use crate::releases::find_release;
use crate::sql::Connection;
use penstock_core::api::{ChannelRow, MoveChannel};
use penstock_core::catalog::{CatalogChange, Offer, OfferedRelease, Release, ReleaseState};
use penstock_core::id::{ChannelName, Platform, ProductId, Version};
use penstock_core::statement::{Delegation, Pointer};
use penstock_core::time::UnixSeconds;
use penstock_core::trust::follows_revocation;

/// Offers a registered release in a channel: the single commit point of a publication.
///
/// Offering what is offered already changes nothing while the head is fresh, so that a
/// publication that was interrupted can simply be run again. While a rollout goes on every move is
/// refused: a script that knows nothing of it must not give to everybody what only some should have.
pub(crate) fn move_to(
    node: &Node,
    actor: &Actor,
    condition: &Condition,
    product: &ProductId,
    channel: &ChannelName,
    wanted: &MoveChannel,
) -> Result<ChannelStanding, CallError> {
    check_complete(node, product, channel, &wanted.platform, &wanted.version)?;
    node.record.write(actor, node.now(), |batch| {
        let row = find(batch.connection(), product)?;
        let target = offerable(batch.connection(), product, &wanted.platform, &wanted.version)?;
        let place = Place { product, platform: &wanted.platform, channel };
        if let Some(open) = rollouts::open(batch.connection(), place)? {
            let (product, channel, target) = (product.clone(), channel.clone(), open.rollout.target);
            return Err(CallError::RolloutInForce { product, channel, target });
        }
        crate::minimums::check_offer(batch.connection(), place, &wanted.version)?;
        let delegation = delegation_to_sign(node, batch.connection(), &row, batch.now())?;
        let current = channels::get(batch.connection(), product, &wanted.platform, channel)?;
        let known = current.clone().map(|state| describe(batch.connection(), state)).transpose()?;
        condition.check(known.as_ref())?;
        let unchanged = current.as_ref().filter(|state| {
            state.target == target
                && state.fallback.is_none()
                && !is_due(state.issued, batch.now())
                && believable(&delegation, &state.envelope)
        });
        if let Some(state) = unchanged {
            return describe(batch.connection(), state.clone());
        }
        let next = Next {
            product,
            platform: &wanted.platform,
            channel,
            target: &target,
            fallback: None,
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

/// The channels that offer a release, to everybody or to some, by name.
pub(crate) fn offering(connection: &Connection, release: &Release) -> Result<Vec<ChannelName>, CallError> {
    let states = channels::list(connection, &release.product)?.into_iter();
    let is_release = |pointer: &Pointer| pointer.version == release.version;
    let offers = states.filter(|state| {
        state.platform == release.platform
            && [Some(&state.target), state.fallback.as_ref()].into_iter().flatten().any(is_release)
    });
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
    crate::rollouts::settle(node, batch, product)?;
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
pub(crate) struct Next<'a> {
    pub(crate) product: &'a ProductId,
    pub(crate) platform: &'a Platform,
    pub(crate) channel: &'a ChannelName,
    pub(crate) target: &'a Pointer,
    pub(crate) fallback: Option<&'a Pointer>,
    pub(crate) sequence: u64,
    pub(crate) previous: Option<Version>,
}

fn renew_product(node: &Node, product: &ProductId, now: UnixSeconds) -> Result<u64, CallError> {
    let (states, halting) = node.record.read(|connection| {
        let halting = crate::rollouts::halting(connection, product)?;
        Ok::<_, CallError>((channels::list(connection, product)?, halting))
    })?;
    if halting.is_empty() && !states.iter().any(|state| is_due(state.issued, now)) {
        return Ok(0);
    }
    node.record.write(&Actor::node(), now, |batch| {
        let row = find(batch.connection(), product)?;
        delegation_to_sign(node, batch.connection(), &row, now)?;
        let mut renewed = crate::rollouts::settle(node, batch, product)?;
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
    match &state.fallback {
        None => serde_json::json!({ "version": state.target.version, "sequence": state.sequence }),
        Some(fallback) => serde_json::json!({
            "version": state.target.version, "fallback": fallback.version, "sequence": state.sequence
        }),
    }
}

/// Checks that the store has all of a release, and that all who are owed it on the channel could install it. Done before the transaction, because it takes long for
/// a large release and stays true: the members of a release never change, and none can be removed.
pub(crate) fn check_complete(
    node: &Node,
    product: &ProductId,
    channel: &ChannelName,
    platform: &Platform,
    version: &Version,
) -> Result<(), CallError> {
    let members = node.record.read(|connection| {
        offerable(connection, product, platform, version)?;
        let row = find_release(connection, product, platform, version)?;
        let members = releases::members(connection, row.id)?;
        crate::walls::check_offer(connection, product, channel, &row, &members)?;
        Ok::<_, CallError>(members)
    })?;
    for member in members {
        if node.size_of(member.blob)?.is_none() {
            return Err(CallError::OffersIncomplete { version: version.clone(), example: member.blob });
        }
    }
    Ok(())
}

/// The release as a head's target, if it may be offered.
pub(crate) fn offerable(
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
pub(crate) fn delegation_to_sign(
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
        fallback: state.fallback.as_ref(),
        sequence: state.sequence + 1,
        previous: state.previous.clone(),
    };
    sign_and_store(node, batch, next)
}

pub(crate) fn sign_and_store(node: &Node, batch: &Batch<'_>, next: Next<'_>) -> Result<ChannelState, CallError> {
    let Next { product, platform, channel, target, fallback, sequence, previous } = next;
    let what = NextHead { product, platform, channel, sequence, target, fallback };
    let (head, envelope) = sign_head(&node.keys.channel, what, batch.now());
    channels::put(batch.connection(), &head, previous.as_ref(), &envelope)?;
    Ok(ChannelState {
        product: head.product,
        platform: head.platform,
        channel: head.channel,
        sequence: head.sequence,
        target: head.target,
        fallback: head.fallback,
        previous,
        issued: head.issued,
        expires: head.expires,
        envelope,
    })
}

pub(crate) fn previous_version(current: Option<&ChannelState>, target: &Pointer) -> Option<Version> {
    let current = current?;
    if current.target.version == target.version {
        current.previous.clone()
    } else {
        Some(current.target.version.clone())
    }
}

pub(crate) fn tell_offer(batch: &mut Batch<'_>, product: &ProductId, state: &ChannelState) -> Result<(), CallError> {
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
        fallback: state.fallback.as_ref().map(|pointer| OfferedRelease {
            version: pointer.version.clone(),
            manifest: pointer.manifest,
            manifest_bytes: pointer.manifest_bytes,
        }),
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
    Ok(ChannelStanding { row, fallback: state.fallback.map(|pointer| pointer.version), withdrawn, previous_withdrawn })
}
