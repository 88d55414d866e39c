//! Flags of the client's commands: pull, verify, repair, rollback.

use super::units::Bytes;
use clap::Args;
use penstock_client::EdgeUrl;
use penstock_core::id::{ChannelName, ComponentName, Platform, ProductId, Version};
use penstock_core::keys::TrustSet;
use std::path::PathBuf;

/// Where content comes from, and how to reach it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Source {
    /// Edges to fetch from, separated by commas; the next is used when one fails.
    #[arg(long, value_name = "URL[,URL]...", value_delimiter = ',', required = true)]
    pub(crate) from: Vec<EdgeUrl>,
    /// PEM file with the authority of the edges' certificates; the system's when left out.
    #[arg(long, value_name = "FILE", env = "PENSTOCK_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// File with an access token; PENSTOCK_TOKEN when left out. Open products need none.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Most bytes a second to fetch, such as 10MB.
    #[arg(long, value_name = "RATE")]
    pub(crate) limit_rate: Option<Bytes>,
}

/// See [`super::Command::Pull`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    penstock pull --from https://127.0.0.1:8443 --ca ca.pem --product sample --trust ed25519:iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w --into ./game\n  \
    penstock pull --from https://a.example,https://b.example --product sample --trust ed25519:iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w --into ./game --dry-run\n\n\
    Exit code 2 when the disk is too small, a signature is wrong or the content is not for this caller: the installed\n\
    version is untouched then. Interrupted, it is simply run again and goes on where it was.")]
pub(crate) struct Pull {
    /// Edges and how to reach them.
    #[command(flatten)]
    pub(crate) source: Source,
    /// The product to install.
    #[arg(long, value_name = "P")]
    pub(crate) product: ProductId,
    /// The channel to follow; stable when neither this nor --version is given.
    #[arg(long, value_name = "C", conflicts_with = "version")]
    pub(crate) channel: Option<ChannelName>,
    /// This very version instead of a channel's.
    #[arg(long, value_name = "V")]
    pub(crate) version: Option<Version>,
    /// The platform.
    #[arg(long, value_name = "PLAT", default_value = "any")]
    pub(crate) platform: Platform,
    /// Say that a player asked by hand: where the studio lets that, it brings a release before its turn in a rollout.
    #[arg(long, conflicts_with = "version")]
    pub(crate) manual_check: bool,
    /// Of the components that an install can be without, only this one; may be repeated, and is remembered. When none was
    /// ever named: all that the caller may have.
    #[arg(long, value_name = "NAME")]
    pub(crate) component: Vec<ComponentName>,
    /// All components that the caller may have, whatever was chosen before.
    #[arg(long, conflicts_with = "component")]
    pub(crate) all_components: bool,
    /// The publisher's public key, such as ed25519:..., or a set of them, separated by commas.
    #[arg(long, value_name = "PUBKEY")]
    pub(crate) trust: TrustSet,
    /// The install directory; made when missing.
    #[arg(long, value_name = "DIR")]
    pub(crate) into: PathBuf,
    /// Print the plan and the preflight: fetch no content (only the manifest) and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Keep the replaced version on disk, so that rollback works without a network.
    #[arg(long)]
    pub(crate) keep_previous: bool,
}

/// See [`super::Command::Verify`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    penstock verify ./game\n\n\
    Exit code 1 when something differs. Files that the player added are left out of the comparison.")]
pub(crate) struct Verify {
    /// The install directory.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// See [`super::Command::Repair`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    penstock repair ./game\n  \
    penstock repair ./game --from https://127.0.0.1:8443 --ca ca.pem\n\n\
    Fetches only what is damaged. Product and version are the install's own, and so are the edges unless others are named.")]
pub(crate) struct Repair {
    /// The install directory.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Edges to fetch from, separated by commas; those of the last pull when left out.
    #[arg(long, value_name = "URL[,URL]...", value_delimiter = ',')]
    pub(crate) from: Vec<EdgeUrl>,
    /// PEM file with the authority of the edges' certificates.
    #[arg(long, value_name = "FILE", env = "PENSTOCK_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// File with an access token; PENSTOCK_TOKEN when left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Most bytes a second to fetch, such as 10MB.
    #[arg(long, value_name = "RATE")]
    pub(crate) limit_rate: Option<Bytes>,
    /// Say what is damaged and what mending takes: fetch no content and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// See [`super::Command::Rollback`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    penstock rollback ./game\n\n\
    Needs a pull with --keep-previous before; nothing is fetched.")]
pub(crate) struct Rollback {
    /// The install directory.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}
