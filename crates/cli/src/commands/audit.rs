//! `audit list|verify`: who changed what, and whether anybody changed that.

use crate::args::access::{Audit as Args, AuditList, AuditVerb};
use crate::commands::Done;
use crate::desk::{self, Session, path_part};
use crate::failure::REFUSED;
use crate::output::Output;
use crate::words;
use penstock_core::audit::{AuditAnswer, AuditEntry, AuditVerified};
use std::process::ExitCode;

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        AuditVerb::List(args) => {
            let answer = list(&desk::connect(&args.desk)?, &args)?;
            let mut lines: Vec<String> = answer.entries.iter().map(line).collect();
            if let Some(next) = answer.next {
                lines.push(format!("there are more: --after {next}"));
            }
            let text = if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") };
            output.result(&answer, &text)?;
            Ok(ExitCode::SUCCESS)
        }
        AuditVerb::Verify(args) => {
            let verified: AuditVerified = desk::connect(&args.desk)?.get("/admin/v1/audit/verify")?;
            output.result(&verified, &verdict(&verified))?;
            Ok(if verified.whole { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
        }
    }
}

/// Pages until there are as many as were asked for.
fn list(session: &Session, args: &AuditList) -> anyhow::Result<AuditAnswer> {
    let mut all = AuditAnswer { entries: Vec::new(), next: Some(args.after) };
    while let Some(after) = all.next {
        let left = args.limit.saturating_sub(all.entries.len() as u64);
        if left == 0 {
            break;
        }
        let mut path = format!("/admin/v1/audit?after={after}&limit={left}");
        for (name, filter) in [("subject", &args.subject), ("actor", &args.actor)] {
            if let Some(text) = filter {
                path.push_str(&format!("&{name}={}", path_part(text)));
            }
        }
        let page: AuditAnswer = session.get(&path)?;
        all.entries.extend(page.entries);
        all.next = page.next;
    }
    Ok(all)
}

fn line(entry: &AuditEntry) -> String {
    let AuditEntry { sequence, at, actor, role, verb, subject, .. } = entry;
    format!("{sequence}: at {}, {actor} ({role}): {verb} {subject}", at.0)
}

fn verdict(verified: &AuditVerified) -> String {
    let entries = words::counted(verified.entries);
    match &verified.broken {
        None => format!("the chain holds: {entries}, the last has the hash {}", verified.hash),
        Some(broken) => {
            format!("the chain is broken at entry {}: {}; {entries} before it hold", broken.sequence, broken.reason)
        }
    }
}
