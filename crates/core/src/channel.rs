//! What a channel answers a caller: its target or its fallback, and whether the install may stay as it is.
//!
//! Owns the choice between the two releases that a head may point at, and the rule of the oldest supported version. It
//! must not know accounts, addresses or documents: whose turn it is, is [`Rollout::turn`]'s to say. Nothing here says
//! what may be read.

use crate::catalog::{Offer, Release, ReleaseState};
use crate::id::Version;
use crate::rollout::{Minimum, Rollout, Turn};

/// How a channel moves to its target, and what it supports at all: as told, for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelPolicy {
    /// Who gets the target; `None` is everybody.
    pub rollout: Option<Rollout>,
    /// The oldest version that is supported.
    pub minimum: Option<Minimum>,
}

/// Whether this edge holds a channel's rollout back, whatever control says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brake {
    /// Rollouts go as control says.
    Released,
    /// Everybody gets the fallback here.
    Pulled,
}

/// What a caller is answered, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The target: it is all that the channel offers, or everybody's turn.
    Everybody,
    /// The target or the fallback, by the rollout.
    Turn(Turn),
    /// The fallback: the rollout of this offer is not known here, so it is nobody's turn.
    NotTold,
    /// The fallback: this edge's brake is pulled.
    Braked,
    /// The fallback: the target was withdrawn.
    Withdrawn,
}

impl Choice {
    /// Whether it is the target.
    #[must_use]
    pub const fn is_target(self) -> bool {
        match self {
            Self::Everybody => true,
            Self::Turn(turn) => turn.is_target(),
            Self::NotTold | Self::Braked | Self::Withdrawn => false,
        }
    }
}

/// Chooses for a caller. `turn` is asked only where a rollout decides. Offer and policy are told one after the other, in
/// either order: a policy that is not of this offer tells nobody's turn.
pub fn choose(
    offer: &Offer,
    target: ReleaseState,
    policy: Option<&ChannelPolicy>,
    brake: Brake,
    turn: impl FnOnce(&Rollout) -> Turn,
) -> Choice {
    let Some(fallback) = &offer.fallback else { return Choice::Everybody };
    if target == ReleaseState::Withdrawn {
        return Choice::Withdrawn;
    }
    if brake == Brake::Pulled {
        return Choice::Braked;
    }
    match policy {
        None => Choice::NotTold,
        Some(ChannelPolicy { rollout: None, .. }) => Choice::Everybody,
        Some(ChannelPolicy { rollout: Some(rollout), .. }) => {
            let is_of_it = rollout.target == offer.version && rollout.fallback == fallback.version;
            if is_of_it { Choice::Turn(turn(rollout)) } else { Choice::NotTold }
        }
    }
}

/// Releases of one product and platform in the order in which they were registered.
#[derive(Debug, Clone, Copy)]
pub struct Registered<'a> {
    /// The release.
    pub release: &'a Release,
    /// Tells apart what was registered within one second: larger is later.
    pub order: u32,
}

