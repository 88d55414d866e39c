//! Rows of `packages` and `package_items`.

use super::accounts::parse;
use super::{RecordError, from_sql, name, to_sql};
use crate::sql::{Connection, Row, values};
use penstock_core::desk::Package;
use penstock_core::id::PackageId;
use penstock_core::time::UnixSeconds;
use std::collections::BTreeSet;
use std::sync::Arc;

const ROW: &str = "SELECT p.id, p.title, p.changed, t.body FROM packages p
    JOIN package_items i ON i.package = p.id JOIN terms t ON t.id = i.terms";

/// One package.
pub(crate) fn get(connection: &Connection, id: &PackageId) -> Result<Option<Package>, RecordError> {
    let sql = format!("{ROW} WHERE p.id = $1 ORDER BY i.position");
    let mut found = Vec::new();
    connection.for_each(&sql, values![id.as_str()], |row| add(&mut found, row))?;
    Ok(found.pop())
}

/// The names of all packages.
pub(crate) fn ids(connection: &Connection) -> Result<BTreeSet<PackageId>, RecordError> {
    let ids = connection.query("SELECT id FROM packages", &[], |row| name(&row.get::<String>(0)?, "package"))?;
    Ok(ids.into_iter().collect())
}

/// All packages, by id.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Package>, RecordError> {
    let mut found = Vec::new();
    connection.for_each(&format!("{ROW} ORDER BY p.id, i.position"), &[], |row| add(&mut found, row))?;
    Ok(found)
}

/// How many there are.
pub(crate) fn count(connection: &Connection) -> Result<u64, RecordError> {
    from_sql(connection.query_value("SELECT COUNT(*) FROM packages", &[])?)
}

/// Writes a package and what is in it, by the numbers of its terms.
pub(crate) fn put(
    connection: &Connection,
    id: &PackageId,
    title: &str,
    terms: &[i64],
    now: UnixSeconds,
) -> Result<(), RecordError> {
    connection.execute(
        "INSERT INTO packages (id, title, changed) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET title = excluded.title, changed = excluded.changed",
        values![id.as_str(), title, to_sql(now.0)?],
    )?;
    connection.execute("DELETE FROM package_items WHERE package = $1", values![id.as_str()])?;
    for (position, terms) in (0_i64..).zip(terms) {
        connection.execute(
            "INSERT INTO package_items (package, position, terms) VALUES ($1, $2, $3)",
            values![id.as_str(), position, *terms],
        )?;
    }
    Ok(())
}

/// Whether an entitlement or an allocation was ever of it.
pub(crate) fn is_used(connection: &Connection, id: &PackageId) -> Result<bool, RecordError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM entitlements WHERE package = $1)
        OR EXISTS (SELECT 1 FROM allocations WHERE package = $1)";
    Ok(connection.query_value(sql, values![id.as_str()])?)
}

/// Forgets a package that is not used.
pub(crate) fn remove(connection: &Connection, id: &PackageId) -> Result<(), RecordError> {
    connection.execute("DELETE FROM package_items WHERE package = $1", values![id.as_str()])?;
    connection.execute("DELETE FROM packages WHERE id = $1", values![id.as_str()])?;
    Ok(())
}

/// One item: of the package before, or of the next one.
fn add(found: &mut Vec<Package>, row: &Row<'_>) -> Result<(), RecordError> {
    let id: PackageId = name(&row.get::<String>(0)?, "package")?;
    if found.last().is_none_or(|package| package.id != id) {
        let changed = UnixSeconds(from_sql(row.get(2)?)?);
        found.push(Package { id, title: row.get(1)?, items: Vec::new(), changed });
    }
    let terms = Arc::new(parse(&row.get::<String>(3)?, "terms")?);
    if let Some(package) = found.last_mut() {
        package.items.push(terms);
    }
    Ok(())
}
