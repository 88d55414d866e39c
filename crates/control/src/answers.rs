//! Answers of the admin API that say more than the documents in `core::api`: what a release's state means for channels.
//!
//! Each is such a document with fields beside its own, so whoever reads the plain one is served too.

use penstock_core::api::ChannelRow;
use penstock_core::catalog::Release;
use penstock_core::id::{ChannelName, Version};
use serde::{Deserialize, Serialize};

/// Answer to `POST /admin/v1/products/{p}/releases/{v}/withdraw` and `…/restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReleaseChange {
    /// The release, its fields beside `offered_by`.
    #[serde(flatten)]
    pub release: Release,
    /// Channels of the release's platform that offer it, by name. They go on doing so when it is withdrawn: their
    /// clients are refused it until the channel moves.
    #[serde(default)]
    pub offered_by: Vec<ChannelName>,
    /// Channels whose rollout brought it, by name: each was halted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub halted: Vec<ChannelName>,
}

/// Answer to `GET` and `PUT /admin/v1/products/{p}/channels/{c}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ChannelStanding {
    /// The channel, its fields beside those below.
    #[serde(flatten)]
    pub row: ChannelRow,
    /// What those get whose turn it is not, while a rollout goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Version>,
    /// The version offered is withdrawn.
    #[serde(default)]
    pub withdrawn: bool,
    /// The version offered before is withdrawn, so the channel cannot go back to it.
    #[serde(default)]
    pub previous_withdrawn: bool,
}

/// Answer to `GET /admin/v1/products/{p}/channels`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ChannelsStanding {
    /// By channel and platform.
    pub channels: Vec<ChannelStanding>,
}
