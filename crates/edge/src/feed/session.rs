//! One connection to control's feed, from the hello to whatever ends it.
//!
//! What a line asks for is done before the next one is looked at: first the disk, then the copy. Only a snapshot of accounts
//! is not waited for: see `feed::arrival`.

use super::arrival::{Pending, acquire, arrival, is_there};
use super::connection::{self, Lines};
use super::journal::{self, Draft, Journal, JournalError};
use super::{Follower, JOURNAL_AGAIN, Unknowable};
use crate::web;
use bytes::Bytes;
use penstock_core::blob::BlobId;
use penstock_core::catalog::{CatalogChange, CatalogSink as _};
use penstock_core::feed::{Hello, Line, LineError, Mark, Order, OrderError, Place};
use penstock_core::keys::PublicKey;
use penstock_core::statement::NoticeError;
use penstock_store::ImportError;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Changes that are made durable together.
const CHANGES_AT_ONCE: usize = 1000;
/// Bytes of changes that are made durable together, but for a single larger one.
const BYTES_AT_ONCE: usize = 4 << 20;
/// How often it is written down that what is known is current.
const BEAT_KEPT_EVERY: Duration = Duration::from_secs(60);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The credential cannot be read.
    #[error("cannot use the credential in {path}", path = path.display())]
    Credential { path: PathBuf, source: io::Error },
    /// No answer.
    #[error(transparent)]
    Call(#[from] web::CallError),
    /// Another answer than the feed.
    #[error("control answers {0}")]
    Status(u16),
    /// It said nothing for too long.
    #[error("control says nothing")]
    Silent,
    /// The connection broke.
    #[error("the connection to control broke")]
    Broken(#[source] hyper::Error),
    /// Control ended the feed.
    #[error("control ended the feed")]
    Ended,
    /// A line that is none.
    #[error(transparent)]
    Line(#[from] LineError),
    /// A line at the wrong place.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// Another control than the configured one.
    #[error("control signs with {found}, and control.key is another key")]
    Stranger { found: PublicKey },
    /// Control makes other pseudonyms than before.
    #[error("control makes other pseudonyms than before: the whole state is asked for")]
    Pseudonyms,
    /// A snapshot without control's signature.
    #[error("snapshot {0} is not signed by control.key")]
    Notice(BlobId, #[source] NoticeError),
    /// A snapshot that is too large, or whose length is not told.
    #[error("snapshot {0} has not the length that it should have")]
    SnapshotSize(BlobId),
    /// A snapshot that is damaged again and again.
    #[error("snapshot {0} cannot be used")]
    Snapshot(BlobId),
    /// A snapshot that cannot be stored, or is not what its name says.
    #[error("snapshot {0} cannot be stored")]
    Store(BlobId, #[source] ImportError),
    /// Control's answer to the word that a snapshot is damaged.
    #[error("control's answer cannot be read")]
    Word,
    /// The disk.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The disk failed before, and is tried again.
    #[error("the journal is begun anew")]
    JournalAgain,
}

impl SessionError {
    /// Whether going on from the last change would only end the same way.
    pub(super) const fn needs_state(&self) -> bool {
        matches!(
            self,
            Self::Order(OrderError::Gap { .. } | OrderError::Back { .. })
                | Self::Pseudonyms
                | Self::Notice(..)
                | Self::SnapshotSize(_)
                | Self::Snapshot(_)
                | Self::Store(..)
                | Self::JournalAgain
        )
    }

    /// Whether this happens when all is well.
    pub(super) const fn is_usual(&self) -> bool {
        matches!(self, Self::Ended | Self::JournalAgain | Self::Pseudonyms)
    }
}

/// See the module.
pub(super) struct Session<'f> {
    follower: &'f mut Follower,
    was_current: bool,
    beat_kept: Option<Instant>,
}

/// Changes that are not known yet, each with its line and number.
type Batch = Vec<(Vec<u8>, u64, CatalogChange)>;

impl<'f> Session<'f> {
    pub(super) const fn new(follower: &'f mut Follower) -> Self {
        Self { follower, was_current: false, beat_kept: None }
    }

    /// Whether everything was known at some moment of it.
    pub(super) const fn was_current(&self) -> bool {
        self.was_current
    }

    /// Follows until something ends it.
    pub(super) async fn run(&mut self) -> SessionError {
        match self.follow().await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, SessionError> {
        if let Some(blob) = self.follower.damaged.take() {
            // Control may have made another one since, and not know this one any more. And the state is asked for in any
            // case: what it tells is looked at again.
            if let Err(error) = connection::report(&self.follower.parts, blob).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%blob, error, "control did not hear that a snapshot of accounts is damaged");
            }
        }
        let after = self.follower.wanted();
        let mut lines = connection::follow(&self.follower.parts, after).await?;
        let mut order = Order::new(after.map(|place| place.sequence));
        let hello = lines.next().await?.ok_or(SessionError::Ended)?;
        let line = Line::parse(&hello)?;
        order.take(&line)?;
        let Line::Hello(hello) = line else { return Err(OrderError::Misplaced.into()) };
        self.greeted(&hello, after.is_some())?;
        loop {
            let text = tokio::select! {
                text = lines.next() => text?.ok_or(SessionError::Ended)?,
                arrived = arrival(&mut self.follower.pending) => {
                    self.follower.arrived(arrived);
                    continue;
                }
            };
            let line = Line::parse(&text)?;
            order.take(&line)?;
            match line {
                Line::State { sequence } => self.state(&mut lines, &mut order, &hello, sequence).await?,
                Line::Change { sequence, change } => self.changes(&mut lines, &mut order, &text, sequence, change)?,
                Line::Beat { newest, .. } => self.beat(newest, order.last())?,
                Line::Hello(_) | Line::Part { .. } | Line::Whole { .. } => return Err(OrderError::Misplaced.into()),
            }
        }
    }

    fn greeted(&self, hello: &Hello, is_going_on: bool) -> Result<(), SessionError> {
        let parts = &self.follower.parts;
        if hello.channel_key != parts.key {
            return Err(SessionError::Stranger { found: hello.channel_key });
        }
        if is_going_on && *parts.copy.accounts.pseudonyms().reveal() != *hello.pseudonym_key.reveal() {
            return Err(SessionError::Pseudonyms);
        }
        (parts.on_hello)(hello);
        self.follower.standing.following(true);
        let (newest, oldest) = (hello.newest, hello.oldest);
        tracing::info!(newest, oldest, is_going_on, "control's feed is heard");
        Ok(())
    }

    /// Takes a whole state: on the disk first, then its snapshot, then all of it at once.
    async fn state(
        &mut self,
        lines: &mut Lines,
        order: &mut Order,
        hello: &Hello,
        sequence: u64,
    ) -> Result<(), SessionError> {
        let mut draft = Draft::begin(&self.follower.parts.dir, hello.clone(), sequence)?;
        loop {
            let text = lines.next().await?.ok_or(SessionError::Ended)?;
            let line = Line::parse(&text)?;
            order.take(&line)?;
            match line {
                Line::Part { sequence, change } => {
                    draft.part(&text, sequence, &change)?;
                    acquire(&self.follower.parts, &change).await?;
                }
                Line::Whole { sequence, mark } => return self.whole(draft, Place { sequence, mark }),
                _ => return Err(OrderError::Misplaced.into()),
            }
        }
    }

    fn whole(&mut self, draft: Draft, place: Place) -> Result<(), SessionError> {
        let heard = (self.follower.parts.clock)();
        let state = draft.finish(place, heard)?.publish()?;
        let before = self.follower.journal.take();
        if let Err(error) = self.follower.know(&state, before.as_ref()) {
            // The copy may know a part of it: only another whole state mends that.
            self.follower.journal = Some(state);
            self.follower.wants_whole = true;
            return Err(match error {
                Unknowable::Journal(error) => error.into(),
                Unknowable::Snapshot(blob) => SessionError::Snapshot(blob),
            });
        }
        let parts = state.fold().len();
        self.follower.journal = Some(state);
        self.follower.place = Some(place);
        self.follower.wants_whole = false;
        self.follower.pending = None;
        self.follower.failed_at = None;
        self.follower.standing.whole(place.sequence, heard);
        self.follower.forget(before.as_ref().and_then(Journal::snapshot));
        tracing::info!(sequence = place.sequence, parts, "a whole state is known");
        Ok(())
    }

    /// Takes a change, and those that came with it.
    fn changes(
        &mut self,
        lines: &mut Lines,
        order: &mut Order,
        text: &Bytes,
        sequence: u64,
        change: CatalogChange,
    ) -> Result<(), SessionError> {
        if let CatalogChange::AccountsSnapshot { .. } = change {
            return self.snapshot(text, sequence, change);
        }
        let mut bytes = text.len();
        let mut batch: Batch = vec![(text.to_vec(), sequence, change)];
        while batch.len() < CHANGES_AT_ONCE && bytes < BYTES_AT_ONCE {
            let Some(text) = lines.ready() else { break };
            // What is wrong with a later line must not cost the ones before it.
            let next = Line::parse(&text).map_err(SessionError::from);
            match next.and_then(|line| order.take(&line).map(|()| line).map_err(SessionError::from)) {
                Ok(Line::Change { sequence, change }) => {
                    if let CatalogChange::AccountsSnapshot { .. } = change {
                        self.know(batch);
                        return self.snapshot(&text, sequence, change);
                    }
                    bytes += text.len();
                    batch.push((text.to_vec(), sequence, change));
                }
                Ok(Line::Beat { newest, .. }) => {
                    self.know(batch);
                    return self.beat(newest, order.last());
                }
                Ok(_) => {
                    self.know(batch);
                    return Err(OrderError::Misplaced.into());
                }
                Err(error) => {
                    self.know(batch);
                    return Err(error);
                }
            }
        }
        self.know(batch);
        Ok(())
    }

    /// Takes a snapshot that is there. One that is not is waited for beside the feed, and the journal has something in its
    /// place, because it must have every number.
    fn snapshot(&mut self, text: &[u8], sequence: u64, change: CatalogChange) -> Result<(), SessionError> {
        if is_there(&self.follower.parts, &change)? {
            self.know(vec![(text.to_vec(), sequence, change)]);
            self.follower.pending = None;
            return Ok(());
        }
        let stand_in = journal::stand_in();
        self.know(vec![(Line::Change { sequence, change: stand_in.clone() }.encode(), sequence, stand_in)]);
        self.follower.place = Some(Place { sequence, mark: Mark::of_line(text) });
        // One that was waited for before is covered by this one.
        self.follower.pending = Some(Pending::begin(&self.follower.parts, sequence, change));
        Ok(())
    }

    /// Makes changes durable and lets the copy know them. A disk that fails does not keep a revocation from being known.
    fn know(&mut self, batch: Batch) {
        let follower = &mut *self.follower;
        let before = follower.journal.as_ref().and_then(Journal::snapshot);
        if let Some(journal) = &mut follower.journal {
            if follower.failed_at.is_some() {
                journal.note(&batch);
            } else if let Err(error) = journal.append(&batch) {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "what control tells is known in memory only");
                journal.note(&batch);
                follower.failed_at = Some(Instant::now());
            }
        }
        for (text, sequence, change) in batch {
            follower.parts.copy.apply(sequence, change);
            follower.place = Some(Place { sequence, mark: Mark::of_line(&text) });
            follower.standing.known(sequence);
        }
        self.follower.forget(before);
    }

    /// Nothing newer was there just now.
    fn beat(&mut self, newest: u64, last: Option<u64>) -> Result<(), SessionError> {
        if last != Some(newest) {
            return Ok(());
        }
        self.was_current = true;
        let follower = &mut *self.follower;
        let now = (follower.parts.clock)();
        if follower.failed_at.is_some_and(|failed| failed.elapsed() >= JOURNAL_AGAIN) {
            return Err(SessionError::JournalAgain);
        }
        if follower.pending.is_some() {
            // What it holds may have been true for long.
            return Ok(());
        }
        follower.standing.current(now);
        if follower.failed_at.is_none() && self.beat_kept.is_none_or(|kept| kept.elapsed() >= BEAT_KEPT_EVERY) {
            self.beat_kept = Some(Instant::now());
            if let Some(journal) = &mut follower.journal {
                journal.beat(now)?;
            }
        }
        Ok(())
    }
}
