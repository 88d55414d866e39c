//! Flags of users, seats, devices, agreements, customers, allocations and packages.

use super::accounts::{Ends, Kind};
use super::units::Span;
use super::whereto::Desk;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use penstock_core::account::{AccountId, Terms};
use penstock_core::desk::UserRole;
use penstock_core::id::{AccessGroup, ChannelName, ComponentName, PackageId, Platform, ProductId};
use penstock_core::place::Region;
use std::path::PathBuf;

/// The terms of something that is given. None of them means anything without a product.
#[derive(Debug, Args)]
pub(crate) struct TermsFlags {
    /// The product.
    #[arg(long, value_name = "P")]
    pub(crate) product: Option<ProductId>,
    /// What its end means.
    #[arg(long, value_enum, default_value_t = Ends::Restrict, requires = "product")]
    pub(crate) expiry: Ends,
    /// Time after its end in which everything goes on.
    #[arg(long, value_name = "SPAN", requires = "product")]
    pub(crate) grace: Option<Span>,
    /// Only releases that were offered on this channel; may be repeated.
    #[arg(long, value_name = "C", requires = "product")]
    pub(crate) channel: Vec<ChannelName>,
    /// Only releases for this platform; may be repeated.
    #[arg(long, value_name = "PLAT", requires = "product")]
    pub(crate) platform: Vec<Platform>,
    /// Of the components, only the base and this one; may be repeated. The component base alone is the base alone.
    #[arg(long, value_name = "NAME", requires = "product")]
    pub(crate) component: Vec<ComponentName>,
    /// Also the content of this access group; may be repeated.
    #[arg(long, value_name = "GROUP", requires = "product")]
    pub(crate) group: Vec<AccessGroup>,
    /// Only in this country or subdivision, such as DE or US-CA; may be repeated.
    #[arg(long, value_name = "REGION", requires = "product")]
    pub(crate) region: Vec<Region>,
    /// Only once this agreement was accepted, such as eula@3.
    #[arg(long, value_name = "NAME@VERSION", requires = "product")]
    pub(crate) agreement: Option<String>,
    /// Only on the account's registered devices.
    #[arg(long, requires = "product")]
    pub(crate) device_bound: bool,
}

impl TermsFlags {
    /// The terms, if a product is named.
    pub(crate) fn terms(self) -> Option<Terms> {
        Some(Terms {
            product: self.product?,
            expiry: self.expiry.into(),
            grace_seconds: self.grace.map_or(0, |span| span.0.as_secs()),
            channels: self.channel.into_iter().collect(),
            platforms: self.platform.into_iter().collect(),
            components: self.component.into_iter().collect(),
            groups: self.group.into_iter().collect(),
            regions: self.region.into_iter().collect(),
            agreement: self.agreement,
            device_bound: self.device_bound,
        })
    }
}

/// Users of a company.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account user add acme acme/jane --to ./data\n  \
    penstock account user list acme --to ./data")]
pub(crate) struct AccountUser {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: UserVerb,
}

/// Verbs of `account user`.
#[derive(Debug, Subcommand)]
pub(crate) enum UserVerb {
    /// Make an account a user of a company, or change its role; an account that is not there is made.
    Add(UserAdd),
    /// List a company's users.
    List(AccountName),
    /// End a user's belonging to a company; all its seats go.
    Rm(UserRm),
}

/// See [`UserVerb::Add`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account user add acme acme/jane --role admin --to ./data")]
pub(crate) struct UserAdd {
    /// The company's account.
    pub(crate) company: AccountId,
    /// The user's account: claim `sub` of its tokens.
    pub(crate) user: AccountId,
    /// What it may do for the company; a member when left out of a new one.
    #[arg(long, value_enum)]
    pub(crate) role: Option<Role>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`UserVerb::Rm`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account user rm acme acme/jane --to ./data")]
pub(crate) struct UserRm {
    /// The company's account.
    pub(crate) company: AccountId,
    /// The user's account.
    pub(crate) user: AccountId,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// One account.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account user list acme --to ./data\n  \
    penstock account customer list shop --to ./data\n  penstock account allocation list shop --to ./data")]
pub(crate) struct AccountName {
    /// The account.
    pub(crate) account: AccountId,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// What a user may do for its company.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Runs the company's users and seats.
    Admin,
    /// Uses what it was given.
    Member,
}

impl From<Role> for UserRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Member => Self::Member,
        }
    }
}

/// Seats of an entitlement.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock entitlement seat give 7 acme/jane --to ./data\n  \
    penstock entitlement seat list 7 --to ./data")]
pub(crate) struct EntitlementSeat {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: SeatVerb,
}

/// Verbs of `entitlement seat`.
#[derive(Debug, Subcommand)]
pub(crate) enum SeatVerb {
    /// Give a seat to a user of the company.
    Give(SeatOne),
    /// List who has one.
    List(SeatList),
    /// Take a seat back, at once and on every edge.
    Take(SeatOne),
}

