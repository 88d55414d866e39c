//! A node under test, a store in memory, a publisher, and requests that go through the real router.

use crate::described;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use penstock_control::{Control, ControlError, ControlOptions, Credentials, Database, RenewReport, SecretText};
use penstock_core::api::RegisterRelease;
use penstock_core::blob::{BlobId, BlobSize};
use penstock_core::catalog::{BlobMember, CatalogChange, CatalogSink, Offer};
use penstock_core::envelope::Purpose;
use penstock_core::id::{AccessGroup, ChannelName, ComponentName, Platform, ProductId, Version};
use penstock_core::keys::{PublicKey, TrustSet};
use penstock_core::manifest::{Chunker, Component, PartRef, Root};
use penstock_core::sign::{SecretKey, seal};
use penstock_core::statement::Delegation;
use penstock_core::time::UnixSeconds;
use penstock_core::trust::{Memory, VerifiedHead, Wanted, follow_rotations, verify_offer};
use penstock_origin::{Origin, OriginDraft, OriginError};
use penstock_testkit::PostgresServer;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tower_service::Service as _;

/// The clock of every test.
pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

pub(crate) fn now() -> UnixSeconds {
    NOW
}

/// A store in memory: the second implementation of the seam.
#[derive(Default)]
pub(crate) struct MemoryOrigin {
    blobs: Arc<Mutex<BTreeMap<BlobId, Bytes>>>,
    /// Bytes that still fit; `u64::MAX` unless a test says otherwise.
    pub(crate) room: Arc<AtomicU64>,
    /// What happens when the size of this blob is asked for the next time.
    event: Mutex<Option<(BlobId, Event)>>,
}

/// Something that a test does in the middle of a check.
type Event = Box<dyn FnOnce() + Send>;

struct MemoryDraft {
    blob: BlobId,
    bytes: Vec<u8>,
    blobs: Arc<Mutex<BTreeMap<BlobId, Bytes>>>,
    room: Arc<AtomicU64>,
}

impl MemoryOrigin {
    pub(crate) fn new() -> Arc<Self> {
        let origin = Self::default();
        origin.room.store(u64::MAX, Ordering::Relaxed);
        Arc::new(origin)
    }
    pub(crate) fn put(&self, bytes: &[u8]) -> BlobId {
        let blob = BlobId::of(bytes);
        self.blobs.lock().expect("lock").insert(blob, Bytes::copy_from_slice(bytes));
        blob
    }
    pub(crate) fn lose(&self, blob: BlobId) {
        self.blobs.lock().expect("lock").remove(&blob).expect("it was there");
    }
    /// Changes a stored blob behind everybody's back.
    pub(crate) fn spoil(&self, blob: BlobId) {
        let mut blobs = self.blobs.lock().expect("lock");
        *blobs.get_mut(&blob).expect("it was there") = Bytes::from_static(b"something else");
    }
    pub(crate) fn holds(&self, blob: BlobId) -> bool {
        self.blobs.lock().expect("lock").contains_key(&blob)
    }
    /// Does something, once, when the size of `blob` is asked for.
    pub(crate) fn when_asked_for(&self, blob: BlobId, event: impl FnOnce() + Send + 'static) {
        *self.event.lock().expect("lock") = Some((blob, Box::new(event)));
    }
    fn get(&self, blob: &BlobId) -> Result<Bytes, OriginError> {
        self.blobs.lock().expect("lock").get(blob).cloned().ok_or(OriginError::Unknown(*blob))
    }
}

