//! The real binary, end to end. One test program, because each would link every crate again.

mod clients;
mod commands;
mod crash;
mod drain;
mod journey;
mod liar;
mod quickstart;
mod readme;
mod world;
