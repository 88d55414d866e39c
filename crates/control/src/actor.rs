//! Who calls: made at the door from the credential that was shown, and handed to every operation that changes anything.
//!
//! The audit records an actor's name and role beside what it did, so no operation can leave it out.

use crate::error::CallError;
use crate::permit::{Permission, allows};
use penstock_core::account::AccountId;
use penstock_core::credential::{Credential, Role};
use penstock_core::delegate::Party;
use penstock_core::id::ProductId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Somebody who was let in. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    who: Arc<Who>,
    once: Option<Once>,
}

/// What makes a call one that is done once: its key, and what was asked with it.
#[derive(Debug, Clone)]
pub(crate) struct Once(Arc<OnceParts>);

#[derive(Debug)]
struct OnceParts {
    key: String,
    body_hash: [u8; 32],
    is_claimed: AtomicBool,
}

impl Once {
    pub(crate) fn new(key: String, body_hash: [u8; 32]) -> Self {
        Self(Arc::new(OnceParts { key, body_hash, is_claimed: AtomicBool::new(false) }))
    }
    pub(crate) fn key(&self) -> &str {
        &self.0.key
    }
    pub(crate) fn body_hash(&self) -> &[u8; 32] {
        &self.0.body_hash
    }
    /// Whether a transaction of this call claimed the key.
    pub(crate) fn is_claimed(&self) -> bool {
        self.0.is_claimed.load(Ordering::Acquire)
    }
    /// Remembers that the transaction which claimed the key was committed.
    pub(crate) fn set_claimed(&self) {
        self.0.is_claimed.store(true, Ordering::Release);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Who {
    name: String,
    role: Role,
    party: Party,
    named: Option<AccountId>,
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
    /// The holder of a credential of the record, in the name that it acts in ([`crate::record::acting::party`]).
    pub(crate) fn holder(credential: Credential, party: Party) -> Self {
        let Credential { name, role, account: named, products, .. } = credential;
        Self { who: Arc::new(Who { name: name.to_string(), role, party, named, products }), once: None }
    }

    // No credential's name begins with an @, so nobody can pass for one of these in the audit.
    fn owner(name: &str) -> Self {
        let (name, role) = (name.to_owned(), Role::Owner);
        let who = Who { name, role, party: Party::Studio, named: None, products: BTreeSet::new() };
        Self { who: Arc::new(who), once: None }
    }

    /// The same one in a call that is done once.
    pub(crate) fn with_once(&self, once: Once) -> Self {
        Self { who: Arc::clone(&self.who), once: Some(once) }
    }
    /// What makes its call one that is done once, if that was asked for.
    pub(crate) fn once(&self) -> Option<&Once> {
        self.once.as_ref()
    }

    /// The name that the audit records.
    pub(crate) fn name(&self) -> &str {
        &self.who.name
    }
    /// The role.
    pub(crate) fn role(&self) -> Role {
        self.who.role
    }
    /// The account that it acts for; always there in the roles `company` and `reseller`, and in no other.
    pub(crate) fn account(&self) -> Option<&AccountId> {
        self.who.party.account()
    }
    /// The account that its credential names: the one that it acts for, or a person who is an admin there.
    pub(crate) fn named(&self) -> Option<&AccountId> {
        self.who.named.as_ref()
    }
    /// In whose name it calls.
    pub(crate) fn party(&self) -> &Party {
        &self.who.party
    }
    /// Whether its role has a permission.
    pub(crate) fn may(&self, permission: Permission) -> bool {
        allows(self.who.role, permission)
    }
    /// As [`Actor::may`], as a check.
    pub(crate) fn require(&self, permission: Permission) -> Result<(), CallError> {
        if self.may(permission) { Ok(()) } else { Err(CallError::Forbidden(self.who.role)) }
    }
    /// Refuses a product that the credential is not for.
    pub(crate) fn require_product(&self, product: &ProductId) -> Result<(), CallError> {
        let is_in = self.who.products.is_empty() || self.who.products.contains(product);
        if is_in { Ok(()) } else { Err(CallError::ForbiddenProduct(product.clone())) }
    }
    /// Refuses those who are limited to some products what concerns all of them.
    pub(crate) fn require_no_limit(&self) -> Result<(), CallError> {
        if self.who.products.is_empty() { Ok(()) } else { Err(CallError::Forbidden(self.who.role)) }
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
        let credential = Credential {
            name: CredentialName::new("ci").expect("name"),
            role: Role::Publisher,
            account: None,
            products: BTreeSet::from([game.clone()]),
            created: UnixSeconds(0),
            expires: None,
            revoked: None,
        };
        let publisher = Actor::holder(credential, Party::Studio);
        assert!(publisher.require_product(&game).is_ok() && publisher.require_product(&other).is_err());
        assert!(publisher.require_no_limit().is_err() && Actor::node().require_no_limit().is_ok());
        assert!(publisher.may(Permission::BlobsWrite) && !publisher.may(Permission::ChannelsWrite));
        assert!(Actor::socket().require_product(&other).is_ok());
        assert_eq!((publisher.name(), publisher.role(), publisher.account()), ("ci", Role::Publisher, None));
    }
}
