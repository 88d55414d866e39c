//! `[rates]` and `[rollouts]` as checked: what this node does beside what control says.

use super::raw::Rates;
use penstock_core::id::{ChannelName, ProductId, SegmentName};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Segments with a rate of their own. Each is looked at for each request that has a token.
const RATES_MAX: usize = 16;
/// Slowest rate, in bytes a second: below it a connection would fall under the deadlines of `[limits]` and be cut.
const RATE_BYTES_MIN: u64 = 65_536;

/// `[rates]`, checked: bytes a second to one connection. `None` is no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RatesConfig {
    /// For callers in none of the segments, and for content that asks for no token.
    pub default: Option<u64>,
    /// By segment.
    pub segments: BTreeMap<SegmentName, Option<u64>>,
}

/// `[rollouts]`, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RolloutsConfig {
    /// Whose rollouts are held back on this node.
    pub brakes: Vec<BrakeOn>,
}

/// What a brake of this node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrakeOn {
    /// Every rollout: `*`.
    Everything,
    /// One channel's: `PRODUCT/CHANNEL`.
    Channel {
        /// The product.
        product: ProductId,
        /// The channel.
        channel: ChannelName,
    },
}

/// A text that names no channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no channel")]
pub struct BrakeError;

/// What to write instead.
pub(super) const BRAKE_SHAPE: &str = "must be PRODUCT/CHANNEL, or * for every rollout";

/// Says what each rate means, and what is wrong by key. A connection that is slower than `cut_below`, in bytes a second for
/// all the streams that it may have, is cut, so it must not be sent to as slowly by ourselves.
pub(super) fn rates(rates: &Rates, cut_below: u64, mut wrong: impl FnMut(&str, String)) -> RatesConfig {
    let least = RATE_BYTES_MIN.max(cut_below);
    let is_too_slow = |rate: u64| (1..least).contains(&rate);
    let default = rates.connection_bytes_per_second_max;
    if is_too_slow(default) {
        let message = format!("must be 0 or at least {least}, is {default}");
        wrong("rates.connection_bytes_per_second_max", message);
    }
    let key = "rates.segments";
    if rates.segments.len() > RATES_MAX {
        wrong(key, format!("at most {RATES_MAX} segments can have a rate"));
    }
    let mut checked = RatesConfig { default: Some(default).filter(|rate| *rate > 0), ..RatesConfig::default() };
    for (name, rate) in &rates.segments {
        if is_too_slow(*rate) {
            wrong(key, format!("\"{name}\" must be 0 or at least {least}, is {rate}"));
        }
        match name.parse() {
            Ok(name) => _ = checked.segments.insert(name, Some(*rate).filter(|rate| *rate > 0)),
            Err(_) => wrong(key, format!("\"{name}\" is no segment's name")),
        }
    }
    checked
}

impl FromStr for BrakeOn {
    type Err = BrakeError;
    fn from_str(text: &str) -> Result<Self, BrakeError> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        let (product, channel) = text.split_once('/').ok_or(BrakeError)?;
        let (product, channel) = (product.parse().map_err(|_| BrakeError)?, channel.parse().map_err(|_| BrakeError)?);
        Ok(Self::Channel { product, channel })
    }
}

impl fmt::Display for BrakeOn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => out.write_str("*"),
            Self::Channel { product, channel } => write!(out, "{product}/{channel}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{BrakeOn, Config, Environment};

    #[test]
    fn rates_and_brakes_are_read() {
        let text = "[rates]\nconnection_bytes_per_second_max = 1000000\nsegments = { beta = 0, trial = 200000 }\n\
            [rollouts]\nbrake = [\"game/stable\", \"*\"]\n";
        let checked = Config::parse(text, &Environment::default(), None).expect("good");
        assert_eq!(checked.rates.default, Some(1_000_000));
        let segments: Vec<_> = checked.rates.segments.iter().map(|(name, rate)| (name.as_str(), *rate)).collect();
        assert_eq!(segments, [("beta", None), ("trial", Some(200_000))]);
        let brakes: Vec<_> = checked.rollouts.brakes.iter().map(ToString::to_string).collect();
        assert_eq!(brakes, ["game/stable", "*"]);
        let table = "[rates.segments]\nbeta = 110000\n[rollouts]\nbrake = \"game/stable\"\n";
        let checked = Config::parse(table, &Environment::default(), None).expect("good");
        assert_eq!((checked.rates.segments.len(), checked.rollouts.brakes.len()), (1, 1));
        let defaults = Config::parse("", &Environment::default(), None).expect("good");
        assert_eq!((defaults.rates.default, defaults.rollouts.brakes), (None, Vec::<BrakeOn>::new()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let many: String = (0..17).map(|number| format!("s{number} = 0, ")).collect();
        for (text, expected) in [
            (
                "[rates]\nconnection_bytes_per_second_max = 1000\n",
                "line 2: rates.connection_bytes_per_second_max: must be 0",
            ),
            ("[rates]\nsegments = { beta = 5 }\n", "line 2: rates.segments: \"beta\" must be 0"),
            ("[rates]\nsegments = { \"a b\" = 0 }\n", "line 2: rates.segments: \"a b\" is no segment"),
            (
                "[limits]\nrate_bytes_per_second_min = 2000\nstreams_max = 60\n[rates]\nsegments = { beta = 110000 }\n",
                "line 5: rates.segments: \"beta\" must be 0 or at least 120000",
            ),
            ("[rates]\nsegments = 5\n", "line 2: rates.segments: "),
            (
                &format!("[rates]\nsegments = {{ {} }}\n", many.trim_end_matches(", ")),
                "line 2: rates.segments: at most 16",
            ),
            ("[rollouts]\nbrake = \"game\"\n", "line 2: rollouts.brake: \"game\" must be PRODUCT/CHANNEL"),
            ("[rollouts]\nbrake = \"game/sta ble\"\n", "line 2: rollouts.brake: \"game/sta ble\" must be"),
        ] {
            let problems = Config::parse(text, &Environment::default(), None).expect_err("refused");
            assert!(problems.iter().any(|problem| problem.to_string().starts_with(expected)), "{text}: {problems:?}");
        }
    }
}
