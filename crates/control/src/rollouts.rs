//! Rollouts: start, look at, steer, end. Each change is told to edges before the call returns.
//!
//! While one goes on, the channel's head points at the target and at the fallback, and the edges choose for each caller.
//! A halt or a finish signs a head that points at one of them only, so that even an edge that heard of nothing else sends
//! nobody the other way. The brake must not wait for anybody: where the publisher's delegation ended, so that no head can
//! be signed, edges are told to give everybody the fallback under the head that is there, and the head follows as soon as
//! the publisher delegates anew.

use crate::actor::Actor;
use crate::channels::{self, Next, check_complete, delegation_to_sign, offerable, previous_version};
use crate::condition::Condition;
use crate::control::Node;
use crate::error::CallError;
use crate::keys::random_bytes;
use crate::minimums;
use crate::products::{Made, find};
use crate::record::audit::Deed;
use crate::record::rollouts::{self, Outcome, Place, RolloutState};
use crate::record::{self, Batch, RecordError};
use crate::releases::find_release;
use crate::segments;
use crate::sql::Connection;
use crate::state::Teller;
use penstock_core::catalog::{CatalogChange, Release};
use penstock_core::desk::policy::{PutRollout, RolloutRow, RolloutState as State, RolloutsAnswer};
use penstock_core::id::{ChannelName, ProductId};
use penstock_core::limits::PAGE_ROWS_MAX;
use penstock_core::rollout::{Motion, Rollout, Salt, SteerError, StepChange};
use penstock_core::statement::Pointer;
use penstock_core::time::UnixSeconds;

/// What is done with a rollout that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verb {
    Pause,
    Resume,
    Halt,
    Finish,
    Steps(StepChange),
}

/// Starts a rollout: nobody gets the target but by a step. The very same one again changes nothing.
pub(crate) fn start(
    node: &Node,
    actor: &Actor,
    condition: &Condition,
    product: &ProductId,
    channel: &ChannelName,
    wanted: &PutRollout,
) -> Result<(RolloutRow, Made), CallError> {
    let platform = &wanted.platform;
    check_complete(node, product, channel, platform, &wanted.target)?;
    if let Some(fallback) = &wanted.fallback {
        check_complete(node, product, channel, platform, fallback)?;
    }
    let salt = Salt(random_bytes().map_err(CallError::Random)?);
    let place = Place { product, platform, channel };
    node.record.write(actor, node.now(), |batch| {
        let row = find(batch.connection(), product)?;
        check_condition(batch, condition, place)?;
        if let Some(open) = rollouts::open(batch.connection(), place)? {
            if is_same(&open.rollout, wanted) {
                return Ok((describe(open, batch.now()), Made::Before));
            }
            let (product, channel, target) = (product.clone(), channel.clone(), open.rollout.target);
            return Err(CallError::RolloutInForce { product, channel, target });
        }
        let target = offerable(batch.connection(), product, platform, &wanted.target)?;
        let current = record::channels::get(batch.connection(), product, platform, channel)?;
        if current.as_ref().is_some_and(|state| state.target == target) {
            return Err(CallError::NothingToRollOut { channel: channel.clone(), version: target.version });
        }
        let offered = current.as_ref().map(|state| &state.target.version);
        let fallback = wanted.fallback.as_ref().or(offered).ok_or_else(|| CallError::NoFallback(channel.clone()))?;
        if *fallback == target.version {
            return Err(CallError::NothingToRollOut { channel: channel.clone(), version: target.version });
        }
        let fallback = offerable(batch.connection(), product, platform, fallback)?;
        for pointer in [&target, &fallback] {
            minimums::check_offer(batch.connection(), place, &pointer.version)?;
        }
        let rollout = Rollout {
            target: target.version.clone(),
            fallback: fallback.version.clone(),
            salt,
            motion: Motion::Running,
            steps: wanted.steps.clone(),
            manual_check: wanted.manual_check,
        };
        check(batch.connection(), &rollout)?;
        delegation_to_sign(node, batch.connection(), &row, batch.now())?;
        rollouts::insert(batch.connection(), place, &rollout, batch.now())?;
        // Edges learn who waits before they learn of what is new.
        tell_policy(batch, place)?;
        let next = Next {
            product,
            platform,
            channel,
            target: &target,
            fallback: Some(&fallback),
            sequence: current.as_ref().map_or(0, |state| state.sequence) + 1,
            previous: previous_version(current.as_ref(), &target),
        };
        let state = channels::sign_and_store(node, batch, next)?;
        channels::tell_offer(batch, product, &state)?;
        let open = rollouts::open(batch.connection(), place)?.ok_or_else(|| no_rollout(place))?;
        let row = describe(open, batch.now());
        batch.audit(&Deed::new("rollout.start", subject(place)).after(&row)?)?;
        Ok((row, Made::New))
    })
}

