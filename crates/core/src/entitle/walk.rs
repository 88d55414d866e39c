//! Looking on while a decision is made: what `explain` shows.

use super::Refusal;

/// A step of the decision, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Whether the blob lies open outside of any release.
    Loose,
    /// Whether the token holds.
    Token,
    /// Whether the account is served.
    Account,
    /// Whether it may be sent to where the caller is.
    Embargo,
    /// Whether the token was made for this.
    Narrowing,
    /// What the product's access class asks for.
    Access,
    /// Whether a holding covers it.
    Holding,
    /// Whether the release may still be fetched.
    Release,
    /// Whether all that this rests on is fresh enough.
    Freshness,
    /// Whether a closed product may show itself.
    Closed,
}

impl Step {
    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loose => "loose",
            Self::Token => "token",
            Self::Account => "account",
            Self::Embargo => "embargo",
            Self::Narrowing => "narrowing",
            Self::Access => "access",
            Self::Holding => "holding",
            Self::Release => "release",
            Self::Freshness => "freshness",
            Self::Closed => "closed",
        }
    }
}

/// Somebody who looks on.
pub trait Witness {
    /// A step was made: on what grounds, and what it would refuse. `grounds` is called only by those who want to know.
    fn saw(&mut self, step: Step, grounds: impl FnOnce() -> String, refusal: Option<Refusal>);
}

/// Nobody: costs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Witness for Silent {
    #[inline]
    fn saw(&mut self, _: Step, _: impl FnOnce() -> String, _: Option<Refusal>) {}
}

/// One step as seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// Which.
    pub step: Step,
    /// On what grounds.
    pub grounds: String,
    /// What it refuses, if it does.
    pub refusal: Option<Refusal>,
}

/// Somebody who writes everything down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk(pub Vec<Walked>);

impl Witness for Walk {
    fn saw(&mut self, step: Step, grounds: impl FnOnce() -> String, refusal: Option<Refusal>) {
        self.0.push(Walked { step, grounds: grounds(), refusal });
    }
}
