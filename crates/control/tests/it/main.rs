//! The admin API as its callers meet it, over real requests, and the record as a crash leaves it.

mod blobs;
mod channels;
mod crash;
mod door;
mod node;
mod products;
mod releases;
mod rotations;
mod support;
