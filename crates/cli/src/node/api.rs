//! Control's admin API behind the edge's admin doors: one router per way in.
//!
//! On the socket the file's mode is the credential; on the network it is the admin token.

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use penstock_control::{Control, Credentials};
use penstock_edge::admin::{AdminApi, ApiBody, ApiFuture, BoxError};
use penstock_edge::listen::{ConnInfo, Door};
use tower_service::Service as _;

/// Both routers.
pub(super) struct ControlApi {
    network: axum::Router,
    socket: axum::Router,
}

impl ControlApi {
    pub(super) fn new(control: &Control) -> Self {
        Self {
            network: control.router(Credentials::Bearer(control.admin_token().clone())),
            socket: control.router(Credentials::Socket),
        }
    }
}

impl AdminApi for ControlApi {
    fn call(&self, request: Request<Incoming>, conn: &ConnInfo) -> ApiFuture {
        let mut router = match conn.door {
            Door::AdminSocket => self.socket.clone(),
            // A data door never leads here; if it did, it would need the token.
            Door::Admin | Door::Https | Door::Http => self.network.clone(),
        };
        Box::pin(async move {
            let answered = router.call(request.map(axum::body::Body::new)).await;
            let response: Response<axum::body::Body> = answered.unwrap_or_else(|never| match never {});
            response.map(boxed)
        })
    }
}

fn boxed(body: axum::body::Body) -> ApiBody {
    body.map_err(BoxError::from).boxed_unsync()
}
