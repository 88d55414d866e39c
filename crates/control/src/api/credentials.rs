//! `/admin/v1/credentials`, `…/{name}`.

use super::extract::{Answer, JsonOf, PathOf, QueryOf, Tagged};
use super::table::{Routes, delete, get, post};
use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::{Handle, Lane};
use crate::credentials;
use crate::error::CallError;
use crate::permit::Permission;
use axum::extract::State;
use http::StatusCode;
use penstock_core::credential::{Credential, CredentialMade, CredentialsAnswer, PostCredential};
use penstock_core::id::CredentialName;
use serde::Deserialize;

pub(super) fn routes() -> Routes {
    let (all, one) = ("/admin/v1/credentials", "/admin/v1/credentials/{name}");
    Routes::new()
        .add(get(all, Permission::CredentialsRead, "List credentials, page by page", list))
        .add(
            post(all, Permission::CredentialsWrite, "Make a credential; its secret is in this answer only", add)
                .answers(&[201])
                .secret(),
        )
        .add(get(one, Permission::CredentialsRead, "Show a credential", show))
        .add(delete(one, Permission::CredentialsWrite, "Revoke a credential", revoke))
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    after: Option<CredentialName>,
    limit: Option<u64>,
}

async fn list(
    State(handle): State<Handle>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Answer<CredentialsAnswer>, CallError> {
    let page = handle.run(Lane::Read, move |node| credentials::page(node, query.after.as_ref(), query.limit)).await?;
    Ok(Answer(StatusCode::OK, page))
}

async fn show(
    State(handle): State<Handle>,
    PathOf(name): PathOf<CredentialName>,
) -> Result<Tagged<Credential>, CallError> {
    Ok(Tagged(StatusCode::OK, handle.run(Lane::Read, move |node| credentials::get(node, &name)).await?))
}

async fn add(
    State(handle): State<Handle>,
    actor: Actor,
    JsonOf(wanted): JsonOf<PostCredential>,
) -> Result<Answer<CredentialMade>, CallError> {
    let made = handle.run(Lane::Write, move |node| credentials::add(node, &actor, &wanted)).await?;
    Ok(Answer(StatusCode::CREATED, made))
}

async fn revoke(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf(name): PathOf<CredentialName>,
) -> Result<Tagged<Credential>, CallError> {
    let revoked = handle.run(Lane::Write, move |node| credentials::revoke(node, &actor, &condition, &name)).await?;
    Ok(Tagged(StatusCode::OK, revoked))
}
