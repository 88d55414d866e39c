//! The doors of the edge: sockets in, connections out, and the HTTP version each one speaks.
//!
//! This room owns binding, accepting, PROXY headers, TLS and the loop that drives one connection. It
//! must not know what a request means: that is the [`Handler`]'s.

mod conn;

pub use conn::{ConnInfo, Door, Handler, Protocol, Wire};
