//! The admin doors: health, readiness, metrics, and behind them the admin API of whoever brings one.
//!
//! It owns the check of `Host` (a web page that lured an operator's browser here must get nothing) and the three paths
//! that need no credentials. Credentials are the [`AdminApi`]'s.

use crate::catalog::EdgeCatalog;
use crate::config::Checked;
use crate::drain::Readiness;
use crate::feed::{Knowledge, Standing};
use crate::listen::{ConnInfo, Door, Handler};
use crate::metrics::{self, Levels};
use crate::outcome::{End, OutcomeSink, Pen, Route, note_bad_head};
use crate::reply::{Refused, X_REQUEST_ID, problem_response};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use metrics_exporter_prometheus::PrometheusHandle;
use penstock_core::reply::Problem;
use penstock_core::request::Method;
use penstock_core::time::UnixSeconds;
use penstock_store::{Store, Totals};
use serde::Serialize;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an [`AdminApi`]'s answers.
pub type ApiBody = UnsyncBoxBody<Bytes, BoxError>;
/// An answer under way.
pub type ApiFuture = Pin<Box<dyn Future<Output = Response<ApiBody>> + Send>>;

/// Whoever answers everything on the admin doors but the three open paths: control, or a test.
///
/// Callers may assume that every request is answered, that the thread is never blocked, and that dropping the future
/// at any time is safe. Requests arrive with their `Host` checked and nothing else: credentials are the callee's. The
/// operator's own socket is told by [`ConnInfo::door`]. `x-request-id` is always ours: documents must carry that id.
pub trait AdminApi: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, request: Request<Incoming>, conn: &ConnInfo) -> ApiFuture;
}

/// What an admin service is made of.
pub struct AdminParts {
    /// Everything behind the open paths.
    pub api: Arc<dyn AdminApi>,
    /// Names that `Host` may have beside loopback's and the listener's own address: `[listen] admin_hosts`, lowercase.
    pub hosts: Vec<String>,
    /// What `/readyz` says.
    pub readiness: Readiness,
    /// What is known of control elsewhere; `None` beside control.
    pub standing: Option<Standing>,
    /// The clock.
    pub clock: fn() -> UnixSeconds,
    /// For the figures of `/readyz` and `/metrics`.
    pub catalog: Arc<EdgeCatalog>,
    /// For the figures of `/readyz` and `/metrics`.
    pub store: Store,
    /// Where outcomes go.
    pub outcomes: Arc<dyn OutcomeSink>,
}

/// Answers requests on the admin doors.
pub struct AdminService {
    parts: AdminParts,
    hosts: ArcSwap<Vec<String>>,
    metrics: &'static PrometheusHandle,
}

/// The body of an admin answer.
pub struct AdminBody {
    inner: ApiBody,
    pen: Pen,
}

/// `/healthz`.
#[derive(Serialize)]
struct Alive {
    alive: bool,
}

/// `/readyz`.
#[derive(Serialize)]
struct Ready {
    ready: bool,
    products: usize,
    releases: usize,
    offers: usize,
    catalog_blobs: usize,
    store_blobs: usize,
    store_blob_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    knowledge: Option<Knowledge>,
}

impl AdminService {
    /// Puts a service together; installs the metrics recorder if nobody has.
    #[must_use]
    pub fn new(parts: AdminParts) -> Self {
        let hosts = ArcSwap::from_pointee(parts.hosts.clone());
        Self { parts, hosts, metrics: metrics::install() }
    }

    /// Changes what a reload may change.
    pub fn set_hosts(&self, hosts: Vec<String>) {
        self.hosts.store(Arc::new(hosts));
    }

    fn open_path(&self, head: &Parts) -> Option<Result<Response<Bytes>, Refused>> {
        let answer = match head.uri.path() {
            "/healthz" => || json(StatusCode::OK, &Alive { alive: true }),
            "/readyz" => return Some(read_only(head).map(|()| self.readiness())),
            "/metrics" => return Some(read_only(head).map(|()| self.render_metrics())),
            _ => return None,
        };
        Some(read_only(head).map(|()| answer()))
    }