/// Whether an install of `have` must go on to what it is `answered`: it is older than the oldest supported release, or was
/// withdrawn. What is answered is never refused itself: there would be nothing to go on to.
#[must_use]
pub fn must_update(have: Registered<'_>, minimum: Registered<'_>, answered: &Version) -> bool {
    let age = |one: Registered<'_>| (one.release.registered, one.order);
    let is_unsupported = have.release.state == ReleaseState::Withdrawn || age(have) < age(minimum);
    is_unsupported && have.release.version != *answered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobId;
    use crate::catalog::OfferedRelease;
    use crate::id::Platform;
    use crate::rollout::{Asker, ManualCheck, Motion, Salt, Share, Step};
    use crate::time::UnixSeconds;

    fn version(text: &str) -> Version {
        text.parse().expect("a version")
    }

    fn offer(target: &str, fallback: Option<&str>) -> Offer {
        let fallback = fallback.map(|text| OfferedRelease {
            version: version(text),
            manifest: BlobId::of(text.as_bytes()),
            manifest_bytes: 1,
        });
        Offer {
            product: "game".parse().expect("a name"),
            platform: Platform::any(),
            channel: "stable".parse().expect("a name"),
            sequence: 1,
            version: version(target),
            manifest: BlobId::of(target.as_bytes()),
            manifest_bytes: 1,
            fallback,
            head: Vec::new(),
            delegation: Vec::new(),
            rotations: Vec::new(),
        }
    }

    fn policy(target: &str, fallback: &str, share: Share) -> ChannelPolicy {
        let step = Step { from: UnixSeconds(0), until: None, segments: Vec::new(), regions: Vec::new(), share };
        let rollout = Rollout {
            target: version(target),
            fallback: version(fallback),
            salt: Salt([7; 32]),
            motion: Motion::Running,
            steps: vec![step],
            manual_check: ManualCheck::Waits,
        };
        ChannelPolicy { rollout: Some(rollout), minimum: None }
    }

    fn chosen(offer: &Offer, policy: Option<&ChannelPolicy>, state: ReleaseState, brake: Brake) -> Choice {
        let asker = Asker { install: Some("x"), segments: &[], regions: &[], by_hand: false };
        choose(offer, state, policy, brake, |rollout| rollout.turn(&asker, UnixSeconds(1)))
    }

    #[test]
    fn every_choice_in_one_table() {
        let (plain, moving) = (offer("2", None), offer("2", Some("1")));
        let (everybody, nobody) = (policy("2", "1", Share::ALL), policy("2", "1", Share::NONE));
        let ended = ChannelPolicy::default();
        use ReleaseState::{Live, Withdrawn};
        for (offer, policy, state, brake, expected) in [
            (&plain, None, Live, Brake::Released, Choice::Everybody),
            (&plain, Some(&nobody), Live, Brake::Pulled, Choice::Everybody),
            (&plain, None, Withdrawn, Brake::Released, Choice::Everybody),
            (&moving, Some(&everybody), Live, Brake::Released, Choice::Turn(Turn::Target(0))),
            (&moving, Some(&nobody), Live, Brake::Released, Choice::Turn(Turn::Waiting)),
            (&moving, Some(&everybody), Live, Brake::Pulled, Choice::Braked),
            (&moving, Some(&everybody), Withdrawn, Brake::Released, Choice::Withdrawn),
            (&moving, Some(&ended), Live, Brake::Released, Choice::Everybody),
            (&moving, None, Live, Brake::Released, Choice::NotTold),
            (&moving, Some(&policy("3", "1", Share::ALL)), Live, Brake::Released, Choice::NotTold),
            (&moving, Some(&policy("2", "0", Share::ALL)), Live, Brake::Released, Choice::NotTold),
        ] {
            let found = chosen(offer, policy, state, brake);
            assert_eq!(found, expected, "{offer:?} {policy:?}");
        }
        assert!(Choice::Everybody.is_target() && Choice::Turn(Turn::TargetByHand).is_target());
        for fallback in [Choice::NotTold, Choice::Braked, Choice::Withdrawn, Choice::Turn(Turn::Halted)] {
            assert!(!fallback.is_target(), "{fallback:?}");
        }
    }

    #[test]
    fn what_is_older_than_the_oldest_supported_must_go_on() {
        let release = |text: &str, registered: u64, state: ReleaseState| Release {
            product: "game".parse().expect("a name"),
            platform: Platform::any(),
            version: version(text),
            manifest: BlobId::of(b"m"),
            manifest_bytes: 1,
            content_bytes: 1,
            entry_count: 1,
            registered: UnixSeconds(registered),
            state,
        };
        use ReleaseState::{Live, Withdrawn};
        let least = release("5", 50, Live);
        let must = |release: &Release, order: u32, answered: &str| {
            let minimum = Registered { release: &least, order: 5 };
            must_update(Registered { release, order }, minimum, &version(answered))
        };
        assert!(must(&release("4", 40, Live), 4, "6"), "older");
        assert!(must(&release("4b", 50, Live), 4, "6"), "older within one second");
        assert!(!must(&least, 5, "6") && !must(&release("6", 60, Live), 6, "7"));
        assert!(!must(&release("10", 45, Live), 4, "10"), "what is answered itself");
        assert!(must(&release("6", 60, Withdrawn), 6, "7"), "withdrawn");
    }
}
