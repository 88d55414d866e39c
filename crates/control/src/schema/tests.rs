//! Every step on both engines, alone and in company.

use super::*;
use crate::sql::tests::writers;

#[test]
fn an_empty_database_reaches_the_newest_version_once() {
    for (_dir, _source, db) in writers() {
        migrate(&db, UnixSeconds(5)).expect("first");
        migrate(&db, UnixSeconds(6)).expect("again does nothing");
        assert_eq!(version(&db).expect("version"), VERSION);
        let rows: i64 = db.query_value("SELECT COUNT(*) FROM schema_versions", &[]).expect("count");
        assert_eq!(rows, i64::from(VERSION));
    }
}

#[test]
fn a_step_that_fails_leaves_nothing_behind() {
    for (_dir, _source, db) in writers() {
        let broken = ["CREATE TABLE a (x BIGINT)", "CREATE TABLE b (x BIGINT); CREATE TABLE a (x BIGINT)"];
        assert!(migrate_with(&db, &broken, UnixSeconds(5)).is_err());
        assert_eq!(version(&db).expect("version"), 1);
        db.execute("SELECT COUNT(*) FROM b", &[]).expect_err("there is no such table");
        let mended = ["CREATE TABLE a (x BIGINT)", "CREATE TABLE b (x BIGINT)"];
        migrate_with(&db, &mended, UnixSeconds(6)).expect("goes on from where it stopped");
        assert_eq!(version(&db).expect("version"), 2);
        db.execute("INSERT INTO b (x) VALUES (1)", &[]).expect("made");
    }
}

#[test]
fn a_database_of_a_newer_program_is_refused() {
    for (_dir, _source, db) in writers() {
        migrate(&db, UnixSeconds(5)).expect("migrated");
        let newer = i64::from(VERSION) + 1;
        db.execute("INSERT INTO schema_versions (version, applied) VALUES ($1, 5)", values![newer]).expect("forge");
        assert!(matches!(migrate(&db, UnixSeconds(6)), Err(RecordError::Newer { .. })));
    }
}

#[test]
fn processes_that_start_together_apply_each_step_once() {
    for (_dir, source, db) in writers() {
        let steps = ["CREATE TABLE a (x BIGINT)", "INSERT INTO a (x) VALUES (1)", "UPDATE a SET x = x * 3"];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mine = source.connect(Access::Write).expect("connects");
                    migrate_with(&mine, &steps, UnixSeconds(5)).expect("migrated");
                });
            }
        });
        assert_eq!(version(&db).expect("version"), 3);
        let rows = db.query("SELECT x FROM a", &[], |row| row.get::<i64>(0)).expect("rows");
        assert_eq!(rows, [3]);
    }
}
