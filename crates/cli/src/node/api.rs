//! Control's admin API behind the edge's admin doors: one router per way in.
//!
//! On the socket the file's mode is the credential; on the network it is the admin token.

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use penstock_control::{Control, Credentials};
use penstock_edge::admin::{AdminApi, ApiBody, ApiFuture, BoxError};
use penstock_edge::drain::Readiness;
use penstock_edge::listen::{ConnInfo, Door};
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_service::Service as _;

/// What is answered without an end.
const FEED_PATH: &str = "/v1/feed";

/// Both routers.
pub(super) struct ControlApi {
    network: axum::Router,
    socket: axum::Router,
    readiness: Readiness,
}

impl ControlApi {
    pub(super) fn new(control: &Control, readiness: Readiness) -> Self {
        Self {
            readiness,
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
        // A feed has no end of its own. Its follower comes back to whoever serves then.
        let ended = (request.uri().path() == FEED_PATH).then(|| self.readiness.clone());
        Box::pin(async move {
            let answered = router.call(request.map(axum::body::Body::new)).await;
            let response: Response<axum::body::Body> = answered.unwrap_or_else(|never| match never {});
            match ended {
                Some(readiness) => response.map(|body| until(readiness, body)),
                None => response.map(boxed),
            }
        })
    }
}

/// A body that ends when the node does.
fn until(readiness: Readiness, body: axum::body::Body) -> ApiBody {
    let ended = Box::pin(async move { readiness.ended().await });
    Until { body: boxed(body), ended }.boxed_unsync()
}

struct Until {
    body: ApiBody,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Body for Until {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut this.body).poll_frame(cx)
    }
}

fn boxed(body: axum::body::Body) -> ApiBody {
    body.map_err(BoxError::from).boxed_unsync()
}
