//! Packages: named lists of what is given together. A change of one is a change of what everyone holds who has it.

use crate::accounts::check_terms;
use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::Node;
use crate::entitlements::of_terms;
use crate::error::CallError;
use crate::people_error::PeopleError;
use crate::products::Made;
use crate::record::audit::Deed;
use crate::record::entitlements::What;
use crate::record::holdings::Whose;
use crate::record::packages;
use crate::sql::Connection;
use crate::told;
use penstock_core::account::Terms;
use penstock_core::desk::{Package, PackagesAnswer, PutPackage};
use penstock_core::id::PackageId;
use penstock_core::limits::{PACKAGE_ITEMS_MAX, PACKAGES_MAX, TITLE_BYTES_MAX};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Makes a package, or replaces what is in it.
pub(crate) fn put(
    node: &Node,
    actor: &Actor,
    condition: &Condition,
    id: &PackageId,
    wanted: PutPackage,
) -> Result<(Package, Made), CallError> {
    let (title, items) = check(id, wanted)?;
    node.record.write(actor, node.now(), |batch| {
        let known = packages::get(batch.connection(), id)?;
        condition.check(known.as_ref())?;
        if let Some(known) = &known
            && known.title == title
            && known.items == items
        {
            return Ok((known.clone(), Made::Before));
        }
        if known.is_none() && packages::count(batch.connection())? >= PACKAGES_MAX as u64 {
            return Err(CallError::TooLarge { what: "the packages", max: PACKAGES_MAX as u64 });
        }
        let mut numbers = Vec::with_capacity(items.len());
        for terms in &items {
            if let (What::Terms(number), _) = of_terms(batch, terms)? {
                numbers.push(number);
            }
        }
        packages::put(batch.connection(), id, &title, &numbers, batch.now())?;
        if known.as_ref().is_some_and(|known| known.items != items) {
            told::people(node, batch, Whose::Package(id))?;
        }
        let made = if known.is_some() { Made::Before } else { Made::New };
        let package = find(batch.connection(), id)?;
        batch.audit(&Deed::new("package.put", subject(id)).change(known.as_ref(), &package)?)?;
        Ok((package, made))
    })
}

/// One package.
pub(crate) fn get(node: &Node, id: &PackageId) -> Result<Package, CallError> {
    node.record.read(|connection| find(connection, id))
}

/// All packages, by id.
pub(crate) fn list(node: &Node) -> Result<PackagesAnswer, CallError> {
    node.record.read(|connection| Ok(PackagesAnswer { packages: packages::all(connection)? }))
}

/// Forgets a package that nobody was ever given.
pub(crate) fn remove(node: &Node, actor: &Actor, condition: &Condition, id: &PackageId) -> Result<Package, CallError> {
    node.record.write(actor, node.now(), |batch| {
        let known = find(batch.connection(), id)?;
        condition.check(Some(&known))?;
        if packages::is_used(batch.connection(), id)? {
            return Err(PeopleError::PackageUsed(id.clone()).into());
        }
        packages::remove(batch.connection(), id)?;
        batch.audit(&Deed::new("package.remove", subject(id)).before(&known)?)?;
        Ok(known)
    })
}

/// The package, which must be there.
pub(crate) fn find(connection: &Connection, id: &PackageId) -> Result<Package, CallError> {
    packages::get(connection, id)?.ok_or_else(|| PeopleError::NoPackage(id.clone()).into())
}

/// Under which the audit keeps what happens to a package.
fn subject(id: &PackageId) -> String {
    format!("package/{id}")
}

fn check(id: &PackageId, wanted: PutPackage) -> Result<(String, Vec<Arc<Terms>>), CallError> {
    let title = if wanted.title.is_empty() { id.to_string() } else { wanted.title };
    if title.len() > TITLE_BYTES_MAX || title.chars().any(char::is_control) {
        return Err(CallError::Malformed("title: at most 200 bytes, no control characters".to_owned()));
    }
    if wanted.items.is_empty() {
        return Err(CallError::Malformed("items: a package has at least one".to_owned()));
    }
    if wanted.items.len() > PACKAGE_ITEMS_MAX {
        return Err(CallError::TooLarge { what: "the items of one package", max: PACKAGE_ITEMS_MAX as u64 });
    }
    wanted.items.iter().try_for_each(check_terms)?;
    if wanted.items.iter().collect::<BTreeSet<_>>().len() < wanted.items.len() {
        return Err(CallError::Malformed("items: two are alike".to_owned()));
    }
    Ok((title, wanted.items.into_iter().map(Arc::new).collect()))
}
