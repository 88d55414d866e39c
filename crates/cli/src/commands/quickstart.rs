//! `quickstart`: a whole system in one directory, used once as its users would, and verified.
//!
//! Everything goes the way it goes in production: the publish over the admin socket, the install and
//! the update over HTTPS with the generated authority, the comparison file by file without any hash.

mod builds;
mod certificate;
mod document;
mod layout;
mod summary;

use crate::args::node::Quickstart;
use crate::commands::{Done, install, now, publish};
use crate::compare;
use crate::desk::Session;
use crate::failure::{self, Failure};
use crate::node::{Assembled, DataDirLock, Doors, NodeError, assemble_held, log, marker_url};
use crate::output::Output;
use crate::progress::Bar;
use anyhow::{Context as _, bail};
use builds::Builds;
use document::Document;
use layout::{Layout, Ports};
use penstock_client::{Check, Components, EdgeUrl, Intent, PullReport, PullRequest, Target, Tuning};
use penstock_core::api::{ChannelsAnswer, MintToken};
use penstock_core::catalog::AccessClass;
use penstock_core::id::{ChannelName, Platform, Version};
use penstock_core::keys::TrustSet;
use penstock_core::sign::SecretKey;
use penstock_edge::supervise::{Orders, Supervisor};
use penstock_publish::{PublishReport, PublishRequest, keyfile};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};
use summary::Summary;

/// How long the token in `token_file` lives.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The account that it speaks for.
const TOKEN_ACCOUNT: &str = "quickstart";
/// How often signals are looked at during the tour.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long open connections may finish when the quickstart ends by itself.
const DRAIN: Duration = Duration::from_secs(2);

/// Sets up, publishes, installs, updates, compares; then serves on unless told otherwise.
pub(crate) fn run(args: &Quickstart, output: &Output) -> Done {
    let began = Instant::now();
    let orders = Orders::listen()?;
    let layout = Layout::prepare(&args.dir)?;
    let guide = Guide::follow(&layout, &orders, *output);
    // Before anything is changed: a node that serves from here keeps its config and its document.
    let lock = DataDirLock::take(&layout.data())?;
    document::withdraw(layout.root())?;
    let builds = Builds::prepare(&layout, args.build.as_deref())?;
    let key = publisher_key(&layout)?;
    let files = certificate::ensure(&layout.tls(), SystemTime::now())?;
    let config = layout.write_config(Ports::new(args.port)?, &files)?;
    let log = log::Log::install(&config.log, &log::Destination::File(&layout.log()))?;
    let on_reload = log.on_reload();
    let node = assemble_held(config, Doors::Configured, Box::new(move |config| on_reload(&config.log)), lock)
        .map_err(with_advice)?;

    let tour = Tour { layout: &layout, builds: &builds, key: &key, node: &node, output };
    let urls = tour.document()?;
    let done = match tour.walk(&urls, &guide) {
        Ok(done) => done,
        Err(failure) => {
            // Nobody may find the document of a node that is about to be gone.
            document::withdraw(layout.root())?;
            return Err(failure);
        }
    };
    guide.leave();
    let summary = Summary::new(&urls, &builds, done, began.elapsed());
    output.result(&summary, &summary.text(&layout, args.once))?;

    if args.once {
        document::withdraw(layout.root())?;
        let (node, kept) = node.split();
        node.drain(DRAIN, || false);
        drop(kept);
    } else {
        let (node, kept) = node.split();
        Supervisor::new(node).with(orders).run()?;
        document::withdraw(layout.root())?;
        drop(kept);
    }
    drop(log);
    Ok(ExitCode::SUCCESS)
}

/// Obeys signals while the tour is under way: nobody else looks at them before the node is supervised.
///
/// Until others may be served, a signal ends everything at once; whatever is half done is made for that. From then on
/// the step under way is finished first, so that the node can drain; a second signal waits for nothing.
struct Guide(Arc<AtomicU8>);

const PREPARING: u8 = 0;
const SERVING: u8 = 1;
const LEFT: u8 = 2;

impl Guide {
    fn follow(layout: &Layout, orders: &Orders, output: Output) -> Self {
        let stage = Arc::new(AtomicU8::new(PREPARING));
        let (watched, orders, root) = (Arc::clone(&stage), orders.clone(), layout.root().to_owned());
        std::thread::spawn(move || {
            loop {
                let is_over = match watched.load(Ordering::Acquire) {
                    PREPARING => orders.is_stopping(),
                    SERVING => orders.is_hurried(),
                    _ => return,
                };
                if is_over {
                    // Best effort: the process is about to be gone, with the document or without.
                    let _ = document::withdraw(&root);
                    output.note("stopped before it was done: run it again, it goes on from there");
                    std::process::exit(i32::from(failure::FAILED));
                }
                std::thread::park_timeout(LOOK_EVERY);
            }
        });
        Self(stage)
    }
    /// From here on others may be served.
    fn serve(&self) {
        self.0.store(SERVING, Ordering::Release);
    }
    /// From here on somebody else obeys.
    fn leave(&self) {
        self.0.store(LEFT, Ordering::Release);
    }
}

/// What was done, in the order of doing it.
pub(crate) struct Walked {
    pub(crate) published: [PublishReport; 2],
    pub(crate) install: PullReport,
    pub(crate) update: PullReport,
    pub(crate) compared: compare::Comparison,
}

struct Tour<'a> {
    layout: &'a Layout,
    builds: &'a Builds,
    key: &'a SecretKey,
    node: &'a Assembled,
    output: &'a Output,
}

