//! `entitlement add|show|list|rm|seat`: what accounts were given.

use crate::args::accounts::{Entitlement as Args, EntitlementAdd, EntitlementVerb};
use crate::commands::{Done, account, now, people};
use crate::desk::{self, Session};
use crate::output::Output;
use penstock_core::desk::{AccountDetail, Entitlement, Given, PostEntitlement};
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        EntitlementVerb::Add(args) => {
            let session = desk::connect(&args.desk)?;
            one(&add(&session, *args)?, output)
        }
        EntitlementVerb::Show(args) => {
            let session = desk::connect(&args.desk)?;
            one(&session.get(&format!("/admin/v1/entitlements/{}", args.id))?, output)
        }
        EntitlementVerb::List(args) => {
            let session = desk::connect(&args.desk)?;
            let detail: AccountDetail = session.get(&account::path(&args.account))?;
            let lines: Vec<String> = detail.entitlements.iter().map(line).collect();
            let text = if lines.is_empty() { "nothing was given yet".to_owned() } else { lines.join("\n") };
            output.result(&detail.entitlements, &text)?;
            Ok(ExitCode::SUCCESS)
        }
        EntitlementVerb::Seat(args) => people::seat(args, output),
        EntitlementVerb::Rm(args) => {
            let session = desk::connect(&args.desk)?;
            one(&session.delete_for(&format!("/admin/v1/entitlements/{}", args.id))?, output)
        }
    }
}

fn add(session: &Session, args: EntitlementAdd) -> anyhow::Result<Entitlement> {
    let starts = args.after.map(|span| now().plus(span.0.as_secs()));
    let ends = args.lasts.map(|span| starts.unwrap_or_else(now).plus(span.0.as_secs()));
    let EntitlementAdd { account, terms, package, allocation, seats, .. } = args;
    let terms = terms.terms();
    session
        .post("/admin/v1/entitlements", &PostEntitlement { account, terms, package, allocation, seats, starts, ends })
}

fn one(entitlement: &Entitlement, output: &Output) -> Done {
    output.result(entitlement, &line(entitlement))?;
    Ok(ExitCode::SUCCESS)
}

/// One line for people.
pub(super) fn line(one: &Entitlement) -> String {
    let moment = now();
    let state = if one.revoked.is_some() {
        "taken back"
    } else if one.starts > moment {
        "not begun"
    } else if one.ends.is_some_and(|ends| ends <= moment) {
        "ended"
    } else {
        "in force"
    };
    let mut text = format!("{}: {} to {}, {state}", one.id, what(&one.what), one.account);
    if let (Some(seats), Some(taken)) = (one.seats, one.seats_taken) {
        text.push_str(&format!(", {taken} of {seats} seats taken"));
    }
    if let Some(allocation) = one.allocation {
        text.push_str(&format!(", out of allocation {allocation}"));
    }
    if let Some(ends) = one.ends {
        text.push_str(&format!(", ends at {}", ends.0));
    }
    text
}

/// What is given, for people.
pub(super) fn what(given: &Given) -> String {
    let terms = match given {
        Given::Terms(terms) => terms,
        Given::Package(package) => return format!("package {package}"),
    };
    let mut text = terms.product.to_string();
    let sets = [
        ("channels", words(&terms.channels)),
        ("platforms", words(&terms.platforms)),
        ("components", words(&terms.components)),
        ("groups", words(&terms.groups)),
        ("regions", words(&terms.regions)),
    ];
    for (what, names) in sets.into_iter().filter(|(_, names)| !names.is_empty()) {
        text.push_str(&format!(" ({what} {names})"));
    }
    text
}

fn words<T: std::fmt::Display>(set: &BTreeSet<T>) -> String {
    set.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
