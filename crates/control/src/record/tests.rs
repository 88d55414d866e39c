//! How a change becomes durable and who is told, on both engines.

use super::*;
use crate::sql::tests::{databases, sqlite};
use penstock_core::catalog::{AccessClass, Product};
use penstock_core::id::ProductId;
use std::os::unix::fs::PermissionsExt as _;

const NOW: UnixSeconds = UnixSeconds(5);

#[derive(Default)]
struct Heard(Mutex<Vec<CatalogChange>>);

impl CatalogSink for Heard {
    fn apply(&self, _: u64, change: CatalogChange) {
        lock(&self.0).push(change);
    }
}

fn product(id: &str, title: &str) -> Product {
    let id = ProductId::new(id).expect("name");
    Product { id, title: title.to_owned(), access: AccessClass::Open, export_class: String::new() }
}

fn add(record: &Record, product: &Product) -> Result<(), RecordError> {
    record.write(&Actor::node(), NOW, |batch| {
        products::put(batch.connection(), product, batch.now())?;
        batch.audit(&audit::Deed::new("product.put", product.id.to_string()).after(product)?)?;
        batch.tell(CatalogChange::Product(product.clone()))
    })
}

fn newest(record: &Record) -> u64 {
    record.read::<_, RecordError>(log::newest).expect("read")
}

/// A record on each engine.
fn opened() -> Vec<(tempfile::TempDir, Record, Arc<Heard>)> {
    databases().into_iter().map(open).collect()
}

fn open((dir, database): (tempfile::TempDir, Database)) -> (tempfile::TempDir, Record, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let record = Record::open(&database, Arc::clone(&heard) as _, NOW).expect("opens");
    (dir, record, heard)
}

fn on_sqlite() -> (tempfile::TempDir, Record, Arc<Heard>) {
    open(sqlite())
}

/// The writer's SQLite connection.
fn raw<T>(record: &Record, look: impl FnOnce(&rusqlite::Connection) -> T) -> T {
    let slot = lock(&record.writer);
    let Some(Connection::Sqlite(session)) = &slot.0 else { panic!("it is SQLite's") };
    look(session.raw())
}

#[test]
fn the_file_is_private_durable_and_its_readers_cannot_write() {
    let (dir, record, _) = on_sqlite();
    let mode = std::fs::metadata(dir.path().join("c.sqlite")).expect("file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let pragma = |name: &str| {
        let read = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
        raw(&record, |connection| connection.pragma_query_value(None, name, read).expect("pragma"))
    };
    assert_eq!(pragma("journal_mode"), rusqlite::types::Value::Text("wal".to_owned()));
    assert_eq!(pragma("synchronous"), rusqlite::types::Value::Integer(2));
    assert_eq!(pragma("foreign_keys"), rusqlite::types::Value::Integer(1));
}

#[test]
fn readers_cannot_write() {
    for (_dir, record, _) in opened() {
        let refused = record.read(|connection| Ok(connection.execute("UPDATE counters SET last = 9", &[])?));
        assert!(matches!(refused, Err(RecordError::Sql(_))));
    }
}

#[test]
fn what_fails_is_not_told_and_takes_no_number() {
    for (_dir, record, heard) in opened() {
        add(&record, &product("a", "")).expect("added");
        let failed: Result<(), RecordError> = record.write(&Actor::node(), NOW, |batch| {
            batch.tell(CatalogChange::Product(product("b", "")))?;
            Err(RecordError::Damaged { what: "test" })
        });
        assert!(failed.is_err());
        assert_eq!((newest(&record), lock(&heard.0).len()), (1, 1));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            record.write::<(), RecordError>(&Actor::node(), NOW, |batch| {
                batch.tell(CatalogChange::Product(product("c", "")))?;
                panic!("in the middle")
            })
        }));
        assert!(panicked.is_err());
        add(&record, &product("d", "")).expect("the record goes on after a panic");
        assert_eq!((newest(&record), lock(&heard.0).len()), (2, 2));
    }
}

#[test]
fn what_is_not_audited_is_not_done() {
    for (_dir, record, heard) in opened() {
        let forgotten = record.write(&Actor::node(), NOW, |batch| {
            products::put(batch.connection(), &product("a", ""), batch.now())?;
            batch.tell(CatalogChange::Product(product("a", "")))
        });
        assert!(matches!(forgotten, Err(RecordError::Unaudited)));
        assert_eq!((newest(&record), lock(&heard.0).len()), (0, 0));
        record.write(&Actor::node(), NOW, |_| Ok::<_, RecordError>(())).expect("nothing changed, nothing to say");
        add(&record, &product("a", "")).expect("audited");
        assert_eq!(record.read::<_, RecordError>(audit::newest).expect("read"), 1);
    }
}

