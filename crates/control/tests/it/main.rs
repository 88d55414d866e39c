//! The admin API as its callers meet it, over real requests, and the record as a crash leaves it: each
//! test on both engines, unless it says why not.

#![expect(clippy::panic, reason = "a test fails by panicking, with what was told")]

mod accounts;
mod audit;
mod behind;
mod blobs;
mod channels;
mod churn;
mod crash;
mod credentials;
mod described;
mod door;
mod embargo;
mod facts;
mod feed;
mod fleet;
mod insist;
mod links;
mod migrations;
mod node;
mod once;
mod own;
mod people;
mod policy;
mod products;
mod releases;
mod resellers;
mod revocations;
mod roles;
mod rollouts;
mod rotations;
mod segments;
mod shortened;
mod support;
mod walls;
