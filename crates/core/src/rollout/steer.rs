//! How a rollout is steered while it runs: paused, resumed, its steps added to and changed.
//!
//! Owns the one promise that players notice: who was offered the target goes on being offered it, until the rollout is
//! halted or a step's own end comes. So a step in force can only take in more people.

use super::{Motion, Rollout, STEPS_MAX, Step};
use crate::place::Region;
use crate::time::UnixSeconds;

/// Segments of one step: each is looked for with each question.
pub const SEGMENTS_MAX: usize = 64;
/// Regions of one step.
pub const REGIONS_MAX: usize = 256;

/// A change of a rollout's steps. They are counted from 0, in the order in which they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepChange {
    /// Another step.
    Add(Step),
    /// This one instead.
    Replace(usize, Step),
    /// Without it.
    Remove(usize),
}

/// Why a rollout is not steered so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SteerError {
    /// It was halted.
    #[error("the rollout is halted: start another one")]
    Halted,
    /// Nobody joins now.
    #[error("the rollout is paused: resume it first")]
    Paused,
    /// It goes on already.
    #[error("the rollout is not paused")]
    NotPaused,
    /// No such step.
    #[error("there is no step {0}: they are counted from 0")]
    NoStep(usize),
    /// More steps than are looked at.
    #[error("a rollout has at most {STEPS_MAX} steps")]
    TooManySteps,
    /// Ends before it begins.
    #[error("step {0}: it must end after it begins")]
    Backwards(usize),
    /// More names than are looked at.
    #[error("step {0}: it names at most {SEGMENTS_MAX} segments and {REGIONS_MAX} regions")]
    TooManyNames(usize),
    /// A text that is no region.
    #[error("step {step}: {region:?} is no region, such as DE or US-CA")]
    Region {
        /// The step.
        step: usize,
        /// The text.
        region: String,
    },
    /// Somebody who was offered the target would not be any more.
    #[error("step {step} is in force, and {what}: a step in force can only take in more, or the rollout is halted")]
    Narrows {
        /// The step.
        step: usize,
        /// What of it.
        what: &'static str,
    },
}

impl Rollout {
    /// Whether its steps can be looked at. Called before a rollout is stored.
    ///
    /// # Errors
    /// The first step that cannot be.
    pub fn check_steps(&self) -> Result<(), SteerError> {
        if self.steps.len() > STEPS_MAX {
            return Err(SteerError::TooManySteps);
        }
        self.steps.iter().enumerate().try_for_each(|(number, step)| step.check(number))
    }

    /// Nobody joins from `now` on. A rollout that is paused stays so.
    ///
    /// # Errors
    /// When it is halted.
    pub fn paused(mut self, now: UnixSeconds) -> Result<Self, SteerError> {
        match self.motion {
            Motion::Running => self.motion = Motion::Paused { at: now },
            Motion::Paused { .. } => {}
            Motion::Halted => return Err(SteerError::Halted),
        }
        Ok(self)
    }

    /// It goes on at `now` where it was when it was paused: what lay ahead of it then lies as far ahead now. Whoever looked
    /// into a crash for two days does not find that three steps came into force meanwhile.
    ///
    /// # Errors
    /// When it is not paused.
    pub fn resumed(mut self, now: UnixSeconds) -> Result<Self, SteerError> {
        let at = match self.motion {
            Motion::Running => return Err(SteerError::NotPaused),
            Motion::Halted => return Err(SteerError::Halted),
            Motion::Paused { at } => at,
        };
        let waited_seconds = now.0.saturating_sub(at.0);
        for step in &mut self.steps {
            if step.from > at {
                step.from = step.from.plus(waited_seconds);
            }
            // One that had ended stays ended.
            step.until = step.until.map(|until| if until > at { until.plus(waited_seconds) } else { until });
        }
        self.motion = Motion::Running;
        Ok(self)
    }

    /// With other steps.
    ///
    /// # Errors
    /// When somebody who is in at `now` would be out, a bound would be broken, or it does not run.
    pub fn with_steps(mut self, change: StepChange, now: UnixSeconds) -> Result<Self, SteerError> {
        match self.motion {
            Motion::Running => {}
            Motion::Paused { .. } => return Err(SteerError::Paused),
            Motion::Halted => return Err(SteerError::Halted),
        }
        match change {
            StepChange::Add(step) => self.steps.push(step),
            StepChange::Replace(number, step) => {
                let known = self.steps.get_mut(number).ok_or(SteerError::NoStep(number))?;
                if known.is_in_force(now) {
                    known.check_widened(&step, now).map_err(|what| SteerError::Narrows { step: number, what })?;
                }
                *known = step;
            }
            StepChange::Remove(number) => {
                let known = self.steps.get(number).ok_or(SteerError::NoStep(number))?;
                if known.is_in_force(now) {
                    return Err(SteerError::Narrows { step: number, what: "it would be gone" });
                }
                self.steps.remove(number);
            }
        }
        self.check_steps()?;
        Ok(self)
    }

