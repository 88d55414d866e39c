//! A server under test: a store, a catalogue, a listener on a free port, and a client that sees raw bytes.

use crate::issuer::{Issuer, NOW};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use penstock_core::account::PseudonymKey;
use penstock_core::blob::BlobId;
use penstock_core::catalog::{AccessClass, BlobMember, CatalogChange, Offer, Product, Release, ReleaseState};
use penstock_core::id::{AccessGroup, ChannelName, ComponentName, Platform, ProductId, Version};
use penstock_core::time::UnixSeconds;
use penstock_edge::catalog::EdgeCatalog;
use penstock_edge::copy::EdgeCopy;
use penstock_edge::deadline::{Counted, Progress};
use penstock_edge::explain::EdgeExplainer;
use penstock_edge::feed::Standing;
use penstock_edge::geo::{Geo, PlaceMemo};
use penstock_edge::listen::proxy;
use penstock_edge::listen::{ConnInfo, CutMark, Door, Handler, Protocol, Wire};
use penstock_edge::outcome::{Outcome, OutcomeSink};
use penstock_edge::passport::{Accounts, Memo, Passports, Revoked, Verifier};
use penstock_edge::policy::Policies;
use penstock_edge::rates::Pacing;
use penstock_edge::sending::Sending;
use penstock_edge::serve::{PlainTokens, Server, ServerParts};
use penstock_store::{Reading, Store, StoreOptions};
use rustls_pki_types::pem::PemObject as _;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How the server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Plain,
    Tls,
}

pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) catalog: Arc<EdgeCatalog>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) revoked: Arc<Revoked>,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) geo: Arc<Geo>,
    pub(crate) outcomes: Arc<Collected>,
    pub(crate) server: Arc<Server>,
    pub(crate) address: SocketAddr,
    pub(crate) runtime: Runtime,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// Outcomes, in the order in which they were written.
#[derive(Default)]
pub(crate) struct Collected {
    list: Mutex<Vec<Outcome>>,
    changed: Condvar,
}

impl OutcomeSink for Collected {
    fn record(&self, outcome: &Outcome) {
        self.list.lock().expect("unpoisoned").push(outcome.clone());
        self.changed.notify_all();
    }
}

