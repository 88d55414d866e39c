//! The node's control half: what it holds, how it starts, and how work reaches blocking threads.

use crate::api::Credentials;
use crate::channels;
use crate::compact::{self, LogTail};
use crate::error::{CallError, chain};
use crate::feed::Feeds;
use crate::keys::{KeyFileError, NodeKeys};
use crate::record::{self, Record, RecordError};
use crate::secret::SecretText;
use crate::sql::{Connection, Database};
use crate::token::{TokenError, TokenSigner};
use crate::{api, log, revocations, schema, snapshots, state};
use penstock_core::api::{MintToken, TokenAnswer};
use penstock_core::blob::{BlobId, BlobSize};
use penstock_core::catalog::{BlobMember, CatalogChange, CatalogSink, Release};
use penstock_core::desk::{ExplainAnswer, ExplainQuestion, Explainer, JwksAnswer, StatusAnswer};
use penstock_core::id::ProductId;
use penstock_core::keys::PublicKey;
use penstock_core::limits::TRANSFERS_MAX;
use penstock_core::time::UnixSeconds;
use penstock_origin::Origin;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::Semaphore;

/// What a node's control half is made of.
pub struct ControlOptions {
    /// The node's data directory; secrets live in `keys/` below it.
    pub data_dir: PathBuf,
    /// The system of record.
    pub database: Database,
    /// Where blobs are stored.
    pub origin: Arc<dyn Origin>,
    /// Who is told of every change: one made here before the call that made it returns, one made by
    /// another process on the same database within a second.
    pub sink: Arc<dyn CatalogSink>,
    /// The clock.
    pub now: fn() -> UnixSeconds,
}