#[test]
fn a_full_disk_changes_nothing_and_is_said() {
    let (_dir, record, heard) = on_sqlite();
    add(&record, &product("a", "")).expect("added");
    let pages: i64 =
        raw(&record, |one| one.pragma_query_value(None, "page_count", |row| row.get(0)).expect("page count"));
    raw(&record, |one| one.pragma_update(None, "max_page_count", pages).expect("no more room"));
    let error = add(&record, &product("b", &"x".repeat(64 << 10))).expect_err("full");
    assert!(matches!(error, RecordError::Full(_)), "{error:?}");
    assert_eq!((newest(&record), lock(&heard.0).len()), (1, 1));
    raw(&record, |one| one.pragma_update(None, "max_page_count", pages + 1000).expect("room again"));
    add(&record, &product("b", &"x".repeat(64 << 10))).expect("goes on");
    assert_eq!(newest(&record), 2);
}

/// Each panic lost a connection once, and when all were lost every read waited for ever.
#[test]
fn work_that_panics_gives_its_reader_back() {
    for (_dir, record, _) in opened() {
        add(&record, &product("a", "")).expect("added");
        for _ in 0..2 * READERS {
            let work = || record.read::<(), RecordError>(|_| panic!("on purpose"));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
            assert_eq!(lock(&record.readers).len(), READERS);
        }
        assert_eq!(newest(&record), 1);
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("c.sqlite");
    let junk = b"this is somebody's text, and longer than a database's head is, so that it is looked at".repeat(20);
    std::fs::write(&path, &junk).expect("write");
    assert!(matches!(
        Record::open(&Database::Sqlite(path.clone()), Arc::new(Heard::default()), NOW),
        Err(RecordError::Sql(_))
    ));
    assert_eq!(std::fs::read(&path).expect("read"), junk);
    let nowhere = dir.path().join("no/such/dir.sqlite");
    let nowhere = Database::Sqlite(nowhere);
    assert!(matches!(Record::open(&nowhere, Arc::new(Heard::default()), NOW), Err(RecordError::Create { .. })));
}

#[test]
fn more_readers_than_connections_take_turns() {
    for (_dir, record, _) in opened() {
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

/// Many connections write, some of them in vain, while a reader asks again and again what comes
/// after what it has. On PostgreSQL a sequence would fail here, and so would a serial column.
#[test]
fn numbers_have_no_gap_and_no_reader_sees_one_before_all_smaller_ones() {
    const WRITERS: u64 = 6;
    const ROUNDS: u64 = 40;
    for (_dir, database) in databases() {
        let heard: Vec<Arc<Heard>> = (0..WRITERS).map(|_| Arc::default()).collect();
        let open = |heard: &Arc<Heard>| Record::open(&database, Arc::clone(heard) as _, NOW).expect("opens");
        let records: Vec<Record> = heard.iter().map(open).collect();
        let reader = Source::new(&database).expect("address").connect(Access::Read).expect("connects");
        std::thread::scope(|scope| {
            for (writer, record) in records.iter().enumerate() {
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        add(record, &product(&format!("p{writer}-{round}"), "")).expect("added");
                        let given_up = record.write(&Actor::node(), NOW, |batch| {
                            batch.tell(CatalogChange::Product(product("never", "")))?;
                            Err::<(), _>(RecordError::Damaged { what: "test" })
                        });
                        assert!(given_up.is_err());
                    }
                });
            }
            let mut seen = 0;
            while seen < (WRITERS * ROUNDS).cast_signed() {
                let sql = "SELECT sequence FROM change_log WHERE sequence > $1 ORDER BY sequence";
                let numbers = reader.query(sql, values![seen], |row| row.get::<i64>(0)).expect("read");
                for number in numbers {
                    assert_eq!(number, seen + 1);
                    seen += 1;
                }
            }
        });
        // Each sink heard the log up to the last change that its own record wrote, in order.
        let told = |sequence| log::change(&reader, sequence).expect("read").expect("there");
        let entries: Vec<CatalogChange> = (1..=WRITERS * ROUNDS).map(told).collect();
        for (record, heard) in records.iter().zip(&heard) {
            let told = lock(&heard.0).clone();
            assert_eq!(told, entries[..told.len()]);
            record.teller.catch_up(&reader, newest(record)).expect("the rest");
            assert_eq!(*lock(&heard.0), entries);
        }
    }
}

#[test]
fn a_log_that_went_back_is_noticed() {
    for (_dir, record, _) in opened() {
        add(&record, &product("a", "")).expect("added");
        add(&record, &product("b", "")).expect("added");
        record
            .keep_house(NOW, |batch| {
                batch.connection().execute("DELETE FROM change_log WHERE sequence = 2", &[])?;
                batch.connection().execute("UPDATE counters SET last = 1 WHERE name = 'change_log'", &[])?;
                Ok::<_, RecordError>(())
            })
            .expect("as a restored backup would");
        assert!(matches!(add(&record, &product("c", "")), Err(RecordError::Damaged { .. })));
    }
}