impl Collected {
    /// Waits until there are `count`.
    pub(crate) fn wait(&self, count: usize) -> Vec<Outcome> {
        let list = self.list.lock().expect("unpoisoned");
        let (list, timeout) = self
            .changed
            .wait_timeout_while(list, Duration::from_secs(20), |list| list.len() < count)
            .expect("unpoisoned");
        assert!(!timeout.timed_out(), "{} outcomes instead of {count}", list.len());
        list.clone()
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Over::Plain, Reading::Map, PlainTokens::Refuse)
    }

    pub(crate) fn with(over: Over, reading: Reading, plain_tokens: PlainTokens) -> Self {
        Self::made(over, reading, plain_tokens, None, None)
    }

    /// A server whose sockets buffer so little in the kernel that most of what it is asked for waits in its own memory.
    pub(crate) fn narrow(over: Over, reading: Reading) -> Self {
        Self::made(over, reading, PlainTokens::Refuse, Some(32 * 1024), None)
    }

    /// An edge that heard from control so many seconds ago, and takes tokens over plain HTTP.
    pub(crate) fn silent_for(seconds: u64) -> Self {
        let standing = Standing::default();
        standing.whole(1, UnixSeconds(NOW.0 - seconds));
        Self::made(Over::Plain, Reading::Map, PlainTokens::Accept, None, Some(standing))
    }

    fn made(
        over: Over,
        reading: Reading,
        plain_tokens: PlainTokens,
        kernel_buffer: Option<usize>,
        standing: Option<Standing>,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), StoreOptions { reading, ..StoreOptions::default() }).expect("a store");
        let catalog = Arc::new(EdgeCatalog::default());
        let outcomes = Arc::new(Collected::default());
        let accounts = Arc::new(Accounts::new(PseudonymKey::from_bytes([3; 32])));
        let revoked = Arc::new(Revoked::default());
        let issuer = Arc::new(Issuer::default());
        let verifier = Arc::clone(&issuer) as Arc<dyn Verifier>;
        let (policies, geo) = (Arc::new(Policies::default()), Arc::new(Geo::default()));
        let server = Arc::new(Server::new(ServerParts {
            standing,
            store: store.clone(),
            catalog: Arc::clone(&catalog),
            passports: Arc::new(Passports::new(
                Arc::clone(&accounts),
                Arc::clone(&revoked),
                verifier,
                [5; 32],
                1 << 20,
            )),
            policies: Arc::clone(&policies),
            geo: Arc::clone(&geo),
            clock: || NOW,
            io_threads: 4,
            plain_tokens,
            outcomes: Arc::clone(&outcomes) as Arc<dyn OutcomeSink>,
        }));
        // Two threads: a body and its pool job really run side by side.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        if let Some(bytes) = kernel_buffer {
            // Accepted sockets inherit it.
            socket2::SockRef::from(&listener).set_send_buffer_size(bytes).expect("a small buffer");
        }
        let address = listener.local_addr().expect("an address");
        let (acceptor, tls) = if over == Over::Tls {
            let (acceptor, client) = tls_pair();
            (Some(acceptor), Some(client))
        } else {
            (None, None)
        };
        let door = if over == Over::Tls { Door::Https } else { Door::Http };
        runtime.spawn(accept(listener, Arc::clone(&server), door, acceptor));
        Self { dir, store, catalog, accounts, revoked, issuer, policies, geo, outcomes, server, address, runtime, tls }
    }

    /// What control would tell of its changes.
    pub(crate) fn copy(&self) -> EdgeCopy {
        EdgeCopy {
            catalog: Arc::clone(&self.catalog),
            accounts: Arc::clone(&self.accounts),
            revoked: Arc::clone(&self.revoked),
            policies: Arc::clone(&self.policies),
            store: self.store.clone(),
            standing: Standing::default(),
            clock: || NOW,
        }
    }

    /// What tells why this edge lets somebody in or does not.
    pub(crate) fn explainer(&self, standing: Option<Standing>) -> EdgeExplainer {
        let (accounts, revoked) = (Arc::clone(&self.accounts), Arc::clone(&self.revoked));
        EdgeExplainer {
            catalog: Arc::clone(&self.catalog),
            passports: Arc::new(Passports::new(accounts, revoked, self.issuer.clone(), [5; 32], 1 << 20)),
            policies: Arc::clone(&self.policies),
            geo: Arc::clone(&self.geo),
            standing,
            clock: || NOW,
        }
    }

    /// Stores content; nobody may read it yet.
    pub(crate) fn put(&self, content: &[u8]) -> BlobId {
        self.store.import_reader(&mut &content[..]).expect("sealed").blob
    }

    /// Stores content that anyone may read.
    pub(crate) fn put_open(&self, content: &[u8]) -> BlobId {
        let blob = self.put(content);
        self.catalog.apply(CatalogChange::LooseBlob { blob, open: true });
        blob
    }

    pub(crate) fn blob_path(&self, blob: &BlobId) -> PathBuf {
        let name = blob.to_string();
        self.dir.path().join(&name[..2]).join(name)
    }

    pub(crate) fn connect(&self) -> Box<dyn Duplex> {
        let socket = TcpStream::connect(self.address).expect("connected");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        match &self.tls {
            None => Box::new(socket),
            Some(config) => {
                let name = rustls_pki_types::ServerName::try_from("localhost").expect("a name");
                let client = rustls::ClientConnection::new(Arc::clone(config), name).expect("a client");
                Box::new(rustls::StreamOwned::new(client, socket))
            }
        }
    }

    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, headers)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut socket = self.connect();
        send(&mut socket, method, path, headers);
        read_answer(&mut socket, method).expect("an answer")
    }
}

pub(crate) trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

pub(crate) fn send(socket: &mut dyn Duplex, method: &str, path: &str, headers: &[(&str, &str)]) {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    socket.write_all(text.as_bytes()).expect("sent");
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(one, _)| one == name);
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} stands there twice");
        first
    }

    /// Checks that this is a problem document with `code` that agrees with the head.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{:?}", self.headers);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.header("cache-control"), Some("private, no-store"));
        let document: penstock_core::api::ProblemDocument =
            serde_json::from_slice(&self.body).expect("a problem document");
        assert_eq!((document.status, document.code.as_str()), (status, code));
        assert_eq!(Some(document.request_id.as_str()), self.header("x-request-id"));
    }
}

/// Reads a head; the socket is left at the body.
pub(crate) fn read_head(socket: &mut dyn Duplex) -> std::io::Result<Answer> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let text = String::from_utf8(head).expect("text");
    let mut lines = text.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status line");
    let fields = lines.map(|line| line.split_once(": ").expect("a field"));
    let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Ok(Answer { status, headers, body: Vec::new() })
}

