//! `entitlement add|show|list|rm|seat`: what accounts were given.

use crate::args::accounts::{Entitlement as Args, EntitlementAdd, EntitlementList, EntitlementVerb};
use crate::commands::{Done, account, now, people};
use crate::desk::{self, Session};
use crate::output::Output;
use penstock_core::desk::{AccountDetail, Entitlement, EntitlementsAnswer, EntitlementsQuery, Given, PostEntitlement};
use penstock_core::limits::PAGE_ROWS_MAX;
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
            let found = list(&desk::connect(&args.desk)?, args, output)?;
            let lines: Vec<String> = found.iter().map(line).collect();
            let text = if lines.is_empty() { "nothing of that was given yet".to_owned() } else { lines.join("\n") };
            output.result(&found, &text)?;
            Ok(ExitCode::SUCCESS)
        }
        EntitlementVerb::Seat(args) => people::seat(args, output),
        EntitlementVerb::Rm(args) => {
            let session = desk::connect(&args.desk)?;
            one(&session.delete_for(&format!("/admin/v1/entitlements/{}", args.id))?, output)
        }
    }
}

/// Page by page, up to what was asked for. Somebody who names an account that is not there mistyped it.
fn list(session: &Session, args: EntitlementList, output: &Output) -> anyhow::Result<Vec<Entitlement>> {
    if let Some(account) = &args.account {
        let _: AccountDetail = session.get(&account::path(account))?;
    }
    let EntitlementList { account, product, state, after, limit, .. } = args;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let state = state.map(Into::into);
    let mut wanted = EntitlementsQuery { after: Some(after), limit: None, account, product, state };
    let mut found: Vec<Entitlement> = Vec::new();
    loop {
        wanted.limit = Some((most - found.len()).clamp(1, PAGE_ROWS_MAX) as u64);
        let page: EntitlementsAnswer = session.get(&format!("/admin/v1/entitlements{}", desk::query(&wanted)))?;
        found.extend(page.entitlements);
        wanted.after = page.next;
        let Some(next) = page.next else { return Ok(found) };
        if found.len() >= most {
            output.note(&format!("there are more: go on with --after {next}"));
            return Ok(found);
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

pub(super) fn one(entitlement: &Entitlement, output: &Output) -> Done {
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
