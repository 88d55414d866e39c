//! `/admin/v1/products/{p}/channels`, `…/{c}`.

use super::extract::{Answer, JsonOf, PathOf, PlatformQuery, QueryOf};
use crate::answers::{ChannelStanding, ChannelsStanding};
use crate::channels;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use penstock_core::api::MoveChannel;
use penstock_core::id::{ChannelName, ProductId};

pub(super) fn routes() -> Router<Handle> {
    Router::new()
        .route("/admin/v1/products/{product}/channels", get(list))
        .route("/admin/v1/products/{product}/channels/{channel}", get(show).put(move_to))
}

async fn list(
    State(handle): State<Handle>,
    PathOf(product): PathOf<ProductId>,
) -> Result<Answer<ChannelsStanding>, CallError> {
    let channels = handle.run(Lane::Read, move |node| channels::list(node, &product)).await?;
    Ok(Answer(StatusCode::OK, ChannelsStanding { channels }))
}

async fn show(
    State(handle): State<Handle>,
    PathOf((product, channel)): PathOf<(ProductId, ChannelName)>,
    QueryOf(PlatformQuery { platform }): QueryOf<PlatformQuery>,
) -> Result<Answer<ChannelStanding>, CallError> {
    let row = handle.run(Lane::Read, move |node| channels::get(node, &product, &platform, &channel)).await?;
    Ok(Answer(StatusCode::OK, row))
}

async fn move_to(
    State(handle): State<Handle>,
    PathOf((product, channel)): PathOf<(ProductId, ChannelName)>,
    JsonOf(wanted): JsonOf<MoveChannel>,
) -> Result<Answer<ChannelStanding>, CallError> {
    let row = handle.run(Lane::Check, move |node| channels::move_to(node, &product, &channel, &wanted)).await?;
    Ok(Answer(StatusCode::OK, row))
}
