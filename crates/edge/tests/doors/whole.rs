//! The real server behind the real node: ranges, HEAD, reload and drain over TLS and HTTP/2, from a mapped blob.

use crate::rig::{self, Http2, PATIENCE, certificate, clients, config, get, http1, http2, tls, write_certificate};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Empty};
use penstock_core::account::PseudonymKey;
use penstock_core::blob::BlobId;
use penstock_core::catalog::CatalogChange;
use penstock_core::entitle::TokenFault;
use penstock_core::time::UnixSeconds;
use penstock_core::token::RawToken;
use penstock_edge::admin::{AdminApi, AdminParts, AdminService, ApiFuture};
use penstock_edge::catalog::EdgeCatalog;
use penstock_edge::config::{Checked, Config, Environment};
use penstock_edge::drain::Readiness;
use penstock_edge::geo::Geo;
use penstock_edge::listen::tcp::Inherited;
use penstock_edge::listen::{ConnInfo, Door};
use penstock_edge::node::{Node, NodeParts};
use penstock_edge::outcome::{End, Outcome, OutcomeSink, Route};
use penstock_edge::passport::{Accounts, Bearer, NoBearer, Passports, Verifier};
use penstock_edge::policy::Policies;
use penstock_edge::serve::{PlainTokens, Server, ServerParts};
use penstock_store::{Store, StoreOptions};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

struct Whole {
    dir: TempDir,
    node: Node,
    store: Store,
    catalog: Arc<EdgeCatalog>,
    outcomes: Receiver<Outcome>,
}

struct Sink(SyncSender<Outcome>);

impl OutcomeSink for Sink {
    fn record(&self, outcome: &Outcome) {
        _ = self.0.try_send(outcome.clone());
    }
}

/// Nothing is behind the admin doors here.
struct Nothing;

impl AdminApi for Nothing {
    fn call(&self, _: Request<hyper::body::Incoming>, _: &ConnInfo) -> ApiFuture {
        Box::pin(async { http::Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync()) })
    }
}

/// No token is worth anything here.
struct NoIssuer;

impl Verifier for NoIssuer {
    fn verify(&self, _: &RawToken, _: Option<IpAddr>, _: UnixSeconds) -> Result<Bearer, NoBearer> {
        Err(NoBearer::Faulty(TokenFault::Issuer))
    }
    fn generation(&self) -> u64 {
        0
    }
}

fn nobody() -> Arc<Passports> {
    let accounts = Arc::new(Accounts::new(PseudonymKey::from_bytes([0; 32])));
    Arc::new(Passports::new(accounts, Arc::default(), Arc::new(NoIssuer), [0; 32], 1 << 20))
}

impl Whole {
    fn start(load: impl FnOnce(&Path) -> Checked) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        write_certificate(dir.path(), "one");
        let config = load(dir.path());
        let store = Store::open(&dir.path().join("blobs"), StoreOptions::default()).expect("a store");
        let catalog = Arc::new(EdgeCatalog::default());
        let (sink, outcomes) = sync_channel(64);
        let sink: Arc<dyn OutcomeSink> = Arc::new(Sink(sink));
        let readiness = Readiness::default();
        let policies = Arc::new(Policies::default());
        policies.configure(&config);
        let data = Arc::new(Server::new(ServerParts {
            standing: None,
            store: store.clone(),
            catalog: Arc::clone(&catalog),
            passports: nobody(),
            policies: Arc::clone(&policies),
            geo: Arc::new(Geo::open(config.geo.database.as_deref()).expect("a good database")),
            clock: || UnixSeconds(1),
            io_threads: 4,
            plain_tokens: PlainTokens::Refuse,
            outcomes: Arc::clone(&sink),
        }));
        let admin = Arc::new(AdminService::new(AdminParts {
            standing: None,
            clock: || UnixSeconds(1),
            api: Arc::new(Nothing),
            hosts: config.listen.admin_hosts.clone(),
            readiness: readiness.clone(),
            catalog: Arc::clone(&catalog),
            store: store.clone(),
            outcomes: sink,
        }));
        let node = Node::start(NodeParts {
            config,
            data,
            admin,
            admin_socket: None,
            inherited: Inherited::default(),
            readiness,
            on_reload: Box::new(|_| {}),
        })
        .expect("a node");
        Self { dir, node, store, catalog, outcomes }
    }

    fn put(&self, content: &[u8]) -> String {
        let blob: BlobId = self.store.import_reader(&mut &content[..]).expect("sealed").blob;
        self.catalog.apply(CatalogChange::LooseBlob { blob, open: true });
        format!("/v1/blobs/{blob}")
    }

    async fn connect(&self) -> Http2 {
        let https = self.node.addresses().https[0];
        http2(tls(https, &certificate(self.dir.path()), &[b"h2"]).await).await
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..=250_u8).cycle().zip(0..len).map(|(byte, at)| byte ^ (at >> 12).to_le_bytes()[0]).collect()
}

