//! `/admin/v1/status`, `/admin/v1/tokens`, `/admin/v1/jwks`, `/admin/v1/explain`: the node itself.

use super::extract::{Answer, JsonOf};
use super::table::{Routes, get, post};
use crate::control::{Handle, Lane, Node};
use crate::error::CallError;
use crate::permit::Permission;
use axum::extract::State;
use http::StatusCode;
use penstock_core::api::{MintToken, TokenAnswer};
use penstock_core::desk::{ExplainAnswer, ExplainQuestion, JwksAnswer, StatusAnswer};

pub(super) fn routes() -> Routes {
    Routes::new()
        .add(get("/admin/v1/status", Permission::Status, "The node in numbers", status))
        .add(post("/admin/v1/tokens", Permission::TokensMint, "Sign a token for an account", mint).answers(&[201]))
        .add(get("/admin/v1/jwks", Permission::Status, "The keys that verify this node's tokens", jwks))
        .add(post("/admin/v1/explain", Permission::Explain, "Why somebody may or may not read something", explain))
}

async fn status(State(handle): State<Handle>) -> Result<Answer<StatusAnswer>, CallError> {
    Ok(Answer(StatusCode::OK, handle.run(Lane::Read, Node::status).await?))
}

/// A signature costs about 50 µs, so it needs no blocking thread.
async fn mint(
    State(handle): State<Handle>,
    JsonOf(wanted): JsonOf<MintToken>,
) -> Result<Answer<TokenAnswer>, CallError> {
    let answer = handle.node.signer.mint(&wanted, handle.node.now())?;
    Ok(Answer(StatusCode::CREATED, answer))
}

/// May wait for the disk where an account's page is not in memory.
async fn explain(
    State(handle): State<Handle>,
    JsonOf(question): JsonOf<ExplainQuestion>,
) -> Result<Answer<ExplainAnswer>, CallError> {
    Ok(Answer(StatusCode::OK, handle.run(Lane::Read, move |node| node.explain(&question)).await?))
}

async fn jwks(State(handle): State<Handle>) -> Answer<JwksAnswer> {
    Answer(StatusCode::OK, handle.node.signer.jwks())
}
