//! The SQLite database: connections, transactions, and the order in which edges are told.
//!
//! One connection writes, a few read. Everything here blocks, so it runs on blocking threads only.
//! What a row means is said in the modules below, one per table or pair of tables; this file knows
//! only how a change becomes durable. All SQL has bound parameters (`$1`), and none that only
//! SQLite would understand outside `open_connection`.

pub(crate) mod blobs;
pub(crate) mod channels;
pub(crate) mod products;
pub(crate) mod releases;

use crate::log;
use crate::schema;
use penstock_core::catalog::{CatalogChange, CatalogSink};
use penstock_core::time::UnixSeconds;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Connections that read at once. Each holds its own page cache of up to 2 MiB.
pub(crate) const READERS: usize = 4;
/// How long a statement waits for another process's lock (a backup, a person with `sqlite3`).
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the record could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
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
        /// In the file.
        found: u32,
        /// Known here.
        known: u32,
    },
    /// The disk is full; nothing was changed.
    #[error("the disk with the database is full, nothing was changed")]
    Full(#[source] rusqlite::Error),
    /// The database refused.
    #[error("the database failed")]
    Sql(#[source] rusqlite::Error),
    /// A release refers to a blob that the record does not have.
    #[error("blob {0} is not in the record")]
    NoBlob(penstock_core::blob::BlobId),
    /// A number does not fit a column.
    #[error("{0} is too large for the database")]
    Number(u64),
    /// A row holds what this program never writes.
    #[error("the database holds a {what} that is not one")]
    Damaged {
        /// What should stand there.
        what: &'static str,
    },
}

impl From<rusqlite::Error> for RecordError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full(error),
            _ => Self::Sql(error),
        }
    }
}

/// The database and who is told of its changes.
pub(crate) struct Record {
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    reader_back: Condvar,
    sink: Arc<dyn CatalogSink>,
}

/// One transaction: what it changes, and what edges will be told when it is durable.
pub(crate) struct Batch<'c> {
    transaction: Transaction<'c>,
    changes: Vec<CatalogChange>,
    now: UnixSeconds,
}

impl Record {
    /// Opens or makes the database at `path` and brings it to the newest schema.
    pub(crate) fn open(path: &Path, sink: Arc<dyn CatalogSink>, now: UnixSeconds) -> Result<Self, RecordError> {
        // Made here, because SQLite would make it readable by everyone.
        let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|source| RecordError::Create { path: path.to_owned(), source })?;
        let mut writer = open_connection(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::migrate(&mut writer, now)?;
        let readers = (0..READERS)
            .map(|_| open_connection(path, OpenFlags::SQLITE_OPEN_READ_ONLY))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { writer: Mutex::new(writer), readers: Mutex::new(readers), reader_back: Condvar::new(), sink })
    }

    /// Runs `work` in one transaction and makes it durable; then, before the next writer may
    /// begin, tells the sink. So the sink hears changes in the order of the change log, and what a
    /// caller was told is done is served.
    ///
    /// # Errors
    /// Those of `work` and of the database; nothing was changed then.
    pub(crate) fn write<T, E: From<RecordError>>(
        &self,
        now: UnixSeconds,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut writer = lock(&self.writer);
        let transaction =
            writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(RecordError::from)?;
        let mut batch = Batch { transaction, changes: Vec::new(), now };
        let done = work(&mut batch)?;
        let Batch { transaction, changes, .. } = batch;
        transaction.commit().map_err(RecordError::from)?;
        for change in changes {
            self.sink.apply(change);
        }
        Ok(done)
    }

    /// Runs `work` on one consistent view of the record; waits while all readers are busy.
    ///
    /// # Errors
    /// Those of `work` and of the database.
    pub(crate) fn read<T, E: From<RecordError>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let mut reader = self.borrow_reader();
        read_on(reader.connection.as_mut().expect("it is there until the drop"), work)
    }

    /// Tells the sink something that was durable before: the replay at start.
    pub(crate) fn replay(&self, change: CatalogChange) {
        self.sink.apply(change);
    }

    fn borrow_reader(&self) -> Borrowed<'_> {
        let mut readers = lock(&self.readers);
        loop {
            if let Some(connection) = readers.pop() {
                return Borrowed { record: self, connection: Some(connection) };
            }
            readers = self.reader_back.wait(readers).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A reader that goes back when this is dropped, also when the work on it panics: one that was lost
/// would be missed by every later reader.
struct Borrowed<'r> {
    record: &'r Record,
    connection: Option<Connection>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        lock(&self.record.readers).extend(self.connection.take());
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
    /// Appends a change to the log, in this transaction, and to what the sink is told after it.
    pub(crate) fn tell(&mut self, change: CatalogChange) -> Result<(), RecordError> {
        self.tell_entry(log::Entry::new(change)?)
    }
    /// As [`Batch::tell`], for an entry that was made before the transaction began.
    pub(crate) fn tell_entry(&mut self, entry: log::Entry) -> Result<(), RecordError> {
        log::append(&self.transaction, &entry, self.now)?;
        self.changes.push(entry.into_change());
        Ok(())
    }
}

