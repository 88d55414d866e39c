//! `/admin/v1/products`, `…/{p}`, `…/{p}/signing`, `…/{p}/rotations`.

use super::extract::{Answer, JsonOf, PathOf};
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::products::{self, Made};
use crate::rotations;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use penstock_core::api::{ProductsAnswer, PutProduct, SigningAnswer};
use penstock_core::catalog::Product;
use penstock_core::desk::{PostRotation, RotationAnswer};
use penstock_core::id::ProductId;

pub(super) fn routes() -> Router<Handle> {
    Router::new()
        .route("/admin/v1/products", get(list).post(put))
        .route("/admin/v1/products/{product}", get(show))
        .route("/admin/v1/products/{product}/signing", get(signing))
        .route("/admin/v1/products/{product}/rotations", post(rotate))
}

async fn list(State(handle): State<Handle>) -> Result<Answer<ProductsAnswer>, CallError> {
    let products = handle.run(Lane::Read, products::list).await?;
    Ok(Answer(StatusCode::OK, ProductsAnswer { products }))
}

/// 201 for a new product, 200 for one that was there.
async fn put(State(handle): State<Handle>, JsonOf(wanted): JsonOf<PutProduct>) -> Result<Answer<Product>, CallError> {
    let (product, made) = handle.run(Lane::Write, move |node| products::put(node, wanted)).await?;
    Ok(Answer(status(made), product))
}

async fn show(State(handle): State<Handle>, PathOf(product): PathOf<ProductId>) -> Result<Answer<Product>, CallError> {
    let product = handle.run(Lane::Read, move |node| products::get(node, &product)).await?;
    Ok(Answer(StatusCode::OK, product))
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
    PathOf(product): PathOf<ProductId>,
    JsonOf(wanted): JsonOf<PostRotation>,
) -> Result<Answer<RotationAnswer>, CallError> {
    let answer = handle.run(Lane::Write, move |node| rotations::add(node, &product, &wanted)).await?;
    Ok(Answer(StatusCode::OK, answer))
}

/// The status of an answer that made something, or found it made.
pub(super) const fn status(made: Made) -> StatusCode {
    match made {
        Made::New => StatusCode::CREATED,
        Made::Before => StatusCode::OK,
    }
}
