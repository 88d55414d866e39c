//! The database: connections, transactions, and the order in which edges are told.
//!
//! One connection writes, a few read. Everything here blocks, so it runs on blocking threads only.
//! What a row means is said in the modules below, one per table or pair of tables; this file knows
//! only how a change becomes durable, and `follow` who hears of it when.
//!
//! # One writer at a time, in all processes
//!
//! A change looks at the record and then writes what follows from it: a release's audiences, the
//! next number of a head, a blob that nothing refers to. Each of these would be wrong if another
//! change came between. On SQLite a transaction that writes is the only one by `BEGIN IMMEDIATE`.
//! On PostgreSQL the first statement of every transaction that writes locks the change log's row
//! of `counters` ([`log::lock`]), so they come one after the other there too, whichever process
//! they are in, and each sees all that those before it committed, because READ COMMITTED looks anew
//! for every statement. Readers wait for nobody.

pub(crate) mod accounts;
pub(crate) mod acting;
pub(crate) mod allocations;
pub(crate) mod audit;
pub(crate) mod blobs;
pub(crate) mod channels;
pub(crate) mod credentials;
pub(crate) mod embargoes;
pub(crate) mod entitlements;
pub(crate) mod filter;
pub(crate) mod holdings;
pub(crate) mod kept;
pub(crate) mod packages;
pub(crate) mod people;
pub(crate) mod products;
pub(crate) mod releases;
pub(crate) mod revocations;
pub(crate) mod rollouts;
pub(crate) mod segments;
pub(crate) mod snapshots;

use crate::actor::{Actor, Once};
use crate::follow::{self, Follower, Retell, Teller};
use crate::sql::{
    Access, AddressError, Connection, Database, Source, SqlError, SqlErrorKind, Transaction, make_file, values,
};
use crate::{log, schema};
use penstock_core::catalog::{CatalogChange, CatalogSink};
use penstock_core::time::UnixSeconds;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::watch;

/// Connections that read at once. Each holds its own page cache of up to 2 MiB, or a process of the
/// server.
pub(crate) const READERS: usize = 4;

/// Rows of one statement that names many.
const ROWS_MAX: usize = 500;

