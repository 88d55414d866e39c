//! `credential add|list|rm`: who may call the admin API, and in which role.

use crate::args::access::{Credential as Args, CredentialAdd, CredentialVerb};
use crate::commands::{Done, now};
use crate::desk::{self, Session};
use crate::failure::Failure;
use crate::output::Output;
use anyhow::Context as _;
use penstock_core::credential::{Credential, CredentialMade, CredentialsAnswer, PostCredential};
use penstock_core::time::UnixSeconds;
use penstock_publish::RegistryError;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        CredentialVerb::Add(args) => add(args, output),
        CredentialVerb::List(args) => {
            let answer = list(&desk::connect(&args.desk)?)?;
            let moment = now();
            let lines: Vec<String> = answer.credentials.iter().map(|one| line(one, moment)).collect();
            let text = if lines.is_empty() { "no credentials yet".to_owned() } else { lines.join("\n") };
            output.result(&answer, &text)?;
            Ok(ExitCode::SUCCESS)
        }
        CredentialVerb::Rm(args) => {
            let revoked: Credential =
                desk::connect(&args.desk)?.delete_for(&format!("/admin/v1/credentials/{}", args.name))?;
            output.result(&revoked, &line(&revoked, now()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The file is made before the credential: a secret that could not be written would be lost.
fn add(args: CredentialAdd, output: &Output) -> Done {
    if args.out.is_none() && !output.is_json() {
        return Err(Failure::usage("say where the secret goes: --out FILE, or --json to have it printed"));
    }
    let session = desk::connect_or_make(&args.desk, output)?;
    let wanted = PostCredential {
        name: args.name,
        role: args.role,
        account: args.account,
        products: args.product.into_iter().collect(),
        expires: args.ttl.map(|ttl| now().plus(ttl.0.as_secs())),
    };
    let Some(path) = args.out else {
        let made = make(&session, &wanted)?;
        output.result(&made, "")?;
        return Ok(ExitCode::SUCCESS);
    };
    let file = private_file(&path)?;
    let made = make(&session, &wanted).inspect_err(|_| {
        // It is ours and empty.
        let _ = std::fs::remove_file(&path);
    })?;
    write(file, &made.secret).with_context(|| {
        let name = &made.credential.name;
        format!("the secret could not be written to {}: revoke {name} and make another", path.display())
    })?;
    let text = format!("{}; its secret is in {}", line(&made.credential, now()), path.display());
    output.result(&made.credential, &text)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the credential. A secret is answered once and kept nowhere, so whoever did not hear it cannot ask again.
fn make(session: &Session, wanted: &PostCredential) -> anyhow::Result<CredentialMade> {
    session.post("/admin/v1/credentials", wanted).map_err(|error| {
        if matches!(error.downcast_ref::<RegistryError>(), Some(RegistryError::Refused { status: 400..=499, .. })) {
            return error;
        }
        let name = &wanted.name;
        error.context(format!(
            "no answer, so {name} may be made all the same, and its secret is lost then: if `penstock credential list` \
             shows it, take it back with `penstock credential rm {name}` and add one under another name; else run \
             this again"
        ))
    })
}

fn private_file(path: &Path) -> anyhow::Result<File> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.with_context(|| format!("cannot make {}", path.display()))
}

fn write(mut file: File, secret: &str) -> std::io::Result<()> {
    writeln!(file, "{secret}")?;
    file.sync_all()
}

fn list(session: &Session) -> anyhow::Result<CredentialsAnswer> {
    let mut all = CredentialsAnswer { credentials: Vec::new(), next: None };
    let mut path = "/admin/v1/credentials".to_owned();
    loop {
        let page: CredentialsAnswer = session.get(&path)?;
        all.credentials.extend(page.credentials);
        let Some(next) = page.next else { return Ok(all) };
        path = format!("/admin/v1/credentials?after={next}");
    }
}

fn line(one: &Credential, moment: UnixSeconds) -> String {
    let mut text = format!("{}: {}", one.name, one.role);
    if let Some(account) = &one.account {
        text.push_str(&format!(" of {account}"));
    }
    if !one.products.is_empty() {
        let products: Vec<&str> = one.products.iter().map(penstock_core::id::ProductId::as_str).collect();
        text.push_str(&format!(" for {}", products.join(" ")));
    }
    match (one.revoked, one.expires) {
        (Some(at), _) => text.push_str(&format!(", revoked at {}", at.0)),
        (None, Some(at)) if !one.is_live(moment) => text.push_str(&format!(", over since {}", at.0)),
        (None, Some(at)) => text.push_str(&format!(", until {}", at.0)),
        (None, None) => {}
    }
    text
}
