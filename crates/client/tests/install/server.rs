//! An edge in a thread: serves a publisher's blobs by range, over plain HTTP or TLS, and misbehaves on demand.

use crate::publisher::{Published, Publisher};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use penstock_core::api::ChannelAnswer;
use penstock_core::blob::BlobId;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// How blob answers are spoiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    WrongBytes,
    Short,
    Endless,
    Stall,
    WrongRange,
    Redirect(String),
    NotFound,
    /// 503 this many times, then good.
    Busy(u32),
    /// Breaks off after this many bytes of every answer.
    Cut(usize),
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
}

pub(crate) struct World {
    pub(crate) blobs: HashMap<BlobId, Bytes>,
    pub(crate) offer: Option<ChannelAnswer>,
    /// What stands beside the offer.
    pub(crate) beside: serde_json::Map<String, serde_json::Value>,
    pub(crate) releases: HashMap<String, String>,
    pub(crate) fault: Fault,
    pub(crate) seen: Vec<Seen>,
    pub(crate) blob_bytes: u64,
}

#[derive(Clone)]
pub(crate) struct Edge {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: Option<String>,
    _stop: Arc<tokio::sync::watch::Sender<()>>,
}

type Reply = Response<BoxBody<Bytes, std::io::Error>>;

impl Edge {
    pub(crate) fn plain() -> Self {
        Self::start(None)
    }
    pub(crate) fn secure(alpn: &[&[u8]]) -> Self {
        let key =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("certificate");
        let pem = key.cert.pem();
        let der = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).expect("key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], der)
            .expect("certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Self::start(Some((Arc::new(config), pem)))
    }
    pub(crate) fn url(&self) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.address.port())
    }
    pub(crate) fn load(&self, publisher: &Publisher) {
        let mut world = self.world.lock().expect("lock");
        for (id, bytes) in &publisher.blobs {
            world.blobs.entry(*id).or_insert_with(|| Bytes::from(bytes.clone()));
        }
    }
    pub(crate) fn offer(&self, publisher: &mut Publisher, published: &Published) {
        let offer = publisher.offer(published, |_, _| ());
        let release = publisher.release(published);
        self.load(publisher);
        let mut world = self.world.lock().expect("lock");
        world.releases.insert(release.version.to_string(), serde_json::to_string(&release).expect("json"));
        world.offer = Some(offer);
    }
    pub(crate) fn fault(&self, fault: Fault) {
        self.world.lock().expect("lock").fault = fault;
    }
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.world.lock().expect("lock").seen.clone()
    }
    pub(crate) fn take_blob_bytes(&self) -> u64 {
        std::mem::take(&mut self.world.lock().expect("lock").blob_bytes)
    }

    fn start(tls: Option<(Arc<rustls::ServerConfig>, String)>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("address");
        let world = Arc::new(Mutex::new(World {
            blobs: HashMap::new(),
            offer: None,
            beside: serde_json::Map::new(),
            releases: HashMap::new(),
            fault: Fault::None,
            seen: Vec::new(),
            blob_bytes: 0,
        }));
        let (stop, mut stopped) = tokio::sync::watch::channel(());
        let (acceptor, ca_pem) = match tls {
            Some((config, pem)) => (Some(tokio_rustls::TlsAcceptor::from(config)), Some(pem)),
            None => (None, None),
        };
        let shared = Arc::clone(&world);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
                loop {
                    tokio::select! {
                        _ = stopped.changed() => return,
                        accepted = listener.accept() => {
                            let Ok((stream, _)) = accepted else { continue };
                            tokio::spawn(serve(stream, acceptor.clone(), Arc::clone(&shared)));
                        }
                    }
                }
            });
        });
        Self { world, address, ca_pem, _stop: Arc::new(stop) }
    }
}

async fn serve(stream: tokio::net::TcpStream, tls: Option<tokio_rustls::TlsAcceptor>, world: Arc<Mutex<World>>) {
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| {
        let world = Arc::clone(&world);
        async move { Ok::<_, Infallible>(answer(&request, &world)) }
    });
    let http1 = hyper::server::conn::http1::Builder::new();
    let Some(tls) = tls else {
        http1.serve_connection(TokioIo::new(stream), service).await.ok();
        return;
    };
    let Ok(stream) = tls.accept(stream).await else { return };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await
            .ok();
    } else {
        http1.serve_connection(TokioIo::new(stream), service).await.ok();
    }
}

