//! A store, a control, a publisher and an edge's catalogue in one process; what is done to them and asked of them.

use crate::model::{CONTENTS, Claim, Look, Part, Product, Published, Step, content, is_owed};
use crate::people::{Deal, Person, limited};
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use penstock_control::{Control, ControlOptions, Credentials, Database};
use penstock_core::api::{
    ChannelsAnswer, MoveChannel, RegisterRelease, ReleasesAnswer, ReuseAnswer, ReuseQuestion, SigningAnswer,
};
use penstock_core::blob::{BlobId, BlobSize, ChunkId};
use penstock_core::catalog::{BlobMember, CatalogChange, CatalogSink, Release};
use penstock_core::entitle::{Caller, Scene, Silent, Verdict, decide_blob};
use penstock_core::grace::Freshness;
use penstock_core::id::{AccessGroup, ChannelName, ComponentName, Platform, ProductId, Version};
use penstock_core::keys::TrustSet;
use penstock_core::manifest::{self, Expected};
use penstock_core::place::{ClassRules, Embargo, Place, Ruling, Whereabouts};
use penstock_core::sign::SecretKey;
use penstock_core::time::UnixSeconds;
use penstock_edge::catalog::EdgeCatalog;
use penstock_frames::frame::decode_frame;
use penstock_frames::pack::PackIndex;
use penstock_frames::part::{ChunkPart, EntryKind, TreePart};
use penstock_origin::{Origin, OriginDraft, OriginError};
use penstock_publish::{ComponentRule, Content, PublishError, PublishRequest, Registry, RegistryError, publish};
use proptest::test_runner::TestCaseError;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tower_service::Service as _;

/// The clock of all worlds: a second passes with each step of any. Control asks for it on threads of its own.
static CLOCK: AtomicU64 = AtomicU64::new(1_800_000_000);

/// What it says.
pub(crate) fn now() -> UnixSeconds {
    UnixSeconds(CLOCK.load(Ordering::Relaxed))
}

/// Blobs in memory.
#[derive(Default)]
struct Memory(Arc<Mutex<BTreeMap<BlobId, Bytes>>>);

struct Draft(Arc<Mutex<BTreeMap<BlobId, Bytes>>>, Vec<u8>);

impl Memory {
    fn put(&self, bytes: Bytes) -> BlobId {
        let blob = BlobId::of(&bytes);
        self.0.lock().expect("lock").insert(blob, bytes);
        blob
    }
    fn get(&self, blob: &BlobId) -> Option<Bytes> {
        self.0.lock().expect("lock").get(blob).cloned()
    }
    fn all(&self) -> Vec<(BlobId, Bytes)> {
        self.0.lock().expect("lock").iter().map(|(blob, bytes)| (*blob, bytes.clone())).collect()
    }
}

impl Origin for Memory {
    fn size_of(&self, blob: &BlobId) -> Result<Option<BlobSize>, OriginError> {
        Ok(self.get(blob).map(|bytes| BlobSize(bytes.len() as u64)))
    }
    fn draft(&self, _: BlobId, _: Option<u64>) -> Result<Box<dyn OriginDraft>, OriginError> {
        Ok(Box::new(Draft(Arc::clone(&self.0), Vec::new())))
    }
    fn read_all(&self, blob: &BlobId, _: u64) -> Result<Bytes, OriginError> {
        self.get(blob).ok_or(OriginError::Unknown(*blob))
    }
    fn reader(&self, blob: &BlobId) -> Result<Box<dyn Read + Send>, OriginError> {
        Ok(Box::new(Cursor::new(self.read_all(blob, u64::MAX)?)))
    }
    fn remove(&self, blob: &BlobId) -> Result<bool, OriginError> {
        Ok(self.0.lock().expect("lock").remove(blob).is_some())
    }
}

impl OriginDraft for Draft {
    fn write(&mut self, content: &[u8]) -> Result<(), OriginError> {
        self.1.extend_from_slice(content);
        Ok(())
    }
    fn seal(self: Box<Self>) -> Result<BlobSize, OriginError> {
        let bytes = Bytes::from(self.1);
        let size = BlobSize(bytes.len() as u64);
        self.0.lock().expect("lock").insert(BlobId::of(&bytes), bytes);
        Ok(size)
    }
}

