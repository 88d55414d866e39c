//! `/admin/v1/revocations`, `…/{id}`.

use super::extract::{Answer, JsonOf, PathOf, QueryOf};
use super::table::{Routes, get, post};
use crate::actor::Actor;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::permit::Permission;
use crate::revocations;
use axum::extract::State;
use http::StatusCode;
use penstock_core::account::TokenKey;
use penstock_core::desk::policy::{PostRevocations, RevocationRow, RevocationsAnswer, RevocationsTaken};
use serde::Deserialize;

pub(super) fn routes() -> Routes {
    let (all, one) = ("/admin/v1/revocations", "/admin/v1/revocations/{id}");
    Routes::new()
        .add(get(all, Permission::AccountsRead, "List revoked tokens by pseudonym, page by page", list))
        .add(post(all, Permission::TokensEnd, "Revoke tokens, up to 10,000 at once", take))
        .add(get(one, Permission::AccountsRead, "Say whether the token of an id is revoked", show))
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    after: Option<TokenKey>,
    limit: Option<u64>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct IssuerQuery {
    issuer: Option<String>,
}

async fn list(
    State(handle): State<Handle>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Answer<RevocationsAnswer>, CallError> {
    let page = handle.run(Lane::Read, move |node| revocations::page(node, query.after, query.limit)).await?;
    Ok(Answer(StatusCode::OK, page))
}

async fn show(
    State(handle): State<Handle>,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf<IssuerQuery>,
) -> Result<Answer<RevocationRow>, CallError> {
    let row = handle.run(Lane::Read, move |node| revocations::get(node, query.issuer.as_deref(), &id)).await?;
    Ok(Answer(StatusCode::OK, row))
}

async fn take(
    State(handle): State<Handle>,
    actor: Actor,
    JsonOf(wanted): JsonOf<PostRevocations>,
) -> Result<Answer<RevocationsTaken>, CallError> {
    let taken = handle.run(Lane::Write, move |node| revocations::take(node, &actor, &wanted)).await?;
    Ok(Answer(StatusCode::OK, taken))
}
