//! Both engines behind one layer: what one promises, the other keeps.

use super::*;
use crate::record::RecordError;
use penstock_testkit::PostgresServer;
use std::collections::HashSet;

/// An empty database on each engine, for tests of this crate. The directory is SQLite's.
pub(crate) fn databases() -> Vec<(tempfile::TempDir, Database)> {
    let dir = tempfile::tempdir().expect("temp dir");
    vec![sqlite(), (dir, Database::Postgres(SecretText::new(PostgresServer::shared().database())))]
}

/// An empty SQLite database, for what only it can do.
pub(crate) fn sqlite() -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("c.sqlite");
    (dir, Database::Sqlite(path))
}

/// A connection that may write, on each engine.
pub(crate) fn writers() -> Vec<(tempfile::TempDir, Source, Connection)> {
    let open = |(dir, database): (tempfile::TempDir, Database)| {
        if let Database::Sqlite(path) = &database {
            make_file(path).expect("file");
        }
        let source = Source::new(&database).expect("address");
        let connection = source.connect(Access::Write).expect("connects");
        (dir, source, connection)
    };
    databases().into_iter().map(open).collect()
}

fn count(connection: &Connection, table: &str) -> i64 {
    connection.query_value(&format!("SELECT COUNT(*) FROM {table}"), &[]).expect("count")
}

#[test]
fn values_come_back_as_they_went_in() {
    for (_dir, _source, db) in writers() {
        db.execute_script(&db.dialect("CREATE TABLE t (n BIGINT, a TEXT, b BLOB)")).expect("table");
        let sql = "INSERT INTO t (b, a, n) VALUES ($3, $2, $1)";
        let bytes: &[u8] = &[0, 255, 10];
        assert_eq!(db.execute(sql, values![i64::MIN, "ä\u{10ffff}'--", bytes]).expect("row"), 1);
        db.execute(sql, values![7, "", &[0u8; 0]]).expect("empty is not nothing");
        db.execute(sql, &[Value::Null; 3]).expect("nothing");
        let rows = db
            .query("SELECT n, a, b FROM t ORDER BY b DESC", &[], |row| {
                Ok::<_, SqlError>((
                    row.get::<Option<i64>>(0)?,
                    row.get::<Option<String>>(1)?,
                    row.get::<Option<Vec<u8>>>(2)?,
                ))
            })
            .expect("rows");
        let expected: HashSet<_> = [
            (Some(i64::MIN), Some("ä\u{10ffff}'--".to_owned()), Some(bytes.to_vec())),
            (Some(7), Some(String::new()), Some(Vec::new())),
            (None, None, None),
        ]
        .into();
        assert_eq!(rows.into_iter().collect::<HashSet<_>>(), expected);
        for wrong in ["SELECT a FROM t WHERE n = 7", "SELECT n FROM t WHERE n IS NULL", "SELECT n FROM t WHERE n = 8"] {
            assert!(db.query_value::<i64>(wrong, &[]).is_err(), "{wrong}");
        }
        assert!(db.execute("DELETE FROM t WHERE n = $1", &[]).is_err(), "a value is missing");
        assert_eq!(count(&db, "t"), 3);
        let exists: bool = db.query_value("SELECT EXISTS (SELECT 1 FROM t WHERE a = $1)", values![""]).expect("asked");
        assert!(exists);
    }
}

#[test]
fn text_has_the_same_order_everywhere() {
    for (_dir, _source, db) in writers() {
        db.execute_script(&db.dialect("CREATE TABLE t (a TEXT PRIMARY KEY)")).expect("table");
        for name in ["b", "B", "a-1", "a1", "ä", "a_0", "10", "9"] {
            db.execute("INSERT INTO t (a) VALUES ($1)", values![name]).expect("row");
        }
        let sorted = db.query("SELECT a FROM t WHERE a > $1 ORDER BY a", values!["10"], |row| row.get::<String>(0));
        assert_eq!(sorted.expect("rows"), ["9", "B", "a-1", "a1", "a_0", "b", "ä"]);
    }
}

