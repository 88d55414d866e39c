//! Rows of `credentials`.

use super::accounts::parse;
use super::{RecordError, from_sql, name, to_sql};
use crate::sql::{Connection, Row, values};
use penstock_core::credential::Credential;
use penstock_core::id::CredentialName;
use penstock_core::time::UnixSeconds;

const COLUMNS: &str = "name, role, account, products, created, expires, revoked";

/// One credential.
pub(crate) fn get(connection: &Connection, name: &CredentialName) -> Result<Option<Credential>, RecordError> {
    let sql = format!("SELECT {COLUMNS} FROM credentials WHERE name = $1");
    connection.query_optional(&sql, values![name.as_str()], read_row)
}

/// The credential with a secret of this hash.
pub(crate) fn by_hash(connection: &Connection, hash: &[u8; 32]) -> Result<Option<Credential>, RecordError> {
    let sql = format!("SELECT {COLUMNS} FROM credentials WHERE secret_hash = $1");
    connection.query_optional(&sql, values![hash], read_row)
}

/// A page, by name.
pub(crate) fn page(connection: &Connection, after: &str, limit: u64) -> Result<Vec<Credential>, RecordError> {
    let sql = format!("SELECT {COLUMNS} FROM credentials WHERE name > $1 ORDER BY name LIMIT $2");
    connection.query(&sql, values![after, to_sql(limit)?], read_row)
}

/// How many are neither revoked nor expired.
pub(crate) fn count_live(connection: &Connection, now: UnixSeconds) -> Result<u64, RecordError> {
    let sql = "SELECT COUNT(*) FROM credentials WHERE revoked IS NULL AND (expires IS NULL OR expires > $1)";
    from_sql(connection.query_value(sql, values![to_sql(now.0)?])?)
}

/// Adds one.
pub(crate) fn add(connection: &Connection, one: &Credential, hash: &[u8; 32]) -> Result<(), RecordError> {
    let products = if one.products.is_empty() {
        String::new()
    } else {
        serde_json::to_string(&one.products).map_err(|_| RecordError::Damaged { what: "list of products" })?
    };
    connection.execute(
        "INSERT INTO credentials (name, role, secret_hash, account, products, created, expires)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        values![
            one.name.as_str(),
            one.role.as_str(),
            hash,
            one.account.as_ref().map(penstock_core::account::AccountId::as_str),
            products.as_str(),
            to_sql(one.created.0)?,
            one.expires.map(|at| to_sql(at.0)).transpose()?
        ],
    )?;
    Ok(())
}

/// Revokes one.
pub(crate) fn revoke(connection: &Connection, name: &CredentialName, now: UnixSeconds) -> Result<(), RecordError> {
    let sql = "UPDATE credentials SET revoked = $1 WHERE name = $2 AND revoked IS NULL";
    connection.execute(sql, values![to_sql(now.0)?, name.as_str()])?;
    Ok(())
}

fn read_row(row: &Row<'_>) -> Result<Credential, RecordError> {
    let moment = |seconds: Option<i64>| seconds.map(|s| from_sql(s).map(UnixSeconds)).transpose();
    let products: String = row.get(3)?;
    Ok(Credential {
        name: name(&row.get::<String>(0)?, "credential")?,
        role: name(&row.get::<String>(1)?, "role")?,
        account: row.get::<Option<String>>(2)?.map(|text| name(&text, "account")).transpose()?,
        products: if products.is_empty() { Default::default() } else { parse(&products, "list of products")? },
        created: UnixSeconds(from_sql(row.get(4)?)?),
        expires: moment(row.get(5)?)?,
        revoked: moment(row.get(6)?)?,
    })
}
