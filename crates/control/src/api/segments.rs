//! `/admin/v1/segments`, `…/{name}`, `…/{name}/test`.

use super::extract::{Answer, JsonOf, PathOf, Tagged};
use super::products::status;
use super::table::{Routes, delete, get, post, put};
use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::permit::Permission;
use crate::segments;
use axum::extract::State;
use http::StatusCode;
use penstock_core::desk::policy::{PutSegment, SegmentDetail, SegmentVerdict, SegmentsAnswer, TestSegment};
use penstock_core::id::SegmentName;

pub(super) fn routes() -> Routes {
    let (all, one) = ("/admin/v1/segments", "/admin/v1/segments/{name}");
    Routes::new()
        .add(get(all, Permission::SegmentsRead, "List segments", list))
        .add(get(one, Permission::SegmentsRead, "Show a segment and its rule", show))
        .add(put(one, Permission::ChannelsWrite, "Make a segment or replace its rule", replace).answers(&[200, 201]))
        .add(delete(one, Permission::ChannelsWrite, "Remove a segment that nothing refers to", remove))
        .add(post("/admin/v1/segments/{name}/test", Permission::AccountsRead, "Say who is in a segment, and why", test))
}

async fn list(State(handle): State<Handle>) -> Result<Answer<SegmentsAnswer>, CallError> {
    let segments = handle.run(Lane::Read, segments::list).await?;
    Ok(Answer(StatusCode::OK, segments))
}

async fn show(
    State(handle): State<Handle>,
    PathOf(name): PathOf<SegmentName>,
) -> Result<Tagged<SegmentDetail>, CallError> {
    let segment = handle.run(Lane::Read, move |node| segments::get(node, &name)).await?;
    Ok(Tagged(StatusCode::OK, segment))
}

/// 201 for a new segment, 200 for one that was there.
async fn replace(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf(name): PathOf<SegmentName>,
    JsonOf(wanted): JsonOf<PutSegment>,
) -> Result<Tagged<SegmentDetail>, CallError> {
    let put = move |node: &_| segments::put(node, &actor, &condition, name, wanted);
    let (segment, made) = handle.run(Lane::Write, put).await?;
    Ok(Tagged(status(made), segment))
}

async fn remove(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf(name): PathOf<SegmentName>,
) -> Result<Tagged<SegmentDetail>, CallError> {
    let remove = move |node: &_| segments::remove(node, &actor, &condition, &name);
    let segment = handle.run(Lane::Write, remove).await?;
    Ok(Tagged(StatusCode::OK, segment))
}

async fn test(
    State(handle): State<Handle>,
    PathOf(name): PathOf<SegmentName>,
    JsonOf(wanted): JsonOf<TestSegment>,
) -> Result<Answer<SegmentVerdict>, CallError> {
    let verdict = handle.run(Lane::Read, move |node| segments::test(node, &name, &wanted)).await?;
    Ok(Answer(StatusCode::OK, verdict))
}
