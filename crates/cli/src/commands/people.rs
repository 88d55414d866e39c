//! `account user|customer|allocation`, `entitlement seat`: who gets something by way of somebody else.

use crate::args::people::{
    AccountAllocation, AccountCustomer, AccountUser, AllocationAdd, AllocationVerb, CustomerVerb, EntitlementSeat,
    SeatOne, SeatVerb, UserVerb,
};
use crate::commands::{Done, account, entitlement, now};
use crate::desk::{self, Session};
use crate::output::Output;
use penstock_core::account::AccountId;
use penstock_core::desk::{
    Account, AccountsAnswer, AccountsQuery, Allocation, AllocationsAnswer, PostAllocation, PutCustomer, PutUser, Seat,
    SeatsAnswer, User, UserRole, UsersAnswer,
};
use serde_json::{Map, Value};
use std::process::ExitCode;

/// Users of companies.
pub(crate) fn user(args: AccountUser, output: &Output) -> Done {
    let path = |company: &AccountId, user: &AccountId| {
        format!("{}/users/{}", account::path(company), desk::path_part(user.as_str()))
    };
    match args.verb {
        UserVerb::Add(args) => {
            let session = desk::connect(&args.desk)?;
            let wanted = PutUser { role: args.role.map(Into::into) };
            let user: User = session.put(&path(&args.company, &args.user), &wanted)?;
            shown(&user, &user_line(&user), output)
        }
        UserVerb::Rm(args) => {
            let session = desk::connect(&args.desk)?;
            let user: User = session.delete_for(&path(&args.company, &args.user))?;
            shown(&user, &format!("{} is no user of {} any more", user.account, user.company), output)
        }
        UserVerb::List(args) => {
            users(&desk::connect(&args.desk)?, &format!("{}/users", account::path(&args.account)), output)
        }
    }
}

