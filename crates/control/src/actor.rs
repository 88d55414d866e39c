//! Who calls: made at the door from the credential that was shown, and handed to every operation that changes anything.
//!
//! The audit records an actor's name and role beside what it did, so no operation can leave it out.

use crate::error::CallError;
use crate::permit::{Permission, allows};
use penstock_core::account::AccountId;
use penstock_core::credential::{Credential, Role};
use penstock_core::id::ProductId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Somebody who was let in. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor(Arc<Who>);

#[derive(Debug, PartialEq, Eq)]
struct Who {
    name: String,
    role: Role,
    account: Option<AccountId>,
    products: BTreeSet<ProductId>,
}

impl Actor {
    /// Whoever can open the node's socket.
    pub(crate) fn socket() -> Self {
        Self::owner("@socket")
    }
    /// Whoever has the node's own admin token.
    pub(crate) fn admin_token() -> Self {
        Self::owner("@admin.token")
    }
    /// The node itself, for what it does without being asked.
    pub(crate) fn node() -> Self {
        Self::owner("@node")
    }
    /// The holder of a credential of the record.
    pub(crate) fn holder(credential: Credential) -> Self {
        let Credential { name, role, account, products, .. } = credential;
        Self(Arc::new(Who { name: name.to_string(), role, account, products }))
    }

    // No credential's name begins with an @, so nobody can pass for one of these in the audit.
    fn owner(name: &str) -> Self {
        Self(Arc::new(Who { name: name.to_owned(), role: Role::Owner, account: None, products: BTreeSet::new() }))
    }

    /// The name that the audit records.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }
    /// The role.
    pub(crate) fn role(&self) -> Role {
        self.0.role
    }
    #[allow(dead_code, reason = "the delegated calls are being added")]
    /// The account that it acts for; always there in the roles `company` and `reseller`, and in no other.
    pub(crate) fn account(&self) -> Option<&AccountId> {
        self.0.account.as_ref()
    }
    /// Whether its role has a permission.
    pub(crate) fn may(&self, permission: Permission) -> bool {
        allows(self.0.role, permission)
    }
    /// As [`Actor::may`], as a check.
    pub(crate) fn require(&self, permission: Permission) -> Result<(), CallError> {
        if self.may(permission) { Ok(()) } else { Err(CallError::Forbidden(self.0.role)) }
    }
    /// Refuses a product that the credential is not for.
    pub(crate) fn require_product(&self, product: &ProductId) -> Result<(), CallError> {
        let is_in = self.0.products.is_empty() || self.0.products.contains(product);
        if is_in { Ok(()) } else { Err(CallError::ForbiddenProduct(product.clone())) }
    }
    /// Refuses those who are limited to some products what concerns all of them.
    pub(crate) fn require_no_limit(&self) -> Result<(), CallError> {
        if self.0.products.is_empty() { Ok(()) } else { Err(CallError::Forbidden(self.0.role)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_core::id::CredentialName;
    use penstock_core::time::UnixSeconds;

    #[test]
    fn a_limited_publisher_has_its_products_only() {
        let game = ProductId::new("game").expect("name");
        let other = ProductId::new("other").expect("name");
        let publisher = Actor::holder(Credential {
            name: CredentialName::new("ci").expect("name"),
            role: Role::Publisher,
            account: None,
            products: BTreeSet::from([game.clone()]),
            created: UnixSeconds(0),
            expires: None,
            revoked: None,
        });
        assert!(publisher.require_product(&game).is_ok() && publisher.require_product(&other).is_err());
        assert!(publisher.require_no_limit().is_err() && Actor::node().require_no_limit().is_ok());
        assert!(publisher.may(Permission::BlobsWrite) && !publisher.may(Permission::ChannelsWrite));
        assert!(Actor::socket().require_product(&other).is_ok());
        assert_eq!((publisher.name(), publisher.role(), publisher.account()), ("ci", Role::Publisher, None));
    }
}