/// Why the record could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The server's URL cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The file cannot be made.
    #[error("cannot open {path}", path = path.display())]
    Create {
        /// The database.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Written by a later version of this program.
    #[error("the database has schema {found}, this program knows {known}: run the newer program")]
    Newer {
        /// In the database.
        found: u32,
        /// Known here.
        known: u32,
    },
    /// The disk is full; nothing was changed.
    #[error("the disk with the database is full, nothing was changed")]
    Full(#[source] SqlError),
    /// Another change held the record for too long; nothing was changed.
    #[error("the database is busy, nothing was changed")]
    Busy(#[source] SqlError),
    /// The server cannot be reached or went away. A change that was being committed may be done or
    /// not; asking for it again mends either.
    #[error("the database cannot be reached")]
    Unavailable(#[source] SqlError),
    /// The database refused.
    #[error("the database failed")]
    Sql(#[source] SqlError),
    /// A release refers to a blob that the record does not have.
    #[error("blob {0} is not in the record")]
    NoBlob(penstock_core::blob::BlobId),
    /// An operation of ours changed something and did not say so in the audit; nothing was changed.
    #[error("a change was not written into the audit")]
    Unaudited,
    /// A call with the same idempotency key is being done, or was done meanwhile; nothing was changed.
    #[error("a call with this idempotency key was made meanwhile")]
    Claimed,
    /// Nothing is done in the name that the caller acts in; nothing was changed.
    #[error(transparent)]
    Acting(#[from] acting::ActingError),
    /// A number does not fit a column.
    #[error("{0} is too large for the database")]
    Number(u64),
    /// Other nodes changed more than the log still holds before this one looked: it is told the state, and then goes on.
    #[error("this node missed more changes than the log keeps, and is reading the state")]
    Behind,
    /// A row holds what this program never writes.
    #[error("the database holds a {what} that is not one")]
    Damaged {
        /// What should stand there.
        what: &'static str,
    },
}

impl From<SqlError> for RecordError {
    fn from(error: SqlError) -> Self {
        match error.kind() {
            SqlErrorKind::Full => Self::Full(error),
            SqlErrorKind::Busy => Self::Busy(error),
            SqlErrorKind::Unavailable => Self::Unavailable(error),
            SqlErrorKind::Unique | SqlErrorKind::ForeignKey | SqlErrorKind::Other => Self::Sql(error),
        }
    }
}

/// The database and who is told of its changes.
pub(crate) struct Record {
    source: Arc<Source>,
    writer: Mutex<Slot>,
    readers: Mutex<Vec<Slot>>,
    reader_back: Condvar,
    teller: Arc<Teller>,
    follower: Mutex<Option<Follower>>,
    /// Who makes snapshots of accounts.
    snapshots: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// One transaction: what it changes, who is behind it, and what edges will be told when it is durable.
pub(crate) struct Batch<'c> {
    transaction: Transaction<'c>,
    changes: Vec<CatalogChange>,
    wants_snapshot: bool,
    now: UnixSeconds,
    by: By<'c>,
}

/// On whose account a transaction writes.
enum By<'c> {
    /// Somebody's, whose deeds are written into the audit.
    Actor { actor: &'c Actor, deeds: u64 },
    /// Nobody's: the record keeps its own house.
    House,
}

impl Record {
    /// Opens or makes the database and brings it to the newest schema.
    pub(crate) fn open(database: &Database, sink: Arc<dyn CatalogSink>, now: UnixSeconds) -> Result<Self, RecordError> {
        if let Database::Sqlite(path) = database {
            make_file(path).map_err(|source| RecordError::Create { path: path.clone(), source })?;
        }
        let source = Arc::new(Source::new(database)?);
        let writer = source.connect(Access::Write)?;
        schema::migrate(&writer, now)?;
        let newest = log::newest(&writer)?;
        let readers = (0..READERS).map(|_| source.connect(Access::Read).map(|one| Slot(Some(one))));
        let readers = readers.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            source,
            writer: Mutex::new(Slot(Some(writer))),
            readers: Mutex::new(readers),
            reader_back: Condvar::new(),
            teller: Arc::new(Teller::new(sink, newest)),
            follower: Mutex::new(None),
            snapshots: OnceLock::new(),
        })
    }

    /// Runs `work` for `actor` in one transaction and makes it durable, together with what it says in the audit
    /// ([`Batch::audit`]); then, before the next writer of this
    /// process may begin, tells the sink. What other processes changed before is told first. So the
    /// sink hears changes in the order of the change log, and what a caller was told is done is
    /// served.
    ///
    /// # Errors
    /// Those of `work` and of the database. Nothing was changed then, except that nobody knows after
    /// [`RecordError::Unavailable`]. Who acts for an account that is not served is refused as [`RecordError::Acting`];
    /// work that wrote rows and audited nothing, as [`RecordError::Unaudited`].
    pub(crate) fn write<T, E: From<RecordError>>(
        &self,
        actor: &Actor,
        now: UnixSeconds,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.commit(By::Actor { actor, deeds: 0 }, now, work)
    }

    /// As [`Record::write`], for what the record does for itself and nobody decides: that a blob arrived, that a
    /// snapshot was stored, that something old was dropped. None of it is in the audit.
    ///
    /// # Errors
    /// As [`Record::write`].
    pub(crate) fn keep_house<T, E: From<RecordError>>(
        &self,
        now: UnixSeconds,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.commit(By::House, now, work)
    }

    fn commit<T, E: From<RecordError>>(
        &self,
        by: By<'_>,
        now: UnixSeconds,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut writer = lock(&self.writer);
        let transaction = writer.begin(&self.source, Access::Write)?;
        let before = log::lock(&transaction)?;
        self.teller.catch_up(&transaction, before)?;
        if let By::Actor { actor, .. } = &by {
            acting::check(&transaction, actor)?;
        }
        let written_before = transaction.rows_written();
        let mut batch = Batch { transaction, changes: Vec::new(), wants_snapshot: false, now, by };
        let done = work(&mut batch)?;
        let Batch { transaction, changes, wants_snapshot, by, .. } = batch;
        let mut claimed = None;
        if let By::Actor { actor, deeds } = by
            && transaction.rows_written() != written_before
        {
            if deeds == 0 {
                return Err(RecordError::Unaudited.into());
            }
            // A call that changes something in several transactions is done once by the first.
            claimed = actor.once().filter(|once| !once.is_claimed());
            if let Some(once) = claimed {
                kept::claim(&transaction, actor.name(), once, now)?;
            }
        }
        if !changes.is_empty() {
            transaction.notify(follow::CHANNEL).map_err(RecordError::from)?;
        }
        transaction.commit().map_err(RecordError::from)?;
        claimed.into_iter().for_each(Once::set_claimed);
        self.teller.tell_own(before, changes);
        if wants_snapshot && let Some(wake) = self.snapshots.get() {
            wake();
        }
        Ok(done)
    }

    /// Who is woken when a change was made that only a snapshot tells of: see [`Batch::wants_snapshot`]. Only the first one
    /// is.
    pub(crate) fn wake_for_snapshots(&self, wake: Box<dyn Fn() + Send + Sync>) {
        // A second one would be another set of chores in one process, and there is none.
        let _ = self.snapshots.set(wake);
    }

    /// Runs `work` on one consistent view of the record; waits while all readers are busy.
    ///
    /// # Errors
    /// Those of `work` and of the database.
    pub(crate) fn read<T, E: From<RecordError>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let mut reader = self.borrow_reader();
        let view = reader.slot.begin(&self.source, Access::Read)?;
        work(&view)
    }

    /// As [`Record::read`], on a connection of its own, for work that takes long: a minute of it must not keep other readers
    /// waiting. Whoever calls bounds how many of them there are.
    ///
    /// # Errors
    /// Those of `work` and of the database.
    pub(crate) fn read_apart<T, E: From<RecordError>>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let connection = self.source.connect(Access::Read).map_err(RecordError::from)?;
        let view = connection.transaction(Access::Read).map_err(RecordError::from)?;
        work(&view)
    }

    /// Changes with every change that the sink was told, whichever process made it.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.teller.news()
    }

    /// Tells the sink something that was durable before: the replay at start.
    pub(crate) fn replay(&self, sequence: u64, change: CatalogChange) {
        self.teller.replay(sequence, change);
    }

    /// Tells the sink from now on what other processes change, beginning after the change that the
    /// replay ended with; `retell` tells the state where the log does not reach back to what was told.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn follow(&self, replayed: u64, retell: Retell) -> io::Result<()> {
        self.teller.start_after(replayed);
        if self.source.is_shared() {
            let follower = Follower::start(Arc::clone(&self.source), Arc::clone(&self.teller), retell)?;
            *lock(&self.follower) = Some(follower);
        }
        Ok(())
    }

    fn borrow_reader(&self) -> Borrowed<'_> {
        let mut readers = lock(&self.readers);
        loop {
            if let Some(slot) = readers.pop() {
                return Borrowed { record: self, slot };
            }
            readers = self.reader_back.wait(readers).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A place for a connection, empty after one was lost.
struct Slot(Option<Connection>);

impl Slot {
    /// Begins a transaction, on a new connection if the old one is gone. A server that restarted is
    /// noticed by the first statement only, so that one is tried twice; nothing was asked of the
    /// server before it.
    fn begin(&mut self, source: &Source, access: Access) -> Result<Transaction<'_>, RecordError> {
        let old = self.0.take().filter(Connection::is_usable);
        let begun = match old.map(|connection| connection.begin(access).map(|()| connection)) {
            Some(Err(error)) if error.kind() != SqlErrorKind::Unavailable => return Err(error.into()),
            Some(Ok(connection)) => connection,
            Some(Err(_)) | None => {
                let connection = source.connect(access)?;
                connection.begin(access)?;
                connection
            }
        };
        Ok(Transaction::began(self.0.insert(begun)))
    }
}

