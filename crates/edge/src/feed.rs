//! The edge's side of the feed: it follows a control node elsewhere, and knows on its own what it was told.
//!
//! One thread of its own connects, takes lines in their order, writes them to the [`journal`], and only then lets the
//! copy that requests are served from know of them. A state takes the place of the one before as a whole. When control is
//! away, nothing changes: what was known is known, after a restart too, and `/readyz` tells how old it is.
//!
//! It believes whoever its credential and TLS led it to, but for who may read what: a snapshot of accounts must be signed
//! by the key of the config, whichever store or mirror its bytes came from. It must not decide anything about a request.

mod arrival;
mod connection;
mod journal;
mod session;
mod standing;

pub use journal::JournalError;
pub use standing::{Knowledge, Standing};

use self::arrival::{Pending, arrival};
use self::journal::Journal;
use self::session::{Session, SessionError};
use crate::copy::EdgeCopy;
use crate::web::WebUrl;
use penstock_core::blob::BlobId;
use penstock_core::catalog::{CatalogChange, CatalogSink as _};
use penstock_core::feed::{Hello, Place};
use penstock_core::keys::PublicKey;
use penstock_core::time::UnixSeconds;
use rustls::ClientConfig;
use std::error::Error;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The first pause after a failure, in milliseconds; each further one doubles it.
const PAUSE_MS_MIN: u64 = 250;
/// The longest pause, in milliseconds. Larger keeps an edge behind for longer once control is back, smaller lets a large
/// fleet knock more often.
const PAUSE_MS_MAX: u64 = 15_000;
/// After a disk failed, a new journal is tried again after this. Until then changes are known in memory only.
const JOURNAL_AGAIN: Duration = Duration::from_secs(300);

/// What a follower is made of.
pub struct FollowerParts {
    /// Control's admin URL.
    pub url: WebUrl,
    /// The file with the credential, read again for every connection.
    pub credential_file: PathBuf,
    /// Control's channel key.
    pub key: PublicKey,
    /// For an `https` URL.
    pub tls: Option<Arc<ClientConfig>>,
    /// Where what is known is kept.
    pub dir: PathBuf,
    /// Whom it is told.
    pub copy: EdgeCopy,
    /// Hears of control's token key.
    pub on_hello: Box<dyn Fn(&Hello) + Send + Sync>,
    /// The clock.
    pub clock: fn() -> UnixSeconds,
}

/// A follower that knows what its disk knew, and is not connected.
pub struct Follower {
    parts: Arc<FollowerParts>,
    standing: Standing,
    journal: Option<Journal>,
    /// The last change that the copy knows; the journal's, unless its disk failed.
    place: Option<Place>,
    /// The whole state is wanted, whatever is known.
    wants_whole: bool,
    /// The journal's disk failed at this moment: it lacks what came since.
    failed_at: Option<Instant>,
    /// A snapshot that turned out damaged while nobody could be told.
    damaged: Option<BlobId>,
    /// A snapshot that was told and is not there yet.
    pending: Option<Pending>,
}

/// The running thread. Ends when this is dropped.
pub struct Following {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Reads what is on the disk and tells the copy. Blocks.
    ///
    /// # Errors
    /// [`JournalError`]: the directory cannot be used. Damage is no error.
    pub fn open(parts: FollowerParts) -> Result<Self, JournalError> {
        let mut journal = Journal::open(&parts.dir)?;
        if let Some(stranger) = journal.take_if(|journal| journal.hello().channel_key != parts.key) {
            let found = stranger.hello().channel_key;
            tracing::error!(%found, "what this edge knew came from another control node: it is not used");
        }
        let standing = parts.copy.standing.clone();
        let place = journal.as_ref().map(Journal::place);
        // What was waited for when the process ended is told with a state.
        let wants_whole = journal.as_ref().is_some_and(Journal::lacks_snapshot);
        let parts = Arc::new(parts);
        let (failed_at, damaged, pending) = (None, None, None);
        let mut follower = Self { parts, standing, journal, place, wants_whole, failed_at, damaged, pending };
        if let Some(journal) = follower.journal.take() {
            (follower.parts.on_hello)(journal.hello());
            match follower.know(&journal, None) {
                Ok(()) => {
                    let Place { sequence, .. } = journal.place();
                    // By a clock that was ahead it may have been heard tomorrow.
                    let heard = journal.heard().min((follower.parts.clock)());
                    follower.standing.whole(sequence, heard);
                    let heard = heard.0;
                    tracing::info!(sequence, heard, "this edge knows what it knew");
                }
                Err(Unknowable::Journal(error)) => return Err(error),
                Err(Unknowable::Snapshot(blob)) => {
                    follower.wants_whole = true;
                    follower.damaged = Some(blob);
                }
            }
            follower.journal = Some(journal);
        }
        Ok(follower)
    }

