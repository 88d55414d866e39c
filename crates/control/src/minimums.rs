//! The oldest version of a channel that is supported, and what players of older ones are told.
//!
//! What a channel offers is never older: an install would be told to update, and be offered what it has to update from.

use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::Node;
use crate::error::CallError;
use crate::record::audit::Deed;
use crate::record::channels;
use crate::record::rollouts::{self, Place};
use crate::releases::find_release;
use crate::rollouts::{subject, tell_policy};
use crate::sql::Connection;
use penstock_core::desk::policy::MinimumAnswer;
use penstock_core::id::Version;
use penstock_core::limits::MINIMUM_MESSAGE_BYTES_MAX;
use penstock_core::rollout::Minimum;

/// Sets what a channel supports; `None` is every version.
pub(crate) fn put(
    node: &Node,
    actor: &Actor,
    condition: &Condition,
    place: Place<'_>,
    wanted: Option<Minimum>,
) -> Result<MinimumAnswer, CallError> {
    if let Some(Minimum { message, .. }) = &wanted
        && (message.len() > MINIMUM_MESSAGE_BYTES_MAX || message.chars().any(char::is_control))
    {
        let words =
            format!("minimum.message: it has at most {MINIMUM_MESSAGE_BYTES_MAX} bytes and no control characters");
        return Err(CallError::Malformed(words));
    }
    node.record.write(actor, node.now(), |batch| {
        let connection = batch.connection();
        let offered = channels::get(connection, place.product, place.platform, place.channel)?;
        let offered = offered.ok_or_else(|| no_channel(place))?;
        let known = rollouts::minimum(connection, place)?;
        condition.check(Some(&answer(place, known.clone())))?;
        if let Some(minimum) = &wanted {
            for pointer in [Some(&offered.target), offered.fallback.as_ref()].into_iter().flatten() {
                check(connection, place, &pointer.version, &minimum.version)?;
            }
        }
        if known != wanted {
            rollouts::put_minimum(connection, place, wanted.as_ref())?;
            batch.audit(&Deed::new("channel.minimum", subject(place)).before(&known)?.after(&wanted)?)?;
            tell_policy(batch, place)?;
        }
        Ok(answer(place, wanted))
    })
}

/// What a channel supports.
pub(crate) fn get(node: &Node, place: Place<'_>) -> Result<MinimumAnswer, CallError> {
    node.record.read(|connection| {
        crate::products::find(connection, place.product)?;
        let offered = channels::get(connection, place.product, place.platform, place.channel)?;
        offered.ok_or_else(|| no_channel(place))?;
        Ok(answer(place, rollouts::minimum(connection, place)?))
    })
}

fn answer(place: Place<'_>, minimum: Option<Minimum>) -> MinimumAnswer {
    MinimumAnswer { platform: place.platform.clone(), minimum }
}

/// That a channel supports what it would offer.
pub(crate) fn check_offer(connection: &Connection, place: Place<'_>, offered: &Version) -> Result<(), CallError> {
    match rollouts::minimum(connection, place)? {
        Some(minimum) => check(connection, place, offered, &minimum.version),
        None => Ok(()),
    }
}

fn check(connection: &Connection, place: Place<'_>, offered: &Version, minimum: &Version) -> Result<(), CallError> {
    let registered = |version: &Version| {
        Ok::<_, CallError>(find_release(connection, place.product, place.platform, version)?.release.registered)
    };
    if registered(offered)? < registered(minimum)? {
        return Err(CallError::BelowMinimum { offered: offered.clone(), minimum: minimum.clone() });
    }
    Ok(())
}

fn no_channel(place: Place<'_>) -> CallError {
    CallError::NoChannel {
        product: place.product.clone(),
        platform: place.platform.clone(),
        channel: place.channel.clone(),
    }
}
