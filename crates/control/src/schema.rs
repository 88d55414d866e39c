//! The migrations: numbered, forward only, each applied whole or not at all.
//!
//! A file that was released is never edited; a change is a new file at the end of the list. Both
//! engines run the same files: see [`Connection::dialect`] for the two words that differ.

use crate::record::RecordError;
use crate::sql::{Access, Connection, values};
use penstock_core::time::UnixSeconds;
use std::time::Duration;

/// `MIGRATIONS[n]` leads from version `n` to `n + 1`.
const MIGRATIONS: [&str; 7] = [
    include_str!("schema/0001_catalogue.sql"),
    include_str!("schema/0002_accounts.sql"),
    include_str!("schema/0003_audit.sql"),
    include_str!("schema/0004_policy.sql"),
    include_str!("schema/0005_people.sql"),
    include_str!("schema/0006_feed.sql"),
    include_str!("schema/0007_walls.sql"),
];

/// The version that this program writes.
#[expect(clippy::cast_possible_truncation, reason = "a handful of migrations")]
pub(crate) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Held by the one process that migrates a shared database: "penstock" in ASCII.
const LOCK_KEY: i64 = 0x7065_6e73_746f_636b;
/// How long a process waits for another one's step, which may rewrite large tables.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(600);

/// Brings a database to [`VERSION`].
pub(crate) fn migrate(connection: &Connection, now: UnixSeconds) -> Result<(), RecordError> {
    migrate_with(connection, &MIGRATIONS, now)
}

fn migrate_with(connection: &Connection, steps: &[&str], now: UnixSeconds) -> Result<(), RecordError> {
    loop {
        // The version is read under the lock, so that two processes never apply one step twice.
        let transaction = connection.transaction(Access::Write)?;
        transaction.lock_database(LOCK_KEY, LOCK_WAIT_MAX)?;
        transaction.execute_script(
            "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY, applied BIGINT NOT NULL)",
        )?;
        let found = version(&transaction)?;
        let Ok(index) = usize::try_from(found) else { return Err(RecordError::Newer { found, known: VERSION }) };
        if index > steps.len() {
            return Err(RecordError::Newer { found, known: VERSION });
        }
        let Some(step) = steps.get(index) else { return Ok(transaction.commit()?) };
        transaction.execute_script(&transaction.dialect(step))?;
        transaction.execute(
            "INSERT INTO schema_versions (version, applied) VALUES ($1, $2)",
            values![i64::from(found) + 1, i64::try_from(now.0).unwrap_or(i64::MAX)],
        )?;
        transaction.commit()?;
    }
}

/// The newest migration applied; 0 for an empty database.
pub(crate) fn version(connection: &Connection) -> Result<u32, RecordError> {
    let found: Option<i64> = connection.query_value("SELECT MAX(version) FROM schema_versions", &[])?;
    u32::try_from(found.unwrap_or(0)).map_err(|_| RecordError::Damaged { what: "schema version" })
}

#[cfg(test)]
mod tests;