/// All users of a company, page by page.
pub(super) fn users(session: &Session, path: &str, output: &Output) -> Done {
    let mut users = Vec::new();
    let mut next: Option<AccountId> = None;
    loop {
        let page: UsersAnswer = session.get(&format!("{path}{}", after(next.as_ref())))?;
        users.extend(page.users);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let lines: Vec<String> = users.iter().map(user_line).collect();
    listed(&UsersAnswer { users, next: None }, &lines, "no users yet", output)
}

/// Seats of entitlements.
pub(crate) fn seat(args: EntitlementSeat, output: &Output) -> Done {
    let path =
        |args: &SeatOne| format!("/admin/v1/entitlements/{}/seats/{}", args.id, desk::path_part(args.user.as_str()));
    match args.verb {
        SeatVerb::Give(args) => {
            let session = desk::connect(&args.desk)?;
            let seat: Seat = session.put(&path(&args), &Value::Object(Map::new()))?;
            shown(&seat, &seat_line(&seat), output)
        }
        SeatVerb::Take(args) => {
            let session = desk::connect(&args.desk)?;
            let left: SeatsAnswer = session.delete_for(&path(&args))?;
            shown(&left, &taken_line(&left), output)
        }
        SeatVerb::List(args) => {
            holders(&desk::connect(&args.desk)?, &format!("/admin/v1/entitlements/{}/seats", args.id), output)
        }
    }
}

/// All who have a seat, page by page.
pub(super) fn holders(session: &Session, path: &str, output: &Output) -> Done {
    let mut all: Option<SeatsAnswer> = None;
    loop {
        let next = all.as_ref().and_then(|all| all.next.as_ref());
        let page: SeatsAnswer = session.get(&format!("{path}{}", after(next)))?;
        let mut before = all.map_or_else(Vec::new, |all| all.holders);
        before.extend(page.holders);
        let page = SeatsAnswer { holders: before, ..page };
        if page.next.is_none() {
            let mut lines = vec![taken_line(&page)];
            lines.extend(page.holders.iter().map(|seat| format!("  {}", seat.account)));
            return listed(&page, &lines, "", output);
        }
        all = Some(page);
    }
}

/// Customers of resellers.
pub(crate) fn customer(args: AccountCustomer, output: &Output) -> Done {
    let path = |reseller: &AccountId, customer: &AccountId| {
        format!("{}/customers/{}", account::path(reseller), desk::path_part(customer.as_str()))
    };
    match args.verb {
        CustomerVerb::Add(args) => {
            let session = desk::connect(&args.desk)?;
            let wanted = PutCustomer { kind: args.kind.map(Into::into) };
            let customer: Account = session.put(&path(&args.reseller, &args.customer), &wanted)?;
            shown(&customer, &account::line(&customer), output)
        }
        CustomerVerb::Rm(args) => {
            let session = desk::connect(&args.desk)?;
            let customer: Account = session.delete_for(&path(&args.reseller, &args.customer))?;
            shown(&customer, &format!("{} is no customer of {} any more", customer.id, args.reseller), output)
        }
        CustomerVerb::List(args) => {
            let session = desk::connect(&args.desk)?;
            let accounts = account::every(
                &session,
                &format!("{}/customers", account::path(&args.account)),
                AccountsQuery::default(),
            )?;
            let lines: Vec<String> = accounts.iter().map(account::line).collect();
            listed(&AccountsAnswer { accounts, next: None }, &lines, "no customers yet", output)
        }
    }
}

/// What resellers may give.
pub(crate) fn allocation(args: AccountAllocation, output: &Output) -> Done {
    match args.verb {
        AllocationVerb::Add(args) => {
            let session = desk::connect(&args.desk)?;
            let made = allocate(&session, *args)?;
            shown(&made, &allocation_line(&made), output)
        }
        AllocationVerb::List(args) => {
            allocations(&desk::connect(&args.desk)?, &format!("{}/allocations", account::path(&args.account)), output)
        }
        AllocationVerb::Rm(args) => {
            let session = desk::connect(&args.desk)?;
            let closed: Allocation = session.delete_for(&format!("/admin/v1/allocations/{}", args.id))?;
            shown(&closed, &allocation_line(&closed), output)
        }
    }
}

/// All that a reseller may give.
pub(super) fn allocations(session: &Session, path: &str, output: &Output) -> Done {
    let answer: AllocationsAnswer = session.get(path)?;
    let lines: Vec<String> = answer.allocations.iter().map(allocation_line).collect();
    listed(&answer, &lines, "nothing is allocated yet", output)
}

fn allocate(session: &Session, args: AllocationAdd) -> anyhow::Result<Allocation> {
    let starts = args.after.map(|span| now().plus(span.0.as_secs()));
    let ends = args.lasts.map(|span| starts.unwrap_or_else(now).plus(span.0.as_secs()));
    let (terms, package, quantity) = (args.terms.terms(), args.package, args.quantity);
    let path = format!("{}/allocations", account::path(&args.reseller));
    session.post(&path, &PostAllocation { terms, package, quantity, starts, ends })
}

fn after(next: Option<&AccountId>) -> String {
    next.map_or_else(String::new, |after| format!("?after={}", desk::path_part(after.as_str())))
}

pub(super) fn shown(document: &impl serde::Serialize, text: &str, output: &Output) -> Done {
    output.result(document, text)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn listed(document: &impl serde::Serialize, lines: &[String], none: &str, output: &Output) -> Done {
    shown(document, &if lines.is_empty() { none.to_owned() } else { lines.join("\n") }, output)
}

pub(super) fn user_line(user: &User) -> String {
    let role = match user.role {
        UserRole::Admin => "admin",
        UserRole::Member => "member",
    };
    format!("{}: {role} of {}", user.account, user.company)
}

pub(super) fn seat_line(seat: &Seat) -> String {
    format!("{} has a seat of {}", seat.account, seat.entitlement)
}

pub(super) fn taken_line(seats: &SeatsAnswer) -> String {
    format!("{} of {} seats are taken", seats.taken, seats.seats)
}

fn allocation_line(one: &Allocation) -> String {
    let mut text = format!(
        "{}: {} for {}, {} of {} given",
        one.id,
        entitlement::what(&one.what),
        one.reseller,
        one.used,
        one.quantity
    );
    if let Some(ends) = one.ends {
        text.push_str(&format!(", ends at {}", ends.0));
    }
    if one.closed.is_some() {
        text.push_str(", closed");
    }
    text
}
