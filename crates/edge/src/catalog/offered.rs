//! What a channel offers on one platform, every answer to it rendered in advance, and the channel as one caller finds it.
//!
//! It must not decide whose turn it is: `core::channel` and `core::rollout` do.

use super::answer::{Document, Found};
use penstock_core::api::ChannelDocument;
use penstock_core::catalog::{Offer, ReleaseState};
use penstock_core::channel::{Brake, ChannelPolicy, Choice, choose};
use penstock_core::id::{Platform, Version};
use penstock_core::rollout::{Minimum, Rollout, Turn};
use std::sync::Arc;

/// An offer, what control decided for it, and its answers.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) offer: Offer,
    policy: Option<Arc<ChannelPolicy>>,
    target: Answers,
    fallback: Option<Answers>,
}

/// The answers that name one release.
#[derive(Debug)]
struct Answers {
    version: Version,
    plain: Document,
    /// For whoever has a version that is not supported any more. There is one where the channel says what it supports.
    required: Option<Document>,
}

impl Answers {
    fn render(offer: Offer, minimum: Option<&Minimum>) -> Self {
        let version = offer.version.clone();
        let mut document = ChannelDocument { offer, minimum: minimum.cloned(), required: false };
        let plain = Document::render(&document);
        let required = minimum.map(|_| {
            document.required = true;
            Document::render(&document)
        });
        Self { version, plain, required }
    }
}

impl Told {
    pub(super) fn new(offer: Offer, policy: Option<Arc<ChannelPolicy>>) -> Self {
        let minimum = policy.as_ref().and_then(|policy| policy.minimum.as_ref());
        let target = Answers::render(offer.clone(), minimum);
        let fallback = offer.fallback.as_ref().map(|release| {
            let release = release.clone();
            let instead = Offer {
                version: release.version,
                manifest: release.manifest,
                manifest_bytes: release.manifest_bytes,
                ..offer.clone()
            };
            Answers::render(instead, minimum)
        });
        Self { offer, policy, target, fallback }
    }

    /// The versions that it points at.
    pub(super) fn versions(&self) -> impl Iterator<Item = &Version> {
        [Some(&self.target), self.fallback.as_ref()].into_iter().flatten().map(|answers| &answers.version)
    }

    pub(super) fn platform(&self) -> &Platform {
        &self.offer.platform
    }

    pub(super) fn minimum(&self) -> Option<&Minimum> {
        self.policy.as_ref()?.minimum.as_ref()
    }
}

/// One of the releases that a channel points at, as a caller finds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) state: ReleaseState,
    /// The caller has a version that is not supported any more, and this is another one.
    pub(super) must_update: bool,
}

/// A channel as one caller finds it: what it may be answered.
#[derive(Debug, Clone)]
pub struct Offered {
    pub(super) told: Arc<Told>,
    pub(super) target: Standing,
    pub(super) fallback: Standing,
}

impl Offered {
    /// The rollout that decides, where one does.
    #[must_use]
    pub fn rollout(&self) -> Option<&Rollout> {
        self.told.offer.fallback.as_ref()?;
        self.told.policy.as_ref()?.rollout.as_ref()
    }

    /// The oldest version that the channel supports.
    #[must_use]
    pub fn minimum(&self) -> Option<&Minimum> {
        self.told.minimum()
    }

    /// Chooses; see [`penstock_core::channel::choose`].
    pub fn choose(&self, brake: Brake, turn: impl FnOnce(&Rollout) -> Turn) -> Choice {
        choose(&self.told.offer, self.target.state, self.told.policy.as_deref(), brake, turn)
    }

    /// The version that a choice means, and whether the caller must go on to it.
    #[must_use]
    pub fn version(&self, choice: Choice) -> (&Version, bool) {
        let (answers, standing) = self.answers(choice);
        (&answers.version, standing.must_update)
    }

    /// The answer that a choice means.
    #[must_use]
    pub fn answer(&self, choice: Choice) -> Found<Document> {
        let (answers, standing) = self.answers(choice);
        match (standing.state, &answers.required) {
            (ReleaseState::Withdrawn, _) => Found::Withdrawn,
            (ReleaseState::Live, Some(required)) if standing.must_update => Found::One(required.clone()),
            (ReleaseState::Live, _) => Found::One(answers.plain.clone()),
        }
    }

    fn answers(&self, choice: Choice) -> (&Answers, Standing) {
        match &self.told.fallback {
            Some(fallback) if !choice.is_target() => (fallback, self.fallback),
            _ => (&self.told.target, self.target),
        }
    }
}