fn answer(request: &Request<Incoming>, world: &Mutex<World>) -> Reply {
    let mut world = world.lock().expect("lock");
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get(AUTHORIZATION).map(|v| v.to_str().expect("text").to_owned());
    let query = request.uri().query().unwrap_or_default().to_owned();
    world.seen.push(Seen { path: path.clone(), query, authorization });
    if path.contains("/channels/") {
        return match &world.offer {
            Some(offer) => {
                let mut document = serde_json::to_value(offer).expect("json");
                document.as_object_mut().expect("an object").extend(world.beside.clone());
                whole(StatusCode::OK, document.to_string().into_bytes())
            }
            None => whole(
                StatusCode::NOT_FOUND,
                br#"{"type":"about:blank","title":"there is nothing here","status":404,"code":"unknown"}"#.to_vec(),
            ),
        };
    }
    if let Some((_, version)) = path.split_once("/releases/") {
        return match world.releases.get(version) {
            Some(json) => whole(StatusCode::OK, json.clone().into_bytes()),
            None => whole(StatusCode::NOT_FOUND, Vec::new()),
        };
    }
    let blob = path.strip_prefix("/v1/blobs/").and_then(|name| name.parse::<BlobId>().ok());
    let Some(bytes) = blob.and_then(|blob| world.blobs.get(&blob).cloned()) else {
        return whole(StatusCode::NOT_FOUND, Vec::new());
    };
    let range = request.headers().get(RANGE).and_then(|v| v.to_str().ok()).and_then(parse_range);
    let (status, from, to) = match range {
        Some((first, last)) => (StatusCode::PARTIAL_CONTENT, first, (last + 1).min(bytes.len())),
        None => return whole(StatusCode::OK, bytes.to_vec()),
    };
    world.blob_bytes += (to - from) as u64;
    let content_range = format!("bytes {from}-{}/{}", to - 1, bytes.len());
    let body = bytes.slice(from..to);
    let head = Response::builder().status(status).header(CONTENT_RANGE, &content_range);
    match world.fault.clone() {
        Fault::None => head.body(full(body)).expect("response"),
        Fault::WrongBytes => {
            let mut wrong = body.to_vec();
            wrong[(to - from) / 2] ^= 1;
            head.body(full(wrong.into())).expect("response")
        }
        Fault::Short => {
            let half = body.slice(..body.len() / 2);
            head.header(CONTENT_LENGTH, body.len()).body(then_error(half)).expect("response")
        }
        Fault::Cut(bytes) if bytes < body.len() => {
            head.header(CONTENT_LENGTH, body.len()).body(then_error(body.slice(..bytes))).expect("response")
        }
        Fault::Cut(_) => head.body(full(body)).expect("response"),
        Fault::Endless => {
            let piece = Bytes::from(vec![0; 64 * 1024]);
            head.body(BodyExt::boxed(Pieces(move || Some(Ok(piece.clone()))))).expect("response")
        }
        Fault::Stall => head.body(BodyExt::boxed(Never)).expect("response"),
        Fault::WrongRange => {
            let wrong = format!("bytes {}-{}/{}", from + 1, to, bytes.len() + 1);
            Response::builder().status(status).header(CONTENT_RANGE, wrong).body(full(body)).expect("response")
        }
        Fault::Redirect(to) => Response::builder()
            .status(StatusCode::FOUND)
            .header(LOCATION, to)
            .body(full(Bytes::new()))
            .expect("response"),
        Fault::NotFound => whole(StatusCode::NOT_FOUND, Vec::new()),
        Fault::Busy(left) => {
            world.fault = if left > 1 { Fault::Busy(left - 1) } else { Fault::None };
            Response::builder()
                .status(StatusCode::SERVICE_UNAVAILABLE)
                .header(RETRY_AFTER, "0")
                .body(full(Bytes::new()))
                .expect("response")
        }
    }
}

fn parse_range(value: &str) -> Option<(usize, usize)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn whole(status: StatusCode, body: Vec<u8>) -> Reply {
    Response::builder().status(status).body(full(body.into())).expect("response")
}

fn full(bytes: Bytes) -> BoxBody<Bytes, std::io::Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// Some bytes, then a broken connection.
fn then_error(bytes: Bytes) -> BoxBody<Bytes, std::io::Error> {
    let mut pieces = vec![Err(std::io::Error::other("cut")), Ok(bytes)];
    BodyExt::boxed(Pieces(move || pieces.pop()))
}

struct Pieces<F>(F);

impl<F: FnMut() -> Option<Result<Bytes, std::io::Error>> + Unpin> hyper::body::Body for Pieces<F> {
    type Data = Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Ready((self.0)().map(|piece| piece.map(Frame::data)))
    }
}

struct Never;

impl hyper::body::Body for Never {
    type Data = Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Pending
    }
}
