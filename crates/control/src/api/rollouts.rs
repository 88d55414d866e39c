//! `/admin/v1/products/{p}/rollouts`, `…/channels/{c}/rollout` with its verbs and steps, `…/channels/{c}/minimum`.

use super::extract::{Answer, JsonOf, PathOf, PlatformQuery, QueryOf, Tagged};
use super::products::status;
use super::table::{Routes, delete, get, post, put};
use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::minimums;
use crate::permit::Permission;
use crate::record::rollouts::Place;
use crate::rollouts::{self, Verb};
use axum::extract::State;
use http::StatusCode;
use penstock_core::desk::policy::{
    MinimumAnswer, PutMinimum, PutRollout, PutStep, RolloutRow, RolloutsAnswer, SteerRollout,
};
use penstock_core::id::{ChannelName, Platform, ProductId};
use penstock_core::rollout::StepChange;

const ROLLOUT: &str = "/admin/v1/products/{product}/channels/{channel}/rollout";
const PAUSE: &str = "/admin/v1/products/{product}/channels/{channel}/rollout/pause";
const RESUME: &str = "/admin/v1/products/{product}/channels/{channel}/rollout/resume";
const HALT: &str = "/admin/v1/products/{product}/channels/{channel}/rollout/halt";
const FINISH: &str = "/admin/v1/products/{product}/channels/{channel}/rollout/finish";
const STEPS: &str = "/admin/v1/products/{product}/channels/{channel}/rollout/steps";
const STEP: &str = "/admin/v1/products/{product}/channels/{channel}/rollout/steps/{step}";
const MINIMUM: &str = "/admin/v1/products/{product}/channels/{channel}/minimum";

pub(super) fn routes() -> Routes {
    let (read, write) = (Permission::SegmentsRead, Permission::ChannelsWrite);
    Routes::new()
        .add(get("/admin/v1/products/{product}/rollouts", read, "List a product's rollouts, newest first", list))
        .add(get(ROLLOUT, read, "Show a channel's newest rollout", show))
        .add(put(ROLLOUT, write, "Start a rollout, with nobody in it but by a step", start).answers(&[200, 201]))
        .add(post(PAUSE, write, "Let nobody join a rollout", pause))
        .add(post(RESUME, write, "Go on with a rollout", resume))
        .add(post(HALT, write, "Pull the brake: everybody gets the fallback", halt))
        .add(post(FINISH, write, "End a rollout: everybody gets the target", finish))
        .add(post(STEPS, write, "Add a step", add_step))
        .add(put(STEP, write, "Change a step; one in force can only rise", replace_step))
        .add(delete(STEP, write, "Remove a step that is not in force", remove_step))
        .add(get(MINIMUM, Permission::CatalogueRead, "Show the oldest version that a channel supports", minimum))
        .add(put(MINIMUM, write, "Set the oldest version that a channel supports", put_minimum))
}

type Channel = (ProductId, ChannelName);
type ChannelStep = (ProductId, ChannelName, usize);

async fn list(
    State(handle): State<Handle>,
    PathOf(product): PathOf<ProductId>,
) -> Result<Answer<RolloutsAnswer>, CallError> {
    let rollouts = handle.run(Lane::Read, move |node| rollouts::list(node, &product)).await?;
    Ok(Answer(StatusCode::OK, rollouts))
}

async fn show(
    State(handle): State<Handle>,
    PathOf((product, channel)): PathOf<Channel>,
    QueryOf(PlatformQuery { platform }): QueryOf<PlatformQuery>,
) -> Result<Tagged<RolloutRow>, CallError> {
    let look = move |node: &_| rollouts::get(node, Place { product: &product, platform: &platform, channel: &channel });
    Ok(Tagged(StatusCode::OK, handle.run(Lane::Read, look).await?))
}