/// A rule that nobody keeps, to see that it is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hole {
    None,
    /// Edges take every blob for one that holds nothing but the release's own content.
    Shared,
    /// Edges take every component for the base.
    Components,
    /// Edges take every access group for the base's.
    Groups,
    /// Edges take every channel that there is for one that offered the release.
    Channels,
}

/// Tells the edge's catalogue.
struct Sink(Arc<EdgeCatalog>, Hole);

impl CatalogSink for Sink {
    fn apply(&self, _: u64, mut change: CatalogChange) {
        if let CatalogChange::Release { members, channels, .. } = &mut change {
            for member in members {
                match self.1 {
                    Hole::None => {}
                    Hole::Shared => member.whole = true,
                    Hole::Components => member.component = ComponentName::base(),
                    Hole::Groups => member.group = AccessGroup::base(),
                    Hole::Channels => {
                        channels.extend(["stable", "beta"].map(|name| ChannelName::new(name).expect("name")));
                    }
                }
            }
        }
        self.0.apply(change);
    }
}

/// When control hears of deals that are limited to channels or platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sold {
    /// Before anything is published: all who have such a deal can install what it gives them.
    FromTheBegin,
    /// After everything: they may read nothing else either, and what shares packs with it they cannot install.
    Later,
}

pub(crate) struct World {
    dir: tempfile::TempDir,
    memory: Arc<Memory>,
    catalog: Arc<EdgeCatalog>,
    /// Lives as long as its router.
    _control: Control,
    node: Node,
    products: BTreeMap<&'static str, Product>,
    releases: Vec<Published>,
    begin: UnixSeconds,
    embargo: Embargo,
    sold: Sold,
}

/// The node as the publisher sees it: control's own routes, without a socket between.
struct Node {
    router: Router,
    runtime: tokio::runtime::Runtime,
    memory: Arc<Memory>,
    /// What the next registration claims on top of what is its own.
    claim: Mutex<Option<BlobMember>>,
}

impl World {
    pub(crate) fn new(sold: Sold) -> Self {
        Self::with_hole(sold, Hole::None)
    }

