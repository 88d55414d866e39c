//! Role `edge`: what a node needs instead of control.

use super::issuers::Issuers;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use penstock_core::api::ProblemDocument;
use penstock_core::reply::Problem;
use penstock_edge::admin::{AdminApi, ApiBody, ApiFuture};
use penstock_edge::config::FollowConfig;
use penstock_edge::copy::EdgeCopy;
use penstock_edge::feed::{Follower, FollowerParts, JournalError};
use penstock_edge::listen::ConnInfo;
use penstock_edge::token::{TlsSetupError, client_config};
use std::path::Path;

/// Why an edge cannot follow.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// What it knows cannot be kept.
    #[error("cannot keep what control tells")]
    Journal(#[from] JournalError),
    /// TLS for control.
    #[error("cannot use control.ca")]
    Tls(#[from] TlsSetupError),
    /// No thread.
    #[error("the system gives no thread to follow control on")]
    Thread(#[source] std::io::Error),
}

/// A follower that knows what it knew before, and tells `copy` and the issuers.
///
/// # Errors
/// [`FollowError`].
pub(super) fn follower(
    config: &FollowConfig,
    data_dir: &Path,
    copy: EdgeCopy,
    issuers: &Issuers,
) -> Result<Follower, FollowError> {
    let tls = if config.url.is_secure() { Some(client_config(config.ca.as_deref())?) } else { None };
    let take_keys = issuers.take_control_keys();
    Ok(Follower::open(FollowerParts {
        url: config.url.clone(),
        credential_file: config.credential.clone(),
        key: config.key,
        tls,
        dir: data_dir.join("feed"),
        copy,
        on_hello: Box::new(take_keys),
        clock: crate::commands::now,
    })?)
}

/// The admin API of a node without control: there is none.
pub(super) struct NoApi;

impl AdminApi for NoApi {
    fn call(&self, request: Request<Incoming>, _: &ConnInfo) -> ApiFuture {
        let request_id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let document = ProblemDocument {
            kind: "about:blank".to_owned(),
            title: Problem::NotFound.title().to_owned(),
            status: Problem::NotFound.status(),
            code: Problem::NotFound.code().to_owned(),
            detail: "this node is an edge: ask the control node that it follows".to_owned(),
            request_id: request_id.to_owned(),
        };
        Box::pin(async move {
            let text = serde_json::to_vec(&document).unwrap_or_default();
            let body: ApiBody = Full::from(text).map_err(|never| match never {}).boxed_unsync();
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::NOT_FOUND;
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        })
    }
}
