//! Rows of `terms` and `entitlements`.

use super::accounts::{json, moment, parse};
use super::filter::Select;
use super::{ROWS_MAX, RecordError, from_sql, name, next_number, to_sql};
use crate::sql::{Connection, Row, Value, placeholders, values};
use penstock_core::account::{AccountId, Terms};
use penstock_core::desk::{Entitlement, EntitlementState, EntitlementsQuery, Given};
use penstock_core::id::{PackageId, ProductId};
use penstock_core::time::UnixSeconds;
use std::collections::HashMap;
use std::sync::Arc;

const ENTITLEMENT: &str =
    "SELECT e.id, e.account, t.body, e.package, e.allocation, e.seats, e.starts, e.ends, e.granted,
        e.revoked, CASE WHEN e.seats IS NULL THEN 0 ELSE
            (SELECT COUNT(*) FROM seats s WHERE s.entitlement = e.id) END
    FROM entitlements e LEFT JOIN terms t ON t.id = e.terms";

/// What an entitlement is of, as rows say it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// The number of its terms.
    Terms(i64),
    /// A package.
    Package(PackageId),
}

impl What {
    /// The columns `terms` and `package`.
    pub(super) fn columns(&self) -> [Value<'_>; 2] {
        match self {
            Self::Terms(number) => [(*number).into(), Value::Null],
            Self::Package(package) => [Value::Null, package.as_str().into()],
        }
    }
}

/// What is given to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewEntitlement {
    pub(crate) account: AccountId,
    pub(crate) what: What,
    pub(crate) seats: Option<u64>,
    pub(crate) allocation: Option<u64>,
    pub(crate) starts: UnixSeconds,
    pub(crate) ends: Option<UnixSeconds>,
}

/// Gives one entitlement and returns its number.
pub(crate) fn grant(connection: &Connection, given: &NewEntitlement, now: UnixSeconds) -> Result<u64, RecordError> {
    grant_all(connection, std::slice::from_ref(given), now)
}

/// Gives many entitlements, numbered one after the other; returns the number of the first.
pub(crate) fn grant_all(
    connection: &Connection,
    given: &[NewEntitlement],
    now: UnixSeconds,
) -> Result<u64, RecordError> {
    let count = to_sql(given.len() as u64)?;
    let sql = "UPDATE counters SET last = last + $1 WHERE name = $2 RETURNING last";
    let last: i64 = connection.query_value(sql, values![count, "entitlements"])?;
    let first = last - count + 1;
    let mut ids = first..;
    for given in given.chunks(ROWS_MAX) {
        let mut all: Vec<Value<'_>> = Vec::with_capacity(given.len() * 9);
        for (one, id) in given.iter().zip(ids.by_ref()) {
            let number = |number: Option<u64>| number.map(to_sql).transpose();
            let [terms, package] = one.what.columns();
            all.extend::<[Value<'_>; 9]>([
                id.into(),
                one.account.as_str().into(),
                terms,
                package,
                number(one.seats)?.into(),
                number(one.allocation)?.into(),
                to_sql(one.starts.0)?.into(),
                number(one.ends.map(|ends| ends.0))?.into(),
                to_sql(now.0)?.into(),
            ]);
        }
        let list = placeholders(given.len(), 9);
        let sql = format!(
            "INSERT INTO entitlements (id, account, terms, package, seats, allocation, starts, ends, granted) VALUES {list}"
        );
        connection.execute(&sql, &all)?;
    }
    from_sql(first)
}

/// One entitlement.
pub(crate) fn get(connection: &Connection, id: u64) -> Result<Option<Entitlement>, RecordError> {
    connection.query_optional(&format!("{ENTITLEMENT} WHERE e.id = $1"), values![to_sql(id)?], read)
}

/// Everything that an account was given, oldest first.
pub(crate) fn of_account(connection: &Connection, account: &AccountId) -> Result<Vec<Entitlement>, RecordError> {
    let sql = format!("{ENTITLEMENT} WHERE e.account = $1 ORDER BY e.id");
    connection.query(&sql, values![account.as_str()], read)
}

