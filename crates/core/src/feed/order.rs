//! The order that a feed's lines must come in: what is out of order is refused before anybody acts on it.

use super::{FORMAT, Line};

/// What was heard so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The last change that is known, from before or from this feed.
    last: Option<u64>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was said.
    Silent,
    /// After the hello.
    Greeted,
    /// Within a state.
    Telling(u64),
    /// Changes and beats.
    Following,
}

/// Why a line may not come now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// It speaks another language.
    #[error("the feed has format {0}, this program reads {FORMAT}: run the same version on both sides")]
    Format(u32),
    /// A change is missing.
    #[error("the feed goes from change {last} to {next}")]
    Gap {
        /// The last that is known.
        last: u64,
        /// What came.
        next: u64,
    },
    /// The log is behind what it told before.
    #[error("the feed's newest change is {newest}, and {last} is known already: control was set back")]
    Back {
        /// The last that is known.
        last: u64,
        /// What control says.
        newest: u64,
    },
    /// A line that has no place here.
    #[error("a line of the feed came out of order")]
    Misplaced,
}

impl Order {
    /// Of a feed that was asked for what comes after `last`, or for everything.
    #[must_use]
    pub const fn new(last: Option<u64>) -> Self {
        Self { last, stage: Stage::Silent }
    }

    /// The last change that is known, once a state was whole.
    #[must_use]
    pub const fn last(&self) -> Option<u64> {
        self.last
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// [`OrderError`]; nothing of the feed may be used from there on.
    pub fn take(&mut self, line: &Line) -> Result<(), OrderError> {
        match (self.stage, line) {
            (Stage::Silent, Line::Hello(hello)) if hello.format != FORMAT => Err(OrderError::Format(hello.format)),
            (Stage::Silent, Line::Hello(_)) => {
                self.stage = Stage::Greeted;
                Ok(())
            }
            (Stage::Greeted, Line::State { sequence }) => {
                self.stage = Stage::Telling(*sequence);
                Ok(())
            }
            (Stage::Telling(state), Line::Part { sequence, .. }) if *sequence <= state => Ok(()),
            (Stage::Telling(state), Line::Whole { sequence, .. }) if *sequence == state => {
                self.last = Some(state);
                self.stage = Stage::Following;
                Ok(())
            }
            (Stage::Greeted | Stage::Following, Line::Change { sequence, .. }) => {
                let last = self.last.ok_or(OrderError::Misplaced)?;
                if last.checked_add(1) != Some(*sequence) {
                    return Err(OrderError::Gap { last, next: *sequence });
                }
                self.last = Some(*sequence);
                self.stage = Stage::Following;
                Ok(())
            }
            (Stage::Greeted | Stage::Following, Line::Beat { newest, .. }) => {
                let last = self.last.ok_or(OrderError::Misplaced)?;
                if *newest < last { Err(OrderError::Back { last, newest: *newest }) } else { Ok(()) }
            }
            _ => Err(OrderError::Misplaced),
        }
    }
}
