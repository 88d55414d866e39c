//! Flags of the commands that talk to a node's admin side.

use super::units::Span;
use super::whereto::Desk;
use clap::{Args, Subcommand, ValueEnum};
use penstock_client::EdgeUrl;
use penstock_core::blob::BlobId;
use penstock_core::catalog::{AccessClass, ReleaseState};
use penstock_core::id::{AccessGroup, ChannelName, ComponentName, Platform, ProductId, Version};
use penstock_core::place::Region;
use penstock_publish::{Pattern, PatternError};
use std::net::IpAddr;
use std::path::PathBuf;

/// See [`super::Command::Publish`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    penstock publish ./build --product sample --version 1.0 --key publisher.key --to ./data --channel stable\n\n\
    Publishing is not offering: without --channel nobody is told to install it. Run again after an interruption;\n\
    what is already there is not sent twice. The product is made on first publish with the --access given; `product set` changes it later.")]
pub(crate) struct Publish {
    /// The build tree.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The product.
    #[arg(long, value_name = "P")]
    pub(crate) product: ProductId,
    /// The new release's version.
    #[arg(long, value_name = "V")]
    pub(crate) version: Version,
    /// The platform.
    #[arg(long, value_name = "PLAT", default_value = "any")]
    pub(crate) platform: Platform,
    /// File with the publisher's secret key, as made by `key new`.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Also offer the release on this channel.
    #[arg(long, value_name = "C")]
    pub(crate) channel: Option<ChannelName>,
    /// Files of a component of its own, such as 'lang.de=lang/de/'; may be repeated. The rest is the base.
    #[arg(long, value_name = "NAME=PATTERN")]
    pub(crate) component: Vec<ComponentFiles>,
    /// A component that an install can be without, because its player does not want it or was not given it; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) optional: Vec<ComponentName>,
    /// The access group of a component, such as 'artbook=deluxe': only entitlements that name the group may read it; may
    /// be repeated. Without one, whoever has the product may read it, unless their entitlement names components.
    #[arg(long, value_name = "NAME=GROUP")]
    pub(crate) group: Vec<ComponentGroup>,
    /// Files that the game starts with: marked so in the manifest; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) launch: Vec<Pattern>,
    /// Let other nodes' channel keys go on signing for this product; without it a key that the node does not have
    /// any more, lost or stolen, is taken back.
    #[arg(long)]
    pub(crate) keep_channel_keys: bool,
    /// Compression level of new content, 1 to 19; a higher one costs time.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(i32).range(1..=19))]
    pub(crate) level: i32,
    /// Who may read the product, when this publish makes it; licensed when left out.
    #[arg(long, value_enum)]
    pub(crate) access: Option<Access>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// A component's name and which files it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ComponentFiles {
    /// The component.
    pub(crate) name: ComponentName,
    /// Its files.
    pub(crate) pattern: Pattern,
}

impl std::str::FromStr for ComponentFiles {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pattern) = text.split_once('=').ok_or("a component is NAME=PATTERN")?;
        let name = ComponentName::new(name).map_err(|error| error.to_string())?;
        Ok(Self { name, pattern: pattern.parse().map_err(|error: PatternError| error.to_string())? })
    }
}

/// A component's name and its access group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ComponentGroup {
    /// The component.
    pub(crate) name: ComponentName,
    /// Its group.
    pub(crate) group: AccessGroup,
}

impl std::str::FromStr for ComponentGroup {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, group) = text.split_once('=').ok_or("a component's access group is NAME=GROUP")?;
        let name = ComponentName::new(name).map_err(|error| error.to_string())?;
        Ok(Self { name, group: AccessGroup::new(group).map_err(|error| error.to_string())? })
    }
}

/// How a product's content is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Access {
    /// Anyone, without a token.
    Open,
    /// Any known account.
    Registered,
    /// Accounts with an entitlement.
    Licensed,
    /// Named accounts only; to everyone else it does not exist.
    Closed,
}

impl From<Access> for AccessClass {
    fn from(access: Access) -> Self {
        match access {
            Access::Open => Self::Open,
            Access::Registered => Self::Registered,
            Access::Licensed => Self::Licensed,
            Access::Closed => Self::Closed,
        }
    }
}

/// See [`super::Command::Token`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock token new --sub alice --to ./data > token.jwt")]
pub(crate) struct Token {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: TokenVerb,
}

/// Verbs of `token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Sign a development token with the node's key and print it.
    New(TokenNew),
}

