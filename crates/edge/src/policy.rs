//! What was decided for all products at once, kept for lookups without a lock: control's embargo and segments, and this
//! node's own brakes, rates, and how long it bears that control is silent.
//!
//! It must not decide: `core::place`, `core::segment`, `core::channel` and [`crate::rates`] do.

use crate::config::{BrakeOn, Checked};
use crate::rates::Rates;
use arc_swap::{ArcSwap, Guard};
use penstock_core::channel::Brake;
use penstock_core::grace::Grace;
use penstock_core::id::{ChannelName, ProductId, SegmentName};
use penstock_core::place::Embargo;
use penstock_core::segment::Segment;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Every segment that there is.
pub type Segments = BTreeMap<SegmentName, Arc<Segment>>;

/// The policy of a node. One for all workers.
#[derive(Debug, Default)]
pub struct Policies {
    embargo: ArcSwap<Embargo>,
    segments: ArcSwap<Segments>,
    brakes: ArcSwap<Vec<BrakeOn>>,
    grace: ArcSwap<Grace>,
    rates: Rates,
    /// Whether this node can look up where somebody is.
    sees_places: AtomicBool,
}

impl Policies {
    /// The embargo policy in force.
    #[must_use]
    pub fn embargo(&self) -> Guard<Arc<Embargo>> {
        self.embargo.load()
    }

    /// Takes an embargo policy in place of the one before: every later request is decided with it.
    pub fn set_embargo(&self, embargo: Embargo) {
        tracing::info!(version = embargo.version, classes = embargo.classes.len(), "the embargo policy is new");
        self.embargo.store(Arc::new(embargo));
        self.warn_if_blind();
    }

    /// Says so when the embargo turns on places and nobody here knows any.
    fn warn_if_blind(&self) {
        let embargo = self.embargo.load();
        if embargo.needs_places() && !self.sees_places.load(Ordering::Relaxed) {
            tracing::warn!(
                version = embargo.version,
                "the embargo names regions, and there is no database of places: everybody is treated as being in a place \
                 that nobody knows; set geo.database"
            );
        }
    }

    /// The segments.
    #[must_use]
    pub fn segments(&self) -> Guard<Arc<Segments>> {
        self.segments.load()
    }

    /// Takes a segment in place of the one of its name.
    pub fn set_segment(&self, segment: Segment) {
        let segment = Arc::new(segment);
        self.segments.rcu(|segments| {
            let mut segments = Segments::clone(segments);
            segments.insert(segment.name.clone(), Arc::clone(&segment));
            segments
        });
    }

    /// Nobody is in a segment of this name any more.
    pub fn remove_segment(&self, name: &SegmentName) {
        self.segments.rcu(|segments| {
            let mut segments = Segments::clone(segments);
            segments.remove(name);
            segments
        });
    }

    /// Whether this node holds a channel's rollout back.
    #[must_use]
    pub fn brake(&self, product: &ProductId, channel: &ChannelName) -> Brake {
        let is_pulled = self.brakes.load().iter().any(|brake| match brake {
            BrakeOn::Everything => true,
            BrakeOn::Channel { product: on, channel: of } => on == product && of == channel,
        });
        if is_pulled { Brake::Pulled } else { Brake::Released }
    }

    /// How long what control told is given out while it is silent.
    #[must_use]
    pub fn grace(&self) -> Grace {
        **self.grace.load()
    }

    /// How fast connections may be sent to.
    #[must_use]
    pub const fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Takes what the configuration says, at the start and on reload.
    pub fn configure(&self, config: &Checked) {
        self.rates.set(config.rates.clone());
        self.sees_places.store(config.geo.database.is_some(), Ordering::Relaxed);
        self.warn_if_blind();
        self.grace.store(Arc::new(config.control.grace));
        if **self.brakes.load() != config.rollouts.brakes {
            for brake in &config.rollouts.brakes {
                tracing::warn!(%brake, "rollouts are held back on this node: everybody gets the fallback");
            }
            if config.rollouts.brakes.is_empty() {
                tracing::info!("rollouts go as control says again");
            }
            self.brakes.store(Arc::new(config.rollouts.brakes.clone()));
        }
    }
}
