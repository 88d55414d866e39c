//! How long an edge goes on giving out what control told it last, while control is silent.
//!
//! Control says every two seconds whether an edge has heard everything. While it says nothing, what an edge knows grows old:
//! somebody may have been suspended, refunded or embargoed since. Each access class says for how long that is borne.
//!
//! The bound only ever ends what would be given out. What forbids has none: an embargo, a suspended or denied account, a
//! revoked token and an ended entitlement are refused as such, however old the knowledge of them. It must not read a clock.

use crate::catalog::AccessClass;

/// For how long content of one access class is given out while control is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// For ever.
    Unlimited,
    /// For so many seconds.
    Seconds(u64),
}

/// The bounds of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// Of open content.
    pub open: Bound,
    /// Of registered content.
    pub registered: Bound,
    /// Of licensed content.
    pub licensed: Bound,
    /// Of closed content.
    pub closed: Bound,
}

impl Grace {
    /// A node that has its own word for everything bears anything.
    pub const UNLIMITED: Self = Self {
        open: Bound::Unlimited,
        registered: Bound::Unlimited,
        licensed: Bound::Unlimited,
        closed: Bound::Unlimited,
    };

    /// The bound of a class.
    #[must_use]
    pub const fn of(&self, access: AccessClass) -> Bound {
        match access {
            AccessClass::Open => self.open,
            AccessClass::Registered => self.registered,
            AccessClass::Licensed => self.licensed,
            AccessClass::Closed => self.closed,
        }
    }
}

impl Default for Grace {
    fn default() -> Self {
        Self::UNLIMITED
    }
}

/// How old what a decision rests on is, and how old it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Seconds since control confirmed that nothing newer was there.
    pub age_seconds: u64,
    /// How old it may be.
    pub grace: Grace,
}

impl Freshness {
    /// What is known beside control itself, or by whoever decides for nobody else.
    pub const CURRENT: Self = Self { age_seconds: 0, grace: Grace::UNLIMITED };

    /// Whether it is too old for content of this class. A bound's last second is still good.
    #[must_use]
    pub const fn is_too_old(&self, access: AccessClass) -> bool {
        match self.grace.of(access) {
            Bound::Unlimited => false,
            Bound::Seconds(most) => self.age_seconds > most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_own_bound() {
        let grace = Grace {
            open: Bound::Unlimited,
            registered: Bound::Seconds(30),
            licensed: Bound::Seconds(20),
            closed: Bound::Seconds(0),
        };
        let too_old = |age_seconds| {
            [AccessClass::Open, AccessClass::Registered, AccessClass::Licensed, AccessClass::Closed]
                .map(|access| Freshness { age_seconds, grace }.is_too_old(access))
        };
        assert_eq!(too_old(0), [false; 4]);
        assert_eq!(too_old(1), [false, false, false, true]);
        assert_eq!(too_old(20), [false, false, false, true]);
        assert_eq!(too_old(21), [false, false, true, true]);
        assert_eq!(too_old(31), [false, true, true, true]);
        assert_eq!(too_old(u64::MAX), [false, true, true, true]);
        assert!(!Freshness { age_seconds: u64::MAX, ..Freshness::CURRENT }.is_too_old(AccessClass::Closed));
    }
}
