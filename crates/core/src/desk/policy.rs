//! The JSON documents of the admin API about policy: revoked tokens, embargo, segments, rollouts, minimum versions.

use crate::account::{AccountId, TokenKey};
use crate::id::{ChannelName, Platform, ProductId, SegmentName, Version};
use crate::place::Embargo;
use crate::rollout::{ManualCheck, Minimum, Step};
use crate::segment::Rule;
use crate::time::UnixSeconds;
use serde::{Deserialize, Serialize};

/// `POST /admin/v1/revocations`: these tokens are worth nothing from now on. Doing it twice is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostRevocations {
    /// At most [`crate::catalog::REVOKED_AT_ONCE_MAX`]: more come as more requests.
    pub tokens: Vec<RevokeToken>,
}

/// A token to revoke: its id, or its whole text.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeToken {
    /// Its id, claim `jti`. Not beside `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who issued it, claim `iss`; this node itself when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The whole token. Its claims `iss`, `jti` and `exp` are read; it is neither believed nor kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// When it ends by itself, so that it may be forgotten; with a token, what that says. Without either it is the longest
    /// life of a token that this node mints, from now on, and ten years for a token of another issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixSeconds>,
}

impl std::fmt::Debug for RevokeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevokeToken")
            .field("id", &self.id)
            .field("issuer", &self.issuer)
            .field("token", &self.token.as_ref().map(|_| "****"))
            .field("until", &self.until)
            .finish()
    }
}

/// Answer to [`PostRevocations`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RevocationsTaken {
    /// Tokens that were revoked, or are remembered longer now.
    pub revoked: u64,
    /// Tokens that were revoked before.
    pub known: u64,
    /// Tokens that ended by themselves already.
    pub ended: u64,
}

/// A revoked token as control knows it: its id is not kept, only the pseudonym.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RevocationRow {
    /// The pseudonym of its issuer and id.
    pub token: TokenKey,
    /// When it ends by itself.
    pub until: UnixSeconds,
    /// When it was revoked first.
    pub revoked: UnixSeconds,
}

/// `GET /admin/v1/revocations?after=&limit=`: a page, by pseudonym.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RevocationsAnswer {
    /// At most [`crate::limits::PAGE_ROWS_MAX`].
    pub revocations: Vec<RevocationRow>,
    /// How many there are on all pages.
    pub total: u64,
    /// `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TokenKey>,
}

/// Answer to `PUT /admin/v1/embargo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EmbargoAnswer {
    /// The policy in force now.
    #[serde(flatten)]
    pub embargo: Embargo,
    /// What looks like a mistake and was taken all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One row of `GET /admin/v1/embargo/versions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EmbargoVersion {
    /// The policy's version.
    pub version: u64,
    /// When it came into force.
    pub changed: UnixSeconds,
}

/// `GET /admin/v1/embargo/versions?before=&limit=`: a page, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EmbargoVersionsAnswer {
    /// At most [`crate::limits::PAGE_ROWS_MAX`].
    pub versions: Vec<EmbargoVersion>,
    /// `before` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// `PUT /admin/v1/segments/{name}`: makes a segment or replaces its rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutSegment {
    /// Who is in.
    pub rule: Rule,
}

/// What a segment's rule is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// A predicate over attributes.
    Where,
    /// A list of accounts or installs.
    List,
    /// A score band.
    Score,
}

impl RuleKind {
    /// The kind of a rule.
    #[must_use]
    pub const fn of(rule: &Rule) -> Self {
        match rule {
            Rule::Where(_) => Self::Where,
            Rule::List(_) => Self::List,
            Rule::Score { .. } => Self::Score,
        }
    }
}

/// A segment without its rule, which may be long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SegmentRow {
    /// Its name.
    pub name: SegmentName,
    /// Rises with every change of any segment.
    pub version: u64,
    /// What its rule is made of.
    pub kind: RuleKind,
    /// How many ids its list has; 0 for other rules.
    pub listed: u64,
    /// When it was changed last.
    pub changed: UnixSeconds,
}

/// `GET /admin/v1/segments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SegmentsAnswer {
    /// By name.
    pub segments: Vec<SegmentRow>,
}

/// `GET /admin/v1/segments/{name}`, and the answer to [`PutSegment`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SegmentDetail {
    /// The segment, its fields beside `rule`.
    #[serde(flatten)]
    pub row: SegmentRow,
    /// Who is in, with ids as they were given.
    pub rule: Rule,
}

/// `POST /admin/v1/segments/{name}/test`: is somebody in? At least one of both is named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestSegment {
    /// An account, with what this node knows of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// An install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<String>,
}

/// Answer to [`TestSegment`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SegmentVerdict {
    /// The segment.
    pub name: SegmentName,
    /// The version that was asked.
    pub version: u64,
    /// Whether it holds whom was asked about.
    pub is_in: bool,
    /// Why.
    pub reason: String,
}

/// `PUT /admin/v1/products/{p}/channels/{c}/rollout`: a release is on its way. Nobody gets it but by a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRollout {
    /// The platform.
    pub platform: Platform,
    /// The version on its way.
    pub target: Version,
    /// The version for everybody else; what the channel offers now when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Version>,
    /// Who gets it, and when.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Whether a player who asks by hand gets it before their turn.
    #[serde(default)]
    pub manual_check: ManualCheck,
}

/// `POST …/rollout/pause`, `…/resume`, `…/halt` and `…/finish`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SteerRollout {
    /// The platform.
    pub platform: Platform,
}

/// `POST …/rollout/steps` adds a step, `PUT …/rollout/steps/{n}` changes one, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutStep {
    /// The platform.
    pub platform: Platform,
    /// The step.
    pub step: Step,
}

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Steps come into force at their time.
    Running,
    /// Nobody joins.
    Paused,
    /// Edges give everybody the fallback already, but no head says so yet: the publisher has to delegate anew first.
    Halting,
    /// It ended: everybody gets the fallback.
    Halted,
    /// It ended: everybody gets the target.
    Finished,
}

impl RolloutState {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Halting => "halting",
            Self::Halted => "halted",
            Self::Finished => "finished",
        }
    }
}

/// A rollout as control knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RolloutRow {
    /// Its number.
    pub id: u64,
    /// Product.
    pub product: ProductId,
    /// Platform.
    pub platform: Platform,
    /// Channel.
    pub channel: ChannelName,
    /// The version on its way.
    pub target: Version,
    /// The version for everybody else.
    pub fallback: Version,
    /// How far it is.
    pub state: RolloutState,
    /// When it was paused, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<UnixSeconds>,
    /// Its steps.
    pub steps: Vec<Step>,
    /// Numbers of the steps in force, counted from 0.
    pub in_force: Vec<u64>,
    /// Whether a player who asks by hand gets the target before their turn.
    pub manual_check: ManualCheck,
    /// When it was started.
    pub started: UnixSeconds,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<UnixSeconds>,
}

/// `GET /admin/v1/products/{p}/rollouts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RolloutsAnswer {
    /// Newest first, at most [`crate::limits::PAGE_ROWS_MAX`].
    pub rollouts: Vec<RolloutRow>,
}

/// `PUT …/channels/{c}/minimum`: the oldest version of a channel that is supported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutMinimum {
    /// The platform.
    pub platform: Platform,
    /// The version and what players are told; absent when every version is supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Minimum>,
}

/// `GET …/channels/{c}/minimum?platform=`, and the answer to [`PutMinimum`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MinimumAnswer {
    /// The platform.
    pub platform: Platform,
    /// What is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Minimum>,
}