    fn readiness(&self) -> Response<Bytes> {
        let counts = self.parts.catalog.counts();
        let Totals { blobs: store_blobs, bytes: store_blob_bytes } = self.parts.store.totals();
        let knowledge = self.knowledge();
        let ready = self.parts.readiness.is_ready() && knowledge.is_none_or(|knowledge| knowledge.whole);
        let details = Ready {
            ready,
            products: counts.products,
            releases: counts.releases,
            offers: counts.offers,
            catalog_blobs: counts.blobs,
            store_blobs,
            store_blob_bytes,
            knowledge,
        };
        json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &details)
    }

    fn knowledge(&self) -> Option<Knowledge> {
        self.parts.standing.as_ref().map(|standing| standing.at((self.parts.clock)()))
    }

    fn render_metrics(&self) -> Response<Bytes> {
        let Totals { blobs: store_blobs, bytes: store_blob_bytes } = self.parts.store.totals();
        let catalog_blobs = self.parts.catalog.counts().blobs;
        let is_ready = self.parts.readiness.is_ready();
        // Before the first state there is nothing that could be old.
        let knowledge_age_seconds = self.knowledge().filter(|known| known.whole).map(|known| known.age_seconds);
        Levels { store_blobs, store_blob_bytes, catalog_blobs, is_ready, knowledge_age_seconds }.publish();
        self.metrics.run_upkeep();
        let mut response = Response::new(self.metrics.render().into());
        let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }

    fn sign(&self, response: Response<ApiBody>, mut pen: Pen) -> Response<AdminBody> {
        pen.head(response.status().as_u16(), response.body().size_hint().exact().unwrap_or(0));
        let id = id_value(&mut pen);
        let mut response = response.map(|inner| AdminBody::new(inner, pen));
        response.headers_mut().insert(X_REQUEST_ID, id);
        response
    }

    fn own(&self, answered: Result<Response<Bytes>, Refused>, method: Method, mut pen: Pen) -> Response<AdminBody> {
        let request_id = pen.outcome().request_id;
        let mut response = answered.unwrap_or_else(|refused| {
            pen.outcome().problem = Some(refused.problem);
            problem_response(&refused, request_id)
        });
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        let length = HeaderValue::from(response.body().len());
        response.headers_mut().insert(http::header::CONTENT_LENGTH, length);
        let response = response.map(|text| if method == Method::Head { Bytes::new() } else { text });
        self.sign(response.map(|text| Full::new(text).map_err(|never| match never {}).boxed_unsync()), pen)
    }

    fn pen(&self, conn: &ConnInfo, method: Method, uri: Uri) -> Pen {
        Pen::new(Arc::clone(&self.parts.outcomes), conn, method, uri)
    }
}

impl Handler for AdminService {
    type Body = AdminBody;

    async fn handle(&self, request: Request<Incoming>, conn: &ConnInfo) -> Response<AdminBody> {
        let method = Method::new(request.method().as_str());
        let mut pen = self.pen(conn, method, request.uri().clone());
        pen.asked(request.method());
        pen.outcome().route = Route::Admin;
        if conn.door != Door::AdminSocket && !names_us(&request, conn, &self.hosts.load()) {
            let refused = Refused::because(Problem::Misdirected, "the host is not in listen.admin_hosts");
            return self.own(Err(refused), method, pen);
        }
        let (mut head, body) = request.into_parts();
        if let Some(answered) = self.open_path(&head) {
            pen.outcome().route = Route::Probe;
            return self.own(answered, method, pen);
        }
        // The API names the request in its documents and its log as we do in the answer's head, whatever the peer sent.
        head.headers.insert(X_REQUEST_ID, id_value(&mut pen));
        let response = self.parts.api.call(Request::from_parts(head, body), conn).await;
        self.sign(response, pen)
    }

    fn refuse(&self, problem: Problem, conn: &ConnInfo) -> Response<AdminBody> {
        let mut pen = self.pen(conn, Method::Other, Uri::default());
        pen.outcome().route = Route::Door;
        self.own(Err(Refused::new(problem)), Method::Other, pen)
    }

    fn bad_head(&self, status: u16, conn: &ConnInfo) {
        note_bad_head(self.pen(conn, Method::Other, Uri::default()), status);
    }

    fn reloaded(&self, config: &Checked) {
        self.set_hosts(config.listen.admin_hosts.clone());
    }
}

fn id_value(pen: &mut Pen) -> HeaderValue {
    HeaderValue::try_from(pen.outcome().request_id.as_hyphenated().to_string()).expect("a uuid is a header value")
}

