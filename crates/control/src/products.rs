//! Products: create, change, list, and what a publisher must know before it signs.

use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::Node;
use crate::error::CallError;
use crate::record::audit::Deed;
use crate::record::products::{self, ProductRow};
use crate::sql::Connection;
use penstock_core::api::{PutProduct, SigningAnswer};
use penstock_core::catalog::{CatalogChange, Product};
use penstock_core::id::ProductId;
use penstock_core::keys::TrustSet;
use penstock_core::limits::{NAME_BYTES_MAX, TITLE_BYTES_MAX};
use penstock_core::statement::Delegation;
use penstock_core::trust::{TrustError, follow_rotations, verify_delegation};

/// Whether a call made something or found it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    New,
    Before,
}

/// Creates a product, or changes its title, access or export class.
pub(crate) fn put(
    node: &Node,
    actor: &Actor,
    condition: &Condition,
    wanted: PutProduct,
) -> Result<(Product, Made), CallError> {
    let wanted = check(wanted)?;
    actor.require_product(&wanted.id)?;
    node.record.write(actor, node.now(), |batch| {
        let known = products::get(batch.connection(), &wanted.id)?;
        let made = if known.is_some() { Made::Before } else { Made::New };
        let before = known.map(|row| row.product);
        condition.check(before.as_ref())?;
        if before.as_ref() != Some(&wanted) {
            products::put(batch.connection(), &wanted, batch.now())?;
            batch
                .audit(&Deed::new("product.put", format!("product/{}", wanted.id)).change(before.as_ref(), &wanted)?)?;
            batch.tell(CatalogChange::Product(wanted.clone()))?;
        }
        Ok((wanted, made))
    })
}

/// One product.
pub(crate) fn get(node: &Node, id: &ProductId) -> Result<Product, CallError> {
    node.record.read(|connection| Ok(find(connection, id)?.product))
}

/// All products, by name.
///
/// Whoever is limited to some hears of no others: a closed one's name says something too.
pub(crate) fn list(node: &Node, actor: &Actor) -> Result<Vec<Product>, CallError> {
    node.record.read(|connection| {
        let all = products::list(connection)?.into_iter().map(|row| row.product);
        Ok(all.filter(|product| actor.require_product(&product.id).is_ok()).collect())
    })
}

/// What a publisher must know before it signs a delegation or a release.
pub(crate) fn signing(node: &Node, id: &ProductId) -> Result<SigningAnswer, CallError> {
    node.record.read(|connection| {
        let row = find(connection, id)?;
        let publisher = publisher_in_force(connection, &row)?;
        let delegation = match &publisher {
            Some(trust) => delegation_in_force(&row, trust)?,
            None => None,
        };
        Ok(SigningAnswer {
            channel_key: node.keys.channel.public(),
            delegation_sequence: row.delegation_sequence,
            delegation_expires: delegation.as_ref().and_then(|delegation| delegation.expires),
            delegated: delegation.map(|delegation| delegation.keys.to_string()).unwrap_or_default(),
            publisher: publisher.map(|trust| trust.to_string()).unwrap_or_default(),
        })
    })
}

/// The product, or the error that says how to make it.
pub(crate) fn find(connection: &Connection, id: &ProductId) -> Result<ProductRow, CallError> {
    products::get(connection, id)?.ok_or_else(|| CallError::NoProduct(id.clone()))
}

/// The publisher's keys after all rotations; `None` before the first release.
pub(crate) fn publisher_in_force(connection: &Connection, row: &ProductRow) -> Result<Option<TrustSet>, CallError> {
    if row.publisher.is_empty() {
        return Ok(None);
    }
    let pinned = crate::record::name(&row.publisher, "publisher")?;
    let rotations = products::rotations(connection, &row.product.id)?;
    follow_rotations(&pinned, &rotations).map(Some).map_err(|error| CallError::SignedRecord("rotations", error))
}

/// The delegation in force, read back as clients will read it.
pub(crate) fn delegation_in_force(row: &ProductRow, trust: &TrustSet) -> Result<Option<Delegation>, CallError> {
    let damaged = |error: TrustError| CallError::SignedRecord("delegations", error);
    row.delegation.as_deref().map(|bytes| verify_delegation(trust, bytes, &row.product.id).map_err(damaged)).transpose()
}

fn check(wanted: PutProduct) -> Result<Product, CallError> {
    let title = if wanted.title.is_empty() { wanted.id.to_string() } else { wanted.title };
    check_line("title", &title, TITLE_BYTES_MAX)?;
    check_line("export_class", &wanted.export_class, NAME_BYTES_MAX)?;
    Ok(Product { id: wanted.id, title, access: wanted.access, export_class: wanted.export_class })
}

fn check_line(field: &str, text: &str, max: usize) -> Result<(), CallError> {
    if text.len() > max {
        return Err(CallError::Malformed(format!("{field} has {} bytes, at most {max} are allowed", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(CallError::Malformed(format!("{field} must not have control characters")));
    }
    Ok(())
}
