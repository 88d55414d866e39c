//! Why something about users, seats, packages, customers and allocations is refused.

use penstock_core::account::AccountId;
use penstock_core::delegate::NotYours;
use penstock_core::id::PackageId;
use penstock_core::reply::Problem;
use penstock_core::time::UnixSeconds;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// Only a business has users.
    #[error("account {0} is no business, so it has no users and no seats: `penstock account set {0} --kind business`")]
    NotBusiness(AccountId),
    /// Only a reseller sells.
    #[error("account {0} is no reseller: `penstock account set {0} --kind reseller`")]
    NotReseller(AccountId),
    /// Users are people.
    #[error("account {0} is not one person's, so it cannot be a user")]
    NotIndividual(AccountId),
    /// Its kind means something to others.
    #[error("account {account} has {what}, so its kind stays as it is: take them away first")]
    Tied {
        /// Which.
        account: AccountId,
        /// What keeps it.
        what: &'static str,
    },
    /// A user of somebody else.
    #[error("account {user} is a user of {company}: remove it there first")]
    OtherCompany {
        /// Which.
        user: AccountId,
        /// Whose.
        company: AccountId,
    },
    /// No user of this company.
    #[error("account {company} has no user {user}: add it with `penstock account user add`")]
    NoUser {
        /// The company.
        company: AccountId,
        /// Who was named.
        user: AccountId,
    },
    /// A customer of somebody else.
    #[error("account {customer} is a customer of {seller}: remove it there first")]
    OtherSeller {
        /// Which.
        customer: AccountId,
        /// Whose.
        seller: AccountId,
    },
    /// No customer of this reseller.
    #[error("account {customer} is no customer of {seller}: make it one with `penstock account customer add`")]
    NoCustomer {
        /// The reseller.
        seller: AccountId,
        /// Who was named.
        customer: AccountId,
    },
    /// It has as many as it can have.
    #[error("account {account} has room for {max} {what} and no more: take one away first")]
    Full {
        /// Which.
        account: AccountId,
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// It made as many accounts as it can.
    #[error(
        "account {party} has made {max} accounts below its name, which is all that it can: ask the studio for more"
    )]
    MadeMany {
        /// Who makes them.
        party: AccountId,
        /// The bound.
        max: usize,
    },
    /// Nobody sells to itself.
    #[error("account {0} cannot be its own user or customer")]
    Itself(AccountId),
    /// The entitlement is the account's own.
    #[error("entitlement {0} has no seats: it is the account's own")]
    NoSeats(u64),
    /// The entitlement was taken back.
    #[error("entitlement {0} was taken back")]
    Revoked(u64),
    /// Nobody else fits.
    #[error("all {seats} seats of entitlement {entitlement} are taken: take one back first")]
    SeatsTaken {
        /// Which.
        entitlement: u64,
        /// How many it has.
        seats: u64,
    },
    /// No such package.
    #[error("there is no package {0}: make it with `penstock package set` (PUT /admin/v1/packages/{0})")]
    NoPackage(PackageId),
    /// Its history must stay readable.
    #[error("package {0} was given to somebody or allocated: it stays, so that it can be told what was given")]
    PackageUsed(PackageId),
    /// No such allocation.
    #[error("there is no allocation {0}")]
    NoAllocation(u64),
    /// Nothing is given out of it any more.
    #[error("allocation {0} is closed")]
    Closed(u64),
    /// Too little is left.
    #[error("allocation {id} has {left} left, and this takes {wanted}")]
    Exhausted {
        /// Which.
        id: u64,
        /// How many are left.
        left: u64,
        /// How many this takes.
        wanted: u64,
    },
    /// Outside the allocation's time.
    #[error("allocation {id} is from {starts} to {ends}: what is given out of it cannot be for longer", starts = starts.0,
        ends = ends.map_or_else(|| "no end".to_owned(), |ends| ends.0.to_string()))]
    OutsideTime {
        /// Which.
        id: u64,
        /// When what it is of may begin.
        starts: UnixSeconds,
        /// When it must have ended.
        ends: Option<UnixSeconds>,
    },
    /// The account that gives is not served itself.
    #[error("account {0} is not active, so nothing is given in its name")]
    NotActive(AccountId),
    /// Somebody else's.
    #[error(transparent)]
    NotYours(#[from] NotYours),
}

impl PeopleError {
    /// The code that the caller gets.
    pub(crate) const fn problem(&self) -> Problem {
        match self {
            Self::NoUser { .. } | Self::NoCustomer { .. } | Self::NoPackage(_) | Self::NoAllocation(_) => {
                Problem::NotFound
            }
            Self::Itself(_) => Problem::BadRequest,
            Self::NotYours(_) => Problem::AdminForbidden,
            Self::NotBusiness(_)
            | Self::NotReseller(_)
            | Self::NotIndividual(_)
            | Self::Tied { .. }
            | Self::OtherCompany { .. }
            | Self::OtherSeller { .. }
            | Self::Full { .. }
            | Self::MadeMany { .. }
            | Self::NoSeats(_)
            | Self::Revoked(_)
            | Self::SeatsTaken { .. }
            | Self::PackageUsed(_)
            | Self::Closed(_)
            | Self::Exhausted { .. }
            | Self::OutsideTime { .. }
            | Self::NotActive(_) => Problem::Conflict,
        }
    }
}
