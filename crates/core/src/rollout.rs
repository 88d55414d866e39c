//! How a channel moves to a release: which install is offered the target, and which the fallback.
//!
//! Owns shares, buckets and the verdict of a rollout. It only ever answers "what should I install", never "may I read
//! bytes of something that I own". It must not know accounts, tokens or blobs; time is an argument.
//!
//! A *bucket* is one of 10,000 equal parts of all installs: a keyed hash of the install's id under the rollout's own
//! salt, so that the same players are not the first every time. An install is in when its bucket is below the share in
//! force. A share that rises therefore only adds installs, and 12.34 % means 1,234 buckets.

mod steer;
mod why;

pub use steer::{REGIONS_MAX, SEGMENTS_MAX, SteerError, StepChange};

use crate::id::{SegmentName, Version};
use crate::time::UnixSeconds;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Buckets of a rollout. A share has two decimals of a percent.
pub const BUCKETS: u16 = 10_000;
/// Steps of one rollout: each is looked at for each question.
pub const STEPS_MAX: usize = 32;

/// A part of all installs, in 1/10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u16);

/// Why a text is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// Not a decimal number.
    #[error("{0:?} is no percentage, such as 5 or 12.25")]
    Form(String),
    /// Finer than a bucket.
    #[error("{0:?} has more than two decimals: the smallest step is 0.01 percent")]
    TooFine(String),
    /// More than everybody.
    #[error("{0:?} is more than 100 percent")]
    TooLarge(String),
}

impl Share {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(BUCKETS);

    /// So many of the 10,000 buckets; more is everybody.
    #[must_use]
    pub const fn of_buckets(buckets: u16) -> Self {
        Self(if buckets > BUCKETS { BUCKETS } else { buckets })
    }
    /// How many of the 10,000 buckets are in.
    #[must_use]
    pub const fn buckets(self) -> u16 {
        self.0
    }
    /// Whether a bucket is in.
    #[must_use]
    pub const fn holds(self, bucket: Bucket) -> bool {
        bucket.0 < self.0
    }
}

impl fmt::Display for Share {
    /// As few decimals as say it: `5`, `12.5`, `0.01`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}"),
        }
    }
}

impl FromStr for Share {
    type Err = ShareError;
    /// Percent, with or without the sign. Decimals are read as written and never rounded.
    fn from_str(text: &str) -> Result<Self, ShareError> {
        let form = || ShareError::Form(text.to_owned());
        let number = text.strip_suffix('%').unwrap_or(text).trim();
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) {
            return Err(form());
        }
        let part = part.trim_end_matches('0');
        if part.len() > 2 {
            return Err(ShareError::TooFine(text.to_owned()));
        }
        let hundredths: u16 = format!("{part:0<2}").parse().map_err(|_| form())?;
        let whole = whole.trim_start_matches('0');
        let percent: u16 = match whole.len() {
            0 => 0,
            1..=3 => whole.parse().map_err(|_| form())?,
            _ => return Err(ShareError::TooLarge(text.to_owned())),
        };
        match percent.checked_mul(100).and_then(|buckets| buckets.checked_add(hundredths)) {
            Some(buckets) if buckets <= BUCKETS => Ok(Self(buckets)),
            _ => Err(ShareError::TooLarge(text.to_owned())),
        }
    }
}

crate::text_schema::text_schema!(Share, "Share", r"^[0-9]{1,3}(\.[0-9]+)?%?$", 16);

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One of the 10,000 parts of all installs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket of a caller who does not say which install it is: the last one, which is in when everybody is.
    pub const LAST: Self = Self(BUCKETS - 1);

    /// Its number, 0 to 9,999.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// What makes the buckets of one rollout its own. Not a secret, but nobody needs to know it either.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Salt(pub [u8; 32]);

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

impl Salt {
    /// The bucket of an install: BLAKE3 keyed with the salt over the id's bytes, the first 64 bits scaled to 10,000
    /// without the bias of a remainder.
    #[must_use]
    pub fn bucket(&self, install: &str) -> Bucket {
        let hash = blake3::keyed_hash(&self.0, install.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        let scaled = (u128::from(u64::from_le_bytes(first)) * u128::from(BUCKETS)) >> 64;
        #[expect(clippy::cast_possible_truncation, reason = "less than 10,000 by the line above")]
        Bucket(scaled as u16)
    }
}

/// A step: from a moment on, so many of these installs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Step {
    /// From when on.
    pub from: UnixSeconds,
    /// Until when; `None` is for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixSeconds>,
    /// Members of any of these segments; empty means everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentName>,
    /// In any of these regions, ISO 3166 codes such as `DE` or `US-CA`; empty means everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// How many of them.
    pub share: Share,
}

/// Whether a rollout moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Motion {
    /// Steps come into force at their time.
    #[default]
    Running,
    /// Who was in at this moment stays in, and nobody joins: later steps wait.
    Paused {
        /// When it was paused.
        at: UnixSeconds,
    },
    /// Everybody gets the fallback.
    Halted,
}

