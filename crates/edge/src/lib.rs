//! The data plane: config, listeners, admission, the request pipeline, bodies, outcome, drain and reload.
//!
//! An edge serves blobs and nothing else. It must not know control or SQL, and it never opens a blob
//! without a `Grant`. The walk of a request is in `crates/README.md`.

pub mod admin;
pub mod admit;
pub mod body;
pub mod catalog;
pub mod config;
pub mod copy;
pub mod deadline;
mod descriptors;
mod digest;
pub mod drain;
pub mod explain;
pub mod feed;
pub mod geo;
pub mod listen;
pub mod metrics;
pub mod node;
pub mod outcome;
pub mod passport;
pub mod policy;
pub mod preflight;
pub mod rates;
pub mod reload;
mod reply;
mod request_id;
pub mod sending;
pub mod serve;
mod shelf;
mod sockopt;
pub mod supervise;
pub mod token;
mod turn;
pub mod web;
