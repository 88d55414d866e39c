//! Flags of `credential` and `audit`.

use super::units::Span;
use super::whereto::Desk;
use clap::{Args, Subcommand};
use penstock_core::account::AccountId;
use penstock_core::credential::Role;
use penstock_core::id::{CredentialName, ProductId};
use std::path::PathBuf;

/// See [`super::Command::Credential`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock credential add ci --role publisher --out ci.secret --to ./data\n  \
    PENSTOCK_ADMIN_TOKEN=$(cat ci.secret) penstock product list --to https://control.example:8444")]
pub(crate) struct Credential {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: CredentialVerb,
}

/// Verbs of `credential`.
#[derive(Debug, Subcommand)]
pub(crate) enum CredentialVerb {
    /// Make a credential; its secret is written once and kept nowhere else.
    Add(CredentialAdd),
    /// List all credentials, those that are over included.
    List(CredentialList),
    /// Revoke a credential: it opens nothing from now on.
    Rm(CredentialRm),
}

/// See [`CredentialVerb::Add`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    penstock credential add ci --role publisher --product game --ttl 90d --out ci.secret --to ./data\n  \
    penstock credential add acme.admin --role company --account acme --out acme.secret --to ./data\n\n\
    Roles: owner (everything), publisher (blobs, releases, products), release_manager (channels, rollouts, segments),\n\
    support (reads accounts, explains, devices, ends tokens), desk (accounts, entitlements, imports), compliance\n\
    (embargo, standing, audit), auditor (reads everything), edge (the feed and blobs), company and reseller (act for\n\
    one account).")]
pub(crate) struct CredentialAdd {
    /// Its name, by which the audit knows it; never given twice.
    pub(crate) name: CredentialName,
    /// What it is for.
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Role,
    /// The account that its holder acts for: for the roles company and reseller. With company, also one of its admins.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: Option<AccountId>,
    /// A product that it is limited to, for the role publisher; may be repeated. No limit when left out.
    #[arg(long, value_name = "P")]
    pub(crate) product: Vec<ProductId>,
    /// How long it lives; until it is revoked when left out.
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<Span>,
    /// Where the secret is written: a new file that only you may read. Without it, --json prints the secret.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`CredentialVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock credential list --to ./data")]
pub(crate) struct CredentialList {
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`CredentialVerb::Rm`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock credential rm ci --to ./data")]
pub(crate) struct CredentialRm {
    /// The credential.
    pub(crate) name: CredentialName,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`super::Command::Audit`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock audit list --subject account/alice --to ./data\n  penstock audit verify --to ./data"
)]
pub(crate) struct Audit {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: AuditVerb,
}

/// Verbs of `audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// List who changed what, oldest first.
    List(AuditList),
    /// Walk the chain of hashes; exit code 2 when it is broken.
    Verify(AuditVerify),
}

/// See [`AuditVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock audit list --actor anna --limit 20 --to ./data\n  \
    penstock audit list --subject product/game --to ./data")]
pub(crate) struct AuditList {
    /// What it is about, such as account/alice; finds what is below it too.
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) subject: Option<String>,
    /// Who did it: a credential's name, or @socket, @admin.token, @node.
    #[arg(long, value_name = "NAME")]
    pub(crate) actor: Option<String>,
    /// Only entries with larger numbers.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) after: u64,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u64,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`AuditVerb::Verify`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock audit verify --to ./data\n\n\
    Prints the hash of the last entry: whoever keeps it elsewhere can prove later that everything up to it is as it was.")]
pub(crate) struct AuditVerify {
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}
