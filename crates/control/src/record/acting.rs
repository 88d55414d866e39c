//! In whose name the holder of a company's or a reseller's credential acts, and whether it still may.
//!
//! Such a credential names the company or the reseller itself, or a person who is one of the company's admins. What
//! follows from that is looked at for every call, and once more in the transaction that changes something, because people
//! leave and companies are suspended in between.

use super::{RecordError, accounts, people};
use crate::actor::Actor;
use crate::sql::Connection;
use penstock_core::account::{AccountId, Standing};
use penstock_core::credential::{Credential, Role};
use penstock_core::delegate::Party;
use penstock_core::desk::{AccountKind, UserRole};

/// Why nothing is done in somebody's name.
#[derive(Debug, thiserror::Error)]
pub enum ActingError {
    /// It is not served.
    #[error("account {0} is not active, so nothing is changed or signed in its name")]
    NotServed(AccountId),
    /// It has no say in a company.
    #[error("account {0} is neither a company nor one of a company's admins, so it acts for none")]
    NotAdmin(AccountId),
    /// It sells nothing.
    #[error("account {0} is no reseller, so it does not act as one")]
    NotReseller(AccountId),
}

/// In whose name the holder of a credential acts.
///
/// # Errors
/// [`ActingError`]; a credential whose role and account do not fit is damaged, and acts for nobody.
pub(crate) fn party(connection: &Connection, credential: &Credential) -> Result<Party, RecordError> {
    let named = match (&credential.account, credential.role.is_for_one_account()) {
        (None, false) => return Ok(Party::Studio),
        (Some(named), true) => named,
        (Some(_), false) | (None, true) => return Err(RecordError::Damaged { what: "credential for an account" }),
    };
    let kind = accounts::get(connection, named)?.map(|account| account.kind);
    match (credential.role, kind) {
        (Role::Reseller, Some(AccountKind::Reseller)) => Ok(Party::Reseller(named.clone())),
        (Role::Reseller, _) => Err(ActingError::NotReseller(named.clone()).into()),
        (_, Some(AccountKind::Business)) => Ok(Party::Company(named.clone())),
        _ => {
            let admin = people::user(connection, named)?.filter(|user| user.role == UserRole::Admin);
            let admin = admin.ok_or_else(|| ActingError::NotAdmin(named.clone()))?;
            Ok(Party::Company(admin.company))
        }
    }
}

/// That an actor may change something, or have it signed, in the name that it acts in: all who are behind it are served,
/// and a person has not lost its say meanwhile.
///
/// # Errors
/// [`ActingError`].
pub(crate) fn check(connection: &Connection, actor: &Actor) -> Result<(), RecordError> {
    let (Some(own), Some(named)) = (actor.account(), actor.named()) else { return Ok(()) };
    served(connection, own)?;
    if named != own {
        served(connection, named)?;
        let user = people::user(connection, named)?;
        if user.is_none_or(|user| user.company != *own || user.role != UserRole::Admin) {
            return Err(ActingError::NotAdmin(named.clone()).into());
        }
    }
    Ok(())
}

fn served(connection: &Connection, account: &AccountId) -> Result<(), RecordError> {
    let known = accounts::get(connection, account)?;
    if known.is_some_and(|known| known.standing == Standing::Active) {
        Ok(())
    } else {
        Err(ActingError::NotServed(account.clone()).into())
    }
}
