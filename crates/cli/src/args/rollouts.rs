//! Flags of `rollout` and of `channel minimum`.

use super::units::Span;
use super::whereto::Desk;
use clap::{Args, Subcommand, ValueEnum};
use penstock_core::id::{ChannelName, Platform, ProductId, SegmentName, Version};
use penstock_core::place::Region;
use penstock_core::rollout::{ManualCheck, Share, Step};
use penstock_core::time::UnixSeconds;

/// See [`super::Command::Rollout`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock rollout start sample stable 1.1 --step 5 --step 25@24h --step 100@3d --to ./data\n  \
    penstock rollout halt sample stable --to ./data"
)]
pub(crate) struct Rollout {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: RolloutVerb,
}

/// Verbs of `rollout`.
#[derive(Debug, Subcommand)]
pub(crate) enum RolloutVerb {
    /// Start moving a channel to a release: nobody gets it but by a step.
    Start(Box<RolloutStart>),
    /// Show a channel's rollout.
    Show(RolloutOf),
    /// List a product's rollouts, newest first.
    List(RolloutList),
    /// Add a step, change one or remove one.
    Step(Box<RolloutStep>),
    /// Let nobody join: who is in stays in, and later steps wait.
    Pause(RolloutOf),
    /// Go on: steps that lay ahead come as much later as the pause was long.
    Resume(RolloutOf),
    /// Pull the brake: everybody gets what the channel offered before.
    Halt(RolloutOf),
    /// End the rollout: everybody gets the release.
    Finish(RolloutOf),
}

/// A channel for a platform.
#[derive(Debug, Args)]
pub(crate) struct Of {
    /// The product.
    pub(crate) product: ProductId,
    /// The channel.
    pub(crate) channel: ChannelName,
    /// The platform.
    #[arg(long, value_name = "PLAT", default_value = "any")]
    pub(crate) platform: Platform,
}

/// See [`RolloutVerb::Start`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock rollout start sample stable 1.1 --to ./data\n  \
    penstock rollout start sample stable 1.1 --step 100,segment=press --step 5@1h --step 25@24h,region=DE --to ./data\n\n\
    A step is SHARE[@AFTER][,segment=S][,region=R][,for=TIME]: a share of all installs in percent, with up to two decimals,\n\
    from now or some time on, among the members of a segment or the callers of a region where that is said. Without a\n\
    step nobody gets the release.")]
pub(crate) struct RolloutStart {
    /// The channel.
    #[command(flatten)]
    pub(crate) of: Of,
    /// The published version that is on its way.
    #[arg(value_name = "TARGET")]
    pub(crate) target: Version,
    /// What everybody else gets; what the channel offers now when left out.
    #[arg(long, value_name = "V")]
    pub(crate) fallback: Option<Version>,
    /// Who gets it, and when; may be repeated.
    #[arg(long, value_name = "STEP")]
    pub(crate) step: Vec<StepText>,
    /// Whether a player who asks by hand gets it before their turn.
    #[arg(long, value_enum, default_value_t = ByHand::Waits)]
    pub(crate) by_hand: ByHand,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// What a check by hand may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ByHand {
    /// It waits its turn as any other.
    Waits,
    /// It gets the release.
    Bypasses,
}

impl From<ByHand> for ManualCheck {
    fn from(by_hand: ByHand) -> Self {
        match by_hand {
            ByHand::Waits => Self::Waits,
            ByHand::Bypasses => Self::Bypasses,
        }
    }
}

/// See the verbs of [`RolloutVerb`] that name nothing but a channel.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock rollout show sample stable --to ./data\n  \
    penstock rollout halt sample stable --to ./data")]
