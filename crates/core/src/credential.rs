//! Credentials of the admin API: who may call it, in which role, and the documents that name them.
//!
//! A secret is 32 random bytes; the record keeps only its hash, so nobody can be shown one twice. What a role may do is
//! decided by control, beside its table of routes.

use crate::account::AccountId;
use crate::id::{CredentialName, ProductId};
use crate::time::UnixSeconds;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Most products that one credential is limited to.
pub const CREDENTIAL_PRODUCTS_MAX: usize = 256;
/// Most credentials that are neither expired nor revoked.
pub const CREDENTIALS_MAX: u64 = 10_000;

/// What a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything. The node's own admin token and its socket are owners.
    Owner,
    /// Blobs, releases, delegations and products.
    Publisher,
    /// Channels, rollouts and segments.
    ReleaseManager,
    /// Reads accounts, explains decisions, mends devices, ends tokens.
    Support,
    /// Accounts, entitlements, imports, seats and packages.
    Desk,
    /// Embargo, the standing of accounts, the audit.
    Compliance,
    /// Reads everything and changes nothing.
    Auditor,
    /// The feed and the blobs that an edge serves.
    Edge,
    /// A company, or a user who is one of its admins: acts for the company's account only.
    Company,
    /// A reseller, who acts for its account only.
    Reseller,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 10] = [
        Self::Owner,
        Self::Publisher,
        Self::ReleaseManager,
        Self::Support,
        Self::Desk,
        Self::Compliance,
        Self::Auditor,
        Self::Edge,
        Self::Company,
        Self::Reseller,
    ];

    /// The role's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Publisher => "publisher",
            Self::ReleaseManager => "release_manager",
            Self::Support => "support",
            Self::Desk => "desk",
            Self::Compliance => "compliance",
            Self::Auditor => "auditor",
            Self::Edge => "edge",
            Self::Company => "company",
            Self::Reseller => "reseller",
        }
    }

    /// Whether its holder acts for one account, which the credential must then name.
    #[must_use]
    pub const fn is_for_one_account(self) -> bool {
        matches!(self, Self::Company | Self::Reseller)
    }
}

/// A text is no role's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such role")]
pub struct RoleError;

impl std::str::FromStr for Role {
    type Err = RoleError;
    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(RoleError)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `POST /admin/v1/credentials`: makes a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostCredential {
    /// Its name, by which the audit knows it; never given twice.
    pub name: CredentialName,
    /// What it is for.
    pub role: Role,
    /// The account that its holder acts for: for the roles `company` and `reseller`, and only for them. In the role
    /// `company` it may also be a user who is one of a company's admins: its holder acts for the company whose admin that is,
    /// as long as it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The products that it is limited to; empty means no limit. For the role `publisher` only.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub products: BTreeSet<ProductId>,
    /// When it ends; absent means not by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixSeconds>,
}

/// A credential as control knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Credential {
    /// Its name.
    pub name: CredentialName,
    /// What it is for.
    pub role: Role,
    /// The account that its holder acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The products that it is limited to; empty means no limit.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub products: BTreeSet<ProductId>,
    /// When it was made.
    pub created: UnixSeconds,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixSeconds>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<UnixSeconds>,
}

impl Credential {
    /// Whether it opens anything at `now`.
    #[must_use]
    pub fn is_live(&self, now: UnixSeconds) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
}

/// Answer to [`PostCredential`]: the only time that the secret is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CredentialMade {
    /// The credential, its fields beside `secret`.
    #[serde(flatten)]
    pub credential: Credential,
    /// What its holder sends as `Authorization: Bearer …`.
    pub secret: String,
}

impl fmt::Debug for CredentialMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialMade").field("credential", &self.credential).field("secret", &"****").finish()
    }
}

/// `GET /admin/v1/credentials?after=&limit=`: a page, by name, expired and revoked ones included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CredentialsAnswer {
    /// At most [`crate::limits::PAGE_ROWS_MAX`].
    pub credentials: Vec<Credential>,
    /// `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<CredentialName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_roles_are_read_back_and_are_those_of_the_json() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_string(&role).expect("json"), format!("\"{role}\""));
        }
        assert_eq!("root".parse::<Role>(), Err(RoleError));
    }

    #[test]
    fn a_credential_lives_until_it_expires_or_is_revoked() {
        let mut one = Credential {
            name: CredentialName::new("ci").expect("name"),
            role: Role::Publisher,
            account: None,
            products: BTreeSet::new(),
            created: UnixSeconds(1),
            expires: None,
            revoked: None,
        };
        assert!(one.is_live(UnixSeconds(u64::MAX)));
        one.expires = Some(UnixSeconds(10));
        assert!(one.is_live(UnixSeconds(9)) && !one.is_live(UnixSeconds(10)));
        one.revoked = Some(UnixSeconds(5));
        assert!(!one.is_live(UnixSeconds(1)));
        let made = CredentialMade { credential: one, secret: "hunter2".to_owned() };
        assert!(!format!("{made:?}").contains("hunter2"));
    }
}