impl Origin for MemoryOrigin {
    fn size_of(&self, blob: &BlobId) -> Result<Option<BlobSize>, OriginError> {
        let event = self.event.lock().expect("lock").take_if(|(at, _)| at == blob);
        if let Some((_, event)) = event {
            event();
        }
        Ok(self.get(blob).ok().map(|bytes| BlobSize(bytes.len() as u64)))
    }
    fn draft(&self, expected: BlobId, _size: Option<u64>) -> Result<Box<dyn OriginDraft>, OriginError> {
        let (blobs, room) = (Arc::clone(&self.blobs), Arc::clone(&self.room));
        Ok(Box::new(MemoryDraft { blob: expected, bytes: Vec::new(), blobs, room }))
    }
    fn read_all(&self, blob: &BlobId, max_bytes: u64) -> Result<Bytes, OriginError> {
        let bytes = self.get(blob)?;
        assert!(bytes.len() as u64 <= max_bytes, "the caller checked the size");
        Ok(bytes)
    }
    fn reader(&self, blob: &BlobId) -> Result<Box<dyn Read + Send>, OriginError> {
        Ok(Box::new(Cursor::new(self.get(blob)?)))
    }
    fn remove(&self, blob: &BlobId) -> Result<bool, OriginError> {
        Ok(self.blobs.lock().expect("lock").remove(blob).is_some())
    }
}

impl OriginDraft for MemoryDraft {
    fn write(&mut self, content: &[u8]) -> Result<(), OriginError> {
        self.bytes.extend_from_slice(content);
        if self.bytes.len() as u64 > self.room.load(Ordering::Relaxed) {
            return Err(OriginError::Full("no room in memory".into()));
        }
        Ok(())
    }
    fn seal(self: Box<Self>) -> Result<BlobSize, OriginError> {
        let actual = BlobId::of(&self.bytes);
        if actual != self.blob {
            return Err(OriginError::Mismatch { expected: self.blob, actual });
        }
        let size = BlobSize(self.bytes.len() as u64);
        self.blobs.lock().expect("lock").insert(actual, self.bytes.into());
        Ok(size)
    }
}

/// What edges were told, in order.
#[derive(Default)]
pub(crate) struct RecordingSink(Mutex<Vec<CatalogChange>>, Condvar);

impl CatalogSink for RecordingSink {
    fn apply(&self, _: u64, change: CatalogChange) {
        self.0.lock().expect("lock").push(change);
        self.1.notify_all();
    }
}

impl RecordingSink {
    pub(crate) fn all(&self) -> Vec<CatalogChange> {
        self.0.lock().expect("lock").clone()
    }
    /// Waits until so many changes were told; whether they were in time.
    pub(crate) fn await_len(&self, length: usize, within: Duration) -> bool {
        let told = self.0.lock().expect("lock");
        let (told, _) = self.1.wait_timeout_while(told, within, |told| told.len() < length).expect("lock");
        told.len() >= length
    }
    pub(crate) fn clear(&self) {
        self.0.lock().expect("lock").clear();
    }
    pub(crate) fn last_offer(&self) -> Offer {
        let offers = self.all().into_iter().rev().find_map(|change| match change {
            CatalogChange::Offer(offer) => Some(offer),
            _ => None,
        });
        offers.expect("an offer was told")
    }
}

/// Ends a test that would hang; nothing that is right comes near it.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

/// Whether to run the long matrices, as `cargo xtask full` does.
pub(crate) fn full() -> bool {
    std::env::var_os("PENSTOCK_FULL").is_some_and(|value| value == "1")
}

/// A node whose store is in memory.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) origin: Arc<MemoryOrigin>,
    pub(crate) sink: Arc<RecordingSink>,
    pub(crate) control: Control,
    pub(crate) database: Database,
    router: Router,
}

/// An answer: status, headers, body.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
    /// The body of a success, which must be one.
    pub(crate) fn ok<T: DeserializeOwned>(&self) -> T {
        assert!(self.status.is_success(), "{} {}", self.status, String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).expect("the expected document")
    }
    /// Asserts a refusal and returns its detail.
    pub(crate) fn refused(&self, status: u16, code: &str) -> String {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{text}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let document: penstock_core::api::ProblemDocument = serde_json::from_slice(&self.body).expect("a problem");
        assert_eq!(document.code, code, "{text}");
        assert_eq!(document.status, status);
        assert_eq!(self.headers["x-request-id"], document.request_id);
        document.detail
    }
}

/// Where the record of a test is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// What the URL of every test's server holds and nothing may print. The server trusts without it.
pub(crate) const DATABASE_PASSWORD: &str = "a-database-password";