/// How a channel moves from its fallback to its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Rollout {
    /// The version on its way.
    pub target: Version,
    /// The version for everybody else.
    pub fallback: Version,
    /// What makes its buckets its own.
    pub salt: Salt,
    /// Whether it moves.
    #[serde(flatten)]
    pub motion: Motion,
    /// Its steps, in any order. None is 0 percent: a rollout starts with nobody.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Whether a player who asks by hand gets the target before their turn.
    #[serde(default)]
    pub manual_check: ManualCheck,
}

/// The oldest version of a channel that is supported. Installs of releases that were registered before it must update
/// before they may go on, and are told why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Minimum {
    /// The version.
    pub version: Version,
    /// For the player.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What a check that a player asked for by hand may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ManualCheck {
    /// It waits its turn as any other.
    #[default]
    Waits,
    /// It gets the target, unless the rollout is halted.
    Bypasses,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The install's id, if it says one.
    pub install: Option<&'a str>,
    /// Segments that it is in.
    pub segments: &'a [SegmentName],
    /// Its regions, from the country down: `US`, `US-CA`.
    pub regions: &'a [&'a str],
    /// Whether a player asked by hand.
    pub by_hand: bool,
}

/// What a rollout answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The target: this step, by its place in the list, holds the install.
    Target(usize),
    /// The target, because a player asked by hand.
    TargetByHand,
    /// The fallback: not its turn yet.
    Waiting,
    /// The fallback: the rollout is halted.
    Halted,
}

impl Turn {
    /// Whether it is the target.
    #[must_use]
    pub const fn is_target(self) -> bool {
        matches!(self, Self::Target(_) | Self::TargetByHand)
    }
}

impl Step {
    fn is_in_force(&self, now: UnixSeconds) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }
    fn means(&self, asker: &Asker<'_>) -> bool {
        let in_segment = self.segments.is_empty() || self.segments.iter().any(|name| asker.segments.contains(name));
        let in_region =
            self.regions.is_empty() || self.regions.iter().any(|region| asker.regions.contains(&region.as_str()));
        in_segment && in_region
    }
}

impl Rollout {
    /// Whether the asker is offered the target.
    #[must_use]
    pub fn turn(&self, asker: &Asker<'_>, now: UnixSeconds) -> Turn {
        let now = match self.motion {
            Motion::Running => now,
            Motion::Paused { at } => now.min(at),
            Motion::Halted => return Turn::Halted,
        };
        let bucket = asker.install.map_or(Bucket::LAST, |install| self.salt.bucket(install));
        let holds = |step: &Step| step.is_in_force(now) && step.means(asker) && step.share.holds(bucket);
        match self.steps.iter().position(holds) {
            Some(step) => Turn::Target(step),
            None if asker.by_hand && self.manual_check == ManualCheck::Bypasses => Turn::TargetByHand,
            None => Turn::Waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        text.parse().expect("a version")
    }

    fn step(from: u64, share: &str) -> Step {
        let share = share.parse().expect("a share");
        Step { from: UnixSeconds(from), until: None, segments: Vec::new(), regions: Vec::new(), share }
    }

    fn rollout(steps: Vec<Step>) -> Rollout {
        Rollout {
            target: version("2"),
            fallback: version("1"),
            salt: Salt([7; 32]),
            motion: Motion::Running,
            steps,
            manual_check: ManualCheck::Waits,
        }
    }

    const fn asker(install: &str) -> Asker<'_> {
        Asker { install: Some(install), segments: &[], regions: &[], by_hand: false }
    }

    #[test]
    fn decimals_mean_what_they_say() {
        for (text, buckets, shown) in [
            ("0", 0, "0"),
            ("5", 500, "5"),
            ("5%", 500, "5"),
            ("12.34", 1234, "12.34"),
            ("0.01", 1, "0.01"),
            ("0.1", 10, "0.1"),
            ("99.99 %", 9999, "99.99"),
            ("100.00", 10_000, "100"),
            ("007.5000", 750, "7.5"),
        ] {
            let share: Share = text.parse().expect(text);
            assert_eq!((share.buckets(), share.to_string()), (buckets, shown.to_owned()), "{text}");
        }
        for text in ["", "%", ".5", "5.", "-1", "+1", "1e1", "0x1", "five", "5,5", "1 0", "٥"] {
            assert!(matches!(text.parse::<Share>(), Err(ShareError::Form(_))), "{text:?}");
        }
        assert!(matches!("0.001".parse::<Share>(), Err(ShareError::TooFine(_))));
        for text in ["100.01", "101", "1000", "70000", "99999999999999999999999"] {
            assert!(matches!(text.parse::<Share>(), Err(ShareError::TooLarge(_))), "{text:?}");
        }
    }

