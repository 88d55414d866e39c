//! HTTP/1.1 and HTTP/2 over TCP, with TLS where the address says so.
//!
//! Owns a small pool per edge: one shared HTTP/2 connection, or idle HTTP/1.1 connections. A token is
//! sent over TLS only and to the named edges only: redirects come back as answers and are not followed.

use super::{Answer, AnswerBody, BoxFuture, GetRequest, Transport, TransportError};
use crate::request::{EdgeUrl, Token};
use crate::session::{AnswerHead, EdgeIndex};
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, HOST, RANGE, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest wait for name resolution, TCP and TLS together.
const CONNECT_SECONDS: u64 = 10;
/// Idle HTTP/1.1 connections kept per edge.
const IDLE_MAX: usize = 16;
/// Read buffer of an HTTP/1.1 connection; larger ones cost memory and save nothing.
const READ_BYTES_MAX: usize = 256 * 1024;
/// HTTP/2 flow-control windows: what an edge may send before we have read it.
const H2_STREAM_WINDOW_BYTES: u32 = 1 << 20;
const H2_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Largest head of an answer.
const HEAD_BYTES_MAX: u32 = 32 * 1024;

type H1 = http1::SendRequest<Empty<Bytes>>;
type H2 = http2::SendRequest<Empty<Bytes>>;

/// See the module's words.
pub struct HttpTransport {
    edges: Vec<Arc<EdgePool>>,
}

struct EdgePool {
    url: EdgeUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    authorization: Option<HeaderValue>,
    idle: Mutex<Vec<H1>>,
    shared: Mutex<Option<H2>>,
}

enum Sender {
    H1(H1),
    H2(H2),
}

impl HttpTransport {
    /// A transport to `edges`. `tls` may be absent only when no edge is secure; the token goes to
    /// secure edges alone.
    ///
    /// # Errors
    /// [`TransportError::Tls`] when a host is not a name a certificate could have.
    pub fn new(
        edges: &[EdgeUrl],
        tls: Option<&Arc<rustls::ClientConfig>>,
        token: Option<&Token>,
    ) -> Result<Self, TransportError> {
        let pool = |url: &EdgeUrl| {
            let tls = if url.is_secure() { Some(tls_for(url, tls)?) } else { None };
            let authorization = token.filter(|_| url.is_secure()).and_then(bearer);
            let (idle, shared) = (Mutex::default(), Mutex::default());
            Ok(Arc::new(EdgePool { url: url.clone(), tls, authorization, idle, shared }))
        };
        Ok(Self { edges: edges.iter().map(pool).collect::<Result<_, TransportError>>()? })
    }
}

impl Transport for HttpTransport {
    fn get(&self, edge: EdgeIndex, request: GetRequest) -> BoxFuture<'_, Result<Answer, TransportError>> {
        let pool = self.edges.get(edge.0).cloned();
        Box::pin(async move {
            let missing = || TransportError::Connect(io::Error::other("no such edge"));
            pool.ok_or_else(missing)?.get(&request).await
        })
    }
}

fn tls_for(
    url: &EdgeUrl,
    config: Option<&Arc<rustls::ClientConfig>>,
) -> Result<(TlsConnector, ServerName<'static>), TransportError> {
    let config = config.ok_or_else(|| TransportError::Tls(io::Error::other("no tls configuration")))?;
    let name = ServerName::try_from(url.host().to_owned()).map_err(|e| TransportError::Tls(io::Error::other(e)))?;
    Ok((TlsConnector::from(Arc::clone(config)), name))
}

