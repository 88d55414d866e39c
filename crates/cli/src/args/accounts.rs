//! Flags of `account` and `entitlement`.

use super::people::{
    AccountAccept, AccountAllocation, AccountCustomer, AccountDevice, AccountUser, EntitlementSeat, TermsFlags,
};
use super::units::Span;
use super::whereto::Desk;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use penstock_core::account::{AccountId, Expiry, Standing};
use penstock_core::desk::{AccountKind, EntitlementState};
use penstock_core::id::{PackageId, ProductId};
use penstock_core::segment::Value;
use std::path::{Path, PathBuf};

/// See [`super::Command::Account`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account add alice --to ./data\n  penstock account show alice --to ./data")]
pub(crate) struct Account {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: AccountVerb,
}

/// Verbs of `account`.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountVerb {
    /// Make an account.
    Add(AccountPut),
    /// Change an account; what is not named stays as it is.
    Set(AccountPut),
    /// Show an account and what it was given.
    Show(AccountShow),
    /// List accounts: all, or those of a kind, a standing, or with names that begin alike.
    List(AccountList),
    /// Import accounts and what they are given, from CSV or NDJSON.
    Import(AccountImport),
    /// Users of a company.
    User(AccountUser),
    /// Devices of an account, one by one.
    Device(AccountDevice),
    /// Note that an agreement was accepted.
    Accept(AccountAccept),
    /// Customers of a reseller.
    Customer(AccountCustomer),
    /// What a reseller may give.
    Allocation(AccountAllocation),
}

/// See [`AccountVerb::Add`] and [`AccountVerb::Set`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account set alice --standing suspended --to ./data\n  \
    penstock account set alice --attribute beta=true --attribute score=12 --to ./data")]