    pub(crate) fn with_hole(sold: Sold, hole: Hole) -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let (memory, catalog) = (Arc::new(Memory::default()), Arc::new(EdgeCatalog::default()));
        let options = ControlOptions {
            data_dir: dir.path().to_owned(),
            database: Database::Sqlite(dir.path().join("control.sqlite")),
            origin: Arc::clone(&memory) as _,
            sink: Arc::new(Sink(Arc::clone(&catalog), hole)),
            now,
        };
        let control = Control::open(options).expect("control opens");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let router = control.router(Credentials::Socket);
        let node = Node { router, runtime, memory: Arc::clone(&memory), claim: Mutex::new(None) };
        let denied = ClassRules {
            regions: BTreeMap::from([("DE".parse().expect("region"), Ruling::Deny)]),
            ..ClassRules::default()
        };
        let embargo = Embargo { version: 1, classes: BTreeMap::from([("strict".to_owned(), denied)]) };
        let (products, releases) = (BTreeMap::new(), Vec::new());
        let mut world =
            Self { dir, memory, catalog, _control: control, node, products, releases, begin: now(), embargo, sold };
        world.set_access("game", "licensed");
        world.set_access("demo", "open");
        if sold == Sold::FromTheBegin {
            for (number, deal) in limited().iter().enumerate() {
                let account = format!("holder-{number}");
                let put = serde_json::json!({ "kind": "individual" });
                world.node.call(Method::PUT, &format!("/accounts/{account}"), &put).expect("an account");
                let given = serde_json::json!({ "account": account, "terms": deal.terms() });
                world.node.call(Method::POST, "/entitlements", &given).expect("an entitlement");
            }
        }
        world
    }

    pub(crate) const fn begin(&self) -> UnixSeconds {
        self.begin
    }

    /// Does one thing. What is refused must be something that nobody had a right to.
    pub(crate) fn take(&mut self, step: &Step) {
        CLOCK.fetch_add(1, Ordering::Relaxed);
        match step {
            Step::Publish { product, platform, channel, parts, claim } => {
                let version = format!("{}", self.releases.len() + 1);
                let release = Published {
                    product,
                    platform,
                    version,
                    manifest: BlobId::of(b""),
                    parts: parts.clone(),
                    channels: channel.iter().copied().collect(),
                    registered: now(),
                    withdrawn: false,
                };
                self.publish(release, *channel, claim.as_ref());
            }
            Step::PublishAgain(index) => {
                let live: Vec<Published> = self.releases.iter().filter(|one| !one.withdrawn).cloned().collect();
                if !live.is_empty() {
                    let report = self.run(index.get(&live), None).expect("the same again");
                    assert!(report.already_published);
                }
            }
            Step::Move { release, channel } => self.move_channel(release, channel),
            Step::Withdraw(index) => self.set_state(index, "withdraw", true),
            Step::Restore(index) => self.set_state(index, "restore", false),
            Step::Open(index) => {
                let blobs = self.used_blobs();
                if !blobs.is_empty() {
                    let opening = self.node.call(Method::POST, &format!("/blobs/{}/open", index.get(&blobs)), &());
                    assert!(opening.is_err_and(|error| error.is_conflict()), "a blob of a release is not opened");
                }
            }
            Step::Access { product, access } => self.set_access(product, access),
        }
    }

    fn publish(&mut self, mut release: Published, channel: Option<&'static str>, claim: Option<&Claim>) {
        let blobs = self.used_blobs();
        if let Some(claim) = claim.filter(|_| !blobs.is_empty()) {
            let part = claim.component.get(&release.parts);
            *self.node.claim.lock().expect("lock") = Some(BlobMember {
                blob: *claim.blob.get(&blobs),
                component: ComponentName::new(part.component).expect("name"),
                group: AccessGroup::new(part.group).expect("name"),
                whole: false,
            });
        }
        let done = self.run(&release, channel);
        let claimed = self.node.claim.lock().expect("lock").take().is_some();
        let is_offered = match done {
            Ok(report) => {
                release.manifest = report.manifest;
                true
            }
            // Control refused what the wrong publisher claims, or to offer it; a right one is never refused.
            Err(PublishError::Node { source, .. }) if claimed && is_refusal(&source) => false,
            Err(error) => panic!("{error:?}"),
        };
        let listed: ReleasesAnswer = self.node.get(&format!("/products/{}/releases", release.product)).expect("listed");
        let is_same = |one: &&Release| one.version.as_str() == release.version;
        if let Some(registered) = listed.releases.iter().find(is_same) {
            (release.manifest, release.registered) = (registered.manifest, registered.registered);
            if !is_offered {
                release.channels.clear();
            }
            self.releases.push(release);
        } else {
            assert!(!is_offered, "what is offered is registered");
        }
    }

    /// A move is refused only if somebody who is limited to the channel could not install the release.
    fn move_channel(&mut self, index: &proptest::sample::Index, channel: &'static str) {
        if self.releases.is_empty() {
            return;
        }
        let at = index.index(self.releases.len());
        let Published { product, version, platform, withdrawn, .. } = &self.releases[at];
        let to = serde_json::json!({ "platform": platform, "version": version });
        match self.node.call(Method::PUT, &format!("/products/{product}/channels/{channel}"), &to) {
            Ok(_) => drop(self.releases[at].channels.insert(channel)),
            Err(error) => {
                assert!(error.is_conflict(), "{error:?}");
                assert!(*withdrawn || self.sold == Sold::FromTheBegin, "nobody is limited to a channel: {error:?}");
            }
        }
    }

    fn run(&self, release: &Published, channel: Option<&str>) -> Result<penstock_publish::PublishReport, PublishError> {
        let build = tempfile::tempdir_in(self.dir.path()).expect("dir");
        let mut components = Vec::new();
        for part in &release.parts {
            let dir = build.path().join(part.component);
            std::fs::create_dir(&dir).expect("directory");
            for file in &part.files {
                std::fs::write(dir.join(file.to_string()), content(*file)).expect("file");
            }
            if part.component != "base" {
                components.push(ComponentRule {
                    name: ComponentName::new(part.component).expect("name"),
                    pattern: format!("{}/", part.component).parse().expect("pattern"),
                    group: AccessGroup::new(part.group).expect("name"),
                    optional: true,
                });
            }
        }
        let product = ProductId::new(release.product).expect("name");
        let version = Version::new(&release.version).expect("name");
        let platform = Platform::new(release.platform).expect("name");
        let mut request =
            PublishRequest::new(build.path().to_owned(), product, version, platform, vec![key()], UnixSeconds(1000));
        request.components = components;
        request.channel = channel.map(|name| ChannelName::new(name).expect("name"));
        request.level = 1;
        request.threads = 1;
        publish(request, &self.node, &penstock_publish::Silent)
    }

    fn set_state(&mut self, index: &proptest::sample::Index, verb: &str, withdrawn: bool) {
        if self.releases.is_empty() {
            return;
        }
        let at = index.index(self.releases.len());
        let release = &mut self.releases[at];
        let Published { product, version, platform, .. } = &*release;
        let path = format!("/products/{product}/releases/{version}/{verb}?platform={platform}");
        self.node.call(Method::POST, &path, &()).expect("changed");
        release.withdrawn = withdrawn;
    }

    fn set_access(&mut self, name: &'static str, access: &'static str) {
        let is_strict = name == "game";
        let export_class = if is_strict { "strict" } else { "" };
        let wanted = serde_json::json!({ "id": name, "access": access, "export_class": export_class });
        self.node.call(Method::POST, "/products", &wanted).expect("a product");
        self.products.insert(name, Product { name, access, is_strict });
    }

    /// Every blob that a release has.
    fn used_blobs(&self) -> Vec<BlobId> {
        let is_used = |blob: &BlobId| self.catalog.with_blob(blob, |_, mut uses| uses.next().is_some());
        self.memory.all().into_iter().map(|(blob, _)| blob).filter(is_used).collect()
    }

    /// Tells the edge what control never would: that the pack with a content is one of the newest release of a product, for
    /// this component and group.
    pub(crate) fn tell_of_a_hole(&self, product: &str, component: &str, group: &str, number: usize) {
        let chunk = ChunkId::of(&content(number));
        let (blob, _) =
            self.memory.all().into_iter().find(|(_, bytes)| chunks_of(bytes).contains(&chunk)).expect("a pack");
        let listed: ReleasesAnswer = self.node.get(&format!("/products/{product}/releases")).expect("listed");
        let release = listed.releases.into_iter().next().expect("a release");
        let member = BlobMember {
            blob,
            component: ComponentName::new(component).expect("name"),
            group: AccessGroup::new(group).expect("name"),
            whole: true,
        };
        self.catalog.apply(CatalogChange::Release { release, members: vec![member], channels: BTreeSet::new() });
    }

    /// How many packs hold a content.
    pub(crate) fn copies_of(&self, number: usize) -> usize {
        let chunk = ChunkId::of(&content(number));
        self.memory.all().iter().filter(|(_, bytes)| chunks_of(bytes).contains(&chunk)).count()
    }

    /// The edge's answer.
    fn may_read(&self, person: &Person, blob: BlobId) -> bool {
        let place = Place(if person.is_in_germany { "DE" } else { "US" }.parse().expect("region"));
        let place = Whereabouts::Known(Some(place));
        let scene = Scene { now: now(), place, embargo: &self.embargo, freshness: Freshness::CURRENT };
        let caller = person.passport.as_ref().map_or(Caller::Nobody, Caller::Known);
        let verdict =
            self.catalog.with_blob(&blob, |open, uses| decide_blob(blob, open, uses, caller, &scene, &mut Silent));
        matches!(verdict, Verdict::Allow(_))
    }

    fn owed_parts(&self, person: &Person, look: Look) -> Vec<(&Published, &Part)> {
        let parts = self.releases.iter().flat_map(|release| release.parts.iter().map(move |part| (release, part)));
        let owed = |(release, part): &(&Published, &Part)| {
            is_owed(person, &self.products[release.product], release, part, now(), look)
        };
        parts.filter(owed).collect()
    }

    /// For every blob that somebody may read: they are owed every chunk in it.
    pub(crate) fn reads_only_what_is_owed(&self, person: &Person) -> Result<(), TestCaseError> {
        let owed = self.owed_parts(person, Look::Content);
        let contents: BTreeSet<usize> = owed.iter().flat_map(|(_, part)| part.files.iter().copied()).collect();
        let chunks: HashSet<ChunkId> = contents.iter().map(|number| ChunkId::of(&content(*number))).collect();
        for (blob, bytes) in self.memory.all() {
            if self.may_read(person, blob)
                && let Some(stray) = chunks_of(&bytes).iter().find(|chunk| !chunks.contains(chunk))
            {
                let which = (0..CONTENTS).find(|number| ChunkId::of(&content(*number)) == *stray);
                return Err(TestCaseError::fail(format!(
                    "{person:?} may read {blob} with content {which:?}, and is owed {contents:?} of {:#?}",
                    self.releases
                )));
            }
        }
        Ok(())
    }

    /// For every component of a release that somebody is owed: they may read all that it takes, and it comes out right.
    pub(crate) fn installs_what_is_owed(&self, person: &Person) -> Result<(), TestCaseError> {
        if self.sold == Sold::Later && person.deals.iter().any(Deal::is_limited) {
            return Ok(());
        }
        for (release, part) in self.owed_parts(person, Look::Release) {
            let fetch = |blob: BlobId| -> Result<Bytes, TestCaseError> {
                let what = || format!("{person:?} may not read {blob} of {} in {release:#?}", part.component);
                if self.may_read(person, blob) {
                    Ok(self.memory.get(&blob).expect("stored"))
                } else {
                    Err(TestCaseError::fail(what()))
                }
            };
            let installed = install(release, part, &fetch)?;
            let wanted: BTreeMap<String, Vec<u8>> =
                part.files.iter().map(|number| (format!("{}/{number}", part.component), content(*number))).collect();
            prop_assert_same(&installed, &wanted)?;
        }
        Ok(())
    }
}

