//! `release list|show|withdraw|restore`.

use crate::args::desk::{Release as Args, ReleaseOne, ReleaseVerb};
use crate::commands::Done;
use crate::desk::{self, Session};
use crate::output::Output;
use crate::words::{bytes, counted, platform};
use penstock_control::ReleaseChange;
use penstock_core::api::ReleasesAnswer;
use penstock_core::catalog::{Release, ReleaseState};
use penstock_core::desk::ReleasesQuery;
use std::process::ExitCode;

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        ReleaseVerb::List(args) => {
            let session = desk::connect(&args.desk)?;
            let wanted = ReleasesQuery { state: args.state.map(Into::into), platform: args.platform };
            let path = format!("/admin/v1/products/{}/releases{}", args.product, desk::query(&wanted));
            let answer: ReleasesAnswer = session.get(&path)?;
            let lines: Vec<String> = answer.releases.iter().map(line).collect();
            let text = if lines.is_empty() { "no such releases yet".to_owned() } else { lines.join("\n") };
            output.result(&answer, &text)?;
            Ok(ExitCode::SUCCESS)
        }
        ReleaseVerb::Show(args) => {
            let session = desk::connect(&args.desk)?;
            one(&session.get(&path(&args, ""))?, output)
        }
        ReleaseVerb::Withdraw(args) => change(&args, "/withdraw", output),
        ReleaseVerb::Restore(args) => change(&args, "/restore", output),
    }
}

fn change(args: &ReleaseOne, verb: &str, output: &Output) -> Done {
    let session: Session = desk::connect(&args.desk)?;
    let change: ReleaseChange = session.post(&path(args, verb), &())?;
    output.result(&change, &line(&change.release))?;
    for channel in &change.halted {
        output.note(&format!("the rollout that brought it in channel {channel} is halted"));
    }
    if change.release.state == ReleaseState::Withdrawn {
        for channel in &change.offered_by {
            output.note(&format!(
                "channel {channel} still offers it, and its players are refused: \
                 `penstock channel set {} {channel} VERSION` moves it to another",
                args.product
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(args: &ReleaseOne, verb: &str) -> String {
    format!("/admin/v1/products/{}/releases/{}{verb}?platform={}", args.product, args.version, args.platform)
}

fn one(release: &Release, output: &Output) -> Done {
    output.result(release, &line(release))?;
    Ok(ExitCode::SUCCESS)
}

fn line(release: &Release) -> String {
    let state = match release.state {
        ReleaseState::Live => "live",
        ReleaseState::Withdrawn => "withdrawn",
    };
    format!(
        "{} {} for {}: {} in {}, {state}, manifest {}",
        release.product,
        release.version,
        platform(&release.platform),
        bytes(release.content_bytes),
        counted(release.entry_count),
        release.manifest,
    )
}
