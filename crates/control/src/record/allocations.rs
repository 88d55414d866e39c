//! Rows of `allocations`.

use super::accounts::moment;
use super::entitlements::{What, given};
use super::{RecordError, from_sql, name, next_number, to_sql};
use crate::sql::{Connection, Row, values};
use penstock_core::account::AccountId;
use penstock_core::desk::Allocation;
use penstock_core::time::UnixSeconds;

const ROW: &str = "SELECT a.id, a.reseller, t.body, a.package, a.quantity, a.used, a.starts, a.ends, a.made, a.closed
    FROM allocations a LEFT JOIN terms t ON t.id = a.terms";

/// What a reseller gets to give.
pub(crate) struct NewAllocation<'a> {
    pub(crate) reseller: &'a AccountId,
    pub(crate) what: &'a What,
    pub(crate) quantity: u64,
    pub(crate) starts: UnixSeconds,
    pub(crate) ends: Option<UnixSeconds>,
}

/// Writes one and returns its number.
pub(crate) fn add(connection: &Connection, new: &NewAllocation<'_>, now: UnixSeconds) -> Result<u64, RecordError> {
    let id = next_number(connection, "allocations")?;
    let [terms, package] = new.what.columns();
    connection.execute(
        "INSERT INTO allocations (id, reseller, terms, package, quantity, starts, ends, made)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        &[
            id.into(),
            new.reseller.as_str().into(),
            terms,
            package,
            to_sql(new.quantity)?.into(),
            to_sql(new.starts.0)?.into(),
            new.ends.map(|ends| to_sql(ends.0)).transpose()?.into(),
            to_sql(now.0)?.into(),
        ],
    )?;
    from_sql(id)
}

/// One allocation, and which terms or package it is of.
pub(crate) fn get(connection: &Connection, id: u64) -> Result<Option<Allocation>, RecordError> {
    connection.query_optional(&format!("{ROW} WHERE a.id = $1"), values![to_sql(id)?], read)
}

/// Those of a reseller, oldest first.
pub(crate) fn of_reseller(connection: &Connection, reseller: &AccountId) -> Result<Vec<Allocation>, RecordError> {
    let sql = format!("{ROW} WHERE a.reseller = $1 ORDER BY a.id");
    connection.query(&sql, values![reseller.as_str()], read)
}

/// Takes so many of its quantity; false when so many are not left.
pub(crate) fn take(connection: &Connection, id: u64, count: u64) -> Result<bool, RecordError> {
    let sql = "UPDATE allocations SET used = used + $1 WHERE id = $2 AND used <= quantity - $1";
    Ok(connection.execute(sql, values![to_sql(count)?, to_sql(id)?])? > 0)
}

/// Gives so many back.
pub(crate) fn give_back(connection: &Connection, id: u64, count: u64) -> Result<(), RecordError> {
    let sql = "UPDATE allocations SET used = used - $1 WHERE id = $2";
    connection.execute(sql, values![to_sql(count)?, to_sql(id)?])?;
    Ok(())
}

/// Nothing is given out of it from now on. One that was closed before stays as it was.
pub(crate) fn close(connection: &Connection, id: u64, now: UnixSeconds) -> Result<(), RecordError> {
    let sql = "UPDATE allocations SET closed = $1 WHERE id = $2 AND closed IS NULL";
    connection.execute(sql, values![to_sql(now.0)?, to_sql(id)?])?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<Allocation, RecordError> {
    Ok(Allocation {
        id: from_sql(row.get(0)?)?,
        reseller: name(&row.get::<String>(1)?, "account")?,
        what: given(row.get(2)?, row.get(3)?)?,
        quantity: from_sql(row.get(4)?)?,
        used: from_sql(row.get(5)?)?,
        starts: UnixSeconds(from_sql(row.get(6)?)?),
        ends: moment(row.get(7)?)?,
        made: UnixSeconds(from_sql(row.get(8)?)?),
        closed: moment(row.get(9)?)?,
    })
}
