//! One file per kind of step. A step drives a tool or the real binary and hands back a tally.

pub mod cargo;
pub mod deny;
pub mod deploy;
pub mod fuzz;
pub mod linked;
pub mod measure;
pub mod pairs;
pub mod quickstart;
pub mod readme;
pub mod schemas;
pub mod slow;
