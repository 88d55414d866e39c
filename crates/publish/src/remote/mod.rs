//! The admin API over HTTP/1.1: node.sock, plain TCP or TLS.
//!
//! [`AdminClient`] makes calls: JSON there and back, blobs streamed; problem documents become
//! errors. [`HttpRegistry`] is a [`crate::Registry`] on top. Both block and own a small runtime:
//! call them from a plain thread, not from async code. Bodies, waits and tries are bounded.

mod body;
mod client;
mod endpoint;
mod registry;
mod tls;
mod wire;

pub use client::{AdminClient, ClientError, Timing};
pub use endpoint::{Endpoint, EndpointError};
pub use registry::HttpRegistry;
pub use tls::{Roots, TlsError};