/// Reads a whole answer; an error if the body ends early or more comes than was promised.
pub(crate) fn read_answer(socket: &mut dyn Duplex, method: &str) -> std::io::Result<Answer> {
    let mut answer = read_head(socket)?;
    socket.read_to_end(&mut answer.body)?;
    if answer.status == 304 {
        assert_eq!(answer.header("content-length"), None);
    }
    if method != "HEAD" && answer.status != 304 {
        let promised: usize = answer.header("content-length").expect("a length").parse().expect("a number");
        if promised != answer.body.len() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(answer)
}

/// Serves a handler on a socket, under the wrapper that the real doors put around theirs. HTTP/2 is spoken on
/// [`Door::Http`] when the client begins with its preface, so that no ALPN is needed, and a client may begin with a PROXY
/// header of version 1.
pub(crate) async fn accept<H: Handler>(
    listener: tokio::net::TcpListener,
    handler: Arc<H>,
    door: Door,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
) {
    while let Ok((mut socket, mut peer)) = listener.accept().await {
        let mut preface = [0; 3];
        if socket.peek(&mut preface).await.is_ok() && preface == *b"PRO" {
            let proxied = proxy::read(&mut socket).await.expect("a header").expect("an address");
            peer = proxied.source;
        }
        let is_http2 = acceptor.is_none() && socket.peek(&mut preface).await.is_ok() && preface == *b"PRI";
        let conn = Arc::new(ConnInfo {
            peer: Some(peer),
            local: socket.local_addr().ok(),
            door,
            wire: if acceptor.is_some() { Wire::Tls } else { Wire::Plain },
            protocol: if is_http2 { Protocol::Http2 } else { Protocol::Http1 },
            worker: 0,
            sending: Sending::default(),
            cut: CutMark::default(),
            pacing: Pacing::default(),
            place: PlaceMemo::default(),
            memo: Memo::default(),
        });
        let socket = Counted::new(socket, Arc::new(Progress::default()), conn.sending.clone());
        let socket = socket.paced_by(conn.pacing.clone());
        let (handler, acceptor) = (Arc::clone(&handler), acceptor.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let (handler, conn) = (Arc::clone(&handler), Arc::clone(&conn));
                async move { Ok::<_, Infallible>(handler.handle(request, &conn).await) }
            });
            // How a connection ends is the peer's affair here; tests look at what they received.
            match acceptor {
                Some(acceptor) => {
                    if let Ok(socket) = acceptor.accept(socket).await {
                        drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await);
                    }
                }
                None if is_http2 => {
                    let builder = http2::Builder::new(TokioExecutor::new());
                    drop(builder.serve_connection(TokioIo::new(socket), service).await);
                }
                None => drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await),
            }
        });
    }
}

fn tls_pair() -> (tokio_rustls::TlsAcceptor, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key =
        rustls_pki_types::PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a server");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server).into(), Arc::new(client))
}

/// Bytes that differ everywhere, so that a shifted window is noticed.
pub(crate) fn content(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) fn product(id: &str, access: AccessClass) -> CatalogChange {
    let id = ProductId::new(id).expect("a name");
    CatalogChange::Product(Product { title: id.to_string(), id, access, export_class: String::new() })
}

pub(crate) fn release(
    product: &str,
    version: &str,
    platform: &str,
    state: ReleaseState,
    blobs: &[BlobId],
) -> CatalogChange {
    let member = |blob: &BlobId| BlobMember {
        blob: *blob,
        component: ComponentName::base(),
        group: AccessGroup::base(),
        whole: true,
    };
    let release = Release {
        product: ProductId::new(product).expect("a name"),
        platform: Platform::new(platform).expect("a name"),
        version: Version::new(version).expect("a name"),
        manifest: blobs[0],
        manifest_bytes: 1,
        content_bytes: 1,
        entry_count: 1,
        registered: UnixSeconds(1),
        state,
    };
    CatalogChange::Release { release, members: blobs.iter().map(member).collect(), channels: BTreeSet::new() }
}

pub(crate) fn offer(product: &str, channel: &str, platform: &str, version: &str, manifest: BlobId) -> CatalogChange {
    CatalogChange::Offer(Offer {
        product: ProductId::new(product).expect("a name"),
        platform: Platform::new(platform).expect("a name"),
        channel: ChannelName::new(channel).expect("a name"),
        sequence: 1,
        version: Version::new(version).expect("a name"),
        manifest,
        manifest_bytes: 1,
        fallback: None,
        head: vec![1],
        delegation: vec![2],
        rotations: Vec::new(),
    })
}