/// One seat.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock entitlement seat give 7 acme/jane --to ./data")]
pub(crate) struct SeatOne {
    /// The entitlement's number.
    pub(crate) id: u64,
    /// The user's account.
    pub(crate) user: AccountId,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`SeatVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock entitlement seat list 7 --to ./data")]
pub(crate) struct SeatList {
    /// The entitlement's number.
    pub(crate) id: u64,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// Devices of an account, one by one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account device add alice pc-1 --to ./data")]
pub(crate) struct AccountDevice {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: DeviceVerb,
}

/// Verbs of `account device`.
#[derive(Debug, Subcommand)]
pub(crate) enum DeviceVerb {
    /// Register a device.
    Add(DeviceOne),
    /// Take a device away.
    Rm(DeviceOne),
}

/// One device.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account device rm alice pc-1 --to ./data")]
pub(crate) struct DeviceOne {
    /// The account.
    pub(crate) account: AccountId,
    /// The device, as claim `device` of tokens names it.
    pub(crate) device: String,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// An agreement that somebody accepted.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account accept alice eula@3 --to ./data\n  \
    penstock account accept alice eula@3 --text eula-3.txt --to ./data")]
pub(crate) struct AccountAccept {
    /// The account.
    pub(crate) account: AccountId,
    /// The agreement.
    #[arg(value_name = "NAME@VERSION")]
    pub(crate) agreement: String,
    /// The text that was shown: its BLAKE3 hash is kept.
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// Customers of a reseller.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account customer add shop shop/bob --to ./data\n  \
    penstock account customer list shop --to ./data")]
pub(crate) struct AccountCustomer {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: CustomerVerb,
}

/// Verbs of `account customer`.
#[derive(Debug, Subcommand)]
pub(crate) enum CustomerVerb {
    /// Make an account a customer; one that is not there is made.
    Add(CustomerAdd),
    /// List a reseller's customers.
    List(AccountName),
    /// End an account's being a customer. What it was given stays.
    Rm(CustomerRm),
}

/// See [`CustomerVerb::Add`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account customer add shop shop/bob --to ./data")]
pub(crate) struct CustomerAdd {
    /// The reseller's account.
    pub(crate) reseller: AccountId,
    /// The customer's account.
    pub(crate) customer: AccountId,
    /// Who is behind an account that is made.
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Kind>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`CustomerVerb::Rm`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account customer rm shop shop/bob --to ./data")]
pub(crate) struct CustomerRm {
    /// The reseller's account.
    pub(crate) reseller: AccountId,
    /// The customer's account.
    pub(crate) customer: AccountId,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// What resellers may give.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock account allocation add shop --product game --quantity 100 --to ./data\n  \
    penstock account allocation list shop --to ./data"
)]
pub(crate) struct AccountAllocation {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: AllocationVerb,
}

/// Verbs of `account allocation`.
#[derive(Debug, Subcommand)]
pub(crate) enum AllocationVerb {
    /// Let a reseller give something, so many times.
    Add(Box<AllocationAdd>),
    /// List what a reseller may give, and how much of it is used.
    List(AccountName),
    /// Let nothing more be given out of one. What was given stays.
    Rm(AllocationOne),
}

/// See [`AllocationVerb::Add`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock account allocation add shop --product game --quantity 100 --for 365d --to ./data",
    group = ArgGroup::new("what").required(true).args(["product", "package"])
)]
pub(crate) struct AllocationAdd {
    /// The reseller's account.
    pub(crate) reseller: AccountId,
    /// What, and on which terms.
    #[command(flatten)]
    pub(crate) terms: TermsFlags,
    /// A package instead of a product.
    #[arg(long, value_name = "PACKAGE")]
    pub(crate) package: Option<PackageId>,
    /// How many may be given: an entitlement takes one, or as many as it has seats.
    #[arg(long, value_name = "N")]
    pub(crate) quantity: u64,
    /// What is given begins so much later at the soonest.
    #[arg(long, value_name = "SPAN")]
    pub(crate) after: Option<Span>,
    /// What is given has ended after so long.
    #[arg(long = "for", value_name = "SPAN")]
    pub(crate) lasts: Option<Span>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`AllocationVerb::Rm`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account allocation rm 3 --to ./data")]
pub(crate) struct AllocationOne {
    /// Its number.
    pub(crate) id: u64,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`super::Command::Package`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock package set suite --product game --product tools --to ./data\n  \
    penstock package list --to ./data")]
pub(crate) struct Package {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: PackageVerb,
}

/// Verbs of `package`.
#[derive(Debug, Subcommand)]
pub(crate) enum PackageVerb {
    /// Make a package, or replace what is in it, for everyone who has it.
    Set(PackageSet),
    /// Show one package.
    Show(PackageOne),
    /// List all packages.
    List(PackageList),
    /// Forget a package that nobody was ever given.
    Rm(PackageOne),
}

/// See [`PackageVerb::Set`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock package set suite --product game --product tools --to ./data\n  \
    penstock package set suite --items suite.json --to ./data\n\n\
    The file has a JSON list of terms, such as [{\"product\": \"game\", \"channels\": [\"beta\"]}].",
    group = ArgGroup::new("content").required(true).multiple(true).args(["product", "items"])
)]
pub(crate) struct PackageSet {
    /// The package.
    pub(crate) package: PackageId,
    /// Its name for people; the id when left out.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) title: String,
    /// A product without any limit; may be repeated.
    #[arg(long, value_name = "P")]
    pub(crate) product: Vec<ProductId>,
    /// A file with more items, on any terms.
    #[arg(long, value_name = "FILE")]
    pub(crate) items: Option<PathBuf>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// One package.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock package show suite --to ./data")]
pub(crate) struct PackageOne {
    /// The package.
    pub(crate) package: PackageId,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`PackageVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock package list --to ./data")]
pub(crate) struct PackageList {
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}