/// See [`TokenVerb::New`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock token new --sub alice --product sample --ttl 1h --to ./data > token.jwt")]
pub(crate) struct TokenNew {
    /// The account it speaks for.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) sub: String,
    /// A product it is limited to; may be repeated. No limit when left out.
    #[arg(long, value_name = "P")]
    pub(crate) product: Vec<ProductId>,
    /// How long it lives.
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    pub(crate) ttl: Span,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`super::Command::Blob`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock blob add ./trailer.mp4 --to ./data --open")]
pub(crate) struct Blob {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: BlobVerb,
}

/// Verbs of `blob`.
#[derive(Debug, Subcommand)]
pub(crate) enum BlobVerb {
    /// Add a file as a blob outside any release.
    Add(BlobAdd),
    /// Fetch a blob from an edge and check it while it comes.
    Get(BlobGet),
    /// Fetch a blob's hash tree and bytes and say whether they are what its name says.
    Verify(BlobVerify),
    /// Remove a blob that was added outside any release.
    Rm(BlobRm),
    /// List the blobs that anyone may read, or all of them.
    List(BlobList),
}

/// See [`BlobVerb::Add`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock blob add ./trailer.mp4 --to ./data --open")]
pub(crate) struct BlobAdd {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Let anyone read it.
    #[arg(long)]
    pub(crate) open: bool,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// Which edge to read from.
#[derive(Debug, Clone, Args)]
pub(crate) struct EdgeSource {
    /// The edge.
    #[arg(long, value_name = "URL")]
    pub(crate) from: EdgeUrl,
    /// PEM file with the authority of the edge's certificate; the system's when left out.
    #[arg(long, value_name = "FILE", env = "PENSTOCK_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// File with an access token; PENSTOCK_TOKEN when left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// See [`BlobVerb::Get`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock blob get 0000000000000000000000000000000000000000000000000000000000000000 \
    --from https://127.0.0.1:8443 --ca ca.pem --out ./trailer.mp4"
)]
pub(crate) struct BlobGet {
    /// The blob's name.
    #[arg(value_name = "BLOB")]
    pub(crate) blob: BlobId,
    /// The file to write; it appears under this name only when every byte was checked.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The edge.
    #[command(flatten)]
    pub(crate) source: EdgeSource,
}

/// See [`BlobVerb::Verify`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock blob verify 0000000000000000000000000000000000000000000000000000000000000000 \
    --from https://127.0.0.1:8443 --ca ca.pem"
)]
pub(crate) struct BlobVerify {
    /// The blob's name.
    #[arg(value_name = "BLOB")]
    pub(crate) blob: BlobId,
    /// The edge.
    #[command(flatten)]
    pub(crate) source: EdgeSource,
}

/// See [`BlobVerb::Rm`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock blob rm 0000000000000000000000000000000000000000000000000000000000000000 --to ./data"
)]
pub(crate) struct BlobRm {
    /// The blob's name.
    #[arg(value_name = "BLOB")]
    pub(crate) blob: BlobId,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`BlobVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock blob list --to ./data")]
pub(crate) struct BlobList {
    /// Also those that are part of releases.
    #[arg(long)]
    pub(crate) all: bool,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`super::Command::Channel`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock channel set sample stable 1.1 --to ./data\n  penstock channel list sample --to ./data"
)]
pub(crate) struct Channel {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: ChannelVerb,
}

/// Verbs of `channel`.
#[derive(Debug, Subcommand)]
pub(crate) enum ChannelVerb {
    /// Offer a published release on a channel.
    Set(ChannelSet),
    /// Show one channel.
    Show(ChannelShow),
    /// List a product's channels.
    List(ChannelList),
    /// Show or set the oldest version that a channel supports.
    Minimum(super::rollouts::ChannelMinimum),
}

/// See [`ChannelVerb::Set`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock channel set sample stable 1.1 --to ./data")]
pub(crate) struct ChannelSet {
    /// The product.
    pub(crate) product: ProductId,
    /// The channel; made when new.
    pub(crate) channel: ChannelName,
    /// A published version.
    pub(crate) version: Version,
    /// The platform.
    #[arg(long, value_name = "PLAT", default_value = "any")]
    pub(crate) platform: Platform,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`ChannelVerb::Show`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock channel show sample stable --to ./data")]
pub(crate) struct ChannelShow {
    /// The product.
    pub(crate) product: ProductId,
    /// The channel.
    pub(crate) channel: ChannelName,
    /// The platform.
    #[arg(long, value_name = "PLAT", default_value = "any")]
    pub(crate) platform: Platform,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`ChannelVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock channel list sample --to ./data")]
pub(crate) struct ChannelList {
    /// The product.
    pub(crate) product: ProductId,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`super::Command::Product`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock product add sample --access open --to ./data\n  penstock product list --to ./data"
)]
pub(crate) struct Product {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: ProductVerb,
}

/// Verbs of `product`.
#[derive(Debug, Subcommand)]
pub(crate) enum ProductVerb {
    /// Make a product.
    Add(ProductPut),
    /// Change a product's title, access class or export class.
    Set(ProductSet),
    /// Show one product.
    Show(ProductShow),
    /// List all products.
    List(ProductList),
}

