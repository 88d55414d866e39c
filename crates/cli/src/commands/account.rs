//! `account add|set|show|list`: who may come, and what they were given.

use crate::args::accounts::{Account as Args, AccountPut, AccountVerb, Attribute};
use crate::commands::Done;
use crate::commands::{entitlement, import};
use crate::desk::{self, Session};
use crate::output::Output;
use anyhow::bail;
use penstock_core::account::{AccountId, Standing};
use penstock_core::desk::{Account, AccountDetail, AccountKind, AccountsAnswer, PutAccount};
use penstock_publish::RegistryError;
use std::process::ExitCode;

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        AccountVerb::Add(args) => {
            let session = desk::connect_or_make(&args.desk, output)?;
            if is_there(&session, &args.account)? {
                return Err(anyhow::anyhow!(
                    "account {} is there already: change it with `penstock account set`",
                    args.account
                )
                .into());
            }
            one(&put(&session, args)?, output)
        }
        AccountVerb::Set(args) => {
            let session = desk::connect(&args.desk)?;
            show(&session, &args.account)?;
            one(&put(&session, args)?, output)
        }
        AccountVerb::Show(args) => {
            let session = desk::connect(&args.desk)?;
            one(&show(&session, &args.account)?, output)
        }
        AccountVerb::Import(args) => import::run(&args, output),
        AccountVerb::List(args) => {
            let accounts = list(&desk::connect(&args.desk)?)?;
            let lines: Vec<String> = accounts.iter().map(line).collect();
            let text = if lines.is_empty() { "no accounts yet".to_owned() } else { lines.join("\n") };
            output.result(&AccountsAnswer { accounts, next: None }, &text)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Where an account is, in the admin API.
pub(super) fn path(account: &AccountId) -> String {
    format!("/admin/v1/accounts/{}", desk::path_part(account.as_str()))
}

fn put(session: &Session, args: AccountPut) -> anyhow::Result<AccountDetail> {
    let set = |given: Vec<String>| (!given.is_empty()).then(|| given.into_iter().collect());
    let attributes = (!args.attribute.is_empty())
        .then(|| args.attribute.into_iter().map(|Attribute(name, value)| (name, value)).collect());
    let wanted = PutAccount {
        kind: args.kind.map(Into::into),
        standing: args.standing.map(Into::into),
        agreements: set(args.agreement),
        devices: set(args.device),
        attributes,
        end_tokens: args.sign_out,
    };
    session.put(&path(&args.account), &wanted)
}

fn show(session: &Session, account: &AccountId) -> anyhow::Result<AccountDetail> {
    session.get(&path(account))
}

/// Whether there is such an account.
fn is_there(session: &Session, account: &AccountId) -> anyhow::Result<bool> {
    match show(session, account) {
        Ok(_) => Ok(true),
        Err(error) => match error.downcast_ref::<RegistryError>() {
            Some(RegistryError::Refused { status: 404, .. }) => Ok(false),
            _ => Err(error),
        },
    }
}

fn list(session: &Session) -> anyhow::Result<Vec<Account>> {
    let mut accounts = Vec::new();
    let mut next: Option<AccountId> = None;
    loop {
        let query = next.map_or_else(String::new, |after| format!("?after={}", desk::path_part(after.as_str())));
        let page: AccountsAnswer = session.get(&format!("/admin/v1/accounts{query}"))?;
        accounts.extend(page.accounts);
        match page.next {
            Some(after) => next = Some(after),
            None => return Ok(accounts),
        }
        if accounts.len() > 10_000_000 {
            bail!("there are more accounts than a list can show: use the admin API, page by page");
        }
    }
}

fn one(detail: &AccountDetail, output: &Output) -> Done {
    let mut text = line(&detail.account);
    for entitlement in &detail.entitlements {
        text.push_str(&format!("\n  {}", entitlement::line(entitlement)));
    }
    output.result(detail, &text)?;
    Ok(ExitCode::SUCCESS)
}

fn line(account: &Account) -> String {
    let mut text = format!("{}: {}, {}", account.id, kind(account.kind), standing(account.standing));
    for (what, count) in [
        ("agreements", account.agreements.len()),
        ("devices", account.devices.len()),
        ("attributes", account.attributes.len()),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

const fn kind(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::Individual => "individual",
        AccountKind::Business => "business",
        AccountKind::Reseller => "reseller",
    }
}

const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Active => "active",
        Standing::Suspended => "suspended",
        Standing::OnHold => "on hold",
        Standing::Denied => "denied",
    }
}
