//! Rows of `products` and `rotations`.

use super::{RecordError, from_sql, name, to_sql};
use crate::sql::{Connection, Row, values};
use penstock_core::catalog::{AccessClass, Product};
use penstock_core::id::ProductId;
use penstock_core::time::UnixSeconds;

/// A product with what the publisher signed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProductRow {
    pub(crate) product: Product,
    /// `TrustSet` text pinned by the first release; empty before.
    pub(crate) publisher: String,
    /// The delegation in force (an encoded envelope).
    pub(crate) delegation: Option<Vec<u8>>,
    /// Its sequence; 0 when there is none.
    pub(crate) delegation_sequence: u64,
}

const COLUMNS: &str = "id, title, access, export_class, publisher, delegation, delegation_sequence";

/// One product.
pub(crate) fn get(connection: &Connection, id: &ProductId) -> Result<Option<ProductRow>, RecordError> {
    let sql = format!("SELECT {COLUMNS} FROM products WHERE id = $1");
    connection.query_optional(&sql, values![id.as_str()], read_row)
}

/// All products, by name.
pub(crate) fn list(connection: &Connection) -> Result<Vec<ProductRow>, RecordError> {
    connection.query(&format!("SELECT {COLUMNS} FROM products ORDER BY id"), &[], read_row)
}

/// The names of all products. A damaged row is logged and left out, so that it is in nobody's way.
pub(crate) fn ids(connection: &Connection) -> Result<Vec<ProductId>, RecordError> {
    let mut ids = Vec::new();
    connection.for_each("SELECT id FROM products ORDER BY id", &[], |row| {
        match name(&row.get::<String>(0)?, "product") {
            Ok(id) => ids.push(id),
            Err(error) => tracing::error!(%error, "a product cannot be read"),
        }
        Ok::<_, RecordError>(())
    })?;
    Ok(ids)
}

/// Writes a product, new or changed; what the publisher signed stays.
pub(crate) fn put(connection: &Connection, product: &Product, now: UnixSeconds) -> Result<(), RecordError> {
    let access = access_text(product.access);
    connection.execute(
        "INSERT INTO products (id, title, access, export_class, created) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (id) DO UPDATE SET
             title = excluded.title, access = excluded.access, export_class = excluded.export_class",
        values![product.id.as_str(), product.title.as_str(), access, product.export_class.as_str(), to_sql(now.0)?,],
    )?;
    Ok(())
}

/// Pins a product's publisher, which had none.
pub(crate) fn pin(connection: &Connection, id: &ProductId, publisher: &str) -> Result<(), RecordError> {
    connection.execute("UPDATE products SET publisher = $1 WHERE id = $2", values![publisher, id.as_str()])?;
    Ok(())
}

/// Puts a delegation in force.
pub(crate) fn delegate(
    connection: &Connection,
    id: &ProductId,
    sequence: u64,
    envelope: &[u8],
) -> Result<(), RecordError> {
    connection.execute(
        "UPDATE products SET delegation = $1, delegation_sequence = $2 WHERE id = $3",
        values![envelope, to_sql(sequence)?, id.as_str()],
    )?;
    Ok(())
}

/// The signed successions of a product's publisher, oldest first.
pub(crate) fn rotations(connection: &Connection, id: &ProductId) -> Result<Vec<Vec<u8>>, RecordError> {
    let sql = "SELECT envelope FROM rotations WHERE product = $1 ORDER BY step";
    connection.query(sql, values![id.as_str()], |row| Ok(row.get(0)?))
}

/// Appends a succession; `step` is the number of those before.
pub(crate) fn add_rotation(
    connection: &Connection,
    id: &ProductId,
    step: usize,
    envelope: &[u8],
    now: UnixSeconds,
) -> Result<(), RecordError> {
    connection.execute(
        "INSERT INTO rotations (product, step, added, envelope) VALUES ($1, $2, $3, $4)",
        values![id.as_str(), to_sql(step as u64)?, to_sql(now.0)?, envelope],
    )?;
    Ok(())
}

/// How the access class stands in the database.
pub(crate) const fn access_text(access: AccessClass) -> &'static str {
    match access {
        AccessClass::Open => "open",
        AccessClass::Registered => "registered",
        AccessClass::Licensed => "licensed",
        AccessClass::Closed => "closed",
    }
}

/// The access class that stands in the database.
pub(crate) fn access_class(text: &str) -> Result<AccessClass, RecordError> {
    match text {
        "open" => Ok(AccessClass::Open),
        "registered" => Ok(AccessClass::Registered),
        "licensed" => Ok(AccessClass::Licensed),
        "closed" => Ok(AccessClass::Closed),
        _ => Err(RecordError::Damaged { what: "access class" }),
    }
}

fn read_row(row: &Row<'_>) -> Result<ProductRow, RecordError> {
    let (id, access): (String, String) = (row.get(0)?, row.get(2)?);
    Ok(ProductRow {
        product: Product {
            id: name(&id, "product")?,
            title: row.get(1)?,
            access: access_class(&access)?,
            export_class: row.get(3)?,
        },
        publisher: row.get(4)?,
        delegation: row.get(5)?,
        delegation_sequence: from_sql(row.get(6)?)?,
    })
}
