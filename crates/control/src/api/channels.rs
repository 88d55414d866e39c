//! `/admin/v1/products/{p}/channels`, `…/{c}`.

use super::extract::{Answer, JsonOf, PathOf, PlatformQuery, QueryOf, Tagged};
use super::table::{Routes, get, put};
use crate::actor::Actor;
use crate::answers::{ChannelStanding, ChannelsStanding};
use crate::channels;
use crate::condition::Condition;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::permit::Permission;
use axum::extract::State;
use http::StatusCode;
use penstock_core::api::MoveChannel;
use penstock_core::id::{ChannelName, ProductId};

pub(super) fn routes() -> Routes {
    let (all, one) = ("/admin/v1/products/{product}/channels", "/admin/v1/products/{product}/channels/{channel}");
    Routes::new()
        .add(get(all, Permission::CatalogueRead, "List what a product's channels offer", list))
        .add(get(one, Permission::CatalogueRead, "Show what a channel offers", show))
        .add(put(one, Permission::ChannelsWrite, "Offer a registered release in a channel", move_to))
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
) -> Result<Tagged<ChannelStanding>, CallError> {
    let row = handle.run(Lane::Read, move |node| channels::get(node, &product, &platform, &channel)).await?;
    Ok(Tagged(StatusCode::OK, row))
}

async fn move_to(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    PathOf((product, channel)): PathOf<(ProductId, ChannelName)>,
    JsonOf(wanted): JsonOf<MoveChannel>,
) -> Result<Tagged<ChannelStanding>, CallError> {
    let row = handle
        .run(Lane::Check, move |node| channels::move_to(node, &actor, &condition, &product, &channel, &wanted))
        .await?;
    Ok(Tagged(StatusCode::OK, row))
}
