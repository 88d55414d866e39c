//! What edges are told of accounts: all that they must know of one, whenever any part of it changes.

use crate::control::Node;
use crate::error::CallError;
use crate::record::holdings::{self, Whose};
use crate::record::{Batch, accounts};
use penstock_core::account::AccountId;
use penstock_core::catalog::CatalogChange;
use penstock_core::desk::Account;

/// People that one change tells one by one: two rows of the log and a message each, for which other changes wait, about a
/// second on a server. A change of more is told by a snapshot that is made at once.
pub(crate) const PEOPLE_TOLD_MAX: usize = 2000;

/// Tells one account.
pub(crate) fn account(node: &Node, batch: &mut Batch<'_>, account: &Account) -> Result<(), CallError> {
    accounts(node, batch, std::slice::from_ref(account))
}

/// Tells everyone whose holdings change together.
pub(crate) fn people(node: &Node, batch: &mut Batch<'_>, whose: Whose<'_>) -> Result<(), CallError> {
    let names = holdings::affected(batch.connection(), whose, PEOPLE_TOLD_MAX + 1)?;
    if names.len() > PEOPLE_TOLD_MAX {
        batch.wants_snapshot()?;
        return Ok(());
    }
    let names: Vec<&AccountId> = names.iter().collect();
    let found = accounts::lock_all(batch.connection(), &names)?;
    accounts(node, batch, &found)
}

fn accounts(node: &Node, batch: &mut Batch<'_>, all: &[Account]) -> Result<(), CallError> {
    let names: Vec<&AccountId> = all.iter().map(|account| &account.id).collect();
    let mut held = holdings::held(batch.connection(), &names)?;
    for account in all {
        let holdings = held.remove(&account.id).unwrap_or_default();
        let (account, facts) = accounts::facts(account, holdings, &node.keys.pseudonyms);
        batch.tell(CatalogChange::Account { account, facts: Some(facts) })?;
    }
    Ok(())
}
