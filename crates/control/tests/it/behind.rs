//! What stands in the database, read and damaged by connections of our own.

use crate::support::apart;
use penstock_control::Database;
use penstock_core::catalog::CatalogChange;
use postgres::NoTls;

fn client(url: &penstock_control::SecretText) -> postgres::Client {
    postgres::Client::connect(url.expose(), NoTls).expect("the server is there")
}

/// The whole change log, each entry with its number.
pub(crate) fn change_log(database: &Database) -> Vec<(i64, CatalogChange)> {
    let sql = "SELECT sequence, body FROM change_log ORDER BY sequence";
    let rows: Vec<(i64, String)> = match database {
        Database::Sqlite(path) => {
            let connection = rusqlite::Connection::open(path).expect("database");
            let mut statement = connection.prepare(sql).expect("statement");
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("query");
            rows.map(|row| row.expect("row")).collect()
        }
        Database::Postgres(url) => apart(|| {
            let rows = client(url).query(sql, &[]).expect("query");
            rows.iter().map(|row| (row.get(0), row.get(1))).collect()
        }),
    };
    rows.into_iter().map(|(n, body)| (n, serde_json::from_str(&body).expect("change"))).collect()
}

/// What some statements show, all columns of them as text.
pub(crate) fn tables<const N: usize>(database: &Database, statements: [&str; N]) -> [Vec<Vec<Option<String>>>; N] {
    match database {
        Database::Sqlite(path) => {
            let connection = rusqlite::Connection::open(path).expect("database");
            statements.map(|sql| {
                let mut statement = connection.prepare(sql).expect(sql);
                let columns = statement.column_count();
                let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
                statement.query_map([], row).expect(sql).map(|row| row.expect(sql)).collect()
            })
        }
        Database::Postgres(url) => apart(|| {
            let mut client = client(url);
            statements.map(|sql| {
                let rows = client.query(sql, &[]).expect(sql);
                rows.iter().map(|row| (0..row.len()).map(|column| row.get(column)).collect()).collect()
            })
        }),
    }
}

/// Runs one statement without parameters, its bytes written as SQLite does, and returns how many
/// rows it changed.
pub(crate) fn execute(database: &Database, sql: &str) -> u64 {
    match database {
        Database::Sqlite(path) => {
            rusqlite::Connection::open(path).expect("database").execute(sql, []).expect(sql) as u64
        }
        Database::Postgres(url) => apart(|| client(url).execute(&in_postgres(sql), &[]).expect(sql)),
    }
}

/// Runs a script, written as for SQLite.
pub(crate) fn execute_script(database: &Database, sql: &str) {
    match database {
        Database::Sqlite(path) => {
            rusqlite::Connection::open(path).expect("database").execute_batch(sql).expect("script");
        }
        Database::Postgres(url) => apart(|| client(url).batch_execute(&in_postgres(sql)).expect("script")),
    }
}

/// Waits until the server has ended every connection to the database but ours. A process that was
/// killed may have left a commit behind that is still under way.
pub(crate) fn settle(database: &Database) {
    let Database::Postgres(url) = database else { return };
    apart(|| {
        let mut client = client(url);
        let sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
             AND backend_type = 'client backend'";
        while client.query_one(sql, &[]).expect("asked").get::<_, i64>(0) > 0 {
            std::thread::yield_now();
        }
    });
}

/// In PostgreSQL's words: bytes `x'00'` are `'\x00'` there, and types as the migrations have them.
fn in_postgres(sql: &str) -> String {
    sql.replace("x'", "'\\x").replace(" BLOB", " BYTEA").replace(" TEXT", " TEXT COLLATE \"C\"")
}
