//! The one table of the admin API: every route with its method, path, permission and what it is for. From it come the
//! router and who may call what.
//!
//! A handler that is not in the table cannot be reached, and nothing gets into the table without a permission.

use crate::actor::Actor;
use crate::control::Handle;
use crate::error::CallError;
use crate::permit::Permission;
use axum::Router;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;
use http::request::Parts;
use penstock_core::id::ProductId;

/// One route.
#[allow(dead_code, reason = "the description of the API is being made from method and summary")]
pub(super) struct Route {
    pub(super) method: Method,
    /// As axum reads it: `{name}` stands for one part.
    pub(super) path: &'static str,
    pub(super) permission: Permission,
    /// What it does, in a line.
    pub(super) summary: &'static str,
    handler: MethodRouter<Handle>,
}

/// Routes of one resource, or of all.
#[derive(Default)]
pub(super) struct Routes(Vec<Route>);

impl Routes {
    pub(super) fn new() -> Self {
        Self::default()
    }
    /// Adds a route.
    pub(super) fn add(mut self, route: Route) -> Self {
        self.0.push(route);
        self
    }
    /// Adds all routes of another resource.
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
    /// The router: each handler behind the check of its permission.
    pub(super) fn router(self) -> Router<Handle> {
        let checked = |route: Route| {
            let check = middleware::from_fn_with_state(route.permission, permit);
            (route.path, route.handler.layer(check))
        };
        self.0.into_iter().map(checked).fold(Router::new(), |router, (path, handler)| router.route(path, handler))
    }
}

/// A route that reads. `HEAD` is answered from the same handler.
pub(super) fn get<T: 'static>(
    path: &'static str,
    permission: Permission,
    summary: &'static str,
    handler: impl Handler<T, Handle>,
) -> Route {
    Route { method: Method::GET, path, permission, summary, handler: on(MethodFilter::GET, handler) }
}

/// A route that makes something or asks with a body.
pub(super) fn post<T: 'static>(
    path: &'static str,
    permission: Permission,
    summary: &'static str,
    handler: impl Handler<T, Handle>,
) -> Route {
    Route { method: Method::POST, path, permission, summary, handler: on(MethodFilter::POST, handler) }
}

/// A route that says how something is to be.
pub(super) fn put<T: 'static>(
    path: &'static str,
    permission: Permission,
    summary: &'static str,
    handler: impl Handler<T, Handle>,
) -> Route {
    Route { method: Method::PUT, path, permission, summary, handler: on(MethodFilter::PUT, handler) }
}

/// A route that takes something away.
pub(super) fn delete<T: 'static>(
    path: &'static str,
    permission: Permission,
    summary: &'static str,
    handler: impl Handler<T, Handle>,
) -> Route {
    Route { method: Method::DELETE, path, permission, summary, handler: on(MethodFilter::DELETE, handler) }
}

/// Lets those through whose role has the permission and whose credential is for the path's `{product}`.
async fn permit(
    State(permission): State<Permission>,
    actor: Actor,
    path: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let checked = actor.require(permission).and_then(|()| {
        let product = path.iter().find(|(name, _)| *name == "product");
        // What is no product's name is refused by the handler, which says why.
        let product = product.and_then(|(_, text)| text.parse::<ProductId>().ok());
        product.map_or(Ok(()), |product| actor.require_product(&product))
    });
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// The door puts an actor into every request that it lets through.
impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = CallError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, CallError> {
        parts.extensions.get::<Self>().cloned().ok_or(CallError::Credentials)
    }
}