/// Steers the rollout that goes on in a channel. Ending it twice in the same way is well.
pub(crate) fn steer(
    node: &Node,
    actor: &Actor,
    condition: &Condition,
    place: Place<'_>,
    verb: Verb,
) -> Result<RolloutRow, CallError> {
    node.record.write(actor, node.now(), |batch| {
        find(batch.connection(), place.product)?;
        check_condition(batch, condition, place)?;
        let Some(mut open) = rollouts::open(batch.connection(), place)? else {
            let ended = rollouts::newest(batch.connection(), place)?;
            let is_done = |row: &RolloutState| match (&verb, row.ended) {
                (Verb::Halt, Some((_, outcome))) => outcome == Outcome::Halted,
                (Verb::Finish, Some((_, outcome))) => outcome == Outcome::Finished,
                _ => false,
            };
            let ended = ended.filter(is_done).ok_or_else(|| no_rollout(place))?;
            return Ok(describe(ended, batch.now()));
        };
        let now = batch.now();
        let rollout = open.rollout.clone();
        let (steered, deed) = match verb {
            Verb::Pause => (rollout.paused(now)?, "rollout.pause"),
            Verb::Resume => (rollout.resumed(now)?, "rollout.resume"),
            Verb::Steps(change) => (rollout.with_steps(change, now)?, "rollout.steps"),
            Verb::Halt => return halt(node, batch, open),
            Verb::Finish if rollout.motion == Motion::Halted => return Err(SteerError::Halted.into()),
            Verb::Finish => return end(node, batch, &open, Outcome::Finished),
        };
        if steered != open.rollout {
            check(batch.connection(), &steered)?;
            rollouts::steer(batch.connection(), open.id, &steered)?;
            let before = describe(open.clone(), now);
            open.rollout = steered;
            let deed = Deed::new(deed, subject(place)).before(&before)?;
            batch.audit(&deed.after(&describe(open.clone(), now))?)?;
            tell_policy(batch, place)?;
        }
        Ok(describe(open, now))
    })
}

/// Holds a condition against the newest rollout, which is what can be read of a channel. A step that came into force by
/// itself meanwhile is a change too.
fn check_condition(batch: &Batch<'_>, condition: &Condition, place: Place<'_>) -> Result<(), CallError> {
    let newest = rollouts::newest(batch.connection(), place)?;
    condition.check(newest.map(|row| describe(row, batch.now())).as_ref())
}

/// The newest rollout of a channel, whether it goes on or ended.
pub(crate) fn get(node: &Node, place: Place<'_>) -> Result<RolloutRow, CallError> {
    node.record.read(|connection| {
        find(connection, place.product)?;
        let newest = rollouts::newest(connection, place)?.ok_or_else(|| no_rollout(place))?;
        Ok(describe(newest, node.now()))
    })
}