impl Engine {
    /// A new database; a file lies in `dir`.
    pub(crate) fn database(self, dir: &Path) -> Database {
        match self {
            Self::Sqlite => Database::Sqlite(dir.join("control.sqlite")),
            Self::Postgres => with_password(&PostgresServer::shared().database()),
        }
    }
}

/// A test server's URL with a password in it.
pub(crate) fn with_password(url: &str) -> Database {
    let url = url.replacen("postgres@", &format!("postgres:{DATABASE_PASSWORD}@"), 1);
    Database::Postgres(SecretText::new(url))
}

/// Runs each test on both engines, as `sqlite::name` and `postgres::name`; what stands after an @
/// goes to `tokio::test`.
#[macro_export]
macro_rules! on_both_engines {
    (@ $how:tt $($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test $how]
            async fn $name() {
                super::$name($crate::support::Engine::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test $how]
            async fn $name() {
                super::$name($crate::support::Engine::Postgres).await;
            })*
        }
    };
    ($($name:ident),* $(,)?) => {
        $crate::on_both_engines! { @ () $($name),* }
    };
}

/// Runs what blocks on a thread of its own: the tests' own threads belong to a runtime.
pub(crate) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Opens a node.
pub(crate) fn open(
    dir: &Path,
    database: &Database,
    origin: Arc<dyn Origin>,
    sink: Arc<dyn CatalogSink>,
) -> Result<Control, ControlError> {
    let (data_dir, database) = (dir.to_owned(), database.clone());
    apart(|| Control::open(ControlOptions { data_dir, database, origin, sink, now }))
}

impl World {
    pub(crate) fn new(engine: Engine) -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let (origin, sink) = (MemoryOrigin::new(), Arc::new(RecordingSink::default()));
        let database = engine.database(dir.path());
        Self::at(dir, database, origin, sink)
    }
    pub(crate) fn at(
        dir: tempfile::TempDir,
        database: Database,
        origin: Arc<MemoryOrigin>,
        sink: Arc<RecordingSink>,
    ) -> Self {
        let control = open(dir.path(), &database, Arc::clone(&origin) as _, Arc::clone(&sink) as _);
        let control = control.expect("control opens");
        let router = control.router(Credentials::Socket);
        Self { dir, database, origin, sink, control, router }
    }
    /// The same node after a restart, with a sink that knows nothing.
    pub(crate) fn restarted(self) -> Self {
        let Self { dir, database, origin, control, router, .. } = self;
        drop((control, router));
        Self::at(dir, database, origin, Arc::new(RecordingSink::default()))
    }
    /// Signs heads anew that are due at `at`.
    pub(crate) fn renew(&self, at: UnixSeconds) -> RenewReport {
        apart(|| self.control.renew_heads(at)).expect("renewed")
    }
    /// Every answer is held against the description of the API.
    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let document = described::document(&self.router).await;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let reply = send(&self.router, request).await;
        described::check(document, &method, &path, &reply);
        reply
    }
    pub(crate) async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> Reply {
        let request = Request::builder().method(method).uri(format!("/admin/v1{path}")).body(body.into());
        self.send(request.expect("a request")).await
    }
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, Body::empty()).await
    }
    pub(crate) async fn post(&self, path: &str, body: &impl serde::Serialize) -> Reply {
        self.call(Method::POST, path, serde_json::to_vec(body).expect("json")).await
    }
    pub(crate) async fn put(&self, path: &str, body: &impl serde::Serialize) -> Reply {
        self.call(Method::PUT, path, serde_json::to_vec(body).expect("json")).await
    }
    /// A router as the network meets it.
    pub(crate) fn network(&self) -> Router {
        self.control.router(Credentials::Bearer(self.control.admin_token().clone()))
    }
    /// A router that asks for nothing.
    pub(crate) fn socket(&self) -> Router {
        self.router.clone()
    }
    /// Makes a credential and returns its secret.
    pub(crate) async fn credential(&self, wanted: &Value) -> String {
        let made: penstock_core::credential::CredentialMade = self.post("/credentials", wanted).await.ok();
        made.secret
    }
    pub(crate) async fn product(&self, id: &str, access: &str) {
        let reply = self.post("/products", &serde_json::json!({ "id": id, "access": access })).await;
        reply.ok::<Value>();
    }
    pub(crate) async fn register(&self, build: &Build) -> Reply {
        self.post(&format!("/products/{}/releases", build.root.product), &build.request(self)).await
    }
    pub(crate) async fn offer(&self, product: &str, channel: &str, version: &str) -> Reply {
        let path = format!("/products/{product}/channels/{channel}");
        self.put(&path, &serde_json::json!({ "platform": "any", "version": version })).await
    }
}

