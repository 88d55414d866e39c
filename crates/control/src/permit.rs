//! Who may do what: the permissions, and the one table of the roles that have them.
//!
//! Pure. Every route names the permission that it takes (`api::table`); what cannot be told from the route alone, such as
//! which fields of an account somebody may change, operations ask for themselves through [`crate::actor::Actor::require`].

use penstock_core::credential::Role;

/// Something that a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Permission {
    /// Read the node's figures and public keys.
    Status,
    /// Read products, releases, channels and the list of blobs.
    CatalogueRead,
    /// Read any blob's bytes.
    BlobsRead,
    /// Bring blobs.
    BlobsWrite,
    /// Open blobs to everyone, and remove them.
    BlobsManage,
    /// Make and change products.
    ProductsWrite,
    /// Register releases, rotate keys.
    ReleasesWrite,
    /// Withdraw and restore releases.
    ReleasesWithdraw,
    /// Move channels, steer rollouts, change segments.
    ChannelsWrite,
    /// Read segments and rollouts, which may name accounts.
    SegmentsRead,
    /// Read accounts, entitlements and all that belongs to them.
    AccountsRead,
    /// Change some part of an account: each part has a permission of its own.
    AccountsPut,
    /// Make accounts; change their kind, agreements and attributes.
    AccountsWrite,
    /// Change the devices of accounts.
    DevicesWrite,
    /// End the tokens of accounts, and single tokens.
    TokensEnd,
    /// Put accounts on hold, deny them, and take that back.
    StandingWrite,
    /// Give and take entitlements, seats and packages; import.
    EntitlementsWrite,
    /// Have snapshots made.
    SnapshotsWrite,
    /// Have decisions explained.
    Explain,
    /// Have tokens signed for any account.
    TokensMint,
    /// Act for the one account that the credential names.
    Delegated,
    /// Run the users and seats of the company that the credential names.
    DelegatedUsers,
    /// Run the customers and gifts of the reseller that the credential names.
    DelegatedSales,
    /// Read embargo rules.
    EmbargoRead,
    /// Change embargo rules.
    EmbargoWrite,
    /// Read and verify the audit.
    AuditRead,
    /// Read who may call.
    CredentialsRead,
    /// Say who may call.
    CredentialsWrite,
    /// Follow the feed, whose first line carries the fleet's pseudonym key.
    FeedRead,
}

use Permission as P;

/// Whether a role has a permission.
pub(crate) fn allows(role: Role, wanted: Permission) -> bool {
    match role {
        // Delegated calls act for the account that the credential names, and an owner's names none: owners have the
        // undelegated ones.
        Role::Owner => !matches!(wanted, P::Delegated | P::DelegatedUsers | P::DelegatedSales),
        Role::Publisher => matches!(
            wanted,
            P::Status
                | P::CatalogueRead
                | P::BlobsRead
                | P::BlobsWrite
                | P::BlobsManage
                | P::ProductsWrite
                | P::ReleasesWrite
                | P::ReleasesWithdraw
        ),
        Role::ReleaseManager => {
            matches!(wanted, P::Status | P::CatalogueRead | P::ReleasesWithdraw | P::ChannelsWrite | P::SegmentsRead)
        }
        Role::Support => matches!(
            wanted,
            P::Status
                | P::CatalogueRead
                | P::SegmentsRead
                | P::AccountsRead
                | P::AccountsPut
                | P::DevicesWrite
                | P::TokensEnd
                | P::Explain
        ),
        Role::Desk => matches!(
            wanted,
            P::Status
                | P::CatalogueRead
                | P::SegmentsRead
                | P::AccountsRead
                | P::AccountsPut
                | P::AccountsWrite
                | P::DevicesWrite
                | P::TokensEnd
                | P::EntitlementsWrite
                | P::SnapshotsWrite
                | P::Explain
        ),
        Role::Compliance => matches!(
            wanted,
            P::Status
                | P::CatalogueRead
                | P::AccountsRead
                | P::AccountsPut
                | P::StandingWrite
                | P::Explain
                | P::EmbargoRead
                | P::EmbargoWrite
                | P::AuditRead
        ),
        Role::Auditor => matches!(
            wanted,
            P::Status
                | P::CatalogueRead
                | P::BlobsRead
                | P::SegmentsRead
                | P::AccountsRead
                | P::Explain
                | P::EmbargoRead
                | P::AuditRead
                | P::CredentialsRead
        ),
        Role::Edge => matches!(wanted, P::FeedRead | P::BlobsRead),
        Role::Company => matches!(wanted, P::Delegated | P::DelegatedUsers),
        Role::Reseller => matches!(wanted, P::Delegated | P::DelegatedSales),
    }
}
