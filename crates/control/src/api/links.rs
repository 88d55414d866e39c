//! `/admin/v1/links`, `…/key`.

use super::extract::{Answer, JsonOf};
use super::table::{Routes, get, post};
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::links;
use crate::permit::Permission;
use axum::extract::State;
use http::StatusCode;
use penstock_core::link::{LinkAnswer, LinkKeyAnswer, PostLink};

pub(super) fn routes() -> Routes {
    Routes::new()
        .add(post("/admin/v1/links", Permission::TokensMint, "Sign a link for an account", sign).answers(&[201]))
        .add(get("/admin/v1/links/key", Permission::Status, "The key that verifies this node's links", key))
}

async fn sign(State(handle): State<Handle>, JsonOf(wanted): JsonOf<PostLink>) -> Result<Answer<LinkAnswer>, CallError> {
    Ok(Answer(StatusCode::CREATED, handle.run(Lane::Read, move |node| links::sign(node, &wanted)).await?))
}

async fn key(State(handle): State<Handle>) -> Answer<LinkKeyAnswer> {
    Answer(StatusCode::OK, LinkKeyAnswer { key: handle.node.keys.link.public() })
}
