//! A node with a small test handler, and clients that speak to it over real sockets.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use penstock_core::reply::Problem;
use penstock_edge::config::{Checked, Config, Environment};
use penstock_edge::drain::Readiness;
use penstock_edge::listen::tcp::Inherited;
use penstock_edge::listen::{ConnInfo, Handler};
use penstock_edge::node::{Node, NodeParts, StartError};
use penstock_edge::reload::OnReload;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Longest that any test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of one body frame.
const FRAME: &[u8] = &[b'x'; 16 * 1024];

/// How a body ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    Whole,
    Broken,
}

/// Answers `/bytes/N` with N bytes, anything else with one line about the connection.
pub(crate) struct TestHandler {
    ends: SyncSender<BodyEnd>,
}

pub(crate) struct TestBody {
    left: u64,
    line: Option<Bytes>,
    ends: Option<SyncSender<BodyEnd>>,
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(line) = self.line.take() {
            self.left = 0;
            return Poll::Ready(Some(Ok(Frame::data(line))));
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let bytes = self.left.min(FRAME.len() as u64);
        self.left -= bytes;
        let bytes = usize::try_from(bytes).expect("a frame is small");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&FRAME[..bytes])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Drop for TestBody {
    fn drop(&mut self) {
        if let Some(ends) = self.ends.take() {
            _ = ends.try_send(if self.left == 0 { BodyEnd::Whole } else { BodyEnd::Broken });
        }
    }
}

impl Handler for TestHandler {
    type Body = TestBody;

    async fn handle(&self, request: Request<Incoming>, conn: &ConnInfo) -> Response<TestBody> {
        let path = request.uri().path().to_owned();
        if let Some(bytes) = path.strip_prefix("/bytes/") {
            let left = bytes.parse().expect("a count");
            return Response::new(TestBody { left, line: None, ends: Some(self.ends.clone()) });
        }
        let body = request.into_body().collect().await.map(|body| body.to_bytes().len()).unwrap_or(usize::MAX);
        let peer = conn.peer.map_or_else(|| "none".to_owned(), |peer| peer.to_string());
        respond(format!("{peer} {} {} {body}", conn.door.name(), conn.protocol.name()), StatusCode::OK)
    }

    fn refuse(&self, problem: Problem, _: &ConnInfo) -> Response<TestBody> {
        let status = StatusCode::from_u16(problem.status()).expect("a status");
        let mut response = respond(problem.code().to_owned(), status);
        response.headers_mut().insert(http::header::RETRY_AFTER, 5.into());
        response
    }
}

fn respond(line: String, status: StatusCode) -> Response<TestBody> {
    let body = TestBody { left: line.len() as u64, line: Some(line.into()), ends: None };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// What a thread's events say: one line each, with level, message and fields.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    /// Runs `work` and returns what it logged on this thread.
    pub(crate) fn during<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
        let heard = Self::default();
        let done = tracing::subscriber::with_default(heard.clone(), work);
        let lines = heard.0.lock().expect("no panic").clone();
        (done, lines)
    }
}

impl tracing::Subscriber for Heard {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = event.metadata().level().to_string();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            line.push_str(&format!(" {field}={value:?}"));
        });
        self.0.lock().expect("no panic").push(line);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// A running node and what its bodies tell.
pub(crate) struct Rig {
    pub(crate) node: Node,
    pub(crate) ends: Receiver<BodyEnd>,
    pub(crate) https: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
}

/// A configuration on free ports, with `more` lines appended.
pub(crate) fn config(dir: &Path, more: &str) -> Checked {
    Config::parse(&text(dir, more), &Environment::default(), Some(dir)).expect("a good configuration")
}

/// Its text.
pub(crate) fn text(dir: &Path, more: &str) -> String {
    let tls = if dir.join("cert.pem").exists() { "cert = \"cert.pem\"\nkey = \"key.pem\"" } else { "" };
    let https = if tls.is_empty() { "[]" } else { "\"127.0.0.1:0\"" };
    format!(
        "[data]\ndir = \"data\"\n[tls]\n{tls}\n[listen]\nworkers = 2\nhttps = {https}\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n{more}\n"
    )
}

pub(crate) fn start(config: Checked) -> Rig {
    start_with(config, None, Inherited::default())
}

/// A node that tells of each configuration that it takes.
pub(crate) fn start_told(config: Checked, on_reload: OnReload) -> Rig {
    try_start(config, None, Inherited::default(), on_reload).expect("a node")
}

pub(crate) fn start_with(config: Checked, admin_socket: Option<&Path>, inherited: Inherited) -> Rig {
    try_start_with(config, admin_socket, inherited).expect("a node")
}

pub(crate) fn try_start_with(
    config: Checked,
    admin_socket: Option<&Path>,
    inherited: Inherited,
) -> Result<Rig, StartError> {
    try_start(config, admin_socket, inherited, Box::new(|_| {}))
}

fn try_start(
    config: Checked,
    admin_socket: Option<&Path>,
    inherited: Inherited,
    on_reload: OnReload,
) -> Result<Rig, StartError> {
    let (ends_in, ends) = sync_channel(1024);
    let node = Node::start(NodeParts {
        config,
        data: Arc::new(TestHandler { ends: ends_in.clone() }),
        admin: Arc::new(TestHandler { ends: ends_in }),
        admin_socket: admin_socket.map(Path::to_path_buf),
        inherited,
        readiness: Readiness::default(),
        on_reload,
    })?;
    let https = node.addresses().https.first().copied();
    let http = node.addresses().http.first().copied();
    Ok(Rig { node, ends, https, http })
}

/// Runs a test's client side with a bound on its time.
pub(crate) fn clients<F: Future>(test: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("the test got stuck") })
}

/// Writes a certificate for `localhost` into `dir`, valid under a name that tells it from others.
pub(crate) fn write_certificate(dir: &Path, organisation: &str) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
    params.distinguished_name.push(rcgen::DnType::OrganizationName, organisation);
    let cert = params.self_signed(&key).expect("a certificate");
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).expect("written");
    std::fs::write(dir.join("cert.pem"), cert.pem()).expect("written");
}

/// The certificate in `dir`.
pub(crate) fn certificate(dir: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(dir.join("cert.pem")).expect("a certificate")
}

/// A TLS connection to `address`, trusting exactly `trusted`.
pub(crate) async fn tls(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    alpn: &[&[u8]],
) -> TlsStream<TcpStream> {
    try_tls(address, trusted, alpn).await.expect("a handshake")
}

pub(crate) async fn try_tls(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

pub(crate) type Http1 = hyper::client::conn::http1::SendRequest<Empty<Bytes>>;
pub(crate) type Http2 = hyper::client::conn::http2::SendRequest<Empty<Bytes>>;

pub(crate) async fn http1<S>(stream: S) -> Http1
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("http/1");
    tokio::spawn(connection);
    sender
}

pub(crate) async fn http2<S>(stream: S) -> Http2
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = shaken.expect("http/2");
    tokio::spawn(connection);
    sender
}

pub(crate) fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::builder().uri(format!("http://localhost{path}")).body(Empty::new()).expect("a request")
}

pub(crate) async fn body_text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Type and payload of each HTTP/2 frame.
pub(crate) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.get(..9)?;
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).expect("24 bits");
        let payload = bytes.get(9..9 + length)?;
        let kind = head[3];
        bytes = &bytes[9 + length..];
        Some((kind, payload))
    })
}
