//! `rollout start|show|list|step|pause|resume|halt|finish`, and `channel minimum`.

use crate::args::rollouts::{ChannelMinimum, Of, Rollout as Args, RolloutOf, RolloutStart, RolloutStep, RolloutVerb};
use crate::commands::{Done, now};
use crate::desk::{self, Session};
use crate::output::Output;
use crate::words::platform;
use anyhow::Context as _;
use penstock_core::desk::policy::{
    MinimumAnswer, PutMinimum, PutRollout, PutStep, RolloutRow, RolloutState, RolloutsAnswer, SteerRollout,
};
use penstock_core::rollout::{Minimum, Step};
use std::process::ExitCode;

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    let row = match args.verb {
        RolloutVerb::Start(args) => start(*args)?,
        RolloutVerb::Show(args) => {
            let session = desk::connect(&args.desk)?;
            show(&session, &args.of)?
        }
        RolloutVerb::List(args) => {
            let session = desk::connect(&args.desk)?;
            let answer: RolloutsAnswer = session.get(&format!("/admin/v1/products/{}/rollouts", args.product))?;
            let lines: Vec<String> = answer.rollouts.iter().map(line).collect();
            let text = if lines.is_empty() { "there was no rollout yet".to_owned() } else { lines.join("\n") };
            output.result(&answer, &text)?;
            return Ok(ExitCode::SUCCESS);
        }
        RolloutVerb::Step(args) => step(*args)?,
        RolloutVerb::Pause(args) => steer(&args, "pause")?,
        RolloutVerb::Resume(args) => steer(&args, "resume")?,
        RolloutVerb::Halt(args) => steer(&args, "halt")?,
        RolloutVerb::Finish(args) => steer(&args, "finish")?,
    };
    if row.state == RolloutState::Halting {
        output.note("edges give everybody the fallback; the channel's head follows when the publisher delegates anew");
    }
    output.result(&row, &text(&row))?;
    Ok(ExitCode::SUCCESS)
}

/// Shows or sets the oldest supported version of a channel.
pub(crate) fn minimum(args: ChannelMinimum, output: &Output) -> Done {
    let session = desk::connect(&args.desk)?;
    let path = format!("/admin/v1/products/{}/channels/{}/minimum", args.of.product, args.of.channel);
    let answer: MinimumAnswer = if args.version.is_none() && !args.clear {
        session.get(&format!("{path}?platform={}", args.of.platform))?
    } else {
        let minimum = args.version.map(|version| Minimum { version, message: args.message });
        session.put(&path, &PutMinimum { platform: args.of.platform, minimum })?
    };
    let text = match &answer.minimum {
        None => "every version is supported".to_owned(),
        Some(Minimum { version, message }) if message.is_empty() => {
            format!("{version} is the oldest supported version")
        }
        Some(Minimum { version, message }) => format!("{version} is the oldest supported version: {message}"),
    };
    output.result(&answer, &text)?;
    Ok(ExitCode::SUCCESS)
}

fn start(args: RolloutStart) -> anyhow::Result<RolloutRow> {
    let session = desk::connect(&args.desk)?;
    let moment = now();
    let path = path(&args.of);
    let wanted = PutRollout {
        platform: args.of.platform,
        target: args.target,
        fallback: args.fallback,
        steps: args.step.into_iter().map(|step| step.at(moment)).collect(),
        manual_check: args.by_hand.into(),
    };
    session.put(&path, &wanted)
}

fn show(session: &Session, of: &Of) -> anyhow::Result<RolloutRow> {
    session.get(&format!("{}?platform={}", path(of), of.platform))
}

fn step(args: RolloutStep) -> anyhow::Result<RolloutRow> {
    let session = desk::connect(&args.desk)?;
    let (path, moment) = (path(&args.of), now());
    if let Some(number) = args.remove {
        return session.delete_for(&format!("{path}/steps/{number}?platform={}", args.of.platform));
    }
    let step = args.step.context("name a step")?;
    let Some(number) = args.change else {
        return session.post(&format!("{path}/steps"), &PutStep { platform: args.of.platform, step: step.at(moment) });
    };
    let known = show(&session, &args.of)?;
    let known =
        known.steps.get(number).with_context(|| format!("there is no step {number}: they are counted from 0"))?;
    let step = step.change(known, moment);
    session.put(&format!("{path}/steps/{number}"), &PutStep { platform: args.of.platform, step })
}

fn steer(args: &RolloutOf, verb: &str) -> anyhow::Result<RolloutRow> {
    let session = desk::connect(&args.desk)?;
    session.post(&format!("{}/{verb}", path(&args.of)), &SteerRollout { platform: args.of.platform.clone() })
}

fn path(of: &Of) -> String {
    format!("/admin/v1/products/{}/channels/{}/rollout", of.product, of.channel)
}

fn text(row: &RolloutRow) -> String {
    let mut text = line(row);
    for (number, step) in (0..).zip(&row.steps) {
        let in_force = if row.in_force.contains(&number) { ", in force" } else { "" };
        text.push_str(&format!("\n  step {number}: {}{in_force}", step_text(step)));
    }
    if row.steps.is_empty() && row.ended.is_none() {
        text.push_str("\n  no step yet: nobody gets it (rollout step)");
    }
    text
}

fn line(row: &RolloutRow) -> String {
    let RolloutRow { channel, target, fallback, state, .. } = row;
    let since = match (row.ended, row.paused) {
        (Some(at), _) | (None, Some(at)) => format!(" at {}", at.0),
        (None, None) => String::new(),
    };
    format!("{channel} for {}: {target} over {fallback}, {}{since}", platform(&row.platform), state.words())
}

fn step_text(step: &Step) -> String {
    let mut text = format!("{} % from {}", step.share, step.from.0);
    if let Some(until) = step.until {
        text.push_str(&format!(" until {}", until.0));
    }
    if !step.segments.is_empty() {
        let names: Vec<&str> = step.segments.iter().map(|name| name.as_str()).collect();
        text.push_str(&format!(" of {}", names.join(" or ")));
    }
    if !step.regions.is_empty() {
        text.push_str(&format!(" in {}", step.regions.join(" or ")));
    }
    text
}
