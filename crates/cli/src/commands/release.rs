//! `release list|show|withdraw|restore`.

use crate::args::desk::{Release as Args, ReleaseOne, ReleaseVerb};
use crate::commands::Done;
use crate::desk::{self, Session};
use crate::output::Output;
use crate::words::bytes;
use penstock_core::api::ReleasesAnswer;
use penstock_core::catalog::{Release, ReleaseState};
use std::process::ExitCode;

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        ReleaseVerb::List(args) => {
            let session = desk::connect(&args.desk)?;
            let answer: ReleasesAnswer = session.get(&format!("/admin/v1/products/{}/releases", args.product))?;
            let lines: Vec<String> = answer.releases.iter().map(line).collect();
            let text = if lines.is_empty() { "no releases yet".to_owned() } else { lines.join("\n") };
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
    one(&session.post(&path(args, verb), &())?, output)
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
        "{} {} for {}: {} in {} entries, {state}, manifest {}",
        release.product,
        release.version,
        release.platform,
        bytes(release.content_bytes),
        release.entry_count,
        release.manifest,
    )
}