/// See [`ProductVerb::Add`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock product add sample --access open --to ./data")]
pub(crate) struct ProductPut {
    /// The product.
    pub(crate) product: ProductId,
    /// Its name for people; the id when left out.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) title: String,
    /// Who may read it.
    #[arg(long, value_enum, default_value_t = Access::Licensed)]
    pub(crate) access: Access,
    /// The export class that embargo policy refers to.
    #[arg(long, value_name = "CLASS", default_value = "")]
    pub(crate) export_class: String,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`ProductVerb::Set`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock product set sample --access closed --to ./data\n\nWhat is not named stays as it is."
)]
pub(crate) struct ProductSet {
    /// The product.
    pub(crate) product: ProductId,
    /// Its name for people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
    /// Who may read it.
    #[arg(long, value_enum)]
    pub(crate) access: Option<Access>,
    /// The export class that embargo policy refers to.
    #[arg(long, value_name = "CLASS")]
    pub(crate) export_class: Option<String>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`ProductVerb::Show`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock product show sample --to ./data")]
pub(crate) struct ProductShow {
    /// The product.
    pub(crate) product: ProductId,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`ProductVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock product list --to ./data")]
pub(crate) struct ProductList {
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`super::Command::Release`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock release list sample --to ./data\n  penstock release withdraw sample 1.0 --to ./data"
)]
pub(crate) struct Release {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: ReleaseVerb,
}

/// Verbs of `release`.
#[derive(Debug, Subcommand)]
pub(crate) enum ReleaseVerb {
    /// List a product's releases, newest first.
    List(ReleaseList),
    /// Show one release.
    Show(ReleaseOne),
    /// Take a release back: edges answer 410 for it from now on.
    Withdraw(ReleaseOne),
    /// Give a withdrawn release out again.
    Restore(ReleaseOne),
}

/// See [`ReleaseVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock release list sample --to ./data\n  \
    penstock release list sample --state withdrawn --platform windows --to ./data")]
pub(crate) struct ReleaseList {
    /// The product.
    pub(crate) product: ProductId,
    /// Only releases in this state.
    #[arg(long, value_enum)]
    pub(crate) state: Option<Offered>,
    /// Only releases for this platform.
    #[arg(long, value_name = "PLAT")]
    pub(crate) platform: Option<Platform>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// Whether a release is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Offered {
    /// It is.
    Live,
    /// It was taken back.
    Withdrawn,
}

impl From<Offered> for ReleaseState {
    fn from(offered: Offered) -> Self {
        match offered {
            Offered::Live => Self::Live,
            Offered::Withdrawn => Self::Withdrawn,
        }
    }
}

/// One release, for `show`, `withdraw` and `restore`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock release show sample 1.0 --to ./data\n  penstock release withdraw sample 1.0 --to ./data"
)]
pub(crate) struct ReleaseOne {
    /// The product.
    pub(crate) product: ProductId,
    /// The version.
    pub(crate) version: Version,
    /// The platform.
    #[arg(long, value_name = "PLAT", default_value = "any")]
    pub(crate) platform: Platform,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`super::Command::Explain`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock explain --product sample --to ./data\n  \
    penstock explain --product sample --channel stable --install 6f1e --address 192.0.2.7 --to ./data\n  \
    penstock explain --token-file token.jwt --blob 0000000000000000000000000000000000000000000000000000000000000000 --to ./data")]
#[command(group = clap::ArgGroup::new("subject").required(true).args(["blob", "product"]))]
pub(crate) struct Explain {
    /// The blob that somebody wants to read.
    #[arg(long, value_name = "B")]
    pub(crate) blob: Option<BlobId>,
    /// The product that somebody wants to see.
    #[arg(long, value_name = "P")]
    pub(crate) product: Option<ProductId>,
    /// The channel of the product.
    #[arg(long, value_name = "C", requires = "product")]
    pub(crate) channel: Option<ChannelName>,
    /// What the caller runs on.
    #[arg(long, value_name = "PLAT")]
    pub(crate) platform: Option<Platform>,
    /// File with the caller's token; PENSTOCK_TOKEN when left out, none when that is unset too.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// File with the link that the caller uses, as `link new` prints it.
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    pub(crate) link_file: Option<PathBuf>,
    /// The account, as if it had sent a token for all that it holds.
    #[arg(long, value_name = "ACCOUNT", conflicts_with_all = ["token_file", "link_file"])]
    pub(crate) account: Option<String>,
    /// Where the caller is, such as DE or US-CA; without it and --address, nobody knows.
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<Region>,
    /// The caller's address, to look up in the node's database of places.
    #[arg(long, value_name = "IP", conflicts_with = "region")]
    pub(crate) address: Option<IpAddr>,
    /// What the install calls itself (its .penstock/install): whose turn it is in the channel's rollout.
    #[arg(long, value_name = "ID", requires = "channel")]
    pub(crate) install: Option<String>,
    /// The version that it has.
    #[arg(long, value_name = "V", requires = "channel")]
    pub(crate) have: Option<Version>,
    /// As if a player asked by hand.
    #[arg(long, requires = "channel")]
    pub(crate) by_hand: bool,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}
