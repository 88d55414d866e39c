//! How a request reaches an edge: the `Transport` seam and what its errors mean.
//!
//! Implementations: [`http::HttpTransport`] (HTTP/1.1 and HTTP/2, TLS) and, in the tests, a scripted one
//! with faults. A transport never retries on its own authority beyond a connection that the peer had
//! already closed, never follows a redirect, and never buffers a body.

pub mod http;
mod tls;

use crate::session::{AnswerHead, EdgeIndex, Failure};
use bytes::Bytes;
use penstock_core::blob::ByteRange;
use std::future::Future;
use std::pin::Pin;
pub use tls::{TlsError, client_config};

/// A boxed future, because the seam is used as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetRequest {
    /// Path and query below the edge's prefix, starting with `/v1/`.
    pub target: String,
    /// Bytes wanted; `None` means all.
    pub range: Option<ByteRange>,
}

/// An answer whose body has not been read yet.
pub struct Answer {
    /// What the session needs of the head.
    pub head: AnswerHead,
    /// The body.
    pub body: Box<dyn AnswerBody>,
}

/// A body that is read piece by piece.
pub trait AnswerBody: Send {
    /// The next piece; `None` at the end. An answer cut short is an error, not an end.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>>;
}

/// Whoever can ask edges. Dropping the future or the body closes the request.
pub trait Transport: Send + Sync {
    /// Sends one GET and waits for the head of the answer.
    fn get(&self, edge: EdgeIndex, request: GetRequest) -> BoxFuture<'_, Result<Answer, TransportError>>;
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Name resolution or TCP failed.
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// TLS failed for another reason than the certificate.
    #[error("the TLS handshake failed")]
    Tls(#[source] std::io::Error),
    /// The peer's certificate is not trusted or is for another name.
    #[error("the certificate is not trusted")]
    Certificate(#[source] std::io::Error),
    /// Nothing came in time.
    #[error("no connection within {seconds} s")]
    Timeout {
        /// How long we waited.
        seconds: u64,
    },
    /// HTTP broke.
    #[error("the connection broke")]
    Http(#[source] hyper::Error),
    /// A request that cannot be written as HTTP.
    #[error("the request cannot be written as http")]
    Request(#[source] ::http::Error),
}

impl TransportError {
    /// What the session makes of it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Connect(_) | Self::Tls(_) | Self::Timeout { .. } => Failure::Broken,
            Self::Certificate(_) => Failure::Untrusted,
            Self::Http(error) if error.is_parse() || error.is_parse_too_large() => Failure::Malformed,
            Self::Http(_) => Failure::Broken,
            Self::Request(_) => Failure::Malformed,
        }
    }
}