fn ask(method: &str, path: &str, range: &str) -> Request<Empty<bytes::Bytes>> {
    let mut request = get(path);
    *request.method_mut() = method.parse().expect("a method");
    request.headers_mut().insert("range", range.parse().expect("a value"));
    request
}

#[test]
fn ranges_and_head_over_http2() {
    let whole = Whole::start(|dir| config(dir, ""));
    let content = content(1_000_001);
    let path = whole.put(&content);
    clients(async {
        let mut sender = whole.connect().await;
        for (start, end) in [(0, 1), (0, 1_000_001), (262_143, 262_145), (100_000, 900_001), (999_999, 1_000_001)] {
            let asked = ask("GET", &path, &format!("bytes={start}-{}", end - 1));
            let response = sender.send_request(asked).await.expect("an answer");
            assert_eq!(response.status(), 206);
            assert_eq!(response.headers()["content-range"], *format!("bytes {start}-{}/1000001", end - 1));
            assert!(response.into_body().collect().await.expect("whole").to_bytes() == content[start..end]);
        }
        let several = sender.send_request(ask("GET", &path, "bytes=0-9,500000-800000")).await.expect("an answer");
        assert_eq!(several.status(), 206);
        let length: usize = several.headers()["content-length"].to_str().expect("text").parse().expect("a number");
        let body = several.into_body().collect().await.expect("whole").to_bytes();
        assert_eq!(body.len(), length);
        assert!(body.windows(300_001).any(|window| window == &content[500_000..800_001]));
        let head = sender.send_request(ask("HEAD", &path, "bytes=0-9")).await.expect("an answer");
        assert_eq!(
            (head.status().as_u16(), &head.headers()["content-length"]),
            (200, &"1000001".parse().expect("value"))
        );
        assert!(head.into_body().collect().await.expect("empty").to_bytes().is_empty());
    });
}

/// A frame of 16,384 bytes and its head are more than a TLS record holds: each would cost two records.
#[test]
fn a_rate_of_the_configuration_is_kept_by_the_socket_under_tls_and_http2() {
    let whole = Whole::start(|dir| config(dir, "[rates]\nconnection_bytes_per_second_max = 1048576"));
    let content = content(2 << 20);
    let path = whole.put(&content);
    clients(async {
        let mut sender = whole.connect().await;
        let begun = std::time::Instant::now();
        let response = sender.send_request(get(&path)).await.expect("an answer");
        assert!(response.into_body().collect().await.expect("whole").to_bytes() == content);
        let took = begun.elapsed();
        assert!(took > std::time::Duration::from_millis(1500), "{took:?} for 2 MiB at 1 MiB a second");
    });
}

#[test]
fn an_http2_frame_fits_a_tls_record() {
    let whole = Whole::start(|dir| config(dir, ""));
    let path = whole.put(&content(1_000_001));
    clients(async {
        let mut sender = whole.connect().await;
        let mut body = sender.send_request(get(&path)).await.expect("an answer").into_body();
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            frames.push(frame.expect("never cut").into_data().map_or(0, |data| data.len()));
        }
        assert_eq!(frames.iter().sum::<usize>(), 1_000_001);
        assert!(frames.iter().all(|bytes| bytes + 9 <= 16_384), "{frames:?}");
        let full = frames.iter().filter(|bytes| **bytes + 9 == 16_384).count();
        assert!(full * 10 > frames.len() * 8, "few are full: {frames:?}");
    });
}

#[test]
fn a_drain_finishes_what_is_asked_for() {
    let whole = Whole::start(|dir| config(dir, ""));
    let content = content(32 << 20);
    let path = whole.put(&content);
    let outcomes = clients(async {
        let mut sender = whole.connect().await;
        let response = sender.send_request(get(&path)).await.expect("an answer");
        let https = whole.node.addresses().https[0];
        let Whole { node, outcomes, dir: _dir, .. } = whole;
        let drained = tokio::task::spawn_blocking(move || node.drain(PATIENCE, || false));
        // The door is closed long before the body is read.
        while TcpStream::connect(https).await.is_ok() {}
        assert!(response.into_body().collect().await.expect("whole").to_bytes() == content);
        assert_eq!(drained.await.expect("no panic").cut, 0);
        outcomes
    });
    let outcome = outcomes.recv_timeout(PATIENCE).expect("one");
    assert_eq!((outcome.end, outcome.sent_bytes, outcome.status), (End::Complete, 32 << 20, 200));
}