fn read_on<T, E: From<RecordError>>(
    reader: &mut Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let view = reader.transaction_with_behavior(TransactionBehavior::Deferred).map_err(RecordError::from)?;
    work(&view)
}

fn open_connection(path: &Path, mode: OpenFlags) -> Result<Connection, RecordError> {
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    if mode.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
        // WAL: readers never wait for the writer. FULL: an acknowledged change survives a power cut.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// A lock whose holder panicked is taken all the same: the transaction it held was rolled back
/// when it was dropped.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next number of a counter, handed out inside the transaction that uses it.
pub(crate) fn next_number(connection: &Connection, counter: &'static str) -> Result<i64, RecordError> {
    let mut statement =
        connection.prepare_cached("UPDATE counters SET last = last + 1 WHERE name = $1 RETURNING last")?;
    Ok(statement.query_row([counter], |row| row.get(0))?)
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
mod tests {
    use super::*;
    use penstock_core::catalog::{AccessClass, Product};
    use penstock_core::id::ProductId;
    use std::os::unix::fs::PermissionsExt as _;

    const NOW: UnixSeconds = UnixSeconds(5);

    #[derive(Default)]
    struct Heard(Mutex<Vec<CatalogChange>>);

    impl CatalogSink for Heard {
        fn apply(&self, change: CatalogChange) {
            lock(&self.0).push(change);
        }
    }

    fn product(id: &str, title: &str) -> Product {
        let id = ProductId::new(id).expect("name");
        Product { id, title: title.to_owned(), access: AccessClass::Open, export_class: String::new() }
    }

    fn add(record: &Record, product: &Product) -> Result<(), RecordError> {
        record.write(NOW, |batch| {
            products::put(batch.connection(), product, batch.now())?;
            batch.tell(CatalogChange::Product(product.clone()))
        })
    }

    fn newest(record: &Record) -> u64 {
        record.read::<_, RecordError>(log::newest).expect("read")
    }

    fn opened() -> (tempfile::TempDir, Record, Arc<Heard>) {
        let dir = tempfile::tempdir().expect("temp dir");
        let heard = Arc::new(Heard::default());
        let record = Record::open(&dir.path().join("c.sqlite"), Arc::clone(&heard) as _, NOW).expect("opens");
        (dir, record, heard)
    }

    #[test]
    fn the_database_is_private_durable_and_its_readers_cannot_write() {
        let (dir, record, _) = opened();
        let mode = std::fs::metadata(dir.path().join("c.sqlite")).expect("file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let pragma = |connection: &Connection, name: &str| {
            connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).expect("pragma")
        };
        let writer = lock(&record.writer);
        assert_eq!(pragma(&writer, "journal_mode"), rusqlite::types::Value::Text("wal".to_owned()));
        assert_eq!(pragma(&writer, "synchronous"), rusqlite::types::Value::Integer(2));
        assert_eq!(pragma(&writer, "foreign_keys"), rusqlite::types::Value::Integer(1));
        drop(writer);
        let refused = record.read(|connection| {
            connection.execute("UPDATE counters SET last = 9", [])?;
            Ok::<_, RecordError>(())
        });
        assert!(matches!(refused, Err(RecordError::Sql(_))));
    }

    #[test]
    fn what_fails_is_not_told_and_takes_no_number() {
        let (_dir, record, heard) = opened();
        add(&record, &product("a", "")).expect("added");
        let failed: Result<(), RecordError> = record.write(NOW, |batch| {
            batch.tell(CatalogChange::Product(product("b", "")))?;
            Err(RecordError::Damaged { what: "test" })
        });
        assert!(failed.is_err());
        assert_eq!((newest(&record), lock(&heard.0).len()), (1, 1));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            record.write::<(), RecordError>(NOW, |batch| {
                batch.tell(CatalogChange::Product(product("c", "")))?;
                panic!("in the middle")
            })
        }));
        assert!(panicked.is_err());
        add(&record, &product("d", "")).expect("the record goes on after a panic");
        assert_eq!((newest(&record), lock(&heard.0).len()), (2, 2));
    }

    #[test]
    fn a_full_disk_changes_nothing_and_is_said() {
        let (_dir, record, heard) = opened();
        add(&record, &product("a", "")).expect("added");
        let pages: i64 =
            lock(&record.writer).pragma_query_value(None, "page_count", |row| row.get(0)).expect("page count");
        lock(&record.writer).pragma_update(None, "max_page_count", pages).expect("no more room");
        let error = add(&record, &product("b", &"x".repeat(64 << 10))).expect_err("full");
        assert!(matches!(error, RecordError::Full(_)), "{error:?}");
        assert_eq!((newest(&record), lock(&heard.0).len()), (1, 1));
        lock(&record.writer).pragma_update(None, "max_page_count", pages + 1000).expect("room again");
        add(&record, &product("b", &"x".repeat(64 << 10))).expect("goes on");
        assert_eq!(newest(&record), 2);
    }

    /// Each panic lost a connection once, and when all were lost every read waited for ever.
    #[test]
    fn work_that_panics_gives_its_reader_back() {
        let (_dir, record, _) = opened();
        add(&record, &product("a", "")).expect("added");
        for _ in 0..2 * READERS {
            let work = || record.read::<(), RecordError>(|_| panic!("on purpose"));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
            assert_eq!(lock(&record.readers).len(), READERS);
        }
        assert_eq!(newest(&record), 1);
    }

    #[test]
    fn a_file_that_is_no_database_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("c.sqlite");
        let junk = b"this is somebody's text, and longer than a database's head is, so that it is looked at".repeat(20);
        std::fs::write(&path, &junk).expect("write");
        assert!(matches!(Record::open(&path, Arc::new(Heard::default()), NOW), Err(RecordError::Sql(_))));
        assert_eq!(std::fs::read(&path).expect("read"), junk);
        let nowhere = dir.path().join("no/such/dir.sqlite");
        assert!(matches!(Record::open(&nowhere, Arc::new(Heard::default()), NOW), Err(RecordError::Create { .. })));
    }

    #[test]
    fn more_readers_than_connections_take_turns() {
        let (_dir, record, _) = opened();
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 * READERS {
                scope.spawn(|| {
                    for _ in 0..50 {
                        record
                            .read(|connection| {
                                let now = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                                assert!(now <= READERS);
                                let found = products::list(connection)?;
                                inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                                Ok::<_, RecordError>(found)
                            })
                            .expect("read");
                    }
                });
            }
        });
        assert_eq!(lock(&record.readers).len(), READERS);
    }
}
