//! Player tokens from outside the crate: published examples, and key sets over real sockets.

mod rfc;
mod source;