/// A product's rollouts, newest first.
pub(crate) fn list(node: &Node, product: &ProductId) -> Result<RolloutsAnswer, CallError> {
    node.record.read(|connection| {
        find(connection, product)?;
        let rows = rollouts::list(connection, product, PAGE_ROWS_MAX as u64)?;
        Ok(RolloutsAnswer { rollouts: rows.into_iter().map(|row| describe(row, node.now())).collect() })
    })
}

/// Halts all rollouts that bring a release, because it is withdrawn; returns their channels.
pub(crate) fn halt_all(node: &Node, batch: &mut Batch<'_>, release: &Release) -> Result<Vec<ChannelName>, CallError> {
    let Release { product, platform, version, .. } = release;
    let open = rollouts::bringing(batch.connection(), product, platform, version)?;
    let mut channels: Vec<ChannelName> = open.iter().map(|row| row.channel.clone()).collect();
    open.into_iter().try_for_each(|row| halt(node, batch, row).map(drop))?;
    channels.sort_unstable();
    Ok(channels)
}

/// Rollouts that were halted while no head could be signed.
pub(crate) fn halting(connection: &Connection, product: &ProductId) -> Result<Vec<RolloutState>, RecordError> {
    let mut open = rollouts::all_open(connection)?;
    open.retain(|row| row.product == *product && row.rollout.motion == Motion::Halted);
    Ok(open)
}

/// Ends them, now that heads can be signed; returns how many.
pub(crate) fn settle(node: &Node, batch: &mut Batch<'_>, product: &ProductId) -> Result<u64, CallError> {
    let open = halting(batch.connection(), product)?;
    open.iter().try_for_each(|row| end(node, batch, row, Outcome::Halted).map(drop))?;
    Ok(open.len() as u64)
}

/// Tells how each channel moves, and what it supports.
pub(crate) fn tell_all(connection: &Connection, newest: u64, tell: &mut Teller<'_>) -> Result<(), CallError> {
    for (product, platform, channel) in rollouts::steered(connection)? {
        let place = Place { product: &product, platform: &platform, channel: &channel };
        tell(newest, policy(connection, place)?)?;
    }
    Ok(())
}

/// Tells how a channel moves and what it supports, as it is in this transaction.
pub(crate) fn tell_policy(batch: &mut Batch<'_>, place: Place<'_>) -> Result<(), CallError> {
    let policy = policy(batch.connection(), place)?;
    Ok(batch.tell(policy)?)
}

fn policy(connection: &Connection, place: Place<'_>) -> Result<CatalogChange, RecordError> {
    Ok(CatalogChange::ChannelPolicy {
        product: place.product.clone(),
        platform: place.platform.clone(),
        channel: place.channel.clone(),
        rollout: rollouts::open(connection, place)?.map(|open| open.rollout),
        minimum: rollouts::minimum(connection, place)?,
    })
}

/// Everybody gets the fallback.
fn halt(node: &Node, batch: &mut Batch<'_>, mut open: RolloutState) -> Result<RolloutRow, CallError> {
    match end(node, batch, &open, Outcome::Halted) {
        Err(error @ (CallError::Delegation(_) | CallError::NoPublisher(_))) => {
            let error = crate::error::chain(&error);
            let (product, channel) = (&open.product, &open.channel);
            tracing::error!(
                %product, %channel, error,
                "a rollout is halted by the edges alone: no head can be signed until the publisher delegates anew",
            );
            let before = describe(open.clone(), batch.now());
            if open.rollout.motion != Motion::Halted {
                open.rollout.motion = Motion::Halted;
                let place = Place { product: &open.product, platform: &open.platform, channel: &open.channel };
                rollouts::steer(batch.connection(), open.id, &open.rollout)?;
                let deed = Deed::new("rollout.halt", subject(place)).before(&before)?;
                batch.audit(&deed.after(&describe(open.clone(), batch.now()))?)?;
                tell_policy(batch, place)?;
            }
            Ok(describe(open, batch.now()))
        }
        other => other,
    }
}

