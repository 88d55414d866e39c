//! The generator against a real server on a loopback socket: plain, TLS, HTTP/2, and servers that misbehave.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use penstock_load::{LoadError, LoadPlan, Protocol, run};
use rustls_pki_types::PrivateKeyDer;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

const BLOB_BYTES: usize = 300_000;

#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Honest,
    /// Answers ranges with the whole blob.
    IgnoresRanges,
    /// Knows the blob's size and then refuses.
    RefusesBytes,
}

/// A server that lives as long as this value.
struct Server {
    address: SocketAddr,
    ca_pem: Vec<u8>,
    _runtime: Runtime,
}

impl Server {
    fn start(manner: Manner, alpn: Option<&'static [u8]>) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (acceptor, ca_pem) = alpn.map_or((None, Vec::new()), |alpn| {
            let (acceptor, ca_pem) = acceptor(alpn);
            (Some(acceptor), ca_pem)
        });
        runtime.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(manner, request));
                    match acceptor {
                        None => http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await.ok(),
                        Some(acceptor) => {
                            let tls = acceptor.accept(tcp).await.ok()?;
                            if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                                let builder = http2::Builder::new(TokioExecutor::new());
                                builder.serve_connection(TokioIo::new(tls), service).await.ok()
                            } else {
                                http1::Builder::new().serve_connection(TokioIo::new(tls), service).await.ok()
                            }
                        }
                    }
                });
            }
        });
        Self { address, ca_pem, _runtime: runtime }
    }

    fn plan(&self, protocol: Protocol) -> LoadPlan {
        let scheme = if self.ca_pem.is_empty() { "http" } else { "https" };
        LoadPlan {
            protocol,
            connections: 5,
            range_bytes: 10_000,
            duration_ms: 60_000,
            requests_max: 101,
            ca_pem: self.ca_pem.clone(),
            ..LoadPlan::new(format!("{scheme}://localhost:{}/v1/blobs/x", self.address.port()))
        }
    }
}

fn acceptor(alpn: &[u8]) -> (TlsAcceptor, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a usable certificate");
    config.alpn_protocols = vec![alpn.to_vec()];
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem().into_bytes())
}

async fn answer(manner: Manner, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let whole = Bytes::from(vec![7; BLOB_BYTES]);
    let mut response = Response::new(Full::new(whole.clone()));
    let range = request.headers().get(header::RANGE).and_then(|value| {
        let (start, last) = value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
        Some(start.parse::<usize>().ok()?..last.parse::<usize>().ok()? + 1)
    });
    match range {
        Some(range) if manner == Manner::Honest => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            *response.body_mut() = Full::new(whole.slice(range));
        }
        Some(_) if manner == Manner::RefusesBytes => *response.status_mut() = StatusCode::FORBIDDEN,
        _ => (),
    }
    Ok(response)
}

#[test]
fn every_request_of_a_bounded_plan_is_made_once() {
    let server = Server::start(Manner::Honest, None);
    let report = run(&server.plan(Protocol::Http1)).expect("a run");
    assert_eq!((report.requests, report.bytes, report.connections), (101, 1_010_000, 5));
    assert_eq!((report.errors.total(), report.first_error), (0, None));
    assert!(report.latency_seconds.p50 <= report.latency_seconds.p99 && report.latency_seconds.p99 > 0.0);
}

#[test]
fn tls_and_http2_are_spoken() {
    for (protocol, alpn) in [(Protocol::Http1, b"http/1.1".as_slice()), (Protocol::Http2, b"h2")] {
        let server = Server::start(Manner::Honest, Some(alpn));
        let report = run(&server.plan(protocol)).expect("a run");
        assert_eq!((report.requests, report.bytes, report.errors.total()), (101, 1_010_000, 0), "{protocol:?}");
    }
}

#[test]
fn the_whole_blob_is_asked_for_without_a_range() {
    let server = Server::start(Manner::Honest, None);
    let plan = LoadPlan { range_bytes: 0, requests_max: 4, ..server.plan(Protocol::Http1) };
    assert_eq!(run(&plan).expect("a run").bytes, 4 * BLOB_BYTES as u64);
}

#[test]
fn the_clock_ends_an_unbounded_plan() {
    let server = Server::start(Manner::Honest, None);
    let plan = LoadPlan { requests_max: 0, duration_ms: 300, ..server.plan(Protocol::Http1) };
    let report = run(&plan).expect("a run");
    assert!(report.requests > 0 && report.seconds >= 0.3 && report.seconds < 20.0, "{report:?}");
}

#[test]
fn wrong_answers_are_counted_and_named() {
    for (manner, text) in [(Manner::IgnoresRanges, "200"), (Manner::RefusesBytes, "403")] {
        let server = Server::start(manner, None);
        let report = run(&LoadPlan { duration_ms: 300, ..server.plan(Protocol::Http1) }).expect("a run");
        assert_eq!(report.requests, 0);
        assert!(report.errors.status > 0 && report.first_error.is_some_and(|error| error.contains(text)));
    }
}

#[test]
fn a_wrong_address_and_a_strange_certificate_are_one_clear_error() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let refused = run(&LoadPlan::new(format!("http://127.0.0.1:{port}/x"))).expect_err("nobody listens");
    assert!(matches!(refused, LoadError::Probe(_)), "{refused}");
    let server = Server::start(Manner::Honest, Some(b"http/1.1"));
    let other = Server::start(Manner::Honest, Some(b"http/1.1"));
    let plan = LoadPlan { ca_pem: other.ca_pem.clone(), ..server.plan(Protocol::Http1) };
    assert!(matches!(run(&plan), Err(LoadError::Probe(_))));
}

#[test]
fn a_report_travels_as_json() {
    let server = Server::start(Manner::Honest, None);
    let report = run(&server.plan(Protocol::Http1)).expect("a run");
    let text = serde_json::to_string(&report).expect("JSON");
    assert_eq!(serde_json::from_str::<penstock_load::LoadReport>(&text).expect("the same"), report);
}
