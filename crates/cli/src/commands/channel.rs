//! `channel set|show|list|minimum`: what a product's channels offer.

use crate::args::desk::{Channel as Args, ChannelVerb};
use crate::commands::{Done, rollout};
use crate::desk;
use crate::output::Output;
use crate::words::platform;
use penstock_control::{ChannelStanding, ChannelsStanding};
use penstock_core::api::MoveChannel;
use std::process::ExitCode;

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        ChannelVerb::Set(args) => {
            let session = desk::connect(&args.desk)?;
            let path = format!("/admin/v1/products/{}/channels/{}", args.product, args.channel);
            let wanted = MoveChannel { platform: args.platform, version: args.version };
            one(&session.put(&path, &wanted)?, output)
        }
        ChannelVerb::Show(args) => {
            let session = desk::connect(&args.desk)?;
            let path =
                format!("/admin/v1/products/{}/channels/{}?platform={}", args.product, args.channel, args.platform);
            one(&session.get(&path)?, output)
        }
        ChannelVerb::Minimum(args) => rollout::minimum(args, output),
        ChannelVerb::List(args) => {
            let session = desk::connect(&args.desk)?;
            let answer: ChannelsStanding = session.get(&format!("/admin/v1/products/{}/channels", args.product))?;
            let lines: Vec<String> = answer.channels.iter().map(line).collect();
            let text = if lines.is_empty() { "no channel offers anything yet".to_owned() } else { lines.join("\n") };
            output.result(&answer, &text)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn one(standing: &ChannelStanding, output: &Output) -> Done {
    output.result(standing, &line(standing))?;
    Ok(ExitCode::SUCCESS)
}

fn line(standing: &ChannelStanding) -> String {
    let row = &standing.row;
    let gone = |is_gone| if is_gone { " (withdrawn)" } else { "" };
    let (now, then) = (gone(standing.withdrawn), gone(standing.previous_withdrawn));
    let before = row.previous.as_ref().map(|version| format!(", before it {version}{then}")).unwrap_or_default();
    let rollout =
        standing.fallback.as_ref().map(|fallback| format!(" in a rollout over {fallback}")).unwrap_or_default();
    let (channel, platform) = (&row.channel, platform(&row.platform));
    format!("{channel} for {platform}: {}{now}{rollout}{before} (head {})", row.version, row.sequence)
}
