//! The rules of Penstock as pure functions and types.
//!
//! This crate owns every decision: what a name may be, which bytes a request means, who may read
//! them, what a signature proves, what a client should do next. It must not read a file, a clock,
//! a socket or a random source; time and randomness are arguments. `clippy.toml` here enforces it.

pub mod account;
pub mod api;
pub mod audience;
pub mod audit;
pub mod blob;
pub mod catalog;
pub mod channel;
pub mod conditional;
pub mod credential;
pub mod delegate;
pub mod desk;
pub mod entitle;
pub mod envelope;
pub mod feed;
pub mod grace;
pub mod id;
pub mod keys;
pub mod limits;
pub mod link;
pub mod manifest;
pub mod path;
pub mod place;
pub mod range;
pub mod reply;
pub mod request;
pub mod rollout;
pub mod segment;
pub mod sign;
pub mod snapshot;
pub mod statement;
mod text_schema;
pub mod time;
pub mod token;
pub mod tree;
pub mod trust;
