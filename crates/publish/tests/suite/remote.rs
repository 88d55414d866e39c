//! The HTTP registry against real sockets: Unix, TCP and TLS, with a node that fails now and then.

use crate::common::*;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use penstock_core::api::{BlobAnswer, MissingAnswer, MissingQuestion, ProblemDocument};
use penstock_core::blob::BlobId;
use penstock_core::id::{ChannelName, ProductId};
use penstock_publish::memory::MemoryRegistry;
use penstock_publish::remote::{AdminClient, ClientError, Endpoint, HttpRegistry, Roots, Timing};
use penstock_publish::{Content, Registry, RegistryError, Silent, publish};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A node in memory behind HTTP.
struct Server {
    registry: MemoryRegistry,
    /// Requests still to be answered with 503.
    busy: AtomicU32,
    requests: AtomicU32,
    _runtime: tokio::runtime::Runtime,
}

const TOKEN: &str = "a-good-token";

type Answer = Result<Response<Full<Bytes>>, std::convert::Infallible>;

impl Server {
    /// Starts one on a Unix socket.
    fn on_socket(path: &std::path::Path) -> Arc<Self> {
        let path = path.to_owned();
        Self::start(|runtime, server| {
            let _guard = runtime.enter();
            let listener = tokio::net::UnixListener::bind(path).expect("socket");
            runtime.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(Self::serve(Arc::clone(&server), stream));
                }
            });
        })
    }

    /// Starts one on a port of its own, with TLS if given.
    fn on_port(tls: Option<Arc<rustls::ServerConfig>>) -> (Arc<Self>, u16) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        listener.set_nonblocking(true).expect("nonblocking");
        let port = listener.local_addr().expect("address").port();
        let server = Self::start(|runtime, server| {
            let _guard = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
            runtime.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (server, tls) = (Arc::clone(&server), tls.clone());
                    tokio::spawn(async move {
                        match tls {
                            None => Self::serve(server, stream).await,
                            Some(config) => {
                                let accepted = tokio_rustls::TlsAcceptor::from(config).accept(stream).await;
                                if let Ok(stream) = accepted {
                                    Self::serve(server, stream).await;
                                }
                            }
                        }
                    });
                }
            });
        });
        (server, port)
    }

    fn start(listen: impl FnOnce(&tokio::runtime::Handle, Arc<Self>)) -> Arc<Self> {
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let handle = runtime.handle().clone();
        let (busy, requests) = (AtomicU32::new(0), AtomicU32::new(0));
        let server = Arc::new(Self { registry: node(), busy, requests, _runtime: runtime });
        listen(&handle, Arc::clone(&server));
        server
    }

    async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(server: Arc<Self>, stream: S) {
        let service = service_fn(move |request| {
            let server = Arc::clone(&server);
            async move { server.answer(request).await }
        });
        // A client that goes away is no failure of this test.
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let busy = self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if busy.is_ok() {
            return Ok(problem(503, "unavailable"));
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("request body").to_bytes();
        let token = head.headers.get("authorization").map(|value| value.to_str().expect("text").to_owned());
        if head.uri.path().starts_with("/needs-token") && token.as_deref() != Some("Bearer a-good-token") {
            return Ok(problem(401, "admin_credentials"));
        }
        Ok(match self.route(&head.method, head.uri.path(), &body) {
            Ok(bytes) => Response::new(Full::new(bytes)),
            Err(RegistryError::Refused { status, code, .. }) => problem(status, &code),
            Err(other) => panic!("the memory node answers or refuses: {other}"),
        })
    }

    fn route(&self, method: &Method, path: &str, body: &[u8]) -> Result<Bytes, RegistryError> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let product = |text: &str| ProductId::new(text).expect("name");
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["needs-token"]) => Ok(json(&"welcome")),
            ("DELETE", ["nothing"]) => Ok(Bytes::new()),
            ("GET", ["admin", "v1", "products", p, "signing"]) => Ok(json(&self.registry.signing(&product(p))?)),
            ("GET", ["admin", "v1", "products", p, "releases"]) => Ok(json(&self.registry.releases(&product(p))?)),
            ("GET", ["admin", "v1", "products", p, "channels"]) => Ok(json(&self.registry.channels(&product(p))?)),
            ("POST", ["admin", "v1", "products", p, "reuse"]) => {
                Ok(json(&self.registry.reuse(&product(p), &from_json(body))?))
            }
            ("POST", ["admin", "v1", "products", p, "releases"]) => {
                self.registry.register(&product(p), &from_json(body))?;
                Ok(json(&serde_json::json!({})))
            }
            ("PUT", ["admin", "v1", "products", p, "channels", c]) => {
                self.registry.move_channel(&product(p), &ChannelName::new(c).expect("name"), &from_json(body))?;
                Ok(json(&serde_json::json!({})))
            }
            ("POST", ["admin", "v1", "blobs", "missing"]) => {
                let question: MissingQuestion = from_json(body);
                Ok(json(&MissingAnswer { missing: self.registry.missing(&question.blobs)? }))
            }
            ("PUT", ["admin", "v1", "blobs", blob]) => {
                let blob = blob.parse().expect("name");
                self.registry.put_blob(&blob, Content::Memory(body))?;
                Ok(json(&BlobAnswer { blob, bytes: body.len() as u64 }))
            }
            ("GET", ["admin", "v1", "blobs", blob]) => {
                self.registry.read_blob(&blob.parse().expect("name"), u64::MAX).map(Bytes::from)
            }
            other => panic!("no such path: {other:?}"),
        }
    }
}

