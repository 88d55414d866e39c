//! Calls of the admin API, blocking: JSON there and back, blobs streamed, problems as errors.

use super::body::Body;
use super::endpoint::{Endpoint, EndpointError};
use super::tls::{self, Roots, TlsError};
use super::wire::{Answer, Wire, WireError};
use crate::registry::{Content, RegistryError};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use penstock_core::api::{BlobAnswer, ProblemDocument};
use penstock_core::blob::BlobId;
use penstock_core::limits::ADMIN_JSON_BYTES_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Duration;

/// Slowest upload that is waited for, in bytes per second.
const UPLOAD_RATE_MIN: u64 = 64 * 1024;
/// Longest pause that a node's `Retry-After` is obeyed for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// How long things may take and how often they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// From sending a request to the end of its answer, bodies aside.
    pub answer: Duration,
    /// Tries of a call that may be repeated.
    pub tries: u32,
    /// Pause before the second try; doubles with each.
    pub pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(120),
            tries: 4,
            pause: Duration::from_millis(250),
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No certificates to believe.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token cannot stand in a header.
    #[error("the admin token has characters that a header cannot carry")]
    Token,
    /// The token would travel in the clear.
    #[error("the admin token is not sent to {0} in the clear: use https://, or an address of this machine")]
    InTheClear(String),
    /// No runtime.
    #[error("cannot start the network threads")]
    Runtime(#[source] std::io::Error),
}

/// A client of one node's admin API. Calls block; several threads may call at once.
pub struct AdminClient {
    wire: Wire,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    timing: Timing,
    /// Dropped in the background, so that a client may also be dropped where blocking is forbidden.
    runtime: Option<tokio::runtime::Runtime>,
}

/// Whether a call may be sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// The second time changes nothing.
    Freely,
    /// Only if the first certainly did not arrive.
    IfUnsent,
}