/// Why control cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The node's secrets cannot be used.
    #[error("cannot use the node's keys")]
    Keys(#[from] KeyFileError),
    /// The database cannot be used.
    #[error("cannot use the database")]
    Record(#[from] RecordError),
    /// The catalogue cannot be replayed.
    #[error("cannot replay the catalogue")]
    Replay(#[source] CallError),
    /// The thread that hears of other nodes' changes cannot be started.
    #[error("cannot start following the changes of other nodes")]
    Follower(#[source] io::Error),
}

/// What a renewal of channel heads did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RenewReport {
    /// Heads signed anew.
    pub renewed: u64,
    /// Products whose heads are due but may not be signed by this node; each was logged.
    pub refused: Vec<ProductId>,
    /// Products whose heads could not be looked at or signed, because what the record holds of them
    /// is damaged or the record failed; each was logged as an error.
    pub failed: Vec<ProductId>,
}

/// The system of record of one node. Cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Node>);

/// What all operations share.
pub(crate) struct Node {
    pub(crate) record: Record,
    pub(crate) origin: Arc<dyn Origin>,
    pub(crate) keys: NodeKeys,
    pub(crate) signer: TokenSigner,
    pub(crate) clock: fn() -> UnixSeconds,
    /// Blobs that releases need and the store lacked when it was last looked.
    missing: Mutex<BTreeSet<BlobId>>,
    /// Who explains decisions, once there is an edge beside this.
    explainer: OnceLock<Arc<dyn Explainer>>,
    /// Who follows.
    pub(crate) feeds: Feeds,
}

/// Which queue a piece of blocking work waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Reads the record.
    Read,
    /// Changes the record: one at a time.
    Write,
    /// Looks at much before it changes the record shortly, so that other changes get between.
    Check,
}

/// Bounds on blocking work, so that a busy desk can't take every blocking thread of the process.
#[derive(Clone)]
pub(crate) struct Lanes {
    read: Arc<Semaphore>,
    write: Arc<Semaphore>,
    check: Arc<Semaphore>,
    pub(crate) transfers: Arc<Semaphore>,
}

impl Control {
    /// Opens the record, makes what is missing on a first start, and tells the sink all there is.
    ///
    /// Blocks: call it on a blocking thread, or before the runtime starts.
    ///
    /// # Errors
    /// [`ControlError`]. A release whose blobs are missing from the store is not an error: it is
    /// logged, told to the sink and named by `GET /admin/v1/status`.
    pub fn open(options: ControlOptions) -> Result<Self, ControlError> {
        let keys = NodeKeys::open(&options.data_dir.join("keys"))?;
        let now = (options.now)();
        let record = Record::open(&options.database, options.sink, now)?;
        let signer = TokenSigner::new(&keys.token);
        let missing = Mutex::new(BTreeSet::new());
        let explainer = OnceLock::new();
        let feeds = Feeds::default();
        let (origin, clock) = (options.origin, options.now);
        let node = Arc::new(Node { record, origin, keys, signer, clock, missing, explainer, feeds });
        let replayed = state::tell_whole(&node, &mut |sequence, change| {
            if let CatalogChange::Release { release, members, .. } = &change {
                node.look_for_missing(release, members);
            }
            node.record.replay(sequence, change);
            Ok(())
        });
        let replayed = replayed.map_err(ControlError::Replay)?;
        let again = Arc::downgrade(&node);
        let retell = move |connection: &Connection, tell: &mut state::Teller<'_>| {
            // The node is going away, and nobody wants to be told any more.
            let node = again.upgrade().ok_or(CallError::FollowerGone)?;
            state::tell_at(&node, connection, tell)
        };
        node.record.follow(replayed, Box::new(retell)).map_err(ControlError::Follower)?;
        Ok(Self(node))
    }

    /// The admin API, every path below `/admin/v1`, for one kind of listener.
    ///
    /// The bounds on work at once are per router; a process makes one for the network and one for
    /// its socket.
    pub fn router(&self, credentials: Credentials) -> axum::Router {
        api::router(Handle { node: Arc::clone(&self.0), lanes: Lanes::new() }, credentials)
    }

    /// Signs heads anew that are a day old, so that a running node's offers never expire. One
    /// product's trouble does not keep another's heads from being signed.
    ///
    /// Blocks. Call it at start and then hourly.
    ///
    /// # Errors
    /// [`CallError`] when the record cannot even list the products.
    pub fn renew_heads(&self, now: UnixSeconds) -> Result<RenewReport, CallError> {
        channels::renew(&self.0, now)
    }

    /// Makes another snapshot of all accounts when enough of them changed, so that edges start fast and hold little in
    /// memory; says whether it did.
    ///
    /// Blocks. Call it at start and then now and then.
    ///
    /// # Errors
    /// [`CallError`]; the last snapshot then stays in use.
    pub fn renew_snapshot(&self, now: UnixSeconds) -> Result<bool, CallError> {
        snapshots::renew(&self.0, now)
    }

    /// Calls `wake` after each change that concerns so many accounts that only a snapshot tells of it, for whoever then calls
    /// [`Self::renew_snapshot`]. It must not block: the call that made the change waits for it. Called once.
    pub fn wake_for_snapshots(&self, wake: Box<dyn Fn() + Send + Sync>) {
        self.0.record.wake_for_snapshots(wake);
    }

    /// Forgets revoked tokens that ended by themselves a day ago; returns how many.
    ///
    /// Blocks. Call it now and then.
    ///
    /// # Errors
    /// [`CallError`]; they are remembered a while longer then.
    pub fn forget_revocations(&self, now: UnixSeconds) -> Result<u64, CallError> {
        revocations::forget(&self.0, now)
    }

    /// Removes some entries of the change log that nobody needs any more; says how many. 0 means that there are none for
    /// now, and everything else that there may be more.
    ///
    /// Blocks, and lets other changes wait meanwhile. Call it hourly until it says 0, with a pause between.
    ///
    /// # Errors
    /// [`CallError`]; nothing was removed then.
    pub fn compact_log(&self, tail: LogTail, now: UnixSeconds) -> Result<u64, CallError> {
        compact::compact(&self.0, tail, now)
    }

    /// Signs a token for an account.
    ///
    /// # Errors
    /// [`TokenError`] for an impossible wish.
    pub fn mint_token(&self, wanted: &MintToken, now: UnixSeconds) -> Result<TokenAnswer, TokenError> {
        self.0.signer.mint(wanted, now)
    }

    /// The keys that verify this node's tokens.
    #[must_use]
    pub fn jwks(&self) -> JwksAnswer {
        self.0.signer.jwks()
    }

    /// The key that verifies this node's tokens.
    #[must_use]
    pub fn token_key(&self) -> PublicKey {
        self.0.keys.token.public()
    }

    /// The key that verifies this node's links.
    #[must_use]
    pub fn link_key(&self) -> PublicKey {
        self.0.keys.link.public()
    }

    /// Takes the edge that explains decisions. The first one counts.
    pub fn explain_with(&self, explainer: Arc<dyn Explainer>) {
        if self.0.explainer.set(explainer).is_err() {
            tracing::debug!("this node explains already");
        }
    }

    /// The key that signs this node's channel heads: publishers delegate to it.
    #[must_use]
    pub fn channel_key(&self) -> PublicKey {
        self.0.keys.channel.public()
    }

    /// What opens the admin API over the network: the content of `keys/admin.token`.
    #[must_use]
    pub fn admin_token(&self) -> &SecretText {
        &self.0.keys.admin
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("channel_key", &self.channel_key()).finish_non_exhaustive()
    }
}

