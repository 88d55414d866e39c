//! `/admin/v1/status`, `/admin/v1/tokens`, `/admin/v1/jwks`, `/admin/v1/explain`: the node itself.

use super::extract::{Answer, JsonOf};
use crate::control::{Handle, Lane, Node};
use crate::error::CallError;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use penstock_core::api::{MintToken, TokenAnswer};
use penstock_core::desk::{ExplainAnswer, ExplainQuestion, JwksAnswer, StatusAnswer};

pub(super) fn routes() -> Router<Handle> {
    Router::new()
        .route("/admin/v1/status", get(status))
        .route("/admin/v1/tokens", post(mint))
        .route("/admin/v1/jwks", get(jwks))
        .route("/admin/v1/explain", post(explain))
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
