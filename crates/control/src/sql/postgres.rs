//! PostgreSQL: a server that any number of nodes share.
//!
//! The client drives its connection only while it is called, each call on a blocking thread.

use super::{Access, Cell, LOCK_WAIT_MAX, Row, STATEMENTS_MAX, SqlError, SqlErrorKind, Value};
use bytes::BytesMut;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator as _;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, NoTls, Statement};
use std::cell::{Cell as Flag, RefCell};
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::mem::ManuallyDrop;
use std::time::Duration;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a connection may take to be made, each host of the URL by itself.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long the peer may leave bytes unacknowledged before the connection is given up.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a writer may think between two statements. It holds the lock that all writers need, and
/// its machine may have died without a word.
const WRITER_IDLE_MAX: Duration = Duration::from_secs(60);

/// A server that was named, and how to speak to it.
pub(crate) struct Server {
    pub(super) config: Config,
    pub(super) encryption: Encryption,
}

/// How the bytes travel.
pub(super) enum Encryption {
    Plain,
    Tls(MakeRustlsConnect),
}

/// A connection to the server.
pub(crate) struct Session {
    /// Taken by the drop and by nothing else.
    client: RefCell<Option<Client>>,
    statements: RefCell<HashMap<String, Statement>>,
    /// A statement of the present transaction failed: the server answers its commit by rolling it
    /// back, and calls that a success.
    has_failed: Flag<bool>,
    /// The transaction could not even be rolled back.
    is_lost: Flag<bool>,
    rows_written: Flag<u64>,
}

impl Session {
    pub(super) fn open(server: &Server, access: Access) -> Result<Self, SqlError> {
        let client = match &server.encryption {
            Encryption::Plain => server.config.connect(NoTls),
            Encryption::Tls(tls) => server.config.connect(tls.clone()),
        };
        // Whatever kept it from being made: there is no connection, and there may be one later.
        let client = client.map_err(|error| SqlError::new(SqlErrorKind::Unavailable, error))?;
        let session = Self {
            client: RefCell::new(Some(client)),
            statements: RefCell::default(),
            has_failed: Flag::new(false),
            is_lost: Flag::new(false),
            rows_written: Flag::new(0),
        };
        session.set_up(access)?;
        Ok(session)
    }

    fn set_up(&self, access: Access) -> Result<(), SqlError> {
        let mut setup = format!("SET lock_timeout = {};", LOCK_WAIT_MAX.as_millis());
        if access == Access::Write {
            // A server may be set up to acknowledge what a crash would lose; this one must not.
            setup.push_str(
                "SELECT set_config('synchronous_commit', 'on', false)
                 WHERE current_setting('synchronous_commit') = 'off';
                 SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;",
            );
            let idle_ms = WRITER_IDLE_MAX.as_millis();
            setup.push_str(&format!("SET idle_in_transaction_session_timeout = {idle_ms};"));
        }
        self.execute_script(&setup)?;
        let mut is_utf8 = false;
        self.for_each::<SqlError>("SELECT current_setting('server_encoding')", &[], |row| {
            is_utf8 = row.get::<String>(0)? == "UTF8";
            Ok(())
        })?;
        if is_utf8 { Ok(()) } else { Err(SqlError::new(SqlErrorKind::Other, "the database's encoding is not UTF8")) }
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, SqlError> {
        let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        let rows = self.run(|client| {
            let statement = self.prepared(client, sql)?;
            client.execute(&statement, &parameters)
        })?;
        self.rows_written.set(self.rows_written.get() + rows);
        Ok(rows)
    }

    pub(super) fn rows_written(&self) -> u64 {
        self.rows_written.get()
    }

    pub(super) fn execute_script(&self, sql: &str) -> Result<(), SqlError> {
        self.run(|client| client.batch_execute(sql))
    }

    pub(super) fn for_each<E: From<SqlError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut refused = None;
        self.run(|client| {
            let statement = self.prepared(client, sql)?;
            let mut rows = client.query_raw(&statement, values)?;
            while let Some(row) = rows.next()? {
                if let Err(error) = read(&Row::Postgres(&row)) {
                    refused = Some(error);
                    break;
                }
            }
            Ok(())
        })?;
        refused.map_or(Ok(()), Err)
    }