fn read_only(head: &Parts) -> Result<(), Refused> {
    match Method::new(head.method.as_str()) {
        Method::Get | Method::Head => Ok(()),
        Method::Post | Method::Other => Err(Refused::method("GET, HEAD")),
    }
}

fn json<T: Serialize>(status: StatusCode, answer: &T) -> Response<Bytes> {
    let text = serde_json::to_vec(answer).expect("our documents have text keys and finite numbers only");
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Whether a request is meant for this listener. The target's authority counts before `Host` (RFC 9112, section 3.2.2).
fn names_us<B>(request: &Request<B>, conn: &ConnInfo, hosts: &[String]) -> bool {
    let mut lines = request.headers().get_all(HOST).into_iter();
    let (first, second) = (lines.next(), lines.next());
    let host = match (request.uri().host(), first, second) {
        (_, _, Some(_)) => return false,
        (Some(host), ..) => Some(host),
        (None, Some(line), None) => line.to_str().ok().and_then(without_port),
        (None, None, None) => None,
    };
    host.is_some_and(|host| is_ours(host, conn, hosts))
}

/// Addresses are safe: a page can lure a browser to a name that it controls, not to an address of ours under another
/// page's origin. So the listener's own address is always good, and so is loopback.
fn is_ours(host: &str, conn: &ConnInfo, hosts: &[String]) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.is_loopback()
            || conn.local.is_some_and(|local| local.ip().to_canonical() == address.to_canonical());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    name.eq_ignore_ascii_case("localhost") || hosts.iter().any(|one| one.eq_ignore_ascii_case(name))
}

/// `host [ ":" port ]`; `None` if the port is no number.
fn without_port(authority: &str) -> Option<&str> {
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => (&authority[..colon], &authority[colon + 1..]),
        _ => (authority, ""),
    };
    port.bytes().all(|byte| byte.is_ascii_digit()).then_some(host)
}

impl AdminBody {
    fn new(inner: ApiBody, mut pen: Pen) -> Self {
        if inner.is_end_stream() {
            pen.end(End::Complete);
        }
        Self { inner, pen }
    }
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => this.pen.sent(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Ready(Some(Err(_))) => this.pen.end(End::Cut),
            Poll::Ready(None) | Poll::Pending => {}
        }
        let is_over = matches!(polled, Poll::Ready(None))
            || (matches!(polled, Poll::Ready(Some(Ok(_)))) && this.inner.is_end_stream());
        if is_over {
            this.pen.end(End::Complete);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::{Protocol, Wire};

    fn conn() -> ConnInfo {
        ConnInfo {
            peer: None,
            local: Some("192.0.2.7:8444".parse().expect("address")),
            door: Door::Admin,
            wire: Wire::Plain,
            protocol: Protocol::Http1,
            worker: 0,
            sending: crate::sending::Sending::default(),
            cut: crate::listen::CutMark::default(),
            place: crate::geo::PlaceMemo::default(),
            pacing: crate::rates::Pacing::default(),
            memo: crate::passport::Memo::default(),
        }
    }

    fn accepts(hosts: &[&str]) -> bool {
        let mut request = Request::get("/healthz");
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let request = request.body(()).expect("a request");
        names_us(&request, &conn(), &["ops.example".to_owned()])
    }

    #[test]
    fn hosts() {
        for good in [
            "localhost",
            "LOCALHOST:8444",
            "localhost.",
            "127.0.0.1:8444",
            "127.9.9.9",
            "[::1]:8444",
            "[::1]",
            "192.0.2.7",
            "192.0.2.7:1",
            "ops.example",
            "Ops.Example:443",
        ] {
            assert!(accepts(&[good]), "{good}");
        }
        for bad in ["", "evil.example", "localhost.evil.example", "192.0.2.8", "[::2]", "localhost:x", "ops.example:"] {
            assert_eq!(accepts(&[bad]), bad == "ops.example:", "{bad}");
        }
        assert!(!accepts(&[]), "no host at all");
        assert!(!accepts(&["localhost", "localhost"]), "two of them");
    }

    #[test]
    fn the_targets_authority_comes_first() {
        let request = Request::get("http://evil.example/x").header(HOST, "localhost").body(()).expect("a request");
        assert!(!names_us(&request, &conn(), &[]));
    }
}
