//! What accounts hold, as edges are told: read out of `entitlements`, `seats` and `packages` together.
//!
//! An account holds what it was given itself, and what its company was given as seats and it has a seat of, as long as the
//! company is served. A package yields all its items. In this order: by entitlement, then by place in the package.

use super::accounts::parse;
use super::{ROWS_MAX, RecordError, from_sql, name, to_sql};
use crate::sql::{Connection, Row, Value, placeholders, values};
use penstock_core::account::{AccountId, Holding, Terms};
use penstock_core::id::PackageId;
use penstock_core::limits::PACKAGE_ITEMS_MAX;
use penstock_core::time::UnixSeconds;
use std::collections::HashMap;
use std::sync::Arc;

/// The terms of an entitlement `e`, or those of its package one after the other.
pub(super) const EACH_TERMS: &str =
    "LEFT JOIN package_items i ON i.package = e.package JOIN terms t ON t.id = COALESCE(e.terms, i.terms)";

/// People whose holdings change together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose<'a> {
    /// Those who have seats of anything that a company was given.
    Company(&'a AccountId),
    /// Those who have seats of one entitlement.
    Entitlement(u64),
    /// Those who have a package, seats or not.
    Package(&'a PackageId),
}

/// What each of the named accounts holds; those that hold nothing are left out.
pub(crate) fn held(
    connection: &Connection,
    names: &[&AccountId],
) -> Result<HashMap<AccountId, Vec<Holding>>, RecordError> {
    let mut held: HashMap<AccountId, Vec<Holding>> = HashMap::new();
    let mut known: HashMap<String, Arc<Terms>> = HashMap::new();
    for names in names.chunks(ROWS_MAX) {
        let list = placeholders(1, names.len());
        let sql = format!(
            "SELECT e.account, e.id, COALESCE(i.position, 0), t.body, e.starts, e.ends
                FROM entitlements e {EACH_TERMS}
                WHERE e.account IN {list} AND e.seats IS NULL AND e.revoked IS NULL
             UNION ALL
             SELECT s.account, e.id, COALESCE(i.position, 0), t.body, e.starts, e.ends
                FROM seats s JOIN entitlements e ON e.id = s.entitlement JOIN accounts c ON c.id = e.account {EACH_TERMS}
                WHERE s.account IN {list} AND e.revoked IS NULL AND c.standing = 'active'
             ORDER BY 1, 2, 3"
        );
        let names: Vec<Value<'_>> = names.iter().map(|name| name.as_str().into()).collect();
        connection.for_each(&sql, &names, |row| {
            let body: String = row.get(3)?;
            let terms = match known.get(&body) {
                Some(terms) => Arc::clone(terms),
                None => {
                    let terms = Arc::new(parse(&body, "terms")?);
                    known.insert(body, Arc::clone(&terms));
                    terms
                }
            };
            let holding = holding(terms, row.get(4)?, row.get(5)?)?;
            held.entry(name(&row.get::<String>(0)?, "account")?).or_default().push(holding);
            Ok::<_, RecordError>(())
        })?;
    }
    Ok(held)
}

/// How many holdings each of the named accounts may have at most by what it has now: a package counts as all that it may ever
/// hold, and a seat counts whether the company is served or not. So neither can lead past
/// [`penstock_core::account::HOLDINGS_MAX`].
pub(crate) fn weights(connection: &Connection, names: &[&AccountId]) -> Result<HashMap<AccountId, usize>, RecordError> {
    let mut weights: HashMap<AccountId, usize> = HashMap::new();
    for names in names.chunks(ROWS_MAX) {
        let list = placeholders(1, names.len());
        let sql = format!(
            "SELECT e.account, COUNT(e.terms), COUNT(e.package) FROM entitlements e
                WHERE e.account IN {list} AND e.seats IS NULL AND e.revoked IS NULL GROUP BY e.account
             UNION ALL
             SELECT s.account, COUNT(e.terms), COUNT(e.package) FROM seats s JOIN entitlements e ON e.id = s.entitlement
                WHERE s.account IN {list} AND e.revoked IS NULL GROUP BY s.account"
        );
        let names: Vec<Value<'_>> = names.iter().map(|name| name.as_str().into()).collect();
        connection.for_each(&sql, &names, |row| {
            let weight = count(row, 1)? + count(row, 2)? * PACKAGE_ITEMS_MAX;
            *weights.entry(name(&row.get::<String>(0)?, "account")?).or_default() += weight;
            Ok::<_, RecordError>(())
        })?;
    }
    Ok(weights)
}

fn count(row: &Row<'_>, index: usize) -> Result<usize, RecordError> {
    usize::try_from(row.get::<i64>(index)?).map_err(|_| RecordError::Damaged { what: "number" })
}

/// Accounts whose holdings change together, each once, at most `limit`.
pub(crate) fn affected(connection: &Connection, whose: Whose<'_>, limit: usize) -> Result<Vec<AccountId>, RecordError> {
    let limit = to_sql(limit as u64)?;
    let read = |row: &Row<'_>| name(&row.get::<String>(0)?, "account");
    match whose {
        Whose::Company(company) => connection.query(
            "SELECT DISTINCT s.account FROM entitlements e JOIN seats s ON s.entitlement = e.id
                WHERE e.account = $1 AND e.revoked IS NULL LIMIT $2",
            values![company.as_str(), limit],
            read,
        ),
        Whose::Entitlement(id) => connection.query(
            "SELECT account FROM seats WHERE entitlement = $1 LIMIT $2",
            values![to_sql(id)?, limit],
            read,
        ),
        Whose::Package(package) => connection.query(
            "SELECT e.account FROM entitlements e
                WHERE e.package = $1 AND e.seats IS NULL AND e.revoked IS NULL
             UNION
             SELECT s.account FROM entitlements e JOIN seats s ON s.entitlement = e.id
                WHERE e.package = $1 AND e.revoked IS NULL
             LIMIT $2",
            values![package.as_str(), limit],
            read,
        ),
    }
}

/// A holding from its columns.
pub(super) fn holding(terms: Arc<Terms>, starts: Option<i64>, ends: Option<i64>) -> Result<Holding, RecordError> {
    Ok(Holding {
        terms,
        starts: UnixSeconds(from_sql(starts.unwrap_or(0))?),
        ends: ends.map(|ends| from_sql(ends).map(UnixSeconds)).transpose()?,
    })
}
