//! Publishing, end to end, against nodes in memory and over real sockets. One binary, because each
//! test binary links everything anew.
#![expect(clippy::panic, reason = "helpers of tests fail the test that calls them")]

#[path = "suite/change.rs"]
mod change;
#[path = "common/mod.rs"]
mod common;
#[path = "suite/delegate.rs"]
mod delegate;
#[path = "suite/interrupt.rs"]
mod interrupt;
#[path = "suite/memory.rs"]
mod memory;
#[path = "suite/refuse.rs"]
mod refuse;
#[path = "suite/remote.rs"]
mod remote;
#[path = "suite/reuse.rs"]
mod reuse;
#[path = "suite/round_trip.rs"]
mod round_trip;
