//! `/admin/v1/products`, `…/{p}`, `…/{p}/signing`, `…/{p}/rotations`.

use super::extract::{Answer, JsonOf, PathOf, Tagged};
use super::table::{Routes, get, post};
use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::permit::Permission;
use crate::products::{self, Made};
use crate::rotations;
use axum::extract::State;
use http::StatusCode;
use penstock_core::api::{ProductsAnswer, PutProduct, SigningAnswer};
use penstock_core::catalog::Product;
use penstock_core::desk::{PostRotation, RotationAnswer};
use penstock_core::id::ProductId;

pub(super) fn routes() -> Routes {
    let (all, one) = ("/admin/v1/products", "/admin/v1/products/{product}");
    let (signing_of, rotations_of) = ("/admin/v1/products/{product}/signing", "/admin/v1/products/{product}/rotations");
    Routes::new()
        .add(get(all, Permission::CatalogueRead, "List products", list))
        .add(post(all, Permission::ProductsWrite, "Make a product or change it", put).answers(&[200, 201]))
        .add(get(one, Permission::CatalogueRead, "Show a product", show))
        .add(get(signing_of, Permission::CatalogueRead, "What a publisher must know before it signs", signing))
        .add(post(
            rotations_of,
            Permission::ReleasesWrite,
            "Replace the publisher's keys by their own signed word",
            rotate,
        ))
}

async fn list(State(handle): State<Handle>, actor: Actor) -> Result<Answer<ProductsAnswer>, CallError> {
    let products = handle.run(Lane::Read, move |node| products::list(node, &actor)).await?;
    Ok(Answer(StatusCode::OK, ProductsAnswer { products }))
}

/// 201 for a new product, 200 for one that was there.
async fn put(
    State(handle): State<Handle>,
    actor: Actor,
    condition: Condition,
    JsonOf(wanted): JsonOf<PutProduct>,
) -> Result<Tagged<Product>, CallError> {
    let (product, made) = handle.run(Lane::Write, move |node| products::put(node, &actor, &condition, wanted)).await?;
    Ok(Tagged(status(made), product))
}

async fn show(State(handle): State<Handle>, PathOf(product): PathOf<ProductId>) -> Result<Tagged<Product>, CallError> {
    let product = handle.run(Lane::Read, move |node| products::get(node, &product)).await?;
    Ok(Tagged(StatusCode::OK, product))
}

async fn signing(
    State(handle): State<Handle>,
    PathOf(product): PathOf<ProductId>,
) -> Result<Answer<SigningAnswer>, CallError> {
    let answer = handle.run(Lane::Read, move |node| products::signing(node, &product)).await?;
    Ok(Answer(StatusCode::OK, answer))
}

async fn rotate(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(product): PathOf<ProductId>,
    JsonOf(wanted): JsonOf<PostRotation>,
) -> Result<Answer<RotationAnswer>, CallError> {
    let answer = handle.run(Lane::Write, move |node| rotations::add(node, &actor, &product, &wanted)).await?;
    Ok(Answer(StatusCode::OK, answer))
}

/// The status of an answer that made something, or found it made.
pub(super) const fn status(made: Made) -> StatusCode {
    match made {
        Made::New => StatusCode::CREATED,
        Made::Before => StatusCode::OK,
    }
}
