//! Documents about those who get something by way of somebody else: users and their seats, customers of resellers, and
//! what is given: terms, packages, allocations.

use crate::account::{AccountId, Terms};
use crate::blob::BlobId;
use crate::desk::AccountKind;
use crate::id::PackageId;
use crate::time::UnixSeconds;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What an entitlement or an allocation is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Given {
    /// One product, on these terms.
    Terms(Arc<Terms>),
    /// All that is in a package, as the package is at the moment.
    Package(PackageId),
}

/// When an agreement was accepted, and which text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// When.
    pub at: UnixSeconds,
    /// The BLAKE3 hash of the text that was shown, where the caller gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<BlobId>,
}

/// `PUT /admin/v1/accounts/{id}/agreements/{name@version}`: the account accepted it, now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutAcceptance {
    /// The BLAKE3 hash of the text that was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<BlobId>,
}

/// What a user may do for its company.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum UserRole {
    /// Runs the company's users and seats and mints for them, with a credential of role `company` that names its account.
    Admin,
    /// Uses what it was given.
    #[default]
    Member,
}

/// `PUT /admin/v1/accounts/{company}/users/{user}`: makes an account a user of a company, or changes its role. An account
/// that is not there is made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutUser {
    /// What it may do; a member when left out of a new one, else as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<UserRole>,
}

/// A user of a company.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct User {
    /// Its account: claim `sub` of its tokens.
    pub account: AccountId,
    /// The company's account.
    pub company: AccountId,
    /// What it may do.
    pub role: UserRole,
    /// Since when.
    pub added: UnixSeconds,
}

/// `GET /admin/v1/accounts/{company}/users?after=&limit=`: a page, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UsersAnswer {
    /// At most [`crate::limits::PAGE_ROWS_MAX`].
    pub users: Vec<User>,
    /// `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<AccountId>,
}

/// A seat of an entitlement that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Seat {
    /// The entitlement.
    pub entitlement: u64,
    /// Who has it: a user of the company that the entitlement is given to.
    pub account: AccountId,
    /// Since when.
    pub given: UnixSeconds,
}

/// `GET /admin/v1/entitlements/{id}/seats?after=&limit=`: a page of those who have one, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SeatsAnswer {
    /// How many there are.
    pub seats: u64,
    /// How many somebody has.
    pub taken: u64,
    /// At most [`crate::limits::PAGE_ROWS_MAX`].
    pub holders: Vec<Seat>,
    /// `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<AccountId>,
}

/// `PUT /admin/v1/packages/{package}`: makes a package or replaces what is in it, for everyone who has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutPackage {
    /// Its name for people; the id when empty.
    #[serde(default)]
    pub title: String,
    /// What is in it: 1 to [`crate::limits::PACKAGE_ITEMS_MAX`], no two alike.
    pub items: Vec<Terms>,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Package {
    /// Its id.
    pub id: PackageId,
    /// Its name for people.
    pub title: String,
    /// What is in it.
    pub items: Vec<Arc<Terms>>,
    /// When it was changed last.
    pub changed: UnixSeconds,
}

/// `GET /admin/v1/packages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PackagesAnswer {
    /// By id; at most [`crate::limits::PACKAGES_MAX`].
    pub packages: Vec<Package>,
}

/// `PUT /admin/v1/accounts/{reseller}/customers/{customer}`: makes an account a reseller's customer. An account that is not
/// there is made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutCustomer {
    /// Who is behind an account that is made by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<AccountKind>,
}

/// `POST /admin/v1/accounts/{reseller}/allocations`: lets a reseller give something, so many times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostAllocation {
    /// What, and on which terms. Either this or a package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// A package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageId>,
    /// How many may be given. An entitlement takes one, or as many as it has seats.
    pub quantity: u64,
    /// What is given begins at this moment or later; from now on when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<UnixSeconds>,
    /// What is given ends at this moment or sooner; for good when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<UnixSeconds>,
}

/// What a reseller may give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Allocation {
    /// Its number.
    pub id: u64,
    /// The reseller's account.
    pub reseller: AccountId,
    /// What: `terms` or `package`.
    #[serde(flatten)]
    pub what: Given,
    /// How many may be given.
    pub quantity: u64,
    /// How many are given and were not taken back.
    pub used: u64,
    /// What is given begins at this moment or later.
    pub starts: UnixSeconds,
    /// What is given ends at this moment or sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<UnixSeconds>,
    /// When it was made.
    pub made: UnixSeconds,
    /// Since when nothing may be given out of it any more. What was given stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<UnixSeconds>,
}

/// `GET /admin/v1/accounts/{reseller}/allocations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AllocationsAnswer {
    /// Oldest first; at most [`crate::limits::ALLOCATIONS_MAX`].
    pub allocations: Vec<Allocation>,
}

/// Who somebody belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Membership {
    /// The company's account.
    pub company: AccountId,
    /// What the user may do for it.
    pub role: UserRole,
}