#[test]
fn failures_are_told_apart_and_attempts_mend_the_transaction() {
    for (_dir, _source, db) in writers() {
        db.execute_script("CREATE TABLE t (n BIGINT PRIMARY KEY); CREATE TABLE u (n BIGINT NOT NULL REFERENCES t (n))")
            .expect("tables");
        let transaction = db.transaction(Access::Write).expect("begins");
        transaction.execute("INSERT INTO t (n) VALUES ($1)", values![1]).expect("row");
        let again = || db.execute("INSERT INTO t (n) VALUES ($1)", values![1]);
        assert_eq!(db.attempt(again).expect_err("taken").kind(), SqlErrorKind::Unique);
        let nowhere = || db.execute("INSERT INTO u (n) VALUES ($1)", values![2]);
        assert_eq!(db.attempt(nowhere).expect_err("nothing there").kind(), SqlErrorKind::ForeignKey);
        assert_eq!(db.execute("NOT SQL", &[]).map_err(|error| error.kind()).err(), Some(SqlErrorKind::Other));
        drop(transaction);
        assert_eq!(count(&db, "t"), 0, "rolled back");
        let transaction = db.transaction(Access::Write).expect("begins");
        transaction.execute("INSERT INTO t (n) VALUES ($1)", values![1]).expect("row");
        db.attempt(again).expect_err("taken");
        transaction.commit().expect("what was attempted does not count");
        assert_eq!(count(&db, "t"), 1);
    }
}

/// PostgreSQL answers the commit of a transaction in which something failed with a rollback, and
/// calls that a success.
#[test]
fn a_transaction_in_which_something_failed_is_never_said_to_be_durable() {
    for (_dir, _source, db) in writers() {
        db.execute_script("CREATE TABLE t (n BIGINT PRIMARY KEY)").expect("table");
        let transaction = db.transaction(Access::Write).expect("begins");
        transaction.execute("INSERT INTO t (n) VALUES ($1)", values![1]).expect("row");
        transaction.execute("INSERT INTO t (n) VALUES ($1)", values![1]).expect_err("taken");
        let committed = transaction.commit().is_ok();
        assert_eq!(committed, count(&db, "t") == 1);
    }
}

#[test]
fn a_reader_sees_one_state_and_cannot_write() {
    for (_dir, source, db) in writers() {
        db.execute_script("CREATE TABLE t (n BIGINT PRIMARY KEY)").expect("table");
        let reader = source.connect(Access::Read).expect("connects");
        let view = reader.transaction(Access::Read).expect("begins");
        assert_eq!(count(&view, "t"), 0);
        db.execute("INSERT INTO t (n) VALUES ($1)", values![1]).expect("row");
        assert_eq!(count(&view, "t"), 0, "as it was when the view began");
        assert!(view.execute("INSERT INTO t (n) VALUES ($1)", values![2]).is_err());
        drop(view);
        assert_eq!(count(&reader, "t"), 1);
    }
}

#[test]
fn a_row_at_a_time_is_read_and_the_connection_is_fit_after_an_early_end() {
    for (_dir, _source, db) in writers() {
        db.execute_script("CREATE TABLE t (n BIGINT PRIMARY KEY)").expect("table");
        let rows: Vec<Value<'_>> = (0..1000).map(Value::Integer).collect();
        for some in rows.chunks(500) {
            let sql = format!("INSERT INTO t (n) VALUES {}", placeholders(some.len(), 1));
            assert_eq!(db.execute(&sql, some).expect("rows"), 500);
        }
        let mut seen = 0;
        let stopped = db.for_each("SELECT n FROM t ORDER BY n", &[], |row| {
            seen += row.get::<i64>(0)?;
            if seen > 10 { Err(RecordError::Number(3)) } else { Ok(()) }
        });
        assert!(matches!(stopped, Err(RecordError::Number(3))));
        assert_eq!((seen, count(&db, "t")), (15, 1000));
    }
}

#[test]
fn values_never_print() {
    let printed = format!("{:?}", values!["hunter2", b"hunter2", 41]);
    assert!(!printed.contains("hunter") && !printed.contains("41"), "{printed}");
    assert_eq!(placeholders(2, 3), "($1, $2, $3), ($4, $5, $6)");
    let database = Database::Postgres(SecretText::new("postgres://u:hunter2@h/db".to_owned()));
    assert!(!format!("{database:?}").contains("hunter"));
}

#[test]
fn a_server_that_is_not_there_is_unavailable_and_says_no_secret() {
    let url = SecretText::new("postgres://u:hunter2@127.0.0.1:1/db".to_owned());
    let source = Source::new(&Database::Postgres(url)).expect("address");
    let Err(error) = source.connect(Access::Write) else { panic!("nobody listens there") };
    assert_eq!(error.kind(), SqlErrorKind::Unavailable);
    let printed = format!("{error:?} {}", crate::error::chain(&error));
    assert!(!printed.contains("hunter") && printed.contains("refused"), "{printed}");
}
