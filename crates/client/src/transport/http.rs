//! HTTP/1.1 and HTTP/2 over TCP, with TLS where the address says so.
//!
//! Owns a small pool per edge: one shared HTTP/2 connection, or idle HTTP/1.1 connections. A token is
//! sent over TLS only and to the named edges only: redirects come back as answers and are not followed.

use super::{Answer, AnswerBody, BoxFuture, GetRequest, Transport, TransportError};
use crate::request::{EdgeUrl, Token};
use crate::session::{AnswerHead, EdgeIndex};
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, DATE, HOST, RANGE, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest wait for name resolution, TCP and TLS together.
const CONNECT_SECONDS: u64 = 10;
/// Idle HTTP/1.1 connections kept per edge.
const IDLE_MAX: usize = 16;
/// Read buffer of an HTTP/1.1 connection; larger ones cost memory and save nothing.
const READ_BYTES_MAX: usize = 256 * 1024;
/// HTTP/2 flow-control windows: what an edge may send before we have read it, and what it may cost in memory.
/// Four MiB on their way are 30 ms of distance at 1 Gbit/s.
const H2_STREAM_WINDOW_BYTES: u32 = 1 << 20;
const H2_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Largest HTTP/2 frame; larger ones cost less per byte and hold up other streams longer.
const H2_FRAME_BYTES_MAX: u32 = 64 * 1024;
/// A connection with requests on it is pinged when it was silent for so long, and is given up when the
/// answer takes longer than [`H2_PING_TIMEOUT_SECONDS`]: a sleeping laptop or a new network leaves connections
/// behind that nobody closes.
const H2_PING_SECONDS: u64 = 5;
const H2_PING_TIMEOUT_SECONDS: u64 = 10;
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
    shared: Mutex<Shared>,
}

/// The HTTP/2 connection that requests share, and how many there were before it.
#[derive(Default)]
struct Shared {
    number: u64,
    sender: Option<H2>,
}

enum Sender {
    H1(H1),
    /// With its connection's number.
    H2(H2, u64),
}

/// A request on the shared connection. One that ends before its answer did (it stalled, broke, or was
/// of no use) casts doubt on the connection: later requests get a fresh one, those under way go on.
struct Doubt {
    pool: Arc<EdgePool>,
    number: u64,
}

impl Drop for Doubt {
    fn drop(&mut self) {
        let mut shared = lock(&self.pool.shared);
        if shared.number == self.number {
            shared.sender = None;
        }
    }
}

