//! SQLite: one file, one process, nothing to install.

use super::{Access, Cell, LOCK_WAIT_MAX, Row, STATEMENTS_MAX, SqlError, SqlErrorKind, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, ToSql};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The most that the write-ahead log keeps of its length once it was checkpointed.
const JOURNAL_BYTES_MAX: i64 = 64 << 20;

/// An open file.
pub(crate) struct Session(Connection);

/// Makes the file when it is not there: SQLite would make it readable by everyone.
pub(crate) fn make_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

impl Session {
    pub(super) fn open(path: &Path, access: Access) -> Result<Self, SqlError> {
        let mode = match access {
            Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(LOCK_WAIT_MAX)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        if access == Access::Write {
            // WAL: readers never wait for the writer. FULL: an acknowledged change survives a power cut.
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES_MAX)?;
        }
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(Self(connection))
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, SqlError> {
        let mut statement = self.0.prepare_cached(sql)?;
        bind(&mut statement, sql, values)?;
        Ok(statement.raw_execute()? as u64)
    }

    pub(super) fn rows_written(&self) -> u64 {
        self.0.total_changes()
    }

    pub(super) fn execute_script(&self, sql: &str) -> Result<(), SqlError> {
        Ok(self.0.execute_batch(sql)?)
    }

    pub(super) fn for_each<E: From<SqlError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut statement = self.0.prepare_cached(sql).map_err(SqlError::from)?;
        bind(&mut statement, sql, values)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(SqlError::from)? {
            read(&Row::Sqlite(row))?;
        }
        Ok(())
    }

    pub(super) fn begin(&self, access: Access) -> Result<(), SqlError> {
        self.execute_script(match access {
            Access::Read => "BEGIN DEFERRED",
            Access::Write => "BEGIN IMMEDIATE",
        })
    }

    pub(super) fn roll_back(&self) {
        // SQLite ends a transaction by itself after some errors, such as a full disk.
        if !self.0.is_autocommit()
            && let Err(error) = self.0.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction cannot be rolled back");
        }
    }

    /// The connection itself, for tests that look behind this layer.
    #[cfg(test)]
    pub(crate) const fn raw(&self) -> &Connection {
        &self.0
    }
}

/// SQLite takes `$1` for a name and numbers parameters by where they first stand, so values are bound
/// in that order. It is read from the text: SQLite finds a name by walking a list of them, and
/// statements with many rows have thousands.
fn bind(statement: &mut CachedStatement<'_>, sql: &str, values: &[Value<'_>]) -> Result<(), SqlError> {
    let mut is_bound = vec![false; values.len()];
    let mut next = 1;
    for text in sql.split('$').skip(1) {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let index = text[..digits].parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let found = index.and_then(|index| Some((values.get(index)?, is_bound.get_mut(index)?)));
        let (value, is_bound) =
            found.ok_or_else(|| SqlError::new(SqlErrorKind::Other, "a parameter is not $1 to $n"))?;
        if !std::mem::replace(is_bound, true) {
            statement.raw_bind_parameter(next, value)?;
            next += 1;
        }
    }
    let count = statement.parameter_count();
    if count != values.len() || next != count + 1 {
        let text = format!("the statement has {count} parameters, {} values are given", values.len());
        return Err(SqlError::new(SqlErrorKind::Other, text));
    }
    Ok(())
}

/// What stands in a column.
pub(super) fn cell<'r>(row: &'r rusqlite::Row<'_>, index: usize) -> Result<Cell<'r>, SqlError> {
    let not_ours = |what: &str| SqlError::new(SqlErrorKind::Other, format!("column {index} holds {what}"));
    Ok(match row.get_ref(index)? {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Text(text) => Cell::Text(std::str::from_utf8(text).map_err(|_| not_ours("text that is not UTF-8"))?),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes),
        ValueRef::Real(_) => return Err(not_ours("a real number")),
    })
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ffi::{
            SQLITE_CONSTRAINT_FOREIGNKEY, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID,
            SQLITE_CONSTRAINT_UNIQUE,
        };
        let kind = match error.sqlite_error().map(|cause| (cause.code, cause.extended_code)) {
            Some((ErrorCode::DiskFull, _)) => SqlErrorKind::Full,
            Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => SqlErrorKind::Busy,
            Some((_, SQLITE_CONSTRAINT_FOREIGNKEY)) => SqlErrorKind::ForeignKey,
            Some((_, SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_ROWID)) => {
                SqlErrorKind::Unique
            }
            _ => SqlErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