/// One of several nodes: they share a store and a database.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) control: Control,
    pub(crate) sink: Arc<RecordingSink>,
    router: Router,
}

impl Node {
    pub(crate) fn open(dir: &Path, database: &Database, origin: &Arc<MemoryOrigin>) -> Self {
        let sink = Arc::new(RecordingSink::default());
        let control = open(dir, database, Arc::clone(origin) as _, Arc::clone(&sink) as _).expect("control opens");
        let router = control.router(Credentials::Socket);
        Self { control, sink, router }
    }
    async fn call(&self, method: Method, path: &str, body: Vec<u8>) -> Reply {
        let request = Request::builder().method(method).uri(format!("/admin/v1{path}")).body(Body::from(body));
        send(&self.router, request.expect("a request")).await
    }
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, Vec::new()).await
    }
    pub(crate) async fn post(&self, path: &str, body: &impl serde::Serialize) -> Reply {
        self.call(Method::POST, path, serde_json::to_vec(body).expect("json")).await
    }
    pub(crate) async fn put(&self, path: &str, body: &impl serde::Serialize) -> Reply {
        self.call(Method::PUT, path, serde_json::to_vec(body).expect("json")).await
    }
    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.call(Method::DELETE, path, Vec::new()).await
    }
    pub(crate) async fn product(&self, id: &str) {
        self.post("/products", &serde_json::json!({ "id": id, "access": "open" })).await.ok::<Value>();
    }
    pub(crate) async fn register(&self, origin: &MemoryOrigin, build: &Build) {
        let registration = build.stored_registration(origin, self.control.channel_key());
        self.post(&format!("/products/{}/releases", build.root.product), &registration).await.ok::<Value>();
    }
    /// Offers a release of the product `game`.
    pub(crate) async fn offer(&self, channel: &str, version: &str) {
        let body = serde_json::json!({ "platform": "any", "version": version }).to_string().into_bytes();
        self.call(Method::PUT, &format!("/products/game/channels/{channel}"), body).await.ok::<Value>();
    }
}