fn json(value: &impl serde::Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("json"))
}

fn from_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> T {
    serde_json::from_slice(body).expect("json")
}

fn problem(status: u16, code: &str) -> Response<Full<Bytes>> {
    let document = ProblemDocument {
        kind: "about:blank".to_owned(),
        title: "a title".to_owned(),
        status,
        code: code.to_owned(),
        detail: "a detail".to_owned(),
        request_id: String::new(),
    };
    let mut response = Response::new(Full::new(json(&document)));
    *response.status_mut() = StatusCode::from_u16(status).expect("status");
    response
}

fn quick() -> Timing {
    let second = Duration::from_secs(1);
    Timing { connect: 10 * second, answer: 20 * second, tries: 3, pause: Duration::from_millis(1) }
}

fn client(endpoint: Endpoint, token: Option<&str>, roots: &Roots) -> AdminClient {
    AdminClient::new(endpoint, token, roots, quick()).expect("client")
}

fn url(scheme: &str, host: &str, port: u16) -> Endpoint {
    Endpoint::from_url(&format!("{scheme}://{host}:{port}")).expect("url")
}

/// Publishes twice over a client and compares what the node then holds with the builds.
fn publish_and_compare(server: &Server, client: AdminClient) {
    let registry = HttpRegistry::new(Arc::new(client));
    let mut build = tree([("a.pak", Node::File(noise(1, 12_000_000))), ("b", Node::File(b"b".repeat(5000)))]);
    for text in ["1", "2"] {
        let dir = tempfile::tempdir().expect("dir");
        write(&build, dir.path());
        let mut request = request(dir.path(), text);
        request.channel = Some(ChannelName::new("stable").expect("name"));
        let report = publish(request, &registry, &Silent).expect("published");
        assert_eq!(report.uploaded_bytes > 12_000_000, text == "1");
        assert_eq!(install(&server.registry, text), build);
        build.insert("c".to_owned(), Node::File(b"new".to_vec()));
    }
    assert_eq!(server.registry.channel(&product(), &ChannelName::new("stable").expect("name")), Some(version("2")));
}

#[test]
fn publishing_over_a_unix_socket() {
    let dir = tempfile::tempdir().expect("dir");
    let server = Server::on_socket(&dir.path().join("node.sock"));
    publish_and_compare(&server, client(Endpoint::of_data_dir(dir.path()), None, &Roots::System));
}

#[test]
fn publishing_over_tcp_with_a_busy_node() {
    let (server, port) = Server::on_port(None);
    server.busy.store(2, Ordering::SeqCst);
    publish_and_compare(&server, client(url("http", "127.0.0.1", port), Some(TOKEN), &Roots::System));
}

