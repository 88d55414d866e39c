//! `own`: what a company's admin or a reseller does, always for the account of its credential.
//!
//! The same documents and words as the studio's desk has; only the paths are others.

use crate::args::own::{
    Own as Args, OwnCustomer, OwnCustomerVerb, OwnGive, OwnMint, OwnSeat, OwnSeatOne, OwnSeatVerb, OwnUser,
    OwnUserVerb, OwnVerb,
};
use crate::commands::people::{allocations, holders, listed, seat_line, shown, taken_line, user_line, users};
use crate::commands::{Done, account, entitlement, now};
use crate::desk::{self, path_part};
use crate::output::Output;
use penstock_core::api::{MintToken, TokenAnswer};
use penstock_core::desk::{
    Account, AccountDetail, AccountsAnswer, AccountsQuery, Entitlement, PostEntitlement, PutCustomer, PutUser, Seat,
    SeatsAnswer, User,
};
use serde_json::{Map, Value};

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        OwnVerb::Show(args) => {
            let detail: AccountDetail = desk::connect(&args.desk)?.get("/admin/v1/own")?;
            account::one(&detail, output)
        }
        OwnVerb::Token(args) => mint(args, output),
        OwnVerb::User(args) => user(args, output),
        OwnVerb::Seat(args) => seat(args, output),
        OwnVerb::Customer(args) => customer(args, output),
        OwnVerb::Allocations(args) => allocations(&desk::connect(&args.desk)?, "/admin/v1/own/allocations", output),
        OwnVerb::Give(args) => give(args, output),
        OwnVerb::Take(args) => {
            let taken: Entitlement =
                desk::connect(&args.desk)?.delete_for(&format!("/admin/v1/own/entitlements/{}", args.id))?;
            entitlement::one(&taken, output)
        }
    }
}

/// Prints the token: on stdout, because it was asked for, and nowhere else.
fn mint(args: OwnMint, output: &Output) -> Done {
    let wanted = MintToken { sub: args.sub.to_string(), products: args.product, ttl_seconds: args.ttl.0.as_secs() };
    let answer: TokenAnswer = desk::connect(&args.desk)?.post("/admin/v1/own/tokens", &wanted)?;
    shown(&answer, &answer.token, output)
}

fn user(args: OwnUser, output: &Output) -> Done {
    let path = |account: &str| format!("/admin/v1/own/users/{}", path_part(account));
    match args.verb {
        OwnUserVerb::Add(args) => {
            let wanted = PutUser { role: args.role.map(Into::into) };
            let user: User = desk::connect(&args.desk)?.put(&path(args.account.as_str()), &wanted)?;
            shown(&user, &user_line(&user), output)
        }
        OwnUserVerb::List(args) => users(&desk::connect(&args.desk)?, "/admin/v1/own/users", output),
        OwnUserVerb::Rm(args) => {
            let user: User = desk::connect(&args.desk)?.delete_for(&path(args.account.as_str()))?;
            shown(&user, &format!("{} is no user of {} any more", user.account, user.company), output)
        }
    }
}

fn seat(args: OwnSeat, output: &Output) -> Done {
    let path =
        |args: &OwnSeatOne| format!("/admin/v1/own/entitlements/{}/seats/{}", args.id, path_part(args.user.as_str()));
    match args.verb {
        OwnSeatVerb::Give(args) => {
            let seat: Seat = desk::connect(&args.desk)?.put(&path(&args), &Value::Object(Map::new()))?;
            shown(&seat, &seat_line(&seat), output)
        }
        OwnSeatVerb::List(args) => {
            holders(&desk::connect(&args.desk)?, &format!("/admin/v1/own/entitlements/{}/seats", args.id), output)
        }
        OwnSeatVerb::Take(args) => {
            let left: SeatsAnswer = desk::connect(&args.desk)?.delete_for(&path(&args))?;
            shown(&left, &taken_line(&left), output)
        }
    }
}

fn customer(args: OwnCustomer, output: &Output) -> Done {
    let path = |account: &str| format!("/admin/v1/own/customers/{}", path_part(account));
    match args.verb {
        OwnCustomerVerb::Add(args) => {
            let wanted = PutCustomer { kind: args.kind.map(Into::into) };
            let customer: Account = desk::connect(&args.desk)?.put(&path(args.account.as_str()), &wanted)?;
            shown(&customer, &account::line(&customer), output)
        }
        OwnCustomerVerb::List(args) => {
            let accounts =
                account::every(&desk::connect(&args.desk)?, "/admin/v1/own/customers", AccountsQuery::default())?;
            let lines: Vec<String> = accounts.iter().map(account::line).collect();
            listed(&AccountsAnswer { accounts, next: None }, &lines, "no customers yet", output)
        }
        OwnCustomerVerb::Rm(args) => {
            let customer: Account = desk::connect(&args.desk)?.delete_for(&path(args.account.as_str()))?;
            shown(&customer, &format!("{} is no customer any more", customer.id), output)
        }
    }
}

fn give(args: OwnGive, output: &Output) -> Done {
    let starts = args.after.map(|span| now().plus(span.0.as_secs()));
    let wanted = PostEntitlement {
        account: args.account,
        terms: None,
        package: None,
        allocation: Some(args.allocation),
        seats: args.seats,
        starts,
        ends: args.lasts.map(|span| starts.unwrap_or_else(now).plus(span.0.as_secs())),
    };
    let given: Entitlement = desk::connect(&args.desk)?.post("/admin/v1/own/entitlements", &wanted)?;
    entitlement::one(&given, output)
}
