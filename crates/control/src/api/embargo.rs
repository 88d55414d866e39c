//! `/admin/v1/embargo`, `…/versions`.

use super::extract::{Answer, JsonOf, QueryOf, Tagged};
use super::table::{Routes, get, put};
use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::{Handle, Lane};
use crate::embargo;
use crate::error::CallError;
use crate::permit::Permission;
use axum::extract::State;
use http::StatusCode;
use penstock_core::desk::policy::{EmbargoAnswer, EmbargoVersionsAnswer};
use penstock_core::place::Embargo;
use serde::Deserialize;

pub(super) fn routes() -> Routes {
    let (one, versions_of) = ("/admin/v1/embargo", "/admin/v1/embargo/versions");
    Routes::new()
        .add(get(one, Permission::EmbargoRead, "Show the embargo policy, or one of its versions", show))
        .add(put(one, Permission::EmbargoWrite, "Replace the embargo policy", replace))
        .add(get(versions_of, Permission::EmbargoRead, "List the policy's versions, newest first", versions))
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct VersionQuery {
    version: Option<u64>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    before: Option<u64>,
    limit: Option<u64>,
}

async fn show(
    State(handle): State<Handle>,
    QueryOf(query): QueryOf<VersionQuery>,
) -> Result<Tagged<Embargo>, CallError> {
    let policy = handle.run(Lane::Read, move |node| embargo::get(node, query.version)).await?;
    Ok(Tagged(StatusCode::OK, policy))
}

async fn versions(
    State(handle): State<Handle>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Answer<EmbargoVersionsAnswer>, CallError> {
    let page = handle.run(Lane::Read, move |node| embargo::versions(node, query.before, query.limit)).await?;
    Ok(Answer(StatusCode::OK, page))
}

async fn replace(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    JsonOf(wanted): JsonOf<Embargo>,
) -> Result<Answer<EmbargoAnswer>, CallError> {
    let answer = handle.run(Lane::Write, move |node| embargo::put(node, &actor, &condition, &wanted)).await?;
    Ok(Answer(StatusCode::OK, answer))
}