    /// How much is known.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.clone()
    }

    /// Follows on a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(self) -> io::Result<Following> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let ear = stop.clone();
        let thread = std::thread::Builder::new().name("penstock-feed".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = self.run() => {}
                    () = ear.cancelled() => {}
                }
            });
        })?;
        Ok(Following { stop, thread: Some(thread) })
    }

    /// Connects again and again. Dropped to be ended: between two lines, so that nothing is half known.
    async fn run(mut self) {
        let (mut failures, mut is_said) = (0, false);
        loop {
            let mut session = Session::new(&mut self);
            let error = session.run().await;
            if session.was_current() {
                (failures, is_said) = (0, false);
            }
            self.standing.following(false);
            is_said |= self.take_failure(&error, is_said);
            failures += 1;
            let random = RandomState::new().build_hasher().finish();
            let rest = tokio::time::sleep(pause(failures, random));
            tokio::pin!(rest);
            loop {
                tokio::select! {
                    () = &mut rest => break,
                    arrived = arrival(&mut self.pending) => self.arrived(arrived),
                }
            }
        }
    }

    /// The snapshot that was waited for came, or did not.
    fn arrived(&mut self, arrived: Result<(), SessionError>) {
        let Some(pending) = self.pending.take() else { return };
        if let Err(error) = arrived {
            self.pending = Some(pending.again(&self.parts, &error));
            return;
        }
        let Pending { sequence, change, .. } = pending;
        let before = self.journal.as_ref().and_then(Journal::snapshot);
        if let Some(journal) = &mut self.journal {
            if self.failed_at.is_some() {
                journal.note(&[(Vec::new(), sequence, change.clone())]);
            } else if let Err(error) = journal.rest_on(sequence, &change) {
                let error = &error as &dyn Error;
                tracing::error!(error, "a snapshot of accounts is known in memory only");
                journal.note(&[(Vec::new(), sequence, change.clone())]);
                self.failed_at = Some(Instant::now());
            }
        }
        self.parts.copy.apply(sequence, change);
        self.forget(before);
    }

    /// Removes a snapshot that nothing rests on any more.
    fn forget(&self, before: Option<BlobId>) {
        let now = self.journal.as_ref().and_then(Journal::snapshot);
        let Some(before) = before.filter(|before| now != Some(*before)) else { return };
        if let Err(error) = self.parts.copy.store.remove(&before) {
            tracing::warn!(blob = %before, %error, "an old snapshot of accounts stays behind");
        }
    }

    /// Says what ended a session, once and not each time, and what has to be different in the next one. Returns whether it
    /// was said.
    fn take_failure(&mut self, error: &SessionError, is_said: bool) -> bool {
        if error.needs_state() {
            self.wants_whole = true;
        }
        if let SessionError::Journal(_) = error {
            self.failed_at = Some(Instant::now());
        }
        let age_seconds = self.standing.at((self.parts.clock)()).age_seconds;
        let cause = error as &dyn Error;
        let is_new = !error.is_usual() && !is_said;
        if is_new {
            tracing::error!(error = cause, age_seconds, "control's feed is not heard: what is known stays known");
        } else {
            tracing::debug!(error = cause, age_seconds, "control's feed ended");
        }
        is_new
    }

    /// Where the next session goes on; `None` asks for the whole state.
    fn wanted(&self) -> Option<Place> {
        let may_write = self.failed_at.is_none_or(|failed| failed.elapsed() >= JOURNAL_AGAIN);
        let lacks = self.wants_whole || self.failed_at.is_some();
        if lacks && may_write { None } else { self.place }
    }

    /// Lets the copy know a state in place of what it knew, `before`.
    fn know(&self, state: &Journal, before: Option<&Journal>) -> Result<(), Unknowable> {
        let copy = &self.parts.copy;
        let (mut base, mut told) = (None, Vec::new());
        copy.accounts.set_pseudonyms(state.hello().pseudonym_key);
        state.show(|sequence, change| match change {
            CatalogChange::Account { account, facts } => told.push((sequence, account, facts)),
            CatalogChange::AccountsSnapshot { blob, .. } => base = Some(blob),
            other => copy.apply(sequence, other),
        })?;
        let snapshot = match base.map(|blob| copy.snapshot(blob).map_err(|error| (blob, error))).transpose() {
            Ok(snapshot) => snapshot,
            Err((blob, error)) => {
                let error = &*error as &dyn Error;
                tracing::error!(%blob, error, "the snapshot of accounts cannot be used: it is asked for anew");
                copy.quarantine(blob);
                return Err(Unknowable::Snapshot(blob));
            }
        };
        copy.accounts.replace(snapshot, told);
        if let Some(before) = before {
            for change in state.fold().lacks(before.fold()) {
                copy.apply(state.place().sequence, change);
            }
        }
        Ok(())
    }
}

/// Why a state is not known though it lies there.
enum Unknowable {
    Journal(JournalError),
    Snapshot(BlobId),
}

impl From<JournalError> for Unknowable {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// How long to wait after so many failures in a row: from half of a doubling time to all of it, so that a fleet does not
/// come back in one moment.
fn pause(failures: u32, random: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let most = PAUSE_MS_MAX.min(PAUSE_MS_MIN << doublings);
    Duration::from_millis(most / 2 + random % (most / 2 + 1))
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.cancel();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that followed control broke down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        for random in [0, 1, 77, u64::MAX] {
            let mut last = Duration::ZERO;
            for failures in 1..80 {
                let pause = pause(failures, random);
                assert!(pause >= last / 2 && pause <= Duration::from_millis(PAUSE_MS_MAX), "{failures}");
                last = last.max(pause);
            }
        }
        assert!(pause(1, 0) >= Duration::from_millis(PAUSE_MS_MIN / 2));
        assert_ne!(pause(20, 1), pause(20, 5000));
    }
}
