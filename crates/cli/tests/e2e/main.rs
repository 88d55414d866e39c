//! The real binary, end to end. One test program, because each would link every crate again.

#![expect(clippy::panic, reason = "a test fails by panicking, with what was said")]

mod access;
mod adversity;
mod clients;
mod commands;
mod components;
mod crash;
mod drain;
mod entitled;
mod follow;
mod follow_crash;
mod journey;
mod liar;
mod people;
mod policy;
mod powercut;
mod quickstart;
mod secrets;
mod world;
