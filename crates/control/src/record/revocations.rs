//! Rows of `revocations`.
//!
//! Counter `revocations` is the number of rows, so that nobody has to count a million of them.

use super::{RecordError, from_sql, to_sql};
use crate::sql::{Connection, Row, SqlError, Value, placeholders, values};
use penstock_core::account::TokenKey;
use penstock_core::catalog::RevokedToken;
use penstock_core::desk::policy::RevocationRow;
use penstock_core::time::UnixSeconds;
use std::collections::HashMap;

/// Rows of one statement that names many.
const ROWS_MAX: usize = 500;

/// Until when those of the tokens are remembered that are revoked already.
pub(crate) fn known(
    connection: &Connection,
    tokens: &[TokenKey],
) -> Result<HashMap<TokenKey, UnixSeconds>, RecordError> {
    let mut found = HashMap::new();
    for tokens in tokens.chunks(ROWS_MAX) {
        let sql =
            format!("SELECT token, until, revoked FROM revocations WHERE token IN {}", placeholders(1, tokens.len()));
        let tokens: Vec<Value<'_>> = tokens.iter().map(|token| Value::from(&token.0)).collect();
        let rows = connection.query(&sql, &tokens, read_row)?;
        found.extend(rows.into_iter().map(|row| (row.token, row.until)));
    }
    Ok(found)
}

/// Writes tokens, of which `new` are not there yet.
pub(crate) fn put_all(
    connection: &Connection,
    tokens: &[RevokedToken],
    new: u64,
    now: UnixSeconds,
) -> Result<(), RecordError> {
    for tokens in tokens.chunks(ROWS_MAX) {
        let sql = format!(
            "INSERT INTO revocations (token, until, revoked) VALUES {}
             ON CONFLICT (token) DO UPDATE SET until = excluded.until",
            placeholders(tokens.len(), 3)
        );
        let mut all: Vec<Value<'_>> = Vec::with_capacity(tokens.len() * 3);
        for token in tokens {
            all.extend::<[Value<'_>; 3]>([
                (&token.token.0).into(),
                to_sql(token.until.0)?.into(),
                to_sql(now.0)?.into(),
            ]);
        }
        connection.execute(&sql, &all)?;
    }
    add_to_count(connection, to_sql(new)?)
}

/// How many there are.
pub(crate) fn count(connection: &Connection) -> Result<u64, RecordError> {
    from_sql(connection.query_value("SELECT last FROM counters WHERE name = $1", values!["revocations"])?)
}

/// One of them.
pub(crate) fn get(connection: &Connection, token: TokenKey) -> Result<Option<RevocationRow>, RecordError> {
    let sql = "SELECT token, until, revoked FROM revocations WHERE token = $1";
    connection.query_optional(sql, values![&token.0], read_row)
}

/// By pseudonym, from the one after `after` on.
pub(crate) fn page(
    connection: &Connection,
    after: Option<TokenKey>,
    limit: u64,
) -> Result<Vec<RevocationRow>, RecordError> {
    let after = after.map_or_else(Vec::new, |token| token.0.to_vec());
    let sql = "SELECT token, until, revoked FROM revocations WHERE token > $1 ORDER BY token LIMIT $2";
    connection.query(sql, values![&after[..], to_sql(limit)?], read_row)
}

/// Shows all that end later than this.
pub(crate) fn each_since<E: From<RecordError> + From<SqlError>>(
    connection: &Connection,
    ended: UnixSeconds,
    mut show: impl FnMut(RevokedToken) -> Result<(), E>,
) -> Result<(), E> {
    let sql = "SELECT token, until, revoked FROM revocations WHERE until > $1 ORDER BY token";
    connection.for_each(sql, values![to_sql(ended.0)?], |row| {
        let RevocationRow { token, until, .. } = read_row(row)?;
        show(RevokedToken { token, until })
    })
}

/// Forgets at most `limit` of those that ended by then; returns how many.
pub(crate) fn forget(connection: &Connection, ended: UnixSeconds, limit: u64) -> Result<u64, RecordError> {
    let sql = "DELETE FROM revocations WHERE token IN (SELECT token FROM revocations WHERE until <= $1 LIMIT $2)";
    let gone = connection.execute(sql, values![to_sql(ended.0)?, to_sql(limit)?])?;
    add_to_count(connection, -to_sql(gone)?)?;
    Ok(gone)
}

fn add_to_count(connection: &Connection, more: i64) -> Result<(), RecordError> {
    connection.execute("UPDATE counters SET last = last + $1 WHERE name = $2", values![more, "revocations"])?;
    Ok(())
}

fn read_row(row: &Row<'_>) -> Result<RevocationRow, RecordError> {
    let token: Vec<u8> = row.get(0)?;
    let token = token.try_into().map_err(|_| RecordError::Damaged { what: "token's pseudonym" })?;
    Ok(RevocationRow {
        token: TokenKey(token),
        until: UnixSeconds(from_sql(row.get(1)?)?),
        revoked: UnixSeconds(from_sql(row.get(2)?)?),
    })
}
