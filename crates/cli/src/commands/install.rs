//! `pull`, `verify`, `repair`, `rollback`: what a player's launcher does, from a terminal.

use crate::args::install::{Pull, Repair, Rollback, Verify};
use crate::commands::{Done, now};
use crate::failure::{self, Failure};
use crate::output::Output;
use crate::progress::Bar;
use crate::secrets;
use crate::words::{bytes, count, counted, rate, time};
use penstock_client::session::EDGES_MAX;
use penstock_client::{
    Check, Components, DamageKind, EdgeUrl, ErrorClass, Intent, Preflight, PullError, PullReport, PullRequest,
    RepairReport, RepairRequest, RollbackReport, RollbackRequest, Target, Token, Tuning, VerifyReport, VerifyRequest,
};
use penstock_core::id::{ChannelName, ComponentName};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Installs or updates.
pub(crate) fn pull(args: Pull, output: &Output) -> Done {
    let target = match (args.version, args.channel) {
        (Some(version), _) => Target::Version(version),
        (None, Some(channel)) => Target::Channel(channel),
        (None, None) => Target::Channel(stable()),
    };
    few_enough(&args.source.from)?;
    let request = PullRequest {
        edges: args.source.from,
        product: args.product,
        platform: args.platform,
        target,
        components: components(args.component, args.all_components),
        check: if args.manual_check { Check::ByHand } else { Check::Scheduled },
        token: token(args.source.token_file.as_deref())?,
        trust: args.trust,
        ca_file: args.source.ca,
        into: args.into,
        intent: intent(args.dry_run),
        keep_previous: args.keep_previous,
        now: now(),
        tuning: Tuning { limit_rate: args.source.limit_rate.map(|rate| rate.0), ..Tuning::default() },
    };
    let report = penstock_client::pull(&request, &Bar::new(*output)).map_err(classify)?;
    output.result(&report, &pull_text(&report))?;
    Ok(ExitCode::SUCCESS)
}

/// Compares; exit code 1 when something differs.
pub(crate) fn verify(args: &Verify, output: &Output) -> Done {
    let request = VerifyRequest { dir: args.dir.clone(), tuning: Tuning::default() };
    let report = penstock_client::verify(&request, &Bar::new(*output)).map_err(classify)?;
    output.result(&report, &verify_text(&report, &args.dir))?;
    Ok(if report.intact && !report.unfinished { ExitCode::SUCCESS } else { ExitCode::from(failure::FAILED) })
}

/// Mends.
pub(crate) fn repair(args: Repair, output: &Output) -> Done {
    few_enough(&args.from)?;
    let request = RepairRequest {
        dir: args.dir,
        edges: args.from,
        token: token(args.token_file.as_deref())?,
        ca_file: args.ca,
        intent: intent(args.dry_run),
        tuning: Tuning { limit_rate: args.limit_rate.map(|rate| rate.0), ..Tuning::default() },
    };
    let report = penstock_client::repair(&request, &Bar::new(*output)).map_err(classify)?;
    output.result(&report, &repair_text(&report))?;
    Ok(ExitCode::SUCCESS)
}

/// Goes back.
pub(crate) fn rollback(args: Rollback, output: &Output) -> Done {
    let request = RollbackRequest { dir: args.dir, tuning: Tuning::default() };
    let report = penstock_client::rollback(&request, &Bar::new(*output)).map_err(classify)?;
    output.result(&report, &rollback_text(&report))?;
    Ok(ExitCode::SUCCESS)
}

fn components(named: Vec<ComponentName>, all: bool) -> Components {
    match (all, named.is_empty()) {
        (true, _) => Components::All,
        (false, true) => Components::AsBefore,
        (false, false) => Components::Only(named.into_iter().collect()),
    }
}

/// Edges beyond what a session keeps apart would be left out without a word.
fn few_enough(edges: &[EdgeUrl]) -> Result<(), Failure> {
    if edges.len() > EDGES_MAX {
        return Err(Failure::usage(format!("--from takes at most {EDGES_MAX} edges, not {}", edges.len())));
    }
    Ok(())
}

/// The channel of clients that name none: a contract.
pub(crate) fn stable() -> ChannelName {
    ChannelName::new("stable").expect("a constant that is a name")
}