/// What an import compares: an entitlement in force, but for its number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Same {
    pub(crate) what: What,
    pub(crate) seats: Option<u64>,
    pub(crate) starts: UnixSeconds,
    pub(crate) ends: Option<UnixSeconds>,
}

/// Shows what the named accounts were given and still have, allocations aside.
pub(crate) fn each_live(
    connection: &Connection,
    names: &[&AccountId],
    mut show: impl FnMut(AccountId, Same),
) -> Result<(), RecordError> {
    for names in names.chunks(ROWS_MAX) {
        let list = placeholders(1, names.len());
        let sql = format!(
            "SELECT account, terms, package, seats, starts, ends FROM entitlements
                WHERE revoked IS NULL AND allocation IS NULL AND account IN {list}"
        );
        let names: Vec<Value<'_>> = names.iter().map(|name| name.as_str().into()).collect();
        connection.for_each(&sql, &names, |row| {
            let what = match (row.get(1)?, row.get::<Option<String>>(2)?) {
                (Some(number), None) => What::Terms(number),
                (None, Some(package)) => What::Package(name(&package, "package")?),
                _ => return Err(RecordError::Damaged { what: "entitlement of something" }),
            };
            let seats = row.get::<Option<i64>>(3)?.map(from_sql).transpose()?;
            let starts = UnixSeconds(from_sql(row.get(4)?)?);
            show(name(&row.get::<String>(0)?, "account")?, Same { what, seats, starts, ends: moment(row.get(5)?)? });
            Ok::<_, RecordError>(())
        })?;
    }
    Ok(())
}

/// Entitlements by number, from the one after `wanted.after` on. Packages are of every product in them.
pub(crate) fn page(
    connection: &Connection,
    wanted: &EntitlementsQuery,
    limit: u64,
    now: UnixSeconds,
) -> Result<Vec<Entitlement>, RecordError> {
    let now = to_sql(now.0)?;
    let mut select = Select::new(format!("{ENTITLEMENT} WHERE e.id >"), to_sql(wanted.after.unwrap_or(0))?);
    select.and("e.account =", wanted.account.as_ref().map(AccountId::as_str));
    if let Some(product) = &wanted.product {
        let of_product =
            "EXISTS (SELECT 1 FROM terms p LEFT JOIN package_items i ON i.terms = p.id AND i.package = e.package
            WHERE (p.id = e.terms OR i.package IS NOT NULL) AND p.product =";
        select.and(of_product, Some(product.as_str()));
        select.push(")");
    }
    match wanted.state {
        None => {}
        Some(EntitlementState::Revoked) => select.push(" AND e.revoked IS NOT NULL"),
        Some(EntitlementState::Scheduled) => select.and("e.revoked IS NULL AND e.starts >", Some(now)),
        Some(EntitlementState::Ended) => select.and("e.revoked IS NULL AND e.ends <=", Some(now)),
        Some(EntitlementState::Live) => {
            select.and("e.revoked IS NULL AND e.starts <=", Some(now));
            select.and("(e.ends IS NULL OR e.ends >", Some(now));
            select.push(")");
        }
    }
    select.rows(connection, "e.id", to_sql(limit)?, read)
}

/// Takes an entitlement back. One that was taken back before stays as it was.
pub(crate) fn revoke(connection: &Connection, id: u64, now: UnixSeconds) -> Result<(), RecordError> {
    let sql = "UPDATE entitlements SET revoked = $1 WHERE id = $2 AND revoked IS NULL";
    connection.execute(sql, values![to_sql(now.0)?, to_sql(id)?])?;
    Ok(())
}

/// How many entitlements an account has that were not taken back.
pub(crate) fn count_live(connection: &Connection, account: &AccountId) -> Result<u64, RecordError> {
    let sql = "SELECT COUNT(*) FROM entitlements WHERE account = $1 AND revoked IS NULL";
    from_sql(connection.query_value(sql, values![account.as_str()])?)
}

