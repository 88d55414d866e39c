//! The admin API as its callers meet it, over real requests, and the record as a crash leaves it: each
//! test on both engines, unless it says why not.

mod accounts;
mod audit;
mod behind;
mod blobs;
mod channels;
mod crash;
mod credentials;
mod described;
mod door;
mod embargo;
mod feed;
mod fleet;
mod migrations;
mod node;
mod once;
mod policy;
mod products;
mod releases;
mod revocations;
mod roles;
mod rollouts;
mod rotations;
mod segments;
mod support;
