//! SQL on two engines: connections, transactions, statements, rows, and what an error means.
//!
//! Owns the difference between SQLite and PostgreSQL, one small file for each, so that everything
//! above writes one statement for both. What that asks of a statement:
//!
//! * parameters are `$1`, `$2`, … and bound with [`values`]; no text from outside becomes SQL;
//! * columns are `BIGINT`, `TEXT` and `BLOB`; a flag is a `BIGINT` that is 0 or 1;
//! * sums are cast (`CAST(SUM(x) AS BIGINT)`), and a parameter stands where its type is evident,
//!   beside a column: `VALUES ($1)` alone is text to PostgreSQL.
//!
//! It must not know a table. Everything here blocks.

mod address;
mod postgres;
mod sqlite;

pub use address::AddressError;
pub(crate) use sqlite::make_file;

use crate::secret::SecretText;
use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

/// How long a statement waits for somebody else's lock: another node's change, a backup, a person
/// at a prompt.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
/// Prepared statements kept for each connection.
const STATEMENTS_MAX: usize = 64;

/// Which database is the system of record.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file, made when it is not there. For one process.
    Sqlite(PathBuf),
    /// A server's URL, `postgres://…`; secret, because it may hold a password. For any number of
    /// processes.
    ///
    /// `sslmode` may be `disable`, or `verify-full` with the platform's authorities or those of
    /// `sslrootcert=FILE`; `require` means the same, because a certificate that nobody checks
    /// protects from nobody. Without it, TLS is asked of every server that is not on this machine.
    Postgres(SecretText),
}

/// What a failure of the engine means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SqlErrorKind {
    /// The disk is full.
    Full,
    /// Somebody else's transaction was in the way for too long.
    Busy,
    /// A row with this key is there already.
    Unique,
    /// A row that is referred to is not there.
    ForeignKey,
    /// The server cannot be reached or went away. A commit that was under way may have happened.
    Unavailable,
    /// A fault of ours, or a damaged database.
    Other,
}

/// Why a statement failed.
#[derive(Debug)]
pub struct SqlError {
    kind: SqlErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl SqlError {
    pub(crate) fn new(kind: SqlErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source: Some(source.into()) }
    }
    pub(crate) const fn kind(&self) -> SqlErrorKind {
        self.kind
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            SqlErrorKind::Full => "no room is left",
            SqlErrorKind::Busy => "another change was in the way",
            SqlErrorKind::Unique => "the key is taken",
            SqlErrorKind::ForeignKey => "what is referred to is not there",
            SqlErrorKind::Unavailable => "there is no connection",
            SqlErrorKind::Other => "the statement failed",
        })
    }
}

impl Error for SqlError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|error| error as _)
    }
}

/// What a connection may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Where connections come from.
pub(crate) enum Source {
    Sqlite(PathBuf),
    Postgres(Box<postgres::Server>),
}

impl Source {
    /// Checks the address; connects to nothing.
    pub(crate) fn new(database: &Database) -> Result<Self, AddressError> {
        match database {
            Database::Sqlite(path) => Ok(Self::Sqlite(path.clone())),
            Database::Postgres(url) => Ok(Self::Postgres(Box::new(address::parse(url)?))),
        }
    }
    /// A new connection.
    pub(crate) fn connect(&self, access: Access) -> Result<Connection, SqlError> {
        Ok(match self {
            Self::Sqlite(path) => Connection::Sqlite(sqlite::Session::open(path, access)?),
            Self::Postgres(server) => Connection::Postgres(Box::new(postgres::Session::open(server, access)?)),
        })
    }
    /// Whether other processes write too.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

/// A connection. Statements outside a [`Transaction`] are transactions of their own.
pub(crate) enum Connection {
    Sqlite(sqlite::Session),
    Postgres(Box<postgres::Session>),
}

impl Connection {
    /// Runs a statement and returns how many rows it wrote.
    pub(crate) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, SqlError> {
        match self {
            Self::Sqlite(session) => session.execute(sql, values),
            Self::Postgres(session) => session.execute(sql, values),
        }
    }

