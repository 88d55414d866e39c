//! The admin API: HTTP around the operations, one file per resource. No rule lives here.
//!
//! Every request passes one door: it gets an id, its credentials are checked before its path is
//! even looked at, and whatever it ends in is logged once. Errors are problem documents.

mod accounts;
mod audit;
mod blobs;
mod channels;
mod credentials;
mod door;
mod embargo;
mod extract;
mod feed;
mod node;
mod products;
mod releases;
mod revocations;
mod rollouts;
mod segments;
mod table;

use crate::control::Handle;
use crate::error::CallError;
use crate::secret::SecretText;
use axum::Router;
use axum::middleware;

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
        .merge(credentials::routes())
        .merge(audit::routes())
        .merge(feed::routes())
        .merge(revocations::routes())
        .merge(embargo::routes())
        .merge(segments::routes())
        .merge(rollouts::routes())
}

/// All paths below `/admin/v1`, and the feed.
pub(crate) fn router(handle: Handle, credentials: Credentials) -> Router {
    let door = door::Door::new(credentials, handle.clone());
    routes()
        .router()
        .fallback(|| async { CallError::NoPath })
        .method_not_allowed_fallback(|| async { CallError::Method })
        .layer(middleware::from_fn_with_state(door, door::pass))
        .with_state(handle)
}
