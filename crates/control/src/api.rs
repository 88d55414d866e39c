//! The admin API: HTTP around the operations, one file per resource. No rule lives here. `table` has every route, `shape`
//! what its handler takes and answers, `openapi` describes them.
//!
//! Every request passes one door: it gets an id, its credentials are checked before its path is
//! even looked at, and whatever it ends in is logged once. Errors are problem documents.

mod accounts;
mod again;
mod audit;
mod blobs;
mod channels;
mod credentials;
mod door;
mod embargo;
mod extract;
mod feed;
mod links;
mod node;
mod openapi;
mod own;
mod packages;
mod people;
mod products;
mod releases;
mod resellers;
mod revocations;
mod rollouts;
mod segments;
mod shape;
mod table;

use crate::control::Handle;
use crate::error::CallError;
use crate::secret::SecretText;
use axum::Router;
use axum::middleware;
use bytes::Bytes;
use http::header::CONTENT_TYPE;

/// Who may call, by the listener that a router is for.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Whoever sends this token, or a credential of the record, as `Authorization: Bearer …`: for listeners on the
    /// network.
    Bearer(SecretText),
    /// Whoever can open the socket: for `node.sock`, which only the node's user can.
    Socket,
}

/// Every route there is.
fn routes() -> table::Routes {
    table::Routes::new()
        .merge(products::routes())
        .merge(releases::routes())
        .merge(channels::routes())
        .merge(blobs::routes())
        .merge(node::routes())
        .merge(accounts::routes())
        .merge(people::routes())
        .merge(packages::routes())
        .merge(resellers::routes())
        .merge(own::routes())
        .merge(credentials::routes())
        .merge(audit::routes())
        .merge(feed::routes())
        .merge(revocations::routes())
        .merge(embargo::routes())
        .merge(segments::routes())
        .merge(rollouts::routes())
        .merge(links::routes())
}

/// All paths below `/admin/v1`, the feed, and the description of them all at `/openapi.json`.
pub(crate) fn router(handle: Handle, credentials: Credentials) -> Router {
    let door = door::Door::new(credentials, handle.clone());
    let routes = routes();
    let document = Bytes::from(openapi::document(&routes).to_string());
    let describe = || async move { ([(CONTENT_TYPE, "application/json")], document) };
    routes
        .router(&handle)
        // For whoever has any credential: it says nothing about this node.
        .route("/openapi.json", axum::routing::get(describe))
        .fallback(|| async { CallError::NoPath })
        .method_not_allowed_fallback(|| async { CallError::Method })
        .layer(middleware::from_fn_with_state(door, door::pass))
        .with_state(handle)
}
