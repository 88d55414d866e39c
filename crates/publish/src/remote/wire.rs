//! One HTTP/1.1 exchange: connect, send, read a bounded answer. Connections are kept for reuse.

use super::body::Body;
use super::endpoint::Endpoint;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// Idle connections kept: as many as uploads at once, and one.
const IDLE_MAX: usize = 5;

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// No connection; nothing was sent.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection failed while in use.
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer's body broke off or is too large.
    #[error("the answer broke off or is larger than {bytes_max} bytes")]
    Body {
        /// The bound.
        bytes_max: usize,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl WireError {
    /// Whether nothing can have reached the node.
    pub(super) const fn is_before_sending(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}

/// Where to, how, and the connections at hand.
pub(super) struct Wire {
    pub(super) endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
    connect_timeout: Duration,
    idle: Mutex<Vec<SendRequest<Body>>>,
}

/// An answer in memory.
pub(super) struct Answer {
    pub(super) head: http::response::Parts,
    pub(super) body: Bytes,
}

impl Wire {
    pub(super) const fn new(endpoint: Endpoint, tls: Option<Arc<ClientConfig>>, connect_timeout: Duration) -> Self {
        Self { endpoint, tls, connect_timeout, idle: Mutex::new(Vec::new()) }
    }

    /// Sends a request and reads its answer, all within `within`.
    pub(super) async fn exchange(
        &self,
        request: Request<Body>,
        bytes_max: usize,
        within: Duration,
    ) -> Result<Answer, WireError> {
        tokio::time::timeout(within, self.exchange_unbounded(request, bytes_max))
            .await
            .unwrap_or(Err(WireError::Timeout(within)))
    }

    async fn exchange_unbounded(&self, request: Request<Body>, bytes_max: usize) -> Result<Answer, WireError> {
        let mut sender = self.sender().await?;
        let response: Response<_> = sender.send_request(request).await.map_err(WireError::Broken)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, bytes_max).collect().await;
        let body = body.map_err(|source| WireError::Body { bytes_max, source })?.to_bytes();
        self.keep(sender);
        Ok(Answer { head, body })
    }

    async fn sender(&self) -> Result<SendRequest<Body>, WireError> {
        loop {
            let idle = self.idle.lock().expect("no exchange panics with the lock").pop();
            match idle {
                // A connection that the node closed meanwhile is not ready any more.
                Some(mut sender) => {
                    if sender.ready().await.is_ok() {
                        return Ok(sender);
                    }
                }
                None => return self.connect().await,
            }
        }
    }

    fn keep(&self, sender: SendRequest<Body>) {
        let mut idle = self.idle.lock().expect("no exchange panics with the lock");
        if !sender.is_closed() && idle.len() < IDLE_MAX {
            idle.push(sender);
        }
    }

    async fn connect(&self) -> Result<SendRequest<Body>, WireError> {
        let connecting = self.connect_unbounded();
        let timeout = io::Error::from(io::ErrorKind::TimedOut);
        tokio::time::timeout(self.connect_timeout, connecting).await.unwrap_or(Err(WireError::Connect(timeout)))
    }

    async fn connect_unbounded(&self) -> Result<SendRequest<Body>, WireError> {
        match &self.endpoint {
            Endpoint::Unix(path) => handshake(UnixStream::connect(path).await.map_err(WireError::Connect)?).await,
            Endpoint::Tcp { host, port, .. } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(WireError::Connect)?;
                stream.set_nodelay(true).map_err(WireError::Connect)?;
                let Some(tls) = &self.tls else { return handshake(stream).await };
                let name = ServerName::try_from(host.clone())
                    .map_err(|error| WireError::Connect(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
                let connector = TlsConnector::from(Arc::clone(tls));
                handshake(connector.connect(name, stream).await.map_err(WireError::Connect)?).await
            }
        }
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Body>, WireError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(WireError::Broken)?;
    tokio::spawn(async move {
        // What breaks it is told to whoever waits for an answer on it.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the node ended");
        }
    });
    Ok(sender)
}