    /// Numbers of the steps in force at `now`.
    #[must_use]
    pub fn in_force(&self, now: UnixSeconds) -> Vec<usize> {
        let now = match self.motion {
            Motion::Running => now,
            Motion::Paused { at } => now.min(at),
            Motion::Halted => return Vec::new(),
        };
        (0..self.steps.len()).filter(|number| self.steps[*number].is_in_force(now)).collect()
    }
}

impl Step {
    fn check(&self, number: usize) -> Result<(), SteerError> {
        if self.until.is_some_and(|until| until <= self.from) {
            return Err(SteerError::Backwards(number));
        }
        if self.segments.len() > SEGMENTS_MAX || self.regions.len() > REGIONS_MAX {
            return Err(SteerError::TooManyNames(number));
        }
        match self.regions.iter().find(|region| region.parse::<Region>().is_err()) {
            Some(region) => Err(SteerError::Region { step: number, region: region.chars().take(16).collect() }),
            None => Ok(()),
        }
    }

    /// That whoever this step holds at `now` is held by `other` as long: the word of what is missing.
    fn check_widened(&self, other: &Self, now: UnixSeconds) -> Result<(), &'static str> {
        /// Everybody is written as no name at all.
        fn holds_all<T: PartialEq>(wide: &[T], narrow: &[T]) -> bool {
            wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(|name| wide.contains(name)))
        }
        if other.from > now {
            return Err("it would begin later");
        }
        if other.until.is_some_and(|until| self.until.is_none_or(|known| until < known)) {
            return Err("it would end earlier");
        }
        if other.share < self.share {
            return Err("its share would fall");
        }
        if !holds_all(&other.segments, &self.segments) {
            return Err("it would leave out a segment");
        }
        if !holds_all(&other.regions, &self.regions) {
            return Err("it would leave out a region");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SegmentName;
    use crate::rollout::{Asker, ManualCheck, Salt, Share};
    use proptest::prelude::*;

    fn step(from: u64, share: u16) -> Step {
        Step {
            from: UnixSeconds(from),
            until: None,
            segments: Vec::new(),
            regions: Vec::new(),
            share: Share::of_buckets(share),
        }
    }

    fn rollout(steps: Vec<Step>) -> Rollout {
        Rollout {
            target: "2".parse().expect("a version"),
            fallback: "1".parse().expect("a version"),
            salt: Salt([7; 32]),
            motion: Motion::Running,
            steps,
            manual_check: ManualCheck::Waits,
        }
    }

    fn beta() -> SegmentName {
        "beta".parse().expect("a name")
    }

    #[test]
    fn a_step_in_force_can_only_take_in_more() {
        let named = Step { segments: vec![beta()], regions: vec!["DE".to_owned()], ..step(10, 500) };
        let known = rollout(vec![Step { until: Some(UnixSeconds(100)), ..named.clone() }, step(50, 900)]);
        let now = UnixSeconds(20);
        let with = |number, step| known.clone().with_steps(StepChange::Replace(number, step), now);
        let narrows = |what| Err(SteerError::Narrows { step: 0, what });
        assert_eq!(with(0, Step { share: Share::of_buckets(499), ..named.clone() }), narrows("its share would fall"));
        assert_eq!(with(0, Step { from: UnixSeconds(21), ..named.clone() }), narrows("it would begin later"));
        let until = Some(UnixSeconds(99));
        assert_eq!(with(0, Step { until, ..named.clone() }), narrows("it would end earlier"));
        let other: SegmentName = "other".parse().expect("a name");
        let segments = vec![other.clone()];
        assert_eq!(with(0, Step { segments, ..named.clone() }), narrows("it would leave out a segment"));
        let regions = vec!["DE-BE".to_owned()];
        assert_eq!(with(0, Step { regions, ..named.clone() }), narrows("it would leave out a region"));
        assert_eq!(known.clone().with_steps(StepChange::Remove(0), now), narrows("it would be gone"));
        assert!(with(0, named.clone()).is_ok(), "for good is longer");
        assert!(with(0, Step { segments: vec![other, beta()], regions: Vec::new(), ..named }).is_ok());
        assert!(with(1, step(2000, 1)).is_ok(), "one that is not in force may become anything");
        assert!(known.clone().with_steps(StepChange::Remove(1), now).is_ok());
        assert_eq!(with(2, step(1, 1)), Err(SteerError::NoStep(2)));
        let everybody = rollout(vec![step(0, 500)]);
        let narrower = Step { segments: vec![beta()], ..step(0, 10_000) };
        let narrower = everybody.with_steps(StepChange::Replace(0, narrower), now);
        assert_eq!(narrower, narrows("it would leave out a segment"));
    }

    #[test]
    fn bounds_are_kept() {
        let full = rollout(vec![step(0, 1); STEPS_MAX]);
        assert_eq!(full.check_steps(), Ok(()));
        assert_eq!(full.with_steps(StepChange::Add(step(0, 1)), UnixSeconds(5)), Err(SteerError::TooManySteps));
        let check = |step| rollout(vec![step]).check_steps();
        assert_eq!(check(Step { until: Some(UnixSeconds(5)), ..step(5, 1) }), Err(SteerError::Backwards(0)));
        let regions = vec!["germany".to_owned()];
        assert_eq!(
            check(Step { regions, ..step(5, 1) }),
            Err(SteerError::Region { step: 0, region: "germany".to_owned() })
        );
        let segments = vec![beta(); SEGMENTS_MAX + 1];
        assert_eq!(check(Step { segments, ..step(5, 1) }), Err(SteerError::TooManyNames(0)));
    }

    #[test]
    fn what_does_not_run_is_not_steered() {
        let now = UnixSeconds(5);
        let paused = rollout(vec![step(0, 1)]).paused(now).expect("paused");
        assert_eq!(paused.clone().paused(UnixSeconds(9)).expect("still").motion, Motion::Paused { at: now });
        assert_eq!(paused.with_steps(StepChange::Remove(0), now), Err(SteerError::Paused));
        assert_eq!(rollout(Vec::new()).resumed(now), Err(SteerError::NotPaused));
        let halted = Rollout { motion: Motion::Halted, ..rollout(vec![step(0, 1)]) };
        assert_eq!(halted.clone().paused(now), Err(SteerError::Halted));
        assert_eq!(halted.clone().resumed(now), Err(SteerError::Halted));
        assert_eq!(halted.clone().with_steps(StepChange::Add(step(0, 1)), now), Err(SteerError::Halted));
        assert_eq!(halted.in_force(now), Vec::<usize>::new());
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let names = (proptest::bool::ANY, proptest::bool::ANY);
        (0..200_u64, proptest::option::of(1..200_u64), names, 0..=10_000_u16).prop_map(|(from, long, names, share)| {
            Step {
                until: long.map(|long| UnixSeconds(from + long)),
                segments: if names.0 { vec![beta()] } else { Vec::new() },
                regions: if names.1 { vec!["DE".to_owned()] } else { Vec::new() },
                ..step(from, share)
            }
        })
    }

    proptest! {
        /// A pause is as if the clock had stood still: whatever the answer was so long after the pause began, it is so
        /// long after the end.
        #[test]
        fn after_a_pause_everything_comes_as_much_later(
            steps in proptest::collection::vec(any_step(), 0..6),
            (at, waited, later) in (0..400_u64, 0..400_u64, 0..400_u64),
            install in "[a-z]{1,8}",
            in_beta: bool,
        ) {
            let known = rollout(steps);
            let segments = if in_beta { vec![beta()] } else { Vec::new() };
            let asker = Asker { install: Some(&install), segments: &segments, regions: &["DE"], by_hand: false };
            let paused = known.clone().paused(UnixSeconds(at)).expect("it ran");
            prop_assert_eq!(paused.turn(&asker, UnixSeconds(at + waited)), known.turn(&asker, UnixSeconds(at)));
            let resumed = paused.resumed(UnixSeconds(at + waited)).expect("it was paused");
            prop_assert_eq!(
                resumed.turn(&asker, UnixSeconds(at + waited + later)),
                known.turn(&asker, UnixSeconds(at + later))
            );
            prop_assert_eq!(resumed.in_force(UnixSeconds(at + waited + later)), known.in_force(UnixSeconds(at + later)));
        }

        /// Whoever is in stays in, whatever change of the steps is taken.
        #[test]
        fn no_change_of_steps_takes_the_target_from_anybody(
            steps in proptest::collection::vec(any_step(), 1..5),
            changed in any_step(),
            number in 0..5_usize,
            kind in 0..3_u8,
            now in 0..400_u64,
            install in "[a-z]{1,8}",
            in_beta: bool,
        ) {
            let known = rollout(steps);
            let now = UnixSeconds(now);
            let change = match kind {
                0 => StepChange::Add(changed),
                1 => StepChange::Replace(number, changed),
                _ => StepChange::Remove(number),
            };
            if let Ok(steered) = known.clone().with_steps(change, now) {
                let segments = if in_beta { vec![beta()] } else { Vec::new() };
                let asker = Asker { install: Some(&install), segments: &segments, regions: &["DE"], by_hand: false };
                prop_assert!(!known.turn(&asker, now).is_target() || steered.turn(&asker, now).is_target());
            }
        }
    }
}
