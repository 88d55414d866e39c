//! The doors of the edge: sockets in, connections out, and the HTTP version each one speaks.
//!
//! This room owns binding, accepting, PROXY headers, TLS and the loop that drives one connection. It
//! must not know what a request means: that is the [`Handler`]'s.

mod accept;
mod conn;
mod drive;
pub mod proxy;
mod seal;
pub mod tcp;
pub mod tls;
pub mod unix;

pub(crate) use accept::{Gate, Plane, accept_tcp, accept_unix, is_loopback};
pub use conn::{ConnInfo, CutMark, Door, Handler, Protocol, Wire};
pub(crate) use drive::{STREAM_SEND_BYTES_COPIED, STREAM_SEND_BYTES_MAPPED};
