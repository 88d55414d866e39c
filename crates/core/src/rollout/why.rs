//! Why it is somebody's turn or not, in words: for the desk. The answer itself is [`Rollout::turn`]'s.

use super::{Asker, BUCKETS, Bucket, Motion, Rollout, Step, Turn};
use crate::time::UnixSeconds;

impl Rollout {
    /// Whose turn it is, as [`Rollout::turn`] says, and on what grounds: the bucket, whether it moves, and each step,
    /// counted from 0.
    #[must_use]
    pub fn explain(&self, asker: &Asker<'_>, now: UnixSeconds) -> (Turn, Vec<String>) {
        let turn = self.turn(asker, now);
        let bucket = asker.install.map_or(Bucket::LAST, |install| self.salt.bucket(install));
        let mut grounds = vec![match asker.install {
            Some(_) => format!("the install has bucket {} of {BUCKETS}", bucket.number()),
            None => format!("without an install's id it has the last bucket, {} of {BUCKETS}", bucket.number()),
        }];
        let moment = match self.motion {
            Motion::Running => now,
            Motion::Paused { at } => {
                grounds.push(format!("it was paused at {}: what came into force later waits", at.0));
                now.min(at)
            }
            Motion::Halted => {
                grounds.push("it is halted".to_owned());
                return (turn, grounds);
            }
        };
        let words = |(number, step): (usize, &Step)| format!("step {number}: {}", step.why(asker, bucket, moment));
        grounds.extend(self.steps.iter().enumerate().map(words));
        if self.steps.is_empty() {
            grounds.push("it has no step yet".to_owned());
        }
        if turn == Turn::TargetByHand {
            grounds.push("a check by hand does not wait for its turn".to_owned());
        }
        (turn, grounds)
    }
}

impl Step {
    fn why(&self, asker: &Asker<'_>, bucket: Bucket, now: UnixSeconds) -> String {
        if now < self.from {
            return format!("it begins at {}", self.from.0);
        }
        if let Some(until) = self.until.filter(|until| *until <= now) {
            return format!("it ended at {}", until.0);
        }
        if !self.segments.is_empty() && !self.segments.iter().any(|name| asker.segments.contains(name)) {
            let names: Vec<&str> = self.segments.iter().map(|name| name.as_str()).collect();
            return format!("the caller is in none of its segments: {}", names.join(", "));
        }
        if !self.means(asker) {
            let found = asker
                .regions
                .last()
                .map_or("nobody knows where the caller is".to_owned(), |region| format!("the caller is in {region}"));
            return format!("{found}, and it is for {}", self.regions.join(", "));
        }
        let share = self.share;
        let is = if share.holds(bucket) { "is" } else { "is not" };
        format!("its share is {share} percent, and bucket {} {is} below {}", bucket.number(), share.buckets())
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;

    #[test]
    fn the_grounds_are_those_of_the_turn() {
        let step = |from: u64, share: &str| Step {
            from: UnixSeconds(from),
            until: None,
            segments: Vec::new(),
            regions: Vec::new(),
            share: share.parse().expect("a share"),
        };
        let mut rollout = Rollout {
            target: "2".parse().expect("a version"),
            fallback: "1".parse().expect("a version"),
            salt: Salt([7; 32]),
            motion: Motion::Running,
            steps: vec![
                step(0, "5"),
                step(0, "100"),
                step(0, "100"),
                step(50, "100"),
                step(0, "100"),
                step(0, "36.16"),
            ],
            manual_check: ManualCheck::Bypasses,
        };
        rollout.steps[1].segments = vec!["press".parse().expect("a name")];
        rollout.steps[2].regions = vec!["DE".to_owned(), "FR".to_owned()];
        rollout.steps[4].until = Some(UnixSeconds(9));
        // The format's vector: this install has bucket 3,615.
        let asker = Asker { install: Some("install-1"), segments: &[], regions: &["US", "US-CA"], by_hand: true };
        let (turn, grounds) = rollout.explain(&asker, UnixSeconds(9));
        assert_eq!(turn, Turn::Target(5));
        assert_eq!(
            grounds,
            [
                "the install has bucket 3615 of 10000",
                "step 0: its share is 5 percent, and bucket 3615 is not below 500",
                "step 1: the caller is in none of its segments: press",
                "step 2: the caller is in US-CA, and it is for DE, FR",
                "step 3: it begins at 50",
                "step 4: it ended at 9",
                "step 5: its share is 36.16 percent, and bucket 3615 is below 3616",
            ]
        );
        rollout.steps.truncate(1);
        let last = |rollout: &Rollout, asker: &Asker<'_>| {
            let (turn, grounds) = rollout.explain(asker, UnixSeconds(60));
            assert_eq!(turn, rollout.turn(asker, UnixSeconds(60)));
            grounds.last().cloned()
        };
        assert_eq!(last(&rollout, &asker).as_deref(), Some("a check by hand does not wait for its turn"));
        rollout.motion = Motion::Halted;
        assert_eq!(last(&rollout, &asker).as_deref(), Some("it is halted"));
        rollout.motion = Motion::Paused { at: UnixSeconds(40) };
        rollout.steps = vec![step(50, "100")];
        let nameless = Asker { install: None, by_hand: false, ..asker };
        let (turn, grounds) = rollout.explain(&nameless, UnixSeconds(60));
        assert_eq!(
            (turn, grounds[0].as_str()),
            (Turn::Waiting, "without an install's id it has the last bucket, 9999 of 10000")
        );
        assert_eq!(grounds[1..], ["it was paused at 40: what came into force later waits", "step 0: it begins at 50"]);
        rollout.steps.clear();
        assert_eq!(last(&rollout, &nameless).as_deref(), Some("it has no step yet"));
    }
}
