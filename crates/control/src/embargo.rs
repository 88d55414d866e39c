//! The embargo policy: read, replaced as a whole, every version kept.
//!
//! Whoever replaces it names the version that was read, so that two people at once do not undo each other's rules.

use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::Node;
use crate::error::CallError;
use crate::record::audit::Deed;
use crate::record::{embargoes, products};
use crate::sql::Connection;
use penstock_core::catalog::{CatalogChange, Product};
use penstock_core::desk::policy::{EmbargoAnswer, EmbargoVersionsAnswer};
use penstock_core::limits::PAGE_ROWS_MAX;
use penstock_core::place::Embargo;
use penstock_core::statement::SEQUENCE_MAX;
use std::collections::BTreeSet;

/// The policy in force, or another version of it.
pub(crate) fn get(node: &Node, version: Option<u64>) -> Result<Embargo, CallError> {
    node.record.read(|connection| match version {
        None => Ok(embargoes::newest(connection)?),
        Some(0) => Ok(Embargo::default()),
        Some(version) => {
            // A number that no row can have is asked for as one that none has.
            let known = embargoes::get(connection, version.min(SEQUENCE_MAX))?;
            known.ok_or(CallError::NoEmbargoVersion(version))
        }
    })
}

/// A page of versions, newest first.
pub(crate) fn versions(
    node: &Node,
    before: Option<u64>,
    limit: Option<u64>,
) -> Result<EmbargoVersionsAnswer, CallError> {
    let most = PAGE_ROWS_MAX as u64;
    let limit = limit.unwrap_or(most).clamp(1, most);
    node.record.read(|connection| {
        let before = before.unwrap_or(SEQUENCE_MAX).min(SEQUENCE_MAX);
        let mut versions = embargoes::versions(connection, before, limit + 1)?;
        let is_last = versions.len() as u64 <= limit;
        versions.truncate(usize::try_from(limit).unwrap_or(PAGE_ROWS_MAX));
        let next = if is_last { None } else { versions.last().map(|row| row.version) };
        Ok(EmbargoVersionsAnswer { versions, next })
    })
}

/// Replaces the policy of the version that `wanted` names. The very same rules again, by somebody who did not hear the
/// answer, change nothing.
pub(crate) fn put(
    node: &Node,
    actor: &Actor,
    condition: &Condition,
    wanted: &Embargo,
) -> Result<EmbargoAnswer, CallError> {
    actor.require_no_limit()?;
    wanted.check().map_err(|error| CallError::Malformed(error.to_string()))?;
    node.record.write(actor, node.now(), |batch| {
        let known = embargoes::newest(batch.connection())?;
        condition.check(Some(&known))?;
        let is_repeated = known.version == wanted.version.saturating_add(1) && known.classes == wanted.classes;
        if known.version != wanted.version && !is_repeated {
            return Err(CallError::EmbargoChanged { found: wanted.version, known: known.version });
        }
        let warnings = warnings(wanted, &all_products(batch.connection())?);
        if known.classes == wanted.classes {
            return Ok(EmbargoAnswer { embargo: known, warnings });
        }
        let embargo = Embargo { version: known.version + 1, classes: wanted.classes.clone() };
        embargoes::insert(batch.connection(), &embargo, batch.now())?;
        batch.audit(&Deed::new("embargo.put", "embargo".to_owned()).before(&known)?.after(&embargo)?)?;
        batch.tell(CatalogChange::Embargo(embargo.clone()))?;
        Ok(EmbargoAnswer { embargo, warnings })
    })
}

fn all_products(connection: &Connection) -> Result<Vec<Product>, CallError> {
    Ok(products::list(connection)?.into_iter().map(|row| row.product).collect())
}

/// What looks like a mistake: rules for a class that no product is of.
fn warnings(policy: &Embargo, products: &[Product]) -> Vec<String> {
    let used: BTreeSet<&str> = products.iter().map(|product| product.export_class.as_str()).collect();
    let unused = policy.classes.keys().filter(|class| !class.is_empty() && !used.contains(class.as_str()));
    unused.map(|class| format!("no product is of the export class {class:?}: these rules hold for nothing")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::catalog::AccessClass;
    use penstock_core::id::ProductId;
    use penstock_core::place::ClassRules;

    #[test]
    fn rules_that_hold_for_nothing_are_warned_of() {
        let product = |class: &str| Product {
            id: ProductId::new("game").expect("name"),
            title: String::new(),
            access: AccessClass::Open,
            export_class: class.to_owned(),
        };
        let classes = ["", "EAR99", "5D002"].map(|class| (class.to_owned(), ClassRules::default()));
        let policy = Embargo { version: 1, classes: classes.into_iter().collect() };
        let found = warnings(&policy, &[product("EAR99"), product("")]);
        assert!(found.len() == 1 && found[0].contains("5D002"), "{found:?}");
        assert_eq!(warnings(&policy, &[product("EAR99"), product("5D002")]), Vec::<String>::new());
    }
}
