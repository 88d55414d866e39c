//! `segment set|show|list|rm|test`: named groups of accounts and installs.

use crate::args::policy::{Segment as Args, SegmentSet, SegmentVerb};
use crate::commands::Done;
use crate::desk;
use crate::output::Output;
use crate::words::count;
use anyhow::{Context as _, bail};
use penstock_core::desk::policy::{
    PutSegment, RuleKind, SegmentDetail, SegmentRow, SegmentVerdict, SegmentsAnswer, TestSegment,
};
use penstock_core::id::SegmentName;
use penstock_core::limits::ADMIN_JSON_BYTES_MAX;
use penstock_core::segment::Rule;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        SegmentVerb::Set(args) => {
            let rule = rule(&args)?;
            let session = desk::connect(&args.desk)?;
            one(&session.put(&path(&args.name), &PutSegment { rule })?, output)?;
        }
        SegmentVerb::Show(args) => {
            let session = desk::connect(&args.desk)?;
            one(&session.get(&path(&args.name))?, output)?;
        }
        SegmentVerb::List(args) => {
            let session = desk::connect(&args.desk)?;
            let answer: SegmentsAnswer = session.get("/admin/v1/segments")?;
            let lines: Vec<String> = answer.segments.iter().map(line).collect();
            let text = if lines.is_empty() { "there are no segments yet".to_owned() } else { lines.join("\n") };
            output.result(&answer, &text)?;
        }
        SegmentVerb::Rm(args) => {
            let session = desk::connect(&args.desk)?;
            let gone: SegmentDetail = session.delete_for(&path(&args.name))?;
            output.result(&gone, &format!("segment {} is gone", gone.row.name))?;
        }
        SegmentVerb::Test(args) => {
            let session = desk::connect(&args.desk)?;
            let question = TestSegment { account: args.account, install: args.install };
            let verdict: SegmentVerdict = session.post(&format!("{}/test", path(&args.name)), &question)?;
            let answer = if verdict.is_in { "in" } else { "not in" };
            let SegmentVerdict { name, version, reason, .. } = &verdict;
            output.result(&verdict, &format!("{answer}: {reason} (segment {name}, version {version})"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(name: &SegmentName) -> String {
    format!("/admin/v1/segments/{name}")
}

fn rule(args: &SegmentSet) -> anyhow::Result<Rule> {
    if let Some(predicate) = &args.predicate {
        return Ok(Rule::Where(predicate.clone()));
    }
    if let Some(file) = &args.list {
        return Ok(Rule::List(read_list(file)?));
    }
    match (&args.score, args.from) {
        (Some(attribute), Some(from)) => Ok(Rule::Score { attribute: attribute.clone(), from, below: args.below }),
        _ => bail!("name a rule with --where, --list or --score"),
    }
}

/// Ids, one on each line.
fn read_list(path: &Path) -> anyhow::Result<std::collections::BTreeSet<String>> {
    let failed = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).with_context(failed)?;
    let mut text = String::new();
    file.take(ADMIN_JSON_BYTES_MAX as u64 + 1).read_to_string(&mut text).with_context(failed)?;
    if text.len() > ADMIN_JSON_BYTES_MAX {
        bail!("{} is larger than {ADMIN_JSON_BYTES_MAX} bytes, more than a node reads", path.display());
    }
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn one(detail: &SegmentDetail, output: &Output) -> anyhow::Result<()> {
    let mut text = line(&detail.row);
    if detail.row.kind != RuleKind::List {
        text.push_str(&format!("\n{}", serde_json::to_string(&detail.rule)?));
    }
    Ok(output.result(detail, &text)?)
}

fn line(row: &SegmentRow) -> String {
    let kind = match row.kind {
        RuleKind::Where => "by attributes".to_owned(),
        RuleKind::List => format!("a list of {}", count(row.listed, "id")),
        RuleKind::Score => "a score band".to_owned(),
    };
    format!("{}: {kind}, version {}", row.name, row.version)
}