/// A body that the node ends before its peer does was cut, whatever is cut; one whose peer leaves is gone.
#[test]
fn who_ended_a_body_is_told() {
    let content = content(64 << 20);
    for (https, more, ended) in [
        (true, "", "drain"),
        (false, "", "drain"),
        (false, "[limits]\nstall_seconds = 1", "deadline"),
        (true, "", "peer"),
    ] {
        let whole = Whole::start(|dir| config(dir, more));
        let path = whole.put(&content);
        clients(async {
            let response = if https {
                whole.connect().await.send_request(get(&path)).await
            } else {
                let plain = TcpStream::connect(whole.node.addresses().http[0]).await.expect("a connection");
                let mut request = get(&path);
                request.headers_mut().insert("host", HeaderValue::from_static("localhost"));
                http1(plain).await.send_request(request).await
            };
            let mut body = response.expect("an answer").into_body();
            body.frame().await.expect("a frame").expect("under way");
            let Whole { node, outcomes, dir: _dir, .. } = whole;
            let within = std::time::Duration::from_millis(200);
            let end = match ended {
                "drain" => {
                    let drained = tokio::task::spawn_blocking(move || node.drain(within, || false));
                    assert_eq!(drained.await.expect("no panic").cut, 1);
                    End::Cut
                }
                "deadline" => End::Cut,
                _ => {
                    drop(body);
                    End::Gone
                }
            };
            let outcome = outcomes.recv_timeout(PATIENCE).expect("one");
            assert_eq!((outcome.end, outcome.status), (end, 200), "{ended}, https: {https}");
            assert!(outcome.sent_bytes < outcome.planned_bytes);
        });
    }
}

/// hyper refuses these by itself; they have an outcome all the same, whichever door they came through.
#[test]
fn heads_that_are_no_request_have_an_outcome() {
    let whole = Whole::start(|dir| config(dir, "[limits]\nheader_bytes_max = 8192"));
    let addresses = whole.node.addresses().clone();
    let large = format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "y".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(64));
    clients(async {
        for (address, door) in [(addresses.http[0], Door::Http), (addresses.admin.expect("admin"), Door::Admin)] {
            for (head, status) in [("nonsense\r\n\r\n", 400), (&*large, 431), (&*many, 431)] {
                let mut stream = TcpStream::connect(address).await.expect("a connection");
                stream.write_all(head.as_bytes()).await.expect("sent");
                let mut answer = [0; 12];
                stream.read_exact(&mut answer).await.expect("an answer");
                assert_eq!(answer, *format!("HTTP/1.1 {status}").as_bytes());
                let outcome = whole.outcomes.recv_timeout(PATIENCE).expect("one");
                assert_eq!((outcome.route, outcome.status, outcome.door), (Route::BadHead, status, door));
                assert_eq!((outcome.end, outcome.sent_bytes), (End::Complete, 0));
                assert!(outcome.peer.is_some_and(|peer| peer == stream.local_addr().expect("bound")));
            }
        }
    });
}

/// `listen.admin_hosts` is taken by a reload, whoever calls it.
#[test]
fn a_reload_changes_the_admin_hosts() {
    let write = |dir: &Path, hosts: &str| {
        let text = rig::text(dir, &format!("admin_hosts = [{hosts}]"));
        std::fs::write(dir.join("penstock.toml"), text).expect("written");
    };
    let whole = Whole::start(|dir| {
        write(dir, "\"old.example\"");
        Config::load(Some(&dir.join("penstock.toml")), &Environment::default()).expect("good")
    });
    let admin = whole.node.addresses().admin.expect("admin");
    clients(async {
        let status = async |host: &str| {
            let request =
                Request::builder().uri("/healthz").header("host", host).body(Empty::new()).expect("a request");
            let stream = TcpStream::connect(admin).await.expect("a connection");
            http1(stream).await.send_request(request).await.expect("an answer").status().as_u16()
        };
        assert_eq!((status("old.example").await, status("new.example").await), (200, 421));
        write(whole.dir.path(), "\"New.example\"");
        assert_eq!(whole.node.reload().expect("good").at_next_start, Vec::<&str>::new());
        assert_eq!((status("old.example").await, status("new.example").await), (421, 200));
    });
}