    /// How many rows [`Connection::execute`] wrote since the connection was made.
    pub(crate) fn rows_written(&self) -> u64 {
        match self {
            Self::Sqlite(session) => session.rows_written(),
            Self::Postgres(session) => session.rows_written(),
        }
    }

    /// Runs statements without parameters, separated by semicolons.
    pub(crate) fn execute_script(&self, sql: &str) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(session) => session.execute_script(sql),
            Self::Postgres(session) => session.execute_script(sql),
        }
    }

    /// Hands every row to `read` as it arrives, so that the rows need not fit in memory. `read`
    /// cannot use the connection.
    pub(crate) fn for_each<E: From<SqlError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Sqlite(session) => session.for_each(sql, values, read),
            Self::Postgres(session) => session.for_each(sql, values, read),
        }
    }

    /// What `read` makes of each row.
    pub(crate) fn query<T, E: From<SqlError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let mut rows = Vec::new();
        self.for_each(sql, values, |row| {
            rows.push(read(row)?);
            Ok::<_, E>(())
        })?;
        Ok(rows)
    }

    /// What `read` makes of the first row, if there is one.
    pub(crate) fn query_optional<T, E: From<SqlError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(&Row<'_>) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        Ok(self.query(sql, values, read)?.into_iter().next())
    }

    /// The first column of the only row.
    pub(crate) fn query_value<T: Column>(&self, sql: &str, values: &[Value<'_>]) -> Result<T, SqlError> {
        let found = self.query_optional(sql, values, |row| row.get(0))?;
        found.ok_or_else(|| SqlError::new(SqlErrorKind::Other, "there is no row"))
    }

    /// Begins a transaction, which [`Transaction::began`] then stands for. One that reads sees one
    /// state of the database. One that writes sees what is committed when each of its statements
    /// begins, and what others must not change meanwhile it locks; on SQLite it is the only writer.
    pub(crate) fn begin(&self, access: Access) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(session) => session.begin(access),
            Self::Postgres(session) => session.begin(access),
        }
    }

    /// Begins a transaction that ends with the value returned.
    pub(crate) fn transaction(&self, access: Access) -> Result<Transaction<'_>, SqlError> {
        self.begin(access)?;
        Ok(Transaction::began(self))
    }

    /// Runs `work` so that its failure leaves the transaction around it as it was before, and fit to
    /// go on. PostgreSQL refuses every statement after one that failed otherwise.
    pub(crate) fn attempt<T, E: From<SqlError>>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.execute_script("SAVEPOINT attempt")?;
        let result = work();
        if result.is_err() {
            match self {
                Self::Sqlite(session) => session.execute_script("ROLLBACK TO SAVEPOINT attempt")?,
                Self::Postgres(session) => session.roll_back_to("attempt")?,
            }
        }
        self.execute_script("RELEASE SAVEPOINT attempt")?;
        result
    }

    /// Lets one process at a time go on in its transaction; `key` is any number.
    pub(crate) fn lock_database(&self, key: i64, wait_max: Duration) -> Result<(), SqlError> {
        match self {
            // The transaction is the only one that writes.
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.lock_database(key, wait_max),
        }
    }

    /// What a `SELECT` ends with to keep others from changing its rows until the transaction ends.
    pub(crate) const fn for_update(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => " FOR UPDATE",
        }
    }

    /// Wakes those who listen to `channel` when the transaction is committed.
    pub(crate) fn notify(&self, channel: &str) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.notify(channel),
        }
    }

    /// From now on [`Connection::wait`] returns when somebody notifies `channel`, a plain name.
    pub(crate) fn listen(&self, channel: &str) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.execute_script(&format!("LISTEN {channel}")),
        }
    }

    /// Waits for a notification, but not longer than this.
    pub(crate) fn wait(&self, at_most: Duration) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(_) => {
                std::thread::park_timeout(at_most);
                Ok(())
            }
            Self::Postgres(session) => session.wait(at_most),
        }
    }

    /// The text of a migration as this engine takes it: see [`postgres::dialect`].
    pub(crate) fn dialect(&self, script: &str) -> String {
        match self {
            Self::Sqlite(_) => script.to_owned(),
            Self::Postgres(_) => postgres::dialect(script),
        }
    }

    /// False once the connection is lost, or in a state that nobody knows.
    pub(crate) fn is_usable(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(session) => session.is_usable(),
        }
    }

    fn roll_back(&self) {
        match self {
            Self::Sqlite(session) => session.roll_back(),
            Self::Postgres(session) => session.roll_back(),
        }
    }
}

