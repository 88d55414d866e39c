//! `/admin/v1/products/{p}/releases`, `…/{v}`, `…/{v}/withdraw`, `…/{v}/restore`.

use super::extract::{Answer, JsonOf, PathOf, PlatformQuery, QueryOf};
use super::products::status;
use super::table::{Routes, get, post};
use crate::actor::Actor;
use crate::answers::ReleaseChange;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::permit::Permission;
use crate::releases::{self, Members};
use crate::walls;
use axum::extract::State;
use http::StatusCode;
use penstock_core::api::{RegisterRelease, ReleasesAnswer, ReuseAnswer, ReuseQuestion};
use penstock_core::catalog::{Release, ReleaseState};
use penstock_core::desk::{ReleaseDetail, ReleasesQuery};
use penstock_core::id::{Platform, ProductId, Version};
use serde::Deserialize;

pub(super) fn routes() -> Routes {
    let (all, one) = ("/admin/v1/products/{product}/releases", "/admin/v1/products/{product}/releases/{version}");
    let (withdrawn, restored) = (
        "/admin/v1/products/{product}/releases/{version}/withdraw",
        "/admin/v1/products/{product}/releases/{version}/restore",
    );
    Routes::new()
        .add(get(all, Permission::CatalogueRead, "List a product's releases, newest first", list))
        .add(post(all, Permission::ReleasesWrite, "Register a release", register).answers(&[200, 201]))
        .add(post(
            "/admin/v1/products/{product}/reuse",
            Permission::BlobsWrite,
            "Which of these blobs a new release had better not share",
            reuse,
        ))
        .add(get(one, Permission::CatalogueRead, "Show a release", show))
        .add(post(withdrawn, Permission::ReleasesWithdraw, "Take a release back", withdraw))
        .add(post(restored, Permission::ReleasesWithdraw, "Give a release out again", restore))
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ShowQuery {
    #[serde(default = "Platform::any")]
    platform: Platform,
    #[serde(default)]
    members: bool,
}

async fn list(
    State(handle): State<Handle>,
    PathOf(product): PathOf<ProductId>,
    QueryOf(wanted): QueryOf<ReleasesQuery>,
) -> Result<Answer<ReleasesAnswer>, CallError> {
    let releases = handle.run(Lane::Read, move |node| releases::list(node, &product, &wanted)).await?;
    Ok(Answer(StatusCode::OK, ReleasesAnswer { releases }))
}

/// 201 for a new release, 200 for the same one again.
async fn register(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(product): PathOf<ProductId>,
    JsonOf(request): JsonOf<RegisterRelease>,
) -> Result<Answer<Release>, CallError> {
    let (release, made) =
        handle.run(Lane::Check, move |node| releases::register(node, &actor, &product, &request)).await?;
    Ok(Answer(status(made), release))
}

async fn reuse(
    State(handle): State<Handle>,
    PathOf(product): PathOf<ProductId>,
    JsonOf(question): JsonOf<ReuseQuestion>,
) -> Result<Answer<ReuseAnswer>, CallError> {
    let answer = handle.run(Lane::Read, move |node| walls::unfit(node, &product, &question)).await?;
    Ok(Answer(StatusCode::OK, answer))
}

async fn show(
    State(handle): State<Handle>,
    PathOf((product, version)): PathOf<(ProductId, Version)>,
    QueryOf(query): QueryOf<ShowQuery>,
) -> Result<Answer<ReleaseDetail>, CallError> {
    let members = if query.members { Members::List } else { Members::LeaveOut };
    let detail =
        handle.run(Lane::Read, move |node| releases::get(node, &product, &query.platform, &version, members)).await?;
    Ok(Answer(StatusCode::OK, detail))
}

async fn withdraw(
    handle: State<Handle>,
    actor: Actor,
    names: PathOf<(ProductId, Version)>,
    query: QueryOf<PlatformQuery>,
) -> Result<Answer<ReleaseChange>, CallError> {
    set_state(handle, actor, names, query, ReleaseState::Withdrawn).await
}

async fn restore(
    handle: State<Handle>,
    actor: Actor,
    names: PathOf<(ProductId, Version)>,
    query: QueryOf<PlatformQuery>,
) -> Result<Answer<ReleaseChange>, CallError> {
    set_state(handle, actor, names, query, ReleaseState::Live).await
}

async fn set_state(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf((product, version)): PathOf<(ProductId, Version)>,
    QueryOf(PlatformQuery { platform }): QueryOf<PlatformQuery>,
    state: ReleaseState,
) -> Result<Answer<ReleaseChange>, CallError> {
    let change = move |node: &_| releases::set_state(node, &actor, &product, &platform, &version, state);
    Ok(Answer(StatusCode::OK, handle.run(Lane::Write, change).await?))
}