pub(crate) struct AccountPut {
    /// The account: claim `sub` of its tokens.
    pub(crate) account: AccountId,
    /// Who is behind it.
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Kind>,
    /// Whether it is served.
    #[arg(long, value_enum)]
    pub(crate) standing: Option<Stands>,
    /// An agreement that it accepted, such as eula@3; may be repeated, and replaces those before.
    #[arg(long, value_name = "NAME@VERSION")]
    pub(crate) agreement: Vec<String>,
    /// A device that it registered; may be repeated, and replaces those before.
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Vec<String>,
    /// What segments are made from: true, false, a whole number or a text; may be repeated, and replaces those before.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) attribute: Vec<Attribute>,
    /// Sign out everywhere: every token that was issued before now is worth nothing.
    #[arg(long)]
    pub(crate) sign_out: bool,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`AccountVerb::Show`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account show alice --to ./data")]
pub(crate) struct AccountShow {
    /// The account.
    pub(crate) account: AccountId,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`AccountVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account list --to ./data\n  \
    penstock account list --kind business --standing suspended --to ./data\n  \
    penstock account list --prefix acme/ --to ./data")]
pub(crate) struct AccountList {
    /// Only accounts of this kind.
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Kind>,
    /// Only accounts that stand so.
    #[arg(long, value_enum)]
    pub(crate) standing: Option<Stands>,
    /// Only accounts whose names begin like this.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<AccountId>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`AccountVerb::Import`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock account import players.csv --to ./data --report refused.ndjson\n\n\
    CSV has one line of column names: account, kind, standing, product, starts, ends, expiry, grace_seconds, channels,\n\
    platforms, components, groups, regions, agreement, device_bound, package, seats, company, role, seat. Several names in one field are separated by blanks;\n\
    times are seconds since 1970; what is empty is not said. NDJSON has {\"account\": …, \"terms\": {\"product\": …}, …}\n\
    on each line. A line that was imported before changes nothing, so an import that was interrupted is run again.")]
pub(crate) struct AccountImport {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What it is written in; by its name when left out.
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Where refused lines are written down, one JSON object each: number, reason and text.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated, with a line of column names.
    Csv,
    /// One JSON object on each line.
    Ndjson,
}

impl Format {
    /// By the file's name: `.csv`, else NDJSON.
    pub(crate) fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv")) { Self::Csv } else { Self::Ndjson }
    }
}

/// See [`super::Command::Entitlement`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock entitlement add --account alice --product game --to ./data\n  \
    penstock entitlement rm 7 --to ./data")]
pub(crate) struct Entitlement {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: EntitlementVerb,
}

/// Verbs of `entitlement`.
#[derive(Debug, Subcommand)]
pub(crate) enum EntitlementVerb {
    /// Give a product to an account.
    Add(Box<EntitlementAdd>),
    /// Show one entitlement.
    Show(EntitlementOne),
    /// List what an account was given.
    List(EntitlementList),
    /// Take an entitlement back, at once and on every edge.
    Rm(EntitlementOne),
    /// Seats of an entitlement.
    Seat(EntitlementSeat),
}

/// See [`EntitlementVerb::Add`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock entitlement add --account alice --product game --to ./data\n  \
    penstock entitlement add --account press --product game --channel beta --for 30d --expiry revoke --to ./data\n  \
    penstock entitlement add --account bob --product game --component dlc --to ./data\n  \
    penstock entitlement add --account acme --package suite --seats 50 --for 365d --to ./data\n\n\
    A limit that is not named does not apply.",
    group = ArgGroup::new("what").required(true).args(["product", "package", "allocation"]))]
pub(crate) struct EntitlementAdd {
    /// To whom.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: AccountId,
    /// What, and on which terms.
    #[command(flatten)]
    pub(crate) terms: TermsFlags,
    /// A package instead of a product.
    #[arg(long, value_name = "PACKAGE")]
    pub(crate) package: Option<PackageId>,
    /// Out of this allocation of the account's reseller, by number: what it is of, not longer than it lasts.
    #[arg(long, value_name = "ALLOCATION")]
    pub(crate) allocation: Option<u64>,
    /// So many seats for users of the account, a company, instead of something of its own.
    #[arg(long, value_name = "N")]
    pub(crate) seats: Option<u64>,
    /// It begins so much later.
    #[arg(long, value_name = "SPAN")]
    pub(crate) after: Option<Span>,
    /// How long it lasts; for good when left out.
    #[arg(long = "for", value_name = "SPAN")]
    pub(crate) lasts: Option<Span>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// One entitlement.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock entitlement show 7 --to ./data")]
pub(crate) struct EntitlementOne {
    /// Its number, as `account show` tells it.
    pub(crate) id: u64,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`EntitlementVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock entitlement list --account alice --to ./data\n  \
    penstock entitlement list --product game --state live --limit 1000 --to ./data")]
pub(crate) struct EntitlementList {
    /// Only what this account was given.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: Option<AccountId>,
    /// Only what was given of this product, packages with it included.
    #[arg(long, value_name = "P")]
    pub(crate) product: Option<ProductId>,
    /// Only what is in this state now.
    #[arg(long, value_enum)]
    pub(crate) state: Option<State>,
    /// Only entitlements with larger numbers.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) after: u64,
    /// At most so many; where more are left, stderr says so.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// How an entitlement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// It has begun and not ended.
    Live,
    /// It begins later.
    Scheduled,
    /// Its end has passed.
    Ended,
    /// It was taken back.
    Revoked,
}

impl From<State> for EntitlementState {
    fn from(state: State) -> Self {
        match state {
            State::Live => Self::Live,
            State::Scheduled => Self::Scheduled,
            State::Ended => Self::Ended,
            State::Revoked => Self::Revoked,
        }
    }
}

/// Who is behind an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// One person.
    Individual,
    /// A company that buys for its people.
    Business,
    /// Somebody who sells on.
    Reseller,
}

impl From<Kind> for AccountKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Individual => Self::Individual,
            Kind::Business => Self::Business,
            Kind::Reseller => Self::Reseller,
        }
    }
}

/// Whether an account is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stands {
    /// As usual.
    Active,
    /// Blocked by the studio.
    Suspended,
    /// A person has to look first.
    OnHold,
    /// Refused by screening.
    Denied,
}

impl From<Stands> for Standing {
    fn from(stands: Stands) -> Self {
        match stands {
            Stands::Active => Self::Active,
            Stands::Suspended => Self::Suspended,
            Stands::OnHold => Self::OnHold,
            Stands::Denied => Self::Denied,
        }
    }
}

/// What an entitlement's end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ends {
    /// What was registered by then stays readable.
    Restrict,
    /// Everything stays readable.
    Maintain,
    /// Nothing stays readable.
    Revoke,
}

impl From<Ends> for Expiry {
    fn from(ends: Ends) -> Self {
        match ends {
            Ends::Restrict => Self::Restrict,
            Ends::Maintain => Self::Maintain,
            Ends::Revoke => Self::Revoke,
        }
    }
}

/// A name and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute(pub(crate) String, pub(crate) Value);

impl std::str::FromStr for Attribute {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("an attribute is NAME=VALUE")?;
        let value = match value {
            "true" => Value::Flag(true),
            "false" => Value::Flag(false),
            other => other.parse().map_or_else(|_| Value::Text(other.to_owned()), Value::Number),
        };
        Ok(Self(name.to_owned(), value))
    }
}