/// Forgets what was taken back from an account, seats included, but for the newest `keep`.
pub(crate) fn forget_revoked(connection: &Connection, account: &AccountId, keep: usize) -> Result<(), RecordError> {
    let sql = "SELECT id FROM entitlements WHERE account = $1 AND revoked IS NOT NULL
        ORDER BY revoked DESC, id DESC LIMIT $2 OFFSET $3";
    let beyond = values![account.as_str(), i64::MAX, to_sql(keep as u64)?];
    let ids: Vec<i64> = connection.query(sql, beyond, |row| Ok::<_, RecordError>(row.get(0)?))?;
    for ids in ids.chunks(ROWS_MAX) {
        let list = placeholders(1, ids.len());
        let ids: Vec<Value<'_>> = ids.iter().map(|id| (*id).into()).collect();
        connection.execute(&format!("DELETE FROM seats WHERE entitlement IN {list}"), &ids)?;
        connection.execute(&format!("DELETE FROM entitlements WHERE id IN {list}"), &ids)?;
    }
    Ok(())
}

/// The number of terms, made when nobody had them yet.
pub(crate) fn terms_number(connection: &Connection, terms: &Terms) -> Result<i64, RecordError> {
    terms_number_cached(connection, terms, &mut HashMap::new())
}

/// As [`terms_number`], asked for once for each that differs.
pub(crate) fn terms_number_cached(
    connection: &Connection,
    terms: &Terms,
    known: &mut HashMap<String, i64>,
) -> Result<i64, RecordError> {
    let body = json(terms, "terms")?;
    if let Some(number) = known.get(&body) {
        return Ok(*number);
    }
    let find = "SELECT id FROM terms WHERE body = $1";
    let number = match connection.query_optional(find, values![body.as_str()], |row| row.get::<i64>(0))? {
        Some(number) => number,
        None => {
            let number = next_number(connection, "terms")?;
            connection.execute(
                "INSERT INTO terms (id, product, body) VALUES ($1, $2, $3)",
                values![number, terms.product.as_str(), body.as_str()],
            )?;
            number
        }
    };
    known.insert(body, number);
    Ok(number)
}

/// Terms of a product that name channels or platforms, and that somebody has or may yet be given.
pub(crate) fn limiting(connection: &Connection, product: &ProductId) -> Result<Vec<Terms>, RecordError> {
    let sql = r#"SELECT t.body FROM terms t
        WHERE t.product = $1 AND (t.body LIKE '%"channels":[%' OR t.body LIKE '%"platforms":[%') AND (
            EXISTS (SELECT 1 FROM entitlements e WHERE e.terms = t.id AND e.revoked IS NULL)
            OR EXISTS (SELECT 1 FROM package_items i WHERE i.terms = t.id)
            OR EXISTS (SELECT 1 FROM allocations a WHERE a.terms = t.id AND a.closed IS NULL))
        ORDER BY t.id"#;
    let all =
        connection.query(sql, values![product.as_str()], |row| parse::<Terms>(&row.get::<String>(0)?, "terms"))?;
    Ok(all.into_iter().filter(|terms| !terms.channels.is_empty() || !terms.platforms.is_empty()).collect())
}

/// What an entitlement or an allocation is of, from its columns: the body of its terms, and its package.
pub(super) fn given(terms: Option<String>, package: Option<String>) -> Result<Given, RecordError> {
    match (terms, package) {
        (Some(terms), None) => Ok(Given::Terms(Arc::new(parse(&terms, "terms")?))),
        (None, Some(package)) => Ok(Given::Package(name(&package, "package")?)),
        _ => Err(RecordError::Damaged { what: "entitlement of something" }),
    }
}

fn read(row: &Row<'_>) -> Result<Entitlement, RecordError> {
    let number =
        |index| -> Result<Option<u64>, RecordError> { row.get::<Option<i64>>(index)?.map(from_sql).transpose() };
    let seats = number(5)?;
    let taken = from_sql(row.get(10)?)?;
    Ok(Entitlement {
        id: from_sql(row.get(0)?)?,
        account: name(&row.get::<String>(1)?, "account")?,
        what: given(row.get(2)?, row.get(3)?)?,
        allocation: number(4)?,
        seats,
        seats_taken: seats.map(|_| taken),
        starts: UnixSeconds(from_sql(row.get(6)?)?),
        ends: moment(row.get(7)?)?,
        granted: UnixSeconds(from_sql(row.get(8)?)?),
        revoked: moment(row.get(9)?)?,
    })
}
