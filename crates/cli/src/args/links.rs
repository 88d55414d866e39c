//! `link`: URLs for tools that can send no header.

use super::units::Span;
use super::whereto::Desk;
use clap::{Args, Subcommand};
use penstock_core::account::AccountId;
use penstock_core::id::ProductId;
use penstock_core::link::PathPrefix;

/// See [`super::Command::Link`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock link new --account alice --path /v1/products/game --to ./data")]
pub(crate) struct Link {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: LinkVerb,
}

/// Verbs of `link`.
#[derive(Debug, Subcommand)]
pub(crate) enum LinkVerb {
    /// Sign a link and print it: whoever has it reads what the account may read there, until it ends.
    New(LinkNew),
    /// Print the key that verifies this node's links, for `[tokens] link_keys` of other edges.
    Key(LinkKey),
}

/// See [`LinkVerb::New`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock link new --account press --path /v1/blobs --product game --ttl 1h --edge https://edge.example --to ./data"
)]
pub(crate) struct LinkNew {
    /// The account whose rights it has.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: AccountId,
    /// The path it opens, with everything below it, such as /v1/blobs/BLOB or /v1/products/P.
    #[arg(long, value_name = "P")]
    pub(crate) path: PathPrefix,
    /// The only product it is for; all that the account holds when left out.
    #[arg(long, value_name = "P")]
    pub(crate) product: Option<ProductId>,
    /// How long it lives, at most 7d.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub(crate) ttl: Span,
    /// The edge's address to print before the link; only the path and the link when left out.
    #[arg(long, value_name = "URL")]
    pub(crate) edge: Option<String>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`LinkVerb::Key`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock link key --to ./data > link-keys.txt")]
pub(crate) struct LinkKey {
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}
