//! The one table of the admin API: every route with its method, path, permission and what it is for. From it come the
//! router, who may call what, and the description of the API.
//!
//! A handler that is not in the table cannot be reached, and nothing gets into the table without a permission.

use super::again;
use super::shape::{Described, Shape};
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
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use penstock_core::id::ProductId;

/// One route.
pub(super) struct Route {
    pub(super) method: Method,
    /// As axum reads it: `{name}` stands for one part.
    pub(super) path: &'static str,
    pub(super) permission: Permission,
    /// What it does, in a line.
    pub(super) summary: &'static str,
    /// What it takes and answers.
    pub(super) shape: Shape,
    /// The statuses of its successes.
    pub(super) statuses: &'static [u16],
    /// What its answer is where that is no JSON document.
    pub(super) media: &'static str,
    secrecy: Secrecy,
    handler: MethodRouter<Handle>,
}

/// Whether answers may be kept for those who ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// They may.
    Open,
    /// They hold a secret that nobody keeps.
    Secret,
}

impl Route {
    /// The statuses of its successes, where they are others than 200.
    pub(super) fn answers(mut self, statuses: &'static [u16]) -> Self {
        self.statuses = statuses;
        self
    }
    /// What its answers are, where they are neither JSON documents nor a blob's bytes.
    pub(super) fn media(mut self, media: &'static str) -> Self {
        self.media = media;
        self
    }
    /// Its answers hold a secret, so that they are never kept.
    pub(super) fn secret(mut self) -> Self {
        self.secrecy = Secrecy::Secret;
        self
    }
    /// Whether it takes an `Idempotency-Key`.
    pub(super) fn is_repeatable(&self) -> bool {
        self.method == Method::POST
    }
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
    /// The routes, to be looked at.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
    /// The router: each handler behind the check of its permission.
    pub(super) fn router(self, handle: &Handle) -> Router<Handle> {
        let behind_checks = |route: Route| {
            let mut handler = route.handler.clone();
            if route.is_repeatable() {
                let state = (handle.clone(), route.secrecy);
                handler = handler.layer(middleware::from_fn_with_state(state, again::once));
            }
            let takes_conditions = route.shape.is_conditional || route.method == Method::GET;
            let checked = (route.permission, takes_conditions);
            (route.path, handler.layer(middleware::from_fn_with_state(checked, permit)))
        };
        self.0.into_iter().map(behind_checks).fold(Router::new(), |router, (path, handler)| router.route(path, handler))
    }
}

/// A route that reads. `HEAD` is answered from the same handler.
pub(super) fn get<T: 'static, D, H: Handler<T, Handle> + Described<D>>(
    path: &'static str,
    permission: Permission,
    summary: &'static str,
    handler: H,
) -> Route {
    route(Method::GET, path, permission, summary, handler)
}

/// A route that makes something or asks with a body.
pub(super) fn post<T: 'static, D, H: Handler<T, Handle> + Described<D>>(
    path: &'static str,
    permission: Permission,
    summary: &'static str,
    handler: H,
) -> Route {
    route(Method::POST, path, permission, summary, handler)
}

/// A route that says how something is to be.
pub(super) fn put<T: 'static, D, H: Handler<T, Handle> + Described<D>>(
    path: &'static str,
    permission: Permission,
    summary: &'static str,
    handler: H,
) -> Route {
    route(Method::PUT, path, permission, summary, handler)
}

/// A route that takes something away.
pub(super) fn delete<T: 'static, D, H: Handler<T, Handle> + Described<D>>(
    path: &'static str,
    permission: Permission,
    summary: &'static str,
    handler: H,
) -> Route {
    route(Method::DELETE, path, permission, summary, handler)
}

fn route<T: 'static, D, H: Handler<T, Handle> + Described<D>>(
    method: Method,
    path: &'static str,
    permission: Permission,
    summary: &'static str,
    handler: H,
) -> Route {
    let filter = MethodFilter::try_from(method.clone()).expect("one of the four methods above");
    let handler = on(filter, handler);
    let (shape, media) = (H::shape(), "application/octet-stream");
    Route { method, path, permission, summary, shape, statuses: &[200], media, secrecy: Secrecy::Open, handler }
}

/// Lets those through whose role has the permission and whose credential is for the path's `{product}`. A condition that
/// nobody would look at is refused: whoever sends one relies on it.
async fn permit(
    State((permission, takes_conditions)): State<(Permission, bool)>,
    actor: Actor,
    path: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let checked = actor.require(permission).and_then(|()| {
        let product = path.iter().find(|(name, _)| *name == "product");
        // What is no product's name is refused by the handler, which says why.
        let product = product.and_then(|(_, text)| text.parse::<ProductId>().ok());
        product.map_or(Ok(()), |product| actor.require_product(&product))?;
        let condition = [IF_MATCH, IF_NONE_MATCH].into_iter().find(|name| request.headers().contains_key(name));
        match condition.filter(|_| !takes_conditions) {
            Some(name) => Err(CallError::Malformed(format!("{name}: this call takes no condition"))),
            None => Ok(()),
        }
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