fn prop_assert_same<T: PartialEq>(found: &T, wanted: &T) -> Result<(), TestCaseError> {
    if found == wanted { Ok(()) } else { Err(TestCaseError::fail("what was installed is not what was published")) }
}

/// Installs one component from what a client fetches, with the client's decoders.
fn install(
    release: &Published,
    part: &Part,
    fetch: &dyn Fn(BlobId) -> Result<Bytes, TestCaseError>,
) -> Result<BTreeMap<String, Vec<u8>>, TestCaseError> {
    let (product, platform) = (ProductId::new(release.product), Platform::new(release.platform));
    let (product, platform) = (product.expect("name"), platform.expect("name"));
    let version = Version::new(&release.version).expect("name");
    let expected = Expected { id: release.manifest, product: &product, platform: &platform, version: &version };
    let trust = TrustSet::single(key().public());
    let manifest = manifest::verify(&fetch(release.manifest)?, &trust, &expected).expect("signed");
    let component = manifest.root().components.iter().find(|component| component.name.as_str() == part.component);
    let component = component.expect("it has the component");
    let mut entries = Vec::new();
    for tree in &component.tree {
        entries.extend(TreePart::decode(tree, &fetch(tree.blob)?).expect("a tree part").entries);
    }
    let mut chunks = Vec::new();
    for reference in &component.chunks {
        let part = ChunkPart::decode(reference, &fetch(reference.blob)?).expect("a chunk part");
        for chunk in &part.chunks {
            let frame = part.frames[chunk.frame as usize];
            let pack = fetch(part.packs[frame.pack as usize])?;
            let start = usize::try_from(frame.offset).expect("small");
            let stored = &pack[start..start + frame.stored_bytes as usize];
            let mut content = Vec::new();
            decode_frame(frame.kind, stored, frame.content_bytes, &[], &mut content).expect("a frame");
            chunks.push(content[chunk.at as usize..][..chunk.bytes as usize].to_vec());
        }
    }
    let mut chunks = chunks.into_iter();
    let mut files = BTreeMap::new();
    for entry in entries {
        let EntryKind::File { chunks: count, .. } = entry.kind else { panic!("only files were published") };
        files.insert(entry.path.to_string(), chunks.by_ref().take(count as usize).flatten().collect());
    }
    Ok(files)
}

