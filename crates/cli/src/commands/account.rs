//! `account add|set|show|list|device|accept`: who may come, and what they were given.

use crate::args::accounts::{Account as Args, AccountPut, AccountVerb, Attribute};
use crate::args::people::{AccountDevice, DeviceOne, DeviceVerb};
use crate::commands::Done;
use crate::commands::{entitlement, import, people};
use crate::desk::{self, Session};
use crate::output::Output;
use anyhow::{Context as _, bail};
use penstock_core::account::{AccountId, Standing};
use penstock_core::blob::BlobId;
use penstock_core::desk::{
    Account, AccountDetail, AccountKind, AccountsAnswer, AccountsQuery, PutAcceptance, PutAccount,
};
use penstock_publish::RegistryError;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

/// Longest text of an agreement, in bytes.
const TEXT_BYTES_MAX: u64 = 16 << 20;

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
        AccountVerb::User(args) => people::user(args, output),
        AccountVerb::Customer(args) => people::customer(args, output),
        AccountVerb::Allocation(args) => people::allocation(args, output),
        AccountVerb::Device(args) => device(args, output),
        AccountVerb::Accept(args) => {
            let text = args.text.as_deref().map(hash_of).transpose()?;
            let session = desk::connect(&args.desk)?;
            let path = format!("{}/agreements/{}", path(&args.account), desk::path_part(&args.agreement));
            one(&session.put(&path, &PutAcceptance { text })?, output)
        }
        AccountVerb::List(args) => {
            let (kind, standing) = (args.kind.map(Into::into), args.standing.map(Into::into));
            let wanted = AccountsQuery { kind, standing, prefix: args.prefix, ..AccountsQuery::default() };
            let accounts = every(&desk::connect(&args.desk)?, "/admin/v1/accounts", wanted)?;
            let lines: Vec<String> = accounts.iter().map(line).collect();
            let text = if lines.is_empty() { "no such accounts yet".to_owned() } else { lines.join("\n") };
            output.result(&AccountsAnswer { accounts, next: None }, &text)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn device(args: AccountDevice, output: &Output) -> Done {
    let path = |args: &DeviceOne| format!("{}/devices/{}", path(&args.account), desk::path_part(&args.device));
    match args.verb {
        DeviceVerb::Add(args) => {
            let session = desk::connect(&args.desk)?;
            one(&session.put(&path(&args), &serde_json::Map::new())?, output)
        }
        DeviceVerb::Rm(args) => {
            let session = desk::connect(&args.desk)?;
            one(&session.delete_for(&path(&args))?, output)
        }
    }
}

/// The hash of a file, under which a text is known.
fn hash_of(file: &Path) -> anyhow::Result<BlobId> {
    let mut text = Vec::new();
    let opened = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    opened
        .take(TEXT_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .with_context(|| format!("cannot read {}", file.display()))?;
    if text.len() as u64 > TEXT_BYTES_MAX {
        bail!("{} is longer than {TEXT_BYTES_MAX} bytes: is this the agreement's text?", file.display());
    }
    Ok(BlobId::of(&text))
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

/// All accounts of a list that comes in pages.
pub(super) fn every(session: &Session, path: &str, mut wanted: AccountsQuery) -> anyhow::Result<Vec<Account>> {
    let mut accounts = Vec::new();
    loop {
        let page: AccountsAnswer = session.get(&format!("{path}{}", desk::query(&wanted)))?;
        accounts.extend(page.accounts);
        wanted.after = page.next;
        if wanted.after.is_none() {
            return Ok(accounts);
        }
        if accounts.len() > 10_000_000 {
            bail!("there are more accounts than a list can show: use the admin API, page by page");
        }
    }
}

pub(super) fn one(detail: &AccountDetail, output: &Output) -> Done {
    let mut text = line(&detail.account);
    if let Some(user) = &detail.user_of {
        text.push_str(&format!(", user of {}", user.company));
    }
    for seat in &detail.seats {
        text.push_str(&format!("\n  a seat of {}", seat.entitlement));
    }
    for entitlement in &detail.entitlements {
        text.push_str(&format!("\n  {}", entitlement::line(entitlement)));
    }
    output.result(detail, &text)?;
    Ok(ExitCode::SUCCESS)
}

/// One line for people.
pub(super) fn line(account: &Account) -> String {
    let mut text = format!("{}: {}, {}", account.id, kind(account.kind), standing(account.standing));
    if let Some(seller) = &account.seller {
        text.push_str(&format!(", customer of {seller}"));
    }
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