/// 201 for a new rollout, 200 for the very same one again.
async fn start(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf((product, channel)): PathOf<Channel>,
    JsonOf(wanted): JsonOf<PutRollout>,
) -> Result<Tagged<RolloutRow>, CallError> {
    let start = move |node: &_| rollouts::start(node, &actor, &condition, &product, &channel, &wanted);
    let (row, made) = handle.run(Lane::Check, start).await?;
    Ok(Tagged(status(made), row))
}

async fn steer(
    handle: &Handle,
    actor: Actor,
    condition: Condition,
    (product, channel): Channel,
    platform: Platform,
    verb: Verb,
) -> Result<Tagged<RolloutRow>, CallError> {
    let work = move |node: &_| {
        let place = Place { product: &product, platform: &platform, channel: &channel };
        rollouts::steer(node, &actor, &condition, place, verb)
    };
    Ok(Tagged(StatusCode::OK, handle.run(Lane::Write, work).await?))
}

async fn pause(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf(channel): PathOf<Channel>,
    JsonOf(wanted): JsonOf<SteerRollout>,
) -> Result<Tagged<RolloutRow>, CallError> {
    steer(&handle, actor, condition, channel, wanted.platform, Verb::Pause).await
}

async fn resume(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf(channel): PathOf<Channel>,
    JsonOf(wanted): JsonOf<SteerRollout>,
) -> Result<Tagged<RolloutRow>, CallError> {
    steer(&handle, actor, condition, channel, wanted.platform, Verb::Resume).await
}

async fn halt(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf(channel): PathOf<Channel>,
    JsonOf(wanted): JsonOf<SteerRollout>,
) -> Result<Tagged<RolloutRow>, CallError> {
    steer(&handle, actor, condition, channel, wanted.platform, Verb::Halt).await
}

async fn finish(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf(channel): PathOf<Channel>,
    JsonOf(wanted): JsonOf<SteerRollout>,
) -> Result<Tagged<RolloutRow>, CallError> {
    steer(&handle, actor, condition, channel, wanted.platform, Verb::Finish).await
}

async fn add_step(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf(channel): PathOf<Channel>,
    JsonOf(wanted): JsonOf<PutStep>,
) -> Result<Tagged<RolloutRow>, CallError> {
    steer(&handle, actor, condition, channel, wanted.platform, Verb::Steps(StepChange::Add(wanted.step))).await
}

async fn replace_step(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf((product, channel, step)): PathOf<ChannelStep>,
    JsonOf(wanted): JsonOf<PutStep>,
) -> Result<Tagged<RolloutRow>, CallError> {
    let verb = Verb::Steps(StepChange::Replace(step, wanted.step));
    steer(&handle, actor, condition, (product, channel), wanted.platform, verb).await
}

async fn remove_step(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf((product, channel, step)): PathOf<ChannelStep>,
    QueryOf(PlatformQuery { platform }): QueryOf<PlatformQuery>,
) -> Result<Tagged<RolloutRow>, CallError> {
    steer(&handle, actor, condition, (product, channel), platform, Verb::Steps(StepChange::Remove(step))).await
}

async fn minimum(
    State(handle): State<Handle>,
    PathOf((product, channel)): PathOf<Channel>,
    QueryOf(PlatformQuery { platform }): QueryOf<PlatformQuery>,
) -> Result<Tagged<MinimumAnswer>, CallError> {
    let look = move |node: &_| minimums::get(node, Place { product: &product, platform: &platform, channel: &channel });
    Ok(Tagged(StatusCode::OK, handle.run(Lane::Read, look).await?))
}

async fn put_minimum(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf((product, channel)): PathOf<Channel>,
    JsonOf(PutMinimum { platform, minimum }): JsonOf<PutMinimum>,
) -> Result<Tagged<MinimumAnswer>, CallError> {
    let work = move |node: &_| {
        let place = Place { product: &product, platform: &platform, channel: &channel };
        minimums::put(node, &actor, &condition, place, minimum)
    };
    Ok(Tagged(StatusCode::OK, handle.run(Lane::Write, work).await?))
}