/// A request with a credential.
pub(crate) async fn send_as(router: &Router, secret: &str, method: Method, path: &str, body: &Value) -> Reply {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request = Request::builder().method(method).uri(format!("/admin/v1{path}"));
    send(router, request.header("authorization", format!("Bearer {secret}")).body(body).expect("a request")).await
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Reply {
    let response = router.clone().call(request).await.expect("routers never fail");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Reply { status: head.status, headers: head.headers, body }
}

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub(crate) fn publisher_text(seed: u8) -> String {
    key(seed).public().to_string()
}

/// A delegation of `product` to `to`, signed by the publisher `seed`.
pub(crate) fn delegation(seed: u8, product: &str, to: PublicKey, sequence: u64) -> Vec<u8> {
    let delegation = Delegation {
        product: ProductId::new(product).expect("name"),
        keys: TrustSet::single(to),
        sequence,
        issued: NOW,
        expires: None,
    };
    seal(Purpose::Delegation, delegation.encode(), &[&key(seed)]).encode()
}

/// A release as a publisher makes it: components with one tree part, one chunk part and packs.
pub(crate) struct Build {
    pub(crate) root: Root,
    pub(crate) publisher: u8,
    pub(crate) signer: u8,
    pub(crate) delegation_sequence: u64,
    pub(crate) members: Vec<BlobMember>,
    pub(crate) blobs: Vec<Vec<u8>>,
}

pub(crate) fn member(blob: BlobId, component: &str, group: &str) -> BlobMember {
    BlobMember {
        blob,
        component: ComponentName::new(component).expect("name"),
        whole: true,
        group: AccessGroup::new(group).expect("name"),
    }
}

impl Build {
    /// A build with one component.
    pub(crate) fn new(product: &str, version: &str) -> Self {
        let root = Root {
            product: ProductId::new(product).expect("name"),
            platform: Platform::any(),
            version: Version::new(version).expect("name"),
            created: NOW,
            chunker: Chunker::default(),
            components: Vec::new(),
        };
        let build =
            Self { root, publisher: 1, signer: 1, delegation_sequence: 1, members: Vec::new(), blobs: Vec::new() };
        build.component("base", "base")
    }
    /// Adds a component with parts and a pack of its own.
    pub(crate) fn component(mut self, name: &str, group: &str) -> Self {
        let what = format!("{} {} {name} {group}", self.root.product, self.root.version);
        let tree = self.part(name, group, &format!("tree of {what}"));
        let chunks = self.part(name, group, &format!("chunks of {what}"));
        self.root.components.push(Component {
            name: ComponentName::new(name).expect("name"),
            group: AccessGroup::new(group).expect("name"),
            optional: name != "base",
            tree: vec![tree],
            chunks: vec![chunks],
            entry_count: 1,
            content_bytes: 1000,
            chunk_count: 1,
        });
        self.pack(name, group, format!("pack of {what}").as_bytes())
    }
    /// Adds a pack, which may be one that another build has.
    pub(crate) fn pack(mut self, component: &str, group: &str, bytes: &[u8]) -> Self {
        self.members.push(member(BlobId::of(bytes), component, group));
        self.blobs.push(bytes.to_vec());
        self
    }
    fn part(&mut self, component: &str, group: &str, text: &str) -> PartRef {
        self.members.push(member(BlobId::of(text.as_bytes()), component, group));
        self.blobs.push(text.as_bytes().to_vec());
        let bytes = u32::try_from(text.len()).expect("short");
        PartRef { blob: BlobId::of(text.as_bytes()), stored_bytes: bytes, content_bytes: bytes, items: 1 }
    }
    pub(crate) fn manifest(&self) -> Vec<u8> {
        seal(Purpose::Manifest, self.root.encode(), &[&key(self.signer)]).encode()
    }
    /// Stores every blob and says what to register.
    pub(crate) fn request(&self, world: &World) -> RegisterRelease {
        self.stored_registration(&world.origin, world.control.channel_key())
    }
    /// As [`Build::request`], for any node.
    pub(crate) fn stored_registration(&self, origin: &MemoryOrigin, channel_key: PublicKey) -> RegisterRelease {
        for bytes in &self.blobs {
            origin.put(bytes);
        }
        origin.put(&self.manifest());
        self.registration(channel_key)
    }
    /// What to register, the blobs being somewhere.
    pub(crate) fn registration(&self, channel_key: PublicKey) -> RegisterRelease {
        let manifest = BlobId::of(&self.manifest());
        let mut members = self.members.clone();
        members.push(member(manifest, "base", "base"));
        let product = self.root.product.as_str();
        RegisterRelease {
            version: self.root.version.clone(),
            platform: self.root.platform.clone(),
            manifest,
            members,
            publisher: publisher_text(self.publisher),
            delegation: delegation(self.signer, product, channel_key, self.delegation_sequence),
        }
    }
}

/// Checks an offer as a client does that was given the publisher `seed`.
pub(crate) fn believed(offer: &Offer, seed: u8, at: UnixSeconds) -> VerifiedHead {
    let wanted = Wanted {
        product: offer.product.clone(),
        platform: offer.platform.clone(),
        channel: ChannelName::new(offer.channel.as_str()).expect("name"),
    };
    let trust = follow_rotations(&TrustSet::single(key(seed).public()), &offer.rotations).expect("rotations hold");
    verify_offer(&trust, &offer.delegation, &offer.head, &wanted, &Memory::default(), at).expect("clients believe it")
}
