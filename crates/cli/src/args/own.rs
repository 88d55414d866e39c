//! Flags of `own`: what a company's admin or a reseller does with a credential of its own.

use super::accounts::Kind;
use super::people::Role;
use super::units::Span;
use super::whereto::Desk;
use clap::{Args, Subcommand};
use penstock_core::account::AccountId;
use penstock_core::id::ProductId;

/// See [`super::Command::Own`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own show --to https://control:8444 --admin-token-file acme.secret\n  \
    penstock own user add acme/jane --to https://control:8444 --admin-token-file acme.secret\n\n\
    The credential says for whom: make one with `penstock credential add NAME --role company --account acme`. New accounts\n\
    are named below its own, such as acme/jane.")]
pub(crate) struct Own {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: OwnVerb,
}

/// Verbs of `own`.
#[derive(Debug, Subcommand)]
pub(crate) enum OwnVerb {
    /// Show the account that the credential acts for, and what it was given.
    Show(OwnShow),
    /// Sign a token for a user or a customer and print it: for what they hold by way of this account, and no more.
    Token(OwnMint),
    /// Users of the company.
    User(OwnUser),
    /// Seats of what the company was given.
    Seat(OwnSeat),
    /// Customers of the reseller.
    Customer(OwnCustomer),
    /// List what the reseller may give, and how much of it is used.
    Allocations(OwnAllocations),
    /// Give something out of an allocation to a customer.
    Give(OwnGive),
    /// Take back what was given out of an allocation, at once and on every edge.
    Take(OwnTake),
}

/// See [`OwnVerb::Show`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own show --to https://control:8444 --admin-token-file acme.secret")]
pub(crate) struct OwnShow {
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`OwnVerb::Token`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own token --sub acme/jane --ttl 8h --to https://control:8444 > jane.jwt")]
pub(crate) struct OwnMint {
    /// The user or customer it speaks for.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) sub: AccountId,
    /// A product it is limited to; may be repeated. All that the account holds by way of this one when left out.
    #[arg(long, value_name = "P")]
    pub(crate) product: Vec<ProductId>,
    /// How long it lives, a day at most.
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    pub(crate) ttl: Span,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`OwnVerb::User`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own user list --to https://control:8444 --admin-token-file acme.secret")]
pub(crate) struct OwnUser {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: OwnUserVerb,
}

/// Verbs of `own user`.
#[derive(Debug, Subcommand)]
pub(crate) enum OwnUserVerb {
    /// Make an account a user, or change its role; an account that is not there is made.
    Add(OwnUserAdd),
    /// List the users.
    List(OwnList),
    /// End a user's belonging to the company; all its seats go.
    Rm(OwnAccount),
}

/// See [`OwnUserVerb::Add`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own user add acme/jane --role admin --to https://control:8444")]
pub(crate) struct OwnUserAdd {
    /// The user's account: claim `sub` of its tokens.
    pub(crate) account: AccountId,
    /// What it may do for the company; a member when left out of a new one.
    #[arg(long, value_enum)]
    pub(crate) role: Option<Role>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// All users or customers.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own user list --to https://control:8444\n  \
    penstock own customer list --to https://control:8444")]
pub(crate) struct OwnList {
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// One user or customer.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own user rm acme/jane --to https://control:8444\n  \
    penstock own customer rm shop/bob --to https://control:8444")]
pub(crate) struct OwnAccount {
    /// Its account.
    pub(crate) account: AccountId,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`OwnVerb::Seat`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own seat give 7 acme/jane --to https://control:8444")]
pub(crate) struct OwnSeat {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: OwnSeatVerb,
}

/// Verbs of `own seat`.
#[derive(Debug, Subcommand)]
pub(crate) enum OwnSeatVerb {
    /// Give a seat to a user.
    Give(OwnSeatOne),
    /// List who has one.
    List(OwnSeatList),
    /// Take a seat back, at once and on every edge.
    Take(OwnSeatOne),
}

/// One seat.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own seat give 7 acme/jane --to https://control:8444")]
pub(crate) struct OwnSeatOne {
    /// The entitlement's number, as `own show` tells it.
    pub(crate) id: u64,
    /// The user's account.
    pub(crate) user: AccountId,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`OwnSeatVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own seat list 7 --to https://control:8444")]
pub(crate) struct OwnSeatList {
    /// The entitlement's number.
    pub(crate) id: u64,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`OwnVerb::Customer`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own customer add shop/bob --to https://control:8444")]
pub(crate) struct OwnCustomer {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: OwnCustomerVerb,
}

/// Verbs of `own customer`.
#[derive(Debug, Subcommand)]
pub(crate) enum OwnCustomerVerb {
    /// Make an account a customer; one that is not there is made.
    Add(OwnCustomerAdd),
    /// List the customers.
    List(OwnList),
    /// End an account's being a customer. What it was given stays.
    Rm(OwnAccount),
}

/// See [`OwnCustomerVerb::Add`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own customer add shop/bob --to https://control:8444")]
pub(crate) struct OwnCustomerAdd {
    /// The customer's account.
    pub(crate) account: AccountId,
    /// Who is behind an account that is made.
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Kind>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`OwnVerb::Allocations`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own allocations --to https://control:8444 --admin-token-file shop.secret")]
pub(crate) struct OwnAllocations {
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`OwnVerb::Give`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own give 3 shop/bob --for 30d --to https://control:8444")]
pub(crate) struct OwnGive {
    /// The allocation's number, as `own allocations` tells it.
    pub(crate) allocation: u64,
    /// The customer's account.
    pub(crate) account: AccountId,
    /// So many seats for users of the customer, a company, instead of something of its own.
    #[arg(long, value_name = "N")]
    pub(crate) seats: Option<u64>,
    /// It begins so much later.
    #[arg(long, value_name = "SPAN")]
    pub(crate) after: Option<Span>,
    /// How long it lasts; as long as the allocation when left out.
    #[arg(long = "for", value_name = "SPAN")]
    pub(crate) lasts: Option<Span>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`OwnVerb::Take`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock own take 12 --to https://control:8444 --admin-token-file shop.secret")]
pub(crate) struct OwnTake {
    /// The entitlement's number, as `own give` told it.
    pub(crate) id: u64,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}
