//! The data plane: config, listeners, admission, the request pipeline, bodies, outcome, drain and reload.
//!
//! An edge serves blobs and nothing else. It must not know control or SQL, and it never opens a blob
//! without a `Grant`. The walk of a request is in `crates/README.md`.

pub mod config;
pub mod listen;
pub mod admit;
pub mod deadline;
pub mod drain;
pub mod node;
pub mod reload;
pub mod supervise;
pub mod admin;
pub mod body;
pub mod catalog;
pub mod metrics;
pub mod outcome;
pub mod serve;
mod digest;
mod reply;
pub mod sending;
mod shelf;