fn bearer(token: &Token) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl EdgePool {
    async fn get(self: Arc<Self>, request: &GetRequest) -> Result<Answer, TransportError> {
        if let Some(sender) = self.reusable().await {
            match self.send(sender, request).await {
                // The peer may have closed an idle connection just now; a fresh one tells.
                Err(TransportError::Http(error)) if !error.is_parse() => {
                    tracing::debug!(edge = %self.url, %error, "an idle connection was of no use");
                }
                other => return other,
            }
        }
        let connect = tokio::time::timeout(Duration::from_secs(CONNECT_SECONDS), self.connect());
        let sender = connect.await.map_err(|_| TransportError::Timeout { seconds: CONNECT_SECONDS })??;
        self.send(sender, request).await
    }

    async fn reusable(&self) -> Option<Sender> {
        let shared = lock(&self.shared).clone();
        if let Some(sender) = shared.filter(|sender| !sender.is_closed()) {
            return Some(Sender::H2(sender));
        }
        loop {
            let mut sender = lock(&self.idle).pop()?;
            if sender.ready().await.is_ok() {
                return Some(Sender::H1(sender));
            }
        }
    }

    async fn send(self: &Arc<Self>, sender: Sender, request: &GetRequest) -> Result<Answer, TransportError> {
        match sender {
            Sender::H1(mut sender) => {
                let request = self.request(request, Version::HTTP_11)?;
                let response = sender.send_request(request).await.map_err(TransportError::Http)?;
                Ok(self.answer(response, Some(sender)))
            }
            Sender::H2(mut sender) => {
                let request = self.request(request, Version::HTTP_2)?;
                sender.ready().await.map_err(TransportError::Http)?;
                let response = sender.send_request(request).await.map_err(TransportError::Http)?;
                Ok(self.answer(response, None))
            }
        }
    }

    fn request(&self, request: &GetRequest, version: Version) -> Result<Request<Empty<Bytes>>, TransportError> {
        let path = format!("{}{}", self.url.prefix(), request.target);
        let mut builder = Request::get(if version == Version::HTTP_2 {
            let scheme = if self.url.is_secure() { "https" } else { "http" };
            format!("{scheme}://{}{path}", self.url.authority())
        } else {
            path
        });
        if version == Version::HTTP_11 {
            builder = builder.header(HOST, self.url.authority());
        }
        builder = builder
            .header(USER_AGENT, concat!("penstock/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT_ENCODING, "identity");
        if let Some(range) = request.range {
            builder = builder.header(RANGE, format!("bytes={}-{}", range.start(), range.end() - 1));
        }
        if let Some(value) = &self.authorization {
            builder = builder.header(AUTHORIZATION, value.clone());
        }
        builder.body(Empty::new()).map_err(TransportError::Request)
    }

    fn answer(self: &Arc<Self>, response: Response<Incoming>, sender: Option<H1>) -> Answer {
        let (parts, body) = response.into_parts();
        let head = AnswerHead {
            status: parts.status.as_u16(),
            content_range: text(&parts.headers, &CONTENT_RANGE).and_then(parse_content_range),
            content_length: text(&parts.headers, &CONTENT_LENGTH).and_then(|value| value.parse().ok()),
            retry_after_seconds: text(&parts.headers, &RETRY_AFTER).and_then(|value| value.trim().parse().ok()),
        };
        let home = sender.map(|sender| (Arc::clone(self), sender));
        Answer { head, body: Box::new(HttpBody { body, home }) }
    }

    async fn connect(&self) -> Result<Sender, TransportError> {
        let stream = TcpStream::connect((self.url.host(), self.url.port())).await.map_err(TransportError::Connect)?;
        stream.set_nodelay(true).map_err(TransportError::Connect)?;
        let Some((connector, name)) = &self.tls else {
            return self.handshake_h1(TokioIo::new(stream)).await;
        };
        let stream = connector.connect(name.clone(), stream).await.map_err(classify_tls)?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return self.handshake_h1(TokioIo::new(stream)).await;
        }
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(TransportError::Http)?;
        spawn_connection(connection);
        *lock(&self.shared) = Some(sender.clone());
        Ok(Sender::H2(sender))
    }

    async fn handshake_h1<T>(&self, io: T) -> Result<Sender, TransportError>
    where
        T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BYTES_MAX)
            .max_headers(64)
            .handshake(io)
            .await
            .map_err(TransportError::Http)?;
        spawn_connection(connection);
        Ok(Sender::H1(sender))
    }
}

struct HttpBody {
    body: Incoming,
    /// Where the connection goes back to once the body was read to its end.
    home: Option<(Arc<EdgePool>, H1)>,
}

impl AnswerBody for HttpBody {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>> {
        Box::pin(async move {
            loop {
                match self.body.frame().await {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(bytes) if !bytes.is_empty() => {
                            self.go_home_when_done();
                            return Some(Ok(bytes));
                        }
                        _ => {}
                    },
                    Some(Err(error)) => return Some(Err(TransportError::Http(error))),
                    None => {
                        self.go_home();
                        return None;
                    }
                }
            }
        })
    }
}

impl HttpBody {
    fn go_home_when_done(&mut self) {
        if hyper::body::Body::is_end_stream(&self.body) {
            self.go_home();
        }
    }
    fn go_home(&mut self) {
        if let Some((pool, sender)) = self.home.take() {
            let mut idle = lock(&pool.idle);
            if idle.len() < IDLE_MAX && !sender.is_closed() {
                idle.push(sender);
            }
        }
    }
}

fn spawn_connection<F, E>(connection: F)
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display + Send,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended");
        }
    });
}

fn classify_tls(error: io::Error) -> TransportError {
    let is_certificate = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .is_some_and(|inner| matches!(inner, rustls::Error::InvalidCertificate(_)));
    if is_certificate { TransportError::Certificate(error) } else { TransportError::Tls(error) }
}

fn text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `bytes FIRST-LAST/SIZE` or `bytes FIRST-LAST/*`.
fn parse_content_range(value: &str) -> Option<(u64, u64)> {
    let (range, _size) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

/// A poisoned pool is still a pool: connections in it are checked before use.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_is_read_strictly() {
        assert_eq!(parse_content_range("bytes 0-9/100"), Some((0, 9)));
        assert_eq!(parse_content_range("bytes 5-5/*"), Some((5, 5)));
        for bad in ["bytes */100", "bytes 9-0/100", "0-9/100", "bytes +0-9/100", "bytes 0-9", "bytes 0--9/1"] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