#[test]
fn publishing_over_tls_with_a_root_of_our_own_and_no_other() {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("certificate");
    let dir = tempfile::tempdir().expect("dir");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, key.cert.pem()).expect("write");
    let secret = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).expect("key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], secret)
        .expect("server config");
    let (server, port) = Server::on_port(Some(Arc::new(config)));
    publish_and_compare(&server, client(url("https", "localhost", port), Some(TOKEN), &Roots::File(ca.clone())));
    let before = server.requests.load(Ordering::SeqCst);

    // Another name than the certificate's, and another root: no request gets through.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("certificate");
    let other_ca = dir.path().join("other.pem");
    std::fs::write(&other_ca, other.cert.pem()).expect("write");
    for (host, roots) in [("127.0.0.1", ca), ("localhost", other_ca)] {
        let client = client(url("https", host, port), Some(TOKEN), &Roots::File(roots));
        let error = client.get_json::<String>("/needs-token").expect_err("not believed");
        assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), before);
}

#[test]
fn problems_are_told_with_status_and_code() {
    let (_server, port) = Server::on_port(None);
    let endpoint = || url("http", "127.0.0.1", port);
    let error = client(endpoint(), Some("wrong"), &Roots::System).get_json::<String>("/needs-token");
    let Err(RegistryError::Refused { status: 401, code, title, detail }) = error else { panic!("{error:?}") };
    assert_eq!((code.as_str(), title.as_str(), detail.as_str()), ("admin_credentials", "a title", "a detail"));
    let good = client(endpoint(), Some(TOKEN), &Roots::System);
    assert_eq!(good.get_json::<String>("/needs-token").expect("welcome"), "welcome");
    good.delete("/nothing").expect("an empty answer is fine");
    let absent = good.get_blob(&BlobId::of(b"absent"), 100).expect_err("absent");
    assert!(absent.is_not_found(), "{absent:?}");
    assert!(matches!(good.get_json::<u64>("/needs-token"), Err(RegistryError::Answer(_))), "another type");
}

#[test]
fn a_wrong_hash_is_refused_and_a_blob_comes_back_as_it_went() {
    let (server, port) = Server::on_port(None);
    let client = client(url("http", "127.0.0.1", port), None, &Roots::System);
    let content = noise(3, 3_000_000);
    let blob = BlobId::of(&content);
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("blob");
    std::fs::write(&path, &content).expect("write");
    let file = Content::File { path: &path, bytes: content.len() as u64 };
    assert!(matches!(client.put_blob(&BlobId::of(b"x"), file, ""), Err(RegistryError::Refused { status: 422, .. })));
    client.put_blob(&blob, file, "").expect("uploaded");
    assert_eq!(server.registry.blob(&blob), Some(content.clone()));
    assert_eq!(client.get_blob(&blob, 3_000_000).expect("read"), content);
    let small = client.get_blob(&blob, 100_000).expect_err("larger than allowed");
    assert!(matches!(small, RegistryError::Unreachable { .. } | RegistryError::Answer(_)), "{small:?}");
    let absent = Content::File { path: &dir.path().join("absent"), bytes: 5 };
    assert!(matches!(client.put_blob(&blob, absent, ""), Err(RegistryError::Content(_))));
}

#[test]
fn busy_answers_are_waited_for_but_not_forever() {
    let (server, port) = Server::on_port(None);
    let client = client(url("http", "127.0.0.1", port), Some(TOKEN), &Roots::System);
    server.busy.store(2, Ordering::SeqCst);
    assert_eq!(client.get_json::<String>("/needs-token").expect("third try"), "welcome");
    server.busy.store(3, Ordering::SeqCst);
    let error = client.get_json::<String>("/needs-token").expect_err("three tries");
    assert!(matches!(error, RegistryError::Refused { status: 503, .. }));
    assert_eq!(server.busy.load(Ordering::SeqCst), 0);
}

#[test]
fn nobody_at_home_is_told_with_the_address() {
    let dir = tempfile::tempdir().expect("dir");
    let error = client(Endpoint::of_data_dir(dir.path()), None, &Roots::System).get_json::<String>("/x");
    let Err(RegistryError::Unreachable { address, .. }) = error else { panic!("{error:?}") };
    assert!(address.ends_with("node.sock"));
    assert!(matches!(
        AdminClient::for_url("http://localhost:1", Some("a\nb"), &Roots::System),
        Err(ClientError::Token)
    ));
}