    pub(super) fn begin(&self, access: Access) -> Result<(), SqlError> {
        self.execute_script(match access {
            Access::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Access::Write => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        })?;
        self.has_failed.set(false);
        Ok(())
    }

    pub(super) fn commit(&self) -> Result<(), SqlError> {
        if self.has_failed.get() {
            return Err(SqlError::new(SqlErrorKind::Other, "a statement of the transaction failed before"));
        }
        self.execute_script("COMMIT")
    }

    pub(super) fn roll_back(&self) {
        if self.execute_script("ROLLBACK").is_err() {
            self.is_lost.set(true);
        }
        self.has_failed.set(false);
    }

    pub(super) fn roll_back_to(&self, savepoint: &str) -> Result<(), SqlError> {
        self.execute_script(&format!("ROLLBACK TO SAVEPOINT {savepoint}"))?;
        self.has_failed.set(false);
        Ok(())
    }

    pub(super) fn lock_database(&self, key: i64, wait_max: Duration) -> Result<(), SqlError> {
        self.execute_script(&format!("SET LOCAL lock_timeout = {}", wait_max.as_millis()))?;
        self.execute_script(&format!("SELECT pg_advisory_xact_lock({key})"))
    }

    pub(super) fn notify(&self, channel: &str) -> Result<(), SqlError> {
        self.execute("SELECT pg_notify($1, '')", &[Value::Text(channel)]).map(drop)
    }

    pub(super) fn wait(&self, at_most: Duration) -> Result<(), SqlError> {
        self.run(|client| {
            let mut notifications = client.notifications();
            notifications.timeout_iter(at_most).next()?;
            // What else came is the same news.
            let mut more = notifications.iter();
            while more.next()?.is_some() {}
            Ok(())
        })
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.is_lost.get()
            && self.client.try_borrow().is_ok_and(|client| client.as_ref().is_some_and(|one| !one.is_closed()))
    }

    /// Runs something on the client and notes what its failure means for the transaction.
    fn run<T>(&self, work: impl FnOnce(&mut Client) -> Result<T, postgres::Error>) -> Result<T, SqlError> {
        let in_use = |_| SqlError::new(SqlErrorKind::Other, "the connection is in the middle of another statement");
        let mut client = self.client.try_borrow_mut().map_err(in_use)?;
        let client = client.as_mut().expect("it is there until the drop");
        work(client).map_err(|error| {
            self.has_failed.set(true);
            if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) {
                // A migration by another process made prepared statements outdated.
                self.statements.borrow_mut().clear();
            }
            SqlError::from(error)
        })
    }

    fn prepared(&self, client: &mut Client, sql: &str) -> Result<Statement, postgres::Error> {
        let mut statements = self.statements.borrow_mut();
        if let Some(statement) = statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(sql)?;
        if statements.len() >= STATEMENTS_MAX {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

impl Drop for Session {
    /// Says goodbye on a thread of its own: the client blocks while it does, and panics where tokio
    /// forbids that.
    fn drop(&mut self) {
        self.statements.get_mut().clear();
        let Some(client) = self.client.get_mut().take() else { return };
        // Not dropped by a thread that never starts: the connection leaks then, which is less bad.
        let client = ManuallyDrop::new(client);
        let goodbye = move || drop(ManuallyDrop::into_inner(client));
        if let Err(error) = std::thread::Builder::new().name("postgres-goodbye".to_owned()).spawn(goodbye) {
            tracing::warn!(%error, "a connection to the database is left open");
        }
    }
}

/// A script in PostgreSQL's words. Two things differ: bytes are `BYTEA`, and text is compared byte
/// by byte as SQLite does, whatever the database's locale, so that pages and lists have one order.
///
/// A script must therefore write its types in capitals and use those two words for nothing else.
pub(super) fn dialect(script: &str) -> String {
    let mut text = String::with_capacity(script.len() * 2);
    let mut rest = script;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        let word = &rest[start..];
        let length = word.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(word.len());
        text.push_str(&rest[..start]);
        text.push_str(match &word[..length] {
            "BLOB" => "BYTEA",
            "TEXT" => "TEXT COLLATE \"C\"",
            other => other,
        });
        rest = &word[length..];
    }
    text.push_str(rest);
    text
}

/// What stands in a column.
pub(super) fn cell(row: &postgres::Row, index: usize) -> Result<Cell<'_>, SqlError> {
    let column = row.columns().get(index);
    let kind = column.map(postgres::Column::type_);
    let kind = kind.ok_or_else(|| SqlError::new(SqlErrorKind::Other, format!("there is no column {index}")))?;
    let number = |number: Option<i64>| number.map_or(Cell::Null, Cell::Integer);
    Ok(match *kind {
        Type::INT8 => number(row.try_get(index)?),
        Type::INT4 => number(row.try_get::<_, Option<i32>>(index)?.map(i64::from)),
        Type::INT2 => number(row.try_get::<_, Option<i16>>(index)?.map(i64::from)),
        Type::BOOL => number(row.try_get::<_, Option<bool>>(index)?.map(i64::from)),
        Type::TEXT | Type::VARCHAR | Type::NAME => {
            row.try_get::<_, Option<&str>>(index)?.map_or(Cell::Null, Cell::Text)
        }
        Type::BYTEA => row.try_get::<_, Option<&[u8]>>(index)?.map_or(Cell::Null, Cell::Bytes),
        _ => return Err(SqlError::new(SqlErrorKind::Other, format!("column {index} has type {kind}"))),
    })
}