/// The chunks in a blob, if it is a pack.
fn chunks_of(blob: &[u8]) -> Vec<ChunkId> {
    let frames = PackIndex::of(blob).map(|index| index.frames).unwrap_or_default();
    frames.into_iter().flat_map(|frame| frame.outputs).map(|(chunk, _)| chunk).collect()
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

const fn is_refusal(error: &RegistryError) -> bool {
    error.is_conflict() || matches!(error, RegistryError::Refused { status: 400, .. })
}

impl Node {
    fn call(&self, method: Method, path: &str, body: &impl serde::Serialize) -> Result<Bytes, RegistryError> {
        let body = serde_json::to_vec(body).expect("json");
        let request = Request::builder().method(method).uri(format!("/admin/v1{path}")).body(Body::from(body));
        self.runtime.block_on(async {
            let answer = self.router.clone().call(request.expect("a request")).await.expect("routers never fail");
            let (head, body) = answer.into_parts();
            let bytes = body.collect().await.expect("a whole body").to_bytes();
            if head.status.is_success() {
                return Ok(bytes);
            }
            let problem: serde_json::Value = serde_json::from_slice(&bytes).expect("a problem");
            let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
            let (code, title, detail) = (text("code"), text("title"), text("detail"));
            Err(RegistryError::Refused { status: head.status.as_u16(), code, title, detail })
        })
    }
    fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, RegistryError> {
        self.call(Method::GET, path, &()).map(|bytes| serde_json::from_slice(&bytes).expect("the document"))
    }
}

impl Registry for Node {
    fn signing(&self, product: &ProductId) -> Result<SigningAnswer, RegistryError> {
        self.get(&format!("/products/{product}/signing"))
    }
    fn releases(&self, product: &ProductId) -> Result<ReleasesAnswer, RegistryError> {
        self.get(&format!("/products/{product}/releases"))
    }
    fn channels(&self, product: &ProductId) -> Result<ChannelsAnswer, RegistryError> {
        self.get(&format!("/products/{product}/channels"))
    }
    fn read_blob(&self, blob: &BlobId, _: u64) -> Result<Vec<u8>, RegistryError> {
        Ok(self.memory.get(blob).expect("a blob of a release").to_vec())
    }
    fn missing(&self, blobs: &[BlobId]) -> Result<Vec<BlobId>, RegistryError> {
        Ok(blobs.iter().filter(|blob| self.memory.get(blob).is_none()).copied().collect())
    }
    fn reuse(&self, product: &ProductId, question: &ReuseQuestion) -> Result<ReuseAnswer, RegistryError> {
        self.call(Method::POST, &format!("/products/{product}/reuse"), question)
            .map(|bytes| serde_json::from_slice(&bytes).expect("the document"))
    }
    fn put_blob(&self, _: &BlobId, content: Content<'_>) -> Result<(), RegistryError> {
        let bytes = match content {
            Content::Memory(bytes) => bytes.to_vec(),
            Content::File { path, .. } => std::fs::read(path).map_err(RegistryError::Content)?,
        };
        self.memory.put(bytes.into());
        Ok(())
    }
    fn register(&self, product: &ProductId, release: &RegisterRelease) -> Result<(), RegistryError> {
        let mut release = release.clone();
        release.members.extend(self.claim.lock().expect("lock").clone());
        self.call(Method::POST, &format!("/products/{product}/releases"), &release).map(drop)
    }
    fn move_channel(&self, product: &ProductId, channel: &ChannelName, to: &MoveChannel) -> Result<(), RegistryError> {
        self.call(Method::PUT, &format!("/products/{product}/channels/{channel}"), to).map(drop)
    }
}