impl Tour<'_> {
    /// Everything a script needs, with a fresh token; not yet where scripts look for it.
    fn document(&self) -> anyhow::Result<Document> {
        let addresses = self.node.addresses();
        let first = |list: &[std::net::SocketAddr]| list.first().copied().context("the node has no such address");
        let wanted =
            MintToken { sub: TOKEN_ACCOUNT.to_owned(), products: Vec::new(), ttl_seconds: TOKEN_LIFE.as_secs() };
        let token = self
            .node
            .control()
            .ok_or_else(|| anyhow::anyhow!("this node has no control"))?
            .mint_token(&wanted, now())?;
        certificate::replace(&self.layout.token(), format!("{}\n", token.token).as_bytes(), 0o600)?;
        Ok(Document {
            https_url: marker_url("https", first(&addresses.https)?),
            http_url: marker_url("http", first(&addresses.http)?),
            admin_url: marker_url("http", addresses.admin.context("the node has no admin address")?),
            ca_cert: self.layout.tls().join("ca.pem"),
            trust: TrustSet::single(self.key.public()).to_string(),
            token_file: self.layout.token(),
            admin_token_file: self.layout.data().join("keys").join("admin.token"),
            publisher_key: self.layout.publisher_key(),
            product: self.builds.product.to_string(),
            channel: install::stable().to_string(),
            versions: self.builds.versions.iter().map(ToString::to_string).collect(),
            data_dir: self.layout.data(),
            config: self.layout.config(),
            pid: std::process::id(),
        })
    }

    fn walk(&self, urls: &Document, guide: &Guide) -> Result<Walked, Failure> {
        let session = Session::over_socket(&self.layout.data().join("node.sock"))?;
        publish::ensure_product(&session, &self.builds.product, AccessClass::Open)?;
        self.layout.forget_install()?;
        let [first, second] = &self.builds.versions;
        // Publishing is not offering: the channel moves once, to the second version, and not while it offers
        // something that somebody published here since.
        let published_first = self.publish(&session, 0, None)?;
        let install = self.pull("install", urls, Target::Version(first.clone()))?;
        self.compare(0)?;
        let is_ours = self.offered(&session)?.is_none_or(|offered| self.builds.made(&offered));
        let published_second = self.publish(&session, 1, is_ours.then(install::stable))?;
        // From here on everything that the document names is served.
        guide.serve();
        document::publish(self.layout.root(), urls)?;
        let target = if is_ours { Target::Channel(install::stable()) } else { Target::Version(second.clone()) };
        let update = self.pull("update", urls, target)?;
        let compared = self.compare(1)?;
        Ok(Walked { published: [published_first, published_second], install, update, compared })
    }

    /// What channel `stable` offers.
    fn offered(&self, session: &Session) -> anyhow::Result<Option<Version>> {
        let path = format!("/admin/v1/products/{}/channels", self.builds.product);
        let answer: ChannelsAnswer = session.get(&path)?;
        let stable =
            answer.channels.into_iter().find(|row| row.channel == install::stable() && row.platform == Platform::any());
        Ok(stable.map(|row| row.version))
    }

    fn publish(
        &self,
        session: &Session,
        edition: usize,
        channel: Option<ChannelName>,
    ) -> Result<PublishReport, Failure> {
        let version: Version = self.builds.versions[edition].clone();
        let key = SecretKey::from_seed(&self.key.to_seed());
        let dir = self.builds.dirs[edition].clone();
        let product = self.builds.product.clone();
        let request =
            PublishRequest { channel, ..PublishRequest::new(dir, product, version, Platform::any(), vec![key], now()) };
        let title = format!("publish {}", self.builds.versions[edition]);
        Ok(penstock_publish::publish(request, session.registry(), &Bar::titled(*self.output, &title))?)
    }

    fn pull(&self, what: &str, urls: &Document, target: Target) -> Result<PullReport, Failure> {
        let edge: EdgeUrl = urls.https_url.parse()?;
        let request = PullRequest {
            edges: vec![edge],
            product: self.builds.product.clone(),
            platform: Platform::any(),
            target,
            check: Check::Scheduled,
            components: Components::AsBefore,
            token: install::token(Some(&urls.token_file))?,
            trust: TrustSet::single(self.key.public()),
            ca_file: Some(urls.ca_cert.clone()),
            into: self.layout.install(),
            intent: Intent::Apply,
            keep_previous: true,
            now: now(),
            tuning: Tuning::default(),
        };
        penstock_client::pull(&request, &Bar::titled(*self.output, what)).map_err(install::classify)
    }

    fn compare(&self, edition: usize) -> anyhow::Result<compare::Comparison> {
        let build = &self.builds.dirs[edition];
        let compared = compare::trees(build, &self.layout.install())?;
        if let Some(first) = compared.differences.first() {
            bail!(
                "the install differs from the build {} in {} path(s), the first: {first}",
                build.display(),
                compared.differences.len()
            );
        }
        Ok(compared)
    }
}

/// What to do when another program has the port.
fn with_advice(error: NodeError) -> anyhow::Error {
    let error = anyhow::Error::from(error);
    let is_taken = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::AddrInUse);
    if is_taken {
        error.context("a port is taken: choose others with --port N, or any free ones with --port 0")
    } else {
        error
    }
}

fn publisher_key(layout: &Layout) -> Result<SecretKey, Failure> {
    let path = layout.publisher_key();
    Ok(if path.exists() { keyfile::load(&path)? } else { keyfile::generate(&path)? })
}
