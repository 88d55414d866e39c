//! Rotations: the publisher's keys are replaced by their own signed word.

use crate::actor::Actor;
use crate::channels;
use crate::control::Node;
use crate::error::CallError;
use crate::heads::{InForce, check_delegation, check_follows};
use crate::products::{find, publisher_in_force};
use crate::record::audit::Deed;
use crate::record::{Batch, products};
use penstock_core::desk::{ChannelRef, PostRotation, RotationAnswer};
use penstock_core::envelope::{Envelope, Purpose};
use penstock_core::id::ProductId;
use penstock_core::keys::TrustSet;
use penstock_core::limits::{ENVELOPE_BYTES_MAX, ROTATIONS_MAX};
use penstock_core::trust::{TrustError, follow_rotations};

/// Accepts a rotation signed by the keys in force and by their successors, with a delegation that
/// the successors signed. The newest rotation again changes nothing.
///
/// Releases that only the old keys signed stay registered; the answer names the channels that
/// still offer one, because clients that follow the rotation refuse it.
pub(crate) fn add(
    node: &Node,
    actor: &Actor,
    product: &ProductId,
    wanted: &PostRotation,
) -> Result<RotationAnswer, CallError> {
    node.record.write(actor, node.now(), |batch| {
        let row = find(batch.connection(), product)?;
        let current = publisher_in_force(batch.connection(), &row)?;
        let current = current.ok_or_else(|| CallError::NoPublisher(product.clone()))?;
        let known = products::rotations(batch.connection(), product)?;
        if known.last() == Some(&wanted.envelope) {
            return answer(node, batch, product, &current);
        }
        if known.len() >= ROTATIONS_MAX {
            return Err(CallError::RotationsFull(product.clone()));
        }
        let successor = follow(&current, &wanted.envelope)?;
        let in_force = row.delegation.as_deref().unwrap_or_default();
        let envelope = if wanted.delegation.is_empty() { in_force } else { &wanted.delegation };
        let channel_key = node.keys.channel.public();
        let delegation = check_delegation(&successor, envelope, product, channel_key, batch.now())?;
        check_follows(InForce { sequence: row.delegation_sequence, envelope: in_force }, &delegation, envelope)?;
        products::add_rotation(batch.connection(), product, known.len(), &wanted.envelope, batch.now())?;
        products::delegate(batch.connection(), product, delegation.sequence, envelope)?;
        batch.audit(
            &Deed::new("product.rotate", format!("product/{product}"))
                .before(&current.to_string())?
                .after(&successor.to_string())?,
        )?;
        channels::refresh(node, batch, product, &delegation)?;
        answer(node, batch, product, &successor)
    })
}

fn follow(current: &TrustSet, envelope: &[u8]) -> Result<TrustSet, CallError> {
    let successor = follow_rotations(current, &[envelope.to_vec()]).map_err(CallError::Rotation)?;
    if successor == *current {
        // Malformed envelopes were refused above; what is left was signed by somebody else.
        return Err(CallError::RotationStart(current.to_string()));
    }
    Ok(successor)
}

fn answer(
    node: &Node,
    batch: &Batch<'_>,
    product: &ProductId,
    publisher: &TrustSet,
) -> Result<RotationAnswer, CallError> {
    let mut unverifiable = Vec::new();
    for state in crate::record::channels::list(batch.connection(), product)? {
        let bytes = node.origin.read_all(&state.target.manifest, ENVELOPE_BYTES_MAX as u64)?;
        let envelope = Envelope::decode(&bytes).map_err(|source| {
            CallError::SignedRecord("manifests", TrustError::Envelope { what: "manifest", source })
        })?;
        if envelope.verify(Purpose::Manifest, publisher).is_err() {
            let (channel, platform) = (state.channel, state.platform);
            unverifiable.push(ChannelRef { channel, platform, version: state.target.version });
        }
    }
    Ok(RotationAnswer { publisher: publisher.to_string(), unverifiable })
}