impl ToSql for Value<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self, kind) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Integer(number), &Type::INT4) => i32::try_from(*number)?.to_sql(kind, out),
            (Self::Integer(number), &Type::INT8) => number.to_sql(kind, out),
            (Self::Text(text), &(Type::TEXT | Type::VARCHAR)) => text.to_sql(kind, out),
            (Self::Bytes(bytes), &Type::BYTEA) => bytes.to_sql(kind, out),
            _ => Err(format!("a parameter of type {kind} cannot hold {self:?}").into()),
        }
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    to_sql_checked!();
}

impl From<postgres::Error> for SqlError {
    fn from(error: postgres::Error) -> Self {
        let kind = match error.code() {
            Some(state) => meaning(state),
            None if error.is_closed() || error.source().is_some_and(<dyn Error>::is::<io::Error>) => {
                SqlErrorKind::Unavailable
            }
            None => SqlErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// What a code of PostgreSQL's appendix A means here.
fn meaning(state: &SqlState) -> SqlErrorKind {
    match state.code() {
        "53100" => SqlErrorKind::Full,
        "23505" => SqlErrorKind::Unique,
        "23503" => SqlErrorKind::ForeignKey,
        // Serialization failure, deadlock, lock not available, canceled by a timeout or a person.
        "40001" | "40P01" | "55P03" | "57014" => SqlErrorKind::Busy,
        // Connection exceptions, insufficient resources, operator intervention, idle for too long.
        code if ["08", "53", "57"].iter().any(|class| code.starts_with(class)) || code == "25P03" => {
            SqlErrorKind::Unavailable
        }
        _ => SqlErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_changes_types_and_nothing_else() {
        let script = "CREATE TABLE t (\n    a TEXT NOT NULL, -- TEXTS and BLOBS stay\n    b BLOB\n);\n";
        let expected =
            "CREATE TABLE t (\n    a TEXT COLLATE \"C\" NOT NULL, -- TEXTS and BLOBS stay\n    b BYTEA\n);\n";
        assert_eq!(dialect(script), expected);
        assert_eq!(dialect("BLOB"), "BYTEA");
    }

    #[test]
    fn codes_say_what_a_caller_can_do() {
        let cases = [
            ("53100", SqlErrorKind::Full),
            ("23505", SqlErrorKind::Unique),
            ("23503", SqlErrorKind::ForeignKey),
            ("40001", SqlErrorKind::Busy),
            ("40P01", SqlErrorKind::Busy),
            ("55P03", SqlErrorKind::Busy),
            ("57P01", SqlErrorKind::Unavailable),
            ("53300", SqlErrorKind::Unavailable),
            ("08006", SqlErrorKind::Unavailable),
            ("42601", SqlErrorKind::Other),
            ("25006", SqlErrorKind::Other),
        ];
        for (code, expected) in cases {
            assert_eq!(meaning(&SqlState::from_code(code)), expected, "{code}");
        }
    }
}