/// A transaction: rolled back when it is dropped, unless it was committed.
pub(crate) struct Transaction<'c> {
    connection: &'c Connection,
    is_open: bool,
}

impl<'c> Transaction<'c> {
    /// Stands for the transaction that [`Connection::begin`] began.
    pub(crate) const fn began(connection: &'c Connection) -> Self {
        Self { connection, is_open: true }
    }
    /// Makes it durable. After [`SqlErrorKind::Unavailable`] nobody knows whether it was.
    pub(crate) fn commit(mut self) -> Result<(), SqlError> {
        match self.connection {
            Connection::Sqlite(session) => session.execute_script("COMMIT")?,
            Connection::Postgres(session) => session.commit()?,
        }
        self.is_open = false;
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.connection.roll_back();
        }
    }
}

/// A value bound to a parameter. `Debug` says what kind it is and not what it holds, because it may
/// be somebody's secret.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Integer(_) => "Integer(…)",
            Self::Text(_) => "Text(…)",
            Self::Bytes(_) => "Bytes(…)",
        })
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Values for the parameters `$1`, `$2`, … of a statement, in this order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::sql::Value::from($value)),*] };
}
pub(crate) use values;

/// A row, while it is looked at.
pub(crate) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r ::postgres::Row),
}

/// What stands in a column of a row.
pub(crate) enum Cell<'r> {
    Null,
    Integer(i64),
    Text(&'r str),
    Bytes(&'r [u8]),
}

impl Row<'_> {
    /// One column, counted from 0.
    pub(crate) fn get<T: Column>(&self, index: usize) -> Result<T, SqlError> {
        let cell = match self {
            Self::Sqlite(row) => sqlite::cell(row, index)?,
            Self::Postgres(row) => postgres::cell(row, index)?,
        };
        let wrong = || SqlError::new(SqlErrorKind::Other, format!("column {index} holds another type"));
        T::from_cell(&cell).ok_or_else(wrong)
    }
}

/// A type that a column can be read as.
pub(crate) trait Column: Sized {
    /// `None` when the column holds something else.
    fn from_cell(cell: &Cell<'_>) -> Option<Self>;
}

impl Column for i64 {
    fn from_cell(cell: &Cell<'_>) -> Option<Self> {
        if let Cell::Integer(number) = cell { Some(*number) } else { None }
    }
}

impl Column for bool {
    fn from_cell(cell: &Cell<'_>) -> Option<Self> {
        i64::from_cell(cell).map(|number| number != 0)
    }
}

impl Column for String {
    fn from_cell(cell: &Cell<'_>) -> Option<Self> {
        if let Cell::Text(text) = cell { Some((*text).to_owned()) } else { None }
    }
}

impl Column for Vec<u8> {
    fn from_cell(cell: &Cell<'_>) -> Option<Self> {
        if let Cell::Bytes(bytes) = cell { Some(bytes.to_vec()) } else { None }
    }
}

impl<T: Column> Column for Option<T> {
    fn from_cell(cell: &Cell<'_>) -> Option<Self> {
        if matches!(cell, Cell::Null) { Some(None) } else { T::from_cell(cell).map(Some) }
    }
}

/// `($1, $2), ($3, $4)` for `rows` rows of `columns` values: many rows in one statement, because
/// each statement is a journey to the server and back.
pub(crate) fn placeholders(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * (columns * 6 + 3));
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            text.push_str(if column == 1 { "$" } else { ", $" });
            text.push_str(&(row * columns + column).to_string());
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
pub(crate) mod tests;
