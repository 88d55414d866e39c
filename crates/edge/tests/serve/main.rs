//! The serve side of the edge over real sockets, against a real store in a temporary directory.

mod admin;
mod away;
mod blobs;
mod damage;
mod embargo;
mod entitled;
mod from;
mod issuer;
mod links;
mod outcomes;
mod products;
mod rates;
mod revoked;
mod rig;
mod rollouts;
mod verified;
