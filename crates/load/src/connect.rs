//! One connection: TCP, TLS where the URL asks for it, and an HTTP/1.1 or HTTP/2 handshake.

use crate::plan::{CheckedPlan, Protocol};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 windows in bytes: more than loopback's bandwidth times its delay, so that they never limit.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Sends requests on one connection.
pub(crate) enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("connecting took longer than {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the host is not a name that TLS can check")]
    Name,
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

impl Sender {
    pub(crate) async fn connect(plan: &CheckedPlan) -> Result<Self, ConnectError> {
        tokio::time::timeout(CONNECT_TIMEOUT, open(plan)).await.map_err(|_| ConnectError::Timeout)?
    }

    pub(crate) async fn send(&mut self, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, hyper::Error> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

async fn open(plan: &CheckedPlan) -> Result<Sender, ConnectError> {
    let tcp = TcpStream::connect((plan.host.as_str(), plan.port)).await?;
    tcp.set_nodelay(true)?;
    let Some(config) = &plan.tls else { return handshake(plan.protocol, tcp).await };
    let name = ServerName::try_from(plan.host.clone()).map_err(|_| ConnectError::Name)?;
    handshake(plan.protocol, TlsConnector::from(config.clone()).connect(name, tcp).await?).await
}

async fn handshake<S>(protocol: Protocol, stream: S) -> Result<Sender, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    match protocol {
        Protocol::Http1 => {
            let (sender, connection) = http1::handshake(io).await?;
            // Its end, good or bad, is seen by the sender's next request.
            tokio::spawn(connection);
            Ok(Sender::Http1(sender))
        }
        Protocol::Http2 => {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .handshake(io)
                .await?;
            tokio::spawn(connection);
            Ok(Sender::Http2(sender))
        }
    }
}