    /// Frozen: a change would give every running rollout other players.
    #[test]
    fn buckets_stay_where_they_are() {
        let salt = Salt([7; 32]);
        let found: Vec<u16> = ["", "a", "install-1", "install-2"].iter().map(|id| salt.bucket(id).number()).collect();
        assert_eq!(found, VECTOR, "the vector of the format");
    }
    /// Of the ids "", "a", "install-1", "install-2" under a salt of 32 bytes 7; the `blake3` package of Python says the same.
    const VECTOR: [u16; 4] = [8911, 7224, 3615, 8924];

    #[test]
    fn a_share_holds_about_its_part_of_all_installs_and_another_salt_other_ones() {
        let in_share = |salt: u8, share: &str| {
            let share: Share = share.parse().expect("a share");
            let salt = Salt([salt; 32]);
            (0..20_000).filter(|id| share.holds(salt.bucket(&format!("install-{id}")))).collect::<Vec<u32>>()
        };
        let five = in_share(1, "5");
        assert!((900..1100).contains(&five.len()), "{}", five.len());
        let other = in_share(2, "5");
        let both = five.iter().filter(|id| other.contains(id)).count();
        assert!(both < 100, "about 50 are in both by chance, not {both}");
    }

    #[test]
    fn steps_come_at_their_time_and_end_at_theirs() {
        let mut two = rollout(vec![step(100, "0"), step(200, "100")]);
        two.steps[1].until = Some(UnixSeconds(300));
        for (now, turn) in [(0, Turn::Waiting), (150, Turn::Waiting), (200, Turn::Target(1)), (300, Turn::Waiting)] {
            assert_eq!(two.turn(&asker("x"), UnixSeconds(now)), turn, "{now}");
        }
        assert_eq!(rollout(Vec::new()).turn(&asker("x"), UnixSeconds(9)), Turn::Waiting, "it starts with nobody");
    }

    #[test]
    fn a_pause_keeps_who_is_in_and_a_halt_sends_everybody_back() {
        let mut moving = rollout(vec![step(100, "100"), step(200, "100")]);
        moving.steps[0].regions = vec!["DE".to_owned()];
        let german = Asker { regions: &["DE"], ..asker("x") };
        moving.motion = Motion::Paused { at: UnixSeconds(150) };
        assert!(moving.turn(&german, UnixSeconds(500)).is_target(), "was in");
        assert_eq!(moving.turn(&asker("x"), UnixSeconds(500)), Turn::Waiting, "the second step waits");
        moving.motion = Motion::Running;
        assert!(moving.turn(&asker("x"), UnixSeconds(500)).is_target(), "resumed");
        moving.motion = Motion::Halted;
        moving.manual_check = ManualCheck::Bypasses;
        assert_eq!(moving.turn(&Asker { by_hand: true, ..german }, UnixSeconds(500)), Turn::Halted);
    }

    #[test]
    fn a_check_by_hand_bypasses_only_where_that_is_allowed() {
        let mut quiet = rollout(vec![step(0, "0")]);
        let by_hand = Asker { by_hand: true, ..asker("x") };
        assert_eq!(quiet.turn(&by_hand, UnixSeconds(1)), Turn::Waiting);
        quiet.manual_check = ManualCheck::Bypasses;
        assert_eq!(quiet.turn(&by_hand, UnixSeconds(1)), Turn::TargetByHand);
        assert_eq!(quiet.turn(&asker("x"), UnixSeconds(1)), Turn::Waiting);
    }

    #[test]
    fn who_does_not_say_which_install_it_is_comes_last() {
        let nameless = Asker { install: None, ..asker("") };
        assert_eq!(rollout(vec![step(0, "99.99")]).turn(&nameless, UnixSeconds(1)), Turn::Waiting);
        assert!(rollout(vec![step(0, "100")]).turn(&nameless, UnixSeconds(1)).is_target());
    }

    proptest! {
        #[test]
        fn more_never_takes_anybody_out(install in ".{0,40}", salt: [u8; 32], low in 0u16..=BUCKETS, high in 0u16..=BUCKETS) {
            let (low, high) = (low.min(high), low.max(high));
            let bucket = Salt(salt).bucket(&install);
            prop_assert!(bucket.number() < BUCKETS);
            prop_assert!(!Share::of_buckets(low).holds(bucket) || Share::of_buckets(high).holds(bucket));
            prop_assert!(Share::ALL.holds(bucket) && !Share::NONE.holds(bucket));
        }

        #[test]
        fn a_share_is_read_as_it_is_shown(buckets in 0u16..=BUCKETS) {
            let share = Share::of_buckets(buckets);
            prop_assert_eq!(share.to_string().parse::<Share>(), Ok(share));
        }

        #[test]
        fn any_text_is_a_share_or_an_error(text in "[0-9.% -]{0,12}") {
            if let Ok(share) = text.parse::<Share>() {
                prop_assert!(share <= Share::ALL);
            }
        }
    }
}