pub(crate) struct RolloutOf {
    /// The channel.
    #[command(flatten)]
    pub(crate) of: Of,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`RolloutVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock rollout list sample --to ./data")]
pub(crate) struct RolloutList {
    /// The product.
    pub(crate) product: ProductId,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`RolloutVerb::Step`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock rollout step sample stable 50@12h --to ./data\n  \
    penstock rollout step sample stable 12.5 --change 0 --to ./data\n  \
    penstock rollout step sample stable --remove 2 --to ./data\n\n\
    A step is SHARE[@AFTER][,segment=S][,region=R][,for=TIME]. In a change, what is not named stays. A step in force can\n\
    only take in more people: to take the release from anybody, halt the rollout.")]
pub(crate) struct RolloutStep {
    /// The channel.
    #[command(flatten)]
    pub(crate) of: Of,
    /// The step.
    #[arg(value_name = "STEP", required_unless_present = "remove", conflicts_with = "remove")]
    pub(crate) step: Option<StepText>,
    /// Change the step of this number, counted from 0, instead of adding one.
    #[arg(long, value_name = "N", conflicts_with = "remove")]
    pub(crate) change: Option<usize>,
    /// Remove the step of this number.
    #[arg(long, value_name = "N")]
    pub(crate) remove: Option<usize>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`super::desk::ChannelVerb::Minimum`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock channel minimum sample stable 1.0 --message Update! --to ./data\n  \
    penstock channel minimum sample stable --clear --to ./data\n\n\
    Without a version it shows what is in force. Installs of releases that were published before it must update.")]
pub(crate) struct ChannelMinimum {
    /// The channel.
    #[command(flatten)]
    pub(crate) of: Of,
    /// The oldest version that is supported.
    #[arg(value_name = "VERSION")]
    pub(crate) version: Option<Version>,
    /// What players of older ones are told.
    #[arg(long, value_name = "TEXT", default_value = "", requires = "version")]
    pub(crate) message: String,
    /// Support every version again.
    #[arg(long, conflicts_with = "version")]
    pub(crate) clear: bool,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// A step as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepText {
    share: Share,
    after: Option<Span>,
    lasts: Option<Span>,
    segments: Vec<SegmentName>,
    regions: Vec<Region>,
}

impl std::str::FromStr for StepText {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let (share, after) = first.split_once('@').map_or((first, None), |(share, after)| (share, Some(after)));
        let span = |text: &str| text.parse::<Span>().map_err(|error| error.to_string());
        let mut step = Self {
            share: share.parse::<Share>().map_err(|error| error.to_string())?,
            after: after.map(span).transpose()?,
            lasts: None,
            segments: Vec::new(),
            regions: Vec::new(),
        };
        for part in parts {
            match part.split_once('=') {
                Some(("segment", name)) => step.segments.push(name.parse().map_err(|error| format!("{error}"))?),
                Some(("region", name)) => step.regions.push(name.parse().map_err(|error| format!("{error}"))?),
                Some(("for", long)) if step.lasts.is_none() => step.lasts = Some(span(long)?),
                _ => return Err(format!("{part:?} is none of segment=S, region=R, for=TIME")),
            }
        }
        Ok(step)
    }
}

impl StepText {
    /// The step, counted from a moment.
    pub(crate) fn at(self, now: UnixSeconds) -> Step {
        let from = now.plus(self.after.map_or(0, |span| span.0.as_secs()));
        Step {
            from,
            until: self.lasts.map(|span| from.plus(span.0.as_secs())),
            segments: self.segments,
            regions: self.regions.iter().map(ToString::to_string).collect(),
            share: self.share,
        }
    }

    /// A known step with what is named changed.
    pub(crate) fn change(self, known: &Step, now: UnixSeconds) -> Step {
        let from = self.after.map_or(known.from, |span| now.plus(span.0.as_secs()));
        let named = self.at(now);
        Step {
            from,
            until: named.until.or(known.until),
            segments: if named.segments.is_empty() { known.segments.clone() } else { named.segments },
            regions: if named.regions.is_empty() { known.regions.clone() } else { named.regions },
            share: named.share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1000);

    fn step(text: &str) -> Step {
        text.parse::<StepText>().expect("a step").at(NOW)
    }

    #[test]
    fn steps_are_read_as_they_are_written() {
        assert_eq!((step("5").share.buckets(), step("5").from, step("5").until), (500, NOW, None));
        assert_eq!((step("12.25%@1h").share.buckets(), step("12.25%@1h").from), (1225, NOW.plus(3600)));
        let long = step("100@2m,segment=press,segment=beta,region=US-CA,for=1d");
        assert_eq!((long.from, long.until), (NOW.plus(120), Some(NOW.plus(120 + 86_400))));
        assert_eq!((long.segments.len(), long.regions), (2, vec!["US-CA".to_owned()]));
        for wrong in
            ["", "101", "5@", "5@x", "5,", "5,segment=", "5,region=germany", "5,for=1d,for=2d", "5,who=me", "@5"]
        {
            assert!(wrong.parse::<StepText>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_a_change_does_not_name_stays() {
        let known = step("5@1h,segment=press,for=1d");
        let change = |text: &str| text.parse::<StepText>().expect("a step").change(&known, NOW.plus(50));
        assert_eq!(change("10"), Step { share: "10".parse().expect("a share"), ..known.clone() });
        assert_eq!(change("5@2h").from, NOW.plus(50 + 7200));
        assert_eq!(change("5,segment=beta").segments.len(), 1);
    }
}