/// Ends a rollout with a head that points at one release only. Whether a head can be signed is looked at first.
fn end(node: &Node, batch: &mut Batch<'_>, open: &RolloutState, outcome: Outcome) -> Result<RolloutRow, CallError> {
    let RolloutState { product, platform, channel, .. } = open;
    let place = Place { product, platform, channel };
    let row = find(batch.connection(), product)?;
    delegation_to_sign(node, batch.connection(), &row, batch.now())?;
    let version = match outcome {
        // Also when it was withdrawn: what was halted must not be offered on for that.
        Outcome::Halted => &open.rollout.fallback,
        Outcome::Finished => &offerable(batch.connection(), product, platform, &open.rollout.target)?.version,
    };
    let release = find_release(batch.connection(), product, platform, version)?.release;
    let only = Pointer { version: release.version, manifest: release.manifest, manifest_bytes: release.manifest_bytes };
    let current = record::channels::get(batch.connection(), product, platform, channel)?;
    let next = Next {
        product,
        platform,
        channel,
        target: &only,
        fallback: None,
        sequence: current.as_ref().map_or(0, |state| state.sequence) + 1,
        previous: previous_version(current.as_ref(), &only),
    };
    // Edges keep their choice until they know the head that leaves them none.
    let state = channels::sign_and_store(node, batch, next)?;
    channels::tell_offer(batch, product, &state)?;
    rollouts::end(batch.connection(), open.id, outcome, batch.now())?;
    tell_policy(batch, place)?;
    let row = describe(RolloutState { ended: Some((batch.now(), outcome)), ..open.clone() }, batch.now());
    let deed = match outcome {
        Outcome::Halted => "rollout.halt",
        Outcome::Finished => "rollout.finish",
    };
    let deed = Deed::new(deed, subject(place)).before(&describe(open.clone(), batch.now()))?;
    batch.audit(&deed.after(&row)?)?;
    Ok(row)
}

/// What the audit calls it.
pub(crate) fn subject(place: Place<'_>) -> String {
    format!("product/{}/channel/{}/{}", place.product, place.channel, place.platform)
}

fn check(connection: &Connection, rollout: &Rollout) -> Result<(), CallError> {
    rollout.check_steps()?;
    segments::check_there(connection, rollout.steps.iter().flat_map(|step| &step.segments))
}

/// Whether a rollout that goes on is the one that is asked for.
fn is_same(open: &Rollout, wanted: &PutRollout) -> bool {
    open.target == wanted.target
        && wanted.fallback.as_ref().is_none_or(|fallback| *fallback == open.fallback)
        && open.steps == wanted.steps
        && open.manual_check == wanted.manual_check
        && open.motion != Motion::Halted
}

fn no_rollout(place: Place<'_>) -> CallError {
    CallError::NoRollout {
        product: place.product.clone(),
        platform: place.platform.clone(),
        channel: place.channel.clone(),
    }
}

/// A rollout as the desk sees it at `now`.
fn describe(row: RolloutState, now: UnixSeconds) -> RolloutRow {
    let state = match (row.ended, row.rollout.motion) {
        (Some((_, Outcome::Halted)), _) => State::Halted,
        (Some((_, Outcome::Finished)), _) => State::Finished,
        (None, Motion::Halted) => State::Halting,
        (None, Motion::Paused { .. }) => State::Paused,
        (None, Motion::Running) => State::Running,
    };
    let in_force = if row.ended.is_some() { Vec::new() } else { row.rollout.in_force(now) };
    let Rollout { target, fallback, motion, steps, manual_check, .. } = row.rollout;
    RolloutRow {
        id: row.id,
        product: row.product,
        platform: row.platform,
        channel: row.channel,
        target,
        fallback,
        state,
        paused: match motion {
            Motion::Paused { at } if row.ended.is_none() => Some(at),
            _ => None,
        },
        steps,
        in_force: in_force.into_iter().map(|number| number as u64).collect(),
        manual_check,
        started: row.started,
        ended: row.ended.map(|(at, _)| at),
    }
}