impl AdminClient {
    /// A client for an admin URL with a bearer token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn for_url(url: &str, token: Option<&str>, roots: &Roots) -> Result<Self, ClientError> {
        Self::new(Endpoint::from_url(url)?, token, roots, Timing::default())
    }

    /// A client for the node that runs on a data directory; its socket needs no token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn for_data_dir(dir: &Path) -> Result<Self, ClientError> {
        Self::new(Endpoint::of_data_dir(dir), None, &Roots::System, Timing::default())
    }

    /// A client with everything said.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(endpoint: Endpoint, token: Option<&str>, roots: &Roots, timing: Timing) -> Result<Self, ClientError> {
        let tls = match &endpoint {
            Endpoint::Tcp { tls: true, .. } => Some(tls::config(roots)?),
            Endpoint::Tcp { .. } | Endpoint::Unix(_) => None,
        };
        if token.is_some() && !endpoint.is_private() {
            return Err(ClientError::InTheClear(endpoint.to_string()));
        }
        let authorization = token.map(bearer).transpose()?;
        let host = HeaderValue::from_str(&endpoint.host_header())
            .map_err(|_| EndpointError::Authority(endpoint.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("penstock-admin")
            .enable_all()
            .build()
            .map_err(ClientError::Runtime)?;
        let wire = Wire::new(endpoint, tls, timing.connect);
        Ok(Self { wire, host, authorization, timing, runtime: Some(runtime) })
    }

    /// Where it calls.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.wire.endpoint
    }

    /// `GET`; `path` begins with a slash and may have a query.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, RegistryError> {
        parse(&self.call(&Method::GET, path, &Bytes::new(), Repeat::Freely)?)
    }

    /// `POST`; not repeated once it may have arrived.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn post_json<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, RegistryError> {
        parse(&self.call(&Method::POST, path, &to_json(body)?, Repeat::IfUnsent)?)
    }

    /// `POST` of something that asks or that may be repeated.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn post_json_again<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, RegistryError> {
        parse(&self.call(&Method::POST, path, &to_json(body)?, Repeat::Freely)?)
    }

    /// `PUT`.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn put_json<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, RegistryError> {
        parse(&self.call(&Method::PUT, path, &to_json(body)?, Repeat::Freely)?)
    }

    /// `DELETE`; whatever is answered on success is dropped.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn delete(&self, path: &str) -> Result<(), RegistryError> {
        self.call(&Method::DELETE, path, &Bytes::new(), Repeat::Freely).map(|_| ())
    }

    /// Deletes, and reads the answer.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn delete_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, RegistryError> {
        parse(&self.call(&Method::DELETE, path, &Bytes::new(), Repeat::Freely)?)
    }

    /// Streams a blob up; `query` is empty or begins with a question mark.
    ///
    /// # Errors
    /// [`RegistryError`]; content that cannot be read is not tried again.
    pub fn put_blob(&self, blob: &BlobId, content: Content<'_>, query: &str) -> Result<BlobAnswer, RegistryError> {
        let path = format!("/admin/v1/blobs/{blob}{query}");
        let within = self.timing.answer + Duration::from_secs(content.bytes() / UPLOAD_RATE_MIN);
        let make = || {
            let body = Body::content(&content).map_err(RegistryError::Content)?;
            self.request(Method::PUT, &path, body, "application/octet-stream")
        };
        let answer = self.tried(make, ADMIN_JSON_BYTES_MAX, within, Repeat::Freely)?;
        parse(&answer.body)
    }

    /// A whole blob of at most `bytes_max`; its hash is the caller's to check.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn get_blob(&self, blob: &BlobId, bytes_max: u64) -> Result<Bytes, RegistryError> {
        let path = format!("/admin/v1/blobs/{blob}");
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let within = self.timing.answer + Duration::from_secs(bytes_max as u64 / UPLOAD_RATE_MIN);
        let make = || self.request(Method::GET, &path, Body::bytes(Bytes::new()), "");
        Ok(self.tried(make, bytes_max.max(ADMIN_PROBLEM_BYTES_MAX), within, Repeat::Freely)?.body)
    }

    fn call(&self, method: &Method, path: &str, body: &Bytes, repeat: Repeat) -> Result<Bytes, RegistryError> {
        let kind = if body.is_empty() { "" } else { "application/json" };
        let make = || self.request(method.clone(), path, Body::bytes(body.clone()), kind);
        Ok(self.tried(make, ADMIN_JSON_BYTES_MAX, self.timing.answer, repeat)?.body)
    }

    fn request(&self, method: Method, path: &str, body: Body, kind: &str) -> Result<Request<Body>, RegistryError> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.host);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if !kind.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        request.body(body).map_err(|error| RegistryError::Answer(format!("no such path can be asked: {error}")))
    }

    /// Tries an exchange until it is answered, refused for good, or tried often enough.
    fn tried(
        &self,
        make: impl Fn() -> Result<Request<Body>, RegistryError>,
        bytes_max: usize,
        within: Duration,
        repeat: Repeat,
    ) -> Result<Answer, RegistryError> {
        let runtime = self.runtime.as_ref().expect("there until the client is dropped");
        let mut pause = self.timing.pause;
        for tries_left in (0..self.timing.tries.max(1)).rev() {
            let outcome = runtime.block_on(self.wire.exchange(make()?, bytes_max, within));
            let wait = match outcome {
                Ok(answer) if answer.head.status.is_success() => return Ok(answer),
                Ok(answer) if tries_left == 0 || !may_pass(&answer, repeat) => return Err(problem(&answer)),
                Ok(answer) => retry_after(&answer).unwrap_or(pause),
                Err(error) if tries_left == 0 || !(repeat == Repeat::Freely || error.is_before_sending()) => {
                    return Err(self.unreachable(error));
                }
                Err(error) => {
                    tracing::debug!(%error, node = %self.wire.endpoint, "a call failed and is tried again");
                    pause
                }
            };
            // The timer is made inside, where the runtime's clock is known.
            runtime.block_on(async { tokio::time::sleep(wait).await });
            pause *= 2;
        }
        unreachable!("the last try returns")
    }

    fn unreachable(&self, error: WireError) -> RegistryError {
        RegistryError::Unreachable { address: self.wire.endpoint.to_string(), source: Box::new(error) }
    }
}

/// Room for a problem document even where a tiny blob is expected.
const ADMIN_PROBLEM_BYTES_MAX: usize = 64 * 1024;

impl Drop for AdminClient {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for AdminClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminClient").field("endpoint", &self.wire.endpoint).finish_non_exhaustive()
    }
}

fn bearer(token: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| ClientError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether the same request may be answered otherwise in a while.
fn may_pass(answer: &Answer, repeat: Repeat) -> bool {
    let busy = matches!(
        answer.head.status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::BAD_GATEWAY
            | StatusCode::GATEWAY_TIMEOUT
    );
    // A gateway may have passed the request on; a node that is busy did nothing.
    let certainly_undone =
        matches!(answer.head.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    busy && (repeat == Repeat::Freely || certainly_undone)
}

fn retry_after(answer: &Answer) -> Option<Duration> {
    let seconds = answer.head.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

fn problem(answer: &Answer) -> RegistryError {
    let status = answer.head.status.as_u16();
    match serde_json::from_slice::<ProblemDocument>(&answer.body) {
        Ok(problem) => {
            RegistryError::Refused { status, code: problem.code, title: problem.title, detail: problem.detail }
        }
        Err(_) => RegistryError::Answer(format!("status {status} without a problem document")),
    }
}

fn to_json(body: &impl Serialize) -> Result<Bytes, RegistryError> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|error| RegistryError::Answer(format!("the request cannot be written as JSON: {error}")))
}

/// An empty answer is read as JSON's `null`, so that `()` and options fit calls that answer nothing.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, RegistryError> {
    let body = if body.is_empty() { b"null" } else { body };
    serde_json::from_slice(body).map_err(|error| RegistryError::Answer(error.to_string()))
}
