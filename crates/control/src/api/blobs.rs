//! `/admin/v1/blobs`, `…/missing`, `…/{blob}`, `…/{blob}/open`.
//!
//! `POST …/{blob}/open` lets anyone read a stored blob; it is a call of its own, so that opening
//! one that is there already costs no upload.

use super::extract::{Answer, JsonOf, PathOf, QueryOf, content_length};
use super::products::status;
use super::table::{Routes, delete, get, post, put};
use crate::actor::Actor;
use crate::blobs;
use crate::control::{Handle, Lane};
use crate::error::CallError;
use crate::permit::Permission;
use crate::upload;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use penstock_core::api::{BlobAnswer, MissingAnswer, MissingQuestion};
use penstock_core::blob::BlobId;
use penstock_core::desk::BlobsAnswer;
use penstock_core::limits::PAGE_ROWS_MAX;
use serde::Deserialize;

pub(super) fn routes() -> Routes {
    let one = "/admin/v1/blobs/{blob}";
    Routes::new()
        .add(get("/admin/v1/blobs", Permission::CatalogueRead, "List blobs, page by page", page))
        .add(post("/admin/v1/blobs/missing", Permission::BlobsWrite, "Which of these blobs are not stored", missing))
        .add(get(one, Permission::BlobsRead, "A blob's bytes", read))
        .add(put(one, Permission::BlobsWrite, "Store a blob", write).answers(&[200, 201]))
        .add(delete(one, Permission::BlobsManage, "Remove a blob that no release refers to", remove))
        .add(post("/admin/v1/blobs/{blob}/open", Permission::BlobsManage, "Let anyone read a blob", open))
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    after: Option<BlobId>,
    #[serde(default = "rows_max")]
    limit: usize,
}

const fn rows_max() -> usize {
    PAGE_ROWS_MAX
}

async fn page(
    State(handle): State<Handle>,
    actor: Actor,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Answer<BlobsAnswer>, CallError> {
    let page = handle.run(Lane::Read, move |node| blobs::page(node, &actor, query.after, query.limit)).await?;
    Ok(Answer(StatusCode::OK, page))
}

async fn missing(
    State(handle): State<Handle>,
    JsonOf(question): JsonOf<MissingQuestion>,
) -> Result<Answer<MissingAnswer>, CallError> {
    let answer = handle.run(Lane::Read, move |node| blobs::missing(node, &question)).await?;
    Ok(Answer(StatusCode::OK, answer))
}

/// 201 when the bytes were stored, 200 when they were there.
async fn write(
    State(handle): State<Handle>,
    PathOf(blob): PathOf<BlobId>,
    request: Request,
) -> Result<Answer<BlobAnswer>, CallError> {
    let length = content_length(request.headers());
    let (answer, made) = upload::receive(&handle, blob, length, request.into_body()).await?;
    Ok(Answer(status(made), answer))
}

/// The blob's bytes; `HEAD` is answered by axum from the same head.
async fn read(State(handle): State<Handle>, actor: Actor, PathOf(blob): PathOf<BlobId>) -> Result<Response, CallError> {
    handle.run(Lane::Read, move |node| blobs::check_readable(node, &actor, blob)).await?;
    let (body, bytes) = upload::send(&handle, blob).await?;
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{blob}\"")) {
        headers.insert(ETAG, tag);
    }
    Ok(response)
}

async fn remove(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(blob): PathOf<BlobId>,
) -> Result<Answer<BlobAnswer>, CallError> {
    let answer = handle.run(Lane::Write, move |node| blobs::remove(node, &actor, blob)).await?;
    Ok(Answer(StatusCode::OK, answer))
}

async fn open(
    State(handle): State<Handle>,
    actor: Actor,
    PathOf(blob): PathOf<BlobId>,
) -> Result<Answer<BlobAnswer>, CallError> {
    let answer = handle.run(Lane::Write, move |node| blobs::open(node, &actor, blob)).await?;
    Ok(Answer(StatusCode::OK, answer))
}