/// Which exit code an error of the client means.
pub(crate) fn classify(error: PullError) -> Failure {
    match error.class() {
        ErrorClass::Refused => Failure::Refused(error.into()),
        ErrorClass::Failed => Failure::Failed(error.into()),
    }
}

/// The caller's token, from the file named or `PENSTOCK_TOKEN`.
pub(crate) fn token(file: Option<&Path>) -> Result<Option<Token>, Failure> {
    let secret = secrets::from_file_or_env(file, "PENSTOCK_TOKEN")?;
    Ok(secret.map(|secret| Token::new(secret.reveal())).transpose()?)
}

const fn intent(dry_run: bool) -> Intent {
    if dry_run { Intent::DryRun } else { Intent::Apply }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn pull_text(report: &PullReport) -> String {
    let from = report.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
    let name = format!("{} {}", report.product, report.to);
    if !report.changed {
        return format!("{name} is installed already");
    }
    if report.dry_run {
        let required = if report.required { "; what is installed is not supported any more" } else { "" };
        let left_out = left_out_text(&report.left_out);
        return format!("{name}{from}: {}{required}{left_out}", preflight_text(&report.preflight));
    }
    let took = seconds(report.seconds);
    let mut text = format!(
        "{name}{from}: fetched {}, took {} from content on disk, wrote {} in {} ({} written)",
        bytes(report.downloaded_bytes),
        bytes(report.reused_bytes),
        bytes(report.written_bytes),
        time(took),
        rate(report.written_bytes, took),
    );
    text.push_str(&left_out_text(&report.left_out));
    for path in &report.moved_aside {
        text.push_str(&format!("\na file of yours stood in the way and is now {path}"));
    }
    text
}

fn left_out_text(left_out: &BTreeSet<ComponentName>) -> String {
    if left_out.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = left_out.iter().map(ComponentName::as_str).collect();
    format!("\nwithout {}", names.join(", "))
}

fn preflight_text(preflight: &Preflight) -> String {
    format!(
        "would fetch {} and needs {} more disk at its peak; the install is {} when done",
        bytes(preflight.download_bytes),
        bytes(preflight.space.peak_extra_bytes),
        bytes(preflight.final_bytes),
    )
}

fn verify_text(report: &VerifyReport, dir: &Path) -> String {
    let name = format!("{} {}", report.product, report.version);
    let looked = format!("{} and {} looked at", counted(report.entries), bytes(report.bytes));
    let mut text = if report.intact {
        format!("{name} is intact: {looked}")
    } else if report.damaged_count == 0 {
        format!("{name} is not finished: {looked}")
    } else {
        format!("{name} is damaged: {} of {looked}", count(report.damaged_count, "path"))
    };
    if report.unfinished {
        text.push_str("\nan update was interrupted: run pull or repair to finish it");
    }
    for damage in &report.damaged {
        text.push_str(&format!("\n  {}: {}", damage.path, kind(damage.kind)));
    }
    if report.damaged_count > 0 && !report.unfinished {
        text.push_str(&format!("\nmend it with: penstock repair {}", dir.display()));
    }
    text
}

const fn kind(kind: DamageKind) -> &'static str {
    match kind {
        DamageKind::Missing => "missing",
        DamageKind::Damaged => "other bytes",
        DamageKind::WrongKind => "something else stands there",
        DamageKind::Mode => "wrong executable bit",
        DamageKind::LinkTarget => "points elsewhere",
        DamageKind::Unreadable => "cannot be read",
    }
}

fn repair_text(report: &RepairReport) -> String {
    let name = format!("{} {}", report.product, report.version);
    if report.repaired_count == 0 {
        return format!("{name} is intact, nothing to mend");
    }
    let paths = count(report.repaired_count, "path");
    if report.dry_run {
        return format!("{name}: {paths} damaged; {}", preflight_text(&report.preflight));
    }
    format!("{name}: mended {paths}, fetched {}", bytes(report.downloaded_bytes))
}

fn rollback_text(report: &RollbackReport) -> String {
    format!("{} {} is back, instead of {}", report.product, report.to, report.from)
}
