//! The migrations: numbered, forward only, each applied whole or not at all.
//!
//! A file that was released is never edited; a change is a new file at the end of the list.

use crate::record::RecordError;
use penstock_core::time::UnixSeconds;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

/// `MIGRATIONS[n]` leads from version `n` to `n + 1`.
const MIGRATIONS: [&str; 1] = [include_str!("schema/0001_catalogue.sql")];

/// The version that this program writes.
#[expect(clippy::cast_possible_truncation, reason = "a handful of migrations")]
pub(crate) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Brings a database to [`VERSION`].
pub(crate) fn migrate(connection: &mut Connection, now: UnixSeconds) -> Result<(), RecordError> {
    migrate_with(connection, &MIGRATIONS, now)
}

fn migrate_with(connection: &mut Connection, steps: &[&str], now: UnixSeconds) -> Result<(), RecordError> {
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY, applied BIGINT NOT NULL)",
        [],
    )?;
    loop {
        // The version is read inside the transaction, so that two processes never apply one step twice.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = version(&transaction)?;
        let Ok(index) = usize::try_from(found) else { return Err(RecordError::Newer { found, known: VERSION }) };
        if index > steps.len() {
            return Err(RecordError::Newer { found, known: VERSION });
        }
        let Some(step) = steps.get(index) else { return Ok(()) };
        transaction.execute_batch(step)?;
        transaction.execute(
            "INSERT INTO schema_versions (version, applied) VALUES ($1, $2)",
            (i64::from(found) + 1, i64::try_from(now.0).unwrap_or(i64::MAX)),
        )?;
        transaction.commit()?;
    }
}

/// The newest migration applied; 0 for an empty database.
pub(crate) fn version(connection: &Connection) -> Result<u32, RecordError> {
    let found: Option<Option<u32>> =
        connection.query_row("SELECT MAX(version) FROM schema_versions", [], |row| row.get(0)).optional()?;
    Ok(found.flatten().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Connection {
        Connection::open_in_memory().expect("memory database")
    }

    #[test]
    fn an_empty_database_reaches_the_newest_version_once() {
        let mut db = fresh();
        migrate(&mut db, UnixSeconds(5)).expect("first");
        migrate(&mut db, UnixSeconds(6)).expect("again does nothing");
        assert_eq!(version(&db).expect("version"), VERSION);
        let rows: i64 = db.query_row("SELECT COUNT(*) FROM schema_versions", [], |r| r.get(0)).expect("count");
        assert_eq!(rows, i64::from(VERSION));
    }

    #[test]
    fn a_step_that_fails_leaves_nothing_behind() {
        let mut db = fresh();
        let broken = ["CREATE TABLE a (x BIGINT)", "CREATE TABLE b (x BIGINT); CREATE TABLE a (x BIGINT)"];
        assert!(migrate_with(&mut db, &broken, UnixSeconds(5)).is_err());
        assert_eq!(version(&db).expect("version"), 1);
        let tables: i64 =
            db.query_row("SELECT COUNT(*) FROM sqlite_master WHERE name = 'b'", [], |r| r.get(0)).expect("count");
        assert_eq!(tables, 0);
        let mended = ["CREATE TABLE a (x BIGINT)", "CREATE TABLE b (x BIGINT)"];
        migrate_with(&mut db, &mended, UnixSeconds(6)).expect("goes on from where it stopped");
        assert_eq!(version(&db).expect("version"), 2);
    }

    #[test]
    fn a_database_of_a_newer_program_is_refused() {
        let mut db = fresh();
        migrate(&mut db, UnixSeconds(5)).expect("migrated");
        db.execute("INSERT INTO schema_versions (version, applied) VALUES ($1, 5)", [VERSION + 1]).expect("forge");
        assert!(matches!(migrate(&mut db, UnixSeconds(6)), Err(RecordError::Newer { .. })));
    }
}