impl Doubt {
    /// The answer came to its end.
    fn dispel(mut self) {
        self.number = u64::MAX;
    }
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
        {
            let shared = lock(&self.shared);
            if let Some(sender) = shared.sender.as_ref().filter(|sender| !sender.is_closed()) {
                return Some(Sender::H2(sender.clone(), shared.number));
            }
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
                Ok(self.answer(response, Home::H1(Arc::clone(self), sender)))
            }
            Sender::H2(mut sender, number) => {
                let request = self.request(request, Version::HTTP_2)?;
                let doubt = Doubt { pool: Arc::clone(self), number };
                sender.ready().await.map_err(TransportError::Http)?;
                let response = sender.send_request(request).await.map_err(TransportError::Http)?;
                Ok(self.answer(response, Home::H2(doubt)))
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

    fn answer(self: &Arc<Self>, response: Response<Incoming>, home: Home) -> Answer {
        let (parts, body) = response.into_parts();
        let head = AnswerHead {
            status: parts.status.as_u16(),
            content_range: text(&parts.headers, &CONTENT_RANGE).and_then(parse_content_range),
            content_length: text(&parts.headers, &CONTENT_LENGTH).and_then(|value| value.parse().ok()),
            retry_after_seconds: text(&parts.headers, &RETRY_AFTER)
                .and_then(|value| retry_after(value, text(&parts.headers, &DATE), SystemTime::now())),
        };
        let mut body = HttpBody { body, left: head.content_length, home: Some(home) };
        body.go_home_when_done();
        Answer { head, body: Box::new(body) }
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
            .max_frame_size(H2_FRAME_BYTES_MAX)
            .max_header_list_size(HEAD_BYTES_MAX)
            .keep_alive_interval(Duration::from_secs(H2_PING_SECONDS))
            .keep_alive_timeout(Duration::from_secs(H2_PING_TIMEOUT_SECONDS))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(TransportError::Http)?;
        spawn_connection(connection);
        let mut shared = lock(&self.shared);
        shared.number += 1;
        shared.sender = Some(sender.clone());
        Ok(Sender::H2(sender, shared.number))
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
    /// Bytes that the head announced and that have not come yet.
    left: Option<u64>,
    /// Where the connection goes back to once the body was read to its end.
    home: Option<Home>,
}

enum Home {
    H1(Arc<EdgePool>, H1),
    H2(Doubt),
}

impl AnswerBody for HttpBody {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>> {
        Box::pin(async move {
            loop {
                match self.body.frame().await {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(bytes) if !bytes.is_empty() => {
                            self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
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
        // All of an HTTP/2 answer is there before the frame that says so; whoever has it reads no further.
        let is_whole = self.left == Some(0) && matches!(self.home, Some(Home::H2(_)));
        if is_whole || hyper::body::Body::is_end_stream(&self.body) {
            self.go_home();
        }
    }
    fn go_home(&mut self) {
        match self.home.take() {
            Some(Home::H1(pool, sender)) => {
                let mut idle = lock(&pool.idle);
                if idle.len() < IDLE_MAX && !sender.is_closed() {
                    idle.push(sender);
                }
            }
            Some(Home::H2(doubt)) => doubt.dispel(),
            None => {}
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

/// `Retry-After` in seconds: a number, or a date (RFC 9110, section 10.2.3), which is taken relative to the server's
/// own clock where it says what time it is there.
fn retry_after(value: &str, date: Option<&str>, now: SystemTime) -> Option<u64> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(seconds);
    }
    let now = || now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let now = date.and_then(date_seconds).unwrap_or_else(now);
    Some(date_seconds(value)?.saturating_sub(now))
}

/// Seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that may be sent.
fn date_seconds(text: &str) -> Option<u64> {
    let (_, rest) = text.trim().split_once(", ")?;
    let mut fields = rest.split(' ');
    let mut field = || fields.next();
    let (day, month, year, time, zone) = (field()?, field()?, field()?, field()?, field()?);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = 1 + u64::try_from(months.iter().position(|name| *name == month)?).ok()?;
    let number = |text: &str, max: u64| {
        let is_number = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|number: &u64| is_number && *number <= max)
    };
    let (day, year) = (number(day, 31).filter(|day| *day > 0)?, number(year, 9999).filter(|year| *year >= 1970)?);
    let mut clock = time.split(':').map(|part| number(part, 60));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if zone != "GMT" || hour > 23 || minute > 59 {
        return None;
    }
    // Days since 1970 by counting years from March, so that the leap day is a year's last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// A poisoned pool is still a pool: connections in it are checked before use.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(date_seconds(date), Some(784_111_777));
        assert_eq!(date_seconds("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(date_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(retry_after(" 7 ", None, at(0)), Some(7));
        assert_eq!(retry_after(date, None, at(784_111_700)), Some(77));
        // The server's clock counts, not ours.
        assert_eq!(retry_after(date, Some("Sun, 06 Nov 1994 08:49:07 GMT"), at(0)), Some(30));
        assert_eq!(retry_after(date, None, at(2_000_000_000)), Some(0));
        for bad in ["soon", "", "-1", "Sun, 06 Nov 1994 08:49:37 PST", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov"] {
            assert_eq!(retry_after(bad, None, at(0)), None, "{bad:?}");
        }
    }

    #[test]
    fn content_range_is_read_strictly() {
        assert_eq!(parse_content_range("bytes 0-9/100"), Some((0, 9)));
        assert_eq!(parse_content_range("bytes 5-5/*"), Some((5, 5)));
        for bad in ["bytes */100", "bytes 9-0/100", "0-9/100", "bytes +0-9/100", "bytes 0-9", "bytes 0--9/1"] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