/// A reader that goes back when this is dropped, also when the work on it panics: one that was lost
/// would be missed by every later reader.
struct Borrowed<'r> {
    record: &'r Record,
    slot: Slot,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        lock(&self.record.readers).push(Slot(self.slot.0.take()));
        self.record.reader_back.notify_one();
    }
}

impl Batch<'_> {
    /// The transaction, for the statements of the modules below.
    pub(crate) fn connection(&self) -> &Connection {
        &self.transaction
    }
    /// The moment that this change is dated with.
    pub(crate) const fn now(&self) -> UnixSeconds {
        self.now
    }
    /// Writes what is done into the audit, in this transaction. Call it where something is changed, and only there: what
    /// changes nothing is not audited.
    pub(crate) fn audit(&mut self, deed: &audit::Deed) -> Result<(), RecordError> {
        if let By::Actor { actor, deeds } = &mut self.by {
            audit::append(&self.transaction, actor, deed, self.now)?;
            *deeds += 1;
        }
        Ok(())
    }
    /// Appends a change to the log, in this transaction, and to what the sink is told after it.
    pub(crate) fn tell(&mut self, change: CatalogChange) -> Result<(), RecordError> {
        self.tell_entry(log::Entry::new(change)?)
    }
    /// What is changed concerns so many accounts that it is told by a snapshot, which is due from this transaction on and is
    /// made as soon as it is durable.
    pub(crate) fn wants_snapshot(&mut self) -> Result<(), RecordError> {
        next_number(&self.transaction, "imports")?;
        self.wants_snapshot = true;
        Ok(())
    }
    /// As [`Batch::tell`], for an entry that was made before the transaction began.
    pub(crate) fn tell_entry(&mut self, entry: log::Entry) -> Result<(), RecordError> {
        log::append(&self.transaction, &entry, self.now)?;
        self.changes.push(entry.into_change());
        Ok(())
    }
}

/// A lock whose holder panicked is taken all the same: the transaction it held was rolled back
/// when it was dropped.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next number of a counter, handed out inside the transaction that uses it.
pub(crate) fn next_number(connection: &Connection, counter: &'static str) -> Result<i64, RecordError> {
    let sql = "UPDATE counters SET last = last + 1 WHERE name = $1 RETURNING last";
    Ok(connection.query_value(sql, values![counter])?)
}

/// A number as SQL stores it.
pub(crate) fn to_sql(number: u64) -> Result<i64, RecordError> {
    i64::try_from(number).map_err(|_| RecordError::Number(number))
}

/// A number as SQL stored it.
pub(crate) fn from_sql(number: i64) -> Result<u64, RecordError> {
    u64::try_from(number).map_err(|_| RecordError::Damaged { what: "number" })
}

/// A name as SQL stored it.
pub(crate) fn name<N: std::str::FromStr>(text: &str, what: &'static str) -> Result<N, RecordError> {
    text.parse().map_err(|_| RecordError::Damaged { what })
}

/// A blob's name as SQL stored it.
pub(crate) fn blob_id(bytes: &[u8]) -> Result<penstock_core::blob::BlobId, RecordError> {
    penstock_core::blob::BlobId::from_slice(bytes).ok_or(RecordError::Damaged { what: "blob name" })
}

#[cfg(test)]
mod tests;