impl Node {
    /// The moment.
    pub(crate) fn now(&self) -> UnixSeconds {
        (self.clock)()
    }

    /// A blob's length in the store; `None` when the store lacks it.
    pub(crate) fn size_of(&self, blob: BlobId) -> Result<Option<BlobSize>, CallError> {
        Ok(self.origin.size_of(&blob)?)
    }

    /// As [`Node::size_of`], for a blob that must be there.
    pub(crate) fn stored_size(&self, blob: BlobId) -> Result<BlobSize, CallError> {
        self.size_of(blob)?.ok_or(CallError::NoBlob(blob))
    }

    /// The walk of a decision.
    pub(crate) fn explain(&self, question: &ExplainQuestion) -> Result<ExplainAnswer, CallError> {
        if question.blob.is_some() == question.product.is_some() {
            return Err(CallError::Malformed("name either a blob or a product".to_owned()));
        }
        if question.token.is_some() && question.account.is_some() {
            return Err(CallError::Malformed("name either a token or an account".to_owned()));
        }
        Ok(self.explainer.get().ok_or(CallError::NoExplainer)?.explain(question))
    }

    /// What the store was found to lack.
    pub(crate) fn missing(&self) -> MutexGuard<'_, BTreeSet<BlobId>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node in numbers.
    pub(crate) fn status(&self) -> Result<StatusAnswer, CallError> {
        let missing = self.missing().clone();
        self.record.read(|connection| {
            let (blobs, blob_bytes) = record::blobs::totals(connection)?;
            Ok(StatusAnswer {
                schema: schema::version(connection)?,
                change_sequence: log::newest(connection)?,
                channel_key: self.keys.channel.public(),
                products: record::products::list(connection)?.len() as u64,
                releases: record::releases::count(connection)?,
                channels: record::channels::count(connection)?,
                accounts: record::accounts::count(connection)?,
                blobs,
                blob_bytes,
                incomplete: record::releases::incomplete(connection, &missing)?,
            })
        })
    }

    /// Compares a release with the store. What is missing does not stop the node: the rest is served.
    fn look_for_missing(&self, release: &Release, members: &[BlobMember]) {
        let mut lacking = BTreeSet::new();
        for member in members {
            match self.size_of(member.blob) {
                Ok(Some(_)) => {}
                Ok(None) => drop(lacking.insert(member.blob)),
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(error, "cannot tell which blobs are stored: releases are not checked");
                    return;
                }
            }
        }
        if let Some(example) = lacking.first() {
            tracing::error!(
                product = %release.product, platform = %release.platform, version = %release.version,
                missing = lacking.len(), %example,
                "a release is incomplete: the store lacks blobs of it, publish it again",
            );
        }
        self.missing().extend(lacking);
    }
}

/// Long checks at once. Each holds a registration of up to 32 MiB and, now and then, a reader of the
/// record: half of them stay free.
const CHECKS_AT_ONCE: usize = record::READERS / 2;

/// The node as a handler of requests sees it: work goes to blocking threads through bounded lanes.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) node: Arc<Node>,
    pub(crate) lanes: Lanes,
}

impl Handle {
    /// Runs `work` on a blocking thread when its lane has room. Work that began is finished even
    /// when the caller goes away.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&Node) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let lane = match lane {
            Lane::Read => &self.lanes.read,
            Lane::Write => &self.lanes.write,
            Lane::Check => &self.lanes.check,
        };
        // The semaphores are never closed, so a refusal can only mean that the node is going away.
        let permit = Arc::clone(lane).acquire_owned().await.map_err(|_| CallError::Busy)?;
        let node = Arc::clone(&self.node);
        let done = tokio::task::spawn_blocking(move || {
            let _held_until_done = permit;
            work(&node)
        });
        done.await.map_err(CallError::GivenUp)?
    }
}

impl Lanes {
    fn new() -> Self {
        let lane = |permits| Arc::new(Semaphore::new(permits));
        let (read, write, check) = (lane(record::READERS), lane(1), lane(CHECKS_AT_ONCE));
        Self { read, write, check, transfers: lane(TRANSFERS_MAX) }
    }
}
