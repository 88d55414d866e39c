//! Many changes become one state: which change replaces which, and what is told when something is missing from a new
//! state that was there in the old one.
//!
//! [`Fold`] keeps the newest change of everything there is; where its bodies lie is its user's business, so that it can
//! hold places in a file as well as changes.

use crate::account::AccountKey;
use crate::blob::BlobId;
use crate::catalog::CatalogChange;
use crate::id::{ChannelName, Platform, ProductId, SegmentName, Version};
use std::collections::BTreeMap;

/// What a change is about: a later change about the same replaces it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A product.
    Product(ProductId),
    /// A release.
    Release(ProductId, Platform, Version),
    /// A channel's offer of these releases, target and fallback: a later offer of others does not end that a channel once
    /// offered them, which is what entitlements by channel look at.
    Offer(ProductId, Platform, ChannelName, Version, Option<Version>),
    /// A loose blob.
    LooseBlob(BlobId),
    /// The embargo policy.
    Embargo,
    /// A segment.
    Segment(SegmentName),
    /// A channel's policy.
    ChannelPolicy(ProductId, Platform, ChannelName),
    /// Revoked tokens, by the change's number and first token: they add up and end by themselves.
    TokensRevoked(u64, Option<[u8; 16]>),
    /// The snapshot of accounts.
    Accounts,
    /// An account that changed since.
    Account(AccountKey),
}

/// What a change is about.
#[must_use]
pub fn key(sequence: u64, change: &CatalogChange) -> Key {
    match change {
        CatalogChange::Product(product) => Key::Product(product.id.clone()),
        CatalogChange::Release { release, .. } => {
            Key::Release(release.product.clone(), release.platform.clone(), release.version.clone())
        }
        CatalogChange::Offer(offer) => Key::Offer(
            offer.product.clone(),
            offer.platform.clone(),
            offer.channel.clone(),
            offer.version.clone(),
            offer.fallback.as_ref().map(|fallback| fallback.version.clone()),
        ),
        CatalogChange::LooseBlob { blob, .. } | CatalogChange::LooseBlobGone { blob } => Key::LooseBlob(*blob),
        CatalogChange::Embargo(_) => Key::Embargo,
        CatalogChange::Segment(segment) => Key::Segment(segment.name.clone()),
        CatalogChange::SegmentGone { name } => Key::Segment(name.clone()),
        CatalogChange::ChannelPolicy { product, platform, channel, .. } => {
            Key::ChannelPolicy(product.clone(), platform.clone(), channel.clone())
        }
        CatalogChange::TokensRevoked { tokens } => {
            Key::TokensRevoked(sequence, tokens.first().map(|revoked| revoked.token.0))
        }
        CatalogChange::AccountsSnapshot { .. } => Key::Accounts,
        CatalogChange::Account { account, .. } => Key::Account(*account),
    }
}

/// What is told when something that was known is not in a new state. `None` where nothing has to be: nobody can forget a
/// revocation, and an embargo is always told. Accounts are not ended one by one: a new state's take the place of all.
#[must_use]
pub fn gone(key: &Key) -> Option<CatalogChange> {
    match key {
        Key::LooseBlob(blob) => Some(CatalogChange::LooseBlobGone { blob: *blob }),
        Key::Segment(name) => Some(CatalogChange::SegmentGone { name: name.clone() }),
        Key::ChannelPolicy(product, platform, channel) => Some(CatalogChange::ChannelPolicy {
            product: product.clone(),
            platform: platform.clone(),
            channel: channel.clone(),
            rollout: None,
            minimum: None,
        }),
        // Products, releases and offers are never removed: a release is withdrawn, which is a state of it.
        Key::Product(_)
        | Key::Release(..)
        | Key::Offer(..)
        | Key::Embargo
        | Key::TokensRevoked(..)
        | Key::Accounts
        | Key::Account(_) => None,
    }
}

/// Whether a change says that its thing is no more.
const fn ends(change: &CatalogChange) -> bool {
    matches!(change, CatalogChange::LooseBlobGone { .. } | CatalogChange::SegmentGone { .. })
}

/// The newest change of everything there is, in the order in which they were told, each with a place `P`.
#[derive(Debug, Clone)]
pub struct Fold<P> {
    /// By key: when it was taken, the change's number, where it lies.
    newest: BTreeMap<Key, (u64, u64, P)>,
    taken: u64,
}

impl<P> Default for Fold<P> {
    fn default() -> Self {
        Self { newest: BTreeMap::new(), taken: 0 }
    }
}

impl<P> Fold<P> {
    /// Takes a change and its number; the places of what it replaces come back.
    pub fn take(&mut self, sequence: u64, change: &CatalogChange, place: P) -> Vec<P> {
        let mut replaced = Vec::new();
        if let CatalogChange::AccountsSnapshot { sequence: covered, .. } = change {
            let old =
                self.newest.extract_if(.., |key, (_, number, _)| matches!(key, Key::Account(_)) && *number <= *covered);
            replaced.extend(old.map(|(_, (_, _, place))| place));
        }
        let key = key(sequence, change);
        if ends(change) {
            replaced.extend(self.newest.remove(&key).map(|(_, _, place)| place));
            replaced.push(place);
        } else {
            self.taken += 1;
            let old = self.newest.insert(key, (self.taken, sequence, place));
            replaced.extend(old.map(|(_, _, place)| place));
        }
        replaced
    }

    /// What is missing here and was there in `before`, as it is told.
    pub fn lacks<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = CatalogChange> + use<'a, P> {
        before.newest.keys().filter(|key| !self.newest.contains_key(key)).filter_map(gone)
    }

    /// The places of all that there is, in the order in which they were told.
    #[must_use]
    pub fn in_order(&self) -> Vec<(u64, &P)> {
        let mut all: Vec<_> = self.newest.values().collect();
        all.sort_by_key(|(taken, ..)| *taken);
        all.into_iter().map(|(_, sequence, place)| (*sequence, place)).collect()
    }

    /// How much there is.
    #[must_use]
    pub fn len(&self) -> usize {
        self.newest.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }
}
